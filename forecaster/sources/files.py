"""Prices from the user's own files: CSV or Parquet, long or one file per symbol.

A file is taken whole or not at all: the first faulty cell is named with file, row and column.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.errors import FileFormatError, UsageError
from forecaster.instruments import SYMBOL_PATTERN, Instrument, normalise
from forecaster.sessions import all_sessions, calendar, positions
from forecaster.sources import BAR_COLUMNS, Fetched, Outcome, Searched, fitting
from forecaster.tables import problems

RECOGNISED: dict[str, tuple[str, ...]] = {
    "session": ("session", "date", "datetime", "timestamp", "time", "day"),
    "symbol": ("symbol", "ticker", "name", "code"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "last", "price"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "adjusted"),
    "volume": ("volume", "vol"),
}
"""Our column -> the names by which a file may call it (case, spaces and dots do not matter)."""

NUMBERS = ("open", "high", "low", "close", "adj_close", "volume")
OPTIONAL = ("symbol", "adj_close")
SUFFIXES = (".csv", ".parquet")


class FilesSource:
    """Daily bars from a file, or from every CSV and Parquet file of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder. A file without a symbol column holds one symbol, named as the file.
    columns : mapping, optional
        Our column -> the file's name for it, where the file's own is not recognised.
    exchange : str
        Market identifier code whose sessions the dates must be.
    currency : str, optional
        Default: US dollars on an exchange in New York, else left blank.
    drop_faulty : bool
        Leave faulty rows out, and tell them in `dropped`, instead of refusing the file.

    Attributes
    ----------
    dropped : DataFrame
        file, row, symbol and reason of each row left out.

    Raises
    ------
    FileFormatError
        If anything in a file does not fit: names file, row and column.

    Notes
    -----
    Prices are expected to be adjusted for splits. Without an ``adj_close`` column the close
    stands in for it, so that returns leave dividends out.
    """

    name = "files"
    remote = False

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        exchange: str = "XNYS",
        currency: str | None = None,
        drop_faulty: bool = False,
    ) -> None:
        zone = str(calendar(exchange).tz)
        self._market = {"exchange": exchange, "timezone": zone}
        self._currency = currency if currency is not None else ("USD" if zone == "America/New_York" else "")
        self._bars: dict[str, pd.DataFrame] = {}
        dropped = []
        for file in files_at(path):
            frame = _matched(file, dict(columns or {}))
            if drop_faulty:
                frame, faults = _without_faults(frame, exchange)
                dropped.append(faults.assign(file=file.name))
            for symbol, bars in _by_symbol(file, frame, exchange):
                if symbol in self._bars:
                    raise FileFormatError(f"{file.name}: {symbol} stands in an earlier file too; keep one")
                self._bars[symbol] = bars
        columns_told = ["file", "row", "symbol", "reason"]
        self.dropped = pd.concat(dropped)[columns_told] if dropped else pd.DataFrame(columns=columns_told)

    def symbols(self) -> tuple[str, ...]:
        return tuple(self._bars)

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        if symbol not in self._bars:
            return Fetched(symbol, Outcome.GONE, detail=f"the files hold only {', '.join(self._bars)}")
        bars = self._bars[symbol]
        if start is not None:
            bars = bars[bars["session"] >= start].reset_index(drop=True)
        return Fetched(symbol, Outcome.OK, bars=bars, instrument=self._instrument(symbol))

    def search(self, words: str) -> Searched:
        return Searched(Outcome.OK, fitting(words, map(self._instrument, self._bars)))

    def _instrument(self, symbol: str) -> Instrument:
        return Instrument(symbol, symbol, currency=self._currency, **self._market)


def files_at(path: Path) -> list[Path]:
    """List the CSV and Parquet files at a path, a file or a folder."""
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise FileFormatError(f"{path}: no file in this folder ends in .csv or .parquet; check the path")
        return found
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file or folder; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise FileFormatError(f"{path.name}: expected a file that ends in .csv or .parquet")
    return [path]


def _matched(file: Path, given: Mapping[str, str]) -> pd.DataFrame:
    """Read a file's columns under our names; its cells as they are, its rows by line."""
    raw = read_table(file)
    # Line 1 of a CSV is its header; a Parquet file has rows only.
    first = 2 if file.suffix.lower() == ".csv" else 1
    raw = raw.set_axis(pd.RangeIndex(first, first + len(raw))).dropna(how="all")
    if raw.empty:
        raise FileFormatError(f"{file.name} is empty: expected a header and one row per session")
    matched = _names(file, raw.columns, given)
    frame = raw[list(matched.values())].set_axis(list(matched), axis="columns")
    if "adj_close" not in frame:
        frame["adj_close"] = frame["close"]
    if "symbol" not in frame:
        frame["symbol"] = file.stem
    return frame


def _without_faults(frame: pd.DataFrame, exchange: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part the rows that would be refused from the others, and sort these.

    Returns
    -------
    sound : DataFrame
    faults : DataFrame
        row, symbol and reason of each row that is not.
    """
    tidy = frame["symbol"].astype("string").str.strip().str.upper()
    dates = as_dates(frame["session"])
    numbers = frame[list(NUMBERS)].apply(pd.to_numeric, errors="coerce").astype(float)
    reason = problems(numbers).reindex(frame.index)
    key = pd.DataFrame({"symbol": tidy, "session": dates})
    in_time = key.sort_values(["symbol", "session"]).index
    before = numbers["close"].loc[in_time].groupby(tidy.loc[in_time]).shift().reindex(frame.index)
    prices = numbers[["open", "high", "low", "close"]]
    still = (numbers["volume"] == 0) & prices.eq(before, axis=0).all(axis=1)
    reason = reason.mask(still, "no trade: volume 0 at the close before")
    reason = reason.mask(key.duplicated(), "stands twice")
    reason = reason.mask(positions(exchange, dates.to_numpy()) < 0, f"no session of {exchange}")
    reason = reason.mask(~tidy.str.fullmatch(SYMBOL_PATTERN).fillna(False).astype(bool), "no ticker")
    faulty = reason.notna()
    faults = pd.DataFrame({"row": frame.index, "symbol": frame["symbol"], "reason": reason})[faulty]
    return frame.loc[in_time[~faulty.loc[in_time]]], faults


def _by_symbol(file: Path, frame: pd.DataFrame, exchange: str) -> Iterator[tuple[str, pd.DataFrame]]:
    frame = frame.assign(session=_dates(file, frame["session"]))
    for name in NUMBERS:
        frame[name] = _numbers(file, name, frame[name])
    for label in frame.index[frame["symbol"].isna()][:1]:
        raise fault(file, label, "symbol", "missing; fill it in or remove the row")
    tidy = {text: _symbol(file, str(text)) for text in frame["symbol"].unique()}
    frame["symbol"] = frame["symbol"].map(tidy)
    for symbol, bars in frame.groupby("symbol", sort=False, observed=True):
        _check(file, str(symbol), bars, exchange)
        yield str(symbol), bars[list(BAR_COLUMNS)].reset_index(drop=True)


def _symbol(file: Path, text: str) -> str:
    try:
        return normalise(text)
    except UsageError as error:
        raise FileFormatError(f"{file.name}: {error}") from error


def read_table(file: Path) -> pd.DataFrame:
    """Read a file as it is, the cells of a CSV as text."""
    try:
        if file.suffix.lower() == ".csv":
            # Blank lines count as lines, and NA is a ticker.
            return pd.read_csv(
                file, dtype=str, skipinitialspace=True, skip_blank_lines=False,
                keep_default_na=False, na_values=[""],
            )  # fmt: skip
        return pd.read_parquet(file)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (pd.errors.ParserError, UnicodeDecodeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(
            f"{file.name} cannot be read as {file.suffix[1:].upper()}: {reason}; "
            f"save it again, as CSV (UTF-8, comma-separated) or Parquet"
        ) from error


def _names(file: Path, names: pd.Index, given: Mapping[str, str]) -> dict[str, str]:
    unknown = [ours for ours in given if ours not in RECOGNISED]
    if unknown:
        raise UsageError(f"No column {unknown[0]!r} to map; choose one of {', '.join(RECOGNISED)}")
    tidy: dict[str, list[str]] = {}
    for name in map(str, names):
        tidy.setdefault(re.sub(r"[^a-z]+", "_", name.lower()).strip("_"), []).append(name)
    matched: dict[str, str] = {}
    for ours, aliases in RECOGNISED.items():
        found = [given[ours]] if ours in given else next((tidy[name] for name in aliases if name in tidy), [])
        if len(found) > 1:
            raise FileFormatError(
                f"{file.name}: columns {' and '.join(found)} may both be {ours}; "
                f"name one with --columns {ours}=..."
            )
        theirs = found[0] if found else None
        if theirs is not None and theirs not in names:
            raise FileFormatError(f"{file.name}: no column {theirs!r}; it has {', '.join(map(str, names))}")
        if theirs is not None:
            matched[ours] = theirs
        elif ours not in OPTIONAL:
            label = "date" if ours == "session" else ours
            raise FileFormatError(
                f"{file.name}: no {label} column among {', '.join(map(str, names))}; "
                f"name it with --columns {ours}=..."
            )
    return matched


def _dates(file: Path, column: pd.Series) -> pd.Series:
    dates = as_dates(column)
    for label in column.index[dates.isna()][:1]:
        shown = "missing" if pd.isna(column[label]) else f"{str(column[label])!r} is no date"
        raise fault(file, label, "date", f"{shown}; expected YYYY-MM-DD")
    return dates


def as_dates(column: pd.Series) -> pd.Series:
    """Read the dates of a column, whatever their time zone; NaT where there is none."""
    if pd.api.types.is_datetime64_any_dtype(column):
        dates = column.dt.tz_localize(None).dt.normalize()
    else:
        parts = column.astype(str).str.extract(r"^\s*(\d{4})-?(\d{2})-?(\d{2})(?:\D|$)")
        dates = pd.to_datetime(parts[0] + "-" + parts[1] + "-" + parts[2], format="%Y-%m-%d", errors="coerce")
    return dates.where(dates.between(pd.Timestamp.min, pd.Timestamp.max)).astype("datetime64[ns]")


def _numbers(file: Path, name: str, column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    for label in column.index[numbers.isna()][:1]:
        shown = "missing" if column.isna()[label] else f"{str(column[label])!r} is no number"
        raise fault(file, label, name, f"{shown}; correct it or remove the row")
    return numbers


def _check(file: Path, symbol: str, bars: pd.DataFrame, exchange: str) -> None:
    dates = bars["session"]
    for label in bars.index[dates.duplicated()][:1]:
        raise fault(file, label, "date", f"{dates[label].date()} stands twice for {symbol}; keep one row")
    steps = np.diff(dates.to_numpy())
    for at in np.flatnonzero(steps < np.timedelta64(0, "ns"))[:1]:
        label, before = bars.index[at + 1], dates.iloc[at].date()
        raise fault(file, label, "date", f"{dates[label].date()} comes after {before}; sort {symbol} by date")
    for label in bars.index[positions(exchange, dates.to_numpy()) < 0][:1]:
        raise fault(file, label, "date", _why_no_session(dates[label], exchange))
    faults = problems(bars[list(NUMBERS)])
    for label, reason in faults.iloc[:1].items():
        more = f" (and {len(faults) - 1} more rows)" if len(faults) > 1 else ""
        raise FileFormatError(
            f"{file.name}, {_row(file, label)}, {symbol}: {reason}{more}; correct or remove it"
        )


def _why_no_session(day: pd.Timestamp, exchange: str) -> str:
    first, *_, last = all_sessions(exchange)
    if first <= day <= last:
        return f"{day.date()} is no session of {exchange}; name the right one with --exchange"
    bounds = f"{pd.Timestamp(first).date()} to {pd.Timestamp(last).date()}"
    return f"{day.date()} lies outside the calendar of {exchange}, {bounds}; remove such rows"


def _row(file: Path, label: object) -> str:
    return f"{'line' if file.suffix.lower() == '.csv' else 'row'} {label}"


def fault(file: Path, label: object, column: str, reason: str) -> FileFormatError:
    """Make the error that names a faulty cell."""
    return FileFormatError(f"{file.name}, {_row(file, label)}, column {column}: {reason}")
