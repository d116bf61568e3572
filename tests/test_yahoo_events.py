"""Results and announced dates from Yahoo: the real yfinance client against a stub on loopback."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import count
from math import tanh
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yahoo_events_stub import (
    COLUMNS,
    CONSENT,
    NO_FUNDAMENTALS,
    NO_RESULTS,
    NOT_FOUND,
    REPAIRS,
    StubCompany,
    YahooEventsStub,
    row,
    stated,
)
from yahoo_stub import StubSymbol, reset_yfinance, sessions

from forecaster.events import CHECKS, distinct_results, moved_session
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions
from forecaster.sources import Outcome, Told
from forecaster.sources.yahoo import YahooSource
from forecaster.sources.yahoo_events import YahooEvents

ASKED_AT = pd.Timestamp("2025-02-10 15:00", tz="UTC")
NEW_YORK = ZoneInfo("America/New_York")
ROWS = [
    row("2025-04-30 16:00", 1.50),
    row("2025-01-30 16:00", 1.35, 1.40, 3.70),
    row("2024-10-30 07:00", 1.20, 1.08, -10.00),
]


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooEventsStub]:
    """Serve one ordinary company, AAA."""
    reset_yfinance(tmp_path)
    with YahooEventsStub() as stub:
        stub.add_company(StubCompany("AAA", list(ROWS)))
        yield stub
    reset_yfinance(tmp_path)


@pytest.fixture
def aaa(yahoo: YahooEventsStub) -> StubCompany:
    """Return the ordinary company."""
    return yahoo.companies["AAA"]


@pytest.fixture
def source(yahoo: YahooEventsStub) -> YahooEvents:
    """Return the source under test."""
    return YahooEvents(timeout=5.0, session=yahoo.session())


def tell(source: YahooEvents, company: StubCompany, asked_at: str | pd.Timestamp = ASKED_AT) -> pd.DataFrame:
    """Ask, and return the events of an answer to which nothing is lacking."""
    told = source.tell(company.instrument(), pd.Timestamp(asked_at))
    assert (told.outcome, told.detail) == (Outcome.OK, "")
    CHECKS.validate(told.events)
    return told.events


def of_kind(events: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of one kind, renumbered."""
    return events[events["kind"] == kind].reset_index(drop=True)


def moments(events: pd.DataFrame, column: str = "happened_at") -> list[str]:
    """Return times in UTC, to the second."""
    return events[column].dt.strftime("%Y-%m-%d %H:%M:%S").tolist()


def moved(events: pd.DataFrame, exchange: str = "XNYS") -> list[str]:
    """Return the dates of the sessions that the events move."""
    named = all_sessions(exchange)[moved_session(events, exchange, "known_at")]
    return [str(pd.Timestamp(day).date()) for day in named]


def test_results_with_their_surprise(source: YahooEvents, aaa: StubCompany) -> None:
    results = of_kind(tell(source, aaa), "results")
    assert moments(results) == ["2024-10-30 11:00:00", "2025-01-30 21:00:00"]
    assert results["known_at"].equals(results["happened_at"])
    assert results["magnitude"].tolist() == [10.0, 3.7]
    assert results["tone"].tolist() == pytest.approx([tanh(-1), tanh(0.37)])
    assert results["title"].tolist() == [
        "Results: 1.08 per share against 1.20 expected",
        "Results: 1.40 per share against 1.35 expected",
    ]
    assert set(results["url"]) == {"https://finance.yahoo.com/calendar/earnings?symbol=AAA"}
    assert set(results["source"]) == {"yahoo"}
    assert moved(results) == ["2024-10-30", "2025-01-31"]


@pytest.mark.parametrize(
    ("texts", "title"),
    [
        ((1.20, None, None), "Results, figures not told"),
        ((None, None, None), "Results, figures not told"),
        ((None, 0.52, None), "Results: 0.52 per share"),
        ((0.0, -0.52, None), "Results: -0.52 per share against 0.00 expected"),
    ],
)
def test_a_missing_surprise_stays_unknown(
    source: YahooEvents, aaa: StubCompany, texts: tuple[float | None, ...], title: str
) -> None:
    aaa.rows = [row("2025-01-30 16:00", *texts)]
    results = of_kind(tell(source, aaa), "results")
    assert results[["tone", "magnitude"]].isna().all(axis=None)
    assert results["title"].tolist() == [title]


@pytest.mark.parametrize(
    ("text", "surprise"),
    [
        ("+1,878.69", 1878.69),
        ("-3.5%", 3.5),
        ("\N{MINUS SIGN}3.5", 3.5),
        ("--", None),
        ("∞", None),
        ("inf", None),
    ],
)
def test_figures_as_yahoo_writes_them(
    source: YahooEvents, aaa: StubCompany, text: str, surprise: float | None
) -> None:
    aaa.rows = [(stated("2025-01-30 16:00"), "1.00", "2.00", text)]
    told = of_kind(tell(source, aaa), "results")["magnitude"].item()
    assert pd.isna(told) if surprise is None else told == surprise


@pytest.mark.parametrize(
    ("local", "utc", "session"),
    [
        ("2025-03-07 16:00", "2025-03-07 21:00:00", "2025-03-10"),
        ("2025-03-10 16:00", "2025-03-10 20:00:00", "2025-03-11"),
        ("2025-03-10 15:00", "2025-03-10 19:00:00", "2025-03-10"),
        ("2024-11-01 16:00", "2024-11-01 20:00:00", "2024-11-04"),
        ("2024-11-04 16:00", "2024-11-04 21:00:00", "2024-11-05"),
        ("2024-11-04 15:00", "2024-11-04 20:00:00", "2024-11-04"),
        ("2024-11-27 17:00", "2024-11-27 22:00:00", "2024-11-29"),
        # The day after Thanksgiving closes at 13:00.
        ("2024-11-29 12:00", "2024-11-29 17:00:00", "2024-11-29"),
        ("2024-11-29 13:00", "2024-11-29 18:00:00", "2024-12-02"),
        ("2024-11-29 14:00", "2024-11-29 19:00:00", "2024-12-02"),
        ("2024-11-30 09:00", "2024-11-30 14:00:00", "2024-12-02"),
    ],
)
def test_the_stated_hour_tells_the_session(
    source: YahooEvents, aaa: StubCompany, local: str, utc: str, session: str
) -> None:
    aaa.rows = [row(local, 1.0, 1.1, 10.0)]
    results = of_kind(tell(source, aaa, "2025-06-02 12:00Z"), "results")
    assert moments(results) == [utc]
    assert moved(results) == [session]


@pytest.mark.parametrize(
    "text",
    [
        "January 30, 2025",
        "January 30, 2025 at 12 AM EST",
        "Jan 30, 2025, 12 AMEST",
        "January 30, 2025 at TAS",
        "January 30, 2025 Time Not Supplied",
    ],
)
def test_a_date_alone_counts_from_the_next_session(source: YahooEvents, aaa: StubCompany, text: str) -> None:
    aaa.rows = [(text, "1.00", "1.10", "+10.00")]
    results = of_kind(tell(source, aaa), "results")
    assert moments(results, "known_at") == ["2025-01-31 04:59:59"]
    assert moved(results) == ["2025-01-31"]


def test_a_date_alone_is_planned_for_its_midday_and_known_at_its_end(
    source: YahooEvents, aaa: StubCompany
) -> None:
    aaa.rows = [("March 4, 2025", "1.00", "-", "-")]
    planned = tell(source, aaa, "2025-03-04 16:00Z")
    assert moments(of_kind(planned, "results_scheduled")) == ["2025-03-04 17:00:00"]
    assert tell(source, aaa, "2025-03-04 20:00Z").empty
    aaa.rows = [("March 4, 2025", "1.00", "1.10", "+10.00")]
    assert moments(of_kind(tell(source, aaa, "2025-03-05 05:00Z"), "results")) == ["2025-03-05 04:59:59"]


def test_results_that_were_put_off_have_not_come(source: YahooEvents, aaa: StubCompany) -> None:
    """A date that has passed without figures waits for three days, in which it may move."""
    aaa.rows = [row("2025-02-10 07:00", 1.20)]
    assert tell(source, aaa, "2025-02-11 12:00Z").empty
    aaa.rows = [row("2025-02-18 07:00", 1.20)]
    later = tell(source, aaa, "2025-02-12 12:00Z")
    assert later[["kind", "happened_at"]].to_numpy().tolist() == [
        ["results_scheduled", pd.Timestamp("2025-02-18 12:00Z")]
    ]
    assert tell(source, aaa, "2025-02-21 12:00Z").empty
    told = tell(source, aaa, "2025-02-21 12:01Z")
    assert told[["kind", "happened_at", "known_at"]].to_numpy().tolist() == [
        ["results", *[pd.Timestamp("2025-02-18 12:00Z")] * 2]
    ]
    aaa.rows = [row("2025-02-18 07:00", 1.20, 1.30, 8.33)]
    assert tell(source, aaa, "2025-02-18 12:00Z")["kind"].tolist() == ["results"]


@pytest.mark.parametrize(
    ("exchange", "zone", "text", "known_at", "session"),
    [
        ("XLON", "Europe/London", "February 4, 2025 at 2 AM EST", "2025-02-04 07:00:00", "2025-02-04"),
        ("XLON", "Europe/London", "July 29, 2025 at 7 AM BST", "2025-07-29 06:00:00", "2025-07-29"),
        ("XLON", "Europe/London", "July 29, 2025 at 6 AM UTC", "2025-07-29 06:00:00", "2025-07-29"),
        # The hour of London's close, 16:30: it may have come after.
        ("XLON", "Europe/London", "February 4, 2025 at 11 AM EST", "2025-02-04 16:59:59", "2025-02-05"),
        ("XLON", "Europe/London", "February 4, 2025 at 11:05 AM EST", "2025-02-04 16:05:00", "2025-02-04"),
        # For three weeks in March the clocks are four hours apart.
        ("XLON", "Europe/London", "March 18, 2025 at 11 AM EDT", "2025-03-18 15:00:00", "2025-03-18"),
        ("XLON", "Europe/London", "March 18, 2025 at 12 PM EDT", "2025-03-18 16:59:59", "2025-03-19"),
        # Tokyo closes at 15:30 since November 2024; an evening in New York is its next morning.
        ("XTKS", "Asia/Tokyo", "February 6, 2025 at 1 AM EST", "2025-02-06 06:59:59", "2025-02-07"),
        ("XTKS", "Asia/Tokyo", "February 5, 2025 at 10 PM EST", "2025-02-06 03:00:00", "2025-02-06"),
        ("XTKS", "Asia/Tokyo", "February 6, 2025", "2025-02-06 14:59:59", "2025-02-07"),
        ("XASX", "Australia/Sydney", "February 19, 2025 at 5 PM AEDT", "2025-02-19 06:00:00", "2025-02-20"),
    ],
)
def test_other_exchanges(
    source: YahooEvents, aaa: StubCompany, exchange: str, zone: str, text: str, known_at: str, session: str
) -> None:
    aaa.rows = [(text, "1.00", "1.10", "+10.00")]
    told = source.tell(aaa.instrument(exchange, zone), pd.Timestamp("2025-08-01", tz="UTC"))
    assert moments(told.events, "known_at") == [known_at]
    assert moved(told.events, exchange) == [session]


@pytest.mark.parametrize(
    "rows",
    [
        [ROWS[1], ROWS[1]],
        [row("2025-01-30 17:00"), ROWS[1]],
        [ROWS[1], row("2025-01-30 15:00", 1.35)],
        [ROWS[1], row("2025-01-30 15:00", 1.35, 1.40)],
        [row("2025-01-30 17:00", 1.35, 1.40, 3.70), ROWS[1]],
        [("January 30, 2025", "1.35", "1.40", "-"), ROWS[1]],
    ],
)
def test_duplicated_rows_are_told_once(
    source: YahooEvents, aaa: StubCompany, rows: list[tuple[str, str, str, str]]
) -> None:
    aaa.rows = rows
    results = tell(source, aaa)
    assert moments(results) == ["2025-01-30 21:00:00"]
    assert results["magnitude"].tolist() == [3.7]
    assert len(distinct_results(results, "XNYS")) == 1


def history(length: int) -> list[tuple[str, str, str, str]]:
    """Make past results, 40 days apart."""
    days = [datetime(2025, 1, 31) - timedelta(days=40 * place) for place in range(length)]
    return [row(f"{day:%Y-%m-%d} 16:00", 1.0, 1.1, 10.0) for day in days]


@pytest.mark.parametrize("length", [100, 130, 250])
def test_long_histories_are_paged(
    source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany, length: int
) -> None:
    aaa.rows = history(length)
    assert len(tell(source, aaa)) == length
    assert yahoo.asked == [("AAA", offset) for offset in range(0, length + 1, 100)]

    yahoo.asked.clear()
    recent = source.tell(aaa.instrument(), ASKED_AT, since=pd.Timestamp("2024-01-01", tz="UTC"))
    assert yahoo.asked == [("AAA", 0)]
    assert len(recent.events) == 100


def test_a_page_that_repeats_itself_ends(
    source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany
) -> None:
    aaa.rows = history(100)
    aaa.ignores_offset = True
    assert len(tell(source, aaa)) == 100
    assert yahoo.asked == [("AAA", 0), ("AAA", 100)]


def test_a_later_page_that_fails_leaves_the_earlier_ones(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.rows = history(125)
    aaa.fails_from = 100
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert told.outcome == Outcome.TRANSIENT
    assert told.detail == "results are missing: Yahoo did not answer: status 502"
    assert len(told.events) == 100


def test_plan(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.announce("2025-04-30 20:00")
    aaa.declare("2025-02-14")
    events = tell(source, aaa)
    plan = events[events["kind"] != "results"]
    assert plan["kind"].tolist() == ["results_scheduled", "dividend_scheduled"]
    assert moments(plan) == ["2025-04-30 20:00:00", "2025-02-14 17:00:00"]
    assert set(plan["known_at"]) == {ASKED_AT}
    assert plan["magnitude"].tolist() == [1.0, 1.0]
    assert plan["tone"].isna().all()
    assert plan["title"].tolist() == ["Announced date of results", "Announced ex-dividend date"]


@pytest.mark.parametrize(
    ("dates", "planned"),
    [
        # A range from Thursday to Tuesday, whose hours are nobody's word.
        (
            ("2025-04-17 10:59", "2025-04-22 12:00"),
            # Good Friday is no session.
            ["2025-04-17 16:00:00", "2025-04-21 16:00:00", "2025-04-22 16:00:00"],
        ),
        (("2025-04-17", "2025-04-21"), ["2025-04-17 16:00:00", "2025-04-21 16:00:00"]),
        (("2025-04-21", "2025-04-17"), ["2025-04-17 16:00:00", "2025-04-21 16:00:00"]),
        (("2025-04-18", "2025-04-19"), ["2025-04-18 16:00:00"]),
        # The page adds the hour of the day that it shows.
        (
            ("2025-04-29", "2025-05-01"),
            ["2025-04-29 16:00:00", "2025-04-30 20:00:00", "2025-05-01 16:00:00"],
        ),
        (("2025-04-30",), ["2025-04-30 20:00:00"]),
        (("2025-04-30 12:00",), ["2025-04-30 20:00:00"]),
        # Where they disagree the calendar counts: with its hour, or midday of its date.
        (("2025-05-06 12:30",), ["2025-05-06 12:30:00"]),
        (("2025-05-06",), ["2025-05-06 16:00:00"]),
        (("2025-05-06 04:00",), ["2025-05-06 16:00:00"]),
        (("2025-05-06 10:00", "2025-05-06 20:30"), ["2025-05-06 10:00:00"]),
        # A date on standard time.
        (("2025-03-05",), ["2025-03-05 17:00:00"]),
        # The calendar knows of none, or has been left behind: the page stands in.
        ((), ["2025-04-30 20:00:00"]),
        (("2025-01-30 21:00",), ["2025-04-30 20:00:00"]),
        (("2025-01-29", "2025-02-12"), ["2025-04-30 20:00:00"]),
    ],
)
def test_dates_of_results(
    source: YahooEvents, aaa: StubCompany, dates: tuple[str, ...], planned: list[str]
) -> None:
    aaa.announce(*dates)
    plan = of_kind(tell(source, aaa), "results_scheduled")
    assert moments(plan) == planned
    assert plan["magnitude"].tolist() == [1 / len(planned)] * len(planned)


def test_what_is_left_of_a_range_shares_its_probability(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.announce("2025-02-06", "2025-02-12", is_estimate=True)
    plan = of_kind(tell(source, aaa, "2025-02-10 18:00Z"), "results_scheduled")
    assert moments(plan) == ["2025-02-11 17:00:00", "2025-02-12 17:00:00"]
    assert plan["magnitude"].tolist() == [0.5, 0.5]
    assert set(plan["title"]) == {"Estimated date of results"}


def test_the_page_stands_in_with_its_next_date_alone(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.rows = [row("2025-10-29 16:00"), row("2025-07-30 16:00"), *ROWS]
    plan = of_kind(tell(source, aaa), "results_scheduled")
    assert moments(plan) == ["2025-04-30 20:00:00"]
    assert plan["title"].tolist() == ["Date of results, from the page of results"]


def test_a_date_that_moves_makes_two_plans(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.announce("2025-04-23", "2025-04-24", is_estimate=True)
    first = tell(source, aaa)
    aaa.announce("2025-04-29 20:00")
    later = tell(source, aaa, ASKED_AT + pd.Timedelta(days=1))
    plans = of_kind(pd.concat([first, later]), "results_scheduled")
    assert moments(plans) == ["2025-04-23 16:00:00", "2025-04-24 16:00:00", "2025-04-29 20:00:00"]
    assert moments(plans, "known_at") == ["2025-02-10 15:00:00"] * 2 + ["2025-02-11 15:00:00"]
    assert plans["magnitude"].tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("asked_at", "plans"), [("2025-02-14 16:59Z", 1), ("2025-02-14 17:00Z", 0), ("2025-02-17 09:00Z", 0)]
)
def test_a_past_ex_dividend_date_is_no_plan(
    source: YahooEvents, aaa: StubCompany, asked_at: str, plans: int
) -> None:
    aaa.declare("2025-02-14")
    assert len(of_kind(tell(source, aaa, asked_at), "dividend_scheduled")) == plans


def test_formatted_figures_are_read_too(source: YahooEvents, aaa: StubCompany) -> None:
    aaa.events = {
        "earnings": {"earningsDate": [{"raw": 1746043200, "fmt": "2025-04-30"}, {}]},
        "exDividendDate": {},
    }
    assert moments(of_kind(tell(source, aaa), "results_scheduled")) == ["2025-04-30 20:00:00"]


@pytest.mark.parametrize("kind", ["ETF", "INDEX", "MUTUALFUND"])
def test_funds_and_indices_are_not_asked_about(
    source: YahooEvents, yahoo: YahooEventsStub, kind: str
) -> None:
    fund = Instrument("FUND", "A fund", "ARCX", "America/New_York", "USD", kind)
    told = source.tell(fund, ASKED_AT)
    assert (told.outcome, told.detail, len(told.events)) == (Outcome.OK, "", 0)
    assert yahoo.requests == []


def test_requests_of_a_company(source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany) -> None:
    tell(source, aaa)
    yahoo.requests.clear()
    tell(source, aaa)
    asked = [path for path in yahoo.requests if path != "fc.yahoo.com"]
    assert len(asked) == source.requests
    assert asked == [
        "finance.yahoo.com/calendar/earnings",
        "query2.finance.yahoo.com/v10/finance/quoteSummary/AAA",
    ]


def assert_told(told: Told, outcome: Outcome, *words: str) -> None:
    """Check an outcome and that its detail is a line for a person."""
    assert told.outcome == outcome
    assert 0 < len(told.detail) <= 200
    assert len(told.detail.splitlines()) == 1
    assert "<" not in told.detail
    for word in words:
        assert word in told.detail


@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        ({"page_status": 429}, Outcome.RATE_LIMITED, "left alone"),
        ({"page_status": 502}, Outcome.TRANSIENT, "status 502"),
        ({"page_status": 401}, Outcome.TRANSIENT, "status 401"),
        ({"page_status": 404}, Outcome.INVALID, "status 404"),
        ({"is_slow": True}, Outcome.TRANSIENT, "no answer in time"),
        ({"page": REPAIRS}, Outcome.TRANSIENT, "right back"),
        ({"page": CONSENT}, Outcome.INVALID, "consent"),
        ({"page": ""}, Outcome.INVALID, "expected a table"),
        ({"page": "{}"}, Outcome.INVALID, "expected a table"),
        ({"page": "<table></table>"}, Outcome.INVALID, "came none"),
        ({"page": "<table><tr><td>1</td></tr></table>"}, Outcome.INVALID, "Earnings Date"),
        ({"columns": (*COLUMNS[:5], "Surprise")}, Outcome.INVALID, "Surprise (%)"),
        (
            {"columns": ("Symbol", "Company", "Event", *COLUMNS[3:])},
            Outcome.INVALID,
            "came Symbol, Company, Event",
        ),
        ({"columns": (*COLUMNS, "Market Cap")}, Outcome.INVALID, "unexpected form"),
        ({"rows": [("30/01/2025", "1", "1", "1")]}, Outcome.INVALID, "30/01/2025"),
        ({"rows": [("January 30, 2025 at 4 PM XYZ", "1", "1", "1")]}, Outcome.INVALID, "4 PM XYZ"),
        ({"rows": [("January 32, 2025 at 4 PM EST", "1", "1", "1")]}, Outcome.INVALID, "January 32"),
        ({"rows": [("January 30, 2025 at 16 PM EST", "1", "1", "1")]}, Outcome.INVALID, "16 PM"),
        ({"symbol_told": "BBB"}, Outcome.INVALID, "no row can be read"),
    ],
)
def test_a_page_that_fails_is_typed_and_the_plan_still_told(
    source: YahooEvents, aaa: StubCompany, change: dict[str, Any], outcome: Outcome, words: str
) -> None:
    aaa.announce("2025-04-29 20:00")
    source.timeout = 0.5 if "is_slow" in change else 5.0
    before = {name: getattr(aaa, name) for name in change}
    for name, value in change.items():
        setattr(aaa, name, value)
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert_told(told, outcome, "are missing", words)
    kinds = [] if outcome is Outcome.RATE_LIMITED else ["results_scheduled"]
    assert told.events["kind"].tolist() == kinds

    for name, value in before.items():
        setattr(aaa, name, value)
    assert len(of_kind(tell(source, aaa), "results")) == 2


@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        ({"calendar_status": 429}, Outcome.RATE_LIMITED, "left alone"),
        ({"calendar_status": 503}, Outcome.OK, "status 503"),
        ({"calendar_status": 401}, Outcome.OK, "status 401"),
        ({"calendar_error": NOT_FOUND}, Outcome.OK, "Quote not found"),
        ({"calendar_error": "Out of order"}, Outcome.OK, "Out of order"),
        ({"calendar": "<html>sorry</html>"}, Outcome.OK, "not JSON"),
        ({"calendar": "[]"}, Outcome.OK, "unexpected form"),
        ({"calendar": '{"finance": {"result": null}}'}, Outcome.OK, "unexpected form"),
        ({"calendar": '{"quoteSummary": {"result": [{}], "error": null}}'}, Outcome.OK, "unexpected form"),
        ({"events": {"earnings": {"earningsDate": ["soon"]}}}, Outcome.OK, "unexpected form"),
        ({"events": {"earnings": {"earningsDate": [10**30]}}}, Outcome.OK, "unexpected form"),
        ({"events": {"earnings": {"earningsDate": 5}}}, Outcome.OK, "unexpected form"),
        ({"events": {"exDividendDate": [1]}}, Outcome.OK, "unexpected form"),
    ],
)
def test_a_calendar_that_fails_leaves_the_results(
    source: YahooEvents, aaa: StubCompany, change: dict[str, Any], outcome: Outcome, words: str
) -> None:
    for name, value in change.items():
        setattr(aaa, name, value)
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert_told(told, outcome, "announced dates are missing", words)
    assert len(of_kind(told.events, "results")) == 2
    assert moments(of_kind(told.events, "results_scheduled")) == ["2025-04-30 20:00:00"]


def test_yahoo_s_limit_ends_the_asking(source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany) -> None:
    aaa.page_status = 429
    source.tell(aaa.instrument(), ASKED_AT)
    assert yahoo.asked == [("AAA", 0), ("AAA", 0)]
    assert yahoo.calendars() == []


@pytest.mark.parametrize("page", [{"rows": []}, {"page": NO_RESULTS}, {"page_status": 404}])
def test_gone_is_believed_on_yahoo_s_word(
    source: YahooEvents, aaa: StubCompany, page: dict[str, Any]
) -> None:
    for name, value in page.items():
        setattr(aaa, name, value)
    aaa.calendar_error = NOT_FOUND
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert_told(told, Outcome.GONE, NOT_FOUND)
    assert told.events.empty


@pytest.mark.parametrize("page", [{"rows": []}, {"page": NO_RESULTS}])
def test_a_company_without_results(source: YahooEvents, aaa: StubCompany, page: dict[str, Any]) -> None:
    for name, value in page.items():
        setattr(aaa, name, value)
    for error in ("", NO_FUNDAMENTALS):
        aaa.calendar_error = error
        told = source.tell(aaa.instrument(), ASKED_AT)
        assert (told.outcome, told.detail) == (Outcome.OK, "the page lists no results")
        assert told.events.empty


def test_no_connection(source: YahooEvents, aaa: StubCompany) -> None:
    with YahooEventsStub() as closed:
        source.session = closed.session()
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert_told(told, Outcome.TRANSIENT, "results and announced dates are missing", "cannot be reached")
    assert told.events.empty


def test_a_refused_crumb_costs_nothing_here(
    source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany
) -> None:
    yahoo.crumb_status = 429
    for _ in range(2):
        assert len(of_kind(tell(source, aaa), "results")) == 2


def test_odd_rows_are_left_out_and_counted(source: YahooEvents, aaa: StubCompany) -> None:
    """Every other row keeps its own date and figures."""
    aaa.rows = [ROWS[0], ("-", "-", "-", "-"), ROWS[1], ("soon", "1", "1", "1"), ROWS[2]]
    told = source.tell(aaa.instrument(), ASKED_AT)
    assert (told.outcome, told.detail) == (Outcome.OK, "2 rows of results cannot be read")
    results = of_kind(told.events, "results")
    assert moments(results) == ["2024-10-30 11:00:00", "2025-01-30 21:00:00"]
    assert results["magnitude"].tolist() == [10.0, 3.7]


def test_columns_may_move_and_a_remark_may_follow(source: YahooEvents, aaa: StubCompany) -> None:
    names = ("Surprise(%)", "Earnings Date", "EPS Estimate", "Reported EPS", "Symbol")
    head = "".join(f"<th>{name}</th>" for name in names)
    texts = ("-5", "January 30,\n 2025 at\N{NO-BREAK SPACE}4 PM EST", "1", ".95", "AAA")
    cells = "".join(f"<td>{text}</td>" for text in texts)
    aaa.page = f"<table><tr>{head}</tr><tr>{cells}</tr><tr><td>That is all</td></tr></table>"
    results = tell(source, aaa)
    assert moments(results) == ["2025-01-30 21:00:00"]
    assert results["magnitude"].tolist() == [5.0]


def test_prices_and_events_take_turns(source: YahooEvents, yahoo: YahooEventsStub, aaa: StubCompany) -> None:
    yahoo.add(StubSymbol("AAA", sessions("2024-01-02", "2024-01-31")))
    yahoo.add_company(StubCompany("BUSY", page_status=429))
    prices = YahooSource(pd.Timestamp("2024-01-02"), session=source.session)
    busy = yahoo.companies["BUSY"].instrument()
    questions: list[Callable[[], Outcome]] = [
        lambda: prices.fetch("AAA").outcome,
        lambda: source.tell(aaa.instrument(), ASKED_AT).outcome,
        lambda: source.tell(busy, ASKED_AT).outcome,
    ] * 4
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda question: question(), questions))
    assert got == [Outcome.OK, Outcome.OK, Outcome.RATE_LIMITED] * 4


def test_prices_do_not_depend_on_it(yahoo: YahooEventsStub, aaa: StubCompany, source: YahooEvents) -> None:
    yahoo.add(StubSymbol("AAA", sessions("2024-01-02", "2024-01-31")))
    yahoo.crumb_status, aaa.page_status, aaa.calendar_status = 429, 429, 429
    assert source.tell(aaa.instrument(), ASKED_AT).outcome == Outcome.RATE_LIMITED
    prices = YahooSource(pd.Timestamp("2024-01-02"), session=source.session)
    assert prices.fetch("AAA").outcome == Outcome.OK


def test_protocol(source: YahooEvents) -> None:
    assert (source.name, source.remote, source.host) == ("yahoo", True, "yahoo")


CHILD = """
import os
import sys
import time
import pandas as pd
from yahoo_events_stub import StubCompany, YahooEventsStub, row
from forecaster.sources.yahoo_events import YahooEvents

with YahooEventsStub() as yahoo:
    company = yahoo.add_company(StubCompany("AAA", [row("2025-01-30 16:00", 1.0, 1.1, 10.0)]))
    company.announce("2025-04-29", "2025-04-30")
    company.declare("2025-02-14")
    for zone in sys.argv[1:]:
        os.environ["TZ"] = zone
        time.tzset()
        source = YahooEvents(session=yahoo.session())
        told = source.tell(company.instrument(), pd.Timestamp("2025-02-10 15:00Z"))
        print(zone, *told.events["happened_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
"""


def test_the_zone_of_the_host_does_not_matter(tmp_path: Path) -> None:
    here = Path(__file__).parent
    zones = ["UTC", "America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *zones],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    days = "2025-01-30T21:00:00Z 2025-04-29T16:00:00Z 2025-04-30T16:00:00Z 2025-02-14T17:00:00Z"
    assert child.stdout.splitlines() == [f"{zone} {days}" for zone in zones]


HOURS = st.datetimes(datetime(2010, 1, 4), datetime(2024, 12, 27)).map(
    lambda moment: moment.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)
EASY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EASY
@given(
    hours=st.lists(HOURS, min_size=10, max_size=40, unique_by=lambda hour: hour.astimezone(NEW_YORK).date())
)
def test_any_hour_is_read_back_and_moves_the_first_session_to_close_later(
    source: YahooEvents, aaa: StubCompany, hours: list[datetime]
) -> None:
    """Against the standard library's clock, and the exchange's rule of when it closes."""
    local = sorted(hour.astimezone(NEW_YORK) for hour in hours)
    # Midnight stands for a date alone; in the hours after it clocks change.
    local = [hour for hour in local if hour.hour > 2]
    aaa.rows = [row(hour.strftime("%Y-%m-%d %H:%M")) for hour in local]
    results = tell(source, aaa)
    assert results["known_at"].tolist() == [pd.Timestamp(hour) for hour in local]
    assert moved(results) == [
        next(
            day for day in days_from(hour) if hour < datetime.combine(day, closing(day), NEW_YORK)
        ).isoformat()
        for hour in local
    ]


@cache
def trading_days() -> frozenset[date]:
    """Return the dates of all sessions."""
    return frozenset(pd.DatetimeIndex(all_sessions("XNYS")).date)


def days_from(moment: datetime) -> Iterator[date]:
    """Go through the trading days from a date on."""
    days = (moment.date() + timedelta(days=ahead) for ahead in count())
    return (day for day in days if day in trading_days())


def closing(day: date) -> time:
    """Return 13:00 after Thanksgiving and on the eves of Christmas and of a weekday's 4 July, else 16:00."""
    is_after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    is_eve = (day.month, day.day) == (12, 24) or ((day.month, day.day) == (7, 3) and day.weekday() < 4)
    return time(13) if is_after_thanksgiving or is_eve else time(16)


@EASY
@given(
    first=st.dates(date(2024, 1, 2), date(2024, 11, 1)),
    length=st.integers(0, 20),
    asked_after=st.integers(-30 * 24, 30 * 24),
    hour=st.integers(1, 23),
)
def test_plans_lie_ahead_and_results_behind(
    source: YahooEvents, aaa: StubCompany, first: date, length: int, asked_after: int, hour: int
) -> None:
    last = first + timedelta(days=length)
    asked_at = pd.Timestamp(first, tz="UTC") + pd.Timedelta(hours=asked_after)
    aaa.announce(first.isoformat(), last.isoformat())
    aaa.declare(first.isoformat())
    aaa.rows = [row(f"{last} {hour:02d}:00", 1.0, 0.9, -10.0)]
    events = tell(source, aaa, asked_at)
    results = events["kind"] == "results"
    assert (events.loc[results, "known_at"] <= asked_at).all()
    assert (events.loc[~results, "happened_at"] > asked_at).all()
    assert (events.loc[~results, "known_at"] == asked_at).all()
    plan = of_kind(events, "results_scheduled")
    assert not results.any() or plan.empty
    assert plan.empty or plan["magnitude"].sum() == pytest.approx(1.0)
    days = plan["happened_at"].dt.tz_convert(NEW_YORK).dt.date
    assert days.between(first, last).all()
