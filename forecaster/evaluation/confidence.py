"""The model confidence set: which models may be the best, as far as the dates can tell."""

import numpy as np
import pandas as pd

from forecaster.evaluation.significance import same_losses

SIZE = 0.10
REPLICATIONS = 1000
SEED = 20260101
SHORTEST_BLOCK = 10
FEWEST_DATES = 100
FEWEST_PER_STEP = 80
"""Where outcomes overlap, a set asks for 80 dates a session ahead: on fewer it leaves out too many."""


def confidence_set(losses: pd.DataFrame, step: int) -> pd.DataFrame:
    """Tell which models the best one cannot be told from.

    The 90 % model confidence set of Hansen, Lunde and Nason (2011), Econometrica 79, 453-497 (range
    statistic), by a moving-block bootstrap with a fixed seed. Blocks are twice the step long, at
    least 10 dates, so that they hold the correlation of overlapping outcomes.

    Parameters
    ----------
    losses : DataFrame
        Daily mean losses: dates as index, in order, models as columns. A model with NaN is left out.
    step : int
        Sessions ahead.

    Returns
    -------
    DataFrame
        model, p_value, included; empty on too few dates, or with fewer than two models.
    """
    scored = losses.dropna(axis="columns")
    least = max(FEWEST_DATES, FEWEST_PER_STEP * step if step > 1 else 0)
    if len(scored) < least or scored.shape[1] < 2:
        return pd.DataFrame({"model": [], "p_value": [], "included": []}).astype({"included": bool})
    values = scored.to_numpy(dtype=float)
    twins = _twins(values)
    unlike = np.unique(twins)
    p_values = np.ones(len(twins))
    if len(unlike) > 1:
        p_values[unlike] = _p_values(values[:, unlike], max(SHORTEST_BLOCK, 2 * step))
    p_value = p_values[twins]
    return pd.DataFrame({"model": scored.columns, "p_value": p_value, "included": p_value > SIZE})


def _twins(losses: np.ndarray) -> np.ndarray:
    """Give for each column the first with the same losses: no bootstrap can tell the two apart."""
    places = range(losses.shape[1])
    return np.array(
        [next(one for one in places if same_losses(losses[:, one], losses[:, other])) for other in places]
    )


def _p_values(losses: np.ndarray, block: int) -> np.ndarray:
    # Late: who only reads stored scores does not need it.
    from arch.bootstrap import MCS

    procedure = MCS(losses, SIZE, reps=REPLICATIONS, block_size=block, bootstrap="moving block", seed=SEED)
    procedure.compute()
    return procedure.pvalues["Pvalue"].sort_index().to_numpy()
