"""The linear part of a network: each session's own variance, log-linear in the inputs, by likelihood.

A network starts from it and learns corrections, so that it begins where the linear model ends.
"""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from forecaster.errors import TooLittleHistory
from forecaster.models.har import charges, spread_of
from forecaster.models.scale import FIRST_DF, fit_log_scale
from forecaster.windows import Windows

MOST_ROWS = 100_000
"""Cutoffs beyond this number are thinned out evenly."""

FITTED = 8
"""Sessions ahead that are fitted, ever further apart; those between are interpolated in the log of k."""


@dataclass(frozen=True)
class Skip:
    """Log variance of the k-th session after a cutoff, in squared base volatilities.

    Attributes
    ----------
    inputs : ndarray of float32, (features, horizon)
        Per standardised input at the cutoff.
    bias : ndarray of float32, (horizon,)
    ahead : ndarray of float32, (ahead features, horizon)
        Per input known ahead of the session itself.
    df : float
        Degrees of freedom of one session's return.
    """

    inputs: np.ndarray
    bias: np.ndarray
    ahead: np.ndarray
    df: float


def fit_skip(windows: Windows, cutoffs: np.ndarray, known_by: np.datetime64, scaled: np.ndarray) -> Skip:
    """Fit the return of each of the sessions 1..horizon after the cutoffs.

    Parameters
    ----------
    cutoffs : ndarray of int, (n,)
        Rows to learn from.
    known_by : datetime64
        UTC; labels known later are left out, step by step.
    scaled : ndarray of float32, (n, features)
        Standardised inputs at the cutoffs.

    Raises
    ------
    TooLittleHistory
        If no return of some step is known.
    """
    some = slice(None, None, 1 + len(cutoffs) // MOST_ROWS)
    cutoffs, scaled = cutoffs[some], scaled[some]
    returns = np.diff(windows.labels(cutoffs, known_by), axis=1, prepend=0.0)
    returns /= windows.panel.base_sigma[cutoffs][:, None]
    if not np.isfinite(returns).any(axis=0).all():
        raise TooLittleHistory(
            f"No return {windows.horizon} sessions after a full window is known by "
            f"{np.datetime_as_string(known_by, 'D')}; bring a longer history or shorten the horizon"
        )
    ahead = windows.ahead(cutoffs)
    fitted = np.unique(np.geomspace(1, windows.horizon, FITTED).round().astype(int)) - 1
    scale = np.array([spread_of(ahead[:, step]) for step in fitted])
    constant = np.ones((len(cutoffs), 1), np.float32)
    width = scaled.shape[1]
    charge = charges(windows, cutoffs, width, ahead.shape[2])
    start = np.append(np.zeros(1 + width + ahead.shape[2]), FIRST_DF)
    found = []
    # Models are fitted side by side: threads that wait for each other's core cost more than they bring.
    with threadpool_limits(limits=1):
        for step, one in zip(fitted, scale, strict=True):
            design = np.hstack([constant, scaled, ahead[:, step] / one])
            start = fit_log_scale(design, returns[:, step], charge, start)
            found.append(start)
    points = np.array(found)
    df, spread = points[:, -1], ahead.var(axis=0)[fitted]
    now = np.column_stack([2 * points[:, 1 : 1 + width], 2 * points[:, 0] + np.log(df / (df - 2))])
    told = 2 * points[:, 1 + width : -1] / scale
    # Dates are announced for the next sessions only: a step with nothing to tell takes what the others say.
    weight = spread / np.maximum(spread.sum(axis=0), np.finfo(np.float32).tiny)
    share = spread / np.maximum(spread.max(axis=0), np.finfo(np.float32).tiny)
    told = share * told + (1 - share) * (weight * told).sum(axis=0)
    steps = np.log(np.arange(1, windows.horizon + 1))

    def laid_out(at_fitted: np.ndarray) -> np.ndarray:
        columns = [np.interp(steps, np.log(fitted + 1), column) for column in at_fitted.T]
        return np.array(columns, np.float32).reshape(-1, windows.horizon)

    inputs = laid_out(now)
    return Skip(inputs=inputs[:-1], bias=inputs[-1], ahead=laid_out(told), df=float(df[0]))
