"""Online calibration: the score is the likelihood's, the filter a plain loop, and nothing sees the future."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecaster.models.calibrate import MEMORY, RATE, adjustments, score, widened
from forecaster.models.distribution import StudentT

DAYS = pd.bdate_range("2020-01-01", periods=900)


def forecasts(step: int, seed: int = 0, count: int = 300, too_narrow: float = 1.0) -> pd.DataFrame:
    """Forecasts of two symbols whose outcomes are `too_narrow` times as wide as they say."""
    draw = np.random.default_rng(seed)
    parts = []
    for symbol in ("AAA", "BBB"):
        sigma, df = 0.01 * np.exp(0.3 * draw.normal(size=count)), 3 + 5 * draw.random(count)
        scale = sigma * np.sqrt((df - 2) / df)
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "cutoff": DAYS[:count],
                    "session": DAYS[step : count + step],
                    "mean": 0.001 * draw.normal(size=count),
                    "sigma": sigma,
                    "df": df,
                    "outcome": too_narrow * scale * stats.t.rvs(df, random_state=draw),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def none(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[:0]


def by_loop(rows: pd.DataFrame, step: int) -> np.ndarray:
    found = np.zeros(len(rows))
    for symbol in rows["symbol"].unique():
        mine = rows[rows["symbol"] == symbol].sort_values("cutoff")
        state, pending = 0.0, []
        for at, row in mine.iterrows():
            while pending and pending[0][0] <= row["cutoff"]:
                _, past, used = pending.pop(0)
                z = (past["outcome"] - past["mean"]) / (
                    past["sigma"] * np.exp(used) * np.sqrt((past["df"] - 2) / past["df"])
                )
                told = (past["df"] + 1) * z**2 / (past["df"] + z**2) - 1
                state = MEMORY * state + RATE / step * told
            found[at] = state
            pending.append((row["session"], row, state))
    return found


def test_the_score_is_the_slope_of_the_log_density_in_the_log_scale() -> None:
    df, y = np.array([2.5, 5.0, 30.0]), np.array([0.0, 1.3, -4.0])
    forecast = StudentT(np.array([0.1, 0.0, 0.2]), np.array([1.0, 2.0, 0.5]), df)

    def density(move: float) -> np.ndarray:
        return stats.t.logpdf(y, df, forecast.mean, forecast.scale * np.exp(move))

    slope = (density(1e-6) - density(-1e-6)) / 2e-6
    np.testing.assert_allclose(score(y, forecast), slope, atol=1e-6)


@pytest.mark.parametrize("step", [1, 5, 20])
def test_the_filter_equals_a_plain_loop(step: int) -> None:
    rows = forecasts(step)
    np.testing.assert_allclose(
        adjustments(rows, none(rows), step), by_loop(rows, step), rtol=1e-12, atol=1e-15
    )


def test_the_order_of_rows_does_not_matter() -> None:
    rows = forecasts(5)
    mixed = rows.sample(frac=1, random_state=3)
    found = pd.Series(adjustments(mixed, none(rows), 5), mixed.index).sort_index()
    np.testing.assert_array_equal(found, adjustments(rows, none(rows), 5))


@settings(max_examples=30, deadline=None)
@given(step=st.integers(1, 20), first=st.integers(1, 299), seed=st.integers(0, 5))
def test_outcomes_after_a_cutoff_move_nothing(step: int, first: int, seed: int) -> None:
    rows = forecasts(step, seed)
    later = rows.copy()
    unknown = later["session"] > DAYS[first]
    later.loc[unknown, "outcome"] *= -7.0
    upto = (rows["cutoff"] <= DAYS[first]).to_numpy()
    before, after = (adjustments(one, none(rows), step) for one in (rows, later))
    np.testing.assert_array_equal(before[upto], after[upto])
    assert unknown.sum() == 0 or upto.all() or (before[~upto] != after[~upto]).any()


@settings(max_examples=20, deadline=None)
@given(step=st.sampled_from([1, 5, 20]), cut=st.integers(1, 299))
def test_carried_from_day_to_day_it_is_what_one_run_over_all_gives(step: int, cut: int) -> None:
    rows = forecasts(step)
    at_once = adjustments(rows, none(rows), step)
    first = (rows["cutoff"] < DAYS[cut]).to_numpy()
    wide = widened(StudentT(*(rows[name].to_numpy() for name in ("mean", "sigma", "df"))), at_once)
    issued = rows.assign(sigma=wide.sigma)[first]
    np.testing.assert_allclose(
        adjustments(rows[~first], issued, step), at_once[~first], rtol=1e-9, atol=1e-14
    )


def test_it_starts_where_it_stood() -> None:
    rows = forecasts(1)[:1]
    start = pd.Series({"AAA": 0.25})
    assert adjustments(rows, none(rows), 1, start)[0] == 0.25


@pytest.mark.parametrize("off", [0.7, 1.0, 1.5])
def test_coverage_comes_near_to_what_was_said(off: float) -> None:
    rows = forecasts(1, count=850, too_narrow=off)
    said = StudentT(*(rows[name].to_numpy() for name in ("mean", "sigma", "df")))
    late = (rows["cutoff"] >= DAYS[400]).to_numpy()

    def miss(forecast: StudentT) -> float:
        level = forecast.cdf(rows["outcome"].to_numpy())[late]
        return abs(((level > 0.05) & (level < 0.95)).mean() - 0.9)

    after = miss(widened(said, adjustments(rows, none(rows), 1)))
    assert after < (0.03 if off == 1.0 else 0.7 * miss(said))


def test_one_crash_moves_the_width_by_little() -> None:
    rows = forecasts(1)
    crash = rows.copy()
    crash.loc[10, "outcome"] = -5.0
    before, after = (adjustments(one, none(rows), 1)[11] for one in (rows, crash))
    assert 0 < after - before <= RATE * (crash.loc[10, "df"] + 1)
