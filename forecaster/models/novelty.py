"""How far the inputs of a forecast lie from those that a model learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features.titles import unlike_training

LEVEL = 0.999
"""Share of the training rows that lie within the limit."""

MOST_ROWS = 100_000
"""Training rows beyond this number are thinned out evenly."""

MOST_NAMED = 3
"""Inputs named as reasons."""

LEAST_SHARE = 0.1
"""Least contribution of an input that is named, as a share of the largest."""


@dataclass(frozen=True)
class Novelty:
    """Mahalanobis distance from the mean of the training rows, and the distance that counts as far.

    The covariance is that of the standardised inputs, shrunk towards the identity, so that inputs that
    nearly determine each other do not blow up its inverse. Inputs have heavy tails and are not cut:
    the limit is a quantile of the distances met in training, not of a chi-squared distribution.

    Attributes
    ----------
    features : int
        Columns of the values that it was fitted to and can measure.
    columns : ndarray of int, (used,)
        Those that varied in training; the networks read the others as 0.
    names : tuple of str, (used,)
    low, high, mean, std : ndarray of float64, (used,)
        Over the training rows, in each input's own unit.
    precision : ndarray of float64, (used, used)
        Inverse of the shrunk covariance; symmetric to the last bit.
    limit : float
        Quantile `LEVEL` of the training rows' distances.

    Notes
    -----
    Mahalanobis (1936), "On the generalised distance in statistics", Proceedings of the National
    Institute of Sciences of India 2, 49-55. Ledoit and Wolf (2004), "A well-conditioned estimator for
    large-dimensional covariance matrices", Journal of Multivariate Analysis 88, 365-411.
    """

    features: int
    columns: np.ndarray
    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    precision: np.ndarray
    limit: float

    @classmethod
    def fit(cls, values: np.ndarray, names: Sequence[str]) -> Self:
        """Measure the rows that a model learns from.

        Parameters
        ----------
        values : ndarray, (n, features)
            Inputs at the cutoffs of the training and at none later; unscaled, none missing. Above
            `MOST_ROWS` every k-th row enters, and all of them enter `low` and `high`.
        names : sequence of str, (features,)

        Raises
        ------
        TooLittleHistory
            If no input varies.
        """
        # Late: who only measures a distance does not need it.
        from sklearn.covariance import LedoitWolf

        rows = values[:: 1 + len(values) // MOST_ROWS]
        columns = np.flatnonzero((rows != rows[:1]).any(axis=0))
        if not len(columns):
            raise TooLittleHistory(
                f"None of {len(names)} inputs varies over {len(values)} training rows; bring a longer history"
            )
        used = rows[:, columns].astype(float)
        mean, std = used.mean(axis=0), used.std(axis=0)
        standardised = (used - mean) / std
        precision = LedoitWolf().fit(standardised).precision_
        precision = np.ascontiguousarray((precision + precision.T) / 2)
        return cls(
            features=values.shape[1],
            columns=columns,
            names=tuple(names[column] for column in columns.tolist()),
            low=values.min(axis=0)[columns].astype(float),
            high=values.max(axis=0)[columns].astype(float),
            mean=mean,
            std=std,
            precision=precision,
            limit=float(np.quantile(_length(standardised, precision), LEVEL)),
        )

    def distance(self, values: np.ndarray) -> np.ndarray:
        """Measure how far rows lie from the mean of the training rows.

        Parameters
        ----------
        values : ndarray, (m, features)
            Unscaled, in the columns of the training.

        Returns
        -------
        ndarray of float64, (m,)
            Mahalanobis distances, without unit; NaN where an input in use is missing.

        Raises
        ------
        ModelError
            If the values have another number of columns.
        """
        return _length(self._standardised(values), self.precision)

    def is_far(self, values: np.ndarray) -> np.ndarray:
        """Tell which rows (m, features) lie farther out than `LEVEL` of the training rows; bool (m,)."""
        return self.distance(values) > self.limit

    def why(self, row: np.ndarray) -> str:
        """Name the inputs that contribute most to the squared distance of one row, (features,).

        Input i of the standardised inputs z contributes z_i (P z)_i, P being `precision`; over all inputs
        that sums to the squared distance. Up to `MOST_NAMED` are named.

        Raises
        ------
        ModelError
            If the row has another number of inputs.
        """
        standardised = self._standardised(row[None])[0]
        contribution = standardised * (self.precision @ standardised)
        largest = np.argsort(-contribution, kind="stable")[:MOST_NAMED]
        named = largest[contribution[largest] >= LEAST_SHARE * contribution[largest[0]]]
        value, low, high = row[self.columns][named], self.low[named], self.high[named]
        said = [
            unlike_training(self.names[at], one, least, most)
            for at, one, least, most in zip(named, value, low, high, strict=True)
        ]
        if ((low <= value) & (value <= high)).all():
            said.append("Training held such values, but seldom, or not together.")
        return " ".join(said)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values; of the precision the lower triangle, row by row."""
        return {
            "features": self.features,
            "columns": self.columns.tolist(),
            "names": list(self.names),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "precision": self.precision[np.tril_indices(len(self.names))].tolist(),
            "limit": self.limit,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild what `as_json` returned, to the last bit.

        Raises
        ------
        ModelError
            If an entry is missing or malformed.
        """
        try:
            used = len(values["names"])
            precision = np.zeros((used, used))
            row, column = np.tril_indices(used)
            precision[row, column] = precision[column, row] = values["precision"]
            arrays = {name: np.array(values[name], dtype=float) for name in ("low", "high", "mean", "std")}
            return cls(
                features=int(values["features"]),
                columns=np.array(values["columns"], dtype=np.int64),
                names=tuple(values["names"]),
                **arrays,
                precision=precision,
                limit=float(values["limit"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"The model's card does not hold a sound novelty ({error!r}); train again"
            ) from error

    def _standardised(self, values: np.ndarray) -> np.ndarray:
        if values.shape[1] != self.features:
            raise ModelError(
                f"The model was trained on {self.features} inputs and is shown {values.shape[1]}; "
                f"show it those of its training, or train again"
            )
        return (values[:, self.columns] - self.mean) / self.std


def _length(standardised: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return the Mahalanobis lengths of standardised rows, (m,)."""
    return np.sqrt(np.sum(standardised @ precision * standardised, axis=1))
