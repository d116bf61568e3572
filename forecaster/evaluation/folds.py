"""Walk-forward folds: refit at a close, forecast the sessions from there to the next refit."""

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
        UTC moment that ends the training: every label, scaler and width was known by then.
    cutoffs : ndarray of int
        Rows of the panel known from that moment on, before the next refit.
    """

    refit: np.datetime64
    cutoffs: np.ndarray


def walk_forward(windows: Windows, folds: int, test_sessions: int) -> list[Fold]:
    """Cut the last `test_sessions` sessions into folds of equal length.

    A label of step h is used for training at refit T only if it was known by then
    (`Windows.labels` with ``known_by``), so that training and test labels never overlap.

    Raises
    ------
    UsageError
        If there are more folds than sessions.
    TooLittleHistory
        If no session is left to train on.
    """
    session, known_at = windows.panel.session[windows.ends], windows.panel.known_at[windows.ends]
    days = np.unique(session)
    if not 1 <= folds <= test_sessions:
        raise UsageError(f"folds: expected 1 to {test_sessions} (the test sessions), got {folds}")
    least = test_sessions + 2 * windows.horizon + windows.lookback
    if len(days) < least:
        raise TooLittleHistory(
            f"{len(days)} sessions with full windows are too few to hold {test_sessions} back; "
            f"bring at least {least} or test on fewer"
        )
    starts = [edge[0] for edge in np.array_split(days[-test_sessions:], folds)]
    # On several exchanges a session is over when the last of them has closed.
    refits = [known_at[session == start].max() for start in starts]
    ends = [*refits[1:], known_at.max() + np.timedelta64(1, "s")]
    return [
        Fold(refit, windows.ends[(known_at >= refit) & (known_at < end)])
        for refit, end in zip(refits, ends, strict=True)
    ]
