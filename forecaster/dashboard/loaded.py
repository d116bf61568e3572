"""Models in this process, through ONNX Runtime, and what they read; kept for all visitors."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from forecaster import workflow
from forecaster.dashboard import reads
from forecaster.explain.inside import Inside, inside
from forecaster.features import surroundings
from forecaster.features.exogenous import Surroundings
from forecaster.history import History
from forecaster.models.trained import Model
from forecaster.registry import Registry
from forecaster.windows import WARM_UP


def here() -> tuple[str, tuple[int, ...]]:
    """Name the store and the versions of the tables that models read; see `reads.cache_key`."""
    return reads.cache_key(*reads.TOLD, "forecasts")


@st.cache_resource(show_spinner=False, max_entries=2)
def model(folder: str, version: str) -> Model:
    """Load a version."""
    return Registry(Path(folder).parent, reads.opened(folder)).load(version)[1]


@st.cache_resource(show_spinner=False, max_entries=2)
def world(
    folder: str, versions: tuple[int, ...], version: str, as_of: pd.Timestamp | None, stranger: str | None
) -> tuple[History, Surroundings]:
    """Read what a version reads besides one symbol: the same for every symbol of its universe.

    Parameters
    ----------
    as_of : Timestamp or None
        None: all that is stored.
    stranger : str or None
        The symbol, if it is not of the universe.
    """
    chosen = model(folder, version)
    history = workflow.history_for(
        reads.opened(folder), chosen, [] if stranger is None else [stranger], as_of
    )
    return history, surroundings(history, chosen.universe)


def look(version: str, symbol: str, cell: str | None = None, as_of: str | None = None) -> Inside:
    """Look inside a version's networks of one kind, as `workflow.explain` does; not to be changed."""
    return _look(*here(), version, symbol, cell, as_of)


def readable(version: str, symbol: str) -> list[str]:
    """List the sessions of a symbol at which a window ends that a version can read, newest first."""
    return _readable(*here(), version, symbol)


@st.cache_resource(show_spinner=False, max_entries=16)
def _look(
    folder: str, versions: tuple[int, ...], version: str, symbol: str, cell: str | None, as_of: str | None
) -> Inside:
    own, around = _own(folder, versions, version, symbol)
    return replace(inside(model(folder, version), own, symbol, cell, as_of, around), version=version)


@st.cache_resource(show_spinner=False, max_entries=16)
def _readable(folder: str, versions: tuple[int, ...], version: str, symbol: str) -> list[str]:
    own, around = _own(folder, versions, version, symbol)
    windows = model(folder, version).windows(own, around)
    ends = windows.ends[windows.ends >= windows.lookback + WARM_UP - 1]
    return list(pd.DatetimeIndex(windows.panel.session[ends[::-1]]).strftime("%Y-%m-%d"))


def _own(folder: str, versions: tuple[int, ...], version: str, symbol: str) -> tuple[History, Surroundings]:
    """Return all that is stored of one symbol, and the market-wide series around it."""
    stranger = None if symbol in model(folder, version).universe else symbol
    history, around = world(folder, versions, version, None, stranger)
    return history.only([symbol]), around
