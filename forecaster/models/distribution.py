"""The forecast: a Student-t distribution of the log return for each cutoff and step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats


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
        return self.mean + self.scale * stats.t.ppf(level, self.df)

    def cdf(self, log_return: float | np.ndarray) -> np.ndarray:
        """Probability of a log return of at most this."""
        return stats.t.cdf((log_return - self.mean) / self.scale, self.df)

    def crps(self, outcome: np.ndarray) -> np.ndarray:
        """Continuous ranked probability score in units of log return; smaller is better."""
        # Late: who only reads forecasts does not need it.
        import scoringrules

        return np.asarray(scoringrules.crps_t(outcome, self.df, self.mean, self.scale))

    def log_score(self, outcome: np.ndarray) -> np.ndarray:
        """Negative log density at the outcome, in nats; smaller is better."""
        return -(stats.t.logpdf((outcome - self.mean) / self.scale, self.df) - np.log(self.scale))

    def __getitem__(self, index: Any) -> "StudentT":
        """Select entries, as of an array."""
        return StudentT(self.mean[index], self.sigma[index], self.df[index])


def pool(members: list[StudentT]) -> StudentT:
    """Merge forecasts of the same entries into one by averaging their parameters.

    Means are averaged as they are, standard deviations and excess degrees of freedom as
    logarithms, so that one wild member cannot blow the pool up and the result stays Student-t.
    """
    return StudentT(
        mean=np.mean([one.mean for one in members], axis=0),
        sigma=np.exp(np.mean([np.log(one.sigma) for one in members], axis=0)),
        df=2 + np.exp(np.mean([np.log(one.df - 2) for one in members], axis=0)),
    )


def fit_standardised(outcomes: np.ndarray) -> tuple[float, float]:
    """Fit a Student-t around zero to standardised returns by maximum likelihood.

    Parameters
    ----------
    outcomes : ndarray of shape (n,)
        Returns divided by a volatility; NaN are left out.

    Returns
    -------
    sigma, df : float
        Standard deviation in those units; degrees of freedom between 2.1 and 100.
    """
    known = outcomes[np.isfinite(outcomes)]
    df, _, scale = stats.t.fit(known, floc=0.0)
    df = float(np.clip(df, 2.1, 100.0))
    return float(scale * np.sqrt(df / (df - 2))), df
