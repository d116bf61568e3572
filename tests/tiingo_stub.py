"""A stub of Tiingo's end-of-day service on loopback.

::

    with TiingoStub() as tiingo:
        share = tiingo.add(StubTicker("AAA", sessions("2024-01-02", "2024-03-28")))
        TiingoSource(url=tiingo.url, token=TOKEN).fetch("AAA")
        share.splits["2024-03-07"] = 4.0                  # its prices fall to a quarter that day

A `StubTicker` is told what happened; the stub works out the prices as traded and as adjusted.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PRICES = ("open", "high", "low", "close")
SLOW_SECONDS = 30.0


class Failure(StrEnum):
    """How the stub may answer instead."""

    UNKNOWN_TICKER = "unknown_ticker"
    UNKNOWN_TICKER_AS_TEXT = "unknown_ticker_as_text"
    NOTHING_HERE = "nothing_here"
    LIMIT = "limit"
    LIMIT_IN_JSON = "limit_in_json"
    LIMIT_WITH_STATUS_200 = "limit_with_status_200"
    LIMIT_IN_JSON_WITH_STATUS_200 = "limit_in_json_with_status_200"
    LIMIT_WITH_STATUS_403 = "limit_with_status_403"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_FINDS_NOTHING = "gateway_finds_nothing"
    PAGE = "page"
    PAGE_NOT_FOUND = "page_not_found"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    BROKEN_OFF = "broken_off"
    SLOW = "slow"


@dataclass
class StubTicker:
    """One symbol of the stub; change it between requests as the world would.

    Attributes
    ----------
    ticker : str
    sessions : DatetimeIndex
        Sessions that have traded.
    dividends, splits : dict of str to float
        By ex-date; a dividend as paid on the day, a split as new shares per old one.
    about : dict
        Fields of the meta reply that differ.
    edit : callable or None
        Changes the rows of the price reply in place.
    failure, meta_failure : Failure or None
        Of the price reply, of the meta reply.
    """

    ticker: str
    sessions: pd.DatetimeIndex
    dividends: dict[str, float] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[list[Any]], object] | None = None
    failure: Failure | None = None
    meta_failure: Failure | None = None

    def traded(self) -> pd.DataFrame:
        """Return the bars as traded; they depend on the date and on the splits up to it only."""
        age = (self.sessions - pd.Timestamp("2020-01-01")).days.to_numpy()
        close = 200 + 0.1 * age + 4 * np.cos(age / 7)
        opening = close + np.sin(age)
        bars = pd.DataFrame(
            {
                "open": opening,
                "high": np.maximum(opening, close) + 0.75,
                "low": np.minimum(opening, close) - 0.75,
                "close": close,
                "volume": 500_000.0 + 1_000 * (age % 89),
            },
            index=self.sessions,
        )
        for day, ratio in self.splits.items():
            since = bars.index >= day
            bars.loc[since, list(PRICES)] /= ratio
            bars.loc[since, "volume"] *= ratio
        return bars.round({**dict.fromkeys(PRICES, 4), "volume": 0})

    def rows(self, first: pd.Timestamp, last: pd.Timestamp) -> list[dict[str, Any]]:
        """Build the price reply for the sessions from `first` to `last`, both included."""
        bars = self.traded()
        price_factor = pd.Series(1.0, bars.index)
        share_factor = pd.Series(1.0, bars.index)
        for day, amount in self.dividends.items():
            before = bars.index < day
            price_factor[before] *= 1 - amount / bars["close"][before].iloc[-1]
        for day, ratio in self.splits.items():
            before = bars.index < day
            price_factor[before] /= ratio
            share_factor[before] *= ratio
        dates = [f"{day:%Y-%m-%d}" for day in bars.index]
        table = bars.assign(
            date=[f"{date}T00:00:00.000Z" for date in dates],
            **{f"adj{name.title()}": bars[name] * price_factor for name in PRICES},
            adjVolume=bars["volume"] * share_factor,
            divCash=[self.dividends.get(date, 0.0) for date in dates],
            splitFactor=[self.splits.get(date, 1.0) for date in dates],
        )
        rows = table.astype({"volume": int, "adjVolume": int}).loc[first:last].to_dict("records")
        if self.edit:
            self.edit(rows)
        return rows

    def meta(self) -> dict[str, Any]:
        """Build the meta reply."""
        return {
            "ticker": self.ticker,
            "name": f"{self.ticker} Incorporated",
            "exchangeCode": "NYSE",
            "description": "Makes things. Its request allocation is generous; not found elsewhere.",
            "startDate": f"{self.sessions[0]:%Y-%m-%d}",
            "endDate": f"{self.sessions[-1]:%Y-%m-%d}",
        } | self.about


class TiingoStub:
    """The server; a context manager.

    Attributes
    ----------
    tickers : dict of str to StubTicker
        A ticker that is not there is answered as unknown.
    requests : list of str
        Path and query of every request so far, as they came.
    tokens : list of str
        The header Authorization of every request so far.
    elsewhere : str
        Root of another server that every request is sent on to, unless empty.
    found : list of dict
        What a search is answered with, whatever the words.
    search_failure : Failure or None
    """

    def __init__(self) -> None:
        self.tickers: dict[str, StubTicker] = {}
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.elsewhere = ""
        self.found: list[dict[str, Any]] = []
        self.search_failure: Failure | None = None
        self.closing = Event()
        stub = self

        class Handler(_Handler):
            tiingo = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

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

    def add(self, ticker: StubTicker) -> StubTicker:
        """Serve `ticker` from now on."""
        self.tickers[ticker.ticker] = ticker
        return ticker


class _Handler(BaseHTTPRequestHandler):
    tiingo: TiingoStub

    def do_GET(self) -> None:
        self.tiingo.requests.append(self.path)
        self.tiingo.tokens.append(self.headers.get("Authorization", ""))
        parts = urlsplit(self.path)
        # Through a proxy a path begins with the host.
        path = parts.path.removeprefix("/api.tiingo.com")
        match [unquote(part) for part in path.split("/")[1:]]:
            case _ if self.tiingo.elsewhere:
                self._send(302, "", {"Location": self.tiingo.elsewhere + self.path})
            case _ if self.tiingo.tokens[-1] != f"Token {TOKEN}":
                self._send(401, _detail(f"Invalid token: {self.tiingo.tokens[-1]}"))
            case ["tiingo", "daily", ticker, *_] if ticker not in self.tiingo.tickers:
                self._send(*REFUSALS[Failure.UNKNOWN_TICKER])
            case ["tiingo", "daily", ticker]:
                share = self.tiingo.tickers[ticker]
                self._answer(share.meta(), share.meta_failure)
            case ["tiingo", "daily", ticker, "prices"]:
                share = self.tiingo.tickers[ticker]
                self._answer(share.rows(*_wanted(parts.query, share)), share.failure)
            case ["tiingo", "utilities", "search"]:
                self._answer(self.tiingo.found, self.tiingo.search_failure)
            case _:
                self._send(*REFUSALS[Failure.NOTHING_HERE])

    def _answer(self, data: Any, failure: Failure | None) -> None:
        body = json.dumps(data)
        if failure == Failure.SLOW:
            self.tiingo.closing.wait(SLOW_SECONDS)
        elif failure == Failure.TRUNCATED:
            self._send(200, body[: len(body) // 2])
        elif failure == Failure.BROKEN_OFF:
            self._send(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
        else:
            self._send(*REFUSALS.get(failure, (200, body)))

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _wanted(query: str, share: StubTicker) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Read the range asked for; without one, Tiingo sends the latest session."""
    asked = {name: pd.Timestamp(values[0]) for name, values in parse_qs(query).items()}
    latest = share.sessions[-1]
    return asked.get("startDate", latest), asked.get("endDate", latest)


def _detail(text: str) -> str:
    return json.dumps({"detail": text})


_UNKNOWN = "Error: Ticker 'ZZZ' not found"
_OVER = "Error: You have run over your hourly request allocation."

REFUSALS: dict[Failure | None, tuple[int, str]] = {
    Failure.UNKNOWN_TICKER: (404, _detail(_UNKNOWN)),
    Failure.UNKNOWN_TICKER_AS_TEXT: (200, _UNKNOWN),
    Failure.NOTHING_HERE: (404, _detail("Not found.")),
    Failure.LIMIT: (429, _OVER),
    Failure.LIMIT_IN_JSON: (429, _detail(_OVER)),
    Failure.LIMIT_WITH_STATUS_200: (200, "You have run over your 500 symbol look up for this month."),
    Failure.LIMIT_IN_JSON_WITH_STATUS_200: (200, _detail(_OVER)),
    Failure.LIMIT_WITH_STATUS_403: (403, _detail(_OVER)),
    Failure.BAD_REQUEST: (400, _detail("Error: the date cannot be read\nat all" + " or so" * 99)),
    Failure.UNAUTHORIZED: (401, _detail("Invalid token.")),
    Failure.FORBIDDEN: (403, _detail("Your plan does not include this ticker.")),
    Failure.SERVER_ERROR: (500, json.dumps({"error": "overslept"})),
    Failure.BAD_GATEWAY: (502, "<html>\n<body>Bad Gateway</body>\n</html>"),
    Failure.GATEWAY_FINDS_NOTHING: (503, "upstream not found"),
    Failure.PAGE: (200, "<html>\n<body>Please accept our terms of use</body>\n</html>"),
    Failure.PAGE_NOT_FOUND: (404, "<html>\n<body>Page not found</body>\n</html>"),
    Failure.EMPTY: (200, ""),
}
