"""Which delivered bars are trusted: every trick of a source is caught, every whim of a market is not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yahoo_stub import StubSymbol, sessions, traded

from forecaster.ingest.checks import ADJUSTMENT_WITHIN, JUMP, NUMBERS, malformed, suspicious

DAYS = sessions("2024-01-02", "2024-02-29")
OHLC = ["open", "high", "low", "close"]
NONE = StubSymbol("AAA", DAYS).actions()
DAY = DAYS[20]


def bars(share: StubSymbol | None = None) -> pd.DataFrame:
    """Bars as traded with the adjusted closes of today."""
    share = share or StubSymbol("AAA", DAYS)
    made = share.as_traded().assign(adj_close=share.quoted()["adj_close"])
    return made[NUMBERS].rename_axis("session")


def judged(delivered: pd.DataFrame, actions: pd.DataFrame | None = NONE, stored: int = 0) -> pd.Series:
    """Judge a delivery whose first rows are stored."""
    return suspicious(delivered, delivered.iloc[:stored], delivered.index[stored:], actions)


def moved(factors: np.ndarray, dividends: dict[str, float] | None = None) -> pd.DataFrame:
    """Bars whose prices are multiplied day by day, and adjusted for dividends thereafter."""
    made = bars()
    made[OHLC] = made[OHLC].mul(factors, axis=0)
    made["adj_close"] = made["close"]
    for day, amount in (dividends or {}).items():
        before = made.index < day
        made.loc[before, "adj_close"] *= 1 - amount / made.loc[before, "close"].iloc[-1]
    return made


def from_row(row: int, factor: float) -> np.ndarray:
    """One before a row, `factor` from it on."""
    return np.where(np.arange(len(DAYS)) >= row, factor, 1.0)


def test_sound_bars_pass() -> None:
    assert malformed(bars().reset_index(), "XNYS").empty
    assert judged(bars()).empty
    assert judged(bars(), None).empty


FORM = {
    "close: missing": {"close": np.nan},
    "open: missing": dict.fromkeys([*OHLC, "adj_close"], np.nan),
    "open: zero or negative": {"open": 0.0},
    "close: not finite": {"close": np.inf},
    "adj_close: zero or negative": {"adj_close": -1.0},
    "adj_close: missing": {"adj_close": np.nan},
    "high below low": {"high": 1.0},
    "close outside low..high": {"close": 1000.0},
    "open outside low..high": {"open": 1.0},
    "volume: missing": {"volume": np.nan},
    "volume: negative": {"volume": -1.0},
}


@pytest.mark.parametrize("reason", FORM)
def test_a_bar_of_bad_form_is_named(reason: str) -> None:
    made = bars()
    for name, value in FORM[reason].items():
        made.loc[DAY, name] = value
    faults = malformed(made.reset_index(), "XNYS")
    assert list(faults.index) == [20]
    assert reason in faults.item().split("; ")


def test_a_weekend_and_a_repetition_are_named() -> None:
    made = bars().reset_index()
    made.loc[5, "session"] = pd.Timestamp("2024-01-06")
    made.loc[9, "session"] = made.loc[8, "session"]
    assert malformed(made, "XNYS").to_dict() == {5: "no session of XNYS", 9: "session stands twice"}


def test_a_holiday_of_one_exchange_is_a_session_of_another() -> None:
    boxing_day = traded(pd.DatetimeIndex(["2023-12-26"])).astype(float).assign(adj_close=1.0)
    day = boxing_day.rename_axis("session").reset_index()
    assert malformed(day, "XNYS").empty
    assert malformed(day, "XLON").to_dict() == {0: "no session of XLON"}


@pytest.mark.parametrize("factor", [100.0, 0.01, 25.0, 1 / 25])
@pytest.mark.parametrize("stored", [0, 10])
def test_rows_in_another_unit(factor: float, stored: int) -> None:
    factors = np.ones(len(DAYS))
    factors[20:23] = factor
    found = judged(moved(factors), stored=stored)
    # The adjusted closes have moved along, so that nothing else is odd.
    assert list(found.index) == list(DAYS[20:23])
    assert found.str.match(r"close \S+ times the sessions before: another unit\?").all()
    assert float(found.iloc[0].split()[1]) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_rows_in_another_unit_beside_few_sessions(row: int) -> None:
    """Of two scales the one that came first counts."""
    factors = np.ones(len(DAYS))
    factors[row] = 100
    found = judged(moved(factors))
    assert set(found.index) == (set(DAYS[1:]) if row == 0 else {DAYS[row]})


def test_pence_from_one_day_on_are_refused_for_good() -> None:
    assert list(judged(moved(from_row(30, 100.0)), stored=30).index) == list(DAYS[30:])


@pytest.mark.parametrize(("name", "factor"), [("high", 100.0), ("low", 0.01)])
def test_one_price_in_another_unit(name: str, factor: float) -> None:
    made = bars()
    made.loc[DAY, name] *= factor
    assert judged(made).to_dict() == {DAY: "high or low far from the close: another unit?"}


@pytest.mark.parametrize("ratio", [2.0, 4.0, 10.0, 20.0, 0.5, 0.1, 0.04])
@pytest.mark.parametrize("stored", [0, 10, 20])
def test_a_split_that_is_told_and_not_applied(ratio: float, stored: int) -> None:
    """As traded, what came before is then multiplied by a split that its prices never showed."""
    split = pd.DataFrame({"session": [DAY], "kind": "split", "value": ratio})
    before = np.arange(len(DAYS)) < 20
    delivered = moved(np.where(before, ratio, 1 / ratio))
    delivered["adj_close"] = bars()["close"] * np.where(before, 1.0, 1 / ratio)
    found = judged(delivered, split, stored)
    assert list(found.index) == list(DAYS[20:])
    told = f"split of {ratio:g} not applied to the sessions before"
    assert found[DAY] == told or (not 1 / JUMP < ratio < JUMP and "another unit" in found[DAY])


@pytest.mark.parametrize("ratio", [1.5, 2.0, 4.0, 20.0, 50.0, 0.5, 0.1, 1 / 30, 1.03])
@pytest.mark.parametrize("stored", [0, 10, 20, 21])
def test_a_split_that_is_applied_passes(ratio: float, stored: int) -> None:
    share = StubSymbol("AAA", DAYS, {str(DAYS[9].date()): 0.5}, {str(DAY.date()): ratio})
    assert judged(bars(share), share.actions(), stored).empty


def test_two_splits_pass_one_not_applied_does_not() -> None:
    share = StubSymbol("AAA", DAYS, {}, {str(DAYS[10].date()): 3.0, str(DAY.date()): 0.2})
    assert judged(bars(share), share.actions()).empty
    half = StubSymbol("AAA", DAYS, {}, {str(DAYS[10].date()): 3.0})
    assert judged(bars(half), share.actions()).index[0] == DAY


@pytest.mark.parametrize("factor", [0.7, 0.5, 0.25, 0.1, 1.3, 2.0, 4.0, 15.0])
def test_a_crash_or_a_leap_is_the_market_s_own(factor: float) -> None:
    assert judged(moved(from_row(20, factor))).empty


@pytest.mark.parametrize("factor", [0.8, 1.25])
@pytest.mark.parametrize("ratio", [2.0, 4.0, 20.0, 0.1])
def test_a_lively_session_on_the_day_of_a_split_passes(factor: float, ratio: float) -> None:
    share = StubSymbol("AAA", DAYS, {}, {str(DAY.date()): ratio})
    made = bars(share)
    made.loc[DAY:, [*OHLC, "adj_close"]] *= factor
    before = made.index < DAY
    made.loc[before, "adj_close"] = made.loc[before, "close"] / ratio
    assert judged(made, share.actions()).empty


@pytest.mark.parametrize("share_of_price", [0.001, 0.2, 0.6, 0.94])
def test_a_special_dividend_passes(share_of_price: float) -> None:
    day, row = str(DAY.date()), 20
    amount = share_of_price * bars()["close"].iloc[row - 1]
    delivered = moved(from_row(row, 1 - share_of_price), {day: amount})
    paid = pd.DataFrame({"session": [DAY], "kind": "dividend", "value": amount})
    assert judged(delivered, paid).empty


@pytest.mark.parametrize("spread", [0, 5])
def test_an_adjustment_without_its_dividend_is_odd(spread: int) -> None:
    delivered = moved(np.ones(len(DAYS)), {str(DAY.date()): 5.0})
    found = judged(delivered, stored=spread)
    assert list(found.index) == [DAY]
    step = 1 - 5.0 / bars()["close"].iloc[19]
    assert found.item() == f"adjustment ratio off: {step:.4f} where its dividend asks for 1.0000"


def test_a_dividend_without_its_adjustment_is_odd() -> None:
    paid = pd.DataFrame({"session": [DAY], "kind": "dividend", "value": 5.0})
    step = 1 - 5.0 / bars()["close"].iloc[19]
    assert judged(bars(), paid).to_dict() == {
        DAY: f"adjustment ratio off: 1.0000 where its dividend asks for {step:.4f}"
    }


@pytest.mark.parametrize(
    ("amount", "is_odd"), [(4.0, False), (4.1, False), (4.5, True), (3.5, True), (400.0, True)]
)
def test_an_adjustment_for_another_amount_is_odd(amount: float, is_odd: bool) -> None:
    """Pence for pounds among dividends, or an amount before tax."""
    assert 0.1 / bars()["close"].iloc[19] < ADJUSTMENT_WITHIN < 0.5 / bars()["close"].iloc[19]
    delivered = moved(np.ones(len(DAYS)), {str(DAY.date()): 4.0})
    paid = pd.DataFrame({"session": [DAY], "kind": "dividend", "value": amount})
    assert list(judged(delivered, paid).index) == ([DAY] if is_odd else [])


def test_what_tells_no_actions_is_not_asked_for_them() -> None:
    delivered = moved(np.ones(len(DAYS)), {str(DAY.date()): 5.0})
    assert judged(delivered, None).empty


def test_stored_rows_are_trusted() -> None:
    """A leap that a person released is not held against the rows after it."""
    delivered = moved(from_row(15, 100.0))
    assert judged(delivered, stored=18).empty
    wrong = moved(np.ones(len(DAYS)), {str(DAYS[10].date()): 5.0})
    assert judged(wrong, stored=18).empty


def test_the_stored_rows_count_and_not_the_delivered_ones_beside_them() -> None:
    delivered = moved(np.full(len(DAYS), 100.0))
    found = suspicious(delivered, bars().iloc[:30], DAYS[30:], NONE)
    assert list(found.index) == list(DAYS[30:])


@pytest.mark.parametrize("scale", [1e-2, 1e-3, 1e-4])
def test_tiny_prices_pass_though_they_are_rounded(scale: float) -> None:
    share = StubSymbol("AAA", DAYS, {str(DAY.date()): 0.5})
    made = bars(share)
    made[[*OHLC, "adj_close"]] *= scale
    paid = share.actions().assign(value=0.5 * scale)
    rounded = made.round({"adj_close": 6, **dict.fromkeys(OHLC, 6)})
    assert malformed(rounded.reset_index(), "XNYS").empty
    assert judged(rounded, paid).empty


def test_prices_that_were_tiny_before_many_splits_pass() -> None:
    """Adjusted to a fraction of a cent, and rounded to six decimals, as Yahoo shows the eighties."""
    splits = {str(DAYS[at].date()): 10.0 for at in (25, 28, 31, 34)}
    share = StubSymbol("AAA", DAYS, {str(DAYS[9].date()): 0.5}, splits)
    made = bars(share)
    assert made["adj_close"].iloc[0] < 0.02
    assert judged(made.round({"adj_close": 6}), share.actions()).empty


@st.composite
def wild(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw bars with anything that a source or a market may do, and actions that may fit or not."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    close = 10 ** random.uniform(0, 3) * np.exp(np.cumsum(random.normal(0, 0.02, len(DAYS))))
    for row, factor in draw(
        st.dictionaries(
            st.integers(0, len(DAYS) - 1),
            st.sampled_from([0.3, 0.5, 2.0, 3.0, 19.0, 100.0, 0.01]),
            max_size=6,
        )
    ).items():
        last = len(DAYS) if draw(st.booleans()) else row + 1
        close[row:last] *= factor
    climb = draw(st.integers(5, len(DAYS) - 1))
    steps = draw(st.lists(st.sampled_from([0.3, 3.0, 4.0]), max_size=5))
    close[climb:] *= np.cumprod([*steps, *[1.0] * len(DAYS)])[: len(DAYS) - climb]
    made = pd.DataFrame(
        {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}, index=DAYS
    )
    made["adj_close"], made["volume"] = close, 1000.0
    acts = draw(
        st.dictionaries(
            st.integers(0, len(DAYS) - 1),
            st.sampled_from([("split", 2.0), ("split", 0.1), ("split", 1.5), ("dividend", 0.3)]),
            max_size=4,
        )
    )
    rows = [(DAYS[row], kind, value) for row, (kind, value) in sorted(acts.items())]
    frame = pd.DataFrame(rows, columns=["session", "kind", "value"])
    return made, frame.astype({"session": "datetime64[ns]", "value": "float64"})


@settings(deadline=None, max_examples=40)
@given(wild(), wild(), st.integers(2, len(DAYS) - 2), st.integers(0, 20))
def test_what_comes_later_changes_no_judgement(
    one: tuple[pd.DataFrame, pd.DataFrame],
    other: tuple[pd.DataFrame, pd.DataFrame],
    cut: int,
    stored: int,
) -> None:
    assume(stored <= cut)
    day = DAYS[cut]
    judgements = []
    for later in (one, other, None):
        parts = [frame for frame in (one, later) if frame is not None]
        made = pd.concat([parts[0][0][:day], *(part[0][DAYS[cut + 1] :] for part in parts[1:])])
        known = parts[0][1][parts[0][1]["session"] <= day]
        news = [part[1][part[1]["session"] > day] for part in parts[1:]]
        found = judged(made, pd.concat([known, *news], ignore_index=True), stored)
        judgements.append(found[found.index <= day].to_dict())
    assert judgements[0] == judgements[1] == judgements[2]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(6, len(DAYS) - 2), st.floats(JUMP * 4, 1e4), st.booleans())
def test_every_leap_across_the_limit_is_noticed(seed: int, row: int, factor: float, is_up: bool) -> None:
    lively = np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, len(DAYS))))
    one, more = lively.copy(), lively.copy()
    by = factor if is_up else 1 / factor
    one[row] *= by
    more[row:] *= by
    assert list(judged(moved(one)).index) == [DAYS[row]]
    assert list(judged(moved(more)).index) == list(DAYS[row:])


def test_a_steep_climb_is_judged_alike_with_and_without_a_leap_after_it() -> None:
    """Three times as much each day is beyond the limit against the median of five days."""
    climb = np.ones(len(DAYS))
    climb[20:] = 3.0 ** np.minimum(np.arange(1, len(DAYS) - 19), 6)
    leap = climb.copy()
    leap[35:] *= 100
    before = DAYS[30]
    calm, shaken = (judged(moved(factors)) for factors in (climb, leap))
    assert list(calm[:before].index) == list(shaken[:before].index)
