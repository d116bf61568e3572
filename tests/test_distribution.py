"""The Student-t forecast against scipy, numerical integration and known values."""

import numpy as np
import pytest
from scipy import integrate, stats

from forecaster.models.distribution import StudentT, fit_standardised, pool

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
