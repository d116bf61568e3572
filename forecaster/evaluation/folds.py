"""Walk-forward folds: refit at a close, forecast the sessions from there to the next refit."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from forecaster.errors import TooLittleHistory, UsageError
from forecaster.windows import Windows


@dataclass(frozen=True)
class Fold:
    """One refit and the cutoffs that its model forecasts.

    Attributes
    ----------
    refit : datetime64[ns]
        UTC moment that ends the training: every label, scaler and width was known by then.
    session : datetime64[ns]
        The session whose close that is; of an outcome on it or earlier, everything was known.
    since : datetime64[ns] or None
        UTC moment that begins the training; None: the first row.
    cutoffs : ndarray of int
        Rows of the panel known from the refit on, before the next one.
    """

    refit: np.datetime64
    session: np.datetime64
    since: np.datetime64 | None
    cutoffs: np.ndarray


@dataclass(frozen=True)
class Plan:
    """When models are refitted, and on what.

    Attributes
    ----------
    test_start, test_end : Timestamp, optional
        First and last day of the cutoffs to forecast. Default of the start: as many sessions before
        the end as `test_sessions` says; of the end: the last session.
    refit : str
        How often to refit: months, such as "12m", or sessions, such as "250".
    rolling : int, optional
        Sessions to train on; default: all from the first on (expanding).
    test_sessions : int
        Sessions to test on where no start is given.
    folds : int, optional
        Instead of `refit`: that many folds of equal length.
    """

    test_start: pd.Timestamp | None = None
    test_end: pd.Timestamp | None = None
    refit: str = "12m"
    rolling: int | None = None
    test_sessions: int = 504
    folds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        days = {name: None if day is None else str(day.date()) for name, day in self._days.items()}
        return asdict(self) | days

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Rebuild what `as_json` returned."""
        days = {name: told[name] and pd.Timestamp(told[name]) for name in ("test_start", "test_end")}
        return cls(**told | days)

    @property
    def _days(self) -> dict[str, pd.Timestamp | None]:
        return {"test_start": self.test_start, "test_end": self.test_end}

    def cut(self, windows: Windows) -> list[Fold]:
        """Lay the folds over the windows of a panel.

        A label of step h is used for training at refit T only if it was known by then
        (`Windows.labels` with ``known_by``), so that training and test labels never overlap. No fold
        is empty: where nothing was traded for longer than a refit lasts, the refit is left out.

        Raises
        ------
        UsageError
            If the plan is no plan: a test without sessions, more folds than sessions, a span that
            is none.
        TooLittleHistory
            If too few sessions are left to train on.
        """
        session = windows.panel.session[windows.ends]
        known_at = windows.panel.known_at[windows.ends]
        days = np.unique(session)
        tested = self._tested(days)
        before = int(np.searchsorted(days, tested[0]))
        least = 2 * windows.horizon + windows.lookback
        if before < least:
            raise TooLittleHistory(
                f"{before} sessions with full windows before {_day(tested[0])} are too few to train on; "
                f"expected at least {least}: bring a longer history, or test on fewer sessions"
            )
        starts = self._starts(tested)
        # On several exchanges a session is over when the last of them has closed.
        panel = windows.panel
        refits = [panel.known_at[panel.session == start].max() for start in starts]
        ends = [*refits[1:], known_at[session <= tested[-1]].max() + np.timedelta64(1, "s")]
        return [
            Fold(
                refit,
                start,
                self._since(days, start, session, known_at),
                windows.ends[(known_at >= refit) & (known_at < end) & (session <= tested[-1])],
            )
            for start, refit, end in zip(starts, refits, ends, strict=True)
        ]

    def _tested(self, days: np.ndarray) -> np.ndarray:
        last = days[-1:] if self.test_end is None else np.array([self.test_end], dtype="datetime64[ns]")
        upto = days[days <= last]
        if self.test_start is not None:
            tested = upto[upto >= self.test_start.to_datetime64()]
        else:
            tested = upto[-self.test_sessions :]
            if len(upto) <= self.test_sessions:
                raise TooLittleHistory(
                    f"{len(upto)} sessions with full windows are too few to hold {self.test_sessions} back; "
                    f"bring a longer history, or name a later start of the test"
                )
        if not len(tested):
            start = "the start" if self.test_start is None else self.test_start.date()
            end = "the end" if self.test_end is None else self.test_end.date()
            raise UsageError(
                f"No session to test on from {start} to {end}; full windows reach from {_day(days[0])} to "
                f"{_day(days[-1])}"
            )
        return tested

    def _starts(self, tested: np.ndarray) -> list[np.datetime64]:
        if self.folds is not None:
            if not 1 <= self.folds <= len(tested):
                raise UsageError(f"folds: expected 1 to {len(tested)} (the test sessions), got {self.folds}")
            return [part[0] for part in np.array_split(tested, self.folds)]
        count, in_months = _span(self.refit)
        if not in_months:
            return list(tested[::count])
        first = pd.Timestamp(tested[0] if self.test_start is None else self.test_start)
        steps = range(0, 12 * (pd.Timestamp(tested[-1]).year - first.year + 1) + 1, count)
        edges = [(first + pd.DateOffset(months=step)).to_datetime64() for step in steps]
        places = np.unique(np.searchsorted(tested, np.array(edges, dtype=tested.dtype)))
        return list(tested[places[places < len(tested)]])

    def _since(
        self, days: np.ndarray, start: np.datetime64, session: np.ndarray, known_at: np.ndarray
    ) -> np.datetime64 | None:
        if self.rolling is None:
            return None
        if self.rolling < 1:
            raise UsageError(f"rolling: expected at least one session to train on, got {self.rolling}")
        first = days[max(0, int(np.searchsorted(days, start)) + 1 - self.rolling)]
        return known_at[session == first].min()


def _span(text: str) -> tuple[int, bool]:
    found = re.fullmatch(r"([1-9]\d*)(m?)", text.strip().lower())
    if not found:
        raise UsageError(f"refit: expected months such as 12m, or sessions such as 250, got {text!r}")
    return int(found[1]), bool(found[2])


def _day(moment: np.datetime64) -> str:
    return np.datetime_as_string(moment, "D")
