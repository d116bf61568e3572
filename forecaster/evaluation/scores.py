"""Scores of forecasts, one row per model and step, each tested against the last price."""

import numpy as np
import pandas as pd

from forecaster.evaluation.significance import daily_losses, paired_test
from forecaster.models import LAST_PRICE
from forecaster.models.tabulate import distribution_of

COVERAGES = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95"), 98: ("q01", "q99")}
OPINION = 0.005
"""Distance of the probability of a rise from one half below which a forecast has no direction."""

FEWEST_OPINIONS = 100
PINBALLS = {1: "q01", 5: "q05", 95: "q95", 99: "q99"}


def with_scores(forecasts: pd.DataFrame, outcome: np.ndarray) -> pd.DataFrame:
    """Add what happened and what it says of each forecast.

    Parameters
    ----------
    forecasts : DataFrame
        Rows of `models.tabulate.tabulate`.
    outcome : ndarray of shape (rows,)
        Log return over the row's step; rows with NaN are left out.

    Returns
    -------
    DataFrame
        With pit (probability integral transform), crps (log return), log_score (nats, negative
        log density) and outcome.
    """
    known = np.isfinite(outcome)
    rows, y = forecasts[known], outcome[known]
    distribution = distribution_of(rows)
    return rows.assign(
        pit=distribution.cdf(y), crps=distribution.crps(y), log_score=distribution.log_score(y), outcome=y
    )


def score_table(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Score every model at every step.

    Parameters
    ----------
    forecasts : DataFrame
        Output of `with_scores`, all models under each other; only stock-days that every model
        forecast are scored.

    Returns
    -------
    DataFrame
        One row per step and model: forecasts and dates; means over dates of crps and log_score,
        with their differences to the last price (``crps_skill`` in per cent; ``log_score_gain`` in
        nats with its standard error ``log_score_error``; positive is better) and the p-values of
        Diebold-Mariano tests; pinball losses in basis points; coverages in per cent; direction in
        per cent, of the forecasts that give a rise 49.5 % or less, or 50.5 % or more (NaN where they
        are under 100); MAE of the median price in per cent of the last price, over dates, with
        ``mae_skill``; ``is_best`` where the model's log score is significantly lower than that of
        every other; the first and last cutoff.
    """
    steps = sorted(forecasts["step"].unique())
    return pd.concat(
        [_of_step(forecasts[forecasts["step"] == step], step) for step in steps], ignore_index=True
    )


def _of_step(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    models = list(rows["model"].unique())
    counts = rows.groupby(["cutoff", "symbol"])["model"].transform("size")
    error = (np.exp(rows["q50"]) - np.exp(rows["outcome"])).abs()
    common = rows.assign(absolute_error=error)[counts == len(models)]
    daily = {score: daily_losses(common, score) for score in ("log_score", "crps", "absolute_error")}
    means = {score: losses.mean() for score, losses in daily.items()}
    log_scores = daily["log_score"]
    records = []
    for model in models:
        mine = common[common["model"] == model]
        tests = {
            score: paired_test(losses[model].to_numpy(), losses[LAST_PRICE].to_numpy(), step)
            for score, losses in daily.items()
        }
        rivals = [
            paired_test(log_scores[model].to_numpy(), log_scores[other].to_numpy(), step)
            for other in models
            if other != model
        ]
        records.append(
            {
                "step": step,
                "model": model,
                "forecasts": len(mine),
                "dates": len(log_scores),
                "crps": means["crps"][model],
                "crps_skill": 100 * (1 - means["crps"][model] / means["crps"][LAST_PRICE]),
                "crps_p": tests["crps"].p_value,
                "log_score": means["log_score"][model],
                "log_score_gain": 0.0 - tests["log_score"].difference,
                "log_score_error": tests["log_score"].error,
                "log_score_p": tests["log_score"].p_value,
                **{
                    f"pinball_{level:02d}": 1e4 * _pinball(mine, name, level / 100)
                    for level, name in PINBALLS.items()
                },
                **{f"coverage_{level}": 100 * _coverage(mine, *names) for level, names in COVERAGES.items()},
                "direction": 100 * _direction(mine),
                "share_up": 100 * float((mine["outcome"] > 0).mean()),
                "mae": 100 * means["absolute_error"][model],
                "mae_skill": 100 * (1 - means["absolute_error"][model] / means["absolute_error"][LAST_PRICE]),
                "mae_p": tests["absolute_error"].p_value,
                "is_best": all(test.first_is_better for test in rivals),
                "first_cutoff": mine["cutoff"].min(),
                "last_cutoff": mine["cutoff"].max(),
            }
        )
    return pd.DataFrame(records)


def _pinball(rows: pd.DataFrame, quantile: str, level: float) -> float:
    miss = rows["outcome"] - rows[quantile]
    return float(np.maximum(level * miss, (level - 1) * miss).mean())


def _coverage(rows: pd.DataFrame, low: str, high: str) -> float:
    return float(rows["outcome"].between(rows[low], rows[high]).mean())


def _direction(rows: pd.DataFrame) -> float:
    opinion = rows[(rows["prob_up"] - 0.5).abs() >= OPINION]
    if len(opinion) < FEWEST_OPINIONS:
        return np.nan
    return float(((opinion["prob_up"] > 0.5) == (opinion["outcome"] > 0)).mean())
