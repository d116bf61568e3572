"""Walk-forward folds: refit at a session, forecast the sessions from there to the next refit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.errors import TooLittleHistory, UsageError
from forecaster.windows import Windows


@dataclass(frozen=True)
class Fold:
    """One refit and the cutoffs that its model forecasts.

    Attributes
    ----------
    refit : datetime64[ns]
        Session whose close ends the training: every label, scaler and width was known by then.
    cutoffs : ndarray of int
        Rows of the panel from that session on, before the next refit.
    """

    refit: np.datetime64
    cutoffs: np.ndarray


def walk_forward(windows: Windows, folds: int, test_sessions: int) -> list[Fold]:
    """Cut the last `test_sessions` sessions into folds of equal length.

    A label of step h is used for training at refit T only if its session is T or earlier
    (`Windows.labels` with ``known_by``), so that training and test labels never overlap.

    Raises
    ------
    UsageError
        If there are more folds than sessions.
    TooLittleHistory
        If no session is left to train on.
    """
    session = windows.panel.session[windows.ends]
    days = np.unique(session)
    if not 1 <= folds <= test_sessions:
        raise UsageError(f"folds: expected 1 to {test_sessions} (the test sessions), got {folds}")
    least = test_sessions + 2 * windows.horizon + windows.lookback
    if len(days) < least:
        raise TooLittleHistory(
            f"{len(days)} sessions with full windows are too few to hold {test_sessions} back; "
            f"bring at least {least} or test on fewer"
        )
    edges = np.array_split(days[-test_sessions:], folds)
    starts = [edge[0] for edge in edges]
    ends: Sequence[np.datetime64 | None] = [*starts[1:], None]
    return [
        Fold(start, windows.ends[(session >= start) & (True if end is None else session < end)])
        for start, end in zip(starts, ends, strict=True)
    ]
