"""Events: what their rows satisfy, the session that each moves, and the dates made up for the past."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.events import (
    BACKFILL,
    COLUMNS,
    KINDS,
    checked,
    distinct_results,
    moved_session,
    no_events,
    with_backfill,
)
from forecaster.history import History, history_of, read_history
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions
from forecaster.workspace import Workspace

ZONES = {"XNYS": "America/New_York", "XLON": "Europe/London", "XTKS": "Asia/Tokyo"}
MARKETS = {exchange: get_calendar(exchange, start="2021-06-01", end="2025-06-30") for exchange in ZONES}
AAA = {"AAA": Instrument("AAA", "AAA", "XNYS", ZONES["XNYS"], "")}


def utc(text: str, zone: str = "UTC") -> pd.Timestamp:
    return pd.Timestamp(text, tz=zone).tz_convert("UTC")


def event(known_at: pd.Timestamp, kind: str = "results", **more: Any) -> dict[str, Any]:
    told = {"symbol": "AAA", "kind": kind, "happened_at": known_at, "known_at": known_at, "tone": np.nan,
            "magnitude": np.nan, "title": "a title", "url": "", "source": "file"}  # fmt: skip
    return told | more


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(no_events().dtypes.to_dict())


NOON = utc("2024-01-10 12:00")


def test_rows_get_their_types() -> None:
    told = [
        event(NOON, tone=-1, magnitude=3, extra="not asked for"),
        event(NOON, "results_scheduled", happened_at=utc("2024-02-01 12:00"), magnitude=0.5),
        event(utc("2024-01-10 16:30", "America/New_York"), "other"),
    ]
    rows = checked(pd.DataFrame(told, index=[7, 7, 3]), "a file")
    pd.testing.assert_series_equal(rows.dtypes, no_events().dtypes)
    assert list(rows.index) == [0, 1, 2]
    assert rows["known_at"][2] == utc("2024-01-10 21:30")
    pd.testing.assert_frame_equal(checked(rows.iloc[:0], "a file"), no_events())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"symbol": "A B"}, "column symbol: no ticker"),
        ({"kind": "rumour"}, "column kind: no kind; choose one of results, profit, .*rumour"),
        ({"tone": 1.01}, "column tone: outside -1..1 .*1.01"),
        ({"magnitude": -0.1}, "column magnitude: negative or not finite .*-0.1"),
        ({"magnitude": np.inf}, "column magnitude: negative or not finite .*inf"),
        ({"title": None}, "column title: missing"),
        ({"known_at": NOON - pd.Timedelta(seconds=1)}, "known before it happened"),
        ({"happened_at": pd.NaT}, "column happened_at: missing"),
        ({"known_at": pd.NaT}, "column known_at: missing"),
    ],
)
def test_a_faulty_row_is_named(change: dict[str, Any], told: str) -> None:
    rows = pd.DataFrame([event(NOON), event(NOON) | change])
    with pytest.raises(DataError, match=f"events.csv, row 2.*{told}"):
        checked(rows, "events.csv")


@pytest.mark.parametrize("change", [{"tone": "good"}, {"known_at": pd.Timestamp("2024-01-10")}])
def test_a_column_of_another_type_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"events.csv.*{next(iter(change))}"):
        checked(pd.DataFrame([event(NOON) | change]), "events.csv")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"events.csv.*url"):
        checked(pd.DataFrame([event(NOON)]).drop(columns="url"), "events.csv")


def day_moved(exchange: str, moment: pd.Timestamp) -> str:
    (place,) = moved_session(table(event(moment)), exchange)
    return str(all_sessions(exchange)[place])[:10]


@pytest.mark.parametrize(
    ("exchange", "local", "moved"),
    [
        ("XNYS", "2024-01-10 15:59:59", "2024-01-10"),
        ("XNYS", "2024-01-10 16:00:00", "2024-01-11"),  # at the very close
        ("XNYS", "2024-01-10 16:00:01", "2024-01-11"),
        ("XNYS", "2024-01-10 00:00:00", "2024-01-10"),
        ("XNYS", "2024-01-12 23:59:59", "2024-01-16"),  # a Friday before Martin Luther King Day
        ("XNYS", "2024-01-13 12:00:00", "2024-01-16"),  # a Saturday
        ("XNYS", "2024-11-28 12:00:00", "2024-11-29"),  # Thanksgiving
        ("XNYS", "2024-11-29 12:59:59", "2024-11-29"),  # early close
        ("XNYS", "2024-11-29 13:00:00", "2024-12-02"),
        ("XNYS", "2024-03-08 15:59:59", "2024-03-08"),  # the last session of winter time
        ("XNYS", "2024-03-10 03:30:00", "2024-03-11"),
        ("XNYS", "2024-03-11 15:59:59", "2024-03-11"),  # the first of summer time
        ("XNYS", "2024-03-11 16:00:00", "2024-03-12"),
        ("XNYS", "2024-11-04 15:59:59", "2024-11-04"),
        ("XNYS", "2012-10-29 12:00:00", "2012-10-31"),  # Hurricane Sandy
        ("XLON", "2024-12-24 12:29:59", "2024-12-24"),  # early close
        ("XLON", "2024-12-24 12:30:00", "2024-12-27"),  # Christmas and Boxing Day
        ("XLON", "2024-03-28 16:29:59", "2024-03-28"),
        ("XLON", "2024-04-01 12:00:00", "2024-04-02"),  # Easter Monday, in summer time since Sunday
        ("XLON", "2024-04-02 16:30:00", "2024-04-03"),
        ("XTKS", "2024-01-04 14:59:59", "2024-01-04"),
        ("XTKS", "2024-01-04 15:00:00", "2024-01-05"),
        ("XTKS", "2024-11-05 15:00:00", "2024-11-05"),  # closes half an hour later from this day on
        ("XTKS", "2024-11-05 15:30:00", "2024-11-06"),
    ],
)
def test_an_event_moves_the_first_session_that_closes_after_it(exchange: str, local: str, moved: str) -> None:
    assert day_moved(exchange, utc(local, ZONES[exchange])) == moved


moments = st.datetimes(pd.Timestamp("2022-01-03").to_pydatetime(), pd.Timestamp("2025-01-31").to_pydatetime())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(ZONES)), moments, st.integers(-1, 1), st.booleans())
def test_the_session_moved_is_that_of_a_plain_loop(
    exchange: str, moment: Any, seconds: int, at_close: bool
) -> None:
    market = MARKETS[exchange]
    told = pd.Timestamp(moment, tz="UTC")
    if at_close:
        day = market.date_to_session(told.date().isoformat(), direction="next")
        told = market.session_close(day) + pd.Timedelta(seconds=seconds)
    day = market.date_to_session((told - pd.Timedelta(days=12)).date().isoformat(), direction="next")
    while market.session_close(day) <= told:
        day = market.next_session(day)
    assert day_moved(exchange, told) == str(day.date())


SESSIONS = MARKETS["XNYS"].sessions
CLOSES = [close.value for close in MARKETS["XNYS"].closes]


def at(session: int, hour: int = 12) -> pd.Timestamp:
    """An hour in New York on the session of that number."""
    return utc(f"{SESSIONS[session].date()} {hour:02d}:00", ZONES["XNYS"])


def session_of(row: pd.Series) -> int:
    """Number of the session that a row counts from, by a plain loop."""
    known = row["known_at"].value
    return next(number for number, close in enumerate(CLOSES) if close > known)


reports = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.sampled_from([8, 12, 16, 17, 20]),
        st.one_of(st.none(), st.floats(-1, 1)),
        st.sampled_from(["filings", "yahoo"]),
    ),
    min_size=1,
    max_size=25,
)


def results(told: Sequence[tuple[int, int, float | None, str]]) -> pd.DataFrame:
    return table(
        *(
            event(at(session, hour), tone=tone, source=source, url=str(number))
            for number, (session, hour, tone, source) in enumerate(told)
        )
    )


@settings(max_examples=30, deadline=None)
@given(reports)
def test_of_reports_of_the_same_results_one_is_kept(told: list[tuple[int, int, float | None, str]]) -> None:
    rows = results(told)
    kept = distinct_results(rows, "XNYS")
    numbers = [session_of(row) for _, row in kept.iterrows()]
    assert numbers == sorted(numbers)
    assert (np.diff(kept["position"]) == np.diff(numbers)).all()
    assert (np.diff(numbers) > 3).all()
    for _, row in rows.iterrows():
        number = session_of(row)
        earlier = [one for one in numbers if one <= number]
        assert earlier, "the first report of all is never dropped"
        assert number - earlier[-1] <= 3 or number in numbers
    for number, (_, one) in zip(numbers, kept.iterrows(), strict=True):
        beside = [row for _, row in rows.iterrows() if session_of(row) == number]
        toned = [row for row in beside if not np.isnan(row["tone"])]
        assert one["known_at"] == min(row["known_at"] for row in toned or beside)
        assert np.isnan(one["tone"]) == (not toned)


@settings(max_examples=30, deadline=None)
@given(reports, st.integers(0, 300))
def test_later_reports_do_not_change_which_earlier_ones_are_kept(
    told: list[tuple[int, int, float | None, str]], limit: int
) -> None:
    rows = results(told)
    early = np.array([session_of(row) <= limit for _, row in rows.iterrows()])
    whole = distinct_results(rows, "XNYS")
    before = distinct_results(rows[early], "XNYS")
    pd.testing.assert_frame_equal(whole.iloc[: len(before)], before)
    assert all(session_of(row) > limit for _, row in whole.iloc[len(before) :].iterrows())


def test_other_kinds_are_no_results() -> None:
    rows = table(event(at(5), "profit"), event(at(5), "results_scheduled", happened_at=at(9)))
    assert distinct_results(rows, "XNYS").empty
    assert distinct_results(no_events(), "XNYS").empty


def backfilled(rows: pd.DataFrame) -> pd.DataFrame:
    together = with_backfill(rows, AAA)
    assert together["known_at"].is_monotonic_increasing
    told = together[together["source"] != BACKFILL].sort_values(["known_at", "url"], ignore_index=True)
    pd.testing.assert_frame_equal(told, rows.sort_values(["known_at", "url"], ignore_index=True))
    return together[together["source"] == BACKFILL].reset_index(drop=True)


def test_a_regular_report_was_announced_ten_sessions_before() -> None:
    made_up = backfilled(results([(20, 17, 0.1, "yahoo"), (80, 17, None, "yahoo")]))
    (plan,) = made_up.to_dict("records")
    assert plan["kind"] == "results_scheduled"
    assert plan["happened_at"] == at(80, 17)
    assert plan["magnitude"] == 1.0
    assert np.isnan(plan["tone"])
    # After the close: session 81 moves, and the tenth before it is 71.
    assert plan["known_at"] == MARKETS["XNYS"].session_open(SESSIONS[71])


@pytest.mark.parametrize(("days", "plans"), [(59, 0), (60, 1), (200, 1), (201, 0)])
def test_a_warning_between_two_quarters_is_never_announced(days: int, plans: int) -> None:
    first = utc("2023-01-10 12:00")
    rows = table(event(first), event(first + pd.Timedelta(days=days), url="later"))
    assert len(backfilled(rows)) == plans


def test_a_warning_takes_no_plan_from_results_announced_before_it() -> None:
    regular, warned = (20, 17, 0.1, "yahoo"), (56, 12, -0.9, "yahoo")
    due = (63, 17, None, "yahoo")
    plan = backfilled(results([regular, due]))
    pd.testing.assert_frame_equal(backfilled(results([regular, warned, due])), plan)


def test_no_date_is_made_up_from_chosen_events() -> None:
    rows = results([(20, 17, 0.1, "sample"), (80, 17, None, "sample")])
    assert backfilled(rows).empty


def test_nothing_is_made_up_once_plans_are_stored() -> None:
    reported = [
        (20, 12, 0.1, "yahoo"),
        (90, 12, 0.2, "yahoo"),
        (150, 12, 0.3, "yahoo"),
        (210, 12, 0.4, "yahoo"),
    ]
    stored = event(at(140, 9), "results_scheduled", happened_at=at(150), magnitude=1.0, url="plan")
    known = backfilled(pd.concat([results(reported), table(stored)], ignore_index=True))["known_at"]
    assert list(known) == [MARKETS["XNYS"].session_open(SESSIONS[80])], "the plan of the third is stored"
    later = stored | {"known_at": at(140, 10)}
    known = backfilled(pd.concat([results(reported), table(later)], ignore_index=True))["known_at"]
    assert len(known) == 2, "made up from half past nine, before the first stored plan"
    dividend = stored | {"kind": "dividend_scheduled", "known_at": at(3)}
    assert len(backfilled(pd.concat([results(reported), table(dividend)], ignore_index=True))) == 3


def test_a_symbol_without_a_calendar_gets_no_plan() -> None:
    rows = results([(20, 17, 0.1, "yahoo"), (90, 17, None, "yahoo")])
    assert (with_backfill(rows, {})["source"] != BACKFILL).all()
    pd.testing.assert_frame_equal(with_backfill(no_events(), AAA), no_events())


@settings(max_examples=30, deadline=None)
@given(reports, st.one_of(st.none(), st.integers(0, 300)))
def test_plans_are_made_up_as_by_a_plain_loop(
    told: list[tuple[int, int, float | None, str]], stored: int | None
) -> None:
    told = [(11 + session, hour, tone, source) for session, hour, tone, source in told]
    rows = results(told)
    first = None
    if stored is not None:
        first = at(stored)
        plan = event(first, "results_scheduled", happened_at=at(stored + 5), url="plan")
        rows = pd.concat([rows, table(plan)], ignore_index=True)
    expected, earlier = [], []
    for _, row in distinct_results(rows, "XNYS").iterrows():
        known = MARKETS["XNYS"].session_open(SESSIONS[session_of(row) - 10])
        before = max((one for one in earlier if one < known), default=None)
        days = None if before is None else (row["known_at"] - before) / pd.Timedelta(days=1)
        if days is not None and 60 <= days <= 200 and (first is None or known < first):
            expected.append((known, row["happened_at"]))
        earlier.append(row["known_at"])
    made_up = backfilled(rows)
    assert list(zip(made_up["known_at"], made_up["happened_at"], strict=True)) == expected


def test_plans_do_not_change_once_they_are_known() -> None:
    """What results come later, and whether plans are stored later, says nothing about those known before."""
    reported = [(20 + 63 * quarter, 17, 0.1, "yahoo") for quarter in range(5)]
    whole = backfilled(results(reported))
    for count in range(2, 6):
        some = backfilled(results(reported[:count]))
        pd.testing.assert_frame_equal(some, whole.iloc[: len(some)])
    stored = event(at(200), "results_scheduled", happened_at=at(209), url="plan")
    some = backfilled(pd.concat([results(reported), table(stored)], ignore_index=True))
    pd.testing.assert_frame_equal(some, whole[whole["known_at"] < at(200)])


def flat(sessions: pd.DatetimeIndex) -> pd.DataFrame:
    price = dict.fromkeys(("open", "high", "low", "close", "adj_close"), 10.0)
    return pd.DataFrame({"symbol": "AAA", "session": sessions, **price, "volume": 1e5})


def test_a_history_knows_plans_whose_results_are_still_to_come() -> None:
    reported = results([(20, 17, 0.1, "yahoo"), (90, 17, None, "yahoo")])
    cut: dict[int, History] = {
        last: history_of(flat(SESSIONS[: last + 1]), AAA, events=reported) for last in (80, 81, 90, 91)
    }
    whole = history_of(flat(SESSIONS[:120]), AAA, events=reported)
    assert [len(one.events) for one in cut.values()] == [1, 2, 2, 3]
    for last, one in cut.items():
        earlier = whole.until(SESSIONS[last])
        pd.testing.assert_frame_equal(earlier.events, one.events)
        assert earlier.fingerprint == one.fingerprint
    assert not cut[80].has_backfill
    assert cut[81].has_backfill
    without = whole.but_events(whole.events["source"] != BACKFILL)
    assert not without.has_backfill
    pd.testing.assert_frame_equal(without.events, reported)
    assert without.fingerprint != whole.fingerprint


def test_the_history_of_a_symbol_is_the_same_taken_out_or_read_alone(sample_workspace: Workspace) -> None:
    """Events of other symbols in it would give it another fingerprint."""
    history = sample_workspace.history()
    assert {"AAPL", "NVDA"} <= set(history.events["symbol"])
    alone = read_history(sample_workspace.store, ["AAPL"])
    taken = history.only(["AAPL"])
    pd.testing.assert_frame_equal(taken.events, alone.events)
    assert taken.fingerprint == alone.fingerprint
    strangers = table(event(NOON), event(NOON, symbol="BBB"))
    assert list(history_of(flat(SESSIONS), AAA, events=strangers).events["symbol"]) == ["AAA"]


def test_every_kind_has_a_title() -> None:
    assert all(KINDS.values())
