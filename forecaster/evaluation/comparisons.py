"""Models against each other: over dates, symbol by symbol, and all of them together."""

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.confidence import confidence_set
from forecaster.evaluation.losses import LOSSES, STOCK_DAY_LOSSES, Tally
from forecaster.evaluation.significance import LEVEL, false_discovery, paired_test
from forecaster.models import LAST_PRICE

CLASSICAL_RIVALS = (
    "constant", "rolling_t", "ewma_t", "garch_t", "gjr_t", "har", "harx", "boosting", "pool_classical",
)  # fmt: skip
"""Models without a network; the best of the others among them is what a model is compared with."""

SYMBOL_BASELINES = (LAST_PRICE, "gjr_t")


def pair_tests(step: int, tallies: dict[str, Tally]) -> pd.DataFrame:
    """Test every ordered pair of models by every loss; columns as of `Scores.tests`."""
    rows = []
    for loss in LOSSES:
        daily = {model: one.losses[loss].to_numpy() for model, one in tallies.items()}
        for first, second in combinations(daily, 2):
            test = paired_test(daily[first], daily[second], step)
            found = (test.error, test.p_value, test.dates)
            rows.append((step, loss, first, second, test.difference, *found))
            rows.append((step, loss, second, first, -test.difference, *found))
    columns = ["step", "loss", "model", "baseline", "difference", "error", "p_value", "dates"]
    return pd.DataFrame(rows, columns=columns)


def confidence_sets(step: int, tallies: dict[str, Tally]) -> pd.DataFrame:
    """Find the model confidence sets by log score and by CRPS; columns as of `Scores.confidence_sets`."""
    parts = []
    for loss in STOCK_DAY_LOSSES:
        found = confidence_set(
            pd.DataFrame({model: one.losses[loss] for model, one in tallies.items()}), step
        )
        parts.append(found.assign(step=step, loss=loss)[["step", "loss", "model", "p_value", "included"]])
    return pd.concat(parts, ignore_index=True)


def symbol_tests(step: int, tallies: dict[str, Tally]) -> pd.DataFrame:
    """Test models against the baselines symbol by symbol; columns as of `Scores.per_symbol_tests`."""
    parts = [
        _by_symbol(tallies[model], tallies[baseline], loss, step).assign(
            step=step, loss=loss, model=model, baseline=baseline
        )
        for loss in STOCK_DAY_LOSSES
        for baseline in SYMBOL_BASELINES
        for model in tallies
        if baseline in tallies and model != baseline
    ]
    columns = ["step", "loss", "model", "baseline", "symbol", "difference", "p_value", "q_value"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def improvement(tests: pd.DataFrame) -> pd.DataFrame:
    """Count the symbols that a model improves on; columns as of `Scores.improvement`.

    Parameters
    ----------
    tests : DataFrame
        Output of `symbol_tests`.
    """
    better = tests["difference"] < 0
    significant = (100.0 * (better & (tests["q_value"] < LEVEL))).where(tests["q_value"].notna())
    rows = tests.assign(improved=100.0 * better, significant=significant)
    return rows.groupby(["step", "loss", "model", "baseline"], sort=False, as_index=False).agg(
        symbols=("symbol", "size"),
        share_improved=("improved", "mean"),
        share_significant=("significant", "mean"),
    )


def judge(overall: pd.DataFrame, tests: pd.DataFrame, sets: pd.DataFrame) -> pd.DataFrame:
    """Add to each model's figures what the tests say of it; columns as of `Scores.overall`.

    The best classical model is found in the same figures, after the fact: that makes it harder to
    beat, and a little easier to lose to.
    """
    records = [_judgement(row, overall, tests, sets) for row in overall.to_dict("records")]
    judged = pd.DataFrame(records, index=overall.index)
    return overall.assign(**judged.astype({"in_confidence_set": "boolean"}))


def _by_symbol(model: Tally, baseline: Tally, loss: str, step: int) -> pd.DataFrame:
    mine, base = model.stock_days[loss].astype(float), baseline.stock_days[loss].astype(float)
    known = np.isfinite(mine) & np.isfinite(base)
    scored = np.flatnonzero(known.any(axis=0))
    tests = [paired_test(mine[known[:, at], at], base[known[:, at], at], step) for at in scored]
    p_values = np.array([test.p_value for test in tests])
    return pd.DataFrame(
        {
            "symbol": model.symbols[scored],
            "difference": [test.difference for test in tests],
            "p_value": p_values,
            "q_value": false_discovery(p_values),
        }
    )


def _judgement(
    row: Mapping[Hashable, Any], overall: pd.DataFrame, tests: pd.DataFrame, sets: pd.DataFrame
) -> dict[str, Any]:
    at_step = overall[overall["step"] == row["step"]]
    mine = tests[(tests["step"] == row["step"]) & (tests["model"] == row["model"])]
    against = mine.set_index(["baseline", "loss"])[["difference", "error", "p_value"]]
    last = against.reindex([(LAST_PRICE, loss) for loss in ("log_score", "crps", "absolute_error")])
    rivals = at_step[at_step["model"].isin(CLASSICAL_RIVALS) & (at_step["model"] != row["model"])]
    rival = rivals.dropna(subset="log_score").nsmallest(1, "log_score")
    name = str(rival["model"].iloc[0]) if len(rival) else None
    best = against.reindex([(name, loss) for loss in ("log_score", "crps")])
    rival_crps = rival["crps"].iloc[0] if len(rival) else np.nan
    loss = "log_score" if np.isfinite(row["log_score"]) else "crps"
    members = sets[(sets["step"] == row["step"]) & (sets["loss"] == loss)].set_index("model")["included"]
    included = members.get(row["model"])
    rest = against.reindex([(other, loss) for other in members.index.drop(row["model"], errors="ignore")])
    leads = bool(((rest["difference"] < 0) & (rest["p_value"] < LEVEL)).all())
    return {
        "log_score_error": last["error"].iloc[0],
        "log_score_p": last["p_value"].iloc[0],
        "crps_p": last["p_value"].iloc[1],
        "mae_p": last["p_value"].iloc[2],
        "in_confidence_set": included,
        "is_best": bool(included) and int(members.sum()) == 1 and leads,
        "best_classical": name,
        "best_classical_gain": -best["difference"].iloc[0],
        "best_classical_p": best["p_value"].iloc[0],
        "best_classical_crps_skill": -100 * best["difference"].iloc[1] / rival_crps,
        "best_classical_crps_p": best["p_value"].iloc[1],
    }
