"""What the pages read from the store, cached by the versions of the tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from forecaster import ledger
from forecaster.config import Settings
from forecaster.history import History, read_history
from forecaster.ingest import gaps, quarantine, runs
from forecaster.sessions import all_sessions, last_complete
from forecaster.store import Span, Store

KEPT = {
    "instruments": ["name", "exchange", "currency"],
    "updates": ["source", "outcome", "change", "rows", "detail", "recorded_at"],
    "watchlist": ["watched"],
}
"""Table with one row that holds per symbol -> what `freshness` takes from it."""


def settings() -> Settings:
    """Return the settings of the service."""
    return Settings.load()


def store() -> Store:
    """Return the store of the workspace that the settings name."""
    return Store(settings().home / "store")


def symbols() -> list[str]:
    """List the symbols that have a forecast."""
    return list(_standing()["symbol"].unique())


def forecasts(symbol: str) -> pd.DataFrame:
    """Return the forecast last issued for a symbol."""
    rows = _standing()
    return rows[rows["symbol"] == symbol]


def history(symbol: str) -> History:
    """Return a symbol's bars."""
    return _history(*_here("prices", "actions", "factors", "instruments"), symbol)


def scores(version: str) -> pd.DataFrame:
    """Return the score table of a model version."""
    return _scores(*_here("scores"), version)


def past_runs() -> pd.DataFrame:
    """Return the runs of updates, newest first."""
    return _past_runs(*_here("runs"))


def words_of(run: pd.Series) -> pd.DataFrame:
    """Return the rows of the updates table that a run has written."""
    return _words_of(*_here("updates"), run["started_at"])


def freshness() -> pd.DataFrame:
    """Return one row per symbol that is stored, was asked for or is watched.

    Returns
    -------
    DataFrame
        Index symbol; first, last (session) and source of the stored prices, name, exchange,
        currency; outcome, change, rows, detail and recorded_at of the last request; watched, which
        is False where a symbol was taken off the watchlist.
    """
    return _freshness(*_here("prices", "factors", *KEPT))


def missing() -> pd.DataFrame:
    """Return the sessions noticed as missing and still not stored: symbol, session, found_at."""
    return _missing(*_here("gaps", "prices"))


def refused() -> pd.DataFrame:
    """Return the rows held in quarantine, with the stored close beside the refused one, and the currency."""
    return _refused(*_here("quarantine", "prices", "instruments"))


def sessions_behind(exchange: str, last: pd.DatetimeIndex, moment: pd.Timestamp) -> np.ndarray:
    """Count the sessions of an exchange that are complete at a moment and lie after each of `last`."""
    sessions = pd.DatetimeIndex(all_sessions(exchange))
    complete = last_complete(exchange, moment, settings().bar_delay_minutes)
    due = sessions.searchsorted(complete, side="right")
    return np.maximum(due - sessions.searchsorted(last, side="right"), 0)


def _standing() -> pd.DataFrame:
    return _forecasts(*_here("forecasts", "decisions"))


def _here(*names: str) -> tuple[str, tuple[int, ...]]:
    """Name the store and the versions of some tables, as the caches want them.

    The versions make a cache forget when a table has grown; a folder stands for its store because a
    cache needs arguments that it can compare.
    """
    here = store()
    return str(here.folder), tuple(here.version(name) for name in names)


@st.cache_data(show_spinner=False, max_entries=4)
def _forecasts(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return ledger.latest(_store(folder))


@st.cache_data(show_spinner=False, max_entries=64)
def _history(folder: str, versions: tuple[int, ...], symbol: str) -> History:
    return read_history(_store(folder), [symbol])


@st.cache_data(show_spinner=False, max_entries=8)
def _scores(folder: str, versions: tuple[int, ...], model_version: str) -> pd.DataFrame:
    return _store(folder).current("scores", where={"version": [model_version]})


@st.cache_data(show_spinner=False, max_entries=4)
def _past_runs(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return runs.latest(_store(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _words_of(folder: str, versions: tuple[int, ...], started_at: pd.Timestamp) -> pd.DataFrame:
    return _store(folder).rows("updates", where={"started_at": [started_at]})


@st.cache_data(show_spinner=False, max_entries=4)
def _freshness(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = _store(folder)
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
    return gaps.standing(_store(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _refused(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = _store(folder)
    rows, key = quarantine.held(here), ["symbol", "session"]
    where = {"symbol": rows["symbol"].unique(), "session": rows["session"].dt.date.unique()}
    stored = here.current("prices", where=where).rename(columns={"close": "stored_close"})
    described = here.current("instruments", where={"symbol": where["symbol"]})
    return rows.merge(stored[[*key, "stored_close"]], on=key, how="left").merge(
        described[["symbol", "currency"]], on="symbol", how="left"
    )


def _store(folder: str) -> Store:
    return Store(Path(folder))
