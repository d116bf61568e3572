"""Directions against plain loops, the published formula and regressions, and the size of their test."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from test_scores import by_model, long_table, noise, of, uneven

from forecaster.evaluation.direction import pooled_test
from forecaster.evaluation.scores import score


def test_direction_is_the_share_of_opinions_that_came_true() -> None:
    table = uneven()
    scores = score(by_model(table))
    mine = [one for one in of(table, "served") if abs(one["prob_up"] - 0.5) >= 0.005]
    right = [(one["prob_up"] > 0.5) == (one["outcome"] > 0) for one in mine]
    row = scores.overall.set_index("model").loc["served"]
    assert len(right) >= 100
    assert row["direction"] == pytest.approx(100 * sum(right) / len(right))
    called = np.mean([one["prob_up"] > 0.5 for one in mine])
    rose = np.mean([one["outcome"] > 0 for one in mine])
    chance = called * rose + (1 - called) * (1 - rose)
    assert row["direction_gain"] == pytest.approx(100 * (sum(right) / len(right) - chance))
    base = scores.overall.set_index("model").loc["rolling_t"]
    assert base[["direction", "direction_gain", "direction_p"]].isna().all(), "it has no opinion"


def pesaran_timmermann(called: np.ndarray, rose: np.ndarray) -> float:
    """The published formula: Pesaran and Timmermann (1992), equation 6, two-sided."""
    n, y, x, hits = len(called), rose.mean(), called.mean(), (called == rose).mean()
    chance = y * x + (1 - y) * (1 - x)
    variance = chance * (1 - chance) / n
    of_chance = ((2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y)) / n
    return 2 * stats.norm.sf(abs(hits - chance) / np.sqrt(variance - of_chance))


@pytest.mark.parametrize("step", [1, 5])
def test_directions_of_each_symbol_are_tested_on_outcomes_that_do_not_overlap(step: int) -> None:
    outcome, _ = noise(400, 3)
    lean = 0.001 * np.random.default_rng(5).choice([-1, 1], outcome.shape)
    table = long_table({"rolling_t": (0.0, 0.03), "served": (lean, 0.02)}, outcome, step)
    found = score(by_model(table)).directions.set_index(["model", "symbol"])
    called, rose = lean > 0, outcome > 0
    for number in range(3):
        row = found.loc[("served", f"S{number}")]
        assert row["hits"] == pytest.approx(100 * (called == rose)[:, number].mean())
        expected = pesaran_timmermann(called[::step, number], rose[::step, number])
        assert row["p_value"] == pytest.approx(expected)
        assert row["forecasts"] == 400
    q_values = stats.false_discovery_control(found.loc["served", "p_value"])
    np.testing.assert_allclose(found.loc["served", "q_value"], q_values)
    assert found.loc["rolling_t", ["hits", "p_value", "q_value"]].isna().all(axis=None)
    assert (found.loc["rolling_t", "forecasts"] == 0).all()


def test_the_pooled_direction_test_is_that_of_a_regression_clustered_by_date() -> None:
    """Driscoll-Kraay: regress the sign that came on the sign called, scores added up per date."""
    random = np.random.default_rng(4)
    dates, symbols = 600, 5
    rose = random.normal(size=(dates, 1)) + random.normal(size=(dates, symbols)) > 0
    called = np.where(random.random((dates, 1)) < 0.15, rose, random.random((dates, 1)) < 0.6)
    date = np.repeat(np.arange(dates), symbols)
    gain, p_value = pooled_test(called.ravel(), rose.ravel(), date, dates, step=1)
    y, x = rose.ravel().astype(float), called.ravel().astype(float)
    kwds = {"time": date, "maxlags": int(np.ceil(dates ** (1 / 3))), "use_correction": False}
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="hac-groupsum", cov_kwds=kwds)
    assert gain == pytest.approx(200 * fit.params[1] * x.var())
    statistic = stats.t.isf(p_value / 2, dates - 1)
    assert statistic == pytest.approx(fit.tvalues[1], rel=0.05)
    alone = sm.OLS(y, sm.add_constant(x)).fit().tvalues[1]
    assert abs(statistic) < 0.8 * alone, "the stocks of one date count as less than so many"


@pytest.mark.parametrize(("step", "dates"), [(1, 250), (5, 250)])
def test_the_pooled_direction_test_keeps_its_size(step: int, dates: int) -> None:
    """No skill: a market that moves all stocks together, calls that last, outcomes that overlap."""
    found = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        daily = random.normal(0.05, 1, (dates + step - 1, 1)) + random.normal(0, 0.6, (dates + step - 1, 8))
        rose = np.lib.stride_tricks.sliding_window_view(daily, step, axis=0).sum(axis=-1) > 0
        mood = np.convolve(random.normal(size=dates + 9), np.ones(10), "valid")[:, None]
        called = mood + random.normal(0, 2, (dates, 8)) > 0
        date = np.repeat(np.arange(dates), 8)
        found.append(pooled_test(called.ravel(), rose.ravel(), date, dates, step)[1] < 0.05)
    assert np.mean(found) < 0.10


def test_calls_for_nothing_but_rises_are_not_tested() -> None:
    outcome, _ = noise(200, 2)
    table = long_table({"rolling_t": (0.0, 0.03), "served": (0.001, 0.02)}, outcome)
    found = score(by_model(table))
    row = found.overall.set_index("model").loc["served"]
    assert row["direction"] == pytest.approx(row["share_up"])
    assert row["direction_gain"] == pytest.approx(0)
    assert np.isnan(row["direction_p"])
    assert found.directions["p_value"].isna().all()
