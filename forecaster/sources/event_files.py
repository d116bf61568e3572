"""Company events from the user's own files: CSV or Parquet, in one of four shapes.

A file is taken whole or not at all: the first faulty cell is named with file, row and column.
"""

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow
from pyarrow import parquet

from forecaster.errors import FileFormatError, UsageError
from forecaster.events import COLUMNS, KINDS, RELEASED, SCHEDULED, checked
from forecaster.instruments import normalise
from forecaster.sessions import calendar
from forecaster.sources.files import SUFFIXES, fault, files_at, read_table

SHAPES: dict[str, tuple[str, ...]] = {
    "events": ("symbol", "kind", "known_at"),
    "public events": ("symbol", "kind", "happened_on", "known_time_et"),
    "filings": ("symbol", "accept_utc", "is_results_202"),
    "results": ("symbol", "announce_utc", "surprise_pct"),
}
"""Shape -> the columns by which a file is recognised; ``ticker`` stands for ``symbol`` as well."""

ITEMS: dict[str, tuple[str, str]] = {
    "1.01": ("policy", "entry into a material agreement"),
    "2.02": ("results", "results of operations and financial condition"),
    "2.05": ("restructuring", "costs of exit or disposal activities"),
    "5.02": ("leadership", "departure or election of directors or officers"),
    "7.01": ("policy", "disclosure to everybody at once (Regulation FD)"),
    "8.01": ("policy", "other events"),
}
"""Item of SEC form 8-K -> kind of event, and what the item is about."""

EASTERN = "America/New_York"

LARGE_SURPRISE = 10.0
"""Surprise, in per cent of the estimate, whose tone is tanh(1) = 0.76."""

END_OF_DAY, MIDDAY = pd.Timedelta("23:59:59"), pd.Timedelta("12:00:00")

_DATE = r"\d{4}-\d{2}-\d{2}"
_MOMENT = _DATE + r"[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
_ZONED = _MOMENT + r"(?:Z|[+-]\d{2}:?\d{2})"
_TIME = r"(?:\d|[01]\d|2[0-3]):[0-5]\d"


def in_utc(clock: pd.Series, zone: str) -> pd.Series:
    """Turn what a clock in a zone showed into moments in UTC.

    A time that a clock change skips becomes the next that there is; of one that comes twice the later
    is taken.

    Parameters
    ----------
    clock : Series
        Without a time zone; NaT stays.
    """
    is_summer = np.zeros(len(clock), dtype=bool)
    local = clock.dt.tz_localize(zone, ambiguous=is_summer, nonexistent="shift_forward")
    return local.dt.tz_convert("UTC")


def is_events(path: Path) -> bool:
    """Tell from the names of its columns whether a file holds events, without reading its rows."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    try:
        if suffix == ".csv":
            names = list(pd.read_csv(path, nrows=0, skipinitialspace=True).columns)
        else:
            names = parquet.read_schema(path).names
    except (pd.errors.EmptyDataError, pd.errors.ParserError, arrow.ArrowInvalid, ValueError, OSError):
        return False
    return _shape(_tidy(names)) is not None


def read_events(path: Path, exchange: str = "XNYS") -> pd.DataFrame:
    """Read the company events of a file.

    Its shape is recognised by its columns, whose names are matched without case:

    - events: symbol, kind, known_at; optional happened_at (default: known_at), tone, magnitude, title,
      url, source. Kinds, tone and magnitude as in `forecaster.events`.
    - public events: symbol, kind, happened_on (a date), known_time_et (HH:MM in New York, or empty);
      optional tone, title, url, source.
    - filings: ticker, accept_utc, is_results_202; optional is_leadership_502, items (such as
      "2.02,9.01"), form, url. One event for each kind among the items, see `ITEMS`; amendments,
      whose form ends in /A, tell nothing new and are left out.
    - results: ticker, announce_utc, surprise_pct (per cent of the estimate); optional eps_estimate,
      eps_actual, url. Magnitude is the absolute surprise, tone is tanh(surprise / 10 %); both are
      missing where the surprise is.

    Times are ISO 8601 with a zone; those of ``accept_utc`` and ``announce_utc`` are in UTC without one.
    The clock of ``accept_utc`` is read as New York's all the same: the SEC writes a Z behind the New York
    time of part of the filers. So a filing is never known too early; where the clock was UTC, it is known
    four or five hours late.
    A date without a time counts from the next session: it is known at the end of that day where the
    exchange is. A planned date without a time stands for midday.

    Parameters
    ----------
    path : Path
        A file that ends in .csv or .parquet.
    exchange : str
        Market identifier code; rules what day it is where only a date is given.

    Returns
    -------
    DataFrame
        `events.COLUMNS`. The source is the file's name where none is given.

    Raises
    ------
    FileFormatError
        If anything does not fit: names file, row and column.

    Notes
    -----
    Of results: rows with neither surprise nor actual that come after the last row with one are plans of
    an unknown moment, and left out. A surprise that is missing beside an estimate and an actual is
    computed. Several quarters reported at one moment are one event with their mean surprise. A report
    at midnight, where the exchange is, has a date and no time.
    """
    sheet = _Sheet(path, exchange)
    shape = _shape(sheet.rows.columns)
    if shape is None:
        shapes = "; or ".join(", ".join(columns) for columns in SHAPES.values())
        raise FileFormatError(
            f"{path.name}: columns {', '.join(sheet.rows.columns)} are of no events; expected {shapes}"
        )
    rows = _READERS[shape](sheet)
    rows["symbol"] = sheet.symbols().reindex(rows.index)
    for name, fill in (("title", ""), ("url", ""), ("source", path.name)):
        if name not in rows:
            rows[name] = sheet.texts(name, fill).reindex(rows.index)
    for name in ("tone", "magnitude"):
        if name not in rows:
            rows[name] = np.nan
    rows = rows[list(COLUMNS)].drop_duplicates()
    key = ["symbol", "kind", "happened_at", "known_at", "source", "url"]
    for label in rows.index[rows.duplicated(key)][:1]:
        raise sheet.fault(
            label, "symbol", "the same event stands in an earlier row, in other words; keep one"
        )
    return checked(rows, path.name)


class _Sheet:
    """The cells of a file as they are, by lower-case column and by line."""

    def __init__(self, file: Path, exchange: str) -> None:
        self.zone = str(calendar(exchange).tz)
        (self.file,) = files_at(file)
        raw = read_table(file)
        # Line 1 of a CSV is its header; a Parquet file has rows only.
        first = 2 if file.suffix.lower() == ".csv" else 1
        raw = raw.set_axis(pd.RangeIndex(first, first + len(raw))).dropna(how="all")
        if raw.empty:
            raise FileFormatError(f"{file.name} is empty: expected a header and one row per event")
        self.rows = raw.set_axis(_tidy(raw.columns), axis="columns")
        for name in self.rows.columns[self.rows.columns.duplicated()][:1]:
            raise FileFormatError(f"{file.name}: two columns are called {name!r}; keep one")

    def fault(self, label: object, column: str, reason: str) -> FileFormatError:
        return fault(self.file, label, column, reason)

    def texts(self, column: str, fill: str = "") -> pd.Series:
        """Read words; `fill` where there are none."""
        if column not in self.rows:
            return pd.Series(fill, self.rows.index, dtype="str")
        words = self.rows[column].astype("str").str.strip()
        return words.where(self.rows[column].notna() & (words != ""), fill).astype("str")

    def symbols(self) -> pd.Series:
        words = self.texts("symbol")
        tidy = {}
        for label, word in words.drop_duplicates().items():
            try:
                tidy[word] = normalise(word)
            except UsageError as error:
                raise self.fault(label, "symbol", str(error) if word else "missing; fill it in") from error
        return words.map(tidy)

    def kinds(self, choices: Collection[str]) -> pd.Series:
        words = self.texts("kind").str.lower()
        for label in words.index[~words.isin(list(choices))][:1]:
            raise self.fault(label, "kind", f"{words[label]!r} is none of {', '.join(choices)}")
        return words

    def numbers(self, column: str, low: float = -np.inf, high: float = np.inf) -> pd.Series:
        """Read finite numbers within bounds; NaN where there are none."""
        words = self.texts(column)
        is_given = (words != "") & (words.str.lower() != "nan")
        numbers = pd.to_numeric(words.where(is_given), errors="coerce").astype(float)
        for label in words.index[is_given & ~(np.isfinite(numbers) & numbers.between(low, high))][:1]:
            bounds = "a number" if np.isinf(low) else f"a number from {low:g} to {high:g}"
            raise self.fault(label, column, f"expected {bounds}, or nothing; got {words[label]!r}")
        return numbers

    def flags(self, column: str) -> pd.Series:
        return self.texts(column).str.lower().isin(["true", "1", "1.0", "yes"])

    def moments(self, column: str, is_utc: bool = False, is_required: bool = True) -> pd.DataFrame:
        """Read moments.

        Returns
        -------
        DataFrame
            moment (UTC; for a date its midnight in UTC, NaT where there is none) and is_date.
        """
        words = self._words_of_times(column)
        is_date = words.str.fullmatch(_DATE)
        is_zoned = words.str.fullmatch(_ZONED) | (is_utc & words.str.fullmatch(_MOMENT))
        moment = pd.to_datetime(words.where(is_date | is_zoned), format="ISO8601", utc=True, errors="coerce")
        wrong = moment.isna() & (is_required | (words != ""))
        for label in words.index[wrong][:1]:
            raise self.fault(label, column, _what_is_wrong(words[label]))
        return pd.DataFrame({"moment": moment.astype("datetime64[ns, UTC]"), "is_date": is_date})

    def _words_of_times(self, column: str) -> pd.Series:
        cells = self.rows.get(column, pd.Series(pd.NaT, self.rows.index))
        if not pd.api.types.is_datetime64_any_dtype(cells):
            return self.texts(column)
        # Dates without a time are stored as midnights without a zone.
        are_dates = cells.dt.tz is None and bool((cells.dropna() == cells.dropna().dt.normalize()).all())
        words = cells.dt.strftime("%Y-%m-%d") if are_dates else cells.dt.strftime("%Y-%m-%dT%H:%M:%S.%f%z")
        return words.fillna("").astype("str")

    def ends(self, moments: pd.DataFrame) -> pd.Series:
        """Put what has only a date at the last second of that day where the exchange is."""
        ends = _at_local_time(moments["moment"], END_OF_DAY, self.zone)
        return moments["moment"].where(~moments["is_date"], ends)


def _events(sheet: _Sheet) -> pd.DataFrame:
    kind, known = sheet.kinds(KINDS), sheet.moments("known_at")
    is_planned = kind.isin(list(SCHEDULED))
    happened = sheet.moments("happened_at", is_required=False)
    for label in kind.index[is_planned & happened["moment"].isna()][:1]:
        raise sheet.fault(label, "happened_at", "missing; give the date that is planned")
    known_at, happened_at = sheet.ends(known), sheet.ends(happened)
    midday = _at_local_time(happened["moment"], MIDDAY, sheet.zone)
    happened_at = happened_at.mask(is_planned & happened["is_date"], midday)
    # What is known at some time of the day on which it happened had happened by then.
    until_its_end = happened_at - known_at
    is_same_day = until_its_end.between(pd.Timedelta(0), pd.Timedelta(days=1), inclusive="left")
    happened_at = happened_at.mask(~is_planned & happened["is_date"] & is_same_day, known_at)
    happened_at = happened_at.fillna(known_at)
    for label in kind.index[~is_planned & (happened_at > known_at)][:1]:
        raise sheet.fault(label, "known_at", "known before it happened; correct one of the two times")
    return pd.DataFrame(
        {
            "kind": kind,
            "happened_at": happened_at,
            "known_at": known_at,
            "tone": sheet.numbers("tone", -1, 1),
            "magnitude": sheet.numbers("magnitude", 0, np.finfo(float).max),
        }
    )


def _public_events(sheet: _Sheet) -> pd.DataFrame:
    kind, day = sheet.kinds(RELEASED), sheet.moments("happened_on")
    for label in kind.index[~day["is_date"]][:1]:
        raise sheet.fault(label, "happened_on", "expected a date, YYYY-MM-DD; the time is in known_time_et")
    times = sheet.texts("known_time_et")
    is_told = times.str.fullmatch(_TIME)
    for label in times.index[~is_told & (times != "")][:1]:
        reason = f"expected a time of the day in New York, HH:MM, or nothing; got {times[label]!r}"
        raise sheet.fault(label, "known_time_et", reason)
    since_midnight = pd.to_timedelta(times.where(is_told) + ":00", errors="coerce")
    known_at = _at_local_time(day["moment"], since_midnight, EASTERN).fillna(sheet.ends(day))
    return pd.DataFrame(
        {"kind": kind, "happened_at": known_at, "known_at": known_at, "tone": sheet.numbers("tone", -1, 1)}
    )


def _filings(sheet: _Sheet) -> pd.DataFrame:
    told = sheet.moments("accept_utc", is_utc=True)
    clock = told["moment"].dt.tz_localize(None)
    accepted = sheet.ends(told.assign(moment=told["moment"].where(told["is_date"], in_utc(clock, EASTERN))))
    items = sheet.texts("items").str.findall(r"\d\.\d{2}").map(set)
    is_first = ~sheet.texts("form").str.upper().str.endswith("/A")
    flagged = {"2.02": sheet.flags("is_results_202"), "5.02": sheet.flags("is_leadership_502")}
    frames = []
    for kind in dict.fromkeys(kind for kind, _ in ITEMS.values()):
        its_items = [item for item, (one, _) in ITEMS.items() if one == kind]
        has = {item: items.map(lambda found, item=item: item in found) for item in its_items}
        has |= {item: has[item] | flagged[item] for item in its_items if item in flagged}
        told = pd.DataFrame(has)[is_first & pd.DataFrame(has).any(axis=1)]
        title = [f"8-K, item {', '.join(told.columns[row])}" for row in told.to_numpy(dtype=bool)]
        moments = accepted[told.index]
        frames.append(
            pd.DataFrame({"kind": kind, "happened_at": moments, "known_at": moments, "title": title})
        )
    return pd.concat(frames).sort_index(kind="stable")


def _results(sheet: _Sheet) -> pd.DataFrame:
    told = sheet.moments("announce_utc", is_utc=True)
    local = told["moment"].dt.tz_convert(sheet.zone)
    at_midnight = (local == local.dt.normalize()) & ~told["is_date"]
    dates = local.dt.tz_localize(None).dt.normalize().dt.tz_localize("UTC")
    told = pd.DataFrame(
        {"moment": told["moment"].mask(at_midnight, dates), "is_date": told["is_date"] | at_midnight}
    )
    moments = sheet.ends(told)
    actual, estimate = sheet.numbers("eps_actual"), sheet.numbers("eps_estimate")
    surprise = sheet.numbers("surprise_pct")
    has_figure = surprise.notna() | actual.notna()
    if not has_figure.any():
        raise FileFormatError(
            f"{sheet.file.name}: no surprise_pct and no eps_actual in any row; without one it cannot be told "
            f"which results have come and which are planned"
        )
    computed = 100 * (actual - estimate) / estimate.abs()
    surprise = surprise.fillna(computed.where(np.isfinite(computed)))
    rows = pd.DataFrame({"symbol": sheet.symbols(), "moment": moments, "surprise": surprise})
    rows = rows[moments <= moments[has_figure].max()]
    together = rows.groupby(["symbol", "moment"])["surprise"]
    mean = together.transform("mean")
    rows = rows.assign(surprise=mean)[~rows.duplicated(["symbol", "moment"])]
    words = rows["surprise"].map("Results, surprise {:+.1f} %".format)
    return pd.DataFrame(
        {
            "kind": "results",
            "happened_at": rows["moment"],
            "known_at": rows["moment"],
            "tone": np.tanh(rows["surprise"] / LARGE_SURPRISE),
            "magnitude": rows["surprise"].abs(),
            "title": words.where(rows["surprise"].notna(), "Results"),
        }
    )


_READERS: dict[str, Callable[[_Sheet], pd.DataFrame]] = {
    "events": _events,
    "public events": _public_events,
    "filings": _filings,
    "results": _results,
}


def _tidy(names: Iterable[object]) -> list[str]:
    """Turn the names of columns into ours: lower case, and symbol for ticker."""
    tidy = [str(name).strip().lower() for name in names]
    return tidy if "symbol" in tidy else ["symbol" if name == "ticker" else name for name in tidy]


def _shape(names: Iterable[str]) -> str | None:
    return next((shape for shape, columns in SHAPES.items() if set(columns) <= set(names)), None)


def _at_local_time(days: pd.Series, since_midnight: pd.Timedelta | pd.Series, zone: str) -> pd.Series:
    """Turn times of the day in a zone into moments in UTC.

    Parameters
    ----------
    days : Series
        Midnights in UTC, which stand for dates.
    """
    return in_utc(days.dt.tz_localize(None) + since_midnight, zone)


def _what_is_wrong(word: str) -> str:
    if word == "":
        return "missing; fill it in or remove the row"
    if re.fullmatch(_MOMENT, word):
        return f"{word!r} has no time zone; write it like 2024-01-31T16:05:00-05:00, or with Z for UTC"
    return f"{word!r} is no time; expected one like 2024-01-31T16:05:00-05:00, or a date"
