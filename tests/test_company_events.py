"""Ingest of company events: new ones are stored once, plans when they change; a failure is contained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecaster.config import Settings
from forecaster.errors import DataError, FileFormatError, SourceError, StoreError, UsageError
from forecaster.events import COLUMNS, checked, no_events
from forecaster.ingest.company_events import REPORT, import_events, update_events
from forecaster.ingest.pace import ATTEMPTS, PATIENCE, Pace
from forecaster.instruments import Instrument
from forecaster.progress import silent
from forecaster.sources import Outcome, Told
from forecaster.sources.sample_events import SampleEvents
from forecaster.store import Store, now
from forecaster.workspace import Workspace

FIRST = pd.Timestamp("2024-02-01 12:00", tz="UTC")
SYMBOLS = ("AAA", "BBB", "CCC")


def company(symbol: str, **changed: str) -> Instrument:
    about = {"exchange": "XNYS", "timezone": "America/New_York", "currency": "USD"} | changed
    return Instrument(symbol, symbol, **about)


def event(symbol: str = "AAA", known: str = "2024-01-30 21:30", **changed: Any) -> dict[str, Any]:
    moment = pd.Timestamp(known, tz="UTC")
    row = {"symbol": symbol, "kind": "results", "happened_at": moment, "known_at": moment, "tone": 0.5}
    return row | {"magnitude": 4.0, "title": "Results", "url": "", "source": "wire"} | changed


def plan(*days: str, known: pd.Timestamp, symbol: str = "AAA", source: str = "wire") -> list[dict[str, Any]]:
    """Announced dates of results, all as likely."""
    moments = [pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=17) for day in days]
    about = {"symbol": symbol, "kind": "results_scheduled", "known_at": known, "source": source}
    return [
        event(**about | {"happened_at": one, "tone": np.nan, "magnitude": 1 / len(days)}) for one in moments
    ]


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return checked(pd.DataFrame(list(rows)), "rows") if rows else no_events()


Answer = Callable[[str, pd.Timestamp], list[dict[str, Any]]]


@dataclass
class Wire:
    """A source that tells rows, or fails, and remembers what it was asked."""

    answer: Answer = lambda symbol, asked_at: []
    name: str = "wire"
    remote: bool = True
    host: str = "wire"
    requests: int = 1
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[tuple[str, pd.Timestamp | None]] = field(default_factory=list)

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        self.asked.append((instrument.symbol, since))
        if self.error is not None:
            raise self.error
        outcome = self.outcomes.get(instrument.symbol, Outcome.OK)
        if outcome is not Outcome.OK:
            return Told(instrument.symbol, outcome, detail="no luck")
        return Told(instrument.symbol, outcome, frame(*self.answer(instrument.symbol, asked_at)))


@dataclass
class Desk:
    """A store and a clock that moves on by a second each time it is asked."""

    store: Store
    moment: pd.Timestamp = FIRST

    def clock(self) -> pd.Timestamp:
        self.moment += pd.Timedelta(seconds=1)
        return self.moment

    slept: list[float] = field(default_factory=list)

    def run(
        self,
        *sources: Any,
        symbols: tuple[str, ...] = ("AAA",),
        days: int = 1,
        per_second: float | None = None,
    ) -> pd.DataFrame:
        """Update, some days after the time before."""
        self.moment += pd.Timedelta(days=days)
        companies = [company(symbol) for symbol in symbols]
        # A pace whose clock stands still waits for all that is asked beyond a burst.
        return update_events(
            self.store,
            sources,
            companies,
            self.clock,
            lambda: Pace(per_second, sleep=self.slept.append, clock=lambda: 0.0),
        )

    def stored(self, kind: str | None = None) -> pd.DataFrame:
        rows = self.store.rows("events").sort_values(["known_at", "happened_at"], ignore_index=True)
        return rows if kind is None else rows[rows["kind"] == kind]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Store(tmp_path / "store"))


def test_what_is_told_again_is_stored_once(desk: Desk) -> None:
    wire = Wire(lambda symbol, asked_at: [event(symbol), event(symbol, kind="policy", tone=np.nan)])
    report = desk.run(wire, symbols=SYMBOLS)
    assert tuple(report.columns) == REPORT
    assert report[["symbol", "source", "outcome", "rows"]].to_numpy().tolist() == [
        [symbol, "wire", "ok", 2] for symbol in SYMBOLS
    ]
    held = desk.store.current("events")
    pd.testing.assert_frame_equal(
        held[list(COLUMNS)].astype(no_events().dtypes.to_dict()),
        frame(
            *(
                event(one, kind=kind, tone=tone)
                for one in SYMBOLS
                for kind, tone in (("policy", np.nan), ("results", 0.5))
            )
        ),
    )
    assert desk.run(wire, symbols=SYMBOLS)["rows"].tolist() == [0, 0, 0]
    assert len(desk.stored()) == 6
    updates = desk.store.rows("event_updates")
    assert len(updates) == 6
    assert updates.groupby("symbol")["recorded_at"].nunique().tolist() == [2, 2, 2]


@pytest.mark.parametrize("changed", [{"tone": -0.5}, {"magnitude": 5.0}, {"title": "More"}, {"tone": np.nan}])
def test_what_changed_is_stored_again_and_holds(desk: Desk, changed: dict[str, Any]) -> None:
    desk.run(Wire(lambda symbol, asked_at: [event()]))
    wire = Wire(lambda symbol, asked_at: [event(**changed)])
    assert desk.run(wire)["rows"].tolist() == [1]
    assert desk.run(wire)["rows"].tolist() == [0]
    assert len(desk.stored()) == 2
    held = desk.store.current("events")
    assert held[[*changed]].iloc[0].equals(pd.Series(changed, name=0)) or held[[*changed]].isna().all(
        axis=None
    )


def test_results_whose_time_moved_are_kept_beside(desk: Desk) -> None:
    desk.run(Wire(lambda symbol, asked_at: [event()]))
    desk.run(Wire(lambda symbol, asked_at: [event(known="2024-01-30 21:05")]))
    assert len(desk.store.current("events")) == 2


def test_a_headline_counts_from_when_it_was_first_seen(desk: Desk) -> None:
    """It is known when it was seen, so each asking tells another moment."""

    def headlines(symbol: str, asked_at: pd.Timestamp) -> list[dict[str, Any]]:
        about = {"kind": "other", "known_at": asked_at, "source": "news"}
        return [
            event(symbol, url="https://x/1", **about),
            event(symbol, url="https://x/1", **about | {"title": "In other words"}),
            event(symbol, url="", **about | {"title": "Without an address"}),
            event(symbol, url="", **about | {"title": "Another without one", "kind": "policy"}),
        ]

    news = Wire(headlines, "news")
    assert desk.run(news)["rows"].tolist() == [3]
    seen = desk.stored()["known_at"].unique()
    assert desk.run(news)["rows"].tolist() == [0]
    assert desk.run(news, symbols=("BBB",))["rows"].tolist() == [3]
    first = desk.stored()
    assert (first.loc[first["symbol"] == "AAA", "known_at"] == seen[0]).all()


def test_a_plan_is_stored_when_it_changes_and_then_whole(desk: Desk) -> None:
    days = [("2024-04-24", "2024-04-25")]

    def told(symbol: str, asked_at: pd.Timestamp) -> list[dict[str, Any]]:
        return plan(*days[0], known=asked_at, symbol=symbol)

    wire = Wire(told)
    assert desk.run(wire)["rows"].tolist() == [2]
    first = desk.stored()["known_at"].iloc[0]
    again = desk.run(wire)
    assert again[["rows", "detail"]].to_numpy().tolist() == [[0, "announced dates as before"]]
    assert (desk.stored()["known_at"] == first).all()
    days[0] = ("2024-04-25",)
    assert desk.run(wire)["rows"].tolist() == [1]
    days[0] = ("2024-04-24", "2024-04-25")
    assert desk.run(wire)["rows"].tolist() == [2]
    assert desk.run(wire)["rows"].tolist() == [0]
    plans = [list(rows["happened_at"].dt.day) for _, rows in desk.stored().groupby("known_at")]
    assert plans == [[24, 25], [25], [24, 25]]


def test_plans_of_two_kinds_and_sources(desk: Desk) -> None:
    """The plan in force is the one told last, by whomever; results and dividends do not mix."""

    def dividend(symbol: str, asked_at: pd.Timestamp) -> list[dict[str, Any]]:
        return [one | {"kind": "dividend_scheduled"} for one in plan("2024-04-24", known=asked_at)]

    first = Wire(lambda symbol, asked_at: plan("2024-04-24", known=asked_at))
    other = Wire(lambda symbol, asked_at: plan("2024-04-25", known=asked_at, source="other"), "other")
    assert desk.run(first, Wire(dividend, "dividends"))["rows"].tolist() == [1, 1]
    assert desk.run(first, other, first)["rows"].tolist() == [0, 1, 1]


def test_snapshots_of_a_file_keep_only_the_changes(desk: Desk) -> None:
    moments = pd.date_range("2024-01-01 12:00", periods=6, freq="D", tz="UTC")
    days = ["2024-01-30", "2024-01-30", "2024-01-31", "2024-01-31", "2024-01-30", "2024-01-30"]
    rows = [one for day, moment in zip(days, moments, strict=True) for one in plan(day, known=moment)]
    report = import_events(desk.store, frame(*rows[::-1]), desk.clock)
    assert report[["symbol", "source", "outcome", "rows"]].to_numpy().tolist() == [["AAA", "files", "ok", 3]]
    assert list(desk.stored()["known_at"]) == [moments[0], moments[2], moments[4]]
    assert import_events(desk.store, frame(*rows), desk.clock)["rows"].tolist() == [0]


def test_a_source_is_asked_again_from_before_its_last_event(desk: Desk) -> None:
    """Announced dates do not count: they are of the day of asking, whatever else was missed."""

    def told(symbol: str, asked_at: pd.Timestamp) -> list[dict[str, Any]]:
        return [event(symbol), *plan("2024-04-24", known=asked_at, symbol=symbol)] if symbol == "AAA" else []

    wire, local = Wire(told), Wire(told, "local", remote=False)
    desk.run(wire, local, symbols=("AAA", "BBB"))
    desk.run(wire, local, symbols=("AAA", "BBB"))
    since = pd.Timestamp("2023-12-31 21:30", tz="UTC")
    assert wire.asked == [("AAA", None), ("BBB", None), ("AAA", since), ("BBB", None)]
    assert [start for _, start in local.asked] == [None] * 4


def test_what_is_known_from_the_asking_was_not_seen_before_the_reply(desk: Desk) -> None:
    """It may wait for its turn or for a slow reply; other times are the source's word."""
    asked = []

    def slowly(symbol: str, asked_at: pd.Timestamp) -> list[dict[str, Any]]:
        asked.append(asked_at)
        desk.moment += pd.Timedelta(seconds=40)
        headline = event(symbol, kind="other", known_at=asked_at, happened_at=asked_at, source="news")
        return [event(symbol), headline, *plan("2024-04-24", known=asked_at)]

    desk.run(Wire(slowly, "news"))
    seen = asked[0] + pd.Timedelta(seconds=41)
    known_at = desk.stored().set_index("kind")["known_at"].to_dict()
    assert known_at == {
        "results": pd.Timestamp("2024-01-30 21:30", tz="UTC"),
        "other": seen,
        "results_scheduled": seen,
    }


def test_sources_of_one_host_share_its_pace(desk: Desk) -> None:
    page = Wire(name="page", host="shared", requests=2)
    news, local = Wire(name="news", host="shared"), Wire(name="local", remote=False)
    desk.run(page, news, local, Wire(name="other"), symbols=("AAA", "BBB"), per_second=0.5)
    # Beyond a burst of three: the second page, and two askings for news.
    assert desk.slept == pytest.approx([2.0, 4.0, 6.0])


def test_a_host_that_asks_to_be_left_alone_is_not_asked_by_another_source(desk: Desk) -> None:
    busy = Wire(name="page", host="shared", outcomes={"BBB": Outcome.RATE_LIMITED})
    news, other = Wire(name="news", host="shared"), Wire(name="other", host="another")
    report = desk.run(busy, news, other, symbols=SYMBOLS)
    assert (len(busy.asked), len(news.asked), len(other.asked)) == (2, 0, 3)
    assert report.loc[report["source"] == "news", "outcome"].tolist() == ["rate_limited"] * 3


def test_a_rate_limit_ends_the_asking_of_that_host_only(desk: Desk) -> None:
    busy = Wire(name="busy", host="busy", outcomes={"BBB": Outcome.RATE_LIMITED})
    other = Wire(lambda symbol, asked_at: [event(symbol)])
    report = desk.run(busy, other, symbols=SYMBOLS)
    assert [symbol for symbol, _ in busy.asked] == ["AAA", "BBB"]
    assert report["outcome"].tolist() == ["ok", "rate_limited", "rate_limited", "ok", "ok", "ok"]
    assert report["detail"].tolist()[1:3] == ["no luck", "no luck"]
    stored = desk.store.current("event_updates").set_index(["source", "symbol"])["outcome"]
    assert stored["busy", "CCC"] == "rate_limited"


def test_a_source_that_is_down_is_given_up(desk: Desk) -> None:
    symbols = tuple(f"S{number}" for number in range(PATIENCE + 3))
    down = Wire(outcomes=dict.fromkeys(symbols, Outcome.TRANSIENT))
    report = desk.run(down, symbols=symbols)
    assert len(down.asked) == ATTEMPTS * PATIENCE
    assert set(report["outcome"]) == {"transient"}
    assert "symbols in a row failed" in report["detail"].iloc[-1]


@pytest.mark.parametrize(
    "error",
    [
        SourceError("the key is refused"),
        KeyError("earningsDate"),
        TypeError("'NoneType' object is not subscriptable"),
        TimeoutError("read timed out"),
        DataError("AAA at Yahoo, row 1, column tone: outside -1..1"),
    ],
)
def test_a_source_that_breaks_never_stops_the_others(desk: Desk, error: Exception) -> None:
    report = desk.run(Wire(name="broken", error=error), Wire(lambda symbol, asked_at: [event(symbol)]))
    assert report["outcome"].tolist() == ["invalid", "ok"]
    assert report["detail"].iloc[0] == f"{type(error).__name__}: {error}"
    assert len(desk.stored()) == 1


def test_what_comes_with_a_failure_is_kept(desk: Desk) -> None:
    class Half(Wire):
        def tell(
            self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None
        ) -> Told:
            return Told(instrument.symbol, Outcome.INVALID, frame(event()), "half of it")

    assert desk.run(Half())[["outcome", "rows", "detail"]].to_numpy().tolist() == [
        ["invalid", 1, "half of it"]
    ]


class Full(Store):
    """A store whose disk is full once a table is written to for so many times."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name = name

    def append(self, name: str, rows: pd.DataFrame) -> int:
        if name == self.name:
            raise StoreError("no space left")
        return super().append(name, rows)


@pytest.mark.parametrize("name", ["events", "event_updates"])
def test_what_is_reported_is_stored_wherever_it_breaks_off(desk: Desk, name: str) -> None:
    wire = Wire(lambda symbol, asked_at: [event(symbol)])
    whole = desk.store
    desk.store = Full(whole.folder, name)
    with pytest.raises(StoreError):
        desk.run(wire, symbols=SYMBOLS)
    assert whole.rows("event_updates").empty
    desk.store = whole
    desk.run(wire, symbols=SYMBOLS)
    assert len(whole.rows("events")) == len(whole.rows("event_updates")) == 3


def test_an_import_from_the_future_is_refused(desk: Desk) -> None:
    late = desk.moment + pd.Timedelta(days=2)
    with pytest.raises(DataError, match="AAA, results: known at 2024-02-03 12:00 UTC, which lies ahead"):
        import_events(desk.store, frame(event(), event(known=str(late.tz_localize(None)))), desk.clock)
    assert desk.stored().empty
    today = desk.moment + pd.Timedelta(hours=16)
    assert (
        import_events(desk.store, frame(event(known=str(today.tz_localize(None)))), desk.clock)["rows"].sum()
        == 1
    )


def test_a_file_that_holds_nothing_new_for_one_symbol(desk: Desk) -> None:
    import_events(desk.store, frame(event("BBB")), desk.clock)
    report = import_events(desk.store, frame(event("BBB"), event("AAA")), desk.clock).set_index("symbol")
    assert report["rows"].to_dict() == {"AAA": 1, "BBB": 0}


def test_the_sample_tells_of_its_companies(desk: Desk) -> None:
    symbols = ("AAPL", "MSFT", "NVDA")
    report = desk.run(SampleEvents(), symbols=symbols).set_index("symbol")
    text = (Path(__file__).parents[1] / "data" / "sample" / "notable_events.csv").read_text().splitlines()
    in_file = {symbol: sum(line.startswith(f"{symbol},") for line in text) for symbol in symbols}
    assert report["rows"].to_dict() == in_file
    assert report["outcome"].tolist() == ["ok"] * 3
    assert report.loc["MSFT", "detail"] == "the sample tells no event of it"
    since = pd.Timestamp("2019-01-02 21:30", tz="UTC")
    told = SampleEvents().tell(company("AAPL"), desk.clock(), since).events
    assert told["known_at"].min() == since


# A workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    home = tmp_path / "home"
    return Workspace(home, Settings(home=home, requests_per_second=1000, contact=""))


def test_the_sample_s_events_come_with_its_prices(workspace: Workspace) -> None:
    outcomes = workspace.update(["AAPL", "NVDA"], "sample")
    assert outcomes[["symbol", "outcome", "change"]].to_numpy().tolist() == [
        ["AAPL", "ok", "new"],
        ["NVDA", "ok", "new"],
    ]
    told = workspace.event_outcomes()
    assert told[["symbol", "source", "outcome"]].to_numpy().tolist() == [
        ["AAPL", "sample", "ok"],
        ["NVDA", "sample", "ok"],
    ]
    events = workspace.events("nvda")
    assert set(events["symbol"]) == {"NVDA"}
    assert events["known_at"].is_monotonic_decreasing
    assert len(workspace.events()) == told["rows"].sum()
    assert len(workspace.history().events) >= len(workspace.events())
    workspace.update()
    assert workspace.event_outcomes()["rows"].sum() == 0


def test_which_events_go_with_which_prices(tmp_path: Path) -> None:
    def sources(prices: str, **settings: Any) -> tuple[str, ...]:
        return Workspace(tmp_path, Settings(home=tmp_path, **settings)).event_sources(prices)

    assert sources("sample") == ("sample",)
    assert sources("tiingo") == sources("files") == ()
    assert sources("yahoo", contact="someone@example.org") == ("yahoo", "news", "filings")
    assert sources("yahoo", contact="") == ("yahoo", "news")
    assert sources("yahoo", event_sources=()) == ()


def test_events_can_be_chosen(workspace: Workspace) -> None:
    workspace.update(["AAPL"], "sample", events=())
    assert workspace.event_outcomes().empty
    wire = Wire(lambda symbol, asked_at: [event(symbol)])
    workspace.update(["AAPL"], "sample", events=["sample", wire])
    assert workspace.event_outcomes()["source"].tolist() == ["sample", "wire"]
    with pytest.raises(UsageError, match="No source of events 'nope'; choose one of yahoo, news"):
        workspace.update(["NVDA"], "sample", events=["nope"])
    assert workspace.watchlist == ("AAPL",)


def test_prices_arrive_whatever_becomes_of_events(workspace: Workspace) -> None:
    down = Wire(name="down", host="down", outcomes={"AAPL": Outcome.TRANSIENT})
    outcomes = workspace.update(
        ["AAPL", "NONE"], "sample", events=[down, Wire(name="broken", error=KeyError("x"))]
    )
    assert outcomes["outcome"].tolist() == ["ok", "gone"]
    assert workspace.watchlist == ("AAPL",)
    assert workspace.event_outcomes()["outcome"].tolist() == ["invalid", "transient"]
    assert {symbol for symbol, _ in down.asked} == {"AAPL"}


def test_a_file_of_events_is_imported_whole_or_not_at_all(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("symbol,kind,known_at\nAAPL,policy,2023-02-01\nZZZ,policy,2023-02-01T09:00:00Z\n")
    report = workspace.import_file(file)
    assert report[["symbol", "rows"]].to_numpy().tolist() == [["AAPL", 1], ["ZZZ", 1]]
    assert workspace.watchlist == ()
    assert workspace.events()["source"].tolist() == ["own.csv", "own.csv"]
    file.write_text(file.read_text() + "AAPL,policy,2023-03-01\nAAPL,policy,soon\n")
    with pytest.raises(FileFormatError, match=r"own\.csv, line 5, column known_at"):
        workspace.import_file(file)
    assert len(workspace.events()) == 2
    with pytest.raises(UsageError, match="only the exchange applies"):
        workspace.import_file(file, replace=True)


def test_nothing_is_asked_of_funds_and_indices(workspace: Workspace) -> None:
    workspace.update(["AAPL", "NVDA"], "sample", events=())
    fund = workspace.store.current("instruments", where={"symbol": ["NVDA"]})
    workspace.store.append("instruments", fund.assign(type="ETF", fetched_at=now()))
    wire = Wire()
    workspace._update_events([wire], ["AAPL", "NVDA"], silent)
    assert wire.asked == [("AAPL", None)]
