"""Windows by index over one float32 matrix, and their labels.

A window is named by the row of its cutoff, its last session. Inputs and labels are asked for
separately, so that a model that forecasts cannot hold the answer.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from forecaster.errors import TooLittleHistory
from forecaster.features import Panel

WARM_UP = 67
"""Sessions before a row that its slowest input reads: 66 returns, and the session before them."""


REACH = 800
"""Sessions before a window that may still tell of it: of a surprise .98 to that power is left, 1e-7."""


@dataclass(frozen=True)
class Windows:
    """Every window of `lookback` stored sessions in a panel whose inputs are all known.

    Attributes
    ----------
    panel : Panel
    lookback : int
        Sessions read, the cutoff included.
    horizon : int
        Sessions ahead.
    since : datetime64, optional
        UTC moment; windows that end earlier are left out, as a rolling training asks for.
    among : ndarray of int, optional
        Rows; windows that end at others are left out.
    """

    panel: Panel
    lookback: int
    horizon: int
    since: np.datetime64 | None = None
    among: np.ndarray | None = None

    @cached_property
    def ready(self) -> np.ndarray:
        """Rows whose inputs and base volatility are all known, bool (rows,)."""
        return self._are_ready(slice(None))

    def _are_ready(self, rows: slice) -> np.ndarray:
        return np.isfinite(self.panel.values[rows]).all(axis=1) & np.isfinite(self.panel.base_sigma[rows])

    @cached_property
    def ends(self) -> np.ndarray:
        """Rows at which a window ends: `lookback` ready rows in a row, all of one symbol; (n,)."""
        row = np.arange(len(self.panel.code))
        first = np.append(True, self.panel.code[1:] != self.panel.code[:-1])
        outside = np.where(self.ready, np.where(first, row - 1, -1), row)
        run = row - np.maximum.accumulate(outside)
        complete = run >= self.lookback
        if self.since is not None:
            complete &= self.panel.known_at >= self.since
        ends = np.flatnonzero(complete)
        return ends if self.among is None else np.intersect1d(ends, self.among)

    def but_since(self, since: np.datetime64) -> "Windows":
        """Return the same windows without those that end before a moment."""
        return replace(self, since=since)

    def but_among(self, rows: np.ndarray) -> "Windows":
        """Return the same windows without those that end at other rows."""
        return replace(self, among=rows)

    def reaching(self, ends: np.ndarray) -> tuple["Windows", np.ndarray]:
        """Keep what forecasts from some rows read: `REACH` rows before each window of their symbols.

        Returns
        -------
        windows : Windows
            Over the panel's rows that are left.
        ends : ndarray of int
            Where the same rows stand there.
        """
        code = self.panel.code
        codes, place = np.unique(code[ends], return_inverse=True)
        first, last = np.full(len(codes), len(code)), np.zeros(len(codes), dtype=np.int64)
        np.minimum.at(first, place, ends - self.lookback + 1 - REACH)
        np.maximum.at(last, place, ends)
        first = np.maximum(first, np.searchsorted(code, codes))
        kept = np.concatenate([np.arange(begin, end + 1) for begin, end in zip(first, last, strict=True)])
        return replace(self, panel=self.panel.rows(kept), among=None), np.searchsorted(kept, ends)

    def inputs(self, ends: np.ndarray) -> np.ndarray:
        """Gather the inputs of some windows: float32 (n, lookback, features)."""
        view = np.lib.stride_tricks.sliding_window_view(self.panel.values, self.lookback, axis=0)
        return view[ends - self.lookback + 1].transpose(0, 2, 1)

    def _announced(self, ends: np.ndarray, steps: int) -> sparse.csr_array:
        """Return what was announced for the steps 1..`steps` at some rows."""
        names = len(self.panel.ahead_names) - self.panel.ahead.shape[1]
        return self.panel.announced[ends][:, : steps * names]

    def ahead(self, ends: np.ndarray) -> np.ndarray:
        """Gather what is known ahead of each forecast session: float32 (..., horizon, ahead features).

        Parameters
        ----------
        ends : ndarray of int
            Cutoff rows, of any shape.
        """
        steps = np.arange(1, self.horizon + 1)
        last = len(self.panel.ahead) - 1
        calendar = self.panel.ahead[np.minimum(self.panel.position[ends][..., None] + steps, last)]
        announced = self._announced(ends.ravel(), self.horizon).toarray().reshape(*calendar.shape[:-1], -1)
        return np.concatenate([calendar, announced], axis=-1)

    def mean_ahead(self, ends: np.ndarray, step: int) -> np.ndarray:
        """Average what is known ahead over the sessions 1..step: float32 (n, ahead features)."""
        calendar, position = self._ahead_so_far, self.panel.position[ends]
        last = np.minimum(position + step, len(calendar) - 1)
        names = len(self.panel.ahead_names) - calendar.shape[1]
        announced = self._announced(ends, step)
        every = np.tile(np.eye(names, dtype=np.float32), (step, 1))
        return np.hstack([calendar[last] - calendar[position], announced @ every]).astype(np.float32) / step

    def means_ahead(self, ends: np.ndarray) -> np.ndarray:
        """Give `mean_ahead` of every step at once: float32 (n, horizon, ahead features)."""
        steps = np.arange(1, self.horizon + 1)
        return (np.cumsum(self.ahead(ends), axis=1, dtype=float) / steps[:, None]).astype(np.float32)

    @cached_property
    def _ahead_so_far(self) -> np.ndarray:
        return np.cumsum(self.panel.ahead, axis=0, dtype=float)

    @cached_property
    def label_rows(self) -> np.ndarray:
        """Row of the h-th session after each row, or -1 where it is not stored; int32 (rows, horizon).

        Counted on the exchange's calendar: a session that is missing from the store leaves a gap
        and does not move the later ones up.
        """
        code, position = self.panel.code.astype(np.int64), self.panel.position
        width = position.max() + self.horizon + 1
        key = code * width + position
        wanted = key[:, None] + np.arange(1, self.horizon + 1)
        found = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        return np.where(key[found] == wanted, found, -1).astype(np.int32)

    def labels(self, ends: np.ndarray, known_by: np.datetime64 | None = None) -> np.ndarray:
        """Log returns over 1..horizon sessions after each cutoff; float64 (..., horizon).

        Parameters
        ----------
        ends : ndarray of int
            Cutoff rows, of any shape.
        known_by : datetime64, optional
            UTC moment; labels that were known later are NaN, step by step.
        """
        rows = self.label_rows[ends]
        known = rows >= 0
        if known_by is not None:
            known &= self.panel.known_at[rows] <= known_by
        returns = self.panel.log_price[rows] - self.panel.log_price[ends][..., None]
        return np.where(known, returns, np.nan)

    def last_end(self, symbol: str) -> int:
        """Return the row of a symbol's last session, if a window ends there.

        Raises
        ------
        TooLittleHistory
            If it has too few sessions, or an input of the last ones is not known.
        """
        code = self.panel.symbols.index(symbol)
        # In the type of the codes: any other would have them all converted.
        first, stop = np.searchsorted(self.panel.code, np.array([code, code + 1], self.panel.code.dtype))
        if stop - first < self.lookback + WARM_UP:
            raise TooLittleHistory(
                f"{symbol}: {stop - first} sessions are too few; a forecast reads {self.lookback} sessions, "
                f"each with {WARM_UP} before it: bring at least {self.lookback + WARM_UP}"
            )
        last = int(stop - 1)
        # Not by `ends`: of all rows but these nothing is asked.
        is_end = self._are_ready(slice(stop - self.lookback, stop)).all()
        is_end &= self.since is None or self.panel.known_at[last] >= self.since
        is_end &= self.among is None or last in self.among
        if not is_end:
            day = np.datetime_as_string(self.panel.session[last], "D")
            raise TooLittleHistory(
                f"{symbol}: an input of the {self.lookback} sessions up to {day} is not known; "
                f"bring the missing prices and try again"
            )
        return last


@dataclass(frozen=True)
class Segments:
    """Overlapping windows laid into longer stretches that a network reads once.

    A segment starts with `lookback` - 1 burn-in rows; each of the `stride` rows after them is the
    cutoff of a window, read from the segment's start on. Every cutoff stands in one segment.

    Attributes
    ----------
    rows : ndarray of int64, (segments, lookback - 1 + stride)
        Rows of the panel; clipped to the symbol's own where a segment sticks out.
    is_cutoff : ndarray of bool, same shape
        Whether the row is a cutoff to learn from.
    """

    rows: np.ndarray
    is_cutoff: np.ndarray

    @classmethod
    def cover(cls, windows: Windows, cutoffs: np.ndarray, stride: int, offset: int = 0) -> "Segments":
        """Lay segments over cutoffs.

        Parameters
        ----------
        cutoffs : ndarray of int
            Rows among ``windows.ends``, ascending.
        stride : int
            Cutoffs per segment.
        offset : int
            Moves the cuts between segments, 0 <= offset < stride, so that epochs differ.
        """
        panel, burn_in = windows.panel, windows.lookback - 1
        chosen = np.zeros(len(panel.code), dtype=bool)
        chosen[cutoffs] = True
        rows, flags = [], []
        for code in np.unique(panel.code[cutoffs]):
            mine = np.flatnonzero(panel.code == code)
            own = cutoffs[panel.code[cutoffs] == code]
            # As many segments for every offset: an epoch's length must not depend on the cuts.
            count = (own[-1] - own[0] + 2 * stride - 1) // stride
            starts = own[0] - offset + stride * np.arange(count)
            steps = starts[:, None] + np.arange(-burn_in, stride)
            inside = np.clip(steps, mine[0], mine[-1])
            rows.append(inside)
            flags.append(chosen[inside] & (inside == steps) & (np.arange(-burn_in, stride) >= 0))
        return cls(np.concatenate(rows), np.concatenate(flags))
