"""Paired tests of forecasts over dates.

Stock-days of one date are not independent, so losses are averaged per date before any test.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.05
FEWEST_DATES = 10
FEWEST_PER_STEP = 20
"""A test asks for 20 dates a session ahead, and 10 more: on fewer it rejects too often."""


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
        Two-sided; NaN on too few dates, where the losses do not differ or always differ by the same,
        or where one is NaN.
    dates : int
    """

    difference: float
    error: float
    p_value: float
    dates: int


def enough_dates(dates: int, horizon: int) -> bool:
    """Whether a test over so many dates keeps its size."""
    return dates >= FEWEST_PER_STEP * horizon + FEWEST_DATES


def same_losses(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether losses differ in the last bit only, as those of a pool of one member from the member's."""
    return np.allclose(first, second, rtol=1e-9, atol=1e-12)


def false_discovery(p_values: np.ndarray) -> np.ndarray:
    """Turn p-values of one family of tests into q-values (Benjamini and Hochberg 1995).

    Rejecting where q is below a level keeps the expected share of false rejections below it. Tests
    that could not be made (NaN) stay NaN and do not count.
    """
    q_values = np.full(len(p_values), np.nan)
    made = np.isfinite(p_values)
    if made.any():
        # Late: who only loads a model tests nothing.
        from scipy import stats

        q_values[made] = stats.false_discovery_control(p_values[made])
    return q_values


def daily_losses(forecasts: pd.DataFrame, score: str) -> pd.DataFrame:
    """Average a score over the symbols of each cutoff date: dates as index, models as columns.

    Only stock-days that every model forecast count.
    """
    wide = forecasts.pivot(index=["cutoff", "symbol"], columns="model", values=score).dropna()
    return wide.groupby("cutoff").mean()


def paired_test(first: np.ndarray, second: np.ndarray, horizon: int) -> PairedTest:
    """Test two series of daily mean losses for equal means (Diebold and Mariano 1995).

    One session ahead: Newey-West errors with ceil(cube root of the dates) lags and the correction
    of Harvey, Leybourne and Newbold (1997), International Journal of Forecasting 13, 281-291.
    Further ahead, where outcomes overlap and that test rejects too often: the long-run variance as
    the mean of the first floor(cube root of the dates) periodogram ordinates, and Student-t critical
    values with twice as many degrees of freedom, after Coroneo and Iacone (2020), Journal of Applied
    Econometrics 35, 391-409.

    Parameters
    ----------
    first, second : ndarray of shape (dates,)
        Losses of the same dates in the same order.
    horizon : int
        Sessions ahead; overlapping outcomes correlate over horizon - 1 dates.
    """
    difference = float(np.mean(first - second)) if len(first) else np.nan
    if not np.isfinite(difference) or not enough_dates(len(first), horizon) or same_losses(first, second):
        return PairedTest(difference, np.nan, np.nan, len(first))
    if horizon > 1:
        return _fixed_smoothing(first - second)
    # Late: it takes a second, and who only reads stored scores does not need it.
    from statsmodels.tsa.stattools import diebold_mariano_test

    result = diebold_mariano_test(
        np.zeros(len(first)), first, second, criterion=lambda _, loss: loss, harvey_adj=True, horizon=1
    )
    error = abs(difference / result.statistic) if result.statistic else np.nan
    return PairedTest(difference, float(error), float(result.pvalue), len(first))


def half_width(error: float, dates: int, horizon: int) -> float:
    """Return half the width of the 95 % interval that belongs to `paired_test`'s error."""
    return float(error * special.stdtrit(freedom(dates, horizon), 1 - LEVEL / 2))


def freedom(dates: int, horizon: int) -> int:
    """Return the degrees of freedom of `paired_test`'s error."""
    return dates - 1 if horizon == 1 else 2 * _ordinates(dates)


def _ordinates(dates: int) -> int:
    return int(np.cbrt(dates))


def _fixed_smoothing(difference: np.ndarray) -> PairedTest:
    dates = len(difference)
    ordinates = _ordinates(dates)
    mean = float(difference.mean())
    spectrum = np.abs(np.fft.rfft(difference - mean)[1 : ordinates + 1]) ** 2 / dates
    error = float(np.sqrt(spectrum.mean() / dates))
    if error == 0:
        return PairedTest(mean, np.nan, np.nan, dates)
    return PairedTest(mean, error, float(2 * special.stdtr(2 * ordinates, -abs(mean) / error)), dates)
