"""Compare what is computed for the past with and without another future."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from forecaster.errors import DataError, TooLittleHistory, UsageError
from forecaster.evaluation.perturbation import REWRITINGS, known_at
from forecaster.history import History

ROUNDING = 1e-9
"""Relative difference of two numbers that counts as rounding, where not every bit is promised."""

ROW = "the row"
"""Stands for a column where a whole row is there once and missing once."""


@dataclass(frozen=True)
class Leak:
    """The first cell of the past, by session, symbol and column, that another future moves.

    Attributes
    ----------
    what : str
        The subject: inputs, windows, labels, a model, a function.
    feature : str
        Column, with step, offset or model where the table has such.
    symbol : str
    session : Timestamp
        Of the row; of a forecast, the cutoff.
    cutoff : Timestamp
        UTC moment whose future was rewritten.
    before, after : object
        Value of the cell with the true future and with another one.
    reason : str
        What is wrong with that, and what to do.
    also : tuple of str
        Further columns that moved.
    """

    what: str
    feature: str
    symbol: str
    session: pd.Timestamp
    cutoff: pd.Timestamp
    before: object
    after: object
    reason: str
    also: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """One line: where, what, why, what to do."""
        more = f" (also {', '.join(self.also[:3])}{', ...' * (len(self.also) > 3)})" if self.also else ""
        return (
            f"Leak in {self.what}: {self.feature} of {self.symbol} at {self.session.date()} is "
            f"{_shown(self.before)}, but {_shown(self.after)} {self.reason}{more}"
        )


@dataclass(frozen=True)
class Check:
    """What was compared of one subject, and what came of it.

    Attributes
    ----------
    what : str
    features : int
        Columns compared.
    cutoffs : int
        Moments whose future was rewritten.
    cells : int
        Pairs of values compared; those unknown both times do not count.
    leak : Leak or None
    still : tuple of str
        Columns that no rewriting moved anywhere, not even after the cutoff.
    note : str
        What limits the check; may be empty.
    """

    what: str
    features: int
    cutoffs: int
    cells: int
    leak: Leak | None = None
    still: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Subject:
    """Cells that are computed from a history.

    Attributes
    ----------
    what : str
    view : callable
        From what a history was prepared to, and a UTC moment, to a table with a unique index: symbol, the
        session `dated` by whose close a row was known, and more where need be. Rows known after the
        moment may be among them.
    dated : str
        "session", or "cutoff" for forecasts.
    exact : bool
        Whether every bit counts; else `ROUNDING` is let pass.
    """

    what: str
    view: Callable[[Any, np.datetime64], pd.DataFrame]
    dated: str = "session"
    exact: bool = True


def compare(
    subjects: Sequence[Subject],
    prepare: Callable[[History], Any],
    history: History,
    truth: Any,
    moments: np.ndarray,
    rewritings: Sequence[str] = tuple(REWRITINGS),
    seed: int = 0,
) -> list[Check]:
    """Rewrite the future of each moment in each way, and look for cells of the past that move.

    A rewritten history that is too short to be prepared is left out, and noted.

    Parameters
    ----------
    prepare : callable
        From a history to what the subjects' views read.
    truth : object
        What it gives for `history`.

    Raises
    ------
    UsageError
        If a subject gives two answers on one history.
    TooLittleHistory
        If a subject has not one value to compare.
    """
    tallies = [_Tally(subject, history) for subject in subjects]
    for number, moment in enumerate(moments):
        true = [subject.view(truth, moment) for subject in subjects]
        for name in rewritings:
            try:
                other = prepare(REWRITINGS[name](history, moment, seed + number))
            except DataError as error:
                for tally in tallies:
                    tally.failures.append(str(error))
                continue
            for tally, cells in zip(tallies, true, strict=True):
                if tally.add(cells, tally.subject.view(other, moment), moment, name):
                    again = tally.subject.view(prepare(history), moment)
                    tally.require_one_answer(cells, again)
    return [tally.check(len(moments)) for tally in tallies]


@dataclass
class _Tally:
    """What has been compared of one subject so far."""

    subject: Subject
    history: History
    cells: int = 0
    moved: dict[str, bool] = field(default_factory=dict)
    found: list[tuple[str, Leak]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, before: pd.DataFrame, after: pd.DataFrame, moment: np.datetime64, rewriting: str) -> bool:
        """Compare two tables; return whether this is the first pair with a leak."""
        pair = _Pair.of(before, after, self.subject.exact)
        past = pair.known_at(self.subject.dated, self.history) <= moment
        anywhere = pair.columns_moved()
        self.moved |= {name: self.moved.get(name, False) or name in anywhere for name in pair.columns}
        self.cells += int(pair.known[past].sum())
        if not pair.columns_moved(past):
            return False
        self.found.append(pair.first_moved(past, self.subject, moment, rewriting))
        return len(self.found) == 1

    def require_one_answer(self, before: pd.DataFrame, again: pd.DataFrame) -> None:
        """Raise UsageError if two runs on one history differ: that tells nothing about leaks."""
        differing = _Pair.of(before, again, self.subject.exact).columns_moved()
        if differing:
            raise UsageError(
                f"{self.subject.what}: two runs on one and the same history differ in {differing[0]}, so "
                f"nothing can be said about leaks; make it deterministic (fix the seed of its random numbers)"
            )

    def check(self, cutoffs: int) -> Check:
        failed = len(self.failures)
        note = f"{failed} rewritten histories left out, such as: {self.failures[0]}" if failed else ""
        what = self.subject.what
        if not self.cells:
            raise TooLittleHistory(f"{what}: no value to compare; bring a longer history. {note}".rstrip())
        still = tuple(name for name, moved in self.moved.items() if not moved and name != ROW)
        return Check(what, len(self.moved) - 1, cutoffs, self.cells, self._leak(), still, note)

    def _leak(self) -> Leak | None:
        if not self.found:
            return None
        order = list(self.moved)
        column, first = min(self.found, key=lambda one: (one[1].session, one[1].symbol, order.index(one[0])))
        others = {name for column, leak in self.found for name in (column, *leak.also)} - {column}
        return replace(first, also=tuple(name for name in order if name in others))


@dataclass(frozen=True)
class _Pair:
    """Two tables of one subject laid side by side, both with `ROW` as their first column.

    A row without any known value may as well be missing.

    Attributes
    ----------
    moved, known : ndarray of bool, (rows, columns)
        Whether the two values differ; whether one of them at least is known.
    """

    before: pd.DataFrame
    after: pd.DataFrame
    moved: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, before: pd.DataFrame, after: pd.DataFrame, exact: bool) -> "_Pair":
        index = before.index if before.index.equals(after.index) else before.index.union(after.index)
        columns = [ROW, *dict.fromkeys([*before.columns, *after.columns])]
        before, after = (
            one.reindex(index=index, columns=columns).assign(
                **{ROW: np.where(index.isin(one.index), "there", "missing")}
            )
            for one in (before, after)
        )
        moved = np.column_stack([_differ(before[name], after[name], exact) for name in columns])
        known = (before.notna() | after.notna()).to_numpy()
        # One word for a row that is missing, not one for each of its cells.
        moved[moved[:, 0], 1:] = False
        known[:, 0] = False
        moved[~known.any(axis=1), 0] = False
        return cls(before, after, moved, known)

    @property
    def columns(self) -> list[str]:
        return list(self.before.columns)

    def known_at(self, dated: str, history: History) -> np.ndarray:
        keys = self.before.index.to_frame(index=False)
        return known_at(keys["symbol"], keys[dated], history.instruments)

    def columns_moved(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        return [self.columns[place] for place in np.flatnonzero(self.moved[rows].any(axis=0))]

    def first_moved(
        self, past: np.ndarray, subject: Subject, moment: np.datetime64, rewriting: str
    ) -> tuple[str, Leak]:
        """Return the first cell that moved among some rows, and its column."""
        rows = np.flatnonzero(past & self.moved.any(axis=1))
        keys = self.before.index[rows].to_frame(index=False)
        row = rows[keys.sort_values([subject.dated, "symbol"], kind="stable").index[0]]
        place = int(np.argmax(self.moved[row]))
        key = dict(zip(self.before.index.names, self.before.index[row], strict=True))
        column = self.columns[place]
        more = [f"{name} {value}" for name, value in key.items() if name not in ("symbol", subject.dated)]
        cutoff = pd.Timestamp(moment, tz="UTC")
        leak = Leak(
            what=subject.what,
            feature=f"{column} ({', '.join(more)})" if more else column,
            symbol=str(key["symbol"]),
            session=pd.Timestamp(key[subject.dated]),
            cutoff=cutoff,
            before=self.before.iat[row, place],
            after=self.after.iat[row, place],
            reason=(
                f"once what became known after {cutoff:%Y-%m-%d %H:%M} UTC is {rewriting}; let it read bars "
                f"up to its own session only, factors whose known_at is not after the close, and events "
                f"whose known_at lies before it"
            ),
            also=tuple(name for name in self.columns_moved(past) if name != column),
        )
        return column, leak


def _differ(before: pd.Series, after: pd.Series, exact: bool) -> np.ndarray:
    if is_numeric_dtype(before) and is_numeric_dtype(after):
        x, y = (one.to_numpy(dtype=float, na_value=np.nan) for one in (before, after))
        rounding = 0.0 if exact else max(ROUNDING, 4 * _precision(before))
        size = np.abs(x[np.isfinite(x)]).max(initial=0.0)
        return ~np.isclose(x, y, rtol=rounding, atol=rounding * 1e-3 * size, equal_nan=True)
    x, y = before.to_numpy(dtype=object), after.to_numpy(dtype=object)
    return ~((x == y) | (before.isna() & after.isna()).to_numpy())


def _precision(column: pd.Series) -> float:
    dtype = column.to_numpy().dtype
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _shown(value: Any) -> str:
    if pd.isna(value):
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
