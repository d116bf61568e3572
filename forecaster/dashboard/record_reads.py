"""What the pages read of issued and of backtested forecasts, cached by the versions of the tables."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from forecaster.dashboard.reads import cache_key, opened
from forecaster.evaluation.ranking import Ranking, only, rank, stock_day_losses
from forecaster.evaluation.ranking import leads as lead
from forecaster.evaluation.significance import PairedTest
from forecaster.live import Comparison, Live
from forecaster.live import issued as stood
from forecaster.live import live as settle
from forecaster.live import skill as tested
from forecaster.models import LAST_PRICE, SERVED


def served(version: str, step: int) -> pd.DataFrame:
    """Return the served forecasts of a version's backtest at one step."""
    return _served(*cache_key("backtests"), version, step)


def settled_scores(version: str, step: int) -> pd.DataFrame:
    """Return the scores of a version's settled forecasts at one step, a row a model; empty before any is."""
    return _settled_scores(*cache_key("forecasts", "prices", "actions", "backtests"), version, step)


def comparison(version: str, step: int) -> Comparison:
    """Return how the gain of a version's settled forecasts compares with that of its backtest."""
    return _comparison(*cache_key("forecasts", "prices", "actions", "backtests"), version, step)


def skill(version: str, step: int) -> dict[str, PairedTest]:
    """Return the tests of a version's settled forecasts against what was issued beside; see `live.skill`."""
    return _skill(*cache_key("forecasts", "prices", "actions"), version, step)


def issued(version: str, step: int) -> pd.DataFrame:
    """Return every served forecast of a version's recipe at one step; see `live.issued`."""
    return _issued(*cache_key("forecasts", "prices", "actions"), version, step)


def subjects(version: str, step: int) -> tuple[list[str], list[str]]:
    """List the calendar years of the cutoffs and the symbols of a version's backtest."""
    return _subjects(*cache_key("backtests"), version, step)


def ranking(version: str, step: int, score: str, year: str | None, symbol: str | None) -> Ranking | None:
    """Rank the models of a version's backtest on the chosen year and symbol; None if nothing is left."""
    return _ranking(*cache_key("backtests"), version, step, score, year, symbol)


def leads(
    version: str, by: str, steps: Sequence[int], score: str, year: str | None, symbol: str | None
) -> pd.DataFrame:
    """Tell which model of a version's backtest leads in each group; see `evaluation.ranking.leads`.

    Parameters
    ----------
    by : {"horizon", "year", "symbol"}
        What makes a group.
    steps : sequence of int
        Sessions ahead; one of them unless groups are horizons.
    """
    return _leads(*cache_key("backtests"), version, by, tuple(steps), score, year, symbol)


def daily(version: str, step: int, score: str, year: str | None, symbol: str | None) -> pd.DataFrame:
    """Return the losses that a ranking tests, by cutoff: forecasts, then the mean of each model."""
    losses = only(_losses(*cache_key("backtests"), version, step, score), year, symbol)
    dates = losses.groupby(level="cutoff")
    return dates.mean().assign(forecasts=dates.size()).reset_index()


@st.cache_data(show_spinner="Settling the forecasts", max_entries=2)
def _settled(folder: str, versions: tuple[int, ...], version: str, step: int) -> Live:
    return settle(opened(folder), version, [step])


@st.cache_data(show_spinner=False, max_entries=8)
def _settled_scores(folder: str, versions: tuple[int, ...], version: str, step: int) -> pd.DataFrame:
    return _settled(folder, versions, version, step).scores()


@st.cache_data(show_spinner=False, max_entries=8)
def _comparison(folder: str, versions: tuple[int, ...], version: str, step: int) -> Comparison:
    return _settled(folder, versions, version, step).comparison(step)


@st.cache_data(show_spinner=False, max_entries=8)
def _skill(folder: str, versions: tuple[int, ...], version: str, step: int) -> dict[str, PairedTest]:
    return tested(opened(folder), version, step)


@st.cache_data(show_spinner=False, max_entries=8)
def _issued(folder: str, versions: tuple[int, ...], version: str, step: int) -> pd.DataFrame:
    return stood(opened(folder), version, step)


@st.cache_data(show_spinner=False, max_entries=4)
def _served(folder: str, versions: tuple[int, ...], version: str, step: int) -> pd.DataFrame:
    where: dict[str, list[str] | list[int]] = {"version": [version], "step": [step], "model": [SERVED]}
    return opened(folder).rows("backtests", where=where)


@st.cache_data(show_spinner="Reading the backtest", max_entries=8)
def _losses(folder: str, versions: tuple[int, ...], version: str, step: int, score: str) -> pd.DataFrame:
    where: dict[str, list[str] | list[int]] = {"version": [version], "step": [step]}
    columns = ["model", "symbol", "cutoff", score]
    return stock_day_losses(opened(folder).rows("backtests", where=where, columns=columns), score)


@st.cache_data(show_spinner=False, max_entries=32)
def _subjects(folder: str, versions: tuple[int, ...], version: str, step: int) -> tuple[list[str], list[str]]:
    stock_days = _losses(folder, versions, version, step, "crps").index
    years = pd.DatetimeIndex(stock_days.unique("cutoff")).strftime("%Y")
    return sorted(set(years)), sorted(stock_days.unique("symbol"))


@st.cache_data(show_spinner="Comparing the models", max_entries=64)
def _ranking(
    folder: str, versions: tuple[int, ...], version: str, step: int, score: str, *chosen: str | None
) -> Ranking | None:
    losses = only(_losses(folder, versions, version, step, score), *chosen)
    return None if losses.empty else rank(losses, step, score)


@st.cache_data(show_spinner="Comparing the models", max_entries=64)
def _leads(
    folder: str,
    versions: tuple[int, ...],
    version: str,
    by: str,
    steps: tuple[int, ...],
    score: str,
    year: str | None,
    symbol: str | None,
) -> pd.DataFrame:
    known = {step: _losses(folder, versions, version, step, score) for step in steps}
    if by == "horizon":
        parts = [(str(step), step, only(losses, year, symbol)) for step, losses in known.items()]
    else:
        (step, losses), (years, symbols) = known.popitem(), _subjects(folder, versions, version, steps[0])
        asked = [(one, symbol) for one in years] if by == "year" else [(year, one) for one in symbols]
        parts = [(str(at[by == "symbol"]), step, only(losses, *at)) for at in asked]
    return lead(parts, LAST_PRICE)
