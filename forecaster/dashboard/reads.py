"""What the pages read from the store, cached by the versions of the tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from forecaster import ledger
from forecaster.config import Settings
from forecaster.decisions import decisions as decided
from forecaster.event_marks import marks as event_marks
from forecaster.health import Health, health
from forecaster.health import alarms as alarmed
from forecaster.history import History, read_history
from forecaster.ingest import gaps, quarantine, runs
from forecaster.live import Live
from forecaster.live import live as settle
from forecaster.remedies import origin as origin_of
from forecaster.sessions import all_sessions, last_complete
from forecaster.store import Span, Store, now

KEPT = {
    "instruments": ["name", "exchange", "currency"],
    "updates": ["source", "outcome", "change", "rows", "detail", "recorded_at"],
    "watchlist": ["watched"],
}
"""Table with one row that holds per symbol -> what `freshness` takes from it."""

TOLD = ("prices", "actions", "factors", "events", "instruments")
"""Tables that a history is read from."""


def settings() -> Settings:
    """Return the settings of the service."""
    return Settings.load()


def store() -> Store:
    """Return the store of the workspace that the settings name."""
    return opened(str(settings().home / "store"))


def symbols() -> list[str]:
    """List the symbols that have a forecast."""
    return list(_standing()["symbol"].unique())


def forecasts(symbol: str) -> pd.DataFrame:
    """Return the forecast last issued for a symbol."""
    rows = _standing()
    return rows[rows["symbol"] == symbol]


def rises(step: int) -> pd.Series:
    """Return the probability of a rise at a step ahead in each forecast that stands."""
    rows = _standing()
    return rows.loc[rows["step"] == step, "prob_up"]


def beside(symbol: str) -> pd.DataFrame:
    """Return what the models to compare with said beside the forecast of a symbol."""
    rows = _beside(*cache_key("forecasts", "decisions"))
    return rows[rows["symbol"] == symbol]


def history(symbol: str) -> History:
    """Return a symbol's bars and events; shared by all visitors, so not to be changed."""
    return _history(*cache_key(*TOLD), symbol)


def marks(symbol: str) -> pd.DataFrame:
    """Return a symbol's events, each at the session that it moved."""
    return _marks(*cache_key(*TOLD), symbol)


def last_request(symbol: str) -> pd.Series | None:
    """Return the row of the updates table on the last request for a symbol; None if none was made."""
    rows = _asked(*cache_key("updates"), symbol)
    return None if rows.empty else rows.iloc[-1]


def origin() -> str:
    """Return where the workspace's prices come from; see `remedies.origin`."""
    return _origin(*cache_key("updates"))


def scores(version: str) -> pd.DataFrame:
    """Return the score table of a model version."""
    return _scores(*cache_key("scores"), version)


def decisions() -> pd.DataFrame:
    """Return every decision about a model version, oldest first."""
    return _decisions(*cache_key("decisions"))


def live(version: str) -> Live:
    """Return a version's settled forecasts with its backtest."""
    return _live(*cache_key("forecasts", "prices", "actions", "backtests"), version)


def alarms(version: str) -> list[str]:
    """Return why a version's forecasts are of low confidence."""
    return _alarms(*cache_key("monitors"), version)


def state(symbol: str) -> Health:
    """Return how far a symbol's forecasts can be relied on now."""
    return states([symbol])[symbol]


def states(symbols: Sequence[str]) -> dict[str, Health]:
    """Return how far each symbol's forecasts can be relied on now; all of them have prices."""
    tables = cache_key("prices", "instruments", "decisions", "monitors")
    # What was true a few seconds ago is: the oldest bar does not age within a minute.
    return _states(*tables, tuple(symbols), now().floor("min"))


def past_runs() -> pd.DataFrame:
    """Return the runs of updates, newest first."""
    return _past_runs(*cache_key("runs"))


def words_of(run: pd.Series) -> pd.DataFrame:
    """Return the rows of the updates table that a run has written."""
    return _words_of(*cache_key("updates"), run["started_at"])


def freshness() -> pd.DataFrame:
    """Return one row per symbol that is stored, was asked for or is watched.

    Returns
    -------
    DataFrame
        Index symbol; first, last (session) and source of the stored prices, name, exchange,
        currency; outcome, change, rows, detail and recorded_at of the last request; watched, which
        is False where a symbol was taken off the watchlist.
    """
    return _freshness(*cache_key("prices", "factors", *KEPT))


def missing() -> pd.DataFrame:
    """Return the sessions noticed as missing and still not stored: symbol, session, found_at."""
    return _missing(*cache_key("gaps", "prices"))


def refused() -> pd.DataFrame:
    """Return the rows held in quarantine, with the stored close beside the refused one, and the currency."""
    return _refused(*cache_key("quarantine", "prices", "instruments"))


def sessions_behind(exchange: str, last: pd.DatetimeIndex, moment: pd.Timestamp) -> np.ndarray:
    """Count the sessions of an exchange that are complete at a moment and lie after each of `last`."""
    sessions = pd.DatetimeIndex(all_sessions(exchange))
    complete = last_complete(exchange, moment, settings().bar_delay_minutes)
    due = sessions.searchsorted(complete, side="right")
    return np.maximum(due - sessions.searchsorted(last, side="right"), 0)


def requests() -> pd.DataFrame:
    """Return how the last request of each kind ended for each symbol.

    Returns
    -------
    DataFrame
        what (prices, market factors, events), source, symbol, outcome, rows, detail, recorded_at.
    """
    return _requests(*cache_key("updates", "event_updates"))


def _standing() -> pd.DataFrame:
    return _forecasts(*cache_key("forecasts", "decisions"))


def cache_key(*names: str) -> tuple[str, tuple[int, ...]]:
    """Name the store and the versions of some tables, as the caches of the reads want them.

    The versions make a cache forget when a table has grown; a folder stands for its store because a
    cache needs arguments that it can compare.
    """
    here = store()
    return str(here.folder), tuple(here.version(name) for name in names)


# A resource, as the next two: each visitor takes rows of it, and a copy of all would be made for each read.
@st.cache_resource(show_spinner=False, max_entries=4)
def _forecasts(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return ledger.latest(opened(folder))


@st.cache_resource(show_spinner=False, max_entries=4)
def _beside(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return ledger.beside(opened(folder), _forecasts(folder, versions))


# A resource: a copy for each visitor would lose what the history has computed of itself.
@st.cache_resource(show_spinner=False, max_entries=64)
def _history(folder: str, versions: tuple[int, ...], symbol: str) -> History:
    return read_history(opened(folder), [symbol])


@st.cache_data(show_spinner=False, max_entries=64)
def _marks(folder: str, versions: tuple[int, ...], symbol: str) -> pd.DataFrame:
    return event_marks(_history(folder, versions, symbol), symbol)


@st.cache_data(show_spinner=False, max_entries=64)
def _asked(folder: str, versions: tuple[int, ...], symbol: str) -> pd.DataFrame:
    return opened(folder).rows("updates", where={"symbol": [symbol]}).sort_values("recorded_at")


@st.cache_data(show_spinner=False, max_entries=4)
def _origin(folder: str, versions: tuple[int, ...]) -> str:
    return origin_of(opened(folder).rows("updates")["source"])


@st.cache_data(show_spinner=False, max_entries=8)
def _scores(folder: str, versions: tuple[int, ...], model_version: str) -> pd.DataFrame:
    return opened(folder).current("scores", where={"version": [model_version]})


@st.cache_data(show_spinner=False, max_entries=4)
def _decisions(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return decided(opened(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _live(folder: str, versions: tuple[int, ...], version: str) -> Live:
    return settle(opened(folder), version)


@st.cache_data(show_spinner=False, max_entries=4)
def _alarms(folder: str, versions: tuple[int, ...], version: str) -> list[str]:
    return alarmed(opened(folder), version)


@st.cache_data(show_spinner=False, max_entries=4)
def _past_runs(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return runs.latest(opened(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _words_of(folder: str, versions: tuple[int, ...], started_at: pd.Timestamp) -> pd.DataFrame:
    return opened(folder).rows("updates", where={"started_at": [started_at]})


@st.cache_data(show_spinner=False, max_entries=4)
def _freshness(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = opened(folder)
    spans = pd.DataFrame.from_dict(here.spans(), orient="index", columns=list(Span._fields))
    known = {name: here.current(name).set_index("symbol")[columns] for name, columns in KEPT.items()}
    asked = known["updates"].rename(columns={"source": "asked_of"})
    table = pd.concat([spans, known["instruments"], asked, known["watchlist"]], axis=1)
    table["source"] = table["source"].fillna(table.pop("asked_of"))
    # A market factor is asked for like a symbol, but its values lie in a table of their own.
    values = here.rows("factors").groupby("name")["session"].agg(first="min", last="max").reset_index()
    values.index = pd.Index(gaps.FACTOR + values["name"])
    values["name"] = values["name"].str.replace("_", " ")
    return table.fillna(values).rename_axis("symbol")


@st.cache_data(show_spinner=False, max_entries=4)
def _missing(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return gaps.standing(opened(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _refused(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = opened(folder)
    rows, key = quarantine.held(here), ["symbol", "session"]
    where = {"symbol": rows["symbol"].unique(), "session": rows["session"].dt.date.unique()}
    stored = here.current("prices", where=where).rename(columns={"close": "stored_close"})
    described = here.current("instruments", where={"symbol": where["symbol"]})
    return rows.merge(stored[[*key, "stored_close"]], on=key, how="left").merge(
        described[["symbol", "currency"]], on="symbol", how="left"
    )


@st.cache_data(show_spinner=False, max_entries=4)
def _requests(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = opened(folder)
    bars, told = here.current("updates"), here.current("event_updates")
    is_factor = bars["symbol"].str.startswith(gaps.FACTOR)
    what = is_factor.map({True: "market factors", False: "prices"})
    return pd.concat([bars.assign(what=what), told.assign(what="events")], ignore_index=True)


@st.cache_data(show_spinner=False, max_entries=64)
def _states(
    folder: str, versions: tuple[int, ...], symbols: tuple[str, ...], moment: pd.Timestamp
) -> dict[str, Health]:
    return health(opened(folder), settings(), symbols, moment)


@st.cache_resource(show_spinner=False, max_entries=4)
def opened(folder: str) -> Store:
    """Return the store of a folder; it is kept, because it knows its tables as they were last opened."""
    return Store(Path(folder))
