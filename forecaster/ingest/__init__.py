"""From a source into the store: what is final, sound and new is appended; the rest is accounted for."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.errors import SourceError
from forecaster.ingest import gaps, quarantine, runs
from forecaster.ingest.checks import NUMBERS
from forecaster.ingest.factors import MARKET_FACTORS as MARKET_FACTORS
from forecaster.ingest.factors import update_factors as update_factors
from forecaster.ingest.overlap import SAME_WITHIN, Change
from forecaster.ingest.pace import Pace
from forecaster.ingest.sift import NOTHING, Held, Sifted, sift
from forecaster.instruments import Instrument, described
from forecaster.progress import Advance, Progress, silent
from forecaster.sessions import all_sessions, last_complete
from forecaster.sources import Fetched, Outcome, Source
from forecaster.store import Clock, Span, Store, now
from forecaster.tables import table

OVERLAP = 15
"""Stored sessions that are fetched again with the new ones, to see whether both still agree."""

LONGEST_BATCH = pd.Timedelta(minutes=10)
"""How long before it was stored a symbol may have been asked for: a batch waits, and a source retries."""

BATCH = 50
"""Symbols fetched between two commits, unless `LONGEST_WAIT` comes first."""

LONGEST_WAIT = 60.0
"""Seconds that a fetched symbol waits to be stored."""

GONE_AFTER_DAYS = 3
"""Days running on which a source must say that a symbol is gone before it is believed."""


@dataclass(frozen=True)
class Plan:
    """What is known of the symbols of a run before it begins.

    Attributes
    ----------
    spans : mapping
        Symbol -> how far its stored prices reach, where there are any.
    starts : mapping
        Symbol -> first session to ask for, None for all there is.
    answered : mapping
        Symbol -> outcome and detail, where nothing is to be asked.
    """

    spans: Mapping[str, Span]
    starts: Mapping[str, pd.Timestamp | None]
    answered: Mapping[str, tuple[Outcome, str]]


def update(
    store: Store,
    source: Source,
    symbols: Sequence[str],
    clock: Clock = now,
    delay_minutes: int = 30,
    pace: Pace | None = None,
    progress: Progress = silent,
    batch: int = BATCH,
    in_place: bool = False,
    named: bool = True,
) -> pd.DataFrame:
    """Fetch symbols and append what is new; one bad symbol never stops the others.

    Parameters
    ----------
    clock : callable
        Tells the present moment, in UTC. Bars of a session that had closed less than
        `delay_minutes` before its symbol was asked for are left out.
    pace : Pace, optional
        Default: no limit.
    batch : int
        Symbols that are written together, in one commit per table.
    in_place : bool
        Ask for everything anew, and where it differs take it in place of what is stored.
    named : bool
        Whether a person named the symbols. If not, those that are known to be gone are left out.

    Returns
    -------
    DataFrame
        Per symbol: symbol, source, outcome, change (see `overlap.Change`), rows (appended), detail.
        After a rate limit no further request is sent, and the symbols left carry that outcome; the
        next run of the same symbols goes on with them.

    Raises
    ------
    SourceError
        If the source refuses all symbols alike; what it had delivered is stored.
    """
    wanted = list(dict.fromkeys(symbols))
    pace = pace or Pace()
    run = runs.begin(store, source.name, wanted, clock())
    plan = _plan(store, source, wanted, run, delay_minutes, in_place, named)
    reports = [_not_asked(source.name, plan.answered)]
    try:
        with progress(f"Prices from {source.name}", len(wanted)) as advance:
            for symbol in plan.answered:
                advance(symbol)
            for fetched in _batches(source, plan.starts, clock, pace, advance, batch):
                held = _held(store, [one for one, _ in fetched], plan)
                sifted = [
                    sift(one, held[one.symbol], plan.starts[one.symbol], asked_at, delay_minutes, in_place)
                    for one, asked_at in fetched
                ]
                reports.append(_write(store, source.name, sifted, run.started_at, clock()))
    except SourceError as error:
        run.close(store, pd.concat(reports, ignore_index=True), runs.STOPPED, str(error), clock())
        raise
    status, detail = runs.DONE, ""
    if pace.stopped:
        outcome, detail = pace.stopped
        status = runs.STOPPED
        done = set().union(*(report["symbol"] for report in reports))
        left = {symbol: (outcome, detail) for symbol in wanted if symbol not in done}
        reports.append(_not_asked(source.name, left))
        store.append("updates", reports[-1].assign(recorded_at=clock(), started_at=run.started_at))
    report = pd.concat(reports, ignore_index=True).set_index("symbol").loc[wanted].reset_index()
    run.close(store, report, status, detail, clock())
    return report


def _plan(
    store: Store,
    source: Source,
    symbols: Sequence[str],
    run: runs.Run,
    delay_minutes: int,
    in_place: bool,
    named: bool,
) -> Plan:
    """Find out, without a request, what to ask for and what need not be asked."""
    spans, instruments = store.spans(), _instruments(store, symbols)
    gone = {} if named else _gone(store, symbols)
    done = {} if in_place else runs.done_before(store, run).to_dict()
    again = _asked_for_again(store, run.started_at)
    starts: dict[str, pd.Timestamp | None] = {}
    answered: dict[str, tuple[Outcome, str]] = {}
    for symbol in symbols:
        instrument, span = instruments.get(symbol), spans.get(symbol)
        if span and span.source != source.name:
            said = f"stored from {span.source}; use another --home for {source.name}"
            answered[symbol] = Outcome.INVALID, said
        elif symbol in gone:
            answered[symbol] = Outcome.GONE, gone[symbol]
        elif (
            symbol in done
            and instrument
            and _is_current(instrument, done[symbol], run.started_at, delay_minutes)
        ):
            said = f"brought at {done[symbol]:%H:%M} UTC by the run that this one continues"
            answered[symbol] = Outcome.OK, said
        elif span is None or instrument is None or in_place or not source.remote:
            starts[symbol] = None
        else:
            sessions = all_sessions(instrument.exchange)
            # What is asked for again needs settled sessions before it, to be judged by.
            earliest = min(span.last, again.get(symbol, span.last))
            place = int(np.searchsorted(sessions, earliest.to_datetime64()))
            starts[symbol] = pd.Timestamp(sessions[max(0, place - OVERLAP + 1)])
    return Plan(spans, starts, answered)


def _is_current(instrument: Instrument, then: pd.Timestamp, moment: pd.Timestamp, delay: int) -> bool:
    """Tell whether no session has become final since a symbol was asked for that was stored then."""
    before = last_complete(instrument.exchange, then - LONGEST_BATCH, delay)
    return before == last_complete(instrument.exchange, moment, delay)


def _asked_for_again(store: Store, moment: pd.Timestamp) -> dict[str, pd.Timestamp]:
    """Name the earliest session of each symbol that lately was missing, refused or released."""
    missing = gaps.still_asked_for(gaps.standing(store), moment)[["symbol", "session"]]
    refused = quarantine.asked_for_again(store, moment, gaps.ASKED_FOR)
    earliest = pd.concat([missing, refused]).groupby("symbol")["session"].min()
    return dict(zip(earliest.index, earliest, strict=True))


def _gone(store: Store, symbols: Sequence[str]) -> dict[str, str]:
    """Name the symbols that their source has called gone on enough days running, with the words for it."""
    rows = store.rows("updates", where={"symbol": symbols}).sort_values("recorded_at", kind="stable")
    found = {}
    for symbol in rows["symbol"].unique():
        some = rows[(rows["symbol"] == symbol) & (rows["change"] != Change.NOT_ASKED)]
        said = (some["outcome"] == Outcome.GONE).to_numpy()
        lately = some[np.flip(np.cumprod(np.flip(said))).astype(bool)]
        days = lately["recorded_at"].dt.date.nunique()
        lasting = lately["recorded_at"].max() - lately["recorded_at"].min()
        if days >= GONE_AFTER_DAYS and lasting > pd.Timedelta(days=GONE_AFTER_DAYS - 2):
            found[symbol] = (
                f"gone by {lately['source'].iloc[0]}'s word on {days} days, last "
                f"{lately['recorded_at'].iloc[-1].date()}; not asked any more unless named. "
                f"Take it off: python -m forecaster watchlist remove {symbol}"
            )
    return found


def _batches(
    source: Source,
    starts: Mapping[str, pd.Timestamp | None],
    clock: Clock,
    pace: Pace,
    advance: Advance,
    batch: int,
) -> Iterator[list[tuple[Fetched, pd.Timestamp]]]:
    """Fetch symbols until the pace says stop; hand them on in batches, each with when it was asked for."""
    waiting: list[tuple[Fetched, pd.Timestamp]] = []
    since = time.monotonic()
    for symbol, start in starts.items():
        if pace.stopped:
            break
        asked_at = clock()
        try:
            waiting.append((pace.fetch(source, symbol, start), asked_at))
        except SourceError:
            yield waiting
            raise
        advance(symbol)
        if len(waiting) >= batch or time.monotonic() - since > LONGEST_WAIT:
            yield waiting
            waiting, since = [], time.monotonic()
    if waiting:
        yield waiting


def _instruments(store: Store, symbols: Sequence[str]) -> dict[str, Instrument]:
    return described(store.current("instruments", where={"symbol": symbols}))


def _held(store: Store, fetched: Sequence[Fetched], plan: Plan) -> dict[str, Held]:
    """Read what is stored of the stretches that replies cover, and at least each symbol's last bar."""
    spans = plan.spans
    arrived = [one for one in fetched if one.outcome is Outcome.OK and one.symbol in spans]
    held = dict.fromkeys((one.symbol for one in fetched), NOTHING)
    if not arrived:
        return held
    begins = {
        one.symbol: min(plan.starts[one.symbol] or one.bars["session"].min(), spans[one.symbol].last)
        for one in arrived
    }
    where = {"symbol": list(begins)}
    bars = store.current("prices", where=where, since=min(begins.values()))
    actions = store.current("actions", where=where, since=min(begins.values()))
    instruments = _instruments(store, list(begins))
    for symbol, begin in begins.items():
        mine = bars[(bars["symbol"] == symbol) & (bars["session"] >= begin)]
        paid = actions[(actions["symbol"] == symbol) & (actions["value"] != 0)]
        held[symbol] = Held(
            mine.set_index("session")[NUMBERS],
            paid[["session", "kind", "value"]].reset_index(drop=True),
            instruments.get(symbol),
            spans[symbol].first,
            spans[symbol].last,
        )
    return held


def _write(
    store: Store, source: str, sifted: list[Sifted], started_at: pd.Timestamp, moment: pd.Timestamp
) -> pd.DataFrame:
    where = {"symbol": [one.symbol for one in sifted]}
    instruments = _together([one.instruments for one in sifted])
    actions = _together([one.actions for one in sifted])
    prices = _together([one.prices for one in sifted])
    if len(instruments):
        columns = ["name", "exchange", "timezone", "currency", "type"]
        new_instruments = _changed(store, "instruments", where, instruments, columns)
        store.append("instruments", new_instruments.assign(fetched_at=moment))
    # Prices come after all that explains them, and the word that a symbol is done comes last: whoever
    # reads in between, or goes on after a process was killed in between, finds it whole.
    new_actions = _changed(store, "actions", where, actions, ["value"])
    store.append("actions", new_actions.assign(fetched_at=moment))
    _set_aside(store, source, sifted, moment)
    store.append("prices", prices.assign(source=source, fetched_at=moment))
    appended = {one.symbol: len(one.prices) for one in sifted}
    return _account(store, source, sifted, appended, started_at, moment)


def _set_aside(store: Store, source: str, sifted: list[Sifted], moment: pd.Timestamp) -> None:
    """Write down the refused rows and the missing sessions."""
    refused = _together([one.refused for one in sifted])
    quarantine.keep(store, refused, {one.symbol: one.judged for one in sifted}, source, moment)
    gaps.note(store, {one.symbol: one.missing for one in sifted if len(one.missing)}, moment)


def _account(
    store: Store,
    source: str,
    sifted: list[Sifted],
    appended: Mapping[str, int],
    started_at: pd.Timestamp,
    moment: pd.Timestamp,
) -> pd.DataFrame:
    """Write down how each fetch ended."""
    report = pd.DataFrame(
        {
            "symbol": [one.symbol for one in sifted],
            "source": source,
            "outcome": [str(one.outcome) for one in sifted],
            "change": [str(one.change or "") for one in sifted],
            "rows": [appended[one.symbol] for one in sifted],
            "detail": [one.detail for one in sifted],
        }
    )
    store.append("updates", report.assign(recorded_at=moment, started_at=started_at))
    return report


def _not_asked(source: str, answers: Mapping[str, tuple[Outcome, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (symbol, source, str(outcome), str(Change.NOT_ASKED), 0, said)
            for symbol, (outcome, said) in answers.items()
        ],
        columns=["symbol", "source", "outcome", "change", "rows", "detail"],
    )


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    some = [frame for frame in frames if len(frame)]
    return pd.concat(some, ignore_index=True) if some else pd.DataFrame()


def _changed(
    store: Store, name: str, where: dict[str, list[str]], fresh: pd.DataFrame, values: list[str]
) -> pd.DataFrame:
    """Keep the rows whose key is new to the store or whose values differ from what holds."""
    held = store.current(name, where=where)
    if held.empty or fresh.empty:
        return fresh
    key = list(table(name).key)
    old = fresh[key].merge(held[[*key, *values]], on=key, how="left")
    same = np.ones(len(fresh), dtype=bool)
    for column in values:
        before, after = old[column].to_numpy(), fresh[column].to_numpy()
        if pd.api.types.is_numeric_dtype(fresh[column]):
            same &= np.isclose(after.astype(float), before.astype(float), rtol=SAME_WITHIN, atol=0.0)
        else:
            same &= before == after
    return fresh[~same]
