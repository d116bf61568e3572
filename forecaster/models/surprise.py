"""Memory of surprises: whether a stock has moved more, or less, of late than a linear model expected.

A network reads `lookback` sessions. How far a stock strays from what its inputs say lasts longer and is
told by the linear model's own errors: each session's score in the log scale (`calibrate.score`), above
zero if the session was wilder than forecast. The network gets their fading mean as one more input of the
stock, so it starts from what a linear model could not know about that very stock.
"""

from dataclasses import replace

import numpy as np
from scipy import signal

from forecaster.models.calibrate import score
from forecaster.models.har import Har
from forecaster.windows import Windows

NAME = "surprise"
FADES = 0.98
"""What is left of a surprise after a session: half of it after some 34."""

CHUNK = 200_000
"""Rows forecast at a time: bounds the memory."""


def linear_model(windows: Windows, known_by: np.datetime64) -> Har:
    """Fit HARX one session ahead on the cutoffs and labels known by a UTC moment."""
    return Har("harx").fit(replace(windows, horizon=1), known_by, lambda note: None)


def with_surprise(windows: Windows, linear: Har) -> Windows:
    """Return the windows with one more input: the fading mean of surprises, as known at each row.

    The surprise of a session is known at its close, and was forecast from the session before. Where
    nothing was forecast, nothing was surprising.
    """
    panel = windows.panel
    values = np.column_stack([panel.values, surprise(windows, linear)])
    return replace(windows, panel=replace(panel, values=values, names=(*panel.names, NAME)))


def surprise(windows: Windows, linear: Har) -> np.ndarray:
    """Compute the fading mean of a linear model's scores, float32 (rows,)."""
    one = replace(windows, horizon=1)
    told = np.zeros(len(windows.panel.code))
    rows = np.flatnonzero(one.ready & (one.label_rows[:, 0] >= 0))
    for some in np.split(rows, range(CHUNK, len(rows), CHUNK)):
        forecast = linear.forecast(one, some)
        told[one.label_rows[some, 0]] = score(one.labels(some), forecast)[:, 0]
    starts = np.flatnonzero(np.diff(windows.panel.code)) + 1
    parts = np.split((1 - FADES) * told, starts)
    faded = [signal.lfilter([1.0], [1.0, -FADES], part) for part in parts]
    return np.concatenate(faded).astype(np.float32)
