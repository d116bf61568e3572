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
    open, high, low, close : float
        As traded.
    volume : float
        In shares of the first row.
    log_price : float
        Logarithm of the close with splits and dividends counted forward from the first row; only
        differences mean anything.
    log_return : float
        Return since the row before, dividends in; NaN on the first row and where more than
        `LONGEST_STEP` sessions lie between, so that what reads it starts anew after a long gap.
    spread : float
        Volatility of the session's trading hours, from its range.
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
    spread: np.ndarray
    sigma: np.ndarray
    sigma_before: np.ndarray

    @classmethod
    def of(cls, traded: pd.DataFrame, exchange: str) -> "Bars":
        """Build from one symbol's rows of `History.traded`."""
        session = traded["session"].to_numpy(dtype="datetime64[ns]")
        position = positions(exchange, session)
        bar = {name: traded[name].to_numpy(dtype=float) for name in ("open", "high", "low", "close")}
        split, dividend = traded["split"].to_numpy(dtype=float), traded["dividend"].to_numpy(dtype=float)
        close = bar["close"]
        log_return = np.append(np.nan, np.log(close[1:] / (close[:-1] / split[1:] - dividend[1:])))
        log_price = np.log(close[0]) + np.append(0.0, np.cumsum(log_return[1:]))
        log_return[1:][np.diff(position) > LONGEST_STEP] = np.nan
        sigma = volatility.ewma(log_return)
        return cls(
            session=session,
            position=position,
            known_at=closes(exchange, session),
            **bar,
            volume=traded["volume"].to_numpy(dtype=float) / np.cumprod(split),
            log_price=log_price,
            log_return=log_return,
            spread=volatility.garman_klass(bar["open"], bar["high"], bar["low"], close),
            sigma=sigma,
            sigma_before=before(sigma),
        )


def before(values: np.ndarray) -> np.ndarray:
    """Shift by one row: entry t holds the value of t - 1, the first is NaN."""
    return np.concatenate([[np.nan], values[:-1]])
