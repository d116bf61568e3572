"""One symbol's bars as arrays, with the two volatilities that features are measured in."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.features import volatility
from forecaster.sessions import closes, positions

LONGEST_STEP = 5
"""Sessions between two rows up to which their difference counts as one return."""


@dataclass(frozen=True)
class Bars:
    """Arrays of shape (n,), one entry per stored session of one symbol.

    Attributes
    ----------
    session : datetime64[ns]
    position : int64
        Of the session in its exchange's calendar.
    known_at : datetime64[ns]
        Official close in UTC: when the bar is known, and the cutoff of a forecast from it.
    open, high, low, close, volume : float
    log_price : float
        Logarithm of the close adjusted for splits and dividends; only differences mean anything.
    log_return : float
        Change of `log_price` since the row before; NaN on the first row and where more than
        `LONGEST_STEP` sessions lie between, so that what reads it starts anew after a long gap.
    sigma : float
        EWMA volatility of the return, the session itself included.
    sigma_before : float
        The same, one row earlier: the scale by which a session's own move is judged.
    """

    session: np.ndarray
    position: np.ndarray
    known_at: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    log_price: np.ndarray
    log_return: np.ndarray
    sigma: np.ndarray
    sigma_before: np.ndarray

    @classmethod
    def of(cls, prices: pd.DataFrame, exchange: str) -> "Bars":
        """Build from one symbol's rows of the prices table, ascending by session."""
        session = prices["session"].to_numpy(dtype="datetime64[ns]")
        position = positions(exchange, session)
        raw = {
            name: prices[name].to_numpy(dtype=float) for name in ("open", "high", "low", "close", "volume")
        }
        log_price = np.log(prices["adj_close"].to_numpy(dtype=float))
        log_return = np.diff(log_price, prepend=np.nan)
        log_return[1:][np.diff(position) > LONGEST_STEP] = np.nan
        sigma = volatility.ewma(log_return)
        return cls(
            session=session,
            position=position,
            known_at=closes(exchange, session),
            **raw,
            log_price=log_price,
            log_return=log_return,
            sigma=sigma,
            sigma_before=before(sigma),
        )


def before(values: np.ndarray) -> np.ndarray:
    """Shift by one row: entry t holds the value of t - 1, the first is NaN."""
    return np.concatenate([[np.nan], values[:-1]])
