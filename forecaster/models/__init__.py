"""Model kinds behind one protocol: one file and one line in `KINDS` each.

A kind learns from windows whose labels were known at a moment, and then gives, for any
cutoffs, the distribution of the log return over 1..horizon sessions.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from forecaster.config import Recipe
from forecaster.errors import UsageError
from forecaster.models.distribution import Distribution
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

    def forecast(self, windows: Windows, ends: np.ndarray) -> Distribution:
        """Distributions of shape (len(ends), horizon) for the windows that end at rows `ends`."""


class Classical(Forecaster, Protocol):
    """A kind whose fit can be kept as JSON, and so be served beside the networks."""

    def as_json(self) -> dict[str, Any]:
        """Return what was learned as JSON-ready values."""

    def take(self, learned: dict[str, Any]) -> Self:
        """Take over what `as_json` returned."""


@runtime_checkable
class Several(Forecaster, Protocol):
    """A kind that pools several random starts, each of which can be asked by itself."""

    def members(self, windows: Windows, ends: np.ndarray) -> Sequence[Distribution]:
        """Forecast with each random start: distributions of shape (len(ends), horizon)."""


Make = Callable[[Recipe, Sequence[int] | None], Forecaster]


def _classical(file: str, name: str, *arguments: str | bool) -> Make:
    def make(recipe: Recipe, seeds: Sequence[int] | None) -> Forecaster:
        return getattr(import_module(f"{__name__}.{file}"), name)(*arguments)

    return make


def _recurrent(cell: str) -> Make:
    def make(recipe: Recipe, seeds: Sequence[int] | None) -> Forecaster:
        from forecaster.models.recurrent import Recurrent

        return Recurrent(recipe, cell, seeds)

    return make


KINDS: dict[str, Make] = {
    "constant": _classical("constant", "Constant"),
    "rolling_t": _classical("rolling_t", "RollingT"),
    "ewma_t": _classical("ewma_t", "EwmaT"),
    "garch_t": _classical("garch", "Garch", "garch_t", False),
    "gjr_t": _classical("garch", "Garch", "gjr_t", True),
    "har": _classical("har", "Har", "har"),
    "harx": _classical("har", "Har", "harx"),
    "boosting": _classical("boosting", "Boosting"),
    "rnn": _recurrent("rnn"),
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
}

NETWORKS = ("rnn", "lstm", "gru")
CLASSICAL = tuple(name for name in KINDS if name not in NETWORKS)
LAST_PRICE = "rolling_t"
"""The forecast "tomorrow = today", spread by the last 250 returns: what every model must beat."""

GJR = "gjr_t"

COMPARED = (LAST_PRICE, GJR)
"""Models that the ledger holds beside what is served: the last price always, the others of a version that
pools them."""

SERVED = "served"
"""What the service issues: the recipe's networks pooled with its classical models, and calibrated."""

UNDATED = "harx_undated"
"""HARX without announced dates of results: stands beside where some of those were made up."""

TITLES = {
    "constant": "Last price, constant width",
    "rolling_t": "Last price, rolling-250 Student-t",
    "ewma_t": "Last price, EWMA Student-t",
    "garch_t": "GARCH-t",
    "gjr_t": "GJR-GARCH-t",
    "har": "HAR on ranges",
    "harx": "HARX",
    UNDATED: "HARX without announced dates",
    "boosting": "Gradient boosting",
    "pool_classical": "Pool of the classical models",
    "rnn": "Simple RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "pool": "Pool of all",
    "served": "Served: pool, calibrated",
}


def kind(name: str, recipe: Recipe, seeds: Sequence[int] | None = None) -> Forecaster:
    """Make an unfitted model by name.

    Parameters
    ----------
    seeds : sequence of int, optional
        Random starts of a network; default: as many as the recipe says, from 0 on.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    if name not in KINDS:
        raise UsageError(f"No model {name!r}; choose one of {', '.join(KINDS)}")
    return KINDS[name](recipe, seeds)
