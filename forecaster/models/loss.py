"""What a network minimises: the negative log density of a Student-t, and its CRPS, on any Keras backend."""

import math
from collections.abc import Callable
from typing import Any

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import numpy as np
from keras import ops
from scipy import stats

LEAST_WEIGHT = 1e-3
"""Below any known outcome's: keeps the loss of a batch without outcomes at zero."""

LEVELS = np.arange(0.05, 1.0, 0.1)
"""Quantile levels whose pinball losses are averaged into the CRPS; symmetric."""

_INVERSE_DF = np.linspace(1e-6, 0.48, 200)
_DEGREE = 6
# Of each level's Student-t quantile, as a polynomial in 1 / df: (degree + 1, levels), lowest power first.
_QUANTILES = np.polynomial.polynomial.polyfit(
    _INVERSE_DF, stats.t.ppf(LEVELS, 1 / _INVERSE_DF[:, None]), _DEGREE
).astype(np.float32)


def log_gamma(x: Any) -> Any:
    """Logarithm of the gamma function for x >= 1 on any Keras backend.

    Stirling's series after raising the argument by six (Abramowitz and Stegun 1964, 6.1.41);
    absolute error below 1e-5 in single precision for 1 <= x <= 60.
    """
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5)
    z = x + 6
    series = 1 / (12 * z) - 1 / (360 * z**3)
    return (z - 0.5) * ops.log(z) - z + 0.5 * math.log(2 * math.pi) + series - ops.log(product)


def negative_log_likelihood(outcome: Any, forecast: Any) -> Any:
    """Weighted mean of the negative log density of the known outcomes, in nats.

    Step h weighs 1/h: returns over h sessions overlap h-fold and tell as much less.

    Parameters
    ----------
    outcome : tensor (..., horizon)
        Returns in units of base volatility; NaN where unknown.
    forecast : tensor (..., horizon, 3)
        Mean, standard deviation and degrees of freedom of a Student-t distribution.
    """
    unknown = ops.isnan(outcome)
    y = ops.where(unknown, 0.0, outcome)
    mean, sigma, df = forecast[..., 0], forecast[..., 1], forecast[..., 2]
    scale = sigma * ops.sqrt((df - 2) / df)
    density = (
        log_gamma((df + 1) / 2)
        - log_gamma(df / 2)
        - 0.5 * ops.log(math.pi * df)
        - ops.log(scale)
        - (df + 1) / 2 * ops.log1p(((y - mean) / scale) ** 2 / df)
    )
    weight = _weights(unknown)
    return -ops.sum(weight * density) / ops.maximum(ops.sum(weight), LEAST_WEIGHT)


def crps(outcome: Any, forecast: Any) -> Any:
    """Weighted mean of the CRPS of the known outcomes, each in units of the root of its step.

    Twice the pinball loss averaged over quantile levels tends to the CRPS as they become dense
    (Gneiting and Ranjan 2011, Journal of Business and Economic Statistics 29, 411-422). Parameters
    as of `negative_log_likelihood`.
    """
    unknown = ops.isnan(outcome)
    y = ops.where(unknown, 0.0, outcome)
    mean, sigma, df = forecast[..., 0], forecast[..., 1], forecast[..., 2]
    scale = sigma * ops.sqrt((df - 2) / df)
    standard = t_quantiles(df)
    miss = ((y - mean) / scale)[..., None] - standard
    levels = LEVELS.astype(np.float32)
    pinball = scale * ops.mean(ops.maximum(levels * miss, (levels - 1) * miss), axis=-1)
    spread = np.sqrt(np.arange(1, outcome.shape[-1] + 1)).astype(np.float32)
    weight = _weights(unknown)
    return 2 * ops.sum(weight * pinball / spread) / ops.maximum(ops.sum(weight), LEAST_WEIGHT)


def _weights(unknown: Any) -> Any:
    steps = np.arange(1, unknown.shape[-1] + 1)
    return ops.where(unknown, 0.0, (1 / steps).astype(np.float32))


def t_quantiles(df: Any) -> Any:
    """Quantiles of the Student-t at `LEVELS`, (..., levels), for df (...) of 2.1 or more."""
    u = (1 / df)[..., None]
    value = ops.zeros_like(u)
    for coefficients in _QUANTILES[::-1]:
        value = value * u + coefficients
    return value


def loss(share: float) -> Callable[[Any, Any], Any]:
    """Return the log score, and beside it the CRPS with a weight."""
    if not share:
        return negative_log_likelihood

    def both(outcome: Any, forecast: Any) -> Any:
        return negative_log_likelihood(outcome, forecast) + share * crps(outcome, forecast)

    return both
