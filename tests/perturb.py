"""Rewrite the future of a history at random."""

from dataclasses import replace

import numpy as np
import pandas as pd

from forecaster.history import History

PRICES = ["open", "high", "low", "close", "adj_close", "volume"]


def perturb(history: History, after: pd.Timestamp, seed: int = 0) -> History:
    """Return the history with every bar after a session, and every factor known later, made up."""
    random = np.random.default_rng(seed)
    prices = history.prices.copy()
    later = (prices["session"] > after).to_numpy()
    close = random.uniform(1, 1000, later.sum())
    spread = random.uniform(1.0, 1.5, (2, later.sum()))
    invented = {
        "open": close * random.uniform(0.9, 1.0, later.sum()),
        "high": close * spread[0],
        "low": close * 0.9 / spread[1],
        "close": close,
        "adj_close": close * random.uniform(0.5, 1.0, later.sum()),
        "volume": random.uniform(0, 1e9, later.sum()),
    }
    prices.loc[later, PRICES] = pd.DataFrame(invented)[PRICES].to_numpy()
    factors = history.factors.copy()
    if len(factors):
        known_later = (factors["known_at"] > close_of(after)).to_numpy()
        factors.loc[known_later, "value"] = random.uniform(1, 1000, known_later.sum())
    return replace(history, prices=prices, factors=factors)


def close_of(session: pd.Timestamp) -> pd.Timestamp:
    """Four in the afternoon in New York: right for all sessions but the early closes."""
    return (session + pd.Timedelta(hours=16)).tz_localize("America/New_York").tz_convert("UTC")
