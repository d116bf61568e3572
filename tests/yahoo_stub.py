"""A stub of Yahoo on loopback, for the real yfinance client.

::

    with YahooStub() as yahoo:
        stock = yahoo.add(StubSymbol("AAA", sessions("2024-01-02", "2024-03-28")))
        YahooSource(session=yahoo.session()).fetch("AAA")
        stock.sessions = sessions("2024-01-02", "2024-04-30")    # a month later
        stock.dividends["2024-04-10"] = 0.5                       # changes every earlier adj_close

A `StubSymbol` holds prices as they were traded; the stub adjusts them as Yahoo does.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd
from curl_cffi import requests
from exchange_calendars import ExchangeCalendar, get_calendar

from forecaster.ingest import MARKET_FACTORS
from forecaster.instruments import Instrument
from forecaster.sources import BAR_COLUMNS, Fetched, Outcome, Searched, fitting

COLUMNS = ("open", "high", "low", "close", "volume")
SLOW_SECONDS = 30.0


class Failure(StrEnum):
    """How the stub may refuse a chart."""

    GONE = "gone"
    NO_ROWS = "no_rows"
    RATE_LIMITED = "rate_limited"
    BAD_GATEWAY = "bad_gateway"
    BAD_CRUMB = "bad_crumb"
    TRUNCATED = "truncated"
    SLOW = "slow"


@lru_cache
def calendar(exchange: str) -> ExchangeCalendar:
    """Return the exchange's calendar over the years that tests use."""
    return get_calendar(exchange, start="2020-01-01", end="2025-12-31")


def sessions(first: str, last: str, exchange: str = "XNYS") -> pd.DatetimeIndex:
    """List the sessions from `first` to `last`, both included."""
    return pd.DatetimeIndex(calendar(exchange).sessions_in_range(first, last))


def traded(days: pd.DatetimeIndex) -> pd.DataFrame:
    """Make bars that depend on nothing but their date, so that a longer series extends a shorter."""
    age = (days - pd.Timestamp("2020-01-01")).days.to_numpy()
    close = np.round(100 + 0.05 * age + 5 * np.sin(age / 9), 2)
    opening = np.round(close + np.cos(age), 2)
    return pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, close) + 0.5,
            "low": np.minimum(opening, close) - 0.5,
            "close": close,
            "volume": 1_000_000 + 1_000 * (age % 97),
        },
        index=days,
    )


@dataclass
class StubSymbol:
    """One symbol of the stub; change it between requests as the world would.

    Attributes
    ----------
    symbol : str
    sessions : DatetimeIndex
        Sessions that have traded.
    dividends, splits : dict of str to float
        By date; a dividend as paid on the day, a split as new shares per old one.
    nulls : dict of str to tuple of str
        Which of `COLUMNS` Yahoo lost, by date.
    duplicate_last : bool
        Repeat the last bar at the time of the close with a little more volume.
    meta : dict
        Fields of the reply's metadata that differ.
    edit : callable or None
        Changes the finished reply's only result in place.
    failure : Failure or None
    exchange : str
        Whose calendar gives the time zone and the opening times.
    """

    symbol: str
    sessions: pd.DatetimeIndex
    dividends: dict[str, float] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
    nulls: dict[str, tuple[str, ...]] = field(default_factory=dict)
    duplicate_last: bool = False
    meta: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[dict[str, Any]], object] | None = None
    failure: Failure | None = None
    exchange: str = "XNYS"

    def as_traded(self) -> pd.DataFrame:
        """Return the bars as they were on the day: a split divides the price from its session on."""
        bars = traded(self.sessions).astype("float64")
        for day, ratio in self.splits.items():
            since = bars.index >= day
            bars.loc[since, ["open", "high", "low", "close"]] /= ratio
            bars.loc[since, "volume"] *= ratio
        return bars

    def quoted(self) -> pd.DataFrame:
        """Return the bars as Yahoo shows them today, ``adj_close`` included, nulls not yet applied."""
        bars = self.as_traded()
        bars["adj_close"] = bars["close"]
        for day, amount in self.dividends.items():
            before = bars.index < day
            if before.any():
                last = bars.index[before][-1]
                # A split between that close and the dividend makes the shares that are paid on smaller.
                between = [ratio for other, ratio in self.splits.items() if str(last.date()) < other <= day]
                bars.loc[before, "adj_close"] *= 1 - amount * np.prod(between) / bars.loc[last, "close"]
        for day, ratio in self.splits.items():
            before = bars.index < day
            bars.loc[before, ["open", "high", "low", "close", "adj_close"]] /= ratio
            bars.loc[before, "volume"] *= ratio
        return bars

    def actions(self) -> pd.DataFrame:
        """List the dividends and splits as they were on the day."""
        rows = [
            *((day, "dividend", amount) for day, amount in self.dividends.items()),
            *((day, "split", ratio) for day, ratio in self.splits.items()),
        ]
        frame = pd.DataFrame(sorted(rows), columns=["session", "kind", "value"])
        return frame.astype({"session": "datetime64[ns]", "value": "float64"})

    def instrument(self) -> Instrument:
        """Describe the symbol as a source does."""
        zone, about = str(calendar(self.exchange).tz), self.meta
        name, currency = about.get("longName", f"{self.symbol} Incorporated"), about.get("currency", "USD")
        return Instrument(self.symbol, name, self.exchange, zone, currency)

    def as_of(self, day: str | pd.Timestamp) -> "StubSymbol":
        """Return the symbol as it was on the evening of a session."""
        last = str(pd.Timestamp(day).date())
        return replace(
            self,
            sessions=self.sessions[self.sessions <= last],
            dividends={day: amount for day, amount in self.dividends.items() if day <= last},
            splits={day: ratio for day, ratio in self.splits.items() if day <= last},
        )

    def chart(self, begin: int, end: int) -> dict[str, Any]:
        """Build the reply for the bars that open in [`begin`, `end`), in epoch seconds."""
        market = calendar(self.exchange)
        bars = self.quoted()
        for day, lost in self.nulls.items():
            bars.loc[day, list(lost)] = np.nan
            if "close" in lost:
                bars.loc[day, "adj_close"] = np.nan
        bars.index = _epochs(market.opens, self.sessions)
        if self.duplicate_last:
            again = bars.iloc[[-1]].assign(volume=bars["volume"].iloc[-1] + 100)
            bars = pd.concat([bars, again.set_axis(_epochs(market.closes, self.sessions[-1:]))])
        bars = bars[(bars.index >= begin) & (bars.index < end)]
        result = {
            "meta": self._about(market),
            "timestamp": bars.index.tolist(),
            "events": self._events(market, begin, end),
            "indicators": {
                "quote": [{column: _jsonable(bars[column]) for column in COLUMNS}],
                "adjclose": [{"adjclose": _jsonable(bars["adj_close"])}],
            },
        }
        if self.edit:
            self.edit(result)
        return {"chart": {"result": [result], "error": None}}

    def _about(self, market: ExchangeCalendar) -> dict[str, Any]:
        return {
            "currency": "USD",
            "symbol": self.symbol,
            "exchangeName": "NYQ",
            "instrumentType": "EQUITY",
            "longName": f"{self.symbol} Incorporated",
            "exchangeTimezoneName": str(market.tz),
            "validRanges": ["1d", "5d", "max"],
            "priceHint": 2,
        } | self.meta

    def _events(self, market: ExchangeCalendar, begin: int, end: int) -> dict[str, Any]:
        def dated(days: dict[str, float]) -> list[tuple[int, str]]:
            opens = _epochs(market.opens, pd.DatetimeIndex(list(days)))
            return [(at, day) for at, day in zip(opens, days, strict=True) if begin <= at < end]

        return {
            "dividends": {
                str(at): {"date": at, "amount": self.dividends[day] / self._later_splits(day)}
                for at, day in dated(self.dividends)
            },
            "splits": {
                str(at): {"date": at, "numerator": self.splits[day], "denominator": 1}
                for at, day in dated(self.splits)
            },
        }

    def _later_splits(self, day: str) -> float:
        return float(np.prod([ratio for other, ratio in self.splits.items() if other > day]))


def _epochs(moments: pd.Series, days: pd.DatetimeIndex) -> list[int]:
    return [int(moment.timestamp()) for moment in moments[days]]


def _jsonable(column: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]


@dataclass
class MemorySource:
    """The same symbols without a server, as a source hands them on: bars and actions as on the day.

    Attributes
    ----------
    shares : dict of str to StubSymbol
        A symbol that is not there is answered as gone.
    outcomes : dict of str to Outcome
        How a request ends instead of well, by symbol.
    edits : dict of str to callable
        Changes the bars (index session) of a reply in place, or returns others.
    tells_actions : bool
        If not, prices are adjusted for splits and no action is told, as in a file.
    asked : list of tuple
        Symbol and start of every request so far.
    """

    shares: dict[str, StubSymbol] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    edits: dict[str, Callable[[pd.DataFrame], pd.DataFrame | None]] = field(default_factory=dict)
    tells_actions: bool = True
    name: str = "memory"
    remote: bool = True
    asked: list[tuple[str, pd.Timestamp | None]] = field(default_factory=list)

    def symbols(self) -> tuple[str, ...]:
        """List what is held."""
        return tuple(self.shares)

    def add(self, share: StubSymbol) -> StubSymbol:
        """Hold `share` from now on."""
        self.shares[share.symbol] = share
        return share

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Hand on one symbol from `start` on."""
        self.asked.append((symbol, start))
        outcome = self.outcomes.get(symbol, Outcome.OK if symbol in self.shares else Outcome.GONE)
        if outcome is not Outcome.OK:
            return Fetched(symbol, outcome, detail=f"{symbol}: {outcome.value}, as told")
        share = self.shares[symbol]
        bars, actions = share.quoted(), share.actions()
        if self.tells_actions:
            bars = share.as_traded().assign(adj_close=bars["adj_close"])
        edited = self.edits[symbol](bars) if symbol in self.edits else None
        bars = (bars if edited is None else edited).rename_axis("session").reset_index()
        since = pd.Timestamp.min if start is None else start
        return Fetched(
            symbol,
            Outcome.OK,
            bars.loc[bars["session"] >= since, list(BAR_COLUMNS)].reset_index(drop=True),
            actions[actions["session"] >= since].reset_index(drop=True) if self.tells_actions else None,
            share.instrument(),
        )

    def search(self, words: str) -> Searched:
        """Search among the symbols; `outcomes` of the words themselves say how else it ends."""
        outcome = self.outcomes.get(words, Outcome.OK)
        if outcome is not Outcome.OK:
            return Searched(outcome, detail=f"{words}: {outcome.value}, as told")
        return Searched(outcome, fitting(words, [share.instrument() for share in self.shares.values()]))


class YahooStub:
    """The server; a context manager.

    Attributes
    ----------
    symbols : dict of str to StubSymbol
        A symbol that is not there is answered as gone.
    requests : list of str
        Host and path of every request so far.
    crumb_status : int
        Status of the reply to a request for a crumb.
    quotes : list of dict
        What a search is answered with, whatever the words.
    search_failure : Failure or None
    """

    def __init__(self) -> None:
        self.symbols: dict[str, StubSymbol] = {}
        self.requests: list[str] = []
        self.crumb_status = 200
        self.quotes: list[dict[str, Any]] = []
        self.search_failure: Failure | None = None
        self.closing = Event()
        stub = self

        class Handler(_Handler):
            yahoo = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, symbol: StubSymbol) -> StubSymbol:
        """Serve `symbol` from now on."""
        self.symbols[symbol.symbol] = symbol
        return symbol

    def session(self) -> "LoopbackSession":
        """Return a session that sends everything here."""
        return LoopbackSession(self._server.server_port)

    def charts(self) -> list[str]:
        """Symbols of the chart requests so far."""
        return [path.rpartition("/")[2] for path in self.requests if "/v8/finance/chart/" in path]


def add_factors(stub: YahooStub, first: str, last: str) -> None:
    """Serve every factor of the market: indices, funds, and yields of a few per cent."""
    codes = {"^GSPC": "SNP", "^VIX": "WCB", "^TNX": "CGI", "^IRX": "CGI"}
    for symbol in MARKET_FACTORS.values():
        code = codes.get(symbol, "PCX")
        about = {"exchangeName": code, "instrumentType": "INDEX" if symbol in codes else "ETF"}
        exchange = "XCBF" if code == "WCB" else "XNYS"
        edit = _in_per_cent if code == "CGI" else None
        stub.add(
            StubSymbol(symbol, sessions(first, last, exchange), meta=about, edit=edit, exchange=exchange)
        )


def _in_per_cent(result: dict[str, Any]) -> None:
    """Turn a price of a hundred into a yield of two per cent."""
    for part in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
        for name in set(part) - {"volume"}:
            part[name] = [None if value is None else value / 50 for value in part[name]]


class LoopbackSession(requests.Session):
    """The session that yfinance uses, with https://host/path sent to http://127.0.0.1/host/path."""

    def __init__(self, port: int) -> None:
        super().__init__(impersonate="chrome", trust_env=False)
        self._port = port

    def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request to the stub."""
        parts = urlsplit(url)
        if parts.hostname != "127.0.0.1":
            query = f"?{parts.query}" if parts.query else ""
            url = f"http://127.0.0.1:{self._port}/{parts.hostname}{parts.path}{query}"
        return super().request(method, url, *args, **kwargs)


class _Handler(BaseHTTPRequestHandler):
    yahoo: YahooStub

    def do_GET(self) -> None:
        parts = urlsplit(unquote(self.path))
        self.yahoo.requests.append(parts.path[1:])
        if parts.path.endswith("/v1/test/getcrumb"):
            status = self.yahoo.crumb_status
            self._send(status, "stubcrumb" if status == 200 else "Too Many Requests")
        elif "/v8/finance/chart/" in parts.path:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._chart(self.yahoo.symbols.get(parts.path.rpartition("/")[2]), query)
        elif parts.path.endswith("/v1/finance/search"):
            self._search(parse_qs(parts.query)["q"][0])
        else:
            self._send(404, "<html>not found</html>", "text/html")

    def _search(self, words: str) -> None:
        failure = self.yahoo.search_failure
        if failure == Failure.SLOW:
            self.yahoo.closing.wait(SLOW_SECONDS)
        elif failure in REFUSALS:
            self._send(*REFUSALS[failure])
        else:
            reply = {"explains": [], "count": len(self.yahoo.quotes), "quotes": self.yahoo.quotes, "news": []}
            body = json.dumps(reply)
            self._send(200, body[: len(body) // 2] if failure == Failure.TRUNCATED else body)

    def _chart(self, symbol: StubSymbol | None, query: dict[str, str]) -> None:
        failure = symbol.failure if symbol else Failure.GONE
        if failure == Failure.SLOW:
            self.yahoo.closing.wait(SLOW_SECONDS)
        elif failure in REFUSALS:
            self._send(*REFUSALS[failure])
        elif symbol:
            if "period1" in query:
                begin, end = int(query["period1"]), int(query["period2"])
            else:
                begin, end = _epochs(calendar(symbol.exchange).opens, symbol.sessions[-1:])[0], 2**40
            body = json.dumps(symbol.chart(begin, end))
            self._send(200, body[: len(body) // 2] if failure == Failure.TRUNCATED else body)

    def _send(self, status: int, body: str, kind: str = "application/json") -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _error(code: str, description: str, root: str = "chart") -> str:
    return json.dumps({root: {"result": None, "error": {"code": code, "description": description}}})


REFUSALS: dict[Failure | None, tuple[int, str]] = {
    Failure.GONE: (404, _error("Not Found", "No data found, symbol may be delisted")),
    Failure.NO_ROWS: (400, _error("Bad Request", "Data doesn't exist for startDate = 1, endDate = 2")),
    Failure.RATE_LIMITED: (429, "Too Many Requests\r\n"),
    Failure.BAD_GATEWAY: (502, "<html>\n<body>Bad Gateway</body>\n</html>"),
    Failure.BAD_CRUMB: (401, _error("Unauthorized", "Invalid Crumb", root="finance")),
}


def reset_yfinance(folder: Path) -> None:
    """Make yfinance forget its session, cookies, replies and databases; new ones go to `folder`."""
    from yfinance import cache, data, set_tz_cache_location

    data.YfData.cache_get.cache_clear()
    data.SingletonMeta._instances.clear()
    cache._TzCacheManager._tz_cache = None
    cache._CookieCacheManager._Cookie_cache = None
    cache._ISINCacheManager._isin_cache = None
    set_tz_cache_location(str(folder))
