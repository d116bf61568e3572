"""Past-only measures of volatility, per session, in units of log return.

Row t uses rows up to t and nothing else.
"""

import numpy as np
import pandas as pd

DECAY = 0.94
"""RiskMetrics' daily decay (J.P. Morgan/Reuters, RiskMetrics Technical Document, 1996)."""

LONG_DECAY = 0.985
"""Daily decay of the slow average: a mean age of 66 sessions."""

LOWEST = 1e-4
"""Floor of a daily volatility: one basis point, below any traded share, above a halted one's zero."""


def ewma(log_return: np.ndarray, decay: float = DECAY, sessions: int = 22) -> np.ndarray:
    """Exponentially weighted root mean square of returns, NaN for the first `sessions`."""
    squares = pd.Series(log_return**2)
    mean = squares.ewm(alpha=1 - decay, min_periods=sessions, ignore_na=True).mean()
    return np.maximum(np.sqrt(mean.to_numpy()), LOWEST)


def rolling(log_return: np.ndarray, sessions: int, fewest: int | None = None) -> np.ndarray:
    """Root mean square of the last `sessions` returns, NaN before there are `fewest` (default: all)."""
    window = pd.Series(log_return**2).rolling(sessions, min_periods=fewest or sessions)
    return np.maximum(np.sqrt(np.maximum(window.mean().to_numpy(), 0.0)), LOWEST)


def garman_klass(open_: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Volatility of one session's trading hours from its range.

    Garman and Klass (1980), "On the Estimation of Security Price Volatilities from Historical
    Data", Journal of Business 53, equation 20 in the simplified form.
    """
    variance = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open_) ** 2
    return np.sqrt(np.maximum(variance, LOWEST**2))
