"""How a source is asked: a steady rate, patience with a stumble, and none with a refusal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.ingest.pace import ATTEMPTS, BURST, PATIENCE, Pace
from forecaster.sources import Fetched, Outcome

OK, GONE, BUSY, DOWN, BAD = (
    Outcome.OK,
    Outcome.GONE,
    Outcome.RATE_LIMITED,
    Outcome.TRANSIENT,
    Outcome.INVALID,
)


@dataclass
class Time:
    """A clock that only sleep and `pass_` move."""

    moment: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.moment += seconds

    def pass_(self, seconds: float) -> None:
        self.moment += seconds


@dataclass
class Script:
    """A source that ends each request as written, and well after that; each takes some time."""

    time: Time
    outcomes: Iterable[Outcome] = ()
    seconds: float = 0.0
    asked: list[tuple[float, str, pd.Timestamp | None]] = field(default_factory=list)
    name: str = "script"
    remote: bool = True

    def __post_init__(self) -> None:
        self._next: Iterator[Outcome] = chain(self.outcomes, repeat(OK))

    def symbols(self) -> tuple[str, ...]:
        return ()

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        self.asked.append((self.time.moment, symbol, start))
        self.time.pass_(self.seconds)
        return Fetched(symbol, next(self._next), detail=f"request {len(self.asked)}")

    @property
    def moments(self) -> list[float]:
        return [moment for moment, *_ in self.asked]


@pytest.fixture
def time() -> Time:
    return Time()


def paced(time: Time, per_second: float | None = None, first_wait: float = 2.0) -> Pace:
    return Pace(per_second, first_wait, time.sleep, time)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.05, 20),
    st.lists(st.floats(0, 30), min_size=20, max_size=60),
    st.floats(0, 0.5),
    st.integers(1, BURST),
)
def test_the_rate_holds_over_every_stretch(
    per_second: float, pauses: list[float], seconds: float, requests: int
) -> None:
    """However the work between requests comes and goes, however long they take, and how many are one."""
    time = Time()
    source, pace = Script(time, seconds=seconds), paced(time, per_second)
    for pause in pauses:
        time.pass_(pause / per_second / 10)
        assert pace.fetch(source, "AAA", requests=requests).outcome is OK
    moments = source.moments
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            allowed = BURST + (moments[last] - moments[first]) * per_second
            assert requests * (last - first + 1) <= allowed + 1e-6


def test_without_work_between_requests_come_at_the_rate(time: Time) -> None:
    source, pace = Script(time), paced(time, 0.5)
    for _ in range(53):
        pace.fetch(source, "AAA")
    gaps = [after - before for before, after in zip(source.moments, source.moments[1:], strict=False)]
    assert gaps == pytest.approx([0.0] * (BURST - 1) + [2.0] * 50)


def test_what_costs_two_requests_takes_two_turns(time: Time) -> None:
    source, pace = Script(time), paced(time, 0.5)
    for requests in (2, 2, 1, 2):
        pace.fetch(source, "AAA", requests=requests)
    assert [moment - source.moments[0] for moment in source.moments] == pytest.approx([0, 2, 4, 8])


def test_a_pause_saves_no_more_than_a_burst(time: Time) -> None:
    source, pace = Script(time), paced(time, 1.0)
    for _ in range(10):
        pace.fetch(source, "AAA")
    time.pass_(3600)
    since = time.moment
    for _ in range(10):
        pace.fetch(source, "AAA")
    assert [moment - since for moment in source.moments[10:]] == pytest.approx([0, 0, 0, *range(1, 8)])


def test_slow_replies_use_the_time_of_the_pace(time: Time) -> None:
    source, pace = Script(time, seconds=5.0), paced(time, 0.5)
    for _ in range(20):
        pace.fetch(source, "AAA")
    assert time.slept == []


def test_without_a_rate_nothing_waits(time: Time) -> None:
    source, pace = Script(time), paced(time)
    for _ in range(100):
        pace.fetch(source, "AAA")
    assert time.slept == []
    assert time.moment == 1000.0


def test_the_request_is_handed_on(time: Time) -> None:
    source, start = Script(time, [DOWN]), pd.Timestamp("2024-01-02")
    assert paced(time).fetch(source, "AAA", start).detail == "request 2"
    assert [(symbol, since) for _, symbol, since in source.asked] == [("AAA", start)] * 2


@pytest.mark.parametrize("outcome", [OK, GONE, BUSY, BAD])
def test_only_a_stumble_is_asked_again(time: Time, outcome: Outcome) -> None:
    source = Script(time, [outcome])
    assert paced(time).fetch(source, "AAA").outcome is outcome
    assert len(source.asked) == 1
    assert time.slept == []


@pytest.mark.parametrize("stumbles", range(ATTEMPTS + 2))
def test_a_stumble_is_asked_again_a_few_times(time: Time, stumbles: int) -> None:
    source = Script(time, [DOWN] * stumbles)
    fetched = paced(time).fetch(source, "AAA")
    assert fetched.outcome is (OK if stumbles < ATTEMPTS else DOWN)
    assert len(source.asked) == min(stumbles + 1, ATTEMPTS)
    assert len(time.slept) == min(stumbles, ATTEMPTS - 1)


def test_a_stumble_that_turns_into_a_refusal_is_not_asked_again(time: Time) -> None:
    source, pace = Script(time, [DOWN, BUSY]), paced(time)
    assert pace.fetch(source, "AAA").outcome is BUSY
    assert len(source.asked) == 2
    assert pace.stopped == (BUSY, "request 2")


def test_waits_grow_and_are_spread() -> None:
    """Full jitter: anything from nothing to a bound that doubles."""
    waits = []
    for _ in range(400):
        time = Time()
        paced(time, first_wait=3.0).fetch(Script(time, [DOWN] * ATTEMPTS), "AAA")
        waits.append(time.slept)
    for attempt, some in enumerate(zip(*waits, strict=True)):
        bound = 3.0 * 2**attempt
        assert all(0 <= wait <= bound for wait in some)
        # Of 400 draws, none in the lowest or the highest tenth: once in 10^18 runs.
        assert min(some) < 0.1 * bound
        assert max(some) > 0.9 * bound


def test_waits_after_a_stumble_come_on_top_of_the_pace(time: Time) -> None:
    source, pace = Script(time, [DOWN] * 100), paced(time, 0.5)
    for _ in range(4):
        pace.fetch(source, "AAA")
    assert len(source.asked) == 4 * ATTEMPTS
    assert source.moments[-1] - source.moments[0] >= (4 * ATTEMPTS - BURST) / 0.5 - 1e-6


def test_the_circuit_opens_when_several_symbols_in_a_row_fail(time: Time) -> None:
    source, pace = Script(time, repeat(DOWN)), paced(time)
    for count in range(PATIENCE):
        assert pace.stopped is None, count
        pace.fetch(source, f"S{count}")
    assert pace.stopped is not None
    outcome, detail = pace.stopped
    assert outcome is DOWN
    assert detail == f"not asked: 5 symbols in a row failed, the last with: request {PATIENCE * ATTEMPTS}"


@pytest.mark.parametrize("between", [OK, GONE, BAD])
def test_an_answer_between_closes_it_again(time: Time, between: Outcome) -> None:
    some = [DOWN] * ATTEMPTS * (PATIENCE - 1)
    source, pace = Script(time, [*some, between, *some]), paced(time)
    for _ in range(2 * PATIENCE - 1):
        pace.fetch(source, "AAA")
    assert len(source.asked) == 2 * len(some) + 1
    assert pace.stopped is None


def test_stumbles_that_pass_do_not_count(time: Time) -> None:
    source, pace = Script(time, [DOWN, OK] * 20), paced(time)
    for _ in range(20):
        assert pace.fetch(source, "AAA").outcome is OK
    assert pace.stopped is None


def test_a_rate_limit_opens_it_at_once(time: Time) -> None:
    pace = paced(time)
    pace.fetch(Script(time, [BUSY]), "AAA")
    assert pace.stopped == (BUSY, "request 1")
