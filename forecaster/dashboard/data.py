"""What the pages read from the store, cached by the versions of the tables."""

from pathlib import Path

import pandas as pd
import streamlit as st

from forecaster import ledger
from forecaster.config import Settings
from forecaster.history import History, read_history
from forecaster.store import Store


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
    here = store()
    versions = here.version("prices"), here.version("instruments")
    return _history(str(here.folder), symbol, versions)


def scores(version: str) -> pd.DataFrame:
    """Return the score table of a model version."""
    here = store()
    return _scores(str(here.folder), version, here.version("scores"))


def _standing() -> pd.DataFrame:
    here = store()
    return _forecasts(str(here.folder), (here.version("forecasts"), here.version("decisions")))


# The versions among the arguments make the caches forget when a table has grown; a folder stands
# for its store because a cache needs arguments that it can compare.
@st.cache_data(show_spinner=False, max_entries=4)
def _forecasts(folder: str, versions: tuple[int, int]) -> pd.DataFrame:
    return ledger.latest(_store(folder))


@st.cache_data(show_spinner=False, max_entries=64)
def _history(folder: str, symbol: str, versions: tuple[int, int]) -> History:
    return read_history(_store(folder), [symbol])


@st.cache_data(show_spinner=False, max_entries=8)
def _scores(folder: str, model_version: str, version: int) -> pd.DataFrame:
    return _store(folder).current("scores", where={"version": [model_version]})


def _store(folder: str) -> Store:
    return Store(Path(folder))
