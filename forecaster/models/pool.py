"""Pools: one forecast out of several, with weights learned on dates that are past.

A pool reads its members' forecasts and nothing else. Which members it takes is one line in `POOLS`; of
what is served, the recipe decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.config import Recipe
from forecaster.errors import UsageError
from forecaster.models import SERVED
from forecaster.models.distribution import Distribution, log_pool


@dataclass(frozen=True)
class Pool:
    """Which forecasts a pool takes.

    Attributes
    ----------
    classical : tuple of str
    networks : bool
        Whether the recipe's kinds of network are among them.
    learned : bool
        Whether weights are learned on past dates, or all are equal.
    drawn : float
        How far learned weights are drawn towards equal ones, 0 to 1.
    calibrated : bool
        Whether its width follows how past forecasts turned out (`models.calibrate`).
    """

    classical: tuple[str, ...]
    networks: bool
    learned: bool
    drawn: float = 0.0
    calibrated: bool = False

    def members(self, recipe: Recipe) -> tuple[str, ...]:
        """Name the models whose forecasts are pooled."""
        return (*self.classical, *(recipe.cells if self.networks else ()))

    def weights(self, members: Sequence[Distribution], outcome: np.ndarray, date: np.ndarray) -> np.ndarray:
        """Weigh the members by past forecasts, as `learn_weights`, or equally."""
        equal = np.full(len(members), 1 / len(members))
        if not self.learned:
            return equal
        return self.drawn * equal + (1 - self.drawn) * learn_weights(members, outcome, date)


STRONG = ("ewma_t", "gjr_t", "harx")

POOLS: dict[str, Pool] = {
    "pool_classical": Pool(STRONG, networks=False, learned=True),
    "pool": Pool(STRONG, networks=True, learned=True),
}

POOL_NAMES = (*POOLS, SERVED)

DRAWN = 0.5
"""Of the served pool, whose members are near each other in skill: a few past years say little of which is
better (benchmarks/LOG.md)."""

FEWEST_DATES = 60
LARGEST_SAMPLE = 50_000
"""Forecasts to learn weights on; of more, every n-th date is taken."""


def scheme(name: str, recipe: Recipe) -> Pool:
    """Look a pool up by name; what is served, the recipe says.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    if name == SERVED:
        return Pool(recipe.beside, True, recipe.learned_weights, DRAWN, recipe.calibrated)
    if name not in POOLS:
        raise UsageError(f"No pool {name!r}; choose one of {', '.join(POOL_NAMES)}")
    return POOLS[name]


def learn_weights(members: Sequence[Distribution], outcome: np.ndarray, date: np.ndarray) -> np.ndarray:
    """Find the weights, none negative, whose pool has the lowest mean log score over dates.

    Parameters
    ----------
    members : sequence of Student-t distributions, each of shape (n,)
        Past forecasts of the same stock-days.
    outcome : ndarray of shape (n,)
        Log returns that followed, all known by now.
    date : ndarray of shape (n,)
        Cutoff of each forecast; every date weighs the same.

    Returns
    -------
    ndarray of shape (members,)
        Sums to one; equal weights where under 60 dates are known.

    Notes
    -----
    Hall and Mitchell (2007), International Journal of Forecasting 23, 1-13, learn weights by the
    log score; Genest and Zidek (1986), Statistical Science 1, 114-148, treat the logarithmic pool.
    """
    # Late: who only forecasts learns no weights.
    from scipy import optimize

    days = np.unique(date)
    if len(members) == 1 or len(days) < FEWEST_DATES:
        return np.full(len(members), 1 / len(members))
    kept = np.isin(date, days[:: int(np.ceil(len(date) / LARGEST_SAMPLE))])
    chosen, y = [one[kept] for one in members], outcome[kept]
    _, place, count = np.unique(date[kept], return_inverse=True, return_counts=True)
    share = 1 / count[place] / len(count)

    def loss(free: np.ndarray) -> float:
        return float(share @ log_pool(chosen, _simplex(free)).log_score(y))

    found = optimize.minimize(loss, np.zeros(len(members) - 1), method="BFGS", options={"gtol": 1e-6})
    return _simplex(found.x)


def _simplex(free: np.ndarray) -> np.ndarray:
    raised = np.exp(np.append(free, 0.0) - max(0.0, free.max(initial=0.0)))
    return raised / raised.sum()
