"""Gradient-boosted trees for the scale, with the quantiles of the training residuals around it."""

from typing import Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from forecaster.errors import TooLittleHistory
from forecaster.models.distribution import QuantileTable
from forecaster.models.har import widening
from forecaster.progress import Advance
from forecaster.tables import QUANTILES
from forecaster.windows import Windows

MOST_ROWS = 300_000
"""Training cutoffs beyond this number are thinned out at random, with a fixed seed."""

LEAST_RETURN = 0.02
"""Floor of absolute standardised returns: the likelihood of the trees knows no zero."""

LEAF_SHARE = 0.05
"""Least share of the training cutoffs in a leaf: keeps the training residuals as wide as new ones."""


class Boosting:
    """Last price with quantiles around it whose common scale is learned by boosted trees.

    One set of trees, pooled over symbols, gives the expected absolute return of the next session in
    units of the base volatility from the inputs at the cutoff (gamma deviance, logarithmic link). For
    each step h the training returns over h sessions, divided by that scale, give the 11 quantiles,
    location and skewness included.
    """

    name = "boosting"
    steps = 1

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        cutoffs = windows.ends[windows.panel.known_at[windows.ends] <= known_by]
        if len(cutoffs) > MOST_ROWS:
            cutoffs = np.random.default_rng(0).choice(cutoffs, MOST_ROWS, replace=False)
        labels = windows.labels(cutoffs, known_by=known_by)
        if not np.isfinite(labels).any(axis=0).all():
            raise TooLittleHistory(
                f"No return over {windows.horizon} sessions after a full window is known by "
                f"{np.datetime_as_string(known_by, 'D')}; bring a longer history or shorten the horizon"
            )
        base = windows.panel.base_sigma[cutoffs]
        known = np.isfinite(labels[:, 0])
        absolute = np.maximum(np.abs(labels[known, 0]) / base[known], LEAST_RETURN)
        self._trees = HistGradientBoostingRegressor(
            loss="gamma",
            learning_rate=0.05,
            max_iter=80,
            max_leaf_nodes=8,
            min_samples_leaf=max(20, int(LEAF_SHARE * len(absolute))),
            early_stopping=False,
            random_state=0,
        )
        # Models are fitted side by side: threads that wait for each other's core cost more than they bring.
        with threadpool_limits(limits=1):
            self._trees.fit(windows.panel.values[cutoffs][known], absolute)
        residuals = labels / self._scale(windows, cutoffs)[:, None]
        quantiles = np.array([np.quantile(step[np.isfinite(step)], QUANTILES) for step in residuals.T])
        sigma = QuantileTable(quantiles).sigma
        self._quantiles = quantiles * (widening(sigma[None])[0] / sigma)[:, None]
        advance(self.name)
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> QuantileTable:
        return QuantileTable(self._scale(windows, ends)[:, None, None] * self._quantiles)

    def _scale(self, windows: Windows, ends: np.ndarray) -> np.ndarray:
        """Return the expected absolute return of the next session, (n,)."""
        with threadpool_limits(limits=1):
            return self._trees.predict(windows.panel.values[ends]) * windows.panel.base_sigma[ends]
