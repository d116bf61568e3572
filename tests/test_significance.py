"""Tests over dates against other libraries, and whether they keep their size."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from arch.bootstrap import MCS
from scipy import stats
from statsmodels.stats.multitest import multipletests
from test_scores import by_model, forecasts, long_table, noise

from forecaster.evaluation.comparisons import judge
from forecaster.evaluation.confidence import confidence_set
from forecaster.evaluation.scores import score
from forecaster.evaluation.significance import daily_losses, false_discovery, paired_test


def test_the_test_is_a_hac_regression_of_daily_mean_differences() -> None:
    table = forecasts()
    losses = daily_losses(table, "log_score")
    by_day = dict(iter(table.groupby("cutoff")))
    expected = [by_day[day].loc[by_day[day]["model"] == "served", "log_score"].mean() for day in losses.index]
    np.testing.assert_allclose(losses["served"], expected)
    difference = (losses["served"] - losses["rolling_t"]).to_numpy()
    lags = int(np.ceil(len(difference) ** (1 / 3)))
    fit = sm.OLS(difference, np.ones(len(difference))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    count = len(difference)
    statistic = fit.tvalues[0] * np.sqrt((count - 1) / count)
    test = paired_test(losses["served"].to_numpy(), losses["rolling_t"].to_numpy(), horizon=1)
    assert test.difference == pytest.approx(difference.mean())
    assert test.error == pytest.approx(abs(difference.mean() / statistic))
    assert test.p_value == pytest.approx(2 * stats.t.cdf(-abs(statistic), count - 1))
    assert test.difference < 0
    assert test.p_value < 0.05


def test_the_test_of_overlapping_outcomes_keeps_its_size() -> None:
    random = np.random.default_rng(3)
    kernel = np.ones(20) / np.sqrt(20)
    found = []
    for _ in range(600):
        difference = np.convolve(random.normal(size=519), kernel, "valid")
        found.append(paired_test(difference, np.zeros(500), horizon=20).p_value < 0.05)
    assert np.mean(found) < 0.085


def test_pure_noise_is_rarely_called_better() -> None:
    random = np.random.default_rng(2)
    found = [
        paired_test(random.normal(size=250), random.normal(size=250), horizon=1).p_value < 0.05
        for _ in range(300)
    ]
    assert 0.02 < np.mean(found) < 0.10


def test_a_pool_of_one_is_not_tested_against_its_member() -> None:
    losses = np.random.default_rng(0).normal(size=300)
    test = paired_test(losses * (1 + 1e-16), losses, horizon=1)
    assert np.isnan(test.p_value)


def test_a_model_without_a_score_is_not_tested() -> None:
    losses = np.random.default_rng(0).normal(size=300)
    test = paired_test(np.full(300, np.nan), losses, horizon=1)
    assert np.isnan([test.difference, test.error, test.p_value]).all()


def test_false_discoveries_are_controlled_as_by_benjamini_and_hochberg() -> None:
    p_values = np.array([0.010, 0.040, np.nan, 0.030, 0.005])
    np.testing.assert_allclose(false_discovery(p_values), [0.02, 0.04, np.nan, 0.04, 0.02])
    many = np.random.default_rng(0).uniform(size=200) ** 3
    np.testing.assert_allclose(false_discovery(many), multipletests(many, method="fdr_bh")[1])
    assert np.isnan(false_discovery(np.full(3, np.nan))).all()
    assert not len(false_discovery(np.array([])))


def losses_of(dates: int, **means: float) -> pd.DataFrame:
    """Daily losses that share a common part, as those of models of the same outcomes do."""
    random = np.random.default_rng(1)
    common = random.normal(size=dates)
    return pd.DataFrame(
        {model: common + mean + random.normal(0, 0.3, dates) for model, mean in means.items()}
    )


def test_the_confidence_set_leaves_out_who_is_worse_and_keeps_who_is_equal() -> None:
    found = confidence_set(losses_of(600, one=0.0, two=0.0, worse=0.2, worst=0.4), step=1).set_index("model")
    assert list(found["included"]) == [True, True, False, False]
    assert found["p_value"].max() == 1
    alone = confidence_set(losses_of(600, best=-0.2, one=0.0, two=0.0), step=1).set_index("model")
    assert list(alone["included"]) == [True, False, False]


@pytest.mark.parametrize(("step", "block"), [(1, 10), (20, 40)])
def test_the_confidence_set_is_that_of_arch(step: int, block: int) -> None:
    losses = losses_of(1600, one=0.0, two=0.01, three=0.03, four=0.3)
    found = confidence_set(losses, step).set_index("model")["p_value"]
    expected = MCS(losses, 0.1, reps=4000, block_size=block, bootstrap="moving block", seed=3)
    expected.compute()
    np.testing.assert_allclose(found, expected.pvalues["Pvalue"].reindex(found.index), atol=0.04)
    pd.testing.assert_series_equal(found, confidence_set(losses, step).set_index("model")["p_value"])


def test_models_alike_share_their_place_in_the_confidence_set() -> None:
    losses = losses_of(400, best=-0.2, one=0.0)
    losses["twin"] = losses["best"] * (1 + 1e-16)
    found = confidence_set(losses, step=1).set_index("model")
    assert list(found["included"]) == [True, False, True]
    assert found.loc["twin", "p_value"] == found.loc["best", "p_value"] == 1
    assert confidence_set(losses[["best", "twin"]], step=1)["included"].all()


def test_there_is_no_confidence_set_where_there_is_nothing_to_tell() -> None:
    losses = losses_of(400, one=0.0, two=0.5)
    assert confidence_set(losses.head(99), step=1).empty
    assert confidence_set(losses, step=6).empty
    assert len(confidence_set(losses, step=5)) == 2
    assert confidence_set(losses.assign(two=np.nan), step=1).empty
    assert len(confidence_set(losses.assign(three=np.nan), step=1)) == 2


def test_the_confidence_set_rarely_loses_one_of_equals() -> None:
    random = np.random.default_rng(8)
    found = [
        confidence_set(pd.DataFrame(random.normal(size=(300, 3)), columns=list("abc")), step=1)
        for _ in range(100)
    ]
    assert np.mean([one["included"].all() for one in found]) > 0.80


def test_only_who_is_alone_in_the_set_is_called_best() -> None:
    outcome, sigma = noise(300, 3)
    one, other = (
        sigma * np.exp(np.random.default_rng(seed).normal(0, 0.1, outcome.shape)) for seed in (2, 3)
    )
    alone = long_table({"rolling_t": (0.0, 0.03), "served": (0.0, one)}, outcome)
    with_twin = pd.concat([alone, long_table({"lstm": (0.0, other)}, outcome)])
    first = score(by_model(alone)).overall.set_index("model")
    assert first.loc["served", ["in_confidence_set", "is_best"]].all()
    assert not first.loc["rolling_t", ["in_confidence_set", "is_best"]].any()
    second = score(by_model(with_twin)).overall.set_index("model")
    assert list(second["in_confidence_set"]) == [False, True, True]
    assert not second["is_best"].any()


def test_who_is_alone_in_the_set_but_not_ahead_of_all_in_paired_tests_is_not_called_best() -> None:
    tests = pd.DataFrame(
        {
            "step": 1, "loss": "log_score", "model": "served", "baseline": ["rolling_t", "lstm"],
            "difference": -0.1, "error": 0.05, "p_value": [0.001, 0.06], "dates": 500,
        }
    )  # fmt: skip
    sets = pd.DataFrame(
        {
            "step": 1, "loss": "log_score", "model": ["rolling_t", "lstm", "served"],
            "p_value": [0.0, 0.09, 1.0], "included": [False, False, True],
        }
    )  # fmt: skip
    overall = pd.DataFrame({"step": 1, "model": ["served"], "log_score": -2.0, "crps": 0.01})
    found = judge(overall, tests, sets).iloc[0]
    assert found["in_confidence_set"]
    assert not found["is_best"]
    assert judge(overall, tests.assign(p_value=0.01), sets).iloc[0]["is_best"]
