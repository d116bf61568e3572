"""The rules of promotion, on losses whose statistics are computed here in another way."""

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from forecaster.promotion import (
    COVERAGE_LIMIT,
    FEWEST_DATES,
    FEWEST_TRIAL_DATES,
    MARGIN,
    changed_recipe,
    coverage_off,
    given_away,
    refit,
)

SYMBOLS = ("AAA", "BBB", "CCC")


def table(model: str, score: np.ndarray, covered: float = 0.9, seed: int = 0) -> pd.DataFrame:
    """One model at one session ahead: (dates, symbols) losses; a share of outcomes within the 90 % range."""
    dates = pd.date_range("2020-01-01", periods=len(score), freq="B")
    inside = np.random.default_rng(seed).permutation(score.size) < round(covered * score.size)
    return pd.DataFrame(
        {
            "model": model,
            "step": 1,
            "symbol": np.tile(SYMBOLS, len(score)),
            "cutoff": np.repeat(dates, len(SYMBOLS)),
            "log_score": score.ravel(),
            "outcome": np.where(inside, 0.0, 1.0),
            "q05": -0.5,
            "q95": 0.5,
        }
    )


def noise(dates: int, seed: int, scale: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(-3, scale, (dates, len(SYMBOLS)))


def rivals(dates: int, gain: float, covered: float = 0.9) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Backtests of a challenger, with a weak model beside it, and of a champion that is worse by `gain`."""
    common = noise(dates, 1)
    mine = [table("served", common + noise(dates, 2, 0.01), covered), table("harx", common + 0.5)]
    theirs = [table("served", common + noise(dates, 3, 0.01) + gain), table("harx", common + 0.5)]
    return pd.concat(mine), pd.concat(theirs)


def one_sided(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Newey-West t-test of the daily mean differences, from a regression on a constant."""
    daily = [one[one["model"] == "served"].groupby("cutoff")["log_score"].mean() for one in (first, second)]
    difference = (daily[0] - daily[1]).to_numpy()
    lags = int(np.ceil(len(difference) ** (1 / 3)))
    found = sm.OLS(difference, np.ones(len(difference))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    return float(stats.t.cdf(found.tvalues[0], len(difference) - 1))


def test_a_better_recipe_is_promoted_with_its_figures() -> None:
    mine, theirs = rivals(300, 0.02)
    ruling = changed_recipe(mine, theirs)
    assert ruling.promoted
    served = [one[one["model"] == "served"]["log_score"].mean() for one in (mine, theirs)]
    assert ruling.evidence["gain_nats"] == pytest.approx(served[1] - served[0])
    assert ruling.evidence["dates"] == 300
    assert ruling.evidence["in_confidence_set"]
    assert "beats the champion: +0.0" in ruling.reason


@pytest.mark.parametrize(
    ("loss", "worse"), [(0.1, "5, 20"), (0.002, "5"), (0.0, "nowhere"), (-0.1, "nowhere")]
)
def test_a_recipe_that_is_worse_further_ahead_is_not_promoted(loss: float, worse: str) -> None:
    """Five steps ahead it loses what is asked for, twenty ahead a tenth of it."""
    mine, theirs = rivals(500, 0.02)
    common = noise(500, 1)
    for step, lost in ((5, loss), (20, loss / 10)):
        ahead = (
            table("served", common + noise(500, 4, 0.01) + lost),
            table("served", common + noise(500, 5, 0.01)),
        )
        mine, theirs = (
            pd.concat([one, far.assign(step=step)]) for one, far in zip((mine, theirs), ahead, strict=True)
        )
    ruling = changed_recipe(mine, theirs)
    assert ruling.evidence["worse_ahead"] == worse
    assert ruling.promoted == (worse == "nowhere")
    assert ("it is worse" in ruling.reason) != ruling.promoted


@pytest.mark.parametrize("gain", [0.0, 0.0008, 0.0012, 0.002])
def test_the_level_is_one_per_cent(gain: float) -> None:
    mine, theirs = rivals(300, gain)
    p_value = one_sided(mine, theirs)
    ruling = changed_recipe(mine, theirs)
    assert ruling.evidence["p_value"] == pytest.approx(p_value, rel=0.25)
    if not 0.005 < p_value < 0.02:
        assert ruling.promoted == (p_value < 0.01)
    assert ("p < .01 is asked for" in ruling.reason) == (not ruling.promoted)


def test_too_few_dates_are_no_evidence() -> None:
    ruling = changed_recipe(*rivals(FEWEST_DATES - 1, 0.05))
    assert not ruling.promoted
    assert "250 dates are asked for" in ruling.reason
    assert changed_recipe(*rivals(FEWEST_DATES, 0.05)).promoted


@pytest.mark.parametrize(("covered", "promoted"), [(0.9, True), (0.903, True), (0.88, False), (0.93, False)])
def test_a_better_score_with_a_worse_coverage_is_refused(covered: float, promoted: bool) -> None:
    ruling = changed_recipe(*rivals(400, 0.05, covered))
    assert ruling.promoted == promoted
    assert ruling.evidence["coverage_off"] == pytest.approx(abs(100 * covered - 90), abs=0.1)


def test_a_recipe_that_its_own_backtest_beats_is_refused() -> None:
    mine, theirs = rivals(400, 0.05)
    better = mine[mine["model"] == "served"].assign(model="gjr_t")
    better["log_score"] -= 0.1
    ruling = changed_recipe(pd.concat([mine, better]), theirs)
    assert not ruling.promoted
    assert "outside the model confidence set" in ruling.reason


def trial(dates: int, worse_by: float, spread: float = 0.005, covered: float = 0.9) -> pd.DataFrame:
    common, own = noise(dates, 4), noise(dates, 5, spread)
    centred = own - own.mean() if dates else own
    mine = table("challenger", common + worse_by + centred, covered)
    return pd.concat([mine, table("champion", common)], ignore_index=True)


@pytest.mark.parametrize("worse_by", [-0.02, 0.0, 0.005, 0.0105, 0.03])
def test_a_refit_has_to_be_no_worse_than_the_margin(worse_by: float) -> None:
    rows = trial(60, worse_by)
    losses = rows.pivot_table(index="cutoff", columns="model", values="log_score")
    difference = (losses["challenger"] - losses["champion"]).to_numpy()
    error = sm.OLS(difference, np.ones(60)).fit(cov_type="HAC", cov_kwds={"maxlags": 4}).bse[0]
    bound = difference.mean() + stats.t.ppf(0.95, 59) * error
    ruling = refit(rows)
    assert ruling.evidence["worse_by_at_most_nats"] == pytest.approx(bound, abs=5e-4)
    assert ruling.promoted == (bound < MARGIN)


def test_the_same_weights_are_no_worse() -> None:
    ruling = refit(trial(40, 0.0, spread=0.0))
    assert ruling.promoted
    assert ruling.evidence["worse_by_at_most_nats"] == pytest.approx(0, abs=1e-12)


def test_small_losses_of_refits_in_a_row_add_up() -> None:
    """Each of these is within the margin by itself; a gain is never held up by what was lost before."""
    rows = trial(60, 0.004, spread=0.001)
    decided, promoted = [], []
    for _ in range(4):
        ruling = refit(rows, given_away(pd.DataFrame(decided, columns=["version", "alias", "evidence"])))
        promoted.append(ruling.promoted)
        alias = "champion" if ruling.promoted else "refused"
        told = {"champion": str(len(decided)), **ruling.evidence}
        decided.append({"version": str(len(decided) + 1), "alias": alias, "evidence": json.dumps(told)})
    assert promoted == [True, True, False, False]
    assert "the refits before have lost 0.0080 nats" in ruling.reason
    assert refit(trial(60, -0.001, spread=0.001), lost=0.008).promoted
    back = {
        "version": "1",
        "alias": "champion",
        "evidence": json.dumps({"rule": "rollback", "champion": "2"}),
    }
    assert given_away(pd.DataFrame([*decided, back])) == pytest.approx(0.004, abs=1e-4)
    evidence = json.dumps({"rule": "changed recipe", "gain_nats": 0.01})
    earned = {"version": "9", "alias": "champion", "evidence": evidence}
    assert given_away(pd.DataFrame([*decided, earned])) == 0
    untold = {"version": "1", "alias": "champion", "evidence": None}
    assert given_away(pd.DataFrame([untold])) == given_away(pd.DataFrame([*decided, untold])) == 0


def test_noisy_losses_cannot_show_that_a_refit_is_no_worse() -> None:
    ruling = refit(trial(40, 0.0, spread=0.5))
    assert not ruling.promoted
    assert "it may be worse by" in ruling.reason


def test_a_trial_needs_its_dates() -> None:
    assert "30 dates are asked for" in refit(trial(FEWEST_TRIAL_DATES - 1, -0.1)).reason
    assert "30 dates are asked for" in refit(trial(0, 0.0)).reason


@pytest.mark.parametrize(("covered", "promoted"), [(0.9, True), (0.88, True), (0.75, False), (1.0, False)])
def test_a_refit_has_to_cover(covered: float, promoted: bool) -> None:
    ruling = refit(trial(300, -0.01, covered=covered))
    assert ruling.evidence["coverage_limit"] >= COVERAGE_LIMIT
    assert ruling.promoted == promoted


def test_the_error_of_coverage_is_clustered_by_date() -> None:
    rows = trial(50, 0.0, covered=0.8).query("model == 'challenger'")
    miss = 100.0 * (rows["outcome"] == 0) - 90
    off, error = coverage_off(rows)
    assert off == pytest.approx(miss.mean())
    groups = pd.factorize(rows["cutoff"])[0]
    found = sm.OLS(miss.to_numpy(), np.ones(len(rows))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    assert error == pytest.approx(found.bse[0], rel=1e-6)
