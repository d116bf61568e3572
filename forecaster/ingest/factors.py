"""Market-wide factors: indices, yields and sectors by session, each value with when it was known."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

from forecaster.ingest import gaps, quarantine
from forecaster.ingest.checks import JUMP
from forecaster.ingest.gaps import FACTOR
from forecaster.ingest.overlap import SAME_WITHIN
from forecaster.ingest.pace import Pace
from forecaster.progress import Progress, silent
from forecaster.sessions import all_sessions, closes, last_complete, positions
from forecaster.sources import Fetched, Outcome, Source
from forecaster.store import Clock, Store, now

MARKET_FACTORS = {
    "market_index": "^GSPC",
    "volatility_index": "^VIX",
    "rate_10y": "^TNX",
    "rate_3m": "^IRX",
    "sector_materials": "XLB",
    "sector_communication": "XLC",
    "sector_energy": "XLE",
    "sector_financials": "XLF",
    "sector_industrials": "XLI",
    "sector_technology": "XLK",
    "sector_staples": "XLP",
    "sector_real_estate": "XLRE",
    "sector_utilities": "XLU",
    "sector_health_care": "XLV",
    "sector_discretionary": "XLY",
}
"""Factor -> the symbol whose closes it is. Rates are yields in per cent. Sectors are funds that pay
dividends: their factor is the total return, as a level on the scale of the first close adjusted."""

EXCHANGE = "XNYS"
"""Whose sessions the factors have, whatever exchange a source names for an index."""

YIELDS = ("rate_10y", "rate_3m")

KNOWN_AFTER = {
    "volatility_index": pd.Timedelta(minutes=15),
    **dict.fromkeys(YIELDS, pd.Timedelta(hours=2)),
}
"""How long after the stocks' close a factor is known, where it is later. Bonds trade until 15:00 in New
York or 17:00, by whose word; two hours are later than both, also where stocks close at 13:00."""

PAYS = "sector_"
"""Beginning of the names of factors that pay dividends."""

REREAD = pd.Timedelta(days=30)
"""Calendar days before the last stored value that are fetched again with the new ones."""

LOWEST_YIELD, HIGHEST_YIELD = -3.0, 25.0
LARGEST_STEP = 2.0
"""Per cent, and points of it from one session to the next, beyond which a yield is in another unit."""


def _none() -> pd.Series:
    return pd.Series(dtype=float, index=pd.DatetimeIndex([]))


@dataclass(frozen=True)
class _Brought:
    """What one reply brought.

    Attributes
    ----------
    name : str
        Of the factor.
    values : Series
        Session -> value, of what is new or corrected.
    refused : DataFrame
        Rows for quarantine.
    judged, missing : DatetimeIndex
        Sessions on which the reply had a say; those between known ones that are still not known.
    """

    name: str
    outcome: Outcome
    detail: str
    values: pd.Series = field(default_factory=_none)
    refused: pd.DataFrame = field(default_factory=pd.DataFrame)
    judged: pd.Index = field(default_factory=lambda: pd.DatetimeIndex([]))
    missing: pd.Index = field(default_factory=lambda: pd.DatetimeIndex([]))


def update_factors(
    store: Store,
    source: Source,
    clock: Clock = now,
    delay_minutes: int = 30,
    pace: Pace | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Fetch the market-wide factors and append what is new or corrected.

    A session that a factor lacks is written down among the gaps, and asked for again for a month.

    Parameters
    ----------
    clock : callable
        Tells the present moment, in UTC.
    delay_minutes : int
        A value counts as final this long after it was known.

    Returns
    -------
    DataFrame
        As `ingest.update`, one row per factor, whose name stands as symbol after `gaps.FACTOR`; after a rate
        limit there is none.
    """
    pace, started_at = pace or Pace(), clock()
    stored = store.current("factors", where={"name": list(MARKET_FACTORS)})
    noticed = gaps.still_asked_for(gaps.standing(store), started_at)
    brought = []
    with progress(f"Factors from {source.name}", len(MARKET_FACTORS)) as advance:
        for name, symbol in MARKET_FACTORS.items():
            if pace.stopped:
                break
            held = stored[stored["name"] == name].set_index("session")["value"]
            known = [*held.index[-1:], *noticed.loc[noticed["symbol"] == FACTOR + name, "session"]]
            asked_at = clock()
            fetched = pace.fetch(source, symbol, min(known) - REREAD if known else None)
            brought.append(_judge(name, fetched, held, asked_at, delay_minutes))
            advance(name)
    return _write(store, source.name, brought, started_at, clock())


def _judge(
    name: str, fetched: Fetched, held: pd.Series, asked_at: pd.Timestamp, delay_minutes: int
) -> _Brought:
    """Tell what of a reply can be stored."""
    if fetched.outcome is not Outcome.OK:
        return _Brought(name, fetched.outcome, fetched.detail)
    last = last_complete(EXCHANGE, asked_at - KNOWN_AFTER.get(name, pd.Timedelta(0)), delay_minutes)
    # Bonds trade on some days on which stocks do not.
    is_session = positions(EXCHANGE, fetched.bars["session"].to_numpy(dtype="datetime64[ns]")) >= 0
    bars = fetched.bars[is_session & (fetched.bars["session"] <= last)]
    bars = bars.drop_duplicates("session").set_index("session").sort_index().astype(float)
    if bars.empty:
        return _Brought(name, Outcome.INVALID, "no value of a finished session among the rows delivered")
    values = _values(name, bars, held)
    if values is None:
        return _Brought(name, Outcome.INVALID, "no session that is stored is among those delivered")
    before = held[held.index < values.index[0]]
    faults = _faults(name, values, before.iloc[-1] if len(before) else None)
    sound = values.drop(faults.index)
    was = held.reindex(sound.index).to_numpy(dtype=float)
    changed = sound[~np.isclose(sound, was, rtol=SAME_WITHIN, atol=0.0)]
    # The last stored value may still settle.
    corrected = changed[changed.index.isin(held.index[:-1])]
    notes = []
    if len(faults):
        first = f"first {faults.index[0].date()}: {faults.iloc[0]}"
        notes.append(f"{len(faults)} row{'s' if len(faults) > 1 else ''} in quarantine, {first}")
    if len(corrected):
        day = corrected.index[0]
        first = f"first {day.date()}: {held[day]:.6g} to {corrected[day]:.6g}"
        notes.append(f"{len(corrected)} value{'s' if len(corrected) > 1 else ''} corrected, {first}")
    missing = _missing(name, held.index.union(sound.index))
    if lately := int((missing >= bars.index[0]).sum()):
        first = f"first {missing[-lately].date()}"
        notes.append(f"{lately} session{'s' if lately > 1 else ''} missing, {first}")
    return _Brought(
        name,
        Outcome.OK if len(sound) else Outcome.INVALID,
        "; ".join(notes),
        changed,
        bars.loc[faults.index]
        .assign(symbol=FACTOR + name, reason=faults, tells_actions=fetched.actions is not None)
        .reset_index(),
        values.index,
        missing,
    )


def _values(name: str, bars: pd.DataFrame, held: pd.Series) -> pd.Series | None:
    """Return the factor by session, on the scale of what is stored; None if they cannot be joined."""
    if not name.startswith(PAYS):
        return bars["close"]
    # A dividend moves all adjusted closes before it: only their ratios mean anything.
    ratio = (held / bars["adj_close"].reindex(held.index)).dropna()
    if held.empty:
        return bars["adj_close"]
    return None if ratio.empty else bars["adj_close"] * ratio.median()


def _faults(name: str, values: pd.Series, before: float | None) -> pd.Series:
    """Name what is wrong with values, each judged by itself and the sound one before it, by session."""
    reasons = {}
    for session, value in values.items():
        if not np.isfinite(value):
            reasons[session] = "close: missing"
        elif name in YIELDS and not LOWEST_YIELD < value < HIGHEST_YIELD:
            reasons[session] = f"a yield of {value:.6g} %: another unit?"
        elif name not in YIELDS and value <= 0:
            reasons[session] = "close: zero or negative"
        elif before is not None and _far(name, value, before):
            reasons[session] = f"{value:.6g} after {before:.6g}: another unit?"
        else:
            before = value
    return pd.Series(reasons, dtype=str)


def _far(name: str, value: float, before: float) -> bool:
    if name in YIELDS:
        return abs(value - before) > LARGEST_STEP
    return not 1 / JUMP < value / before < JUMP


def _write(
    store: Store, source: str, brought: list[_Brought], started_at: pd.Timestamp, moment: pd.Timestamp
) -> pd.DataFrame:
    """Append what was brought, and write down how each fetch ended; return that report."""
    refused = [one.refused for one in brought if len(one.refused)]
    judged = {FACTOR + one.name: one.judged for one in brought}
    quarantine.keep(
        store, pd.concat(refused, ignore_index=True) if refused else pd.DataFrame(), judged, source, moment
    )
    gaps.note(store, {FACTOR + one.name: one.missing for one in brought if len(one.missing)}, moment)
    values = [_rows(one).assign(source=source, fetched_at=moment) for one in brought if len(one.values)]
    if values:
        store.append("factors", pd.concat(values, ignore_index=True))
    report = pd.DataFrame(
        [(FACTOR + one.name, source, str(one.outcome), "", len(one.values), one.detail) for one in brought],
        columns=["symbol", "source", "outcome", "change", "rows", "detail"],
    )
    store.append("updates", report.assign(recorded_at=moment, started_at=started_at))
    return report


def _rows(brought: _Brought) -> pd.DataFrame:
    sessions = brought.values.index.to_numpy(dtype="datetime64[ns]")
    late = KNOWN_AFTER.get(brought.name, pd.Timedelta(0))
    return pd.DataFrame(
        {
            "name": brought.name,
            "symbol": "",
            "session": sessions,
            "value": brought.values.to_numpy(),
            "known_at": pd.DatetimeIndex(closes(EXCHANGE, sessions), tz="UTC") + late,
        }
    )


def _missing(name: str, known: pd.Index) -> pd.Index:
    """Sessions between the first and the last known one that are not among them."""
    if known.empty:
        return known
    sessions = pd.DatetimeIndex(all_sessions(EXCHANGE))
    due = sessions[(sessions > known[0]) & (sessions < known[-1])]
    if name in YIELDS:
        # On Columbus Day and Veterans Day stocks trade and bonds do not.
        due = due.difference(USFederalHolidayCalendar().holidays(known[0], known[-1]))
    return due.difference(known)
