"""GARCH and GJR-GARCH with Student-t shocks, one process a symbol, around the last price.

The variance of tomorrow's return follows from today's return r and today's variance h as::

    h' = omega + (alpha + gamma [r < 0]) r^2 + beta h

with gamma = 0 for GARCH (Bollerslev 1986, 1987; Glosten, Jagannathan and Runkle 1993). The package
``arch`` fits the parameters by maximum likelihood to returns in percent. The mean is zero, as in the
other forecasts around the last price: the mean return of a training sample is noise, or survivorship.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from scipy import signal, special, stats

from forecaster.features.volatility import LOWEST
from forecaster.models.distribution import StudentT
from forecaster.models.rolling_t import FEWEST
from forecaster.progress import Advance
from forecaster.windows import Windows

PERCENT = 100.0
LEAST_VARIANCE = (PERCENT * LOWEST) ** 2
FEWEST_FITTED = 250
"""Returns that a symbol needs for parameters of its own."""

LONGEST_MEMORY = 0.9999
"""Persistence from which on a fit counts as not stationary."""

LEAST_DF, MOST_DF = 2.1, 100.0
PATHS = 4096
"""Simulated paths; a power of two, as Sobol points are balanced only then."""

SEED = 0
REACH = np.logspace(0.0, 4.0, 33)
"""Variances of tomorrow that paths start from, in units of the lowest that the process can reach."""


@dataclass(frozen=True)
class Process:
    """The variance process of one symbol, for returns in percent.

    Attributes
    ----------
    omega, alpha, gamma, beta : float
        Parameters of the recursion.
    df : float
        Degrees of freedom of the shocks.
    start : float
        Variance that stands for everything before the first return.
    """

    omega: float
    alpha: float
    gamma: float
    beta: float
    df: float
    start: float

    @property
    def persistence(self) -> float:
        """Expected share of a variance that is still there a session later."""
        return self.alpha + self.gamma / 2 + self.beta

    @property
    def lowest(self) -> float:
        """Variance that a string of zero returns leads to; none can be lower."""
        return self.omega / (1 - self.beta)

    @property
    def is_stationary(self) -> bool:
        """Whether all is finite, variances stay positive, and shocks die out."""
        numbers = (self.omega, self.alpha, self.gamma, self.beta, self.df, self.start)
        return bool(np.isfinite(numbers).all()) and self.omega > 0 and self.persistence < LONGEST_MEMORY

    @classmethod
    def median(cls, processes: Sequence["Process"], level: float) -> "Process":
        """Median process, with an unconditional variance of `level`.

        Medians are taken of alpha, alpha + gamma / 2 and the persistence: what holds between these
        in every process holds between their medians, so the result is as valid as they are.
        """
        alpha, reaction, persistence, df = np.median(
            [(one.alpha, one.alpha + one.gamma / 2, one.persistence, one.df) for one in processes], axis=0
        )
        return cls(
            omega=level * (1 - persistence),
            alpha=alpha,
            gamma=2 * (reaction - alpha),
            beta=persistence - reaction,
            df=df,
            start=level,
        )

    def targeting(self, level: float) -> "Process":
        """Give the same shape an unconditional variance of `level`."""
        return replace(self, omega=level * (1 - self.persistence), start=level)

    def tomorrow(self, returns: np.ndarray) -> np.ndarray:
        """Variance of the next session's return, as known after each session; (n,).

        Parameters
        ----------
        returns : ndarray of shape (n,)
            In percent; where NaN the variance stays as it was.
        """
        known = np.isfinite(returns)
        past = returns[known]
        shocks = self.omega + (self.alpha + self.gamma * (past < 0)) * past**2
        first = self.omega + self.persistence * self.start
        filtered, _ = signal.lfilter([1.0], [1.0, -self.beta], shocks, zi=[self.beta * first])
        return np.append(first, filtered)[np.cumsum(known)]

    def variance(self, tomorrow: np.ndarray, horizon: int) -> np.ndarray:
        """Sum up the expected variance of 1..horizon sessions from tomorrow's; (n, horizon)."""
        kept = self.persistence ** np.arange(horizon)
        added = self.omega * np.append(0.0, np.cumsum(kept)[:-1])
        return np.cumsum(tomorrow[:, None] * kept + added, axis=1)

    def degrees_of_freedom(self, horizon: int) -> np.ndarray:
        """Degrees of freedom of the return over 1..horizon sessions, by simulation; (rows, horizon).

        One row for each of tomorrow's variances ``REACH * lowest``, all with the same shocks:
        scrambled Sobol points, which need far fewer paths than random ones. The Student-t gets the
        mean absolute value of the simulated returns beside the exact standard deviation. That costs
        some .0001 nats over 20 sessions against the Student-t of highest likelihood, less over fewer.
        """
        points = stats.qmc.Sobol(horizon, rng=SEED).random(PATHS).T
        standard = stats.t.ppf(points, self.df) * np.sqrt((self.df - 2) / self.df)
        growth = (self.alpha + self.gamma * (standard < 0)) * standard**2 + self.beta
        variance = np.repeat(self.lowest * REACH[:, None], PATHS, axis=1)
        total = np.zeros_like(variance)
        absolute = np.empty((len(REACH), horizon))
        for step in range(horizon):
            total += np.sqrt(variance) * standard[step]
            absolute[:, step] = np.abs(total).mean(axis=1)
            variance = self.omega + growth[step] * variance
        share = absolute / np.sqrt(self.variance(self.lowest * REACH, horizon))
        df = np.interp(share, _ABSOLUTE, _DF)
        df[:, 0] = self.df
        return df


def _mean_absolute(df: np.ndarray) -> np.ndarray:
    """Mean absolute value of a Student-t with standard deviation 1; grows with `df`."""
    log = special.gammaln((df + 1) / 2) - special.gammaln(df / 2)
    return 2 * np.sqrt((df - 2) / np.pi) / (df - 1) * np.exp(log)


_DF = 2 + np.geomspace(LEAST_DF - 2, MOST_DF - 2, 1000)
_ABSOLUTE = _mean_absolute(_DF)


USUAL = {
    False: Process(omega=0.03, alpha=0.05, gamma=0.0, beta=0.92, df=5.0, start=1.0),
    True: Process(omega=0.03, alpha=0.02, gamma=0.06, beta=0.92, df=5.0, start=1.0),
}
"""Without and with asymmetry: round figures as daily shares show them, for a panel without any sound fit."""


def estimate(returns: np.ndarray, asymmetric: bool) -> Process | None:
    """Fit a process to known returns in percent, (n,); None if the fit is not to be trusted."""
    if len(returns) < FEWEST_FITTED or np.mean(returns**2) <= LEAST_VARIANCE:
        return None
    # Late: who only forecasts does not need it.
    from arch import arch_model

    model = arch_model(
        returns, mean="Zero", vol="GARCH", p=1, o=int(asymmetric), q=1, dist="t", rescale=False
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        fitted = model.fit(disp="off", show_warning=False)
    omega, alpha, *gamma, beta, df = (float(value) for value in fitted.params)
    process = Process(
        omega=omega,
        alpha=alpha,
        gamma=max(gamma[0], -alpha) if gamma else 0.0,
        beta=beta,
        df=float(np.clip(df, LEAST_DF, MOST_DF)),
        start=float(model.volatility.backcast(returns)),
    )
    return process if fitted.convergence_flag == 0 and process.is_stationary else None


class Garch:
    """Last price with a Student-t as wide as a fitted (GJR-)GARCH process says.

    One step ahead it is the forecast of ``arch`` itself: zero mean, the filtered variance, and the
    degrees of freedom of the shocks. Further ahead the standard deviation is the exact one of the
    process, and the degrees of freedom come from a simulation (`Process.degrees_of_freedom`): given
    the parameters they depend on tomorrow's variance alone, so they are simulated once on a grid of
    it and interpolated, linearly in its logarithm. The Student-t is symmetric, while a GJR process
    leans to the left over many sessions: it says too little about the far left tail.

    The parameters are fitted on the returns known at the refit (from ``windows.since`` on); the
    variance is then filtered through all of a symbol's rows up to each cutoff. A symbol whose own
    fit cannot be had gets the median parameters of the others (`USUAL` if there are none), with the
    unconditional variance at its own mean squared return, or at the median of the others' where fewer
    than `rolling_t.FEWEST` are known.

    Parameters
    ----------
    name : str
        Of the kind.
    asymmetric : bool
        Whether falls raise the variance more than rises do (GJR).
    """

    steps = 1

    def __init__(self, name: str, asymmetric: bool) -> None:
        self.name = name
        self._asymmetric = asymmetric

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        """Fit a process for each symbol."""
        panel = windows.panel
        known = (panel.known_at <= known_by) & np.isfinite(panel.log_return)
        if windows.since is not None:
            known &= panel.known_at >= windows.since
        rows = _rows(panel.code, len(panel.symbols))
        returns = [PERCENT * panel.log_return[one][known[one]] for one in rows]
        estimates = [estimate(one, self._asymmetric) for one in returns]
        sound = [one for one in estimates if one is not None]
        levels = [max(np.mean(one**2), LEAST_VARIANCE) if len(one) >= FEWEST else None for one in returns]
        of_sound = [level for level, own in zip(levels, estimates, strict=True) if own and level]
        told = of_sound or [level for level in levels if level] or [LEAST_VARIANCE]
        usual = float(np.median(told))
        typical = Process.median(sound or [USUAL[self._asymmetric]], usual)
        table = typical.degrees_of_freedom(windows.horizon)
        self._unseen = typical, table
        self._seen = {
            symbol: (typical.targeting(level or usual), table)
            for symbol, level in zip(panel.symbols, levels, strict=True)
        }
        for symbol, own in zip(panel.symbols, estimates, strict=True):
            if own:
                self._seen[symbol] = own, own.degrees_of_freedom(windows.horizon)
        advance(self.name)
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        panel = windows.panel
        rows = _rows(panel.code, len(panel.symbols))
        sigma, df = np.empty((2, len(ends), windows.horizon))
        for code in np.unique(panel.code[ends]):
            process, table = self._seen.get(panel.symbols[code], self._unseen)
            mine = panel.code[ends] == code
            returns = PERCENT * panel.log_return[rows[code]]
            tomorrow = process.tomorrow(returns)[ends[mine] - rows[code].start]
            sigma[mine] = np.sqrt(process.variance(tomorrow, windows.horizon)) / PERCENT
            df[mine] = _between(table, tomorrow / process.lowest)
        return StudentT(np.zeros_like(sigma), sigma, df)

    def as_json(self) -> dict[str, Any]:
        """Return what was learned as JSON-ready values."""
        return {
            symbol: {"process": asdict(process), "df": table.tolist()}
            for symbol, (process, table) in {"": self._unseen, **self._seen}.items()
        }

    def take(self, learned: dict[str, Any]) -> Self:
        """Take over what `as_json` returned."""
        found = {name: (Process(**one["process"]), np.array(one["df"])) for name, one in learned.items()}
        self._unseen = found.pop("")
        self._seen = found
        return self


def _rows(code: np.ndarray, symbols: int) -> list[slice]:
    """Rows of each symbol in a panel."""
    edges = np.searchsorted(code, np.arange(symbols + 1))
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _between(table: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Interpolate rows of a table at `REACH`, linearly in its logarithm, flat beyond; (n, horizon)."""
    place = np.interp(np.log(reached), np.log(REACH), np.arange(len(REACH)))
    left = np.minimum(place.astype(int), len(REACH) - 2)
    share = (place - left)[:, None]
    return (1 - share) * table[left] + share * table[left + 1]
