"""Rewrite the future of a history at random."""

from dataclasses import replace

import numpy as np
import pandas as pd

from forecaster.history import History

INVENTED = ["open", "high", "low", "close", "volume", "split", "dividend"]


def perturb(history: History, after: pd.Timestamp, seed: int = 0) -> History:
    """Return the history with every bar and action after a session, and every factor known later, made up."""
    random = np.random.default_rng(seed)
    traded = history.traded.copy()
    later = (traded["session"] > after).to_numpy()
    close = random.uniform(1, 1000, later.sum())
    spread = random.uniform(1.0, 1.5, (2, later.sum()))
    invented = {
        "open": close * random.uniform(0.9, 1.0, later.sum()),
        "high": close * spread[0],
        "low": close * 0.9 / spread[1],
        "close": close,
        "volume": random.uniform(0, 1e9, later.sum()),
        "split": random.choice([0.5, 1.0, 3.0], later.sum()),
        "dividend": random.uniform(0, 0.3, later.sum()),
    }
    traded.loc[later, INVENTED] = pd.DataFrame(invented)[INVENTED].to_numpy()
    factors = history.factors.copy()
    if len(factors):
        known_later = (factors["known_at"] > close_of(after)).to_numpy()
        factors.loc[known_later, "value"] = random.uniform(1, 1000, known_later.sum())
    return replace(history, traded=traded, factors=factors)


def close_of(session: pd.Timestamp) -> pd.Timestamp:
    """Four in the afternoon in New York: right for all sessions but the early closes."""
    return (session + pd.Timedelta(hours=16)).tz_localize("America/New_York").tz_convert("UTC")
