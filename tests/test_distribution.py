"""Forecast distributions against scipy, numerical integration and known values."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from forecaster.models.distribution import QuantileTable, StudentT, log_pool, pool
from forecaster.models.scale import fit_standardised
from forecaster.tables import QUANTILES

RANDOM = np.random.default_rng(3)
ONE = StudentT(RANDOM.normal(0, 0.01, 6), RANDOM.uniform(0.01, 0.05, 6), RANDOM.uniform(2.2, 30, 6))


def frozen(i: int) -> object:
    scale = ONE.sigma[i] * np.sqrt((ONE.df[i] - 2) / ONE.df[i])
    return stats.t(ONE.df[i], loc=ONE.mean[i], scale=scale)


@pytest.mark.parametrize("i", range(6))
def test_sigma_is_the_standard_deviation(i: int) -> None:
    assert frozen(i).std() == pytest.approx(ONE.sigma[i])
    assert ONE.scale[i] == pytest.approx(frozen(i).kwds["scale"])


@pytest.mark.parametrize("i", range(6))
def test_quantile_cdf_and_log_score_are_those_of_scipy(i: int) -> None:
    one = ONE[i : i + 1]
    for level in (0.01, 0.3, 0.5, 0.975):
        assert one.quantile(level)[0] == pytest.approx(frozen(i).ppf(level))
        assert one.cdf(frozen(i).ppf(level))[0] == pytest.approx(level)
    assert one.log_score(np.array([0.02]))[0] == pytest.approx(-frozen(i).logpdf(0.02))


@pytest.mark.parametrize("i", range(6))
@pytest.mark.parametrize("outcome", [-0.08, 0.0, 0.03])
def test_crps_is_the_integral_of_its_definition(i: int, outcome: float) -> None:
    cdf = frozen(i).cdf
    below, _ = integrate.quad(lambda x: cdf(x) ** 2, -np.inf, outcome, epsabs=1e-10)
    above, _ = integrate.quad(lambda x: (1 - cdf(x)) ** 2, outcome, np.inf, epsabs=1e-10)
    assert ONE[i : i + 1].crps(np.array([outcome]))[0] == pytest.approx(below + above, rel=1e-4)


def test_a_pool_of_equal_members_is_the_member() -> None:
    pooled = pool([ONE, ONE, ONE])
    for name in ("mean", "sigma", "df"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(ONE, name))


def test_a_pool_lies_between_its_members() -> None:
    wide = StudentT(ONE.mean + 0.01, 4 * ONE.sigma, ONE.df + 5)
    pooled = pool([ONE, wide])
    np.testing.assert_allclose(pooled.sigma, 2 * ONE.sigma)
    np.testing.assert_allclose(pooled.mean, ONE.mean + 0.005)
    assert ((pooled.df > ONE.df) & (pooled.df < wide.df)).all()


def test_the_fit_finds_the_parameters_of_a_large_sample() -> None:
    sample = stats.t.rvs(5, scale=0.7, size=40_000, random_state=1)
    sigma, df = fit_standardised(np.append(sample, np.nan))
    assert df == pytest.approx(5, rel=0.1)
    assert sigma == pytest.approx(0.7 * np.sqrt(5 / 3), rel=0.03)


LEVELS = np.array(QUANTILES)


def table_of(seed: int) -> QuantileTable:
    return QuantileTable(np.sort(np.random.default_rng(seed).standard_t(4, 11))[None] * 0.01)


def knots(one: QuantileTable) -> tuple[np.ndarray, np.ndarray]:
    """Levels and quantiles with the ends that the documentation promises."""
    q = one.values[0]
    low = q[0] - 0.01 * (q[1] - q[0]) / 0.015
    high = q[-1] + 0.01 * (q[-1] - q[-2]) / 0.015
    return np.array([0, *LEVELS, 1]), np.array([low, *q, high])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outcome", [-0.2, -0.01, 0.0, 0.013, 0.3])
def test_a_table_of_quantiles_scores_as_its_definition_says(seed: int, outcome: float) -> None:
    one = table_of(seed)
    levels, values = knots(one)

    def cdf(x: float) -> float:
        return float(np.interp(x, values, levels))

    assert one.cdf(np.array([outcome]))[0] == pytest.approx(cdf(outcome))
    edges = np.unique([min(-0.5, values[0]), *values, outcome, max(0.5, values[-1])])
    parts = [
        integrate.quad(lambda x: (cdf(x) - (x > outcome)) ** 2, left, right)[0]
        for left, right in pairwise(edges)
    ]
    assert one.crps(np.array([outcome]))[0] == pytest.approx(sum(parts), rel=1e-5)
    grid = np.linspace(0, 1, 400_001)
    drawn = np.interp((grid[1:] + grid[:-1]) / 2, levels, values)
    assert one.mean[0] == pytest.approx(drawn.mean(), abs=1e-8)
    assert one.sigma[0] == pytest.approx(drawn.std(), rel=1e-5)
    for level in (0.003, 0.01, 0.3, 0.5, 0.999):
        assert one.quantile(level)[0] == pytest.approx(np.interp(level, levels, values))
    assert np.isnan(one.log_score(np.array([outcome])))
    assert np.isnan(one.df).all()


def test_a_table_of_quantiles_with_a_point_mass_stays_finite() -> None:
    one = QuantileTable(np.zeros((1, 11)))
    assert one.crps(np.array([0.02]))[0] == pytest.approx(0.02)
    assert one.cdf(np.array([0.0]))[0] == 1.0
    assert one.cdf(np.array([-0.01]))[0] == 0.0


def test_a_logarithmic_pool_of_one_or_of_equals_is_the_member() -> None:
    for members, weights in (([ONE], [1.0]), ([ONE, ONE], [0.3, 0.7])):
        pooled = log_pool(members, np.array(weights))
        for name in ("mean", "sigma", "df"):
            np.testing.assert_allclose(getattr(pooled, name), getattr(ONE, name))


def test_a_logarithmic_pool_is_close_to_the_normalised_product_of_densities() -> None:
    members = [
        StudentT(np.zeros(1), np.array([sigma]), np.array([df]))
        for sigma, df in ((0.010, 4.0), (0.013, 6.0), (0.012, 9.0))
    ]
    weights = np.array([0.2, 0.3, 0.5])
    grid = np.linspace(-0.4, 0.4, 400_001)
    log = sum(
        weight * stats.t.logpdf(grid / one.scale[0], one.df[0]) - weight * np.log(one.scale[0])
        for weight, one in zip(weights, members, strict=True)
    )
    density = np.exp(log) / np.trapezoid(np.exp(log), grid)
    pooled = log_pool(members, weights)
    ours = np.exp(-pooled.log_score(grid))
    divergence = np.trapezoid(density * np.log(density / ours), grid)
    assert 0 <= divergence < 5e-4
    assert np.trapezoid(density * grid**2, grid) ** 0.5 == pytest.approx(pooled.sigma[0], rel=0.03)
