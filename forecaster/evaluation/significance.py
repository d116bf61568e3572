"""Paired tests of forecasts over dates.

Stock-days of one date are not independent, so losses are averaged per date before any test.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = 0.05
FEWEST_DATES = 30


@dataclass(frozen=True)
class PairedTest:
    """Diebold-Mariano test of two models' losses on the same dates.

    Attributes
    ----------
    difference : float
        Mean loss of the first minus the second; negative: the first is better.
    error : float
        HAC standard error of the difference; NaN where there is no test.
    p_value : float
        Two-sided; NaN on fewer than 30 dates, or where the losses do not differ at all.
    dates : int
    """

    difference: float
    error: float
    p_value: float
    dates: int

    @property
    def first_is_better(self) -> bool:
        """Whether the first model's loss is lower and the difference is significant."""
        return self.difference < 0 and self.p_value < LEVEL

    @property
    def second_is_better(self) -> bool:
        """Whether the second model's loss is lower and the difference is significant."""
        return self.difference > 0 and self.p_value < LEVEL


def daily_losses(forecasts: pd.DataFrame, score: str) -> pd.DataFrame:
    """Average a score over the symbols of each cutoff date: dates as index, models as columns.

    Only stock-days that every model forecast count.
    """
    wide = forecasts.pivot(index=["cutoff", "symbol"], columns="model", values=score).dropna()
    return wide.groupby("cutoff").mean()


def paired_test(first: np.ndarray, second: np.ndarray, horizon: int) -> PairedTest:
    """Test two series of daily mean losses for equal means.

    Diebold and Mariano (1995), Journal of Business & Economic Statistics 13, 253-263, with the
    correction of Harvey, Leybourne and Newbold (1997), International Journal of Forecasting 13,
    281-291. Newey-West lags: max(horizon - 1, ceil(cube root of the number of dates)).

    Parameters
    ----------
    first, second : ndarray of shape (dates,)
        Losses of the same dates in the same order.
    horizon : int
        Sessions ahead; overlapping outcomes correlate over horizon - 1 dates.
    """
    # Late: it takes a second, and who only reads stored scores does not need it.
    from statsmodels.tsa.stattools import diebold_mariano_test

    difference = float(np.mean(first - second)) if len(first) else np.nan
    # A pool of one member is that member but for the last bit: nothing to test.
    if len(first) < max(FEWEST_DATES, 2 * horizon) or np.allclose(first, second, rtol=1e-9, atol=1e-12):
        return PairedTest(difference, np.nan, np.nan, len(first))
    result = diebold_mariano_test(
        np.zeros(len(first)), first, second, criterion=lambda _, loss: loss, harvey_adj=True, horizon=horizon
    )
    error = abs(difference / result.statistic) if result.statistic else np.nan
    return PairedTest(difference, float(error), float(result.pvalue), len(first))
