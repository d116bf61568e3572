"""Inputs from company events against loops over the rows that were visible at each cutoff."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.events import COLUMNS, no_events
from forecaster.features import assemble, company
from forecaster.features.bars import Bars
from forecaster.features.company import AHEAD_NAMES, LONGEST, NAMES, Known, Told, placed
from forecaster.history import history_of
from forecaster.instruments import Instrument

MARKETS = {
    exchange: get_calendar(exchange, start="2021-01-01", end="2025-06-30")
    for exchange in ("XNYS", "XLON", "XTKS")
}
CLOSES = {exchange: list(market.closes) for exchange, market in MARKETS.items()}
SESSIONS = {exchange: market.sessions for exchange, market in MARKETS.items()}
TIMES = {exchange: [close.time() for close in closes] for exchange, closes in CLOSES.items()}
SHIFTED = {
    exchange: [number for number in range(1, len(times)) if times[number] != times[number - 1]]
    for exchange, times in TIMES.items()
}
"""Sessions that close at another hour (UTC) than the one before: early, or the clock has changed."""

SPAN = 330
"""Sessions that an example covers: a year and a quarter."""

OTHERS = ("leadership", "policy", "restructuring", "profit")


def bars_of(exchange: str, first: int, rows: np.ndarray, seed: int = 0) -> Bars:
    """A random walk over the rows of a span of sessions."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(random.normal(0, 0.02, len(rows)).cumsum())
    traded = pd.DataFrame(
        {
            "session": SESSIONS[exchange][first + rows],
            **{name: close * random.uniform(0.99, 1.01, len(rows)) for name in ("open", "close")},
            "high": close * 1.03,
            "low": close * 0.97,
            "volume": 1e5,
            "split": 1.0,
            "dividend": 0.0,
        }
    )
    return Bars.of(traded, exchange)


def rows_of(told: list[dict[str, Any]]) -> pd.DataFrame:
    rest = {"symbol": "AAA", "title": "", "url": "", "source": "file"}
    rows = pd.DataFrame([rest | one for one in told], columns=list(COLUMNS))
    typed = rows.astype(no_events().dtypes.to_dict())
    return typed.sort_values("known_at", kind="stable", ignore_index=True)


def known(bars: Bars, exchange: str, events: pd.DataFrame) -> Known:
    """The inputs of the only symbol that the events tell of, if they tell anything."""
    told = list(placed(events, exchange).values()) or [Told()]
    (only,) = told
    return company.known(bars, only)


def moved(exchange: str, moment: pd.Timestamp) -> int:
    """Number of the first session that closes after a moment."""
    number = 0
    while CLOSES[exchange][number] <= moment:
        number += 1
    return number


def distinct(exchange: str, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of reports within three sessions of one kept before, none; of those of one session, one with a tone."""
    days: dict[int, list[dict[str, Any]]] = {}
    for report in reports:
        days.setdefault(moved(exchange, report["known_at"]), []).append(report)
    kept: list[dict[str, Any]] = []
    for day in sorted(days):
        if not kept or day - kept[-1]["day"] > 3:
            by_time = sorted(days[day], key=lambda one: (math.isnan(one["tone"]), one["known_at"]))
            kept.append(by_time[0] | {"day": day})
    return kept


def in_force(exchange: str, visible: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The rows of the newest plan, each with its session, its probability and when it could first be used."""
    rows = [one for one in visible if one["kind"] == kind]
    if not rows:
        return []
    newest = max(one["known_at"] for one in rows)
    plan = [one | {"day": moved(exchange, one["happened_at"])} for one in rows if one["known_at"] == newest]
    quarters: list[list[dict[str, Any]]] = []
    for one in sorted(plan, key=lambda one: one["day"]):
        if not quarters or one["day"] - quarters[-1][-1]["day"] > 30:
            quarters.append([])
        quarters[-1].append(one)
    masses: dict[int, float] = {}
    for quarter in quarters:
        for one in quarter:
            mass = 1 / len(quarter) if math.isnan(one["magnitude"]) else one["magnitude"]
            masses[one["day"]] = masses.get(one["day"], 0.0) + mass
    since = moved(exchange, newest)
    return [{"day": day, "mass": min(mass, 1.0), "since": since} for day, mass in masses.items()]


def fading(day: int, past: list[tuple[int, float]]) -> float:
    return sum(weight * math.exp(-(day - when) / 5) for when, weight in past)


def plain(
    exchange: str, bars: Bars, first: int, place: int, told: list[dict[str, Any]]
) -> tuple[dict[str, float], np.ndarray]:
    """Inputs of one row from the events visible at its close, as the documentation words them."""
    number = {int(position): i for i, position in enumerate(bars.position)}
    offset = int(bars.position[0]) - first
    today = int(bars.position[place]) - offset
    close = CLOSES[exchange][today]
    visible = [one for one in told if one["known_at"] < close]

    results = distinct(exchange, [one for one in visible if one["kind"] == "results"])
    days = [one["day"] for one in results]
    last = days[-1] if days else -(10**6)
    past = {
        "results_known": float(today - last <= 100),
        "results_today": float(today == last),
        "results_recent": fading(today, [(day, 1.0) for day in days]),
        "results_tone": fading(today, [(one["day"], np.nan_to_num(one["tone"])) for one in results]),
        "results_surprise": fading(
            today, [(one["day"], math.log(1 + np.nan_to_num(one["magnitude"]))) for one in results]
        ),
    }
    for kind in OTHERS:
        rows = [(moved(exchange, one["known_at"]), one) for one in visible if one["kind"] == kind]
        past[f"{kind}_known"] = float(any(today - day <= 260 for day, _ in rows))
        past[f"{kind}_recent"] = fading(today, [(day, 1.0) for day, _ in rows])
        past[f"{kind}_tone"] = fading(today, [(day, np.nan_to_num(one["tone"])) for day, one in rows])

    plan = in_force(exchange, visible, "results_scheduled")
    dividends = in_force(exchange, visible, "dividend_scheduled")
    planned = max((one["day"] for one in plan), default=-(10**6))
    announced = today - planned <= 45
    past["results_plan_known"] = float(announced)
    past["dividend_plan_known"] = float(any(today - one["day"] <= 45 for one in dividends))

    moves = []
    for day in days:
        row = number.get(day + offset)
        if row is not None:
            move = abs(bars.log_return[row]) / bars.sigma_before[row]
            moves += [move] if math.isfinite(move) else []
    usual = (sum(moves) + 4 * 2.0) / (len(moves) + 4)
    ahead = np.zeros((LONGEST + 1, len(AHEAD_NAMES)))
    due, size, passed, expected, dividend = ahead.T
    for one in plan:
        step = one["day"] - today
        come = any(max(one["since"], one["day"] - 5) <= day for day in days)
        if 1 <= step <= LONGEST and not come:
            due[step] += one["mass"]
            size[step] += one["mass"] * math.log(usual / 2.0)
            for later in range(step + 1, LONGEST + 1):
                passed[later] += one["mass"] * math.exp(-(later - step) / 5)
    for day in days:
        for target in range(day + 252 - 3, day + 252 + 4):
            step = target - today
            unsaid = not announced or step > 10
            if 1 <= step <= LONGEST and unsaid and target > planned + 30 and target > last + 30:
                expected[step] += 1 / 7
    for one in dividends:
        if 1 <= one["day"] - today <= LONGEST:
            dividend[one["day"] - today] += one["mass"]
    return past, ahead[1:]


def require_plain(
    exchange: str, first: int, rows: np.ndarray, told: list[dict[str, Any]], places: Any
) -> None:
    bars = bars_of(exchange, first, rows)
    found = known(bars, exchange, rows_of(told))
    assert found.past.shape == (len(rows), len(NAMES))
    assert found.ahead.shape == (len(rows), LONGEST * len(AHEAD_NAMES))
    for place in places:
        past, ahead = plain(exchange, bars, first + int(rows[0]), place, told)
        assert set(past) == set(NAMES)
        got = dict(zip(NAMES, found.past[place], strict=True))
        assert got == pytest.approx(past, rel=1e-9, abs=1e-9)
        laid_out = found.ahead[[place]].toarray().reshape(LONGEST, len(AHEAD_NAMES))
        for name, column, expected in zip(AHEAD_NAMES, laid_out.T, ahead.T, strict=True):
            np.testing.assert_allclose(column, expected, rtol=1e-5, atol=1e-6, err_msg=name)


@st.composite
def told_events(draw: st.DrawFn, exchange: str, first: int) -> list[dict[str, Any]]:
    """Events known around closes, on weekends and where the clock has changed; plans of one or two dates."""
    span = range(first - 60, first + SPAN + 5)
    shifted = [number for number in SHIFTED[exchange] if number in span] or [first]
    sessions = st.one_of(st.integers(first - 60, first + SPAN), st.sampled_from(shifted))
    seconds = st.sampled_from([-1, 0, 1, -3 * 3600, 86_400, 6 * 3600])
    amounts = st.one_of(st.just(math.nan), st.floats(0, 1))
    told = []
    kinds = ["results"] * 3 + ["results_scheduled"] * 3 + ["dividend_scheduled", *OTHERS, "other"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=30)):
        known_at = CLOSES[exchange][draw(sessions)] + pd.Timedelta(seconds=draw(seconds))
        one = {"kind": kind, "known_at": known_at, "tone": math.nan, "magnitude": draw(amounts)}
        if kind.endswith("_scheduled"):
            day = moved(exchange, known_at)
            for ahead in draw(st.lists(st.integers(-3, 75), min_size=1, max_size=2, unique=True)):
                planned = CLOSES[exchange][day + ahead] + pd.Timedelta(seconds=draw(seconds))
                told.append(one | {"happened_at": planned})
        else:
            tone = draw(st.one_of(st.just(math.nan), st.floats(-1, 1)))
            told.append(
                one | {"tone": tone, "happened_at": known_at - pd.Timedelta(days=draw(st.integers(0, 9)))}
            )
    return told


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from(list(MARKETS)), st.integers(70, 400))
def test_inputs_are_those_of_a_plain_loop(data: st.DataObject, exchange: str, first: int) -> None:
    told = data.draw(told_events(exchange, first))
    gone = data.draw(st.sets(st.integers(1, SPAN - 1), max_size=40))
    rows = np.array([row for row in range(SPAN) if row not in gone])
    numbers = {moved(exchange, one["known_at"]) - first for one in told}
    around = {near for number in numbers for near in range(number - 1, number + 2)}
    telling = [place for place, row in enumerate(rows) if row in around]
    places = [*telling[:40], *data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))]
    require_plain(exchange, first, rows, told, places)


def quarterly(exchange: str, first: int) -> list[dict[str, Any]]:
    """Results every 63 sessions after the close, each announced 12 sessions before and moved once."""
    closes, told = CLOSES[exchange], []
    for day in range(first - 40, first + SPAN, 63):
        after = closes[day] + pd.Timedelta(minutes=30)
        told.append(
            {"kind": "results", "known_at": after, "happened_at": after, "tone": 0.4, "magnitude": 5.0}
        )
        for before, moved_by in ((12, 2), (6, 0)):
            plan = {"kind": "results_scheduled", "tone": math.nan, "magnitude": 1.0}
            planned = closes[day + moved_by] + pd.Timedelta(minutes=30)
            told.append(plan | {"known_at": closes[day - before], "happened_at": planned})
    return told


@pytest.mark.parametrize("exchange", list(MARKETS))
@pytest.mark.parametrize("with_plans", [True, False])
def test_a_year_of_quarters_is_that_of_a_plain_loop(exchange: str, with_plans: bool) -> None:
    told = [one for one in quarterly(exchange, 300) if with_plans or one["kind"] == "results"]
    require_plain(exchange, 300, np.arange(SPAN), told, range(SPAN))


def inputs(told: list[dict[str, Any]], first: int = 300) -> Known:
    return known(bars_of("XNYS", first, np.arange(SPAN)), "XNYS", rows_of(told))


def column(found: Known, name: str) -> np.ndarray:
    return found.past[:, NAMES.index(name)]


def steps(found: Known, name: str) -> np.ndarray:
    """One input known ahead, (rows, steps)."""
    return found.ahead.toarray().reshape(len(found.past), LONGEST, -1)[..., AHEAD_NAMES.index(name)]


def test_where_nobody_tells_anything_all_is_unknown() -> None:
    found = inputs([])
    assert not found.past.any()
    assert found.ahead.nnz == 0


def test_a_plan_counts_down_to_its_session_and_no_further() -> None:
    plan = {"kind": "results_scheduled", "tone": math.nan, "magnitude": 1.0}
    closes = CLOSES["XNYS"]
    planned = closes[420] - pd.Timedelta(hours=2)
    for seconds, since in ((-1, 395), (0, 396), (1, 396)):
        known_at = closes[395] + pd.Timedelta(seconds=seconds)
        due = steps(inputs([plan | {"known_at": known_at, "happened_at": planned}]), "results_due")
        expected = np.zeros((SPAN, LONGEST))
        for day in range(since, 420):
            expected[day - 300, 420 - day - 1] = 1.0
        np.testing.assert_array_equal(due, expected)


def test_a_date_that_moves_is_believed_until_the_new_one_is_told() -> None:
    plan = {"kind": "results_scheduled", "tone": math.nan, "magnitude": math.nan}
    closes = CLOSES["XNYS"]
    told = [
        plan
        | {
            "known_at": closes[390] - pd.Timedelta(hours=1),
            "happened_at": closes[400] - pd.Timedelta(hours=1),
        }
    ]
    told += [
        plan | {"known_at": closes[396], "happened_at": closes[day] - pd.Timedelta(hours=1)}
        for day in (402, 405)
    ]
    due = steps(inputs(told), "results_due")
    assert due[396 - 300].nonzero()[0].tolist() == [400 - 396 - 1], "told at the very close"
    assert due[397 - 300].nonzero()[0].tolist() == [402 - 397 - 1, 405 - 397 - 1]
    assert set(due[397 - 300]) == {0.0, 0.5}


def test_what_was_due_is_no_longer_once_it_has_come_early() -> None:
    plan = {"kind": "results_scheduled", "tone": math.nan, "magnitude": 1.0}
    closes, hour = CLOSES["XNYS"], pd.Timedelta(hours=1)
    told = [plan | {"known_at": closes[380], "happened_at": closes[400] - hour}]
    came = {"kind": "results", "tone": 0.1, "magnitude": 1.0}
    early = came | {"known_at": closes[395] - hour, "happened_at": closes[395] - hour}
    warning = came | {"known_at": closes[385] - hour, "happened_at": closes[385] - hour}
    assert steps(inputs(told), "results_due")[395 - 300].any()
    due = steps(inputs([*told, early]), "results_due")
    assert due[394 - 300].any()
    assert not due[395 - 300 : 400 - 300].any()
    assert steps(inputs([*told, warning]), "results_due")[399 - 300].any(), (
        "too early to be the announced ones"
    )


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from(list(MARKETS)), st.integers(70, 400), st.integers(0, SPAN - 1))
def test_what_is_told_later_moves_no_bit(data: st.DataObject, exchange: str, first: int, last: int) -> None:
    told = data.draw(told_events(exchange, first))
    close = CLOSES[exchange][first + last]
    later = {"known_at": close, "tone": 0.7, "magnitude": 0.9}
    planted = [
        later | {"kind": kind, "known_at": close + pd.Timedelta(seconds=seconds), "happened_at": close}
        for kind in ("results", *OTHERS)
        for seconds in (0, 1)
    ]
    planted += [
        later | {"kind": kind, "tone": math.nan, "happened_at": close + pd.Timedelta(days=days)}
        for kind in ("results_scheduled", "dividend_scheduled")
        for days in (1, 8, 30)
    ]
    bars = bars_of(exchange, first, np.arange(SPAN))
    past = [one for one in told if one["known_at"] < close]
    true, other, ended = (known(bars, exchange, rows_of(some)) for some in (told, [*told, *planted], past))
    for one in (other, ended):
        np.testing.assert_array_equal(one.past[: last + 1], true.past[: last + 1])
        np.testing.assert_array_equal(one.ahead[: last + 1].toarray(), true.ahead[: last + 1].toarray())


def market(symbols: dict[str, str]) -> pd.DataFrame:
    frames = []
    for seed, (symbol, exchange) in enumerate(symbols.items()):
        random = np.random.default_rng(seed)
        close = 50 * np.exp(random.normal(0, 0.02, SPAN).cumsum())
        frame = pd.DataFrame({"symbol": symbol, "session": SESSIONS[exchange][300 : 300 + SPAN]})
        price = {"open": close, "high": close * 1.02, "low": close * 0.98, "close": close, "adj_close": close}
        frames.append(frame.assign(**price, volume=1e5))
    return pd.concat(frames)


def test_a_panel_lays_each_symbol_s_events_beside_its_own_rows() -> None:
    symbols = {"AAA": "XNYS", "BBB": "XLON", "CCC": "XTKS", "DDD": "XNYS"}
    instruments = {name: Instrument(name, name, at, "UTC", "") for name, at in symbols.items()}
    told = {
        name: rows_of(quarterly(symbols[name], 300)).assign(symbol=name) for name in ("AAA", "BBB", "CCC")
    }
    history = history_of(market(symbols), instruments, events=pd.concat(told.values()))
    assert not history.has_backfill
    panel = assemble(history)
    assert panel.ahead_names[-len(AHEAD_NAMES) :] == AHEAD_NAMES
    columns = [panel.names.index(f"exogenous.{name}") for name in NAMES]
    for code, (name, exchange) in enumerate(symbols.items()):
        rows = panel.code == code
        bars = Bars.of(history.traded[history.traded["symbol"] == name], exchange)
        alone = known(bars, exchange, told.get(name, no_events()))
        np.testing.assert_array_equal(panel.values[rows][:, columns], alone.past.astype(np.float32))
        np.testing.assert_array_equal(panel.announced[rows].toarray(), alone.ahead.toarray())
        assert alone.past.any() == (name != "DDD")
    silent = assemble(replace(history, events=no_events()))
    assert not silent.values[:, columns].any()
    assert silent.announced.nnz == 0
    inside = assemble(history, ("trend",))
    assert inside.ahead_names == ()
    assert inside.announced.shape == (len(panel.code), 0)
