"""A workspace: a folder with a store, a registry and a ledger; what notebooks hold."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from forecaster import ingest, ledger
from forecaster.config import Settings
from forecaster.decisions import CHAMPION, holder
from forecaster.errors import DataError, ModelError, UsageError
from forecaster.health import Health, health, require_fresh
from forecaster.history import History, parse_session, read_history
from forecaster.ingest import company_events, quarantine
from forecaster.ingest.pace import Pace
from forecaster.instruments import described, normalise
from forecaster.live import Live, live
from forecaster.locks import exclusive
from forecaster.progress import Progress, silent
from forecaster.registry import Registry
from forecaster.remedies import FILES, origin, to_bring
from forecaster.sources import EventSource, Outcome, Source, event_source, source
from forecaster.sources.event_files import is_events, read_events
from forecaster.sources.files import FilesSource
from forecaster.store import Clock, Store, now

if TYPE_CHECKING:
    from forecaster.explain.inside import Inside
    from forecaster.explain.scenario import Scenario, WhatIf


class Workspace:
    """One folder of data, models and forecasts.

    Parameters
    ----------
    home : str or Path, optional
        The folder; made when first written to. Default: the setting ``home``.
    settings : Settings, optional
        Default: read from ``forecaster.toml`` and ``FORECASTER_*`` variables.
    clock : callable
        Tells the present moment, in UTC.
    """

    def __init__(
        self, home: str | Path | None = None, settings: Settings | None = None, clock: Clock = now
    ) -> None:
        self.settings = settings or Settings.load(home=home)
        self.clock = clock
        self.home = Path(home) if home is not None else self.settings.home
        self.store = Store(self.home / "store")

    @cached_property
    def registry(self) -> Registry:
        """Model versions, aliases and decisions."""
        return Registry(self.home, self.store, self.clock)

    @property
    def watchlist(self) -> tuple[str, ...]:
        """Symbols that are kept up to date and forecast, in alphabetical order."""
        rows = self.store.current("watchlist")
        return tuple(rows.loc[rows["watched"], "symbol"])

    @property
    def origin(self) -> str:
        """Where the prices come from: the name of a source, or "files"; "yahoo" while there are none."""
        return origin(self.store.rows("updates")["source"])

    def watch(self, symbols: Sequence[str], watched: bool = True) -> None:
        """Put symbols on the watchlist, or take them off it; prices stay."""
        wanted = list(dict.fromkeys(normalise(symbol) for symbol in symbols))
        changed = [symbol for symbol in wanted if (symbol in self.watchlist) != watched]
        self.store.append(
            "watchlist", pd.DataFrame({"symbol": changed, "watched": watched, "recorded_at": self.clock()})
        )

    def update(
        self,
        symbols: Sequence[str] | None = None,
        source: str | Source | None = None,
        progress: Progress = silent,
        replace: bool = False,
        events: Sequence[str | EventSource] | None = None,
        patience: float = 0.0,
    ) -> pd.DataFrame:
        """Fetch prices, factors and company events and append what is new.

        Safe to repeat, and to go on with after a stop. Events come last and are extra: how they went is
        told by `event_outcomes`.

        Parameters
        ----------
        symbols : sequence of str, optional
            Default: the watchlist. Symbols that arrive are put on it.
        source : str or Source, optional
            "yahoo", "tiingo", "sample" or a source of your own; default: where the stored prices
            come from.
        replace : bool
            Ask for everything anew, and where it differs take it in place of what is stored.
        events : sequence of str or EventSource, optional
            "yahoo", "news", "filings", "sample" or sources of your own; empty for none. Default: those
            that go with the prices, see `event_sources`; none with a price source of your own.
        patience : float
            Seconds to wait for another update of this workspace.

        Returns
        -------
        DataFrame
            Of the prices, per symbol: symbol, source, outcome, change, rows appended, detail; see
            `ingest.update`. After Yahoo's prices follow the symbols of the market-wide factors.

        Raises
        ------
        Locked
            If another update of this workspace is running, and goes on for longer.
        """
        wanted = [normalise(symbol) for symbol in symbols] if symbols is not None else list(self.watchlist)
        if not wanted:
            raise DataError("No symbol to update; name some, or: python -m forecaster watchlist add AAPL")
        chosen = self.price_source(source)
        if events is None:
            events = self.event_sources(chosen.name) if source is None or isinstance(source, str) else ()
        tellers = [event_source(one, self.settings) if isinstance(one, str) else one for one in events]
        # What lies in files arrives in one commit, all or nothing.
        batch = len(wanted) if isinstance(chosen, FilesSource) else ingest.BATCH
        pace = Pace(self.settings.requests_per_second if chosen.remote else None)
        delay = self.settings.bar_delay_minutes
        with exclusive(self.home, "update", patience):
            outcomes = ingest.update(
                self.store, chosen, wanted, self.clock, delay, pace, progress, batch, replace,
                symbols is not None,
            )  # fmt: skip
            arrived = outcomes["outcome"] == Outcome.OK
            watched = list(outcomes.loc[arrived, "symbol"])
            if chosen.name == "yahoo" and arrived.any() and pace.stopped is None:
                factors = ingest.update_factors(self.store, chosen, self.clock, delay, pace, progress)
                outcomes = pd.concat([outcomes, factors], ignore_index=True)
            if pace.stopped is None:
                self._update_events(tellers, watched, progress)
            # Last: a symbol on the watchlist has all that belongs to it.
            self.watch(watched)
            self.store.compact()
        return outcomes

    def import_file(
        self,
        path: str | Path,
        columns: Mapping[str, str] | None = None,
        exchange: str = "XNYS",
        currency: str | None = None,
        replace: bool = False,
    ) -> pd.DataFrame:
        """Take prices from a CSV or Parquet file, or from a folder of them; or events from a file.

        A file of events is recognised by its columns, see `sources.event_files.read_events`. All or
        nothing: a faulty file is refused whole.

        Returns
        -------
        DataFrame
            Of prices as `update`; of events without the column change.

        Raises
        ------
        FileFormatError
            Naming file, row and column.
        UsageError
            If an option for prices is given with a file of events.
        """
        if is_events(Path(path)):
            if columns or currency or replace:
                raise UsageError(f"{path} holds events; of the options only the exchange applies to it")
            rows = read_events(Path(path), exchange)
            with exclusive(self.home, "update"):
                return company_events.import_events(self.store, rows, self.clock)
        files = FilesSource(Path(path), columns, exchange, currency)
        return self.update(files.symbols(), files, replace=replace)

    def event_sources(self, prices: str) -> tuple[str, ...]:
        """Name the sources of events that go with a source of prices.

        With Yahoo's prices those of the setting ``event_sources``, filings only if ``contact`` is set;
        with the sample its own; with others none.
        """
        if prices != "yahoo":
            return ("sample",) if prices == "sample" else ()
        chosen = self.settings.event_sources
        return tuple(name for name in chosen if name != "filings" or self.settings.contact)

    def event_outcomes(self) -> pd.DataFrame:
        """Return how each source of events was last asked for each symbol.

        Returns
        -------
        DataFrame
            symbol, source, outcome, rows (appended), detail, recorded_at.
        """
        return self.store.current("event_updates")

    def events(self, symbol: str | None = None) -> pd.DataFrame:
        """Return the stored events and announced dates, of one symbol or of all; those known last first.

        Returns
        -------
        DataFrame
            `events.COLUMNS` and fetched_at.
        """
        where = None if symbol is None else {"symbol": [normalise(symbol)]}
        rows = self.store.current("events", where=where)
        return rows.sort_values(["known_at", "symbol"], ascending=[False, True], ignore_index=True)

    def quarantined(self, symbols: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows that stand in quarantine, with the reasons."""
        return quarantine.held(self.store, None if symbols is None else [normalise(one) for one in symbols])

    def release(self, symbol: str, sessions: Sequence[str] | None = None) -> pd.DataFrame:
        """Take rows of a symbol out of quarantine into the prices; default: all of them.

        Raises
        ------
        DataError
            If a row is not there, or has no price to be stored.
        """
        days = None if sessions is None else [parse_session(day) for day in sessions]
        with exclusive(self.home, "update"):
            return quarantine.release(self.store, normalise(symbol), days, self.clock())

    def history(
        self,
        as_of: str | pd.Timestamp | None = None,
        recorded_by: pd.Timestamp | None = None,
        symbols: Sequence[str] | None = None,
    ) -> History:
        """Read what was known at the close of a session; see `history.read_history`.

        Default symbols: the watchlist, or all that is stored where it is empty.
        """
        wanted = (
            [normalise(symbol) for symbol in symbols] if symbols is not None else (self.watchlist or None)
        )
        return read_history(self.store, wanted, as_of, recorded_by)

    def forecasts(self, symbol: str | None = None) -> pd.DataFrame:
        """Return the forecasts that stand; see `ledger.latest`."""
        return ledger.latest(self.store, None if symbol is None else normalise(symbol))

    def forecast(
        self, symbol: str, as_of: str | pd.Timestamp | None = None, version: str | None = None
    ) -> pd.DataFrame:
        """Return the champion's forecast of one symbol; compute and issue it if need be.

        Parameters
        ----------
        as_of : str or Timestamp, optional
            Session; the forecast is then computed from what was known at its close, and not issued.
        version : str, optional
            Another model version than the champion; computed likewise, and not issued.

        Returns
        -------
        DataFrame
            Rows of the forecasts table, one per step.

        Raises
        ------
        UnknownSymbol, TooLittleHistory
            If the symbol cannot be forecast.
        ModelError
            If there is no model yet.
        Expired
            If data or model are past the hard limits of the settings, and `as_of` is not given.
        """
        ticker = normalise(symbol)
        day = None if as_of is None else parse_session(as_of)
        last = self.history(symbols=[ticker]).as_of
        if day is None:
            require_fresh(self.store, self.settings, ticker, self.clock(), version)
        if day is None and version is None:
            held = self.forecasts(ticker)
            champion = holder(self.store, CHAMPION)
            if not held.empty and (held["cutoff"].iloc[0], held["version"].iloc[0]) == (last, champion):
                return held
        # Late: it brings ONNX Runtime, which a forecast already issued does not need.
        from forecaster import workflow

        if day is not None or version is not None:
            return workflow.forecast(self.store, self.registry, [ticker], day, version)
        workflow.issue(self.store, self.registry, [ticker], self.clock)
        return self.forecasts(ticker)

    def health(self, symbol: str, version: str | None = None) -> Health:
        """Tell how far a symbol's forecasts can be relied on today; see `health.health`."""
        ticker = normalise(symbol)
        self.history(symbols=[ticker])
        return health(self.store, self.settings, [ticker], self.clock(), version)[ticker]

    def live(self, version: str | None = None) -> Live:
        """Settle what a version (default: the champion) has issued; see `live.live`.

        Raises
        ------
        ModelError
            If there is no champion.
        """
        chosen = version or holder(self.store, CHAMPION)
        if chosen is None:
            raise ModelError("No model yet; make one: python -m forecaster quickstart, or train")
        return live(self.store, chosen)

    def paths(
        self,
        symbol: str,
        count: int = 1000,
        as_of: str | pd.Timestamp | None = None,
        version: str | None = None,
    ) -> pd.DataFrame:
        """Draw joint paths over the sessions ahead that agree with the forecast of every step.

        Returns
        -------
        DataFrame
            See `models.trained.Model.paths`.
        """
        # Late: it brings ONNX Runtime.
        from forecaster import workflow

        ticker = self._fresh(symbol, as_of, version)
        return workflow.paths(self.store, self.registry, ticker, count, as_of, version)

    def what_if(
        self,
        symbol: str,
        scenario: "Scenario | Sequence[str]",
        as_of: str | pd.Timestamp | None = None,
        version: str | None = None,
    ) -> "WhatIf":
        """Forecast a symbol as it stands and given a scenario; nothing is issued.

        Parameters
        ----------
        scenario : Scenario or sequence of str
            Or the words of one, such as ``["results@2026-01-29:-0.8"]``; see `Scenario.parse`.

        Returns
        -------
        WhatIf
            See `workflow.what_if`.
        """
        # Late: it brings ONNX Runtime.
        from forecaster import workflow
        from forecaster.explain.scenario import Scenario

        supposed = scenario if isinstance(scenario, Scenario) else Scenario.parse(scenario)
        ticker = self._fresh(symbol, as_of, version)
        return workflow.what_if(self.store, self.registry, ticker, supposed, as_of, version)

    def explain(
        self,
        symbol: str,
        cell: str | None = None,
        as_of: str | pd.Timestamp | None = None,
        version: str | None = None,
    ) -> "Inside":
        """Look inside a network over a window of a symbol; see `explain.inside.inside`."""
        # Late: it brings ONNX Runtime.
        from forecaster import workflow

        ticker = self._fresh(symbol, as_of, version)
        return workflow.explain(self.store, self.registry, ticker, cell, as_of, version)

    def _fresh(self, symbol: str, as_of: str | pd.Timestamp | None, version: str | None) -> str:
        """Return a symbol as it is written, unless what is known of it is too old to forecast from today."""
        ticker = normalise(symbol)
        if as_of is None:
            self.history(symbols=[ticker])
            require_fresh(self.store, self.settings, ticker, self.clock(), version)
        return ticker

    def _update_events(self, sources: Sequence[EventSource], symbols: list[str], progress: Progress) -> None:
        """Ask for the events of companies; funds and indices have none."""
        known = described(self.store.current("instruments", where={"symbol": symbols}))
        company_events.update_events(
            self.store,
            sources,
            [one for one in known.values() if one.type == "EQUITY"],
            self.clock,
            lambda: Pace(self.settings.requests_per_second),
            progress,
        )

    def price_source(self, choice: str | Source | None = None) -> Source:
        """Return a source of prices; default: the one where the stored prices come from."""
        if choice is not None and not isinstance(choice, str):
            return choice
        if choice is None and self.origin == FILES:
            raise UsageError(f"The prices come from files; {to_bring([], FILES)}, or name one with --source")
        return source(choice or self.origin, self.settings)
