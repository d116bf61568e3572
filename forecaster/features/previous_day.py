"""Previous day: the bar of the last session, row t itself, the anchor of the forecast."""

import numpy as np
import pandas as pd

from forecaster.features.bars import Bars, before

NAMES = ("return", "magnitude", "gap", "body", "range", "volume", "volatility_change")


def columns(bars: Bars) -> np.ndarray:
    """Compute the group's inputs.

    Returns
    -------
    ndarray of shape (n, len(NAMES))
        The session's return, overnight gap and open-to-close body in units of the volatility before
        it; logarithms of the absolute return and of the trading-hours range in the same units; log
        volume against the mean of the 22 sessions before; and the log change of the EWMA volatility,
        by which a model can tell the volatility before the session from the one after it.
    """
    scale = bars.sigma_before
    body = np.log(bars.close / bars.open)
    volume = np.log1p(bars.volume)
    usual = before(pd.Series(volume).rolling(22, min_periods=22).mean().to_numpy())
    return np.column_stack(
        [
            bars.log_return / scale,
            np.log(np.abs(bars.log_return) / scale + 0.1),
            (bars.log_return - body) / scale,
            body / scale,
            np.log(bars.spread / scale),
            volume - usual,
            np.log(bars.sigma / scale),
        ]
    )
