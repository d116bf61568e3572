"""Sessions against calendars known by hand and against plain loops."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import UsageError
from forecaster.instruments import EXCHANGE_OF_YAHOO
from forecaster.sessions import (
    all_sessions,
    calendar,
    closes,
    first_closing_after,
    last_complete,
    next_sessions,
    opens,
    positions,
)

EXCHANGES = ("XNYS", "XLON", "XTKS", "XCBF")
FIRST, LAST = date(2015, 1, 5), date(2024, 12, 20)


def days(values: np.ndarray) -> list[str]:
    return [str(value)[:10] for value in values]


def instants(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2024-11-27", ["2024-11-29", "2024-12-02"]),  # Thanksgiving
        ("2024-07-03", ["2024-07-05", "2024-07-08"]),  # Independence Day
        ("2024-06-18", ["2024-06-20", "2024-06-21"]),  # Juneteenth
        ("2021-06-17", ["2021-06-18", "2021-06-21"]),  # not yet a holiday of the exchange
        ("2024-03-28", ["2024-04-01", "2024-04-02"]),  # Good Friday
        ("2012-10-26", ["2012-10-31", "2012-11-01"]),  # Hurricane Sandy
        ("2024-11-30", ["2024-12-02", "2024-12-03"]),  # from a Saturday
    ],
)
def test_next_sessions_skip_what_is_no_session(after: str, expected: list[str]) -> None:
    assert days(next_sessions("XNYS", pd.Timestamp(after), 2)) == expected


@pytest.mark.parametrize(
    ("session", "close"),
    [
        ("2024-11-29", "2024-11-29T18:00"),  # early, 13:00 in winter
        ("2024-07-03", "2024-07-03T17:00"),  # early, 13:00 in summer
        ("2024-03-08", "2024-03-08T21:00"),  # the last session of winter time
        ("2024-03-11", "2024-03-11T20:00"),  # the first of summer time
        ("2024-11-01", "2024-11-01T20:00"),
        ("2024-11-04", "2024-11-04T21:00"),
    ],
)
def test_closes_in_utc(session: str, close: str) -> None:
    assert closes("XNYS", instants(session)) == instants(close)


@pytest.mark.parametrize(
    ("exchange", "session", "open_"),
    [
        ("XNYS", "2024-11-29", "2024-11-29T14:30"),
        ("XNYS", "2024-03-08", "2024-03-08T14:30"),  # the last session of winter time
        ("XNYS", "2024-03-11", "2024-03-11T13:30"),
        ("XLON", "2024-03-28", "2024-03-28T08:00"),
        ("XLON", "2024-04-02", "2024-04-02T07:00"),
        ("XTKS", "2024-04-02", "2024-04-02T00:00"),
    ],
)
def test_opens_in_utc(exchange: str, session: str, open_: str) -> None:
    assert opens(exchange, instants(session)) == instants(open_)


def test_the_volatility_index_closes_after_the_stock() -> None:
    stock, index = (closes(exchange, instants("2024-01-10"))[0] for exchange in ("XNYS", "XCBF"))
    assert index - stock == np.timedelta64(15, "m")


def test_positions_count_sessions_and_refuse_other_days() -> None:
    asked = instants(
        "2024-11-27", "2024-11-28", "2024-11-29", "2024-11-30", "2024-12-02", "1960-01-04", "2199-01-04"
    )
    found = positions("XNYS", asked)
    start = found[0]
    assert list(found) == [start, -1, start + 1, -1, start + 2, -1, -1]
    assert positions("XNYS", instants()).size == 0


@pytest.mark.parametrize(
    ("now", "delay", "expected"),
    [
        ("2024-01-10 21:29:59.999999", 30, "2024-01-09"),
        ("2024-01-10 21:30", 30, "2024-01-10"),
        ("2024-01-10 20:59:59", 0, "2024-01-09"),
        ("2024-01-10 21:00", 0, "2024-01-10"),
        ("2024-07-03 17:30", 30, "2024-07-03"),
        ("2024-07-03 17:29", 30, "2024-07-02"),
        ("2024-07-04 23:00", 30, "2024-07-03"),
        ("2024-03-11 20:30", 30, "2024-03-11"),
        ("2024-03-08 20:30", 30, "2024-03-07"),
    ],
)
def test_last_complete_around_the_close(now: str, delay: int, expected: str) -> None:
    assert last_complete("XNYS", pd.Timestamp(now, tz="UTC"), delay) == pd.Timestamp(expected)


def test_last_complete_takes_any_time_zone() -> None:
    moment = pd.Timestamp("2024-01-10 16:30", tz="America/New_York")
    assert last_complete("XNYS", moment, 30) == pd.Timestamp("2024-01-10")


@pytest.mark.parametrize("name", ["NOPE", "", "xnys "])
def test_unknown_exchange_names_some_that_are_known(name: str) -> None:
    with pytest.raises(UsageError, match=f"No calendar for exchange '{name}'.*such as XNYS"):
        calendar(name)


def test_the_calendar_s_end_is_told() -> None:
    last = pd.Timestamp(all_sessions("XNYS")[-1])
    with pytest.raises(UsageError, match=f"XNYS ends on {last.date()}, less than 1 sessions after"):
        next_sessions("XNYS", last, 1)
    assert next_sessions("XNYS", last - pd.Timedelta(days=30), 1).size == 1


@pytest.mark.parametrize("exchange", sorted(set(EXCHANGE_OF_YAHOO.values())))
def test_every_exchange_of_yahoo_has_a_calendar(exchange: str) -> None:
    january = instants("2024-01-02", "2024-01-31")
    assert np.searchsorted(all_sessions(exchange), january) @ [-1, 1] > 15


days_of_years = st.dates(FIRST, LAST)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(EXCHANGES), days_of_years, st.integers(1, 20))
def test_next_sessions_is_a_walk_over_the_days(exchange: str, after: date, count: int) -> None:
    market, day, found = get_calendar(exchange, start="2014-01-02"), after, []
    while len(found) < count:
        day += timedelta(days=1)
        if market.is_session(day.isoformat()):
            found.append(day.isoformat())
    assert days(next_sessions(exchange, pd.Timestamp(after), count)) == found


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(EXCHANGES), days_of_years, st.integers(0, 40))
def test_positions_differ_by_the_sessions_between(exchange: str, first: date, span: int) -> None:
    market = get_calendar(exchange, start="2014-01-02")
    window = [first + timedelta(days=ahead) for ahead in range(span + 1)]
    found = positions(exchange, np.array(window, dtype="datetime64[ns]"))
    expected, seen = [], 0
    for day in window:
        is_session = market.is_session(day.isoformat())
        expected.append(seen if is_session else None)
        seen += is_session
    start = next((at for at in found if at >= 0), 0)
    assert [None if at < 0 else at - start for at in found] == expected


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(EXCHANGES),
    st.datetimes(pd.Timestamp(FIRST).to_pydatetime(), pd.Timestamp(LAST).to_pydatetime()),
    st.integers(0, 120),
)
def test_last_complete_is_the_last_one_closed_long_enough(exchange: str, now: object, delay: int) -> None:
    market, moment = get_calendar(exchange, start="2014-01-02"), pd.Timestamp(now, tz="UTC")
    day = (moment + pd.Timedelta(days=1)).date()
    while not (
        market.is_session(day.isoformat())
        and market.session_close(day.isoformat()) + pd.Timedelta(minutes=delay) <= moment
    ):
        day -= timedelta(days=1)
    assert last_complete(exchange, moment, delay) == pd.Timestamp(day)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(EXCHANGES),
    st.lists(
        st.tuples(
            st.datetimes(pd.Timestamp(FIRST).to_pydatetime(), pd.Timestamp(LAST).to_pydatetime()),
            st.sampled_from([None, -1, 0, 1]),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_first_closing_after_is_a_walk_over_the_sessions(exchange: str, asked: list[tuple]) -> None:
    """At any moment, and a second around closes."""
    market, moments, expected = get_calendar(exchange, start="2014-01-02"), [], []
    for time, seconds in asked:
        moment = pd.Timestamp(time, tz="UTC")
        day = market.date_to_session(moment.date().isoformat(), direction="next")
        if seconds is not None:
            moment = market.session_close(day) + pd.Timedelta(seconds=seconds)
        day = market.date_to_session((moment - pd.Timedelta(days=12)).date().isoformat(), direction="next")
        while market.session_close(day) <= moment:
            day = market.next_session(day)
        moments.append(moment.tz_localize(None).to_datetime64())
        expected.append(str(day.date()))
    found = first_closing_after(exchange, np.array(moments, dtype="datetime64[ns]"))
    assert days(all_sessions(exchange)[found]) == expected
