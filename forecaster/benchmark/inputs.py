"""The files of a benchmark: prices, a market, macro series, company events; read into a history."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.errors import FileFormatError
from forecaster.events import BACKFILL, KINDS, KNOWN_AHEAD, no_events
from forecaster.features.sectors import PREFIX
from forecaster.history import History, history_of
from forecaster.sessions import all_sessions, closes, positions
from forecaster.sources.event_files import read_events
from forecaster.sources.files import FilesSource, as_dates

VOLATILITY_INDEX = ("vix_close", "vix", "volatility_index", "^vix")
"""Columns of a macro file that are the volatility index, the first that is there."""

AFTER_THE_CLOSE = pd.Timedelta(minutes=15)
"""The volatility index is settled a quarter of an hour after the stocks: it counts a session later."""

RATES = {
    "rate_10y": ("dgs10", "rate_10y", "^tnx"),
    "rate_3m": ("dgs3mo", "dtb3", "rate_3m", "^irx"),
    "rate_2y": ("dgs2", "rate_2y"),
}
"""Factor -> columns of a macro file that are that yield in per cent, the first that is there."""

TERM_SPREAD = "t10y2y"
"""Column with the ten-year yield less the two-year one, from which the latter comes if it is not there."""

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
    events: Sequence[Path] = (),
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
        date, then columns, each known at the session's close. Those whose name begins with "sector_" are
        sector indices: simple returns if the word "ret" or "return" is in the name, else levels. Of the
        others the first with that word is the market's simple return of the session; else the first
        named market_index, close, adj_close, index or level, or the only one, is its level.
    macro : Path, optional
        date, then levels. VIX_CLOSE (or VIX, volatility_index) is the volatility index, known a
        quarter of an hour after the close, so that a forecast sees the session before's. Yields in per
        cent are known at the close of the session after, since they are published later: DGS10 (or
        rate_10y) and, for the slope, DGS3MO (or DTB3, rate_3m), else DGS2 (or T10Y2Y beside DGS10).
    events : sequence of Path
        Company events and announced dates, see `sources.event_files.read_events`; those of symbols
        without a price are left out.
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
    factors: list[pd.DataFrame] = []
    notes = ["No market file: the market is the mean of the other symbols."]
    if market is not None:
        factors, notes = _market(market, exchange)
    if macro is not None:
        rows, said = _macro(macro, exchange)
        factors, notes = factors + rows, notes + said
    told = [read_events(path, exchange) for path in events]
    every = pd.concat(told, ignore_index=True) if told else no_events()
    own = every[every["symbol"].isin(list(instruments))].reset_index(drop=True)
    history = history_of(
        bars.assign(source=files.name),
        instruments,
        pd.concat(factors, ignore_index=True) if factors else None,
        own,
    )
    if told:
        notes.append(_about_events(events, every, own, history))
    return Inputs(history, notes, files.dropped)


def _first(dropped: pd.DataFrame) -> str:
    row = dropped.iloc[0]
    return f"row {row['row']}: {row['reason']}"


def _market(path: Path, exchange: str) -> tuple[list[pd.DataFrame], list[str]]:
    table = _series(path, exchange)
    sectors = [str(name) for name in table.columns if str(name).lower().startswith(PREFIX)]
    rows = [_factor(name.lower(), _level(table[name], path), exchange) for name in sectors]
    notes = [f"Sectors: columns {', '.join(sectors)} of {path.name}."] if sectors else []
    others = table.drop(columns=sectors)
    returns = [name for name in others.columns if _is_return(name)]
    only = list(others.columns) if others.shape[1] == 1 else []
    found = returns or [name for name in LEVELS if name in others.columns] or only
    if found:
        rows.append(_factor("market_index", _level(others[found[0]], path), exchange))
        return rows, [f"Market: column {found[0]} of {path.name}.", *notes]
    if sectors:
        return rows, [f"No market in {path.name}: it is the mean of the other symbols.", *notes]
    raise FileFormatError(
        f"{path.name}: no return (a name with 'ret' or 'return' in it) or level ({', '.join(LEVELS)}) "
        f"among {', '.join(map(str, table.columns))}; rename the market's column"
    )


def _is_return(name: object) -> bool:
    return RETURN.search(str(name).lower()) is not None


def _level(column: pd.Series, path: Path) -> pd.Series:
    """Return a column's levels above zero; a column of simple returns is chained."""
    values = column.dropna()
    if not _is_return(column.name):
        return values[values > 0]
    if (values.abs() > LARGEST_RETURN).any():
        raise FileFormatError(
            f"{path.name}: column {column.name} moves by {values.abs().max():.2f}; expected returns such as "
            f"0.01 for one per cent"
        )
    return (1 + values).cumprod()


def _macro(path: Path, exchange: str) -> tuple[list[pd.DataFrame], list[str]]:
    table = _series(path, exchange).rename(columns=str)
    place = {name.lower(): name for name in reversed(table.columns)}
    rows, notes, used = [], [], []
    if fear := _first_of(VOLATILITY_INDEX, place):
        index = _factor("volatility_index", _level(table[fear], path), exchange)
        rows.append(index.assign(known_at=index["known_at"] + AFTER_THE_CLOSE))
        notes.append(f"Volatility index: column {fear} of {path.name}, one session late.")
        used.append(fear)
    else:
        notes.append(f"No volatility index ({', '.join(VOLATILITY_INDEX)}) in {path.name}.")
    if rates := _rates(table, place):
        rows += [_factor(name, values.dropna(), exchange, later=1) for name, (_, values) in rates.items()]
        columns = [column for column, _ in rates.values()]
        notes.append(f"Rates: columns {', '.join(columns)} of {path.name}, one session late.")
        used += columns
    if left := [name for name in table.columns if name not in used]:
        notes.append(f"Not used of {path.name}: {', '.join(left)}.")
    return rows, notes


def _rates(table: pd.DataFrame, place: Mapping[str, str]) -> dict[str, tuple[str, pd.Series]]:
    """Find the yields: factor -> column and values; none unless a long one and a short one are there."""
    found = {
        factor: (name, table[name])
        for factor, names in RATES.items()
        if (name := _first_of(names, place)) is not None
    }
    if "rate_10y" in found and "rate_2y" not in found and TERM_SPREAD in place:
        name = place[TERM_SPREAD]
        found["rate_2y"] = name, found["rate_10y"][1] - table[name]
    return found if "rate_10y" in found and len(found) > 1 else {}


def _first_of(names: Sequence[str], place: Mapping[str, str]) -> str | None:
    return next((place[name] for name in names if name in place), None)


def _about_events(paths: Sequence[Path], every: pd.DataFrame, own: pd.DataFrame, history: History) -> str:
    counts = own["kind"].value_counts()
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if kind in counts)
    others = every["symbol"].nunique() - own["symbol"].nunique()
    said = (
        f"Company events: {len(own)} ({kinds or 'none'}) of {own['symbol'].nunique()} of "
        f"{len(history.symbols)} companies, from {', '.join(path.name for path in paths)}"
    )
    said += f"; those of {others} other symbols are left out." if others else "."
    if history.has_backfill:
        planned = history.events["kind"] == "results_scheduled"
        stored = history.events.loc[planned & (history.events["source"] != BACKFILL), "known_at"].min()
        since = "" if pd.isna(stored) else f" before {stored.date()}"
        said += (
            f" Dates of results{since} are taken as known {KNOWN_AHEAD} sessions ahead from the results "
            f"that followed."
        )
    return said


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


def _factor(name: str, values: pd.Series, exchange: str, later: int = 0) -> pd.DataFrame:
    """Rows of the factors table, known at the close of their session or so many sessions later."""
    sessions, every = values.index.to_numpy(dtype="datetime64[ns]"), all_sessions(exchange)
    known_at = closes(exchange, every[np.minimum(positions(exchange, sessions) + later, len(every) - 1)])
    return pd.DataFrame(
        {
            "name": name,
            "symbol": "",
            "session": sessions,
            "value": values.to_numpy(dtype=float),
            "known_at": pd.DatetimeIndex(known_at, tz="UTC"),
        }
    )
