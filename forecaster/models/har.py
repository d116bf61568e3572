"""Heterogeneous autoregression of the scale: pooled, linear in the logarithm, Student-t."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from forecaster.errors import TooLittleHistory
from forecaster.features.volatility import LOWEST
from forecaster.models.distribution import StudentT
from forecaster.models.scale import FIRST_DF, fit_log_scale
from forecaster.progress import Advance
from forecaster.windows import Windows

RANGES = (
    "previous_day.range",
    "trend.range_5",
    "trend.range_22",
    "trend.range_66",
    "previous_day.volatility_change",
)
"""The trading-hours range over 1, 5, 22 and 66 sessions, all relative to the volatility before the last
session; and the step from there to the base volatility, which includes it."""

COLUMNS: dict[str, Sequence[str] | None] = {"har": RANGES, "harx": None}
"""Inputs that each variant reads, as in ``Panel.names``; None: all, and what is known ahead."""

LIMIT = 5.0
"""Largest absolute input let through, in training standard deviations, as in the networks."""

RIDGE = 200.0
"""Charge on squared coefficients, in observations, times the step: stocks of one session share its
shocks and returns over h sessions overlap h-fold, so that rows count for more than they know. What the
calendar says is the same for all stocks of a session: there it is charged per session and not per row."""

LEAST_SPREAD = 0.05
"""Least standard deviation that an input known ahead of one session is divided by: what was hardly ever
seen stays small, so that the charge holds its coefficient back."""

LEAST_GROWTH = 1e-3
"""Least rise of the variance from step to step, as a share of the first step's."""


class Har:
    """Last price with a Student-t around it whose log scale is linear in the inputs.

    For each step h the return over h sessions is base volatility * sqrt(h) * exp(x_h . b_h) * t, where
    t has df_h degrees of freedom; b_h and df_h maximise the likelihood of all training cutoffs whose
    label of that step was known, pooled over symbols, less `RIDGE` * h * |b_h|^2 / 2 without the
    constant's. x_h holds a constant, the inputs at the cutoff scaled by training statistics, and the
    means over sessions 1..h of what is known ahead of them, scaled likewise.

    After Corsi (2009), "A Simple Approximate Long-Memory Model of Realized Volatility", Journal of
    Financial Econometrics 7, with the likelihood of returns in place of least squares on volatility.

    Parameters
    ----------
    name : {"har", "harx"}
        "har" reads the ranges alone, as far as the panel has them; "harx" all inputs.
    """

    steps = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self._columns = COLUMNS[name]

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        cutoffs = windows.ends[windows.panel.known_at[windows.ends] <= known_by]
        outcomes = windows.labels(cutoffs, known_by=known_by) / _spread(windows, cutoffs)
        if not np.isfinite(outcomes).any(axis=0).all():
            raise TooLittleHistory(
                f"No return over {windows.horizon} sessions after a full window is known by "
                f"{np.datetime_as_string(known_by, 'D')}; bring a longer history or shorten the horizon"
            )
        # Late: who only forecasts does not need them.
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        scaler = StandardScaler().fit(windows.panel.values[cutoffs])
        self._mean, self._scale = scaler.mean_, scaler.scale_
        inputs = self._inputs(windows, cutoffs)
        width = inputs.shape[1]
        design = np.hstack([inputs, self._ahead(windows, cutoffs, 1)])
        self._weights, self._ahead_scale, self._df = [], [], np.empty(windows.horizon)
        charge = charges(windows, cutoffs, width - 1, design.shape[1] - width)
        start = np.append(np.zeros(design.shape[1]), FIRST_DF)
        # Models are fitted side by side: threads that wait for each other's core cost more than they bring.
        with threadpool_limits(limits=1):
            for step in range(1, windows.horizon + 1):
                ahead = self._ahead(windows, cutoffs, step)
                self._ahead_scale.append(spread_of(ahead, step))
                design[:, width:] = ahead / self._ahead_scale[-1]
                start = fit_log_scale(design, outcomes[:, step - 1], charge * step, start)
                self._weights.append(start[:-1])
                self._df[step - 1] = start[-1]
        advance(self.name)
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        inputs, ahead = self._inputs(windows, ends), self._ahead(windows, ends)
        log_scale = np.column_stack(
            [
                np.hstack([inputs, ahead[:, step] / scale]) @ weights
                for step, (weights, scale) in enumerate(zip(self._weights, self._ahead_scale, strict=True))
            ]
        )
        sigma = _spread(windows, ends) * np.exp(log_scale) * np.sqrt(self._df / (self._df - 2))
        sigma = np.maximum(sigma, LOWEST)
        return StudentT(np.zeros_like(sigma), widening(sigma), np.broadcast_to(self._df, sigma.shape))

    def as_json(self) -> dict[str, Any]:
        """Return what was learned as JSON-ready values."""
        return {
            "mean": self._mean.tolist(),
            "scale": self._scale.tolist(),
            "weights": [one.tolist() for one in self._weights],
            "ahead_scale": [one.tolist() for one in self._ahead_scale],
            "df": self._df.tolist(),
        }

    def take(self, learned: dict[str, Any]) -> Self:
        """Take over what `as_json` returned."""
        self._mean, self._scale = np.array(learned["mean"]), np.array(learned["scale"])
        self._weights = [np.array(one) for one in learned["weights"]]
        self._ahead_scale = [np.array(one) for one in learned["ahead_scale"]]
        self._df = np.array(learned["df"])
        return self

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a "harx" from a file that holds what `as_json` returned."""
        return cls("harx").take(json.loads(file.read_text(encoding="utf-8")))

    def _inputs(self, windows: Windows, ends: np.ndarray) -> np.ndarray:
        """Return a constant and the scaled inputs, float32 (n, 1 + inputs)."""
        values = windows.panel.values[ends]
        scaled = (values - self._mean.astype(values.dtype)) / self._scale.astype(values.dtype)
        if self._columns is not None:
            names = windows.panel.names
            scaled = scaled[:, [names.index(name) for name in self._columns if name in names]]
        return np.hstack([np.ones((len(ends), 1), np.float32), np.clip(scaled, -LIMIT, LIMIT)])

    def _ahead(self, windows: Windows, ends: np.ndarray, step: int | None = None) -> np.ndarray:
        """Average what is known ahead over sessions 1..step, float32 (n, ahead features).

        Without a step over sessions 1..h for every h, (n, horizon, ahead features).
        """
        if self._columns is not None:
            shape = (len(ends), 0) if step else (len(ends), windows.horizon, 0)
            return np.zeros(shape, np.float32)
        return windows.mean_ahead(ends, step) if step else windows.means_ahead(ends)


def spread_of(ahead: np.ndarray, step: int = 1) -> np.ndarray:
    """Return what means over `step` sessions of inputs known ahead, (n, features), are divided by."""
    return np.maximum(ahead.std(axis=0), LEAST_SPREAD / np.sqrt(step))


def charges(windows: Windows, cutoffs: np.ndarray, inputs: int, ahead: int) -> np.ndarray:
    """Charge each coefficient but the constant's: (inputs + ahead,).

    Parameters
    ----------
    cutoffs : ndarray of int
        Rows to learn from.
    inputs, ahead : int
        How many inputs at the cutoff there are, and how many known ahead: the calendar's first.
    """
    stocks = len(cutoffs) / len(np.unique(windows.panel.known_at[cutoffs]))
    calendar = min(ahead, windows.panel.ahead.shape[1])
    return RIDGE * np.concatenate([np.ones(inputs), np.full(calendar, stocks), np.ones(ahead - calendar)])


def widening(sigma: np.ndarray) -> np.ndarray:
    """Raise standard deviations (n, horizon) where they would not grow with the step.

    Each variance becomes the largest so far, counted after a rise of `LEAST_GROWTH` a step.
    """
    variance = sigma**2
    floor = LEAST_GROWTH * variance[:, :1] * np.arange(sigma.shape[1])
    return np.sqrt(np.maximum.accumulate(variance - floor, axis=1) + floor)


def _spread(windows: Windows, ends: np.ndarray) -> np.ndarray:
    """Return base volatility times the root of the step, (n, horizon)."""
    return windows.panel.base_sigma[ends][:, None] * np.sqrt(np.arange(1, windows.horizon + 1))
