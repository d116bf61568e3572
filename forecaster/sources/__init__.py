"""Where prices and events come from: one file and one line in a table per outside world.

A source returns what it got and how it went, never an exception for one bad symbol.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import pandas as pd

from forecaster.config import Settings
from forecaster.errors import UsageError
from forecaster.events import no_events
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


@dataclass(frozen=True)
class Fetched:
    """What a source returned for one symbol.

    Attributes
    ----------
    symbol : str
    outcome : Outcome
    bars : DataFrame
        `BAR_COLUMNS`, one row per session as delivered, faulty rows included. Prices and volume are
        as traded on the day, ``adj_close`` is adjusted for splits and dividends up to now.
    actions : DataFrame or None
        `ACTION_COLUMNS`, from the first session asked for up to now; kind is "dividend" (per share
        as traded on the day, in the currency) or "split" (new shares per old one). None from a
        source that reports no actions: its prices may then be adjusted for splits, and its
        ``adj_close`` is the only word on dividends.
    instrument : Instrument or None
        None if the outcome is not ok, or where a fetch from a later start does not bring it.
    detail : str
        One line for a person: what went wrong, or empty.
    """

    symbol: str
    outcome: Outcome
    bars: pd.DataFrame = field(default_factory=_no_bars)
    actions: pd.DataFrame | None = None
    instrument: Instrument | None = None
    detail: str = ""


@dataclass(frozen=True)
class Match:
    """A symbol that fits a search.

    Attributes
    ----------
    symbol, name : str
    exchange : str
        Market identifier code, or the country where the source tells no more.
    type : str
        One of `instruments.SUPPORTED_TYPES`.
    """

    symbol: str
    name: str
    exchange: str
    type: str


@dataclass(frozen=True)
class Searched:
    """What a source answered to a search.

    Attributes
    ----------
    outcome : Outcome
        OK as well where nothing fits.
    matches : tuple of Match
        The best first; only what can be fetched and has a calendar here.
    detail : str
        One line for a person: what went wrong, or empty.
    """

    outcome: Outcome
    matches: tuple[Match, ...] = ()
    detail: str = ""


def fitting(words: str, held: Iterable[Instrument]) -> tuple[Match, ...]:
    """Search what is held: every word stands in the symbol or in the name; a symbol itself comes first."""
    asked = words.casefold().split()
    found = [
        Match(one.symbol, one.name, one.exchange, one.type)
        for one in held
        if asked and all(word in f"{one.symbol} {one.name}".casefold() for word in asked)
    ]
    return tuple(sorted(found, key=lambda one: (one.symbol.casefold() not in asked, one.symbol)))


class Source(Protocol):
    """A supplier of daily bars.

    Attributes
    ----------
    name : str
    remote : bool
        Whether a fetch asks somebody else's server, and is therefore paced.
    """

    name: str
    remote: bool

    def symbols(self) -> tuple[str, ...]:
        """List the symbols that it holds; empty where it cannot be listed."""

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Fetch the bars of one symbol from `start` on (None: all there are)."""

    def search(self, words: str) -> Searched:
        """Find symbols by ticker or by words of the name."""


@dataclass(frozen=True)
class Told:
    """What a source of events returned for one symbol.

    Attributes
    ----------
    symbol : str
    outcome : Outcome
    events : DataFrame
        `events.COLUMNS`, checked by `events.checked`; faulty entries are left out.
    detail : str
        One line for a person: what went wrong or was left out, or empty.
    """

    symbol: str
    outcome: Outcome
    events: pd.DataFrame = field(default_factory=no_events)
    detail: str = ""


class EventSource(Protocol):
    """A supplier of company events and announced dates.

    Attributes
    ----------
    name : str
    remote : bool
        Whether it asks somebody else's server, and is therefore paced.
    host : str
        Whose server that is, such as "yahoo"; sources of one host share its pace. Empty if not remote.
    requests : int
        Requests that one company costs as a rule.
    """

    name: str
    remote: bool
    host: str
    requests: int

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        """Fetch the events of one company.

        Parameters
        ----------
        asked_at : Timestamp
            UTC; ``known_at`` of announced dates and headlines. An update stores the time of the reply
            in its place.
        since : Timestamp, optional
            UTC; earlier events need not be told again. None: all there are.
        """


def _yahoo(settings: Settings) -> Source:
    from forecaster.sources.yahoo import YahooSource

    return YahooSource(first=pd.Timestamp(settings.start))


def _sample(settings: Settings) -> Source:
    from forecaster.sources.sample import SampleSource

    return SampleSource()


def _tiingo(settings: Settings) -> Source:
    from forecaster.sources.tiingo import TiingoSource

    return TiingoSource(first=pd.Timestamp(settings.start))


SOURCES: dict[str, Callable[[Settings], Source]] = {"yahoo": _yahoo, "tiingo": _tiingo, "sample": _sample}


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


def _yahoo_events(settings: Settings) -> EventSource:
    from forecaster.sources.yahoo_events import YahooEvents

    return YahooEvents()


def _news(settings: Settings) -> EventSource:
    from forecaster.sources.news import YahooNews

    return YahooNews()


def _filings(settings: Settings) -> EventSource:
    from forecaster.sources.filings import Filings

    return Filings(settings.contact)


def _sample_events(settings: Settings) -> EventSource:
    from forecaster.sources.sample_events import SampleEvents

    return SampleEvents()


EVENT_SOURCES: dict[str, Callable[[Settings], EventSource]] = {
    "yahoo": _yahoo_events,
    "news": _news,
    "filings": _filings,
    "sample": _sample_events,
}


def event_source(name: str, settings: Settings) -> EventSource:
    """Make a source of events by name.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    if name not in EVENT_SOURCES:
        raise UsageError(f"No source of events {name!r}; choose one of {', '.join(EVENT_SOURCES)}")
    return EVENT_SOURCES[name](settings)
