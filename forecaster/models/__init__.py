"""Model kinds behind one protocol: one file and one line in `KINDS` each.

A kind learns from windows whose labels were known at a moment, and then gives, for any
cutoffs, the distribution of the log return over 1..horizon sessions.
"""

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np

from forecaster.config import Recipe
from forecaster.errors import UsageError
from forecaster.models.distribution import StudentT
from forecaster.progress import Advance
from forecaster.windows import Windows


class Forecaster(Protocol):
    """One model kind, fitted or not."""

    name: str

    @property
    def steps(self) -> int:
        """Calls of `advance` in one fit."""

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        """Learn from the cutoffs and labels that were known by a UTC moment."""

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        """Distributions of shape (len(ends), horizon) for the windows that end at rows `ends`."""


def _rolling_t(recipe: Recipe) -> Forecaster:
    from forecaster.models.rolling_t import RollingT

    return RollingT()


def _ewma_t(recipe: Recipe) -> Forecaster:
    from forecaster.models.ewma_t import EwmaT

    return EwmaT()


def _recurrent(cell: str) -> Callable[[Recipe], Forecaster]:
    def make(recipe: Recipe) -> Forecaster:
        from forecaster.models.recurrent import Recurrent

        return Recurrent(recipe, cell)

    return make


KINDS: dict[str, Callable[[Recipe], Forecaster]] = {
    "rolling_t": _rolling_t,
    "ewma_t": _ewma_t,
    "rnn": _recurrent("rnn"),
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
}

CLASSICAL = ("rolling_t", "ewma_t")
LAST_PRICE = "rolling_t"
"""The forecast "tomorrow = today", spread by the last 250 returns: what every model must beat."""

SERVED = "served"
"""What the service issues: the pool of the recipe's networks."""

TITLES = {
    "rolling_t": "Last price, rolling-250 Student-t",
    "ewma_t": "Last price, EWMA Student-t",
    "rnn": "Simple RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "served": "Served: pool of the networks",
}


def kind(name: str, recipe: Recipe) -> Forecaster:
    """Make an unfitted model by name.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    if name not in KINDS:
        raise UsageError(f"No model {name!r}; choose one of {', '.join(KINDS)}")
    return KINDS[name](recipe)
