"""What is wrong with a workspace, and what to do about it."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as arrow
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from forecaster.errors import StoreError
from forecaster.ingest import gaps, quarantine, runs
from forecaster.ingest.factors import EXCHANGE, KNOWN_AFTER, MARKET_FACTORS
from forecaster.instruments import Instrument, described
from forecaster.remedies import to_bring
from forecaster.sessions import last_complete, positions
from forecaster.store import now
from forecaster.tables import TABLES, Table
from forecaster.workspace import Workspace

ALL_ANEW = "python -m forecaster update --replace"

OLDEST_PLAN = pd.Timedelta(days=45)
"""How long an announced date may be past: the next one is mostly told soon after the results."""

LAST_KNOWN = max(KNOWN_AFTER.values())
"""After the close all factors are known."""

Level = Literal["fault", "warning", "hint"]

LITTLE_SPACE, NO_SPACE = 2**30, 2**27
"""Free bytes below which the disk is worth a warning; below which the next update may fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    check : str
        Name in `CHECKS`.
    level : {"fault", "warning", "hint"}
        A fault keeps something from working; a hint names what could be had besides.
    what, remedy : str
    """

    check: str
    level: Level
    what: str
    remedy: str


def examine(
    workspace: Workspace, moment: pd.Timestamp | None = None, checks: Sequence[str] | None = None
) -> list[Finding]:
    """Run every check; while the disk or a table has a fault, only those that can tell it.

    Parameters
    ----------
    moment : Timestamp, optional
        Now, in UTC.
    checks : sequence of str, optional
        Names in `CHECKS`; default: all.
    """
    found: list[Finding] = []
    for name, check in CHECKS.items():
        if checks is not None and name not in checks:
            continue
        if name not in FIRST and any(
            finding.check in FIRST and finding.level == "fault" for finding in found
        ):
            break
        found += check(workspace, moment or now())
    return found


def _tables(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Every table opens, and its files are there with the size that its log says."""
    folder = workspace.store.folder
    if not folder.exists():
        make = "make one: python -m forecaster quickstart"
        yield Finding("tables", "fault", f"there is no workspace at {workspace.home}", make)
        return
    restore = "restore it from a backup, or move it away and bring the data anew: python -m forecaster update"
    for name in TABLES:
        path = folder / name
        if not path.exists():
            continue
        try:
            files = DeltaTable(str(path)).get_add_actions(flatten=True)
        except (DeltaError, OSError) as error:
            yield Finding("tables", "fault", f"{path} does not open: {str(error).splitlines()[0]}", restore)
            continue
        listed = zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True)
        bad = [
            file
            for file, size in listed
            if not (path / file).is_file() or (path / file).stat().st_size != size
        ]
        if bad:
            yield Finding(
                "tables", "fault", f"{path}: {len(bad)} files missing or cut, first {bad[0]}", restore
            )
    strangers = [path.name for path in folder.glob("*") if path.is_dir() and path.name not in TABLES]
    for stranger in strangers:
        yield Finding("tables", "warning", f"{folder / stranger} is no table of this program", "move it away")


def _schema(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Each stored table has the columns that this version of the program knows."""
    for name, spec in TABLES.items():
        # One that does not open is a finding of the check before.
        with suppress(StoreError):
            stored = workspace.store.schema(name)
            yield from () if stored is None else _differences(spec, stored)


def _differences(spec: Table, stored: arrow.Schema) -> Iterator[Finding]:
    fields = {field.name: field.type for field in stored}
    wanted = {field.name: field.type for field in spec.schema}
    if strange := sorted(set(fields) - set(wanted)):
        what = f"{spec.name} has columns that this version does not know: {', '.join(strange)}"
        yield Finding("schema", "warning", what, "update the program; it was written by a newer one")
    if lacking := sorted(set(wanted) - set(fields)):
        what = f"{spec.name} is from an earlier version, without {', '.join(lacking)}"
        yield Finding("schema", "warning", what, "nothing to do: the next write to it adds them")
    for name in sorted(name for name in set(fields) & set(wanted) if fields[name] != wanted[name]):
        what = f"{spec.name}.{name} is of type {fields[name]}, expected {wanted[name]}"
        yield Finding("schema", "fault", what, "restore the table from a backup")


def _instruments(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Whatever has prices has an exchange."""
    bare = sorted(set(workspace.store.spans()) - set(_instruments_of(workspace)))
    if bare:
        what = f"prices without a row in the instruments table: {', '.join(bare)}"
        yield Finding("instruments", "fault", what, f"python -m forecaster update {' '.join(bare)}")


def _watched(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Watched symbols are stored and reach up to their exchange's last complete session."""
    spans, known = workspace.store.spans(), _instruments_of(workspace)
    for symbol in workspace.watchlist:
        if symbol not in spans:
            remedy = to_bring([symbol], workspace.origin)
            left = f"{remedy}; or take it off: python -m forecaster watchlist remove {symbol}"
            yield Finding("symbols", "warning", f"{symbol} is watched and has no prices", left)
        elif symbol in known and spans[symbol].source != "sample":
            exchange, last = known[symbol].exchange, spans[symbol].last
            complete = last_complete(exchange, moment, workspace.settings.bar_delay_minutes)
            place = positions(exchange, pd.DatetimeIndex([last, complete]).to_numpy())
            behind = int(place[1] - place[0])
            if behind > 0:
                what = f"{symbol} ends on {last.date()}, {behind} sessions behind {exchange}"
                yield Finding("symbols", "warning", what, to_bring([symbol], spans[symbol].source))


def _gone(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """No watched symbol has been called gone by its source."""
    last = workspace.store.current("updates", where={"symbol": workspace.watchlist})
    for symbol in last.loc[last["outcome"] == "gone", "symbol"]:
        what = f"{symbol} is gone, by the last word of its source"
        yield Finding("gone", "warning", what, f"python -m forecaster watchlist remove {symbol}")


def _gaps(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """No session is missing inside a series."""
    for symbol, rows in gaps.standing(workspace.store).groupby("symbol"):
        asked = len(gaps.still_asked_for(rows, moment))
        what = (
            f"{symbol}: {len(rows)} sessions missing, first {rows['session'].min():%Y-%m-%d}; "
            f"{asked} of them are still asked for"
        )
        remedy = "nothing to do: updates ask for them for a month"
        if not asked and str(symbol).startswith(gaps.FACTOR):
            remedy = "nothing to do: forecasts take the value before for a few days, then none"
        elif not asked:
            remedy = f"ask once more: {ALL_ANEW} {symbol}"
        yield Finding("gaps", "warning", what, remedy)


def _factors(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Market-wide factors lack no more than the last session, on which bonds may not have traded."""
    stored = workspace.store.current("factors", where={"name": list(MARKET_FACTORS)})
    if workspace.origin != "yahoo" or stored.empty:
        return
    complete = last_complete(EXCHANGE, moment - LAST_KNOWN, workspace.settings.bar_delay_minutes)
    ends = stored.groupby("name")["session"].max().sort_values()
    place = positions(EXCHANGE, pd.DatetimeIndex([*ends, complete]).to_numpy())
    behind = ends[place[-1] - place[:-1] > 1]
    if len(behind):
        what = (
            f"{len(behind)} of {len(ends)} market factors are behind; "
            f"{behind.index[0]} ends on {behind.iloc[0].date()}"
        )
        remedy = "forecasts take the value before for a few days, then none: python -m forecaster update"
        yield Finding("factors", "warning", what, remedy)


def _quarantine(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Nothing waits in quarantine."""
    spans = workspace.store.spans()
    for name, rows in quarantine.held(workspace.store).groupby("symbol"):
        symbol = str(name)
        what = f"{symbol}: {len(rows)} rows in quarantine, first: {rows['reason'].iloc[0]}"
        remedy = "look: python -m forecaster quarantine list; it is asked for again"
        if symbol in spans:
            look = f"look: python -m forecaster quarantine list {symbol}"
            remedy = f"{look}; if right: quarantine release {symbol}"
        yield Finding("quarantine", "warning", what, remedy)


def _runs(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Each source's last run came to its end."""
    for row in runs.latest(workspace.store).drop_duplicates("source").to_dict("records"):
        if row["status"] != runs.DONE:
            why = row["detail"] or "its process ended without a word, or it is still running"
            begun = f"{row['started_at']:%Y-%m-%d %H:%M} UTC"
            what = f"the run from {row['source']} of {begun} is not complete: {why}"
            yield Finding(
                "runs", "warning", what, "give the same command again; it goes on where that one ended"
            )


def _events(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Each source of events has answered, and announced dates are not long past."""
    spans = workspace.store.spans()
    watched = [symbol for symbol in workspace.watchlist if symbol in spans]
    last = workspace.event_outcomes()
    last = last[last["symbol"].isin(watched)]
    prices = sorted({spans[symbol].source for symbol in watched})
    wanted = dict.fromkeys(name for source in prices for name in workspace.event_sources(source))
    for name in wanted:
        if name not in set(last["source"]):
            what = f"{name} was never asked for events"
            yield Finding("events", "hint", what, f"python -m forecaster update --events {name}")
    for asked, rows in last.groupby("source"):
        failed = rows[~rows["outcome"].isin(["ok", "gone"])]
        for row in failed.head(1).itertuples():
            what = (
                f"{asked} failed on {len(failed)} of {len(rows)} symbols when it was last asked for events; "
                f"{row.symbol}: {row.outcome}, {row.detail}"
            )
            remedy = f"prices do not depend on it; again: python -m forecaster update --events {asked}"
            yield Finding("events", "warning", what, remedy)
    if "yahoo" in prices and "filings" in workspace.settings.event_sources and not workspace.settings.contact:
        what = "filings with the SEC are not read: it asks for an e-mail address with each request"
        yield Finding("events", "hint", what, "set contact in forecaster.toml, or FORECASTER_CONTACT")
    yield from _stale_plans(workspace, watched, moment)


def _stale_plans(workspace: Workspace, watched: list[str], moment: pd.Timestamp) -> Iterator[Finding]:
    rows = workspace.store.current("events", where={"symbol": watched, "kind": ["results_scheduled"]})
    plans = rows.groupby("symbol")[["known_at", "happened_at"]].max()
    # When it was told says nothing: a plan that is told again unchanged is not stored again.
    is_stale = moment - plans["happened_at"] > OLDEST_PLAN
    for symbol, plan in plans[is_stale].iterrows():
        what = (
            f"{symbol}: the last announced date of results, {plan['happened_at']:%Y-%m-%d}, is long past and "
            f"was told on {plan['known_at']:%Y-%m-%d}"
        )
        yield Finding("events", "warning", what, f"python -m forecaster update {symbol}")


def _clock(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """Nothing was recorded later than now: a moment tells what was known by then."""
    for name in TABLES:
        latest = workspace.store.latest(name)
        if latest is not None and latest > moment + pd.Timedelta(minutes=1):
            what = f"{name} has rows recorded at {latest:%Y-%m-%d %H:%M} UTC, later than this machine's clock"
            remedy = "set the clock if it is slow; if it was fast, what replaces these is recorded after them"
            yield Finding("clock", "warning", what, remedy)


def _disk(workspace: Workspace, moment: pd.Timestamp) -> Iterator[Finding]:
    """There is room, and the folder can be written."""
    home = next(folder for folder in [workspace.home, *workspace.home.absolute().parents] if folder.exists())
    if not os.access(home, os.W_OK):
        yield Finding(
            "disk", "fault", f"{home} cannot be written", "mend its permissions, or use another --home"
        )
    free = shutil.disk_usage(home).free
    if free < LITTLE_SPACE:
        level: Level = "fault" if free < NO_SPACE else "warning"
        yield Finding("disk", level, f"{free / 2**20:.0f} MiB free at {home}", "make room")


def _instruments_of(workspace: Workspace) -> dict[str, Instrument]:
    return described(workspace.store.current("instruments"))


CHECKS: dict[str, Callable[[Workspace, pd.Timestamp], Iterator[Finding]]] = {
    "disk": _disk,
    "tables": _tables,
    "schema": _schema,
    "instruments": _instruments,
    "symbols": _watched,
    "gone": _gone,
    "gaps": _gaps,
    "factors": _factors,
    "quarantine": _quarantine,
    "runs": _runs,
    "events": _events,
    "clock": _clock,
}
"""Name -> what finds out."""

FIRST = ("disk", "tables", "schema")
"""Checks that read no rows."""
