"""The product's own rewriting of the future, after the close of a session in New York."""

import pandas as pd

from forecaster.evaluation import perturbation
from forecaster.history import History


def perturb(history: History, after: pd.Timestamp, seed: int = 0) -> History:
    """Return the history with all that became known after a session made up."""
    return perturbation.perturb(history, close_of(after).tz_localize(None).to_datetime64(), seed)


def close_of(session: pd.Timestamp) -> pd.Timestamp:
    """Four in the afternoon in New York: right for all sessions but the early closes."""
    return (session + pd.Timedelta(hours=16)).tz_localize("America/New_York").tz_convert("UTC")
