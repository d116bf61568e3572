"""Where prices come from: one file and one line in `SOURCES` per outside world.

A source returns what it got and how it went, never an exception for one bad symbol.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import pandas as pd

from forecaster.config import Settings
from forecaster.errors import UsageError
from forecaster.instruments import Instrument

BAR_COLUMNS = ("session", "open", "high", "low", "close", "adj_close", "volume")
ACTION_COLUMNS = ("session", "kind", "value")


class Outcome(StrEnum):
    """How a request for one symbol ended."""

    OK = "ok"
    RATE_LIMITED = "rate_limited"
    GONE = "gone"
    TRANSIENT = "transient"
    INVALID = "invalid"


def _no_bars() -> pd.DataFrame:
    return pd.DataFrame(columns=list(BAR_COLUMNS))


def _no_actions() -> pd.DataFrame:
    return pd.DataFrame(columns=list(ACTION_COLUMNS))


@dataclass(frozen=True)
class Fetched:
    """What a source returned for one symbol.

    Attributes
    ----------
    symbol : str
    outcome : Outcome
    bars : DataFrame
        `BAR_COLUMNS`, one row per session as delivered, faulty rows included. ``close`` and the
        other prices are adjusted for splits, ``adj_close`` for splits and dividends.
    actions : DataFrame
        `ACTION_COLUMNS`; kind is "dividend" (per share, in the currency) or "split" (ratio).
    instrument : Instrument or None
        None unless the outcome is ok.
    detail : str
        One line for a person: what went wrong, or empty.
    """

    symbol: str
    outcome: Outcome
    bars: pd.DataFrame = field(default_factory=_no_bars)
    actions: pd.DataFrame = field(default_factory=_no_actions)
    instrument: Instrument | None = None
    detail: str = ""


class Source(Protocol):
    """A supplier of daily bars."""

    name: str

    def symbols(self) -> tuple[str, ...]:
        """List the symbols that it holds; empty where it cannot be listed."""

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Fetch the bars of one symbol from `start` on (None: all there are)."""


def _yahoo(settings: Settings) -> Source:
    from forecaster.sources.yahoo import YahooSource

    return YahooSource(first=pd.Timestamp(settings.start))


def _sample(settings: Settings) -> Source:
    from forecaster.sources.sample import SampleSource

    return SampleSource()


SOURCES: dict[str, Callable[[Settings], Source]] = {"yahoo": _yahoo, "sample": _sample}


def source(name: str, settings: Settings) -> Source:
    """Make a source by name.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    if name not in SOURCES:
        raise UsageError(f"No price source {name!r}; choose one of {', '.join(SOURCES)}")
    return SOURCES[name](settings)
