"""One reply, sifted: what of it is stored, what goes to quarantine, what is missing, and why."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

import pandas as pd

from forecaster.ingest.checks import NUMBERS, malformed, suspicious
from forecaster.ingest.overlap import Change, Overlap, compare
from forecaster.ingest.unreported import NO_ACTIONS, compare_unreported, continued
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions, last_complete, positions
from forecaster.sources import Fetched, Outcome

A_WEEK = 5
"""Sessions that a symbol may get nothing of before its update counts as failed."""


@dataclass(frozen=True)
class Held:
    """What the store has of one symbol from the first session of a reply on.

    Attributes
    ----------
    bars : DataFrame
        Index session; columns open, high, low, close, adj_close, volume, as traded.
    actions : DataFrame
        session, kind, value.
    instrument : Instrument or None
    first, last : Timestamp or None
        Of everything that is stored.
    """

    bars: pd.DataFrame
    actions: pd.DataFrame
    instrument: Instrument | None = None
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None


def _none() -> pd.DataFrame:
    return pd.DataFrame()


@dataclass(frozen=True)
class Sifted:
    """What one reply brought, ready to be stored but for source and time.

    Attributes
    ----------
    symbol : str
    outcome : Outcome
    change : Change or None
        None where nothing was compared.
    detail : str
        One line for a person.
    instruments, actions, prices, refused : DataFrame
        Rows of the tables; `refused` for quarantine.
    judged : DatetimeIndex
        Sessions on which the reply had a say: those of them that stand in quarantine and are not
        refused again leave it.
    missing : DatetimeIndex
        Sessions inside the series that are neither stored nor among `prices`.
    """

    symbol: str
    outcome: Outcome
    change: Change | None = None
    detail: str = ""
    instruments: pd.DataFrame = field(default_factory=_none)
    actions: pd.DataFrame = field(default_factory=_none)
    prices: pd.DataFrame = field(default_factory=_none)
    refused: pd.DataFrame = field(default_factory=_none)
    judged: pd.Index = field(default_factory=lambda: pd.Index([]))
    missing: pd.Index = field(default_factory=lambda: pd.Index([]))


def sift(
    fetched: Fetched,
    held: Held,
    start: pd.Timestamp | None,
    asked_at: pd.Timestamp,
    delay_minutes: int,
    in_place: bool = False,
) -> Sifted:
    """Judge one reply.

    Parameters
    ----------
    start : Timestamp or None
        First session that was asked for.
    asked_at : Timestamp
        When, in UTC. Bars of a session that had closed less than `delay_minutes` before are left out.
    in_place : bool
        Take the reply's word over the store's where they differ.
    """
    symbol, instrument = fetched.symbol, fetched.instrument or held.instrument
    if fetched.outcome is not Outcome.OK:
        return Sifted(symbol, fetched.outcome, detail=fetched.detail)
    if instrument is None:
        return Sifted(symbol, Outcome.INVALID, detail="its exchange is not known; fetch all of it anew")
    if moved := _moved(held, instrument):
        return Sifted(symbol, Outcome.INVALID, detail=moved)
    tells = fetched.actions is not None
    if fetched.actions is not None:
        # An empty frame may come without types.
        fetched = replace(fetched, actions=fetched.actions.astype(NO_ACTIONS.dtypes.to_dict()))
    last = last_complete(instrument.exchange, asked_at, delay_minutes)
    bars = fetched.bars[fetched.bars["session"] <= last].reset_index(drop=True)
    early = len(fetched.bars) - len(bars)
    faults = malformed(bars, instrument.exchange)
    sound = _by_session(bars.drop(index=faults.index))
    bad = bars.loc[faults.index].assign(reason=faults)
    notes = [f"{_count(early, 'bar')} of sessions not yet final left out"] if early else []
    if sound.empty:
        said = _quarantined(bad) or "no bar of a finished session among the rows delivered"
        return Sifted(
            symbol,
            Outcome.INVALID,
            detail="; ".join([*notes, said]),
            refused=bad.assign(symbol=symbol, tells_actions=tells),
        )
    if in_place and len(held.bars) and not held.bars.index.isin(sound.index).any():
        said = "no stored session is among those delivered: another company? Bring it into another --home"
        return Sifted(symbol, Outcome.INVALID, detail=said)
    overlap, sound, stored = _overlap(fetched, held, sound, start, in_place)
    trusted = stored[stored.index.isin(sound.index)] if in_place else held.bars
    doubts = (
        suspicious(sound, trusted, overlap.fresh, fetched.actions) if overlap.fits else pd.Series(dtype=str)
    )
    taken = overlap.fresh.difference(doubts.index) if overlap.fits else overlap.fresh[:0]
    refused = _refused(sound, stored, bad, overlap, doubts)
    actions = overlap.actions[~_attached(overlap.actions["session"], sound.index).isin(doubts.index)]
    known = held.bars.index.union(taken)
    missing = _missing(instrument.exchange, known, start or sound.index[0], held.first)
    outcome, notes = _words(symbol, overlap, actions, taken, refused, missing, notes)
    return Sifted(
        symbol,
        outcome,
        overlap.change,
        "; ".join(notes),
        pd.DataFrame([asdict(instrument) | {"symbol": symbol}]),
        (actions if overlap.fits else actions[:0]).assign(symbol=symbol),
        sound.loc[taken]
        .reset_index()
        .assign(
            symbol=symbol,
            currency=instrument.currency,
            tells_actions=tells,
        ),
        refused.assign(symbol=symbol, tells_actions=tells),
        sound.index.union(stored.index),
        missing,
    )


def _overlap(
    fetched: Fetched, held: Held, sound: pd.DataFrame, start: pd.Timestamp | None, in_place: bool
) -> tuple[Overlap, pd.DataFrame, pd.DataFrame]:
    """Compare a reply with the stored bars of the same stretch; return what was compared, too."""
    stored = held.bars[held.bars.index >= (start or sound.index[0])]
    if fetched.actions is None:
        whole = held.last is not None and sound.index[0] <= held.first and sound.index[-1] >= held.last
        sound = continued(held.bars, sound)
        stored = stored[stored.index <= sound.index[-1]]
        overlap = compare_unreported(stored, sound, held.last, whole)
    else:
        actions = held.actions[held.actions["session"] >= (start or sound.index[0])]
        overlap = compare(stored, sound, actions, fetched.actions, held.last)
    if in_place:
        fresh = overlap.fresh.union(overlap.revised.index)
        overlap = replace(overlap, fits=True, fresh=fresh, revised=overlap.revised.iloc[:0])
    return overlap, sound, stored


def _by_session(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.set_index("session")[NUMBERS].astype(float).sort_index()


def _moved(held: Held, now: Instrument) -> str:
    """Say what keeps bars of a symbol from going on: another currency, or an exchange with other sessions."""
    before = held.instrument
    if before is None:
        return ""
    if before.currency != now.currency:
        return (
            f"stored in {before.currency or 'an unnamed currency'}, delivered in "
            f"{now.currency or 'an unnamed one'}; bring it into another --home"
        )
    if (positions(now.exchange, held.bars.index.to_numpy()) < 0).any():
        return (
            f"stored with the sessions of {before.exchange}, delivered with those of {now.exchange}; "
            f"bring it into another --home"
        )
    return ""


def _refused(
    sound: pd.DataFrame, stored: pd.DataFrame, bad: pd.DataFrame, overlap: Overlap, doubts: pd.Series
) -> pd.DataFrame:
    """Rows for quarantine, one a session; of a stored session it is the store's own that stays."""
    news = pd.Series("does not continue what is stored", index=overlap.fresh)
    odd = pd.concat([doubts, overlap.revised] if overlap.fits else [news, overlap.revised])
    gone = overlap.vanished
    spoilt = bad[bad["session"].isin(gone.index)].drop_duplicates("session").set_index("session")["reason"]
    gone = gone.where(
        ~gone.index.isin(spoilt.index), "stored, but now delivered with " + spoilt.reindex(gone.index)
    )
    rows = [
        bad[~bad["session"].isin(stored.index)],
        sound.loc[odd.index].assign(reason=odd).rename_axis("session").reset_index(),
        stored.loc[gone.index].assign(reason=gone).rename_axis("session").reset_index(),
    ]
    some = [part for part in rows if len(part)]
    return pd.concat(some, ignore_index=True) if some else bad


def _attached(sessions: pd.Series, bars: pd.Index) -> pd.Series:
    """Name, for each action, the first delivered bar that it bears on."""
    at = bars.searchsorted(sessions.to_numpy())
    return pd.Series(pd.DatetimeIndex([*bars, pd.NaT])[at], index=sessions.index)


def _missing(
    exchange: str, known: pd.Index, first: pd.Timestamp, stored_first: pd.Timestamp | None
) -> pd.Index:
    """Sessions from `first` on that lie between known ones."""
    if known.empty:
        return known
    sessions = pd.DatetimeIndex(all_sessions(exchange))
    begin = known[0] if stored_first is None else max(min(first, known[0]), min(stored_first, known[0]))
    return sessions[(sessions >= begin) & (sessions <= known[-1])].difference(known)


def _words(
    symbol: str,
    overlap: Overlap,
    actions: pd.DataFrame,
    taken: pd.Index,
    refused: pd.DataFrame,
    missing: pd.Index,
    notes: Iterable[str],
) -> tuple[Outcome, list[str]]:
    said = list(notes)
    if not overlap.fits:
        said.append(
            f"what is delivered does not continue what is stored ({refused['reason'].iloc[-1]}); nothing "
            f"taken. If the source is right: python -m forecaster update {symbol} --replace (a file: import "
            f"FILE --replace)"
        )
        return Outcome.INVALID, said
    if overlap.change is not Change.NEW:
        for row in actions.to_dict("records"):
            what = f"{row['kind']} of {row['value']:g}" if row["value"] else f"no {row['kind']}"
            said.append(f"{what} on {row['session'].date()}")
    if words := _quarantined(refused):
        said.append(words)
    if len(missing):
        said.append(f"{_count(len(missing), 'session')} missing, first {missing[0].date()}")
    # One late bar in quarantine is no failure; a symbol that gets nothing any more is one.
    some = 0 if overlap.change is Change.NEW else A_WEEK
    refused_all = taken.empty and len(overlap.fresh) > some
    return (Outcome.INVALID if refused_all else Outcome.OK), said


def _quarantined(refused: pd.DataFrame) -> str:
    if refused.empty:
        return ""
    first = refused.sort_values("session").iloc[0]
    return f"{_count(len(refused), 'row')} in quarantine, first {first['session'].date()}: {first['reason']}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


NOTHING = Held(
    pd.DataFrame(columns=NUMBERS, index=pd.DatetimeIndex([], name="session"), dtype=float), NO_ACTIONS
)
"""Of a symbol that is not stored."""
