"""Forecast of one symbol: price, fan, quantiles, and the evidence for and against them."""

import pandas as pd
import streamlit as st

from forecaster.dashboard import bundle, controls, dependencies, evidence, fan, quantiles, reads
from forecaster.dashboard.texts import NOT_ADVICE, ago, command, count, plain
from forecaster.health import Health
from forecaster.history import History
from forecaster.report import DEMONSTRATION, beats_last_price, doubt_of
from forecaster.sources import Outcome
from forecaster.store import now


def page() -> None:
    """Draw the page."""
    known = reads.symbols()
    if not known:
        _empty()
        return
    heading = st.container()
    left, right = st.columns([1, 3], gap="medium")
    with left, st.container(border=True):
        symbol = controls.symbol(known, heading)
        with st.spinner("Reading the tables"):
            history, table = reads.history(symbol), reads.forecasts(symbol)
            beside, marks, state = reads.beside(symbol), reads.marks(symbol), reads.state(symbol)
        shown = fan.view(int(table["step"].max()), tuple(beside["model"].unique()))
        box = st.container()
    share = history.instruments[symbol]
    with heading:
        st.title(plain(f"{share.name} ({symbol})"), anchor=False)
        _notices(history, table, state)
    if state.level == "expired":
        st.error(
            "Too old to be shown: past this age a forecast says nothing about today.", icon=":material/block:"
        )
        _origin(history, table)
        return
    with left:
        _freshness(history, table)
    with right:
        fan.draw(history, table, beside, marks, shown, box)
        quantiles.events(marks, history.bars(symbol)["session"].tail(shown.past).iloc[0])
    version = str(table["version"].iloc[0])
    evidence.section(version, shown.horizon)
    dependencies.section(table, shown.horizon)
    quantiles.section(table, shown, share.currency)
    bundle.section(history, table, beside)
    _origin(history, table)
    st.caption(NOT_ADVICE)


def _empty() -> None:
    st.title("No forecast yet", anchor=False)
    controls.nothing_yet(
        "This workspace holds no forecast. Make the first one on the command line, then reload this page:"
    )


def _notices(history: History, table: pd.DataFrame, state: Health) -> None:
    if history.is_demonstration:
        st.info(DEMONSTRATION, icon=":material/science:")
    elif (behind := _sessions_behind(history)) and state.level not in ("stale", "expired"):
        st.warning(
            f"The prices are {count(behind, 'session')} behind the exchange. "
            f"Bring them up to date: `{command('retrain --light')}`",
            icon=":material/schedule:",
        )
    _last_request(history)
    for reason in state.reasons:
        st.warning(f"**{state.level.capitalize()}.** {plain(reason)}.", icon=":material/warning:")
    if beats_last_price(reads.scores(str(table["version"].iloc[0]))) is False:
        st.error(
            "**This model loses to the last price** in its own backtest: take the fan for a demonstration, "
            "not for a forecast.",
            icon=":material/trending_down:",
        )
    cutoff = table["cutoff"].iloc[0]
    if cutoff < history.as_of:
        st.warning(
            f"This forecast was made from the close of {cutoff:%Y-%m-%d}; there are prices up to "
            f"{history.as_of:%Y-%m-%d}. Renew it: `{command(f'forecast {history.symbols[0]}')}`",
            icon=":material/update:",
        )
    if doubt := doubt_of(table):
        st.warning(f"**Low confidence.** {plain(doubt)}", icon=":material/help:")


def _last_request(history: History) -> None:
    """Say so where the source did not deliver when it was last asked for the symbol."""
    row = reads.last_request(history.symbols[0])
    if history.is_demonstration or row is None or row["outcome"] == Outcome.OK:
        return
    source, when = plain(row["source"]), ago(row["recorded_at"], now())
    said = f"It said: {plain(row['detail'].rstrip('.'))}. What is shown is what is stored"
    if row["outcome"] == Outcome.RATE_LIMITED:
        st.warning(
            f"**Rate limited.** {source} refused further requests {when}. {said}. Wait a while, then "
            f"`{command('update')}`",
            icon=":material/hourglass_top:",
        )
    elif row["outcome"] == Outcome.TRANSIENT:
        st.warning(
            f"**Offline.** {source} did not answer properly {when}. {said}. Check the connection, then "
            f"`{command('update')}`",
            icon=":material/cloud_off:",
        )
    else:
        st.warning(f"**No new prices.** {source} was asked {when}. {said}.", icon=":material/error:")


def _sessions_behind(history: History) -> int:
    exchange, last = history.instruments[history.symbols[0]].exchange, pd.DatetimeIndex([history.as_of])
    return int(reads.sessions_behind(exchange, last, now())[0])


def _freshness(history: History, table: pd.DataFrame) -> None:
    first = table.iloc[0]
    st.caption(
        f"Prices up to {history.as_of:%Y-%m-%d}.  \n"
        f"Forecast from the close of {first['cutoff']:%Y-%m-%d}, "
        f"issued {first['issued_at']:%Y-%m-%d} by model version {plain(str(first['version']))}."
    )


def _origin(history: History, table: pd.DataFrame) -> None:
    rows, first = history.prices, table.iloc[0]
    st.subheader("Where this comes from", anchor=False)
    facts = {
        "Last stored session": f"{history.as_of:%Y-%m-%d}",
        "Behind the exchange": (
            "not counted for the sample"
            if history.is_demonstration
            else count(_sessions_behind(history), "session")
        ),
        "Source of the prices": ", ".join(sorted(rows["source"].unique())),
        "Prices fetched": f"{rows['fetched_at'].max():%Y-%m-%d %H:%M} UTC",
        "Forecast issued": f"{first['issued_at']:%Y-%m-%d %H:%M} UTC",
        "Model": f"version {first['version']}, recipe {first['recipe_hash']}",
        "Version of the prices table": str(first["store_version"]),
    }
    st.table(
        pd.DataFrame({"What": facts.keys(), "Value": map(plain, facts.values())}),
        border="horizontal",
        hide_index=True,
        hide_header=True,
    )
