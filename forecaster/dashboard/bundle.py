"""What can be taken home: the forecast as CSV and JSON, and everything that made it in one zip."""

import io
import json
import zipfile
from collections.abc import Callable

import pandas as pd
import streamlit as st

from forecaster.dashboard import downloads, reads
from forecaster.decisions import card_of, decisions
from forecaster.errors import ModelError, StoreError
from forecaster.history import History, read_history
from forecaster.models.tabulate import as_prices
from forecaster.registry import Registry
from forecaster.report import forecast_report
from forecaster.store import Store

ABOUT = """Everything that made the forecast of {symbol} from the close of {cutoff} (model version {version}).

forecast.csv    rows of the ledger: the served forecast and those of the models it is compared with;
                quantiles q01 to q99 are of the log return since the close of the cutoff session
forecast.json   the same served forecast in prices, with its verdict and caveats
card.json       where the model version comes from: recipe, data, package versions, digests of its files
decisions.csv   every decision about that version with its evidence
scores.csv      its backtest against the last price and the classical models
prices.csv      the bars that were read: of {symbol} and of the {universe} symbols the model learned from, as
                traded, with the splits and dividends between them
factors.csv     the market-wide series that were read
events.csv      the company events that were read
model/          the model itself: networks for TensorFlow (.keras) and ONNX Runtime (.onnx), the rest as JSON

Read as the store knew them on {issued}. To repeat the forecast in that workspace:
python -m forecaster forecast {symbol} --as-of {cutoff} --version {version}
"""


def section(history: History, table: pd.DataFrame, beside: pd.DataFrame) -> None:
    """Draw the buttons.

    Parameters
    ----------
    table, beside : DataFrame
        Rows of the forecasts table of one symbol: what is served, and what it is compared with.
    """
    first = table.iloc[0]
    name = f"{first['symbol']}-{first['cutoff']:%Y-%m-%d}"
    store = reads.store()
    registry = Registry(reads.settings().home, store)
    st.subheader("Download", anchor=False)
    files: dict[str, tuple[Callable[[], str | bytes], str, str]] = {
        "CSV": (lambda: as_csv(table), "csv", "text/csv"),
        "JSON": (lambda: as_json(store, history, table), "json", "application/json"),
        "All that made it": (lambda: pack(registry, store, table, beside), "zip", "application/zip"),
    }
    with st.container(horizontal=True):
        for label, (made, ending, kind) in files.items():
            st.download_button(
                label, made, f"{name}.{ending}", kind, key=f"download-{ending}", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip
    st.caption("A picture of a chart: the camera above it.")


def as_csv(table: pd.DataFrame) -> str:
    """Write a forecast as CSV: the ledger's columns, and the quantiles in prices beside them."""
    prices = as_prices(table).filter(regex="^q").add_prefix("price_")
    return downloads.as_csv(pd.concat([table, prices], axis=1))


def as_json(store: Store, history: History, table: pd.DataFrame) -> str:
    """Write a forecast as JSON, as the command line does."""
    scores = store.current("scores", where={"version": [table["version"].iloc[0]]})
    return json.dumps(forecast_report(table, history, scores), indent=2)


def pack(registry: Registry, store: Store, table: pd.DataFrame, beside: pd.DataFrame) -> bytes:
    """Pack everything that made a forecast: its rows, the model with its card, and what was read."""
    first = table.iloc[0]
    symbol, version, cutoff = str(first["symbol"]), str(first["version"]), first["cutoff"]
    card = json.loads(card_of(store, version))
    symbols = sorted({symbol, *card["universe"]})
    history = read_history(store, symbols, cutoff, first["issued_at"])
    decided = decisions(store)
    read = {
        "decisions": decided[decided["version"] == version].drop(columns="card"),
        "scores": store.current("scores", where={"version": [version]}),
        "prices": history.traded,
        "factors": history.factors,
        "events": history.events,
    }
    about = {"symbol": symbol, "version": version, "cutoff": f"{cutoff:%Y-%m-%d}"}
    files: dict[str, str | bytes] = {
        "README.txt": ABOUT.format(
            **about, universe=len(card["universe"]), issued=f"{first['issued_at']:%Y-%m-%d %H:%M} UTC"
        ),
        "forecast.csv": as_csv(pd.concat([table, beside], ignore_index=True)),
        "forecast.json": as_json(store, history, table),
        "card.json": json.dumps(card, indent=2),
        **{f"{name}.csv": downloads.as_csv(rows) for name, rows in read.items()},
    }
    try:
        files |= {f"model/{name}": content for name, content in registry.files(version).items()}
    except (ModelError, StoreError) as error:
        files["model/MISSING.txt"] = str(error)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
