"""Sectors: the index, of those stored, that a symbol has moved with, and what it did.

Which index that is, nobody has to say: it is the one whose returns beyond the market's went most with
the symbol's returns beyond the market's, over about the last year.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.features import volatility
from forecaster.features.bars import Bars, before

NAMES = ("sector_return", "sector_volatility", "sector_known")

PREFIX = "sector_"
"""Beginning of the names of the factors that are sector indices."""

SPAN = 250
"""Sessions before a row over which a symbol and the sectors are compared."""

FEWEST = 125
"""Sessions with a return of both below which a sector is not compared."""

STALE_AFTER = pd.Timedelta(days=5)
"""A factor whose last value was known longer ago counts as unknown."""


def log_change(levels: np.ndarray) -> np.ndarray:
    """Logarithmic change of each level since the one before; the first is NaN."""
    return np.diff(np.log(levels), prepend=np.nan)


@dataclass(frozen=True)
class Sectors:
    """Sector indices laid side by side, each by the last value known at a moment.

    Attributes
    ----------
    moment : ndarray of datetime64[ns], (m,)
        UTC, ascending: when a value of any sector became known.
    known_at : ndarray of datetime64[ns], (sectors, m)
        When each sector's last value by that moment was known; NaT before its first.
    log_return, scaled, sigma : ndarray of float64, (sectors, m)
        That value's log return since the one before; the same in units of the EWMA volatility before;
        the volatility with it.
    """

    moment: np.ndarray
    known_at: np.ndarray
    log_return: np.ndarray
    scaled: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(cls, levels: Mapping[str, pd.DataFrame]) -> "Sectors":
        """Lay indices side by side.

        Parameters
        ----------
        levels : mapping
            Name -> known_at (UTC, naive, ascending) and value, a level above zero.
        """
        series = [rows for _, rows in sorted(levels.items()) if len(rows)]
        if not series:
            none = np.empty((0, 0))
            return cls(np.empty(0, "datetime64[ns]"), none.astype("datetime64[ns]"), none, none, none)
        moment = np.unique(np.concatenate([rows["known_at"].to_numpy() for rows in series]))
        parts = []
        for rows in series:
            log_return = log_change(rows["value"].to_numpy(dtype=float))
            sigma = volatility.ewma(log_return)
            last = np.searchsorted(rows["known_at"].to_numpy(), moment, side="right")
            # The entry before the first stands for "none yet".
            parts.append(
                (
                    np.append(np.datetime64("NaT", "ns"), rows["known_at"].to_numpy())[last],
                    *(
                        np.append(np.nan, values)[last]
                        for values in (log_return, log_return / before(sigma), sigma)
                    ),
                )
            )
        return cls(moment, *(np.array(columns) for columns in zip(*parts, strict=True)))

    def columns(self, bars: Bars, market: np.ndarray) -> np.ndarray:
        """Compute the inputs of one symbol.

        Parameters
        ----------
        market : ndarray of float, (n,)
            Log return of the market as known at each cutoff; NaN counts as 0.

        Returns
        -------
        ndarray of shape (n, len(NAMES))
            Return of the symbol's sector in units of the volatility before, the logarithm of the
            sector's volatility relative to the symbol's own one session before, and 1 where they are
            known, else 0 beside zeros. The sector of row t is chosen by the `SPAN` rows before it.
        """
        columns = np.zeros((len(bars.known_at), len(NAMES)))
        if not len(self.moment):
            return columns
        last = np.searchsorted(self.moment, bars.known_at, side="right") - 1
        age = bars.known_at - self.known_at[:, last]
        fresh = (last >= 0) & (age <= STALE_AFTER.to_timedelta64())
        log_return = np.where(fresh, self.log_return[:, last], np.nan)
        beyond = np.nan_to_num(market)
        likeness = _correlation(bars.log_return - beyond, log_return - beyond)
        sector, row = np.argmax(likeness, axis=0), np.arange(len(columns))
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.log(self.sigma[sector, last] / bars.sigma_before)
        chosen = np.column_stack([self.scaled[sector, last], relative])
        known = (likeness[sector, row] > 0) & fresh[sector, row] & np.isfinite(chosen).all(axis=1)
        columns[known, :-1] = chosen[known]
        columns[:, -1] = known
        return columns


def _correlation(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlate one series with several over the `SPAN` entries before each; (others, n), -1 if unknown."""
    both = np.isfinite(own) & np.isfinite(others)
    x, y = np.where(both, own, 0.0), np.where(both, others, 0.0)
    count, sum_x, sum_y, sum_xx, sum_yy, sum_xy = (
        _sum_before(values) for values in (both, x, y, x * x, y * y, x * y)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((count * sum_xx - sum_x**2) * (count * sum_yy - sum_y**2))
        found = (count * sum_xy - sum_x * sum_y) / spread
    return np.where((count >= FEWEST) & np.isfinite(found), found, -1.0)


def _sum_before(values: np.ndarray) -> np.ndarray:
    total = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    before = total[:, :-1].copy()
    before[:, SPAN:] -= total[:, : -SPAN - 1]
    return before
