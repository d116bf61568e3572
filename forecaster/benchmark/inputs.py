"""The files of a benchmark: prices, a market, macro series, company events; read into a history."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.errors import FileFormatError
from forecaster.history import History, history_of
from forecaster.sessions import closes, positions
from forecaster.sources.files import FilesSource, as_dates

VOLATILITY_INDEX = ("vix_close", "vix", "volatility_index", "^vix")
"""Columns of a macro file that are the volatility index, the first that is there."""

AFTER_THE_CLOSE = pd.Timedelta(minutes=15)
"""The volatility index is settled a quarter of an hour after the stocks: it counts a session later."""

EVENT_SHAPES = (
    {"symbol", "kind", "known_at"},
    {"ticker", "accept_utc", "is_results_202"},
    {"ticker", "announce_utc", "surprise_pct"},
)
"""Columns that a file of company events has: the events table's, filings', or announced results'."""

RETURN = re.compile(r"(^|[^a-z])ret(urns?)?([^a-z]|$)")
LARGEST_RETURN = 0.5
LEVELS = ("market_index", "close", "adj_close", "index", "level")


@dataclass(frozen=True)
class Inputs:
    """What a benchmark reads.

    Attributes
    ----------
    history : History
    notes : list of str
        What each file was used for, in sentences for a reader.
    dropped : DataFrame
        file, row, symbol and reason of each faulty row of the price file.
    """

    history: History
    notes: list[str] = field(default_factory=list)
    dropped: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_inputs(
    prices: Path,
    market: Path | None = None,
    macro: Path | None = None,
    events: Path | None = None,
    exchange: str = "XNYS",
    columns: Mapping[str, str] | None = None,
) -> Inputs:
    """Read the files.

    Parameters
    ----------
    prices : Path
        CSV or Parquet, long, as `sources.files.FilesSource` reads it, prices adjusted for splits.
        Faulty rows are left out and told.
    market : Path, optional
        date, then columns. The first with the word "ret" or "return" in its name is the market's
        simple return of the session; else the first named market_index, close, adj_close, index or
        level, or the only one, is its level.
        Known at the session's close.
    macro : Path, optional
        date, then levels; VIX_CLOSE (or VIX, volatility_index) is the volatility index, known a
        quarter of an hour after the close, so that a forecast sees the session before's.
    events : Path, optional
        Company events; checked and counted, but no model uses them yet.
    exchange : str
        Whose sessions the dates are.
    columns : mapping, optional
        Our column -> the price file's name for it.

    Raises
    ------
    FileFormatError
        If a file holds nothing that can be used.
    """
    files = FilesSource(prices, columns, exchange, drop_faulty=True)
    fetched = [files.fetch(symbol) for symbol in files.symbols()]
    instruments = {one.symbol: one.instrument for one in fetched if one.instrument is not None}
    if not instruments:
        raise FileFormatError(
            f"{prices.name}: every row is faulty ({_first(files.dropped)}); correct the file"
        )
    bars = pd.concat([one.bars.assign(symbol=one.symbol) for one in fetched], ignore_index=True)
    factors, notes = [], []
    if market is not None:
        rows, note = _market(market, exchange)
        factors.append(rows)
        notes.append(note)
    else:
        notes.append("No market file: the market is the mean of the other symbols.")
    if macro is not None:
        rows, note = _macro(macro, exchange)
        factors.append(rows)
        notes.append(note)
    if events is not None:
        notes.append(_events(events))
    history = history_of(
        bars.assign(source=files.name),
        instruments,
        pd.concat(factors, ignore_index=True) if factors else None,
    )
    return Inputs(history, notes, files.dropped)


def _first(dropped: pd.DataFrame) -> str:
    row = dropped.iloc[0]
    return f"row {row['row']}: {row['reason']}"


def _market(path: Path, exchange: str) -> tuple[pd.DataFrame, str]:
    table = _series(path, exchange)
    returns = [name for name in table.columns if RETURN.search(str(name).lower())]
    only = list(table.columns) if table.shape[1] == 1 else []
    levels = [name for name in LEVELS if name in table.columns] or only
    if returns:
        column = returns[0]
        simple = table[column].dropna()
        if (simple.abs() > LARGEST_RETURN).any():
            raise FileFormatError(
                f"{path.name}: column {column} moves by {simple.abs().max():.2f}; expected returns such as "
                f"0.01 for one per cent"
            )
        level = (1 + simple).cumprod()
    elif levels:
        column = levels[0]
        level = table[column].dropna()
    else:
        raise FileFormatError(
            f"{path.name}: no return (a name with 'ret' or 'return' in it) or level ({', '.join(LEVELS)}) "
            f"among {', '.join(map(str, table.columns))}; rename the market's column"
        )
    return _factor("market_index", level, exchange), f"Market: column {column} of {path.name}."


def _macro(path: Path, exchange: str) -> tuple[pd.DataFrame, str]:
    table = _series(path, exchange)
    lower = {str(name).lower(): name for name in table.columns}
    found = [lower[name] for name in VOLATILITY_INDEX if name in lower]
    if not found:
        return _factor("volatility_index", pd.Series(dtype=float, index=table.index[:0]), exchange), (
            f"No volatility index ({', '.join(VOLATILITY_INDEX)}) in {path.name}. Not used yet: "
            f"{', '.join(map(str, table.columns))}."
        )
    rows = _factor("volatility_index", table[found[0]].dropna(), exchange)
    rows["known_at"] += AFTER_THE_CLOSE
    others = [str(name) for name in table.columns if name != found[0]]
    note = f"Volatility index: column {found[0]} of {path.name}, one session late."
    return rows, note + (f" Not used yet: {', '.join(others)}." if others else "")


def _events(path: Path) -> str:
    table = _table(path)
    if not any(shape <= set(map(str, table.columns)) for shape in EVENT_SHAPES):
        shapes = "; or ".join(", ".join(sorted(shape)) for shape in EVENT_SHAPES)
        raise FileFormatError(f"{path.name}: no file of company events; expected the columns {shapes}")
    return f"Company events: {len(table)} rows of {path.name}, which no model uses yet."


def _series(path: Path, exchange: str) -> pd.DataFrame:
    """Read a wide file of daily series: sessions as index, in order, columns as they are named."""
    table = _table(path)
    names = [name for name in table.columns if str(name).lower() in ("date", "session")]
    if not names:
        raise FileFormatError(f"{path.name}: no date column among {', '.join(map(str, table.columns))}")
    dates = as_dates(table.pop(names[0]))
    numbers = table.apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan).astype(float)
    numbers.index = pd.DatetimeIndex(dates)
    is_session = positions(exchange, numbers.index.to_numpy()) >= 0
    kept = numbers[is_session].sort_index()
    if kept.empty or kept.index.has_duplicates:
        problem = "no row is of a session" if kept.empty else "a date stands twice"
        raise FileFormatError(f"{path.name}: {problem}; expected one row per session of {exchange}")
    return kept


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file; check the path")
    try:
        return pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(f"{path.name} cannot be read as CSV or Parquet: {reason}") from error


def _factor(name: str, level: pd.Series, exchange: str) -> pd.DataFrame:
    sessions = level.index.to_numpy()
    known_at = pd.DatetimeIndex(closes(exchange, sessions)).tz_localize("UTC")
    positive = (level > 0).to_numpy()
    return pd.DataFrame(
        {"name": name, "symbol": "", "session": sessions, "value": level.to_numpy(), "known_at": known_at}
    )[positive]
