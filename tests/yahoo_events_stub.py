"""Yahoo's page of results and its calendar on loopback, for the real yfinance client.

::

    with YahooEventsStub() as yahoo:
        company = yahoo.add_company(StubCompany("AAA", [row("2025-01-30 16:00", 1.35, 1.40, 3.70)]))
        YahooEvents(session=yahoo.session()).tell(company.instrument(), asked_at)
        company.announce("2025-04-30 20:00")      # as the calendar would, in UTC
"""

import json
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
from yahoo_stub import SLOW_SECONDS, YahooStub, _Handler

from forecaster.instruments import Instrument

COLUMNS = ("Symbol", "Company", "Earnings Date", "EPS Estimate", "Reported EPS", "Surprise (%)")
CONSENT = "<html><head><title>Your privacy choices</title></head><body><form>Accept all</form></body></html>"
NO_RESULTS = "<html><head><title>Company Earnings Calendar</title></head><body>No results</body></html>"
REPAIRS = "<html><body><h1>Will be right back...</h1></body></html>"
NOT_FOUND = "Quote not found for symbol: AAA"
NO_FUNDAMENTALS = "No fundamentals data found for any of the summaryTypes=calendarEvents"


def stated(local: str, zone: str = "America/New_York") -> str:
    """Write a local time as the page does: "January 30, 2025 at 4 PM EST"."""
    moment = pd.Timestamp(local, tz=zone)
    return f"{moment.month_name()} {moment.day}, {moment.year} at {(moment.hour - 1) % 12 + 1} " + (
        f"{'AM' if moment.hour < 12 else 'PM'} {moment.tzname()}"
    )


def row(
    local: str,
    estimate: float | None = None,
    reported: float | None = None,
    surprise: float | None = None,
    zone: str = "America/New_York",
) -> tuple[str, str, str, str]:
    """Write a row of results at a local time, to the hour."""
    figures = ("-" if value is None else f"{value:+.2f}" for value in (estimate, reported, surprise))
    return stated(local, zone), *figures


@dataclass
class StubCompany:
    """One company of the stub; change it between requests as the world would.

    Attributes
    ----------
    symbol : str
    rows : list of tuple of str
        Texts of the date, the estimate, the reported figure and the surprise, the latest first.
    events : dict
        The calendar's ``calendarEvents``.
    columns : tuple of str
        Header of the table.
    symbol_told : str
        What the table's first column says.
    page : str or None
        What is sent in place of the page.
    page_status, calendar_status : int
    calendar : str or None
        What is sent in place of the calendar.
    calendar_error : str
        Yahoo's word, with a status of 404, in place of the calendar.
    ignores_offset : bool
        Send the first rows whatever is asked.
    fails_from : int
        Offset from which a page ends in a bad gateway.
    is_slow : bool
        Keep the page back.
    """

    symbol: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    events: dict[str, Any] = field(default_factory=lambda: {"maxAge": 1, "earnings": {}})
    columns: tuple[str, ...] = COLUMNS
    symbol_told: str = ""
    page: str | None = None
    page_status: int = 200
    calendar_status: int = 200
    calendar: str | None = None
    calendar_error: str = ""
    ignores_offset: bool = False
    fails_from: int = 10**6
    is_slow: bool = False

    def announce(self, *dates: str, is_estimate: bool = False) -> None:
        """Let the calendar name a date, or the first and last of a range (UTC)."""
        epochs = [epoch(date) for date in dates]
        self.events["earnings"] = {"earningsDate": epochs, "isEarningsDateEstimate": is_estimate}

    def declare(self, ex_dividend: str) -> None:
        """Let the calendar name an ex-dividend date, as midnight in UTC."""
        self.events["exDividendDate"] = epoch(ex_dividend)

    def instrument(self, exchange: str = "XNYS", zone: str = "America/New_York") -> Instrument:
        """Describe the company as the source of prices does."""
        return Instrument(self.symbol, f"{self.symbol} Incorporated", exchange, zone, "USD")

    def html(self, offset: int, size: int) -> str:
        """Write the page."""
        if self.page is not None:
            return self.page
        rows = self.rows[:size] if self.ignores_offset else self.rows[offset : offset + size]
        symbol = self.symbol_told or self.symbol
        cells = [(symbol, f"{symbol} & Sons", *texts) for texts in rows]
        lines = [_line("th", self.columns), *(_line("td", line) for line in cells)]
        title = "<title>Company Earnings Calendar - Yahoo Finance</title>"
        return f"<html><head>{title}</head><body><table>{''.join(lines)}</table></body></html>"

    def summary(self) -> tuple[int, str]:
        """Write the calendar's reply: status and body."""
        if self.calendar is not None:
            return self.calendar_status, self.calendar
        if self.calendar_error:
            error = {"code": "Not Found", "description": self.calendar_error}
            return 404, json.dumps({"quoteSummary": {"result": None, "error": error}})
        result = [{"calendarEvents": self.events}]
        return self.calendar_status, json.dumps({"quoteSummary": {"result": result, "error": None}})


def epoch(moment: str) -> int:
    """Seconds since 1970 of a time in UTC."""
    return int(pd.Timestamp(moment, tz="UTC").timestamp())


def _line(kind: str, texts: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{kind}><span>{escape(text)}</span></{kind}>' for text in texts)}</tr>"


class YahooEventsStub(YahooStub):
    """The stub of prices, with a page of results and a calendar for each company.

    Attributes
    ----------
    companies : dict of str to StubCompany
    asked : list of tuple
        Symbol and offset of each request for a page.
    """

    def __init__(self) -> None:
        super().__init__()
        self.companies: dict[str, StubCompany] = {}
        self.asked: list[tuple[str, int]] = []
        stub = self

        class Handler(_EventsHandler):
            yahoo = stub

        self._server.RequestHandlerClass = Handler

    def add_company(self, company: StubCompany) -> StubCompany:
        """Serve `company` from now on."""
        self.companies[company.symbol] = company
        return company

    def calendars(self) -> list[str]:
        """Symbols of the requests for a calendar so far."""
        return [path.rpartition("/")[2] for path in self.requests if "/quoteSummary/" in path]


class _EventsHandler(_Handler):
    yahoo: YahooEventsStub

    def do_GET(self) -> None:
        parts = urlsplit(unquote(self.path))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/finance.yahoo.com/calendar/earnings":
            self.yahoo.requests.append(parts.path[1:])
            self._page(self.yahoo.companies[query["symbol"]], int(query["offset"]), int(query["size"]))
        elif parts.path.startswith("/query2.finance.yahoo.com/v10/finance/quoteSummary/"):
            self.yahoo.requests.append(parts.path[1:])
            self._send(*self.yahoo.companies[parts.path.rpartition("/")[2]].summary())
        else:
            super().do_GET()

    def _page(self, company: StubCompany, offset: int, size: int) -> None:
        self.yahoo.asked.append((company.symbol, offset))
        if company.is_slow:
            self.yahoo.closing.wait(SLOW_SECONDS)
        status = 502 if offset >= company.fails_from else company.page_status
        self._send(status, company.html(offset, size) if status == 200 else "<html>sorry</html>", "text/html")
