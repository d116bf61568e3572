"""From sources of events into the store: what is new is appended, and how each asking ended."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import pandas as pd

from forecaster.errors import DataError, ForecasterError
from forecaster.events import SCHEDULED, no_events
from forecaster.ingest.pace import Pace
from forecaster.instruments import Instrument
from forecaster.progress import Advance, Progress, silent
from forecaster.sources import EventSource, Outcome, Told
from forecaster.store import Clock, Store, now
from forecaster.tables import table

REPORT = ("symbol", "source", "outcome", "rows", "detail")

TOLD_AGAIN = pd.Timedelta(days=30)
"""How long before the last stored event a source is asked for again: figures are filled in and mended."""

BATCH = 50
"""Symbols asked for between two commits, unless `LONGEST_WAIT` comes first."""

LONGEST_WAIT = 60.0
"""Seconds that what was told waits to be stored."""

FILES = "files"
"""Source under which it is written down how an import went."""

HEADLINES, FILINGS = "news", "filings"
"""Sources whose rows count as first told: a headline is known from when it is seen, so later with each
asking; the SEC may tell another time of acceptance for the same filing."""

LATEST = pd.Timedelta(days=1)
"""How far ahead of the clock an imported row may be known: a date counts to its end, somewhere."""

AS_BEFORE = "announced dates as before"
"""Said of an asking that told the plans which are in force already."""

_KEY = list(table("events").key)
_WORDS = ["tone", "magnitude", "title"]


def update_events(
    store: Store,
    sources: Sequence[EventSource],
    instruments: Sequence[Instrument],
    clock: Clock = now,
    pace: Callable[[], Pace] = Pace,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Ask each source for the events of each company and append what is new.

    A source that fails never stops those of other hosts: how it ended is written down beside each symbol,
    and a host that asks to be left alone, or is down, is not asked further.

    New is an event that is not stored, or whose tone, magnitude or title has changed; a headline only
    if its source has not told it before; announced dates, all of one moment together, only if they
    differ from those in force.

    Parameters
    ----------
    clock : callable
        Tells the present moment, in UTC.
    pace : callable
        Makes the pace at which one host is asked, by all of its sources. Default: no limit.

    Returns
    -------
    DataFrame
        Per source and symbol: symbol, source, outcome, rows (appended), detail.
    """
    reports = [_report([], "")]
    paces: dict[str, Pace] = {}
    for source in sources:
        with progress(f"Events from {source.name}", len(instruments)) as advance:
            turns = paces.setdefault(source.host, pace()) if source.remote else Pace()
            batches = _batches(store, source, instruments, clock, turns, advance)
            reports += [_write(store, source.name, told, clock) for told in batches]
    return pd.concat(reports, ignore_index=True)


def import_events(store: Store, rows: pd.DataFrame, clock: Clock = now) -> pd.DataFrame:
    """Append the events of a file, in one commit; the report is kept under the source `FILES`.

    Parameters
    ----------
    rows : DataFrame
        `events.COLUMNS`, checked by `events.checked`.

    Returns
    -------
    DataFrame
        As `update_events`, per symbol.

    Raises
    ------
    DataError
        If a row is known only in the future.
    """
    late = rows[rows["known_at"] > clock() + LATEST]
    for row in late.head(1).itertuples():
        raise DataError(
            f"{row.symbol}, {row.kind}: known at {row.known_at:%Y-%m-%d %H:%M} UTC, which lies ahead; "
            f"a date that is planned has kind {' or '.join(SCHEDULED)} and was known when it was announced"
        )
    told = [Told(str(symbol), Outcome.OK, some) for symbol, some in rows.groupby("symbol")]
    return _write(store, FILES, told, clock)


@dataclass(frozen=True)
class _Asked:
    """A source of events as a pace asks it: by symbol, and with an outcome whatever happens."""

    source: EventSource
    instruments: dict[str, Instrument]
    clock: Clock

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Told:
        asked_at = self.clock()
        try:
            told = self.source.tell(self.instruments[symbol], asked_at, start)
            # What is known from this asking was not seen before the reply, which may be slow.
            known_at = told.events["known_at"]
            seen_at = known_at.mask(known_at == asked_at, self.clock())
            return replace(told, events=told.events.assign(known_at=seen_at))
        except (ForecasterError, OSError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Replies of an unforeseen form; prices, and the other sources, do not depend on them.
            reason = " ".join(str(error).split()) or "no reason given"
            return Told(symbol, Outcome.INVALID, detail=f"{type(error).__name__}: {reason}")


def _batches(
    store: Store,
    source: EventSource,
    instruments: Sequence[Instrument],
    clock: Clock,
    pace: Pace,
    advance: Advance,
) -> Iterator[list[Told]]:
    """Ask for symbols, hand what is told on in batches, and answer for those not asked any more."""
    by_symbol = {one.symbol: one for one in instruments}
    asked = _Asked(source, by_symbol, clock)
    starts = _starts(store, source, by_symbol)
    waiting: list[Told] = []
    since = time.monotonic()
    for symbol in by_symbol:
        if pace.stopped:
            waiting.append(Told(symbol, pace.stopped[0], detail=pace.stopped[1]))
            continue
        waiting.append(pace.fetch(asked, symbol, starts.get(symbol), source.requests))
        advance(symbol)
        if len(waiting) >= BATCH or time.monotonic() - since > LONGEST_WAIT:
            yield waiting
            waiting, since = [], time.monotonic()
    if waiting:
        yield waiting


def _starts(store: Store, source: EventSource, symbols: Iterable[str]) -> dict[str, pd.Timestamp]:
    """Moment from which a source is asked again, for the symbols of which it has told something."""
    if not source.remote:
        return {}
    stored = store.rows("events", where={"symbol": symbols, "source": [source.name]})
    last = stored[~stored["kind"].isin(list(SCHEDULED))].groupby("symbol")["known_at"].max() - TOLD_AGAIN
    return dict(zip(last.index, last, strict=True))


def _write(store: Store, source: str, told: Sequence[Told], clock: Clock) -> pd.DataFrame:
    """Append what is new, and after it how each asking ended: whoever is killed in between asks again."""
    events = pd.concat([no_events(), *(one.events for one in told if len(one.events))], ignore_index=True)
    for name in ("happened_at", "known_at"):
        events[name] = events[name].dt.floor("us")
    held = store.current("events", where={"symbol": [one.symbol for one in told]})
    held = held[events.columns].astype(events.dtypes.to_dict())
    is_plan, was_plan = (rows["kind"].isin(list(SCHEDULED)) for rows in (events, held))
    plans = _new_plans(events[is_plan], held[was_plan])
    new = pd.concat([_new_events(events[~is_plan], held[~was_plan]), plans])
    moment = clock()
    store.append("events", new.assign(fetched_at=moment))
    report = _report(told, source)
    report["rows"] = report["symbol"].map(new["symbol"].value_counts()).fillna(0).astype(int)
    as_before = report["symbol"].isin(set(events.loc[is_plan, "symbol"]) - set(plans["symbol"]))
    report["detail"] = report["detail"].mask(as_before & (report["detail"] == ""), AS_BEFORE)
    store.append("event_updates", report.assign(recorded_at=moment))
    return report


def _report(told: Sequence[Told], source: str) -> pd.DataFrame:
    rows = [(one.symbol, source, str(one.outcome), 0, one.detail) for one in told]
    return pd.DataFrame(rows, columns=list(REPORT))


def _new_events(told: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """Keep the events that are not stored, or are stored with other words or figures."""
    name = _name_told_once(told)
    is_again = name.isin(_name_told_once(held)) | name.duplicated()
    told = told[~(is_again & told["source"].isin([HEADLINES, FILINGS]))].drop_duplicates(_KEY, keep="last")
    before = told[_KEY].merge(held, on=_KEY, how="left", indicator="stored").set_axis(told.index)
    is_same = before["stored"] == "both"
    for column in _WORDS:
        both_missing = before[column].isna() & told[column].isna()
        is_same &= (before[column] == told[column]) | both_missing
    return told[~is_same]


def _name_told_once(rows: pd.DataFrame) -> pd.Series:
    """Name a headline by its address, or words; a filing by its address and what it tells of."""
    address = rows["url"].where(rows["url"] != "", rows["title"])
    kind = rows["kind"].where(rows["source"] == FILINGS, "")
    return rows["symbol"] + " " + rows["source"] + " " + kind + " " + address


def _new_plans(told: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """Keep the announced dates that differ from those in force when they were told."""
    new = [told[:0]]
    for about, plans in told.groupby(["symbol", "kind"], sort=False):
        symbol, kind = about
        stored = held[(held["symbol"] == symbol) & (held["kind"] == kind)]
        in_force = {known_at: _dates(plan) for known_at, plan in _by_moment(stored).items()}
        for known_at, plan in _by_moment(plans).items():
            earlier = [moment for moment in in_force if moment <= known_at]
            if not earlier or in_force[max(earlier)] != _dates(plan):
                in_force[known_at] = _dates(plan)
                new.append(plan.drop_duplicates(_KEY, keep="last"))
    return pd.concat(new)


def _by_moment(plans: pd.DataFrame) -> dict[pd.Timestamp, pd.DataFrame]:
    """Moment at which it was known -> the rows of one plan, in order of time."""
    return {cast(pd.Timestamp, known_at): plan for known_at, plan in plans.groupby("known_at")}


def _dates(plan: pd.DataFrame) -> dict[pd.Timestamp, float]:
    """Planned date -> its probability, -1 where none is told."""
    return dict(zip(plan["happened_at"], plan["magnitude"].fillna(-1.0), strict=True))
