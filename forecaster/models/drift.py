"""Whether the inputs of late are spread as those were that a model learned from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

SESSIONS = 60
"""Sessions of a stretch whose inputs are compared with all of the training."""

BINS = 10
LEAST_LIMIT = 0.25
"""Index from which a shift counts as one by the usual reading."""

SHARE = 0.25
"""Share of the inputs that must have moved at once."""


@dataclass(frozen=True)
class Drift:
    """Deciles of every input in training, and how far a stretch of it has strayed from them at most.

    Prices wander, so that any quarter differs from ten years: what counts as moved is what differs more
    than every stretch of the training did.

    Attributes
    ----------
    columns : ndarray of int, (used,)
        Inputs that varied in training; the others have no spread to differ from.
    names : tuple of str, (used,)
    edges : ndarray of float64, (used, 9)
        Deciles over the training rows.
    shares : ndarray of float64, (used, 10)
        Share of the training rows between them.
    limits : ndarray of float64, (used,)
        Largest index of any stretch of the training, `LEAST_LIMIT` at least.

    Notes
    -----
    The population stability index is the sum over bins of (p - q) ln(p / q): Siddiqi (2006), "Credit
    Risk Scorecards", Wiley; it is the symmetrised Kullback-Leibler divergence of the binned spreads.
    """

    columns: np.ndarray
    names: tuple[str, ...]
    edges: np.ndarray
    shares: np.ndarray
    limits: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, session: np.ndarray, names: Sequence[str]) -> Self:
        """Measure the rows that a model learns from.

        Parameters
        ----------
        values : ndarray, (n, features)
            Inputs at the cutoffs of the training and at none later; none missing.
        session : ndarray of datetime64, (n,)
        names : sequence of str, (features,)
        """
        days, place = np.unique(session, return_inverse=True)
        # Stretches end with the training; what is left over at its start joins the first.
        stretch = np.maximum(len(days) // SESSIONS - 1 - (len(days) - 1 - place) // SESSIONS, 0)
        columns = np.flatnonzero((values != values[:1]).any(axis=0))
        used, kept = values[:, columns], tuple(names[column] for column in columns.tolist())
        levels = np.arange(1, BINS) / BINS
        edges = np.quantile(used, levels, axis=0).T.astype(float)
        shares = np.array([_shares(column, edge) for column, edge in zip(used.T, edges, strict=True)])
        fitted = cls(columns, kept, edges, shares, np.full(len(kept), LEAST_LIMIT))
        strayed = [fitted.index(values[stretch == one]) for one in range(stretch.max() + 1)]
        return replace(fitted, limits=np.maximum(LEAST_LIMIT, np.max(strayed, axis=0)))

    def index(self, values: np.ndarray) -> np.ndarray:
        """Return the population stability index of each input in use over some rows (m, features)."""
        floor, used = 0.5 / max(len(values), 1), values[:, self.columns]
        now = np.array([_shares(column, edge) for column, edge in zip(used.T, self.edges, strict=True)])
        p, q = np.maximum(now, floor), np.maximum(self.shares, floor)
        return ((p - q) * np.log(p / q)).sum(axis=1)

    def moved(self, values: np.ndarray) -> list[str]:
        """Name the inputs that differ more than in any stretch of the training, the furthest first.

        Parameters
        ----------
        values : ndarray, (m, features)
            Inputs of the last `SESSIONS` sessions of all symbols.
        """
        index = self.index(values)
        furthest = np.argsort(-index / self.limits, kind="stable")
        return [self.names[at] for at in furthest if index[at] > self.limits[at]]

    def as_json(self) -> dict[str, Any]:
        """Return what was measured as JSON-ready values."""
        return {
            "columns": self.columns.tolist(),
            "names": list(self.names),
            "edges": self.edges.tolist(),
            "shares": self.shares.tolist(),
            "limits": self.limits.tolist(),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Rebuild what `as_json` returned."""
        measured = (np.array(told[name], float) for name in ("edges", "shares", "limits"))
        return cls(np.array(told["columns"], int), tuple(told["names"]), *measured)


def _shares(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counted = np.bincount(np.searchsorted(edges, column, side="right"), minlength=BINS)
    return counted / max(len(column), 1)
