"""Append-only Delta tables in a folder; any earlier state can be read again.

Nothing is updated in place: a corrected row is appended, and a read keeps, for each key, the
row recorded last. Delta commits are atomic and readers work on a snapshot, so a reader never
waits for a writer and a process killed half way leaves no half-written rows.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import pyarrow as arrow
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow import compute, dataset
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from forecaster.errors import StoreError
from forecaster.tables import TABLES, Table, table

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Rows = TypeVar("Rows", bound=Sized)

ATTEMPTS = 5

SPARE = 2**20
"""Bytes that must be free beyond the rows to be written, for the log of the table."""

MOST_FILES = 16
"""Files of a table beyond which they are laid together: each costs a read a millisecond."""

MOST_KEPT = 50_000
"""Rows of a read up to which it is kept until the next commit."""

MOST_READS = 32
"""Reads of a table that are kept at a time."""


Clock = Callable[[], pd.Timestamp]
"""Tells the present moment, in UTC."""


class Span(NamedTuple):
    """First and last session of a symbol's prices, and their source."""

    first: pd.Timestamp
    last: pd.Timestamp
    source: str


def now() -> pd.Timestamp:
    """Return the present moment in UTC, in the stored precision (microseconds)."""
    return pd.Timestamp.now(tz="UTC").floor("us")


def _clear_errors(
    method: Callable[Concatenate["Store", Arguments], Result],
) -> Callable[Concatenate["Store", Arguments], Result]:
    @wraps(method)
    def guarded(store: "Store", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return method(store, *args, **kwargs)
        except (OSError, DeltaError, arrow.ArrowInvalid) as error:
            raise StoreError(
                f"The data folder {store.folder} cannot be read or written ({_reason(error)}); "
                f"check its path, permissions and free space, or choose another with --home"
            ) from error

    return guarded


def _reason(error: Exception) -> str:
    """Tell the cause in one line: the libraries below spread it over coloured lines."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip(" \t\u21b3") for line in str(error).splitlines()]
    return ": ".join([line for line in lines if line][:3]) or type(error).__name__


Conditions = tuple[Any, ...]


class _Opened:
    """A table as it was opened, and what has been read of it.

    Attributes
    ----------
    log : tuple of int
        What the folder of its log looked like then.
    version : int
    rows : Dataset
    """

    def __init__(self, log: tuple[int, int, int], folder: Path) -> None:
        held = DeltaTable(str(folder))
        self.log, self.version = log, held.version()
        files = SubTreeFileSystem(str(folder), LocalFileSystem())
        self.rows: dataset.Dataset = held.to_pyarrow_dataset(filesystem=files)
        self._read: dict[Conditions, Any] = {}

    def latest(self, column: str) -> pd.Timestamp:
        """Return the latest moment of a column, from the statistics of its files alone."""
        groups = (group for file in self.rows.get_fragments() for group in file.row_groups)
        return pd.Timestamp(max(group.statistics[column]["max"] for group in groups))

    def once(self, asked: Conditions, read: Callable[[], Rows]) -> Rows:
        """Read unless the same was read before; what is large is not kept."""
        found = self._read.get(asked)
        if found is None:
            found = read()
            if len(found) <= MOST_KEPT:
                if len(self._read) >= MOST_READS:
                    self._read.clear()
                self._read[asked] = found
        return found


class Store:
    """The tables of one workspace.

    Parameters
    ----------
    folder : Path
        Parent of the table folders; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[str, _Opened] = {}

    @_clear_errors
    def append(self, name: str, frame: pd.DataFrame) -> int:
        """Append rows to a table in one atomic commit and return how many.

        They hold from then on, whatever a clock said before: a row that would be older than the one it
        replaces is recorded just after it.

        Parameters
        ----------
        name : str
            A name in `tables.TABLES`.
        frame : DataFrame
            Exactly the table's columns, in any order; session columns as timestamps or dates.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        spec = table(name)
        if frame.empty:
            return 0
        rows = self._in_order(_to_arrow(frame, spec), spec)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Asked first, because the writer itself prints more than an error when a disk is full.
        if shutil.disk_usage(self.folder).free < rows.nbytes + SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                # Merge: a column that a newer version of this program added is added to the table.
                write_deltalake(str(self.folder / name), rows, mode="append", name=name, schema_mode="merge")
                break
            except CommitFailedError:
                # Another process made the table at the same moment; of this commit nothing is left.
                if attempt == ATTEMPTS:
                    raise
        return rows.num_rows

    @_clear_errors
    def rows(
        self,
        name: str,
        where: Mapping[str, Iterable[Any]] | None = None,
        since: pd.Timestamp | None = None,
        until: pd.Timestamp | None = None,
        recorded_by: pd.Timestamp | None = None,
        columns: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Read every row ever appended that fits the conditions.

        Parameters
        ----------
        name : str
            Table.
        where : mapping, optional
            Column -> accepted values.
        since, until : Timestamp, optional
            First and last session to read (column ``session``).
        recorded_by : Timestamp, optional
            UTC moment; rows recorded later are left out.
        columns : iterable of str, optional
            What to read of each row; default: all.

        Returns
        -------
        DataFrame
            Session columns as ``datetime64[ns]``; empty with the right columns if there is no table
            yet; nulls where rows are older than a column.
        """
        spec, opened = table(name), self._open(name)
        names = tuple(spec.schema.names if columns is None else columns)
        if opened is None:
            return _to_pandas(spec.schema.empty_table().select(names))
        wanted = tuple((column, tuple(values)) for column, values in (where or {}).items())
        asked = ("rows", names, wanted, since, until, recorded_by)
        found = opened.once(asked, lambda: _read(opened.rows, spec, names, wanted, since, until, recorded_by))
        # Pandas copies what is shared when one of its holders writes to it.
        return found.copy(deep=False)

    def current(self, name: str, **conditions: Any) -> pd.DataFrame:
        """Read what holds: for each key of the table the row recorded last; sorted by the key.

        Takes the conditions of `rows`.
        """
        spec = table(name)
        return _last(self.rows(name, **conditions), spec)

    @_clear_errors
    def spans(self) -> dict[str, Span]:
        """Say of each symbol how far its prices reach, without reading them."""
        opened = self._open("prices")
        return {} if opened is None else dict(opened.once(("spans",), lambda: _spans(opened.rows)))

    @_clear_errors
    def latest(self, name: str) -> pd.Timestamp | None:
        """Return the latest moment at which a row of a table was recorded; None without rows."""
        opened = self._open(table(name).name)
        return None if opened is None else opened.latest(table(name).recorded)

    @_clear_errors
    def compact(self) -> None:
        """Lay small files together where daily appends have made many; no row changes.

        Files that this replaces stay for readers that have them open, and go a week later.
        """
        for name in TABLES:
            opened = self._open(name)
            if opened is not None and len(opened.rows.files) > MOST_FILES:
                path = str(self.folder / name)
                held = DeltaTable(path)
                held.optimize.compact()
                held.vacuum(dry_run=False)
                # Whoever opens the table need not read its log from the first day on.
                DeltaTable(path).create_checkpoint()

    def _in_order(self, rows: arrow.Table, spec: Table) -> arrow.Table:
        """Move the moments of rows that would be older than what they replace."""
        opened, earliest = self._open(spec.name), compute.min(rows[spec.recorded])
        if not spec.replaces or opened is None or opened.latest(spec.recorded) < earliest.as_py():
            return rows
        columns = [*spec.replaced_by, spec.recorded]
        later = dataset.field(spec.recorded) >= earliest
        parts = [opened.rows.to_table(columns=columns, filter=later), rows.select(columns)]
        held, new = (part.to_pandas() for part in parts)
        both = pd.concat([held, new], ignore_index=True)
        fact = both.groupby(list(spec.replaced_by) or np.zeros(len(both)), dropna=False).ngroup()
        before, mine = fact[: len(held)], fact[len(held) :].reset_index(drop=True)
        last = held[spec.recorded].groupby(before).max() + pd.Timedelta(microseconds=1)
        first = new[spec.recorded].groupby(mine).transform("min")
        behind = (mine.map(last) - first).fillna(pd.Timedelta(0)).clip(lower=pd.Timedelta(0))
        at = rows.schema.get_field_index(spec.recorded)
        moved = arrow.array(new[spec.recorded] + behind, type=rows.schema.field(at).type)
        return rows.set_column(at, rows.schema.field(at), moved)

    def _open(self, name: str) -> _Opened | None:
        """Open a table as it is now; it is read anew only after a commit, which adds a file to its log."""
        self._require_readable()
        log = self.folder / name / "_delta_log"
        try:
            state = log.stat()
            seen = (state.st_ino, state.st_mtime_ns, sum(one.suffix == ".json" for one in log.iterdir()))
            if name not in self._opened or self._opened[name].log != seen:
                self._opened[name] = _Opened(seen, self.folder / name)
        except (FileNotFoundError, TableNotFoundError):
            return None
        return self._opened[name]

    @_clear_errors
    def schema(self, name: str) -> arrow.Schema | None:
        """Return the columns and types that a table has on disk, or None if it does not exist yet."""
        opened = self._open(table(name).name)
        return None if opened is None else opened.rows.schema

    @_clear_errors
    def version(self, name: str) -> int:
        """Return the Delta version of a table, or -1 if it does not exist yet."""
        opened = self._open(table(name).name)
        return -1 if opened is None else opened.version

    def _require_readable(self) -> None:
        """Raise if the folder is there and cannot be listed, which must not look like an empty store."""
        with suppress(FileNotFoundError):
            next(self.folder.iterdir(), None)


def _read(
    source: dataset.Dataset,
    spec: Table,
    names: tuple[str, ...],
    where: tuple[tuple[str, tuple[Any, ...]], ...],
    since: pd.Timestamp | None,
    until: pd.Timestamp | None,
    recorded_by: pd.Timestamp | None,
) -> pd.DataFrame:
    condition = dataset.scalar(True)
    for column, values in where:
        condition &= dataset.field(column).isin(arrow.array(values, spec.schema.field(column).type))
    if since is not None:
        condition &= dataset.field("session") >= arrow.scalar(since.date(), arrow.date32())
    if until is not None:
        condition &= dataset.field("session") <= arrow.scalar(until.date(), arrow.date32())
    if recorded_by is not None:
        moment = arrow.scalar(recorded_by.to_pydatetime(), spec.schema.field(spec.recorded).type)
        condition &= dataset.field(spec.recorded) <= moment
    stored = [name for name in names if name in source.schema.names]
    found = source.to_table(columns=stored, filter=condition)
    for at, name in enumerate(names):
        if name not in stored:
            field = spec.schema.field(name)
            found = found.add_column(at, field, arrow.nulls(len(found), field.type))
    return _to_pandas(found)


def _last(frame: pd.DataFrame, spec: Table) -> pd.DataFrame:
    """Keep of each key the row recorded last, sorted by the key."""
    # Numbers in the order of the values: sorting millions of names takes ten times as long.
    *key, recorded = (
        pd.factorize(frame[column], sort=True, use_na_sentinel=False)[0]
        for column in (*spec.key, spec.recorded)
    )
    order = np.lexsort([recorded, *reversed(key)])
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = np.any([np.diff(one[order]) != 0 for one in key], axis=0)
    return frame.iloc[order[is_last]].reset_index(drop=True)


def _spans(source: dataset.Dataset) -> dict[str, Span]:
    columns = source.to_table(columns=["symbol", "session", "source"])
    ends = [("session", "min"), ("session", "max"), ("source", "max")]
    spans = columns.group_by("symbol").aggregate(ends).to_pylist()
    return {
        row["symbol"]: Span(
            pd.Timestamp(row["session_min"]).as_unit("ns"),
            pd.Timestamp(row["session_max"]).as_unit("ns"),
            row["source_max"],
        )
        for row in spans
    }


def _to_arrow(frame: pd.DataFrame, spec: Table) -> arrow.Table:
    arrays = []
    for field in spec.schema:
        column = frame[field.name]
        if arrow.types.is_date(field.type):
            column = pd.to_datetime(column).dt.date
        arrays.append(arrow.array(column, type=field.type, from_pandas=True))
    # The writer keeps the order of rows within a chunk only.
    return arrow.table(arrays, schema=spec.schema).combine_chunks()


def _to_pandas(rows: arrow.Table) -> pd.DataFrame:
    frame = rows.to_pandas(date_as_object=False)
    for field in rows.schema:
        if arrow.types.is_date(field.type):
            frame[field.name] = frame[field.name].astype("datetime64[ns]")
    return frame
