"""Daily prices from Yahoo, read with yfinance one symbol at a time, each failure given its type."""

import atexit
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from json import JSONDecodeError
from threading import Lock
from typing import Any

import pandas as pd

from forecaster.adjust import as_traded
from forecaster.errors import DataError
from forecaster.instruments import (
    EXCHANGE_OF_YAHOO,
    SUPPORTED_TYPES,
    SYMBOL_PATTERN,
    Instrument,
    exchange_of_yahoo,
    require_supported,
)
from forecaster.sources import ACTION_COLUMNS, BAR_COLUMNS, Fetched, Match, Outcome, Searched

FIRST = pd.Timestamp("2010-01-01")

_BARS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
}
_ACTIONS = {"Dividends": "dividend", "Stock Splits": "split"}
HUNDREDTHS = ("GBp", "GBX", "ZAc", "ILA")
"""Currencies of prices in hundredths of what dividends may be told in."""

_GONE = ("no data found", "delisted")
_NO_ROWS = "data doesn't exist"
_DETAIL_LENGTH = 200

_BY_CURL = {
    5: "the name of the proxy is not resolved",
    6: "no name resolution",
    7: "the connection is refused",
    28: "no answer in time",
    35: "no secure connection comes about",
    60: "its certificate is not trusted",
}
"""Exit code of curl -> what it means."""

MOST_MATCHES = 20
"""Symbols that a search asks for."""

# Switches, cookies and replies of yfinance belong to the process, so requests take turns.
_TURN = Lock()


class YahooSource:
    """Yahoo's public price history.

    Parameters
    ----------
    first : Timestamp
        Where a fetch without `start` begins.
    timeout : float
        Seconds to wait for a reply.
    session : curl_cffi.requests.Session or None
        What sends the requests; None leaves it to yfinance.
    """

    name = "yahoo"
    remote = True

    def __init__(
        self,
        first: pd.Timestamp = FIRST,
        timeout: float = 10.0,
        session: Any | None = None,
    ) -> None:
        self.first = first
        self.timeout = timeout
        self.session = session

    def symbols(self) -> tuple[str, ...]:
        """Return nothing: Yahoo cannot be listed."""
        return ()

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Fetch the daily bars of one symbol with its dividends and splits.

        Parameters
        ----------
        symbol : str
            As Yahoo spells it, such as BRK-B or ^GSPC.
        start : Timestamp or None
            First session wanted; None: `first`.

        Returns
        -------
        Fetched
            Faulty rows included, except the placeholders of sessions that Yahoo knows nothing
            about. Yahoo's missing volume arrives as 0.
        """
        try:
            return self._read(symbol, self.first if start is None else start)
        except _failures() as error:
            return _failed(symbol, *_why(error))

    def search(self, words: str) -> Searched:
        """Find symbols as the search box of Yahoo's own pages does.

        Returns
        -------
        Searched
            Without symbols whose type or exchange is not supported here.
        """
        try:
            return Searched(Outcome.OK, self._matches(words))
        except _failures() as error:
            outcome, detail = _why(error)
            return Searched(outcome, detail=_line(detail))

    def _matches(self, words: str) -> tuple[Match, ...]:
        yahoo = _client()
        with _TURN, _exceptions_shown():
            yahoo.data.YfData.cache_get.cache_clear()
            quotes = yahoo.Search(
                words,
                max_results=MOST_MATCHES,
                news_count=0,
                lists_count=0,
                include_cb=False,
                session=self.session,
                timeout=self.timeout,
            ).quotes
        return tuple(
            Match(
                quote["symbol"],
                quote.get("longname") or quote.get("shortname") or quote["symbol"],
                EXCHANGE_OF_YAHOO[quote["exchange"]],
                quote["quoteType"],
            )
            for quote in quotes
            if quote.get("quoteType") in SUPPORTED_TYPES
            and quote.get("exchange") in EXCHANGE_OF_YAHOO
            and SYMBOL_PATTERN.match(quote["symbol"])
        )

    def _read(self, symbol: str, start: pd.Timestamp) -> Fetched:
        yfinance = _client()
        with _TURN, _exceptions_shown():
            yfinance.data.YfData.cache_get.cache_clear()
            ticker = yfinance.Ticker(symbol, session=self.session)
            # The reply names the time zone. Left to look it up first, yfinance hides Yahoo's word
            # on a dead symbol and sends some twenty requests for it.
            ticker._tz = "UTC"
            try:
                history = ticker.history(
                    # Sydney opens on the day before in UTC.
                    start=start - pd.Timedelta(days=1),
                    auto_adjust=False,
                    actions=True,
                    keepna=True,
                    repair=False,
                    timeout=self.timeout,
                )
            except yfinance.exceptions.YFPricesMissingError as error:
                outcome = _why_missing(error.yahoo_reason or "", ticker.history_metadata)
                return _failed(symbol, outcome, error.rationale)
            about = ticker.history_metadata
        instrument = _instrument(symbol, about)
        history.insert(0, "session", history.index.tz_localize(None).normalize().as_unit("ns"))
        history = history[history["session"] >= start]
        bars = _bars(history)
        if bars.empty:
            raise DataError(f"{symbol}: no usable row from {start.date()} on")
        # Yahoo adjusts prices and dividends for every split up to now, and tells all of those.
        actions = _actions(history)
        if instrument.currency in HUNDREDTHS:
            actions = _in_hundredths(actions, bars)
        return Fetched(symbol, Outcome.OK, *as_traded(bars, actions), instrument)


def _in_hundredths(actions: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """Bring dividends told in pounds to the pence of the prices, where the adjusted closes say so."""
    closes = bars.dropna(subset=["close", "adj_close"]).set_index("session").sort_index()
    values = actions["value"].tolist()
    for place, action in enumerate(actions.to_dict("records")):
        before = closes[closes.index < action["session"]].tail(1)
        after = closes[closes.index >= action["session"]].head(1)
        if action["kind"] == "dividend" and len(before) and len(after):
            close = before["close"].item()
            step = before["adj_close"].item() / close / (after["adj_close"].item() / after["close"].item())
            told, meant = (1 - times * action["value"] / close for times in (1, 100))
            if abs(step - meant) < abs(step - told):
                values[place] = 100 * action["value"]
    return actions.assign(value=values)


@cache
def _client() -> Any:
    """Import yfinance (0.7 s) and give its own databases a folder that ends with this process."""
    folder = tempfile.mkdtemp(prefix="forecaster-yahoo-")
    # Registered before yfinance registers the closing of its databases, so run after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import yfinance

    yfinance.set_tz_cache_location(folder)
    # What it would log is told by each outcome.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    return yfinance


@contextmanager
def _exceptions_shown() -> Iterator[None]:
    debug = _client().config.debug
    before = debug.hide_exceptions
    debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="yfinance")
            yield
    finally:
        debug.hide_exceptions = before


def _failures() -> tuple[type[Exception], ...]:
    """Name what yfinance raises, by intention or over a reply that it did not expect."""
    _client()
    from yfinance.exceptions import YFException

    return YFException, OSError, DataError, AttributeError, LookupError, TypeError, ValueError


def _why(error: Exception) -> tuple[Outcome, str]:
    """Give a failure its type and its line."""
    from yfinance.exceptions import YFDataException, YFRateLimitError

    if isinstance(error, YFRateLimitError):
        return Outcome.RATE_LIMITED, "Yahoo asks to be left alone for a while"
    if isinstance(error, (JSONDecodeError, UnicodeDecodeError)):
        return Outcome.TRANSIENT, f"Yahoo's reply is not JSON: {error}"
    if isinstance(error, (OSError, YFDataException)):
        return Outcome.TRANSIENT, unanswered(error)
    if isinstance(error, DataError):
        return Outcome.INVALID, str(error)
    return Outcome.INVALID, f"Yahoo's reply has an unexpected form: {type(error).__name__}: {error}"


def unanswered(error: Exception) -> str:
    """Say in plain words why no answer came."""
    why = _BY_CURL.get(getattr(error, "code", 0))
    return f"Yahoo cannot be reached from here: {why}" if why else f"Yahoo did not answer: {error}"


def _failed(symbol: str, outcome: Outcome, detail: str) -> Fetched:
    return Fetched(symbol, outcome, detail=_line(detail))


def _line(detail: str) -> str:
    return " ".join(detail.split())[:_DETAIL_LENGTH]


def _why_missing(reason: str, about: Mapping[str, Any]) -> Outcome:
    """Believe that a symbol is gone only where Yahoo says so."""
    said = reason.casefold()
    if any(words in said for words in _GONE):
        return Outcome.GONE
    return Outcome.INVALID if _NO_ROWS in said or "exchangeName" in about else Outcome.TRANSIENT


def _instrument(symbol: str, about: Mapping[str, Any]) -> Instrument:
    require_supported(symbol, about["instrumentType"])
    return Instrument(
        symbol=symbol,
        name=about.get("longName") or about.get("shortName") or symbol,
        exchange=exchange_of_yahoo(symbol, about["exchangeName"]),
        timezone=about["exchangeTimezoneName"],
        currency=about["currency"] or "",
        type=about["instrumentType"],
    )


def _bars(history: pd.DataFrame) -> pd.DataFrame:
    bars = history.rename(columns=_BARS)[list(BAR_COLUMNS)]
    priced = bars[["open", "high", "low", "close"]].notna().any(axis=1)
    kept = bars[priced | (bars["volume"] > 0)]
    return kept.astype(dict.fromkeys(_BARS.values(), "float64")).reset_index(drop=True)


def _actions(history: pd.DataFrame) -> pd.DataFrame:
    paid = history["Dividends"] + history.get("Capital Gains", 0.0)
    named = history.assign(Dividends=paid).rename(columns=_ACTIONS)[["session", *_ACTIONS.values()]]
    actions = named.melt("session", var_name="kind", value_name="value").astype({"value": "float64"})
    actions = actions[actions["value"] != 0].sort_values(["session", "kind"], ignore_index=True)
    return actions[list(ACTION_COLUMNS)]
