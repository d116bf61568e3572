"""What was known at the close of a session, for a set of symbols."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from forecaster.adjust import adjusted, with_actions
from forecaster.errors import DataError, UnknownSymbol, UsageError
from forecaster.events import BACKFILL, COLUMNS, no_events, with_backfill
from forecaster.instruments import Instrument, described
from forecaster.remedies import origin, to_bring
from forecaster.sessions import closes
from forecaster.store import Store


@dataclass(frozen=True)
class History:
    """Daily bars, factors and company events as they were known at the close of session `as_of`.

    Attributes
    ----------
    traded : DataFrame
        Bars as they were traded, sorted by symbol and session, one row per pair: columns of the
        prices table with split and dividend in place of adj_close (see `adjust.with_actions`).
        Whatever is computed from them row by row depends on earlier rows only.
    factors : DataFrame
        Columns of the factors table; each row carries the moment `known_at` (UTC).
    events : DataFrame
        `events.COLUMNS` of the same symbols, sorted by symbol and `known_at`; announced dates of results
        from before any were stored are made up from the results, see `events.with_backfill`.
    instruments : mapping
        Symbol -> Instrument.
    as_of : Timestamp
        Session of the latest bar.
    store_version : int
        Version of the prices table that was read, or -1 if it came from elsewhere.
    recorded_by : Timestamp or None
        UTC moment at which the last of what was read was recorded: reading again as of it gives the same
        history, whatever the store has learned since. None if it came from elsewhere.
    """

    traded: pd.DataFrame
    factors: pd.DataFrame
    events: pd.DataFrame
    instruments: Mapping[str, Instrument]
    as_of: pd.Timestamp
    store_version: int = -1
    recorded_by: pd.Timestamp | None = None

    @cached_property
    def prices(self) -> pd.DataFrame:
        """Columns of the prices table, adjusted for the splits and dividends up to `as_of`."""
        return adjusted(self.traded)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with at least one bar, in alphabetical order."""
        return tuple(sorted(self.traded["symbol"].unique()))

    @property
    def is_demonstration(self) -> bool:
        """Whether a symbol's latest bar comes from the bundled sample."""
        return bool((self.traded.groupby("symbol")["source"].last() == "sample").any())

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that name the bars, factors and events, whatever store they lie in."""
        digest = hashlib.sha256()
        for frame in (
            self.traded[["symbol", "session", "open", "high", "low", "close", "volume", "split", "dividend"]],
            self.factors[["name", "symbol", "session", "value", "known_at"]],
            self.events[["symbol", "kind", "happened_at", "known_at", "tone", "magnitude"]],
        ):
            digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        return digest.hexdigest()[:12]

    def until(self, as_of: str | pd.Timestamp) -> "History":
        """Return the history as of an earlier session.

        Raises
        ------
        UsageError
            If `as_of` lies after this history's own, or before its first bar.
        """
        day = parse_session(as_of)
        if day > self.as_of:
            raise UsageError(f"This history ends on {self.as_of.date()}; it knows nothing of {day.date()}")
        cut = _at_close(self.traded, self.factors, self.events, self.instruments, self.store_version, day)
        return replace(cut, recorded_by=self.recorded_by)

    def only(self, symbols: Sequence[str]) -> "History":
        """Return the history of some symbols; the factors stay.

        Raises
        ------
        UnknownSymbol
            If one has no bar.
        """
        self.require(symbols)
        traded, events = (
            rows[rows["symbol"].isin(symbols)].reset_index(drop=True) for rows in (self.traded, self.events)
        )
        return replace(self, traded=traded, events=events)

    @property
    def has_backfill(self) -> bool:
        """Whether announced dates of results were made up from the results that followed."""
        return bool((self.events["source"] == BACKFILL).any())

    def but_events(self, kept: pd.Series) -> "History":
        """Return the history with some of its events: those rows of `events` for which `kept` is true."""
        return replace(self, events=self.events[kept].reset_index(drop=True))

    def bars(self, symbol: str) -> pd.DataFrame:
        """Return one symbol's rows of `prices`.

        Raises
        ------
        UnknownSymbol
            If there are none; lists the symbols there are.
        """
        self.require([symbol])
        return self.prices[self.prices["symbol"] == symbol]

    def require(self, symbols: Sequence[str]) -> None:
        """Check that there are bars of some symbols.

        Raises
        ------
        UnknownSymbol
            If one has none; lists the symbols there are.
        """
        held = set(self.symbols)
        missing = [symbol for symbol in symbols if symbol not in held]
        if missing:
            raise UnknownSymbol(
                f"{', '.join(missing)}: not in this history, which holds {_some(self.symbols)}; "
                f"choose one of these, or read a history of more symbols"
            )


def read_history(
    store: Store,
    symbols: Sequence[str] | None = None,
    as_of: str | pd.Timestamp | None = None,
    recorded_by: pd.Timestamp | None = None,
) -> History:
    """Read what was known at the close of a session.

    Parameters
    ----------
    symbols : sequence of str, optional
        Default: every stored one.
    as_of : str or Timestamp, optional
        Day, ``YYYY-MM-DD``; the last session up to it counts. Default: the last one stored.
    recorded_by : Timestamp, optional
        UTC moment; leaves out what the store learned later, corrections included, so that a
        past run can be repeated exactly.

    Raises
    ------
    UnknownSymbol
        If a symbol has no bar; lists the stored ones.
    DataError
        If nothing was known yet at `as_of`, of one of the symbols or at all.
    """
    day = None if as_of is None else parse_session(as_of)
    version = store.version("prices")
    where = None if symbols is None else {"symbol": symbols}
    prices = store.current("prices", where=where, until=day, recorded_by=recorded_by)
    if symbols is not None:
        held = set(prices["symbol"].unique())
        missing = [symbol for symbol in symbols if symbol not in held]
        if missing:
            stored = tuple(sorted(store.current("instruments")["symbol"]))
            if day is not None and set(missing) <= set(stored):
                raise DataError(f"{', '.join(missing)}: no prices up to {day.date()}; choose a later session")
            raise UnknownSymbol(
                f"{', '.join(missing)}: not stored here (the store holds {_some(stored)}); "
                f"{to_bring(missing, origin(store.rows('updates')['source']))}"
            )
    actions = store.current("actions", where=where, until=day, recorded_by=recorded_by)
    factors = store.current("factors", recorded_by=recorded_by)
    told = store.current("events", where=where, recorded_by=recorded_by)
    events = told[list(COLUMNS)].astype(no_events().dtypes.to_dict())
    shares = store.current("instruments", recorded_by=recorded_by)
    instruments = described(shares)
    _require_described(prices, instruments)
    history = _at_close(
        with_actions(prices, actions), factors, with_backfill(events, instruments), instruments, version, day
    )
    read = pd.concat([rows["fetched_at"] for rows in (prices, actions, factors, told, shares)])
    return replace(history, recorded_by=read.max())


def history_of(
    bars: pd.DataFrame,
    instruments: Mapping[str, Instrument],
    factors: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
) -> History:
    """Make a history of bars that lie in no store, such as those of a file.

    Parameters
    ----------
    bars : DataFrame
        symbol and `sources.BAR_COLUMNS`; prices adjusted for splits, with ``adj_close`` as the only word
        on dividends.
    instruments : mapping
        Symbol -> Instrument, of every symbol.
    factors : DataFrame, optional
        Columns of the factors table; default: none.
    events : DataFrame, optional
        `events.COLUMNS`, results that lie after the last bar included; default: none.
    """
    rows = bars.sort_values(["symbol", "session"], ignore_index=True).assign(tells_actions=False)
    nothing = pd.DataFrame({"symbol": [], "session": [], "kind": [], "value": []})
    empty = pd.DataFrame(columns=["name", "symbol", "session", "value", "known_at"]).astype(
        {"known_at": "datetime64[ns, UTC]", "value": float}
    )
    return _at_close(
        with_actions(rows, nothing),
        empty if factors is None else factors,
        with_backfill(no_events() if events is None else events, instruments),
        instruments,
        -1,
        None,
    )


def _require_described(prices: pd.DataFrame, instruments: Mapping[str, Instrument]) -> None:
    bare = sorted(set(prices["symbol"].unique()) - set(instruments))
    if bare:
        raise DataError(
            f"{', '.join(bare)}: prices without a row in the instruments table, so without an exchange; "
            f"bring it: python -m forecaster update {' '.join(bare)}"
        )


def parse_session(day: str | pd.Timestamp) -> pd.Timestamp:
    """Read a session's date.

    Raises
    ------
    UsageError
        If it is no date.
    """
    try:
        # Strictly, for text: 03/04/2024 is another day in New York than in London.
        moment = pd.Timestamp(date.fromisoformat(day) if isinstance(day, str) else day)
        return moment.tz_localize(None).normalize().as_unit("ns")
    except ValueError as error:
        raise UsageError(f"{day!r} is no date; expected YYYY-MM-DD") from error


def _at_close(
    traded: pd.DataFrame,
    factors: pd.DataFrame,
    events: pd.DataFrame,
    instruments: Mapping[str, Instrument],
    store_version: int,
    day: pd.Timestamp | None,
) -> History:
    """Keep what was known at the close of the last session up to `day`."""
    known = traded if day is None else traded[traded["session"] <= day]
    if known.empty:
        when = "" if day is None else f" up to {day.date()}"
        raise DataError(
            f"No prices stored{when}; bring some: python -m forecaster quickstart, update or import"
        )
    last = known["session"].max()
    exchanges = {instruments[symbol].exchange for symbol in known.loc[known["session"] == last, "symbol"]}
    close = max(closes(exchange, np.array([last], dtype="datetime64[ns]"))[0] for exchange in exchanges)
    moment = pd.Timestamp(close, tz="UTC")
    return History(
        known.reset_index(drop=True),
        factors[factors["known_at"] <= moment].reset_index(drop=True),
        events[(events["known_at"] <= moment) & events["symbol"].isin(known["symbol"])].reset_index(
            drop=True
        ),
        instruments,
        last,
        store_version,
    )


def _some(symbols: Sequence[str]) -> str:
    return ", ".join(symbols[:20]) or "no symbol"
