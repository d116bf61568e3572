"""Trend: what the sessions before the last one looked like (rows up to t - 1)."""

import numpy as np
import pandas as pd

from forecaster.features import volatility
from forecaster.features.bars import Bars, before

SPANS = (5, 22, 66)
HISTORY_DECAY = 0.999
"""Daily decay of a symbol's usual volatility: half of the weight lies on the last three years or so."""

NAMES = (
    *(f"return_{span}" for span in SPANS),
    *(f"range_{span}" for span in SPANS),
    *(f"volatility_{span}" for span in SPANS),
    "volatility_level",
    "volatility_history",
    "volume_trend",
)


def columns(bars: Bars) -> np.ndarray:
    """Compute the group's inputs.

    Returns
    -------
    ndarray of shape (n, len(NAMES))
        Returns over a span in units of its volatility; logarithms of the mean trading-hours range
        and of the root mean square return relative to the EWMA volatility; the latter relative to
        its averages over some months and over the symbol's history; the log ratio of five-session to
        66-session volume.
    """
    scale = bars.sigma_before
    volume = np.log1p(bars.volume)
    parts = [before(_mean(bars.log_return, span)) * np.sqrt(span) / scale for span in SPANS]
    parts += [np.log(before(_mean(bars.spread, span)) / scale) for span in SPANS]
    parts += [np.log(before(volatility.rolling(bars.log_return, span)) / scale) for span in SPANS]
    for decay in (volatility.LONG_DECAY, HISTORY_DECAY):
        parts.append(np.log(scale / before(volatility.ewma(bars.log_return, decay, sessions=66))))
    parts.append(before(_mean(volume, 5)) - before(_mean(volume, 66)))
    return np.column_stack(parts)


def _mean(values: np.ndarray, span: int) -> np.ndarray:
    return pd.Series(values).rolling(span, min_periods=span).mean().to_numpy()
