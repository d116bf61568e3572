"""Pool weights against a grid search, and what they may be learned from."""

import numpy as np
import pytest
from scipy import stats

from forecaster.config import Recipe
from forecaster.models import KINDS
from forecaster.models.distribution import StudentT, log_pool
from forecaster.models.pool import POOL_NAMES, learn_weights, scheme


def members(n: int = 4000) -> tuple[list[StudentT], np.ndarray, np.ndarray]:
    """A blurred, a sharp and a useless forecaster of the same returns."""
    random = np.random.default_rng(5)
    sigma = np.exp(random.normal(-4.2, 0.5, n))
    outcome = sigma * stats.t.rvs(6, size=n, random_state=random) * np.sqrt(4 / 6)
    df = np.full(n, 6.0)
    blurs = (0.35, 0.15, 1.5)
    made = [StudentT(np.zeros(n), sigma * np.exp(random.normal(0, blur, n)), df) for blur in blurs]
    return made, outcome, np.repeat(np.arange(n // 4), 4)


def test_weights_are_those_of_a_grid_search() -> None:
    made, outcome, date = members()
    weights = learn_weights(made, outcome, date)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    grid = [
        (log_pool(made, np.array([a, b, 1 - a - b])).log_score(outcome).mean(), a, b)
        for a in np.arange(0, 1.01, 0.02)
        for b in np.arange(0, 1.01 - a, 0.02)
    ]
    best, a, b = min(grid)
    assert weights[:2] == pytest.approx([a, b], abs=0.03)
    assert log_pool(made, weights).log_score(outcome).mean() <= best + 2e-5


def test_every_date_weighs_the_same() -> None:
    """Copies of the stock-days of some dates change nothing."""
    made, outcome, date = members(800)
    copied = np.concatenate([np.arange(800), np.repeat(np.flatnonzero(date < 50), 5)])
    again = learn_weights([one[copied] for one in made], outcome[copied], date[copied])
    np.testing.assert_allclose(again, learn_weights(made, outcome, date), atol=2e-3)


def test_on_few_dates_and_of_one_member_weights_are_equal() -> None:
    made, outcome, date = members(200)
    np.testing.assert_array_equal(learn_weights(made, outcome, date), np.full(3, 1 / 3))
    np.testing.assert_array_equal(learn_weights(made[:1], outcome, date), [1.0])
    empty = [one[:0] for one in made]
    np.testing.assert_array_equal(learn_weights(empty, outcome[:0], date[:0]), np.full(3, 1 / 3))


def test_members_are_models_and_the_classical_pool_has_no_network() -> None:
    recipe = Recipe(cells=("rnn", "gru"))
    for name in POOL_NAMES:
        found = scheme(name, recipe).members(recipe)
        assert found
        assert set(found) <= set(KINDS)
        assert ({"rnn", "gru"} <= set(found)) == (name != "pool_classical")
