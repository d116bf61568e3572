"""The forecast: a distribution of the log return for each cutoff and step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from scipy import special

from forecaster.tables import QUANTILES


class Distribution(Protocol):
    """Distributions of one family, one per entry; arrays of one shape, usually (n, horizon).

    Attributes
    ----------
    family : str
        Name of the family in tables of forecasts.
    mean, sigma : ndarray
        Mean and standard deviation of the log return.
    df, scale : ndarray
        Degrees of freedom and scale parameter; NaN where the family has none.
    """

    family: str

    @property
    def mean(self) -> np.ndarray: ...

    @property
    def sigma(self) -> np.ndarray: ...

    @property
    def df(self) -> np.ndarray: ...

    @property
    def scale(self) -> np.ndarray: ...

    def quantile(self, level: float) -> np.ndarray:
        """Log return that is not exceeded with probability `level`."""

    def cdf(self, log_return: float | np.ndarray) -> np.ndarray:
        """Probability of a log return of at most this."""

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score in units of log return; smaller is better."""

    def log_score(self, outcome: np.ndarray) -> np.ndarray:
        """Negative log density at the outcome, in nats; NaN where the family has no density."""

    def __getitem__(self, index: Any) -> Self:
        """Select entries, as of an array."""


@dataclass(frozen=True)
class StudentT:
    """Student-t distributions with finite variance, one per entry.

    Attributes
    ----------
    mean, sigma, df : ndarray, all of one shape, usually (n, horizon)
        Mean and standard deviation of the log return; degrees of freedom, above 2.
    """

    mean: np.ndarray
    sigma: np.ndarray
    df: np.ndarray

    family = "student_t"

    @property
    def scale(self) -> np.ndarray:
        """Scale parameter: the standard deviation times sqrt((df - 2) / df)."""
        return self.sigma * np.sqrt((self.df - 2) / self.df)

    def quantile(self, level: float | np.ndarray) -> np.ndarray:
        """Log return that is not exceeded with probability `level`."""
        return self.mean + self.scale * special.stdtrit(self.df, level)

    def cdf(self, log_return: float | np.ndarray) -> np.ndarray:
        """Probability of a log return of at most this."""
        return special.stdtr(self.df, (log_return - self.mean) / self.scale)

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score in units of log return; smaller is better."""
        # Late: who only reads forecasts does not need it.
        import scoringrules

        return np.asarray(scoringrules.crps_t(outcome, self.df, self.mean, self.scale))

    def log_score(self, outcome: np.ndarray) -> np.ndarray:
        """Negative log density at the outcome, in nats; smaller is better."""
        # Late: who only forecasts does not need it.
        from scipy import stats

        return -(stats.t.logpdf((outcome - self.mean) / self.scale, self.df) - np.log(self.scale))

    def __getitem__(self, index: Any) -> "StudentT":
        """Select entries, as of an array."""
        return StudentT(self.mean[index], self.sigma[index], self.df[index])


@dataclass(frozen=True)
class QuantileTable:
    """Distributions known by quantiles only, one per entry; between them the quantile is linear.

    Beyond the outermost quantiles it goes on at the slope of the piece beside them, to probability
    0 and 1. So everything but a density follows from the stored quantiles.

    Attributes
    ----------
    values : ndarray of shape (..., 11)
        Quantiles of the log return at the levels `tables.QUANTILES`, ascending.
    """

    values: np.ndarray

    family = "quantiles"

    @cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Levels (13,) from 0 to 1, and the log returns at them (..., 13)."""
        levels, values = np.asarray(QUANTILES), self.values
        low = (values[..., 1] - values[..., 0]) / (levels[1] - levels[0]) * levels[0]
        high = (values[..., -1] - values[..., -2]) / (levels[-1] - levels[-2]) * (1 - levels[-1])
        ends = (values[..., 0] - low)[..., None], (values[..., -1] + high)[..., None]
        return np.array([0.0, *levels, 1.0]), np.concatenate([ends[0], values, ends[1]], axis=-1)

    @property
    def mean(self) -> np.ndarray:
        """Expected log return."""
        levels, knots = self._knots
        return ((knots[..., 1:] + knots[..., :-1]) / 2) @ np.diff(levels)

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation of the log return."""
        levels, knots = self._knots
        centred = knots - self.mean[..., None]
        left, right = centred[..., :-1], centred[..., 1:]
        return np.sqrt(((left**2 + left * right + right**2) / 3) @ np.diff(levels))

    @property
    def df(self) -> np.ndarray:
        """Not a number: the family has no degrees of freedom."""
        return np.full(self.values.shape[:-1], np.nan)

    @property
    def scale(self) -> np.ndarray:
        """Not a number, likewise."""
        return self.df

    def quantile(self, level: float) -> np.ndarray:
        """Log return that is not exceeded with probability `level`."""
        levels, knots = self._knots
        right = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
        share = (level - levels[right - 1]) / (levels[right] - levels[right - 1])
        return (1 - share) * knots[..., right - 1] + share * knots[..., right]

    def cdf(self, log_return: float | np.ndarray) -> np.ndarray:
        """Probability of a log return of at most this."""
        levels, knots = self._knots
        left, right = knots[..., :-1], knots[..., 1:]
        x = np.asarray(log_return, dtype=float)[..., None]
        beyond = np.broadcast_to(x >= right, left.shape).astype(float)
        reached = np.divide(np.clip(x, left, right) - left, right - left, out=beyond, where=right > left)
        return reached @ np.diff(levels)

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score in units of log return; smaller is better."""
        levels, knots = self._knots
        left, right, a, b = knots[..., :-1], knots[..., 1:], levels[:-1], levels[1:]
        x = np.clip(outcome[..., None], left, right)
        reached = np.divide(x - left, right - left, out=np.zeros_like(x), where=right > left)
        at = a + reached * (b - a)
        below = (x - left) * (a**2 + a * at + at**2) / 3
        above = (right - x) * ((1 - at) ** 2 + (1 - at) * (1 - b) + (1 - b) ** 2) / 3
        outside = np.maximum(knots[..., 0] - outcome, 0) + np.maximum(outcome - knots[..., -1], 0)
        return (below + above).sum(axis=-1) + outside

    def log_score(self, outcome: np.ndarray) -> np.ndarray:
        """Not a number: a table of quantiles has no density that could be scored fairly."""
        return np.full(np.shape(outcome), np.nan)

    def __getitem__(self, index: Any) -> "QuantileTable":
        """Select entries, as of an array."""
        return QuantileTable(self.values[index])


def pool(members: Sequence[Distribution]) -> StudentT:
    """Merge Student-t forecasts of the same entries into one by averaging their parameters.

    Means are averaged as they are, standard deviations and excess degrees of freedom as
    logarithms, so that one wild member cannot blow the pool up and the result stays Student-t.
    """
    return StudentT(
        mean=np.mean([one.mean for one in members], axis=0),
        sigma=np.exp(np.mean([np.log(one.sigma) for one in members], axis=0)),
        df=2 + np.exp(np.mean([np.log(one.df - 2) for one in members], axis=0)),
    )


def log_pool(members: Sequence[Distribution], weights: np.ndarray) -> StudentT:
    """Merge Student-t forecasts by the weighted product of their densities.

    The product is no Student-t itself. Taken is the one that agrees with it in how fast its tails
    fall (the sum of weighted degrees of freedom), and in how far the log density falls from the
    centre to two scales out; the log score differs by .0002 to .002 nats (benchmarks/LOG.md).

    Parameters
    ----------
    members : sequence of Student-t distributions, all of one shape
    weights : ndarray of shape (members,)
        Not negative; they sum to one.

    Notes
    -----
    Genest and Zidek (1986), "Combining Probability Distributions: A Critique and an Annotated
    Bibliography", Statistical Science 1, 114-148.
    """
    df = sum(weight * one.df for one, weight in zip(members, weights, strict=True))
    reach = 2 * np.exp(sum(weight * np.log(one.scale) for one, weight in zip(members, weights, strict=True)))
    fall = sum(
        weight * (one.df + 1) / 2 * np.log1p((reach / one.scale) ** 2 / one.df)
        for one, weight in zip(members, weights, strict=True)
    )
    scale = reach / np.sqrt(df * np.expm1(2 * fall / (df + 1)))
    mean = sum(weight * one.mean for one, weight in zip(members, weights, strict=True))
    return StudentT(np.asarray(mean), scale * np.sqrt(df / (df - 2)), np.asarray(df))
