"""Append-only Delta tables in a folder; any earlier state can be read again.

Nothing is updated in place: a corrected row is appended, and a read keeps, for each key, the
row recorded last. Delta commits are atomic and readers work on a snapshot, so a reader never
waits for a writer and a process killed half way leaves no half-written rows.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd
import pyarrow as arrow
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow import dataset

from forecaster.errors import StoreError
from forecaster.tables import Table, table

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

ATTEMPTS = 5


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
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StoreError(
                f"The data folder {store.folder} cannot be read or written ({reason}); check its path, "
                f"permissions and free space, or choose another with --home"
            ) from error

    return guarded


class Store:
    """The tables of one workspace.

    Parameters
    ----------
    folder : Path
        Parent of the table folders; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @_clear_errors
    def append(self, name: str, frame: pd.DataFrame) -> int:
        """Append rows to a table in one atomic commit and return how many.

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
        rows = _to_arrow(frame, spec)
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                write_deltalake(str(self.folder / name), rows, mode="append", name=name)
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
        until: pd.Timestamp | None = None,
        recorded_by: pd.Timestamp | None = None,
    ) -> pd.DataFrame:
        """Read every row ever appended that fits the conditions.

        Parameters
        ----------
        name : str
            Table.
        where : mapping, optional
            Column -> accepted values.
        until : Timestamp, optional
            Last session to read (column ``session``).
        recorded_by : Timestamp, optional
            UTC moment; rows recorded later are left out.

        Returns
        -------
        DataFrame
            Session columns as ``datetime64[ns]``; empty with the right columns if there is no table yet.
        """
        spec = table(name)
        self._require_readable()
        try:
            source = DeltaTable(str(self.folder / name)).to_pyarrow_dataset()
        except TableNotFoundError:
            return _to_pandas(spec.schema.empty_table())
        condition = dataset.scalar(True)
        for column, values in (where or {}).items():
            condition &= dataset.field(column).isin(arrow.array(list(values), spec.schema.field(column).type))
        if until is not None:
            condition &= dataset.field("session") <= arrow.scalar(until.date(), arrow.date32())
        if recorded_by is not None:
            moment = arrow.scalar(recorded_by.to_pydatetime(), spec.schema.field(spec.recorded).type)
            condition &= dataset.field(spec.recorded) <= moment
        return _to_pandas(source.to_table(columns=spec.schema.names, filter=condition))

    def current(self, name: str, **conditions: Any) -> pd.DataFrame:
        """Read what holds: for each key of the table the row recorded last; sorted by the key.

        Takes the conditions of `rows`.
        """
        spec = table(name)
        frame = self.rows(name, **conditions).sort_values(spec.recorded, kind="stable")
        return frame.drop_duplicates(list(spec.key), keep="last").sort_values(
            list(spec.key), ignore_index=True
        )

    @_clear_errors
    def version(self, name: str) -> int:
        """Return the Delta version of a table, or -1 if it does not exist yet."""
        path = str(self.folder / table(name).name)
        self._require_readable()
        return DeltaTable(path).version() if DeltaTable.is_deltatable(path) else -1

    def _require_readable(self) -> None:
        """Raise if the folder is there and cannot be listed, which must not look like an empty store."""
        with suppress(FileNotFoundError):
            next(self.folder.iterdir(), None)


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
