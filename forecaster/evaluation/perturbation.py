"""Rewrite the future of a history: what a leak check, and every test of one, starts from.

What counts as the future of a moment is decided by when a thing could be known: a bar, with the
split and dividend on it, by the close of its session on its symbol's own exchange, a factor by its
``known_at``. So after the close in London a bar of the same session in New York is still to come.
An event counts from the first session that closes after its ``known_at``: one that is told at the
very close is still to come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecaster.errors import TooLittleHistory, UsageError
from forecaster.events import COLUMNS, KINDS, SCHEDULED, no_events
from forecaster.history import History
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions, closes, positions

Rewriting = Callable[[History, np.datetime64, int], History]
"""From a history, a UTC moment and a seed to the same history with another future."""

LATE = pd.Timedelta(minutes=15)
"""How long after the close a made-up factor becomes known."""

SECOND = pd.Timedelta(seconds=1)

SOON = (0 * SECOND, SECOND)
"""How long after a moment events and plans of every kind are made up to become known."""

AROUND_CLOSE = (-SECOND, 0 * SECOND, SECOND, pd.Timedelta(hours=-3), pd.Timedelta(days=1))
"""When, seen from a close, made-up events become known; a day after a Friday's is a weekend."""

EVERY = 40
"""Sessions, on average, between two made-up events of a kind."""

EARLY = (0, 69, 9, 21, 3)
"""Rows of a beginning, the most telling first: there what is filled backwards from a first value shows."""


def perturb(history: History, moment: np.datetime64, seed: int = 0) -> History:
    """Make up every bar, split, dividend, factor value and event that became known after a moment.

    Sessions, symbols and the moments at which factors were known stay. Prices are scattered over
    orders of magnitude around the true ones, so that whatever reads an extreme of them moves too.
    Events become others, and more are invented, many of them known `SOON` after the moment.

    Parameters
    ----------
    moment : datetime64
        UTC.
    """
    random = np.random.default_rng(seed)
    traded = history.traded
    later = bars_known_at(history) > moment
    count = len(traded)
    close = traded["close"].to_numpy(dtype=float) * random.lognormal(0.0, 2.0, count)
    open_ = close * random.uniform(0.8, 1.25, count)
    split = random.choice([0.5, 1.0, 2.0, 3.0], count, p=[0.01, 0.97, 0.01, 0.01])
    before = pd.Series(np.where(later, close, traded["close"])).groupby(traded["symbol"].to_numpy()).shift()
    paid = random.uniform(0.0, 0.02, count) * (random.random(count) < 0.05)
    invented = {
        "open": open_,
        "high": np.maximum(open_, close) * random.uniform(1.0, 1.5, count),
        "low": np.minimum(open_, close) / random.uniform(1.0, 1.5, count),
        "close": close,
        "volume": random.lognormal(13.0, 3.0, count),
        "split": split,
        "dividend": (before / split).fillna(0.0).to_numpy() * paid,
    }
    factors = history.factors
    unknown = _moments(factors) > moment
    values = random.lognormal(3.0, 2.0, len(factors))
    return replace(
        history,
        traded=traded.assign(**{name: np.where(later, invented[name], traded[name]) for name in invented}),
        factors=factors.assign(value=np.where(unknown, values, factors["value"])),
        events=_other_events(history, moment, random),
    )


def thin(history: History, moment: np.datetime64, seed: int = 0) -> History:
    """Leave out half of the rows that became known after a moment, and make up the others."""
    random = np.random.default_rng(seed)
    thinned = _keep(
        history,
        (bars_known_at(history) <= moment) | (random.random(len(history.traded)) < 0.5),
        (_moments(history.factors) <= moment) | (random.random(len(history.factors)) < 0.5),
        (_moments(history.events) < moment) | (random.random(len(history.events)) < 0.5),
    )
    return perturb(thinned, moment, seed)


def cut(history: History, moment: np.datetime64, seed: int = 0) -> History:
    """Leave out all that became known after a moment."""
    return _keep(
        history,
        bars_known_at(history) <= moment,
        _moments(history.factors) <= moment,
        _moments(history.events) < moment,
    )


REWRITINGS: dict[str, Rewriting] = {"made up": perturb, "thinned out and made up": thin, "cut off": cut}


def known_at(symbols: pd.Series, sessions: pd.Series, instruments: Mapping[str, Instrument]) -> np.ndarray:
    """Moment at which each row of a table was known: the close of its session on its symbol's exchange.

    Where that exchange is closed on the day, the latest close of the others counts.

    Returns
    -------
    ndarray of datetime64[ns], (rows,)
        UTC; NaT where no exchange has such a session.
    """
    if symbols.empty:
        return np.empty(0, dtype="datetime64[ns]")
    codes, days = pd.factorize(sessions, use_na_sentinel=False)
    exchange_of = symbols.map({symbol: one.exchange for symbol, one in instruments.items()}).to_numpy()
    exchanges = sorted(set(exchange_of))
    table = {exchange: _closes(exchange, days.to_numpy(dtype="datetime64[ns]")) for exchange in exchanges}
    any_exchange = np.fmax.reduce(list(table.values()))
    moments = np.empty(len(symbols), dtype="datetime64[ns]")
    for exchange in exchanges:
        rows = exchange_of == exchange
        own = table[exchange]
        moments[rows] = np.where(np.isnat(own), any_exchange, own)[codes[rows]]
    return moments


def bars_known_at(history: History) -> np.ndarray:
    """Moment at which each row of `History.traded` was known, UTC, ``datetime64[ns]``."""
    return known_at(history.traded["symbol"], history.traded["session"], history.instruments)


def with_factors(history: History, names: Sequence[str], seed: int = 0) -> History:
    """Add made-up market-wide factors, known `LATE` after the last close of each session.

    Where a history holds no factor, nothing else would tell whether one is read before its time.
    """
    random = np.random.default_rng(seed)
    closed = pd.Series(bars_known_at(history)).groupby(history.traded["session"].to_numpy()).max()
    walks = np.exp(random.normal(0.0, 0.02, (len(names), len(closed))).cumsum(axis=1))
    made_up = [
        pd.DataFrame(
            {
                "name": name,
                "symbol": "",
                "session": closed.index,
                "value": 20.0 * walk,
                "known_at": pd.DatetimeIndex(closed + LATE, tz="UTC"),
            }
        )
        for name, walk in zip(names, walks, strict=True)
    ]
    held = [] if history.factors.empty else [history.factors]
    return replace(history, factors=pd.concat([*held, *made_up], ignore_index=True))


def with_events(history: History, kinds: Sequence[str], seed: int = 0) -> History:
    """Add made-up events of some kinds for every symbol, each known `AROUND_CLOSE`.

    Half of those closes are such that the clock shows another time than at the one before: early
    closes, and where daylight-saving time begins or ends.
    """
    random = np.random.default_rng(seed)
    made_up = [history.events]
    for symbol, rows in history.traded.groupby("symbol"):
        exchange = history.instruments[str(symbol)].exchange
        closed = closes(exchange, rows["session"].to_numpy())
        shifted = closed[np.append(False, np.diff(closed - closed.astype("datetime64[D]")) != 0)]
        count = len(closed) // EVERY + 1
        for kind in kinds:
            usual, odd = random.choice(closed, count), random.choice(np.append(shifted, closed[0]), count)
            after = random.choice(pd.TimedeltaIndex(AROUND_CLOSE).to_numpy(), 2 * count)
            made_up.append(_made_up(str(symbol), kind, np.append(usual, odd) + after, random))
    return replace(history, events=_in_order(made_up))


def telling_moments(history: History, count: int, seed: int = 0) -> np.ndarray:
    """Choose closes after which to rewrite the future so that narrow leaks show too.

    In this order: the last but one, some of the first sessions, some of the first of symbols that
    begin later, around gaps of single symbols, between a factor's session and its ``known_at``, on
    either side of an event's, and others at random.

    Parameters
    ----------
    count : int
        At most so many.

    Returns
    -------
    ndarray of datetime64[ns]
        UTC, ascending; each is the close of a stored bar with others after it.

    Raises
    ------
    UsageError
        If `count` is below 1.
    TooLittleHistory
        If all bars were known at one moment.
    """
    if count < 1:
        raise UsageError(f"cutoffs: expected at least 1, got {count}")
    moments = np.unique(bars_known_at(history))[:-1]
    if not len(moments):
        raise TooLittleHistory("A history of one session has no future to rewrite; bring a longer one")
    random = np.random.default_rng(seed)
    some = max(1, count // 5)
    chosen = [
        moments[-1],
        *(moments[row] for row in EARLY if row < len(moments)),
        *_late_beginnings(history, moments, random)[:some],
        *_few(_around_gaps(history, moments), some, random),
        *_few(_before_factors(history, moments, random), some, random),
        *_few(_around_events(history, moments), some, random),
        *random.permutation(moments),
    ]
    return np.sort(np.array(list(dict.fromkeys(chosen))[:count]))


def _closes(exchange: str, sessions: np.ndarray) -> np.ndarray:
    return np.where(
        positions(exchange, sessions) >= 0, closes(exchange, sessions), np.datetime64("NaT", "ns")
    )


def _moments(rows: pd.DataFrame, column: str = "known_at") -> np.ndarray:
    return rows[column].dt.tz_convert(None).to_numpy(dtype="datetime64[ns]")


def _other_events(history: History, moment: np.datetime64, random: np.random.Generator) -> pd.DataFrame:
    """Turn events that became known at a moment or later into others, and invent more."""
    later = _moments(history.events) >= moment
    held = history.events[later]
    symbols, kinds = np.array(history.symbols, dtype=object), np.array(list(KINDS), dtype=object)
    soon, count = pd.TimedeltaIndex(SOON).to_numpy(), len(symbols) * len(KINDS) * len(SOON)
    symbol = [
        held["symbol"].to_numpy(),
        np.repeat(symbols, len(kinds) * len(soon)),
        random.choice(symbols, count),
    ]
    kind = [
        random.choice(kinds, len(held)),
        np.tile(np.repeat(kinds, len(soon)), len(symbols)),
        random.choice(kinds, count),
    ]
    known_at = [
        _moments(held),
        moment + np.tile(soon, len(symbols) * len(kinds)),
        moment + _waits(count, random),
    ]
    invented = _made_up(np.concatenate(symbol), np.concatenate(kind), np.concatenate(known_at), random)
    return _in_order([history.events[~later], invented])


def _made_up(
    symbol: ArrayLike, kind: ArrayLike, known_at: np.ndarray, random: np.random.Generator
) -> pd.DataFrame:
    """Make up events known at some moments: happened before, or, of an announced date, planned for later."""
    count, known_at = len(known_at), known_at.astype("datetime64[ns]")
    events = pd.DataFrame({"kind": np.broadcast_to(kind, count), "symbol": np.broadcast_to(symbol, count)})
    planned = events["kind"].isin(SCHEDULED).to_numpy()
    wait = _waits(count, random)
    known = random.random(count) < 0.8
    return events.assign(
        happened_at=pd.DatetimeIndex(known_at + np.where(planned, wait, -wait), tz="UTC"),
        known_at=pd.DatetimeIndex(known_at, tz="UTC"),
        tone=np.where(known & ~planned, random.uniform(-1, 1, count), np.nan),
        magnitude=np.where(known, np.where(planned, 1.0, 30.0) * random.random(count), np.nan),
        title="made up",
        url=np.arange(count).astype(str),
        source="made up",
    )


def _waits(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw times from half a day to sixty, short ones as often as long ones."""
    hours = np.exp(random.uniform(np.log(12), np.log(24 * 60), count))
    return (3600 * hours).astype("timedelta64[s]").astype("timedelta64[ns]")


def _in_order(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = pd.concat([one for one in parts if len(one)] or parts[:1])[list(COLUMNS)]
    typed = filled.astype(no_events().dtypes.to_dict())
    return typed.sort_values(["symbol", "known_at"], kind="stable", ignore_index=True)


def _keep(history: History, bars: np.ndarray, factors: np.ndarray, events: np.ndarray) -> History:
    traded = history.traded[bars].reset_index(drop=True)
    return replace(
        history,
        traded=traded,
        factors=history.factors[factors].reset_index(drop=True),
        events=history.events[events].reset_index(drop=True),
        as_of=traded["session"].max(),
    )


def _few(moments: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    return random.permutation(np.unique(moments))[:count]


def _late_beginnings(history: History, moments: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Moments of the rows `EARLY` of every symbol that begins after the first moment, row by row."""
    symbol = history.traded["symbol"]
    known = pd.Series(bars_known_at(history))
    late = known.groupby(symbol.to_numpy()).transform("min").to_numpy() > moments[0]
    row = symbol.groupby(symbol).cumcount().to_numpy()
    found = [np.intersect1d(known[late & (row == early)], moments) for early in EARLY]
    return np.array(list(dict.fromkeys(np.concatenate([random.permutation(one) for one in found]))))


def _around_gaps(history: History, moments: np.ndarray) -> np.ndarray:
    """Last moment before each run of sessions that a symbol lacks, and first and last inside it."""
    start = history.traded["session"].min().to_datetime64()
    found = []
    for symbol, rows in history.traded.groupby("symbol"):
        exchange = history.instruments[str(symbol)].exchange
        calendar = all_sessions(exchange)
        leading = np.searchsorted(calendar, start) - 1
        held = np.append(leading, positions(exchange, rows["session"].to_numpy()))
        gap = np.flatnonzero(np.diff(held) > 1)
        edges = np.concatenate([held[gap], held[gap] + 1, held[gap + 1] - 1])
        found.append(closes(exchange, calendar[np.maximum(edges, 0)]))
    place = np.searchsorted(moments, np.concatenate(found), side="right") - 1
    return moments[place[place >= 0]]


def _before_factors(history: History, moments: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """First and last moment from a factor's session on at which it was not known yet; two rows a name."""
    known = _moments(history.factors)
    sessions = history.factors["session"].to_numpy(dtype="datetime64[ns]")
    found = []
    for rows in history.factors.groupby("name").indices.values():
        first = np.searchsorted(moments, sessions[rows])
        last = np.searchsorted(moments, known[rows]) - 1
        late = np.flatnonzero(first <= last)
        if len(late):
            latest = late[np.argmax(known[rows][late] - sessions[rows][late])]
            picked = [latest, random.choice(late)]
            found += [*first[picked], *last[picked]]
    return moments[np.array(found, dtype=int)]


def _around_events(history: History, moments: np.ndarray) -> np.ndarray:
    """Last moment before, or at, an event becomes known, and the first after it."""
    known = _moments(history.events[history.events["symbol"].isin(history.symbols)])
    place = np.searchsorted(moments, known, side="right")
    return moments[np.concatenate([place[place > 0] - 1, place[place < len(moments)]])]
