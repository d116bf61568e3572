"""Does a reply continue what is stored? A made-up difference must be called what it is."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yahoo_stub import StubSymbol, sessions, traded

from forecaster.adjust import as_traded
from forecaster.ingest.overlap import Change, Overlap, compare
from forecaster.ingest.unreported import compare_unreported, continued

drawn = settings(deadline=None, max_examples=15)
DAYS = sessions("2024-01-02", "2024-02-29")
OHLC = ["open", "high", "low", "close"]
NONE = StubSymbol("AAA", DAYS).actions()
STORED = 15


@dataclass(frozen=True)
class World:
    """What is stored, and the same sessions with some new ones as delivered."""

    held: pd.DataFrame = field(repr=False)
    delivered: pd.DataFrame = field(repr=False)

    @property
    def new(self) -> list[pd.Timestamp]:
        """Sessions that are not stored yet."""
        return list(self.delivered.index[STORED:])


@st.composite
def worlds(draw: st.DrawFn, fewest_new: int = 0) -> World:
    """Draw a share that moves by a few per cent a day."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days = DAYS[: STORED + draw(st.integers(fewest_new, 5))]
    close = 10 ** random.uniform(-2, 4) * np.exp(np.cumsum(random.normal(0, 0.02, len(days))))
    bars = pd.DataFrame({"open": close * random.uniform(0.98, 1.02, len(days))}, index=days)
    bars["high"] = np.maximum(bars["open"], close) * random.uniform(1, 1.02, len(days))
    bars["low"] = np.minimum(bars["open"], close) * random.uniform(0.98, 1, len(days))
    bars = bars.assign(close=close, adj_close=close, volume=random.uniform(1e3, 1e7, len(days)))
    return World(bars.iloc[:STORED], bars.copy())


def told(*rows: tuple[pd.Timestamp, str, float]) -> pd.DataFrame:
    """Make a table of actions."""
    frame = pd.DataFrame(list(rows), columns=["session", "kind", "value"])
    return frame.astype({"session": "datetime64[ns]", "value": "float64"})


def last_of(held: pd.DataFrame) -> pd.Timestamp | None:
    """Name the last stored session."""
    return None if held.empty else held.index[-1]


def compared(world: World, held: pd.DataFrame = NONE, actions: pd.DataFrame = NONE) -> Overlap:
    return compare(world.held, world.delivered, held, actions, last_of(world.held))


def assert_is(
    overlap: Overlap,
    change: Change,
    fresh: object = (),
    fits: bool = True,
    revised: object = (),
    vanished: object = (),
    actions: object = (),
) -> None:
    """Check everything that an overlap says."""
    assert overlap.change == change
    assert overlap.fits is fits
    assert list(overlap.fresh) == sorted(fresh)
    assert list(overlap.revised.index) == sorted(revised)
    assert list(overlap.vanished.index) == sorted(vanished)
    got = {(row.session, row.kind): row.value for row in overlap.actions.itertuples()}
    assert got == pytest.approx({(session, kind): value for session, kind, value in actions})
    assert all(overlap.revised.str.fullmatch(r"(open|high|low|close) revised from \S+ to \S+"))


def scaled(shown: pd.DataFrame, splits: dict[str, float], upto: int | None = None) -> pd.DataFrame:
    """Show bars as traded as a source does that divides what lies before its splits.

    Bars from row `upto` on have been forgotten.
    """
    bars = shown.copy()
    for day, ratio in splits.items():
        before = (bars.index < day) & (np.arange(len(bars)) < (len(bars) if upto is None else upto))
        bars.loc[before, [*OHLC, "adj_close"]] /= ratio
        bars.loc[before, "volume"] *= ratio
    return bars


def taken_out(shown: pd.DataFrame, actions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take splits out as a source does."""
    bars, told = as_traded(shown.rename_axis("session").reset_index(), actions)
    return bars.set_index("session"), told


@drawn
@given(worlds())
def test_nothing_differs(world: World) -> None:
    assert_is(compared(world), Change.SAME, world.new)


@drawn
@given(worlds())
def test_a_symbol_that_is_not_stored(world: World) -> None:
    paid = (world.delivered.index[3], "dividend", 0.01)
    overlap = compare(world.held.iloc[:0], world.delivered, NONE, told(paid), last_of(world.held.iloc[:0]))
    assert_is(overlap, Change.NEW, world.delivered.index, actions=[paid])


@drawn
@given(worlds(), st.integers(0, 2**32 - 1))
def test_jitter_is_no_difference(world: World, seed: int) -> None:
    jitter = np.random.default_rng(seed).uniform(-1.9e-4, 1.9e-4, world.delivered.shape)
    assert_is(compared(replace(world, delivered=world.delivered * (1 + jitter))), Change.SAME, world.new)


@drawn
@given(worlds(), st.integers(0, STORED - 2), st.sampled_from(OHLC), st.sampled_from([1 + 2.2e-4, 1 - 2.2e-4]))
def test_more_than_jitter_is_a_revision(world: World, row: int, column: str, factor: float) -> None:
    assume(row < STORED - 2)
    world.delivered.iloc[row, world.delivered.columns.get_loc(column)] *= factor
    assert_is(compared(world), Change.REVISION, world.new, revised=[world.held.index[row]])


@drawn
@given(worlds(fewest_new=1), st.sampled_from([2.0, 3.0, 1.5, 20.0, 0.1, 0.04]), st.booleans())
def test_a_split_that_is_applied_throughout(world: World, ratio: float, rounded: bool) -> None:
    """On the first new session, in its prices and in all before it."""
    split = world.new[0]
    day = str(split.date())
    assume(not rounded or world.held[OHLC].min().min() / ratio > 1)
    world.delivered.loc[split:, [*OHLC, "adj_close"]] /= ratio
    shown = scaled(world.delivered, {day: ratio})
    bars, actions = taken_out(shown.round(6) if rounded else shown, told((split, "split", ratio)))
    overlap = compare(world.held, bars, NONE, actions, last_of(world.held))
    assert_is(overlap, Change.RESPLIT, world.new, actions=[(split, "split", ratio)])


@drawn
@given(worlds(fewest_new=1), st.sampled_from([2.0, 3.0, 1.5, 20.0, 0.1, 0.04]))
def test_a_split_that_is_told_and_not_applied(world: World, ratio: float) -> None:
    split = world.new[0]
    bars, actions = taken_out(world.delivered, told((split, "split", ratio)))
    overlap = compare(world.held, bars, NONE, actions, last_of(world.held))
    assert not overlap.fits
    assert overlap.change is Change.REVISION
    assert list(overlap.revised.index) == list(world.held.index)
    assert list(overlap.fresh) == world.new


@drawn
@given(worlds(fewest_new=1), st.sampled_from([2.0, 3.0, 20.0, 0.1]), st.integers(1, STORED - 2))
def test_a_split_that_is_applied_to_the_older_sessions_only(world: World, ratio: float, upto: int) -> None:
    split = world.new[0]
    shown = scaled(world.delivered, {str(split.date()): ratio}, upto)
    bars, actions = taken_out(shown, told((split, "split", ratio)))
    overlap = compare(world.held, bars, NONE, actions, last_of(world.held))
    assert not overlap.fits
    assert overlap.change is Change.REVISION
    assert list(overlap.revised.index) == list(world.held.index[upto:])


@drawn
@given(worlds(fewest_new=1), st.sampled_from([2.0, 3.0, 20.0, 0.1]), st.integers(1, STORED - 2))
def test_a_split_that_is_applied_to_the_newer_sessions_only(world: World, ratio: float, since: int) -> None:
    """The latest sessions fit, so news is taken; what was forgotten is refused."""
    split = world.new[0]
    shown = scaled(world.delivered, {str(split.date()): ratio})
    shown.iloc[:since] = world.delivered.iloc[:since]
    bars, actions = taken_out(shown, told((split, "split", ratio)))
    overlap = compare(world.held, bars, NONE, actions, last_of(world.held))
    assert_is(
        overlap,
        Change.REVISION,
        world.new,
        revised=world.held.index[:since],
        actions=[(split, "split", ratio)],
    )


@drawn
@given(worlds(fewest_new=1), st.floats(0.001, 0.2))
def test_a_new_dividend(world: World, share: float) -> None:
    last, paid_on = world.held.index[-1], world.new[0]
    paid = (paid_on, "dividend", share * world.held.loc[last, "close"])
    world.delivered.loc[:last, "adj_close"] *= 1 - share
    assert_is(compared(world, NONE, told(paid)), Change.REDIVIDEND, world.new, actions=[paid])


@drawn
@given(worlds(), st.integers(1, STORED - 1), st.floats(0.001, 0.2), st.sampled_from([1 + 1e-4, 1 - 1e-4]))
def test_an_action_that_is_known_is_no_news(world: World, row: int, share: float, jitter: float) -> None:
    paid_on = world.held.index[row]
    amount = share * world.held["close"].iloc[row - 1]
    world.delivered.loc[world.delivered.index < paid_on, "adj_close"] *= 1 - share
    was, now = (told((paid_on, "dividend", amount * by)) for by in (1.0, jitter))
    assert_is(compared(world, was, now), Change.SAME, world.new)


@drawn
@given(worlds(), st.integers(1, STORED - 1), st.sampled_from([0.5, 1.001, 4.0]))
def test_an_amount_that_is_corrected(world: World, row: int, factor: float) -> None:
    paid_on = world.held.index[row]
    amount = 0.01 * world.held["close"].iloc[row - 1]
    was, now = ((paid_on, "dividend", amount), (paid_on, "dividend", amount * factor))
    assert_is(compared(world, told(was), told(now)), Change.REDIVIDEND, world.new, actions=[now])


@drawn
@given(worlds(), st.integers(1, STORED - 1), st.floats(0.001, 0.2), st.booleans())
def test_a_dividend_that_is_no_longer_told(world: World, row: int, share: float, is_priced_in: bool) -> None:
    """It is withdrawn, unless the adjusted closes still step by it: then only the word is missing."""
    paid_on = world.held.index[row]
    if is_priced_in:
        world.delivered.loc[world.delivered.index < paid_on, "adj_close"] *= 1 - share
    held = told((paid_on, "dividend", share * world.held["close"].iloc[row - 1]))
    overlap = compared(world, held, NONE)
    if is_priced_in:
        assert_is(overlap, Change.SAME, world.new)
    else:
        assert_is(overlap, Change.REDIVIDEND, world.new, actions=[(paid_on, "dividend", 0.0)])


@drawn
@given(
    worlds(),
    st.integers(2, STORED - 1),
    st.integers(2, STORED - 1),
    st.floats(0.001, 0.2),
)
def test_a_dividend_that_moves_to_another_session(world: World, row: int, to: int, share: float) -> None:
    assume(row != to)
    was, now = world.held.index[row], world.held.index[to]
    amount = share * world.held["close"].iloc[to - 1]
    world.delivered.loc[world.delivered.index < now, "adj_close"] *= 1 - share
    overlap = compared(world, told((was, "dividend", amount)), told((now, "dividend", amount)))
    expected = [(was, "dividend", 0.0), (now, "dividend", amount)]
    assert_is(overlap, Change.REDIVIDEND, world.new, actions=expected)


@drawn
@given(worlds(), st.sampled_from([2.0, 0.1]))
def test_a_split_that_is_withdrawn(world: World, ratio: float) -> None:
    """What was stored as traded had been multiplied by it, so that nothing fits any more."""
    was = told((world.held.index[5], "split", ratio))
    before = world.held.index < world.held.index[5]
    stored = world.held.copy()
    stored.loc[before, OHLC] *= ratio
    overlap = compare(stored, world.delivered, was, NONE, last_of(stored))
    gone = [(world.held.index[5], "split", 0.0)]
    assert_is(overlap, Change.REVISION, world.new, revised=stored.index[before], actions=gone)


@drawn
@given(worlds(), st.sets(st.integers(0, STORED - 3), min_size=1), st.sampled_from([1.01, 0.9, 1.3]))
def test_revised_sessions(world: World, rows: set[int], factor: float) -> None:
    days = world.held.index[sorted(rows)]
    world.delivered.loc[days, OHLC] *= factor
    assert_is(compared(world), Change.REVISION, world.new, revised=days)


@drawn
@given(worlds(), st.sets(st.integers(0, STORED - 3)), st.sampled_from([1.05, 0.5, 100.0, 0.01]))
def test_where_the_latest_sessions_lie_elsewhere_nothing_fits(
    world: World, rows: set[int], factor: float
) -> None:
    if factor == 1.05:
        rows = set(range(STORED - 2))
    days = world.held.index[sorted(rows | {STORED - 2, STORED - 1})]
    world.delivered.loc[days, OHLC] *= factor
    assert_is(compared(world), Change.REVISION, world.new, fits=False, revised=days)


@drawn
@given(worlds(), st.sets(st.integers(0, STORED - 3), min_size=1), st.booleans())
def test_sessions_that_are_no_longer_delivered(world: World, rows: set[int], is_revised: bool) -> None:
    days = world.held.index[sorted(rows)]
    delivered, revised = world.delivered.drop(index=days), []
    if is_revised and len(rows) < STORED - 2:
        revised = [day for day in world.held.index[: STORED - 2] if day not in days][:1]
        delivered.loc[revised, "close"] *= 1.01
    overlap = compared(replace(world, delivered=delivered))
    assert_is(overlap, Change.VANISHED, world.new, revised=revised, vanished=days)


@drawn
@given(worlds(fewest_new=1))
def test_a_reply_without_a_stored_session_does_not_fit(world: World) -> None:
    overlap = compared(replace(world, delivered=world.delivered.iloc[STORED:]))
    assert not overlap.fits
    assert overlap.change is Change.VANISHED


@drawn
@given(worlds(), st.sampled_from([*OHLC, "volume"]), st.sampled_from([1.01, 0.97]))
def test_the_last_stored_session_may_settle(world: World, column: str, factor: float) -> None:
    last = world.held.index[-1]
    world.delivered.loc[last, column] *= factor
    assert_is(compared(world), Change.SAME, [last, *world.new])


@drawn
@given(worlds(), st.sets(st.integers(0, STORED - 1), min_size=1), st.sampled_from([1.01, 0.5, 40.0]))
def test_volume_may_be_counted_again(world: World, rows: set[int], factor: float) -> None:
    days = world.held.index[sorted(rows)]
    world.delivered.loc[days, "volume"] *= factor
    assert_is(compared(world), Change.SAME, [*days, *world.new])


@drawn
@given(worlds(), st.sets(st.integers(0, STORED - 1), min_size=1))
def test_a_volume_that_is_lost_is_no_news(world: World, rows: set[int]) -> None:
    world.delivered.loc[world.held.index[sorted(rows)], "volume"] = 0.0
    assert_is(compared(world), Change.SAME, world.new)


@drawn
@given(worlds(), worlds())
def test_another_company_does_not_fit(world: World, other: World) -> None:
    mine, theirs = world.held[OHLC], other.delivered.iloc[:STORED][OHLC]
    assume((np.abs(theirs / mine - 1).max(axis=1) > 1e-3).all())
    overlap = compared(replace(world, delivered=other.delivered))
    assert_is(overlap, Change.REVISION, other.new, fits=False, revised=world.held.index)


@drawn
@given(
    worlds(),
    st.dictionaries(st.integers(0, STORED - 1), st.sampled_from(["drop", "price", "volume", "jitter"])),
    st.booleans(),
)
def test_a_mixture_is_told_apart(world: World, mutations: dict[int, str], has_dividend: bool) -> None:
    """Row by row, as a plain reading says."""
    delivered = world.delivered.copy()
    for row, what in mutations.items():
        day = world.held.index[row]
        if what == "drop":
            delivered = delivered.drop(index=day)
        elif what == "price":
            delivered.loc[day, "high"] *= 1.05
        elif what == "volume":
            delivered.loc[day, "volume"] *= 2
        else:
            delivered.loc[day] *= 1 + 1e-4
    by = {what: [world.held.index[row] for row in sorted(mutations) if mutations[row] == what] for what in
          ("drop", "price", "volume")}  # fmt: skip
    last = world.held.index[-1]
    settled = [day for day in world.held.index[:-1] if day not in by["drop"]]
    shared = [*settled, *([last] if last not in by["drop"] else [])]
    lately = all(day in by["price"] for day in shared[-2:])
    fits = bool(shared) and not (lately and len(by["price"]) > len(shared) / 2)
    revised = [day for day in by["price"] if not (fits and day == last)]
    again = [*by["volume"], *([last] if last in by["price"] else [])] if fits else []
    actions = [(world.new[-1], "dividend", 0.3)] if has_dividend and world.new else []
    expected = Change.REDIVIDEND if actions else Change.SAME
    if revised:
        expected = Change.REVISION
    if by["drop"]:
        expected = Change.VANISHED
    overlap = compared(replace(world, delivered=delivered), NONE, told(*actions))
    assert_is(overlap, expected, [*again, *world.new], fits, revised, by["drop"], actions)


@pytest.mark.parametrize(
    ("factors", "named"),
    [({"close": 1.01, "high": 1.1}, "close"), ({"low": 0.99, "high": 1.1}, "high")],
)
def test_the_reason_names_the_close_or_the_price_that_differs_most(
    factors: dict[str, float], named: str
) -> None:
    held = traded(DAYS[:5]).astype(float).assign(adj_close=1.0)
    delivered = held.copy()
    for name, factor in factors.items():
        delivered.loc[DAYS[1], name] *= factor
    (reason,) = compare(held, delivered, NONE, NONE, last_of(held)).revised
    was = held.loc[DAYS[1], named]
    assert reason == f"{named} revised from {was:.6g} to {factors[named] * was:.6g}"


# Sources that tell no actions: files. Their prices are adjusted up to the day when they were made.


def shown(share: StubSymbol) -> pd.DataFrame:
    """What a file holds of a share."""
    return share.quoted()


@drawn
@given(worlds(), st.sampled_from([2.0, 0.1, 1.5, 1 / 3]))
def test_a_whole_file_on_another_scale_replaces_what_is_stored(world: World, ratio: float) -> None:
    delivered = world.delivered.copy()
    delivered[[*OHLC, "adj_close"]] /= ratio
    overlap = compare_unreported(world.held, delivered, last_of(world.held), True)
    assert_is(overlap, Change.RESPLIT, delivered.index)


@drawn
@given(worlds(), st.sampled_from([2.0, 0.1, 1.5, 1 / 3]))
def test_a_part_on_another_scale_is_refused(world: World, ratio: float) -> None:
    delivered = world.delivered.copy()
    delivered[[*OHLC, "adj_close"]] /= ratio
    overlap = compare_unreported(world.held, delivered, last_of(world.held), False)
    assert not overlap.fits
    assert list(overlap.revised.index) == list(world.held.index)


@drawn
@given(worlds(), st.integers(1, STORED - 2), st.sampled_from([2.0, 0.1]))
def test_a_file_that_is_rescaled_by_half_is_no_new_scale(world: World, upto: int, ratio: float) -> None:
    delivered = world.delivered.copy()
    delivered.loc[delivered.index[:upto], [*OHLC, "adj_close"]] /= ratio
    overlap = compare_unreported(world.held, delivered, last_of(world.held), True)
    assert overlap.change is Change.REVISION
    assert list(overlap.revised.index) == list(world.held.index[:upto])


@drawn
@given(worlds(), st.integers(1, STORED - 1), st.floats(0.002, 0.2))
def test_a_dividend_between_stored_sessions_moves_the_adjusted_closes_after_it(
    world: World, row: int, share: float
) -> None:
    """Once anchored at the first session, what comes after a dividend has moved."""
    delivered = world.delivered.copy()
    delivered.loc[delivered.index[:row], "adj_close"] *= 1 - share
    overlap = compare_unreported(world.held, continued(world.held, delivered), last_of(world.held), True)
    assert_is(overlap, Change.REDIVIDEND, delivered.index[row:])


@drawn
@given(worlds(), st.floats(0.01, 100))
def test_the_base_of_adjusted_closes_means_nothing(world: World, base: float) -> None:
    delivered = world.delivered.assign(adj_close=world.delivered["adj_close"] * base)
    assert_is(
        compare_unreported(world.held, continued(world.held, delivered), last_of(world.held), True),
        Change.SAME,
        world.new,
    )


@drawn
@given(worlds(fewest_new=2), st.integers(0, STORED), st.floats(0.002, 0.2))
def test_adjusted_closes_are_continued_from_one_file_to_the_next(
    world: World, first: int, share: float
) -> None:
    """A later file, adjusted for a dividend that the stored one could not know."""
    paid_on = world.new[-1]
    whole = world.delivered.copy()
    whole.loc[whole.index < paid_on, "adj_close"] *= 1 - share
    part = continued(world.held, whole.iloc[first:])
    together = pd.concat([world.held.iloc[:first], part])
    steps = together["adj_close"] / together["close"]
    expected = whole["adj_close"] / whole["close"]
    np.testing.assert_allclose(steps / steps.iloc[0], expected / expected.iloc[0], rtol=1e-9)


def test_nothing_stored_leaves_the_base_alone() -> None:
    delivered = shown(StubSymbol("AAA", DAYS, {str(DAYS[20].date()): 1.0}))
    pd.testing.assert_frame_equal(continued(delivered.iloc[:0], delivered), delivered)
