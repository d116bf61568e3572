"""Last price with a Student-t around it whose width follows a past-only volatility."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from forecaster.models.distribution import StudentT
from forecaster.models.scale import fit_standardised
from forecaster.progress import Advance
from forecaster.windows import Windows


class ScaledT(ABC):
    """Base of the classical forecasters that differ in their volatility only.

    The median forecast is the last price. For each step h the return over h sessions, divided by
    volatility times sqrt(h), has a Student-t distribution pooled over symbols, whose width and
    degrees of freedom are fitted on the training labels.
    """

    name: str
    steps = 1

    @abstractmethod
    def volatility(self, log_return: np.ndarray) -> np.ndarray:
        """Past-only volatility of each session of one symbol, (n,)."""

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        cutoffs = windows.ends[windows.panel.known_at[windows.ends] <= known_by]
        outcomes = windows.labels(cutoffs, known_by=known_by) / self._spread(windows, cutoffs)
        self._sigma, self._df = np.transpose([fit_standardised(step) for step in outcomes.T])
        advance(self.name)
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        sigma = self._sigma * self._spread(windows, ends)
        return StudentT(np.zeros_like(sigma), sigma, np.broadcast_to(self._df, sigma.shape))

    def as_json(self) -> dict[str, Any]:
        """Return what was learned as JSON-ready values."""
        return {"sigma": self._sigma.tolist(), "df": self._df.tolist()}

    def take(self, learned: dict[str, Any]) -> Self:
        """Take over what `as_json` returned."""
        self._sigma, self._df = np.array(learned["sigma"]), np.array(learned["df"])
        return self

    def _spread(self, windows: Windows, ends: np.ndarray) -> np.ndarray:
        panel = windows.panel
        starts = np.flatnonzero(np.diff(panel.code)) + 1
        sigma = np.concatenate([self.volatility(one) for one in np.split(panel.log_return, starts)])
        return sigma[ends][:, None] * np.sqrt(np.arange(1, windows.horizon + 1))
