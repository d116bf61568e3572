"""Splits and dividends: taken out of what is stored, put back in at read, for any day."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yahoo_stub import MemorySource, StubSymbol, sessions

from forecaster.adjust import adjusted, as_traded, with_actions
from forecaster.features import assemble
from forecaster.history import read_history
from forecaster.ingest import update
from forecaster.store import Store

DAYS = sessions("2024-01-02", "2024-02-29")
OHLC = ["open", "high", "low", "close"]
SPLITS = (2.0, 3.0, 1.5, 20.0, 0.1, 1.03)
drawn = settings(deadline=None, max_examples=20)


@dataclass
class Share(StubSymbol):
    """A stub's symbol with bars of one's own, from which its splits still divide."""

    bars: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    def as_traded(self) -> pd.DataFrame:
        """Return the bars as they are."""
        return self.bars.loc[self.sessions]


@st.composite
def shares(draw: st.DrawFn, most_dividends_a_gap: int = 9, gaps: bool = True) -> Share:
    """Draw random bars with gaps, splits and dividends, some on days without a bar."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    absent = draw(st.sets(st.integers(1, len(DAYS) - 2), max_size=8)) if gaps else set()
    days = DAYS.delete(sorted(absent))
    splits = draw(st.dictionaries(st.sampled_from(list(DAYS)), st.sampled_from(SPLITS), max_size=3))
    dividends = draw(st.dictionaries(st.sampled_from(list(DAYS)), st.floats(0.001, 0.2), max_size=4))
    share = 10 ** random.uniform(-1, 3) * np.exp(np.cumsum(random.normal(0, 0.03, len(DAYS))))
    for day, ratio in splits.items():
        share[DAYS.searchsorted(day) :] /= ratio
    bars = pd.DataFrame({"close": share}, index=DAYS)
    bars["open"] = share * random.uniform(0.98, 1.02, len(DAYS))
    bars["high"] = bars[["open", "close"]].max(axis=1) * random.uniform(1, 1.02, len(DAYS))
    bars["low"] = bars[["open", "close"]].min(axis=1) * random.uniform(0.98, 1, len(DAYS))
    bars["volume"] = random.uniform(0, 1e7, len(DAYS))
    taken: set[int] = set()
    paid = {}
    for day, fraction in sorted(dividends.items()):
        row = int(days.searchsorted(day))
        if row in taken and most_dividends_a_gap == 1:
            continue
        taken.add(row)
        paid[day] = float(fraction * share[max(0, DAYS.get_loc(day) - 1)])
        if day in splits:
            paid[day] /= splits[day]
    return Share(
        "AAA",
        days,
        {str(day.date()): amount for day, amount in paid.items()},
        {str(day.date()): ratio for day, ratio in splits.items()},
        bars=bars,
    )


def text(row: int) -> str:
    """Return the day of a row."""
    return str(DAYS[row].date())


def price_rows(share: StubSymbol) -> pd.DataFrame:
    """Rows of the prices table."""
    bars = share.as_traded().assign(adj_close=share.quoted()["adj_close"])
    return bars.rename_axis("session").reset_index().assign(symbol=share.symbol, tells_actions=True)


def action_rows(share: StubSymbol) -> pd.DataFrame:
    """Rows of the actions table."""
    return share.actions().assign(symbol=share.symbol)


def read(share: StubSymbol) -> pd.DataFrame:
    """What is read of a share that is stored whole, by session."""
    return adjusted(with_actions(price_rows(share), action_rows(share))).set_index("session")


def walked(share: Share) -> list[dict[str, float]]:
    """Adjust day by day from the last bar to the first, with nothing but arithmetic."""
    bars = share.as_traded()
    rows: list[dict[str, float]] = []
    shares, income = 1.0, 1.0
    for at in range(len(bars) - 1, -1, -1):
        bar = bars.iloc[at]
        rows.append(
            {name: bar[name] / shares for name in OHLC}
            | {"volume": bar["volume"] * shares, "adj_close": bar["close"] / shares * income}
        )
        if at == 0:
            break
        before, day = str(bars.index[at - 1].date()), str(bars.index[at].date())
        new, cash = 1.0, 0.0
        for one in sorted({*share.splits, *share.dividends}):
            if before < one <= day:
                # Who held a share before the split holds `ratio` of them when a dividend is paid.
                new *= share.splits.get(one, 1.0)
                cash += new * share.dividends.get(one, 0.0)
        close_before = bars["close"].iloc[at - 1]
        income *= (close_before - cash) / close_before
        shares *= new
    return rows[::-1]


@drawn
@given(shares())
def test_adjustment_is_what_a_walk_from_the_last_bar_back_gives(share: Share) -> None:
    got = read(share)
    expected = pd.DataFrame(walked(share), index=got.index)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-9, err_msg=name)


@drawn
@given(shares(most_dividends_a_gap=1))
def test_adjustment_is_what_yahoo_shows(share: Share) -> None:
    got, shown = read(share), share.quoted()
    for name in [*OHLC, "volume", "adj_close"]:
        np.testing.assert_allclose(got[name], shown[name], rtol=1e-9, err_msg=name)


@drawn
@given(shares())
def test_wealth_grows_by_price_shares_and_cash(share: Share) -> None:
    bars = share.as_traded()
    apart = with_actions(price_rows(share), action_rows(share))
    total = read(share)["adj_close"].to_numpy()
    for at in range(1, len(bars)):
        before = bars["close"].iloc[at - 1] / apart["split"][at] - apart["dividend"][at]
        assert total[at] / total[at - 1] == pytest.approx(bars["close"].iloc[at] / before)


@drawn
@given(shares())
def test_taking_splits_out_undoes_their_adjustment(share: Share) -> None:
    shown, later = share.quoted().rename_axis("session").reset_index(), share.actions()
    for at, row in later.iterrows():
        after = [ratio for day, ratio in share.splits.items() if pd.Timestamp(day) > row["session"]]
        if row["kind"] == "dividend":
            later.loc[at, "value"] /= np.prod(after)
    bars, actions = as_traded(shown, later)
    was = share.as_traded()
    for name in [*OHLC, "volume"]:
        np.testing.assert_allclose(bars[name], was[name], rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(bars["adj_close"], shown["adj_close"])
    assert actions["session"].tolist() == share.actions()["session"].tolist()
    np.testing.assert_allclose(actions["value"], share.actions()["value"], rtol=1e-9)


@drawn
@given(shares(gaps=False), st.integers(1, len(DAYS) - 1), st.randoms(use_true_random=False))
def test_a_row_depends_on_itself_and_those_before(share: Share, cut: int, random: Any) -> None:
    day = DAYS[cut]
    changed = share.bars.copy()
    changed.loc[changed.index > day] *= random.uniform(0.1, 10)
    later = [str(one.date()) for one in DAYS[cut + 1 :]]
    kept = [
        {one: value for one, value in events.items() if one <= str(day.date())}
        for events in (share.dividends, share.splits)
    ]
    added = [
        dict.fromkeys(random.sample(later, min(2, len(later))), value)
        for value in (0.001 * share.bars["close"].min(), 7.0)
    ]
    # A symbol without an action at all goes by its adjusted closes; this one always has one.
    first = {str(DAYS[0].date()): 1.5}
    one, other = (
        replace(share, splits=first | share.splits),
        replace(share, bars=changed, dividends=kept[0] | added[0], splits=first | kept[1] | added[1]),
    )
    frames = [with_actions(price_rows(each), action_rows(each)) for each in (one, other)]
    past = [frame[frame["session"] <= day] for frame in frames]
    pd.testing.assert_frame_equal(*past, check_exact=True)


@pytest.mark.parametrize("ratio", [0.1, 0.7])
def test_no_bit_of_a_dividend_in_a_gap_moves_with_a_later_split(ratio: float) -> None:
    """A dividend and then a split on sessions without a bar, and another split much later."""
    quiet = StubSymbol("AAA", DAYS.delete([5, 6]), {text(5): 0.7}, {text(6): 3.0})
    busy = replace(quiet, splits=quiet.splits | {text(30): ratio})
    frames = [with_actions(price_rows(share), action_rows(share)).iloc[:20] for share in (quiet, busy)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_a_dividend_and_a_split_of_one_gap_in_either_order() -> None:
    three = sessions("2024-01-02", "2024-01-08")
    kept = three.delete([1, 2, 3])
    for dividend, split, cash in [("2024-01-03", "2024-01-05", 1.0), ("2024-01-05", "2024-01-03", 4.0)]:
        share = StubSymbol("AAA", kept, {dividend: 1.0}, {split: 4.0})
        apart = with_actions(price_rows(share), action_rows(share))
        assert apart["split"].tolist() == [1.0, 4.0]
        assert apart["dividend"].tolist() == [0.0, cash / 4]


def test_an_action_that_is_withdrawn_or_before_the_first_bar_has_no_effect() -> None:
    share = StubSymbol("AAA", DAYS[5:], {}, {})
    early = [
        ("AAA", DAYS[0], "split", 3.0),
        ("AAA", DAYS[5], "dividend", 9.0),
        ("AAA", DAYS[9], "split", 0.0),
    ]
    actions = pd.DataFrame(early, columns=["symbol", "session", "kind", "value"])
    apart = with_actions(price_rows(share), actions)
    assert (apart["split"] == 1).all()
    assert (apart["dividend"] == 0).all()


def test_an_action_after_the_last_bar_waits() -> None:
    share = StubSymbol("AAA", DAYS[:10], {}, {str(DAYS[10].date()): 2.0})
    quiet = StubSymbol("AAA", DAYS[:10])
    np.testing.assert_array_equal(read(share)[OHLC], quiet.as_traded()[OHLC])


@drawn
@given(shares(most_dividends_a_gap=1))
def test_without_actions_the_delivered_adjustment_counts(share: Share) -> None:
    """A file is adjusted for splits, and tells dividends by its adjusted closes only."""
    shown = share.quoted()
    rows = shown.rename_axis("session").reset_index().assign(symbol="AAA", tells_actions=False)
    none = action_rows(share).iloc[:0]
    got = adjusted(with_actions(rows, none)).set_index("session")
    np.testing.assert_array_equal(got[OHLC], shown[OHLC])
    np.testing.assert_allclose(got["adj_close"], shown["adj_close"], rtol=1e-9)


@drawn
@given(shares(), shares())
def test_symbols_do_not_touch_each_other(one: Share, other: Share) -> None:
    other = replace(other, symbol="BBB")
    prices = pd.concat([price_rows(one), price_rows(other)], ignore_index=True)
    actions = pd.concat([action_rows(other), action_rows(one)], ignore_index=True)
    together = adjusted(with_actions(prices, actions))
    alone = [adjusted(with_actions(price_rows(each), action_rows(each))) for each in (one, other)]
    pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True)[together.columns])


def test_no_rows_stay_none() -> None:
    share = StubSymbol("AAA", DAYS)
    none = with_actions(price_rows(share).iloc[:0], action_rows(share))
    assert adjusted(none).empty
    assert "adj_close" in adjusted(none)


def ticking(start: str) -> Any:
    """A clock that tells a second more each time it is asked."""
    moments = (pd.Timestamp(start, tz="UTC") + pd.Timedelta(seconds=count) for count in range(10**6))
    return lambda: next(moments)


@settings(deadline=None, max_examples=4)
@given(shares(most_dividends_a_gap=1, gaps=False), st.sets(st.integers(3, len(DAYS) - 2), max_size=2))
def test_any_earlier_day_reads_as_the_source_showed_it(
    tmp_path_factory: pytest.TempPathFactory, share: Share, pauses: set[int]
) -> None:
    """Whether the store was filled at once or in several runs, each after some weeks of its own."""
    # From here on the share is known to tell its actions.
    share = replace(
        share, dividends={str(DAYS[1].date()): 0.001 * share.bars["close"].iloc[0]} | share.dividends
    )
    store, source = Store(tmp_path_factory.mktemp("read") / "store"), MemorySource()
    for last in [*sorted(pauses), len(DAYS) - 1]:
        source.add(share.as_of(DAYS[last]))
        report = update(store, source, ["AAA"], ticking(f"{DAYS[last].date()} 23:00"))
        assert report["outcome"].tolist() == ["ok"]
        assert report["detail"].str.contains("quarantine").sum() == 0
    for day in DAYS[[1, 9, 23, len(DAYS) - 1]]:
        shown = share.as_of(day).quoted()
        for got in (read_history(store, as_of=day).prices, read_history(store).until(day).prices):
            for name in [*OHLC, "volume", "adj_close"]:
                np.testing.assert_allclose(
                    got[name], shown[name], rtol=1e-6, err_msg=f"{name} on {day.date()}"
                )


def test_a_share_that_has_paid_nothing_yet_has_no_dividend(tmp_path: Path) -> None:
    """Its first dividend lowers the adjusted closes of what is fetched later, also before it."""
    store, source = Store(tmp_path / "store"), MemorySource()
    share = StubSymbol("AAA", DAYS, {str(DAYS[20].date()): 2.0})
    for last in (10, 30):
        source.add(share.as_of(DAYS[last]))
        update(store, source, ["AAA"], ticking(f"{DAYS[last].date()} 23:00"))
    for history in (read_history(store, as_of=DAYS[15]), read_history(store).until(DAYS[15])):
        assert (history.traded["dividend"] == 0).all()
        np.testing.assert_array_equal(history.prices["adj_close"], share.as_of(DAYS[15]).quoted()["close"])


YEAR = sessions("2023-01-03", "2024-02-29")


@settings(deadline=None, max_examples=3)
@given(
    st.integers(150, len(YEAR) - 20),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([0.5, 2.0, 4.0])), max_size=3),
    st.lists(st.integers(0, 10**6), max_size=3),
)
def test_no_bit_of_an_input_moves_with_later_actions(
    tmp_path_factory: pytest.TempPathFactory,
    cut: int,
    splits: list[tuple[int, float]],
    dividends: list[int],
) -> None:
    """From the source through the store to the matrix that a network reads."""
    day = YEAR[cut]
    later = [str(one.date()) for one in YEAR[cut + 1 :]]
    earlier = {str(YEAR[40].date()): 0.4, str(YEAR[120].date()): 0.5}
    quiet = StubSymbol("AAA", YEAR, earlier, {str(YEAR[80].date()): 3.0})
    busy = replace(
        quiet,
        dividends=earlier | {later[at % len(later)]: 0.3 for at in dividends},
        splits=quiet.splits | {later[at % len(later)]: ratio for at, ratio in splits},
    )
    panels = []
    for share in (quiet, busy, quiet.as_of(day)):
        store = Store(tmp_path_factory.mktemp("features") / "store")
        other = StubSymbol("BBB", share.sessions, {str(YEAR[70].date()): 0.2})
        source = MemorySource({"AAA": share, "BBB": other})
        update(store, source, ["AAA", "BBB"], ticking("2024-03-02"))
        panels.append(assemble(read_history(store)))
    for name in ("values", "log_price", "log_return", "close", "base_sigma"):
        past = [getattr(panel, name)[panel.session <= day.to_datetime64()] for panel in panels]
        np.testing.assert_array_equal(past[0], past[1], err_msg=name)
        np.testing.assert_array_equal(past[0], past[2], err_msg=name)
    assert np.isfinite(panels[2].values[-1]).mean() > 0.5
