"""What the pages read of events and of what checks found, cached by the versions of the tables."""

import numpy as np
import pandas as pd
import streamlit as st

from forecaster.dashboard.reads import cache_key, opened
from forecaster.evaluation.event_study import EventStudy
from forecaster.evaluation.event_study import event_study as study
from forecaster.events import COLUMNS, SCHEDULED, by_exchange, moved_session
from forecaster.findings import last_ablation, last_leakcheck
from forecaster.history import read_history
from forecaster.instruments import described
from forecaster.sessions import all_sessions


def events() -> pd.DataFrame:
    """Return the stored events and announced dates, those known last first.

    Returns
    -------
    DataFrame
        `events.COLUMNS`; usable, the first session that closes after it was known; session, the one that
        it moved or is planned for: both NaT without an exchange; in_force, which is False for an
        announced date that a later plan has replaced.
    """
    return _events(*cache_key("events", "instruments"))


def mean_price() -> pd.DataFrame:
    """Return session and value: the mean return of all stored symbols, dividends in, added up from 100 on."""
    return _mean_price(*cache_key("prices", "actions", "instruments"))


def event_study() -> EventStudy:
    """Return what prices did around the events of all stored symbols."""
    return _event_study(*cache_key("prices", "actions", "factors", "events", "instruments"))


def ablation() -> pd.DataFrame:
    """Return the last ablation of a backtest of this workspace."""
    return _ablation(*cache_key("ablations"))


def leakcheck() -> pd.DataFrame:
    """Return the last leak check of this workspace."""
    return _leakcheck(*cache_key("leakchecks"))


def exchanges() -> dict[str, str]:
    """Return symbol -> exchange of the stored symbols."""
    return _exchanges(*cache_key("instruments"))


@st.cache_data(show_spinner=False, max_entries=4)
def _events(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    here = opened(folder)
    nowhere = pd.Series(dtype="datetime64[ns]")
    rows = here.current("events")[list(COLUMNS)].assign(usable=nowhere, due=nowhere)
    known = described(here.current("instruments"))
    for exchange, mine in by_exchange(rows, known):
        days = pd.DatetimeIndex(all_sessions(exchange))
        for name, moment in (("usable", "known_at"), ("due", "happened_at")):
            position = moved_session(mine, exchange, moment)
            # A date further ahead than the calendar reaches has no session yet.
            at = np.minimum(position, len(days) - 1)
            rows.loc[mine.index, name] = days[at].where(position < len(days))
    is_plan = rows["kind"].isin(list(SCHEDULED))
    last = rows.groupby(["symbol", "kind"])["known_at"].transform("max")
    rows = rows.assign(
        session=rows["usable"].mask(is_plan, rows["due"]), in_force=~is_plan | (rows["known_at"] == last)
    )
    return rows.sort_values(["known_at", "symbol"], ascending=[False, True], ignore_index=True)


@st.cache_data(show_spinner=False, max_entries=4)
def _mean_price(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    wide = read_history(opened(folder)).prices.pivot(index="session", columns="symbol", values="adj_close")
    returns = wide.ffill().pct_change(fill_method=None).where(wide.notna()).mean(axis=1).fillna(0.0)
    return (100 * (1 + returns).cumprod()).rename("value").reset_index()


@st.cache_data(show_spinner="Measuring what prices did around the events", max_entries=4)
def _event_study(folder: str, versions: tuple[int, ...]) -> EventStudy:
    return study(read_history(opened(folder)))


@st.cache_data(show_spinner=False, max_entries=4)
def _ablation(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return last_ablation(opened(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _leakcheck(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    return last_leakcheck(opened(folder))


@st.cache_data(show_spinner=False, max_entries=4)
def _exchanges(folder: str, versions: tuple[int, ...]) -> dict[str, str]:
    known = described(opened(folder).current("instruments"))
    return {symbol: one.exchange for symbol, one in known.items()}
