"""Results, their surprise and announced dates from Yahoo, one company at a time, each failure given its type.

yfinance carries the requests (cookie, crumb, consent); the replies are read here. Its own reader of the
page of results takes a server's error for a company without results, fails as a whole on one odd row,
and gives rows the dates of others where one is missing; its calendar depends on the host's time zone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from json import JSONDecodeError
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from forecaster.errors import DataError, ForecasterError, SourceError
from forecaster.events import COLUMNS, SCHEDULED, checked
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions, first_closing_after
from forecaster.sources import Outcome, Told
from forecaster.sources.event_files import LARGE_SURPRISE
from forecaster.sources.yahoo import _TURN, _client, unanswered

PAGE = "https://finance.yahoo.com/calendar/earnings"
CALENDAR = "https://query2.finance.yahoo.com/v10/finance/quoteSummary"
ROWS = 100
"""Rows of results on one page: the most that Yahoo gives."""

UNREPORTED = pd.Timedelta(days=3)
"""How long after its date a row without a reported figure may still be of results that were put off."""

_COLUMNS = ("Symbol", "Earnings Date", "EPS Estimate", "Reported EPS", "Surprise (%)")
_DATE = re.compile(
    r"(?P<day>[A-Z][a-z]+ \d{1,2}, \d{4})(?:,| at)? ?"
    r"(?:(?P<clock>\d{1,2}(?P<minutes>:\d\d)? ?[AP]M) ?(?P<zone>[A-Z]{2,5})|TAS|Time Not Supplied)?"
)
_REST_OF_HOUR = pd.Timedelta(minutes=59, seconds=59)
_DETAIL_LENGTH = 200

T = TypeVar("T")


class YahooEvents:
    """Yahoo's page of results and its calendar of announced dates.

    Past rows of the page become ``results``, with a tone of tanh(surprise / 10 %); one without a reported
    figure only after `UNREPORTED`, for its date may have been put off. Of the dates ahead,
    the calendar's count: it follows what the company announces, and gives a range until it has; the
    page, which shows one date whether announced or not, adds the hour, or stands in for the calendar.

    Parameters
    ----------
    timeout : float
        Seconds to wait for a reply.
    session : curl_cffi.requests.Session or None
        What sends the requests; None leaves it to yfinance.
    """

    name = "yahoo"
    remote = True
    host = "yahoo"
    requests = 2

    def __init__(self, timeout: float = 10.0, session: Any | None = None) -> None:
        self.timeout = timeout
        self.session = session

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        """Fetch the results of a company, and the dates planned for the next ones and its dividend.

        Parameters
        ----------
        instrument : Instrument
            Nothing is asked about funds and indices: they have no results.
        asked_at : Timestamp
            UTC.
        since : Timestamp, optional
            UTC. Pages that lie wholly before are not asked for.

        Returns
        -------
        Told
            What arrived, whatever the outcome. If the page fails, that is the outcome; if the calendar
            does, only ``detail`` says so, unless Yahoo asks to be left alone.
        """
        if instrument.type != "EQUITY":
            return Told(instrument.symbol, Outcome.OK)
        lines: list[dict[str, str]] = []
        with _TURN:
            _, outcome, lost = _attempt(lambda: self._read_pages(instrument, since, lines), None)
            calendar, dates, undated = _Calendar(), outcome, lost
            if outcome is not Outcome.RATE_LIMITED:
                calendar, dates, undated = _attempt(lambda: self._read_calendar(instrument), _Calendar())
        rows = [row for line in lines if (row := _row(line, instrument))]
        if lines and not rows and outcome is Outcome.OK:
            outcome, lost = Outcome.INVALID, f"no row can be read, such as {lines[0]['Earnings Date']!r}"
        is_gone = dates is Outcome.GONE and not rows
        if is_gone or (dates is Outcome.RATE_LIMITED and outcome is Outcome.OK):
            outcome = dates
        unread = len(lines) - len(rows)
        said = [f"{unread} rows of results cannot be read"] if unread and rows else []
        said += [] if lines or lost else ["the page lists no results"]
        if lost and undated:
            said += [f"results and announced dates are missing: {undated if is_gone else lost}"]
        elif lost or undated:
            said += [f"{'results' if lost else 'announced dates'} are missing: {lost or undated}"]
        detail = " ".join("; ".join(said).split())[:_DETAIL_LENGTH]
        events = _released(rows, instrument, asked_at) + _planned(rows, calendar, instrument, asked_at)
        table = pd.DataFrame(events, columns=list(COLUMNS))
        return Told(instrument.symbol, outcome, checked(table, f"{instrument.symbol} at Yahoo"), detail)

    def _read_pages(
        self, instrument: Instrument, since: pd.Timestamp | None, lines: list[dict[str, str]]
    ) -> None:
        """Add the lines of one page after another, the latest first; those read stay if a later one fails."""
        for offset in count(0, ROWS):
            reply = self._get(PAGE, {"symbol": instrument.symbol, "offset": offset, "size": ROWS})
            if reply.status_code == 404:
                raise DataError("no page of results (status 404)")
            page = _lines(reply.text)
            new = [line for line in page if line not in lines]
            lines += new
            oldest = _row(page[-1], instrument) if page else None
            is_enough = since is not None and oldest is not None and oldest.known_at < since
            if len(page) < ROWS or not new or is_enough:
                return

    def _read_calendar(self, instrument: Instrument) -> "_Calendar":
        from yfinance.exceptions import YFTickerMissingError

        symbol = instrument.symbol
        asked = {"modules": "calendarEvents", "formatted": "false", "symbol": symbol}
        summary = self._get(f"{CALENDAR}/{symbol}", asked).json()["quoteSummary"]
        if not summary["result"]:
            said = summary["error"]["description"]
            if "quote not found" in said.casefold():
                raise YFTickerMissingError(symbol, said, possibly_delisted=False)
            if "no fundamentals data" in said.casefold():
                return _Calendar()
            raise DataError(said)
        events = summary["result"][0]["calendarEvents"]
        results = events.get("earnings") or {}
        dates = [moment for date in results.get("earningsDate") or [] if (moment := _moment(date))]
        is_estimate = bool(results.get("isEarningsDateEstimate"))
        return _Calendar(tuple(sorted(dates)), is_estimate, _moment(events.get("exDividendDate")))

    def _get(self, url: str, asked: dict[str, Any]) -> Any:
        """Ask; a status of 404 is an answer too."""
        client = _client().data.YfData(session=self.session)
        reply = client.get(url, params=asked, timeout=self.timeout)
        if reply.status_code not in (200, 404):
            raise SourceError(f"status {reply.status_code}")
        return reply


@dataclass(frozen=True)
class _Calendar:
    """What the calendar says, in UTC: date or first and last date of results, date of the dividend."""

    results: tuple[pd.Timestamp, ...] = ()
    is_estimate: bool = False
    ex_dividend: pd.Timestamp | None = None


@dataclass(frozen=True)
class _Row:
    """A row of the page.

    Attributes
    ----------
    day : Timestamp
        Date at the exchange, without time zone.
    known_at, planned_for : Timestamp
        UTC, for a past and for a coming row: the stated time; of a date alone its end and its midday.
    estimate, reported, surprise : float
        Per share, per share and in per cent of the estimate; NaN where Yahoo has none.
    """

    day: pd.Timestamp
    known_at: pd.Timestamp
    planned_for: pd.Timestamp
    estimate: float
    reported: float
    surprise: float


def _attempt(question: Callable[[], T], nothing: T) -> tuple[T, Outcome, str]:
    """Ask, and give a failure its type and a line for a person."""
    exceptions = _client().exceptions
    kinds: tuple[tuple[Any, Outcome, str], ...] = (
        (exceptions.YFRateLimitError, Outcome.RATE_LIMITED, "Yahoo asks to be left alone for a while"),
        (exceptions.YFTickerMissingError, Outcome.GONE, "Yahoo does not know the symbol"),
        ((JSONDecodeError, UnicodeDecodeError), Outcome.TRANSIENT, "Yahoo's reply is not JSON"),
        ((OSError, SourceError, exceptions.YFDataException), Outcome.TRANSIENT, "Yahoo did not answer"),
        (DataError, Outcome.INVALID, "Yahoo's reply cannot be used"),
        (Exception, Outcome.INVALID, "Yahoo's reply has an unexpected form"),
    )
    try:
        return question(), Outcome.OK, ""
    except (
        *(OSError, AttributeError, LookupError, TypeError, ValueError),
        *(ForecasterError, exceptions.YFException),
    ) as error:
        outcome, words = next((then, words) for kind, then, words in kinds if isinstance(error, kind))
        return nothing, outcome, unanswered(error) if isinstance(error, OSError) else f"{words}: {error}"


def _lines(html: str) -> list[dict[str, str]]:
    """Read the table of the page: the text of its cells by column.

    Raises
    ------
    SourceError
        If Yahoo is down for repairs.
    DataError
        If it is another page, or its columns are others.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    table = soup.find("table")
    if table is None:
        if "will be right back" in html.casefold():
            raise SourceError("it says that it will be right back")
        title = soup.title.get_text(" ", strip=True) if soup.title else ""
        if "earnings" in title.casefold():
            return []
        raise DataError(f"expected a table of results, came a page {title!r} (does it ask for consent?)")
    rows = [
        [cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])]
        for row in table.find_all("tr")
    ]
    header = [name.replace("Surprise(%)", "Surprise (%)") for name in rows[0]] if rows else []
    if not set(_COLUMNS) <= set(header):
        raise DataError(f"expected the columns {', '.join(_COLUMNS)}, came {', '.join(header) or 'none'}")
    # A single cell is a remark across the table.
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if len(row) > 1]


def _row(line: dict[str, str], instrument: Instrument) -> _Row | None:
    """Understand a line; None if it is another company's, or its date or time zone is not clear."""
    said = _DATE.fullmatch(" ".join(line["Earnings Date"].split()))
    if said is None or line["Symbol"].upper() != instrument.symbol:
        return None
    figures = [_number(line[name]) for name in _COLUMNS[2:]]
    try:
        day = pd.Timestamp(said["day"])
        clock = pd.Timestamp(f"{said['day']} {said['clock'] or ''}")
    except ValueError:
        return None
    if clock == day:
        end = _at(day, "23:59:59", instrument.timezone)
        return _Row(day, end, _midday(day, instrument), *figures)
    zone = _zone(said["zone"], instrument)
    if zone is None:
        return None
    moment = _at(clock, "00:00:00", zone)
    if not said["minutes"] and _closes_within(moment, instrument.exchange):
        moment += _REST_OF_HOUR
    return _Row(_day(moment, instrument), moment, moment, *figures)


def _zone(letters: str, instrument: Instrument) -> str | None:
    """Find the time zone that calls its winter or summer time so: New York's, the exchange's or UTC."""
    for zone in ("America/New_York", instrument.timezone, "UTC"):
        if letters in {pd.Timestamp(day, tz=zone).tzname() for day in ("2025-01-01", "2025-07-01")}:
            return zone
    return None


def _closes_within(hour: pd.Timestamp, exchange: str) -> bool:
    """Tell whether the exchange closes after the beginning of an hour and before its end.

    Yahoo leaves out the minutes, so what is stated for such an hour may have come after the close.
    """
    ends = pd.DatetimeIndex([hour, hour + _REST_OF_HOUR]).tz_localize(None).to_numpy()
    first, last = first_closing_after(exchange, ends)
    return bool(first != last)


def _number(text: str) -> float:
    plain = text.replace("\N{MINUS SIGN}", "-").replace(",", "").strip("+% ")
    value = float(pd.to_numeric(plain, errors="coerce"))
    return value if np.isfinite(value) else np.nan


def _moment(epoch: Any) -> pd.Timestamp | None:
    """Read seconds since 1970, bare or beside their text."""
    seconds = epoch.get("raw") if isinstance(epoch, dict) else epoch
    return None if seconds is None else pd.Timestamp(int(seconds), unit="s", tz="UTC")


def _at(day: pd.Timestamp, later: str, zone: str) -> pd.Timestamp:
    clock = day + pd.Timedelta(later)
    return clock.tz_localize(zone, ambiguous=False, nonexistent="shift_forward").tz_convert("UTC")


def _midday(day: pd.Timestamp, instrument: Instrument) -> pd.Timestamp:
    return _at(day, "12:00:00", instrument.timezone)


def _day(moment: pd.Timestamp, instrument: Instrument) -> pd.Timestamp:
    return moment.tz_convert(instrument.timezone).tz_localize(None).normalize()


def _date(moment: pd.Timestamp, instrument: Instrument) -> pd.Timestamp:
    """Find the date that the calendar means: midnight in UTC is how it writes a date of any exchange."""
    is_date = moment == moment.normalize()
    return moment.tz_localize(None) if is_date else _day(moment, instrument)


def _released(rows: list[_Row], instrument: Instrument, asked_at: pd.Timestamp) -> list[dict[str, object]]:
    """List the results up to `asked_at`, one a day: of several the one with figures, else the first."""
    past = [
        row
        for row in rows
        if row.known_at <= asked_at and (np.isfinite(row.reported) or asked_at - row.known_at > UNREPORTED)
    ]
    past.sort(key=lambda row: (np.isnan(row.surprise), np.isnan(row.reported), row.known_at), reverse=True)
    return [
        {
            "symbol": instrument.symbol,
            "kind": "results",
            "happened_at": row.known_at,
            "known_at": row.known_at,
            "tone": np.tanh(row.surprise / LARGE_SURPRISE),
            "magnitude": abs(row.surprise),
            "title": _title(row),
            "url": f"{PAGE}?symbol={instrument.symbol}",
            "source": YahooEvents.name,
        }
        for _, row in sorted({row.day: row for row in past}.items())
    ]


def _title(row: _Row) -> str:
    if np.isnan(row.reported):
        return "Results, figures not told"
    against = "" if np.isnan(row.estimate) else f" against {row.estimate:.2f} expected"
    return f"Results: {row.reported:.2f} per share{against}"


def _planned(
    rows: list[_Row], calendar: _Calendar, instrument: Instrument, asked_at: pd.Timestamp
) -> list[dict[str, object]]:
    """List the plan of the next results and of the next ex-dividend date, as far as they lie ahead."""
    page = {row.day: row.planned_for for row in rows if row.planned_for > asked_at}
    told = _calendar_moments(calendar, instrument)
    if any(row.day in told and row.known_at <= asked_at and np.isfinite(row.reported) for row in rows):
        told = {}  # These are out; the calendar is behind.
    moments = [moment for day, other in told.items() if (moment := page.get(day, other)) > asked_at]
    title = "Estimated date of results" if calendar.is_estimate else SCHEDULED["results_scheduled"]
    if page and not moments:
        moments, title = [min(page.values())], "Date of results, from the page of results"
    plan = [("results_scheduled", moment, 1 / len(moments), title) for moment in moments]
    if calendar.ex_dividend is not None:
        moment = _midday(_date(calendar.ex_dividend, instrument), instrument)
        if moment > asked_at:
            plan.append(("dividend_scheduled", moment, 1.0, SCHEDULED["dividend_scheduled"]))
    return [
        {
            "symbol": instrument.symbol,
            "kind": kind,
            "happened_at": moment,
            "known_at": asked_at,
            "tone": np.nan,
            "magnitude": probability,
            "title": words,
            "url": f"https://finance.yahoo.com/quote/{instrument.symbol}",
            "source": YahooEvents.name,
        }
        for kind, moment, probability, words in plan
    ]


def _calendar_moments(calendar: _Calendar, instrument: Instrument) -> dict[pd.Timestamp, pd.Timestamp]:
    """Give the day of results, or each session of their range, its time: midday where none is told."""
    if not calendar.results:
        return {}
    first, last = (_date(calendar.results[end], instrument) for end in (0, -1))
    if first < last:
        sessions = pd.DatetimeIndex(all_sessions(instrument.exchange))
        named = list(sessions[(sessions >= first) & (sessions <= last)]) or [first]
        return {day: _midday(day, instrument) for day in named}
    moment = calendar.results[0]
    is_date = moment in (first.tz_localize("UTC"), _at(first, "00:00:00", instrument.timezone))
    return {first: _midday(first, instrument) if is_date else moment}
