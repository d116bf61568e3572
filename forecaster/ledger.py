"""The ledger of issued forecasts: append-only, never rewritten."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.decisions import CHAMPION, holder
from forecaster.history import History
from forecaster.models.calibrate import adjustments
from forecaster.store import Store
from forecaster.tables import table


def issue(store: Store, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Write forecasts down, unless the same model version has issued them before.

    Parameters
    ----------
    forecasts : DataFrame
        Columns of the forecasts table.

    Returns
    -------
    DataFrame
        The rows written.
    """
    key = list(table("forecasts").key)
    issued = store.rows("forecasts", where={"symbol": forecasts["symbol"].unique()})
    known = pd.MultiIndex.from_frame(issued[key])
    fresh = forecasts[~pd.MultiIndex.from_frame(forecasts[key]).isin(known)]
    store.append("forecasts", fresh)
    return fresh


def latest(store: Store, symbol: str | None = None) -> pd.DataFrame:
    """Read the forecast that stands for each symbol.

    It is the one from its latest cutoff; of several from there the champion's, of several of the
    champion's the last one issued. A forecast is taken whole, never some steps of one and some of
    another.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, sorted by symbol and step; empty if none was issued.
    """
    rows = store.rows("forecasts", where=None if symbol is None else {"symbol": [symbol]})
    issue_of = ["symbol", "cutoff", "version", "issued_at"]
    issues = rows[issue_of].drop_duplicates()
    issues = issues.assign(is_champion=issues["version"] == holder(store, CHAMPION))
    issues = issues.sort_values(["cutoff", "is_champion", "issued_at"])
    standing = issues.drop_duplicates("symbol", keep="last")[issue_of]
    return rows.merge(standing, on=issue_of).sort_values(["symbol", "step"], ignore_index=True)


def carried(store: Store, version: str, symbols: Sequence[str], history: History) -> dict[str, np.ndarray]:
    """Carry the calibration of a version on from the last forecast that it issued of each symbol.

    The adjustment that stood then is moved by the forecasts that have been settled since; see
    `models.calibrate`.

    Parameters
    ----------
    history : History
        Prices up to the cutoff of the next forecast; later forecasts of the ledger are not looked at.

    Returns
    -------
    dict
        Symbol -> what is added to the log width of each step, (horizon,); symbols of which the version
        has issued nothing are left out.
    """
    rows = store.rows("forecasts", where={"symbol": list(symbols), "version": [version]})
    rows = rows[rows["cutoff"] <= history.as_of]
    if rows.empty:
        return {}
    last = rows.groupby("symbol")["cutoff"].transform("max")
    standing = rows[rows["cutoff"] == last]
    closes = history.prices.set_index(["symbol", "session"])["adj_close"]
    begun, ended = (
        closes.reindex(pd.MultiIndex.from_frame(rows[["symbol", day]])).to_numpy()
        for day in ("cutoff", "session")
    )
    settled = rows.assign(outcome=np.log(ended / begun))[(rows["session"] > last).to_numpy()]
    found: dict[str, list[float]] = {str(symbol): [] for symbol in standing["symbol"].unique()}
    for step in map(int, sorted(standing["step"].unique())):
        before = standing[standing["step"] == step]
        now = before.assign(cutoff=history.as_of, outcome=np.nan)
        start = before.set_index("symbol")["adjustment"]
        moved = adjustments(now, settled[settled["step"] == step], step, start)
        for symbol, one in zip(before["symbol"], moved, strict=True):
            found[str(symbol)].append(one)
    return {symbol: np.array(of) for symbol, of in found.items()}
