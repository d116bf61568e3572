"""Student-t regression of the scale, by maximum likelihood: what the pooled classical models share."""

import numpy as np
from scipy import special

LEAST_DF, FIRST_DF, MOST_DF = 2.1, 5.0, 100.0

ROWS_FOR_COORDINATES = 50_000
"""Rows that the coordinates of the optimiser are taken from; the result does not depend on it."""


def fit_standardised(outcomes: np.ndarray) -> tuple[float, float]:
    """Fit a Student-t around zero to standardised returns.

    Parameters
    ----------
    outcomes : ndarray of shape (n,)
        Returns divided by a volatility; NaN are left out.

    Returns
    -------
    sigma, df : float
        Standard deviation in those units; degrees of freedom between 2.1 and 100.
    """
    constant = np.ones((len(outcomes), 1), np.float32)
    start = np.array([np.log(np.nanstd(outcomes)), FIRST_DF])
    log_scale, df = fit_log_scale(constant, outcomes, 0.0, start)
    return float(np.exp(log_scale) * np.sqrt(df / (df - 2))), float(df)


def fit_log_scale(
    design: np.ndarray, outcome: np.ndarray, ridge: float | np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Fit outcome = exp(design @ b) * t by penalised maximum likelihood.

    Parameters
    ----------
    design : ndarray of float32, (n, p)
        The first column is the constant.
    outcome : ndarray of shape (n,)
        Rows with NaN are left out.
    ridge : float or ndarray of shape (p - 1,)
        The log likelihood pays ridge / 2 * b^2 for each coefficient, the constant's left out.
    start : ndarray of shape (p + 1,)
        First guess of b and of the degrees of freedom.

    Returns
    -------
    ndarray of shape (p + 1,)
        b and the degrees of freedom, between 2.1 and 100.
    """
    # Late: who only forecasts fits nothing.
    from scipy import linalg, optimize

    known = np.isfinite(outcome)
    squares = np.where(known, outcome**2, 0.0)
    share, ridge = known / known.sum(), ridge / known.sum()
    # In coordinates whose information matrix is nearly the unit matrix a few iterations are enough.
    some = design[:: 1 + len(design) // ROWS_FOR_COORDINATES].astype(np.float64)
    charge = np.append(0.0, np.broadcast_to(ridge, design.shape[1] - 1))
    root = linalg.cholesky(some.T @ some / len(some) + np.diag(charge))

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        b, df = linalg.solve_triangular(root, point[:-1]), np.exp(point[-1])
        log_scale = (design @ b.astype(np.float32)).astype(np.float64)
        ratio = squares * np.exp(-2 * log_scale) / df
        growth = np.log1p(ratio)
        pull = ratio / (1 + ratio)
        value = (
            share @ (log_scale + (df + 1) / 2 * growth)
            + special.gammaln(df / 2)
            - special.gammaln((df + 1) / 2)
            + np.log(df) / 2
            + charge @ b**2 / 2
        )
        slope_b = (share * (1 - (df + 1) * pull)).astype(np.float32) @ design + charge * b
        slope_df = (
            share @ (growth - (df + 1) / df * pull)
            + special.digamma(df / 2)
            - special.digamma((df + 1) / 2)
            + 1 / df
        ) / 2
        return value, np.append(linalg.solve_triangular(root, slope_b, trans=1), slope_df * df)

    found = optimize.minimize(
        loss,
        np.append(root @ start[:-1], np.log(start[-1])),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None)] * len(charge) + [(np.log(LEAST_DF), np.log(MOST_DF))],
    )
    return np.append(linalg.solve_triangular(root, found.x[:-1]), np.exp(found.x[-1]))
