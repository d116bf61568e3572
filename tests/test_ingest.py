"""Ingest: only what is final, sound and new is stored, and the rest is accounted for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from hypothesis import given, settings
from hypothesis import strategies as st
from yahoo_stub import (
    Failure,
    MemorySource,
    StubSymbol,
    YahooStub,
    reset_yfinance,
    sessions,
    traded,
)

from forecaster.config import Settings
from forecaster.errors import DataError, Locked, SourceError
from forecaster.history import read_history
from forecaster.ingest import MARKET_FACTORS, gaps, quarantine, runs, update, update_factors
from forecaster.ingest.pace import Pace
from forecaster.locks import exclusive
from forecaster.sources import Fetched, Outcome
from forecaster.sources.yahoo import YahooSource
from forecaster.store import Store
from forecaster.workspace import Workspace

DAYS = sessions("2023-11-01", "2024-03-28")
OHLC = ["open", "high", "low", "close"]
NUMBERS = [*OHLC, "adj_close", "volume"]
OVERLAP = 15


@dataclass
class Clock:
    """Tells a second more each time it is asked."""

    moment: pd.Timestamp = field(default_factory=lambda: evening("2023-10-31"))

    def __call__(self) -> pd.Timestamp:
        self.moment += pd.Timedelta(seconds=1)
        return self.moment


def evening(day: str | pd.Timestamp) -> pd.Timestamp:
    """Two hours after New York's close in winter."""
    return pd.Timestamp(day).tz_localize("UTC") + pd.Timedelta(hours=23)


@dataclass
class Desk:
    """A store, a source and a clock."""

    store: Store
    source: Any
    clock: Clock = field(default_factory=Clock)

    def run(self, *symbols: str, at: str | pd.Timestamp | None = None, **options: Any) -> pd.DataFrame:
        """Update, on the evening of a day or at a moment; return the report by symbol."""
        at = DAYS[-1] if at is None and self.clock.moment < evening(DAYS[0]) else at
        if at is not None:
            moment = pd.Timestamp(at)
            # Time never goes back.
            self.clock.moment = max(self.clock.moment, moment if moment.tzinfo else evening(moment))
        options.setdefault("pace", Pace(sleep=lambda seconds: None))
        report = update(self.store, self.source, symbols or ("AAA",), self.clock, **options)
        return report.set_index("symbol")

    def bring(self, share: StubSymbol, last: str | pd.Timestamp, **options: Any) -> pd.Series:
        """Update one share as it was on the evening of a session."""
        self.source.add(share.as_of(last))
        return self.run(share.symbol, at=last, **options).loc[share.symbol]

    def rows(self, symbol: str = "AAA", **conditions: Any) -> pd.DataFrame:
        """What holds of one symbol, by session."""
        return self.store.current("prices", where={"symbol": [symbol]}, **conditions).set_index("session")

    def quarantined(self, status: str = "held") -> dict[tuple[str, str], str]:
        """Symbol and day -> reason."""
        rows = self.store.current("quarantine")
        rows = rows[rows["status"] == status]
        return {(row.symbol, str(row.session.date())): row.reason for row in rows.itertuples()}

    def gaps(self) -> list[str]:
        """Days of AAA that are noticed as missing."""
        return [str(day.date()) for day in gaps.standing(self.store)["session"]]

    def actions(self) -> list[tuple[str, str, float]]:
        """What holds, withdrawn ones left out."""
        rows = self.store.current("actions")
        return [(str(row.session.date()), row.kind, row.value) for row in rows.itertuples() if row.value != 0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Store(tmp_path / "store"), MemorySource({"AAA": StubSymbol("AAA", DAYS)}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, Settings(home=tmp_path, requests_per_second=1000))


def text(day: pd.Timestamp) -> str:
    return str(day.date())


def at_row(row: int, name: str, factor: float) -> Callable[[pd.DataFrame], None]:
    """Multiply one value of a reply."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index == DAYS[row], name] *= factor

    return edit


def scaled(row: int, factor: float) -> Callable[[pd.DataFrame], None]:
    """Multiply all prices of one session."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index == DAYS[row], [*OHLC, "adj_close"]] *= factor

    return edit


def without(*rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Leave sessions out of a reply."""
    return lambda bars: bars.drop(index=DAYS[list(rows)], errors="ignore")


# What is sound


def test_bars_are_stored_as_they_came(desk: Desk) -> None:
    share = desk.source.add(StubSymbol("AAA", DAYS, {text(DAYS[30]): 0.5}, {text(DAYS[60]): 4.0}))
    report = desk.run()
    assert report.loc["AAA"].to_dict() == {
        "source": "memory",
        "outcome": "ok",
        "change": "new",
        "rows": len(DAYS),
        "detail": "",
    }
    held = desk.rows()
    assert list(held.index) == list(DAYS)
    for name in [*OHLC, "volume"]:
        np.testing.assert_array_equal(held[name], share.as_traded()[name])
    np.testing.assert_array_equal(held["adj_close"], share.quoted()["adj_close"])
    assert set(held["currency"]) == {"USD"}
    assert set(held["source"]) == {"memory"}
    assert (held["fetched_at"] > evening(DAYS[-1])).all()
    assert desk.actions() == [(text(DAYS[30]), "dividend", 0.5), (text(DAYS[60]), "split", 4.0)]
    (about,) = desk.store.rows("instruments").drop(columns="fetched_at").to_dict("records")
    assert about == {
        "symbol": "AAA",
        "name": "AAA Incorporated",
        "exchange": "XNYS",
        "timezone": "America/New_York",
        "currency": "USD",
        "type": "EQUITY",
    }
    updates = desk.store.rows("updates").set_index("symbol")
    assert updates[list(report.columns)].to_dict() == report.to_dict()


def test_a_run_is_written_down(desk: Desk) -> None:
    desk.source.outcomes["OFF"] = Outcome.TRANSIENT
    began = evening(DAYS[-1])
    desk.run("AAA", "OFF", "NONE")
    (run,) = runs.latest(desk.store).to_dict("records")
    assert run["started_at"] == run["begun_at"] == began + pd.Timedelta(seconds=1)
    assert run["recorded_at"] > run["started_at"]
    assert {
        name: run[name] for name in ("source", "status", "symbols", "ok", "failed", "rows", "detail")
    } == {
        "source": "memory",
        "status": "done",
        "symbols": 3,
        "ok": 1,
        "failed": 2,
        "rows": len(DAYS),
        "detail": "",
    }
    assert sorted(desk.store.rows("runs")["status"]) == ["done", "running"]
    updates = desk.store.rows("updates")
    assert set(updates["started_at"]) == {run["started_at"]}
    desk.run()
    assert runs.latest(desk.store)["symbols"].tolist() == [1, 3]


def test_a_new_day_is_one_row_and_a_short_request(desk: Desk) -> None:
    share = desk.source.shares["AAA"]
    rows = [desk.bring(share, day)["rows"] for day in DAYS[[40, 40, 41, 41, 44]]]
    assert rows == [41, 0, 1, 0, 3]
    assert len(desk.store.rows("prices")) == 45
    starts = [start for _, start in desk.source.asked]
    assert starts == [None, *DAYS[[40 - 14, 40 - 14, 41 - 14, 41 - 14]]]
    assert desk.store.version("instruments") == 0
    changes = desk.store.rows("updates").sort_values("recorded_at")["change"].tolist()
    assert changes == ["new", "same", "same", "same", "same"]


def test_a_short_history_is_asked_for_from_its_first_session(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS[:4])
    desk.bring(share, DAYS[3])
    desk.bring(share, DAYS[3])
    (_, start) = desk.source.asked[-1]
    calendar = get_calendar("XNYS", start="2023-01-03")
    assert start == calendar.session_offset(DAYS[3], 1 - OVERLAP)


def test_what_lies_at_hand_is_read_whole(desk: Desk) -> None:
    desk.source.remote = False
    for _ in range(2):
        desk.run()
    assert desk.source.asked == [("AAA", None)] * 2
    assert len(desk.store.rows("prices")) == len(DAYS)


@pytest.mark.parametrize(
    ("column", "factor"),
    [("close", 1 + 1.9e-4), ("low", 1 - 1.9e-4), ("adj_close", 1.1), ("volume", 1 - 1.9e-4)],
)
def test_jitter_is_no_change(desk: Desk, column: str, factor: float) -> None:
    desk.run()
    desk.source.edits["AAA"] = lambda bars: bars.assign(**{column: bars[column] * factor})
    assert desk.run().loc["AAA", ["rows", "change", "detail"]].tolist() == [0, "same", ""]
    assert desk.quarantined() == {}


def test_jitter_does_not_creep(desk: Desk) -> None:
    """Each reply is compared with what is stored, not with the reply before."""
    desk.run()
    for step in range(4):
        desk.source.edits["AAA"] = lambda bars, step=step: bars * (1 + step * 0.9e-4)
        report = desk.run().loc["AAA"]
    assert report["outcome"] == "invalid"
    assert len(desk.store.rows("prices")) == len(DAYS)


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        ("2024-01-12 15:00", "2024-01-11"),
        ("2024-01-12 21:29:50", "2024-01-11"),
        ("2024-01-12 21:30", "2024-01-12"),
        ("2024-01-13 09:00", "2024-01-12"),
        # The day after Thanksgiving ends at one o'clock.
        ("2023-11-24 18:29:50", "2023-11-22"),
        ("2023-11-24 18:30", "2023-11-24"),
    ],
)
def test_the_bar_of_an_unfinished_session_waits(desk: Desk, moment: str, last: str) -> None:
    share = desk.source.add(desk.source.shares["AAA"].as_of(moment[:10]))
    report = desk.run(at=pd.Timestamp(moment, tz="UTC")).loc["AAA"]
    assert text(desk.rows().index[-1]) == last
    waits = last != text(share.sessions[-1])
    assert ("1 bar of sessions not yet final left out" in report["detail"]) == waits
    assert desk.quarantined() == {}
    assert desk.run(at=pd.Timestamp(moment, tz="UTC") + pd.Timedelta(hours=9)).loc["AAA", "rows"] == waits


def test_the_delay_is_a_setting(desk: Desk) -> None:
    desk.run(at=pd.Timestamp("2024-01-12 21:00", tz="UTC"), delay_minutes=0)
    assert desk.rows().index[-1] == pd.Timestamp("2024-01-12")


def test_the_moment_of_each_request_counts(desk: Desk) -> None:
    """A run that begins before the close and goes on after it."""
    symbols = [f"S{count}" for count in range(12)]
    for symbol in symbols:
        desk.source.add(StubSymbol(symbol, DAYS[DAYS <= "2024-01-12"]))
    desk.run(*symbols, batch=1, at=pd.Timestamp("2024-01-12 21:29:55", tz="UTC"))
    lasts = desk.store.current("prices").groupby("symbol")["session"].max()
    assert lasts["S0"] == pd.Timestamp("2024-01-11")
    assert lasts["S11"] == pd.Timestamp("2024-01-12")


def test_a_new_name_of_an_instrument_is_appended(desk: Desk) -> None:
    desk.run()
    desk.source.shares["AAA"].meta["longName"] = "Triple A"
    assert desk.run().loc["AAA", "rows"] == 0
    assert sorted(desk.store.rows("instruments")["name"]) == ["AAA Incorporated", "Triple A"]
    assert desk.store.current("instruments")["name"].tolist() == ["Triple A"]


# What is not


FAULTS = {
    "close: missing": {"close": np.nan},
    "open: zero or negative": {"open": 0.0},
    "high below low": {"high": 1.0},
    "volume: negative": {"volume": -1.0},
    "volume: missing": {"volume": np.nan},
    "adj_close: not finite": {"adj_close": np.inf},
    "close outside low..high": {"close": 1000.0},
    "times the sessions before: another unit?": dict.fromkeys([*OHLC, "adj_close"], 2e4),
    "high or low far from the close: another unit?": {"high": 1e5},
    "adjustment ratio off": {"adj_close": 100.0},
}


@pytest.mark.parametrize("reason", FAULTS)
@pytest.mark.parametrize("row", [30, -1])
def test_a_faulty_row_is_held_until_it_is_mended(desk: Desk, reason: str, row: int) -> None:
    day = DAYS[row]

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[day, list(FAULTS[reason])] = list(FAULTS[reason].values())

    desk.source.edits["AAA"] = edit
    report = desk.run().loc["AAA"]
    refused = {text(DAYS[at]) for at in (30, 31)} if "ratio off" in reason and row == 30 else {text(day)}
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "new", len(DAYS) - len(refused))
    assert {text(at) for at in DAYS.difference(desk.rows().index)} == refused
    held = desk.quarantined()
    assert set(held) == {("AAA", at) for at in refused}
    assert reason in held["AAA", text(day)]
    assert f"in quarantine, first {text(day)}: {held['AAA', text(day)]}" in report["detail"]
    kept = desk.store.rows("quarantine").set_index("session").loc[day]
    for name, value in FAULTS[reason].items():
        assert kept[name] == value or np.isnan(value)

    del desk.source.edits["AAA"]
    assert desk.run().loc["AAA", ["outcome", "rows", "detail"]].tolist() == ["ok", len(refused), ""]
    assert list(desk.rows().index) == list(DAYS)
    assert desk.quarantined() == {}
    assert set(desk.quarantined("resolved")) == set(held)


@pytest.mark.parametrize("row", [30, -1])
@pytest.mark.parametrize("reason", list(FAULTS)[-3:])
def test_an_odd_row_is_as_odd_when_it_is_asked_for_again(desk: Desk, reason: str, row: int) -> None:
    """A request that begins with it would leave nothing to compare it with."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[DAYS[row], list(FAULTS[reason])] = list(FAULTS[reason].values())

    desk.source.edits["AAA"] = edit
    desk.run()
    held, stored = desk.quarantined(), desk.rows()
    for _ in range(2):
        assert desk.run().loc["AAA", "rows"] == 0
        assert desk.quarantined() == held
        assert desk.rows().equals(stored)
    assert len(desk.store.rows("quarantine")) == len(held), "told once while it stays"


def test_weekends_and_repetitions_are_refused(desk: Desk) -> None:
    def edit(bars: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([bars, bars.iloc[[3]].set_axis(pd.DatetimeIndex(["2023-11-04"])), bars.iloc[[2]]])

    desk.source.edits["AAA"] = edit
    report = desk.run().loc["AAA"]
    assert report["rows"] == len(DAYS)
    assert report["detail"] == "2 rows in quarantine, first 2023-11-03: session stands twice"
    assert desk.quarantined() == {
        ("AAA", "2023-11-03"): "session stands twice",
        ("AAA", "2023-11-04"): "no session of XNYS",
    }


def test_a_reason_that_changes_is_told_again(desk: Desk) -> None:
    desk.source.edits["AAA"] = at_row(-1, "close", 100.0)
    desk.run()
    desk.source.edits["AAA"] = at_row(-1, "close", np.nan)
    desk.run()
    assert len(desk.store.rows("quarantine")) == 2
    assert desk.quarantined() == {("AAA", text(DAYS[-1])): "close: missing"}


@settings(deadline=None, max_examples=5)
@given(st.sets(st.integers(0, 19), max_size=20), st.sampled_from(["close", "volume"]))
def test_stored_and_refused_make_up_what_came(
    tmp_path_factory: pytest.TempPathFactory, faulty: set[int], column: str
) -> None:
    share = StubSymbol("AAA", DAYS[:20])
    desk = Desk(Store(tmp_path_factory.mktemp("made")), MemorySource({"AAA": share}))
    rows = sorted(faulty)
    desk.source.edits["AAA"] = lambda bars: bars.loc.__setitem__((DAYS[rows], column), np.nan)
    desk.run()
    assert list(desk.rows().index) == [day for at, day in enumerate(share.sessions) if at not in faulty]
    assert [day for _, day in desk.quarantined()] == [text(DAYS[at]) for at in rows]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_one_bad_symbol_never_stops_the_others(desk: Desk, batch: int) -> None:
    for symbol in ("ROT", "NIL", "ZZZ", "OLD"):
        desk.source.add(StubSymbol(symbol, DAYS))
    desk.run("OLD")
    desk.source.edits |= {
        "ROT": lambda bars: bars.assign(close=-1.0),
        "NIL": lambda bars: bars.iloc[:0],
        "OLD": lambda bars: bars.iloc[:0],
    }
    desk.source.outcomes["OFF"] = Outcome.TRANSIENT
    desk.source.outcomes["ODD"] = Outcome.INVALID
    symbols = ["AAA", "NONE", "ROT", "NIL", "OLD", "OFF", "ODD", "ZZZ"]
    report = desk.run(*symbols, batch=batch)
    assert list(report.index) == symbols
    assert report["outcome"].tolist() == [
        "ok",
        "gone",
        "invalid",
        "invalid",
        "invalid",
        "transient",
        "invalid",
        "ok",
    ]
    assert report["rows"].tolist() == [len(DAYS), *[0] * 6, len(DAYS)]
    assert (report["detail"] != "").tolist() == [False, *[True] * 6, False]
    assert set(desk.store.rows("prices")["symbol"]) == {"AAA", "OLD", "ZZZ"}
    assert set(desk.store.rows("instruments")["symbol"]) == {"AAA", "OLD", "ZZZ"}
    assert {symbol for symbol, _ in desk.quarantined()} == {"ROT"}
    told = desk.store.current("updates").set_index("symbol")["outcome"]
    assert told.to_dict() == report["outcome"].to_dict()


def test_a_stored_symbol_that_comes_back_without_a_row_stops_nothing(desk: Desk) -> None:
    """From a source that is read whole."""
    desk.source.remote = False
    desk.source.add(StubSymbol("ZZZ", DAYS))
    desk.run("AAA")
    desk.source.edits["AAA"] = lambda bars: bars.iloc[:0]
    assert desk.run("AAA", "ZZZ")["outcome"].tolist() == ["invalid", "ok"]


def test_a_symbol_that_is_named_twice_is_asked_once(desk: Desk) -> None:
    assert len(desk.run("AAA", "AAA")) == 1
    assert len(desk.source.asked) == 1


def test_two_sources_are_not_mixed_in_one_symbol(desk: Desk) -> None:
    desk.run()
    other = MemorySource({"AAA": StubSymbol("AAA", DAYS), "BBB": StubSymbol("BBB", DAYS)}, name="elsewhere")
    report = Desk(desk.store, other, desk.clock).run("AAA", "BBB")
    assert report["outcome"].to_dict() == {"AAA": "invalid", "BBB": "ok"}
    assert report.loc["AAA", "detail"] == "stored from memory; use another --home for elsewhere"
    assert report.loc["AAA", "change"] == "not asked"
    assert [symbol for symbol, _ in other.asked] == ["BBB"]
    assert desk.store.current("prices").groupby("symbol")["source"].nunique().eq(1).all()


def test_another_currency_is_refused(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    share.meta["currency"] = "EUR"
    report = desk.bring(share, DAYS[44])
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert report["detail"] == "stored in USD, delivered in EUR; bring it into another --home"
    assert set(desk.rows()["currency"]) == {"USD"}
    assert desk.bring(share, DAYS[44], in_place=True)["outcome"] == "invalid"
    share.meta["currency"] = "USD"
    assert desk.bring(share, DAYS[44])["rows"] == 4


# What differs from what is stored


def test_a_revision_is_held_and_the_stored_row_stands(desk: Desk) -> None:
    desk.run()
    day = DAYS[-5]
    was = desk.rows().loc[day]
    desk.source.edits["AAA"] = lambda bars: bars.loc.__setitem__((day, "close"), was["close"] + 0.1)
    report = desk.run().loc["AAA"]
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "revision", 0)
    reason = f"close revised from {was['close']:.6g} to {was['close'] + 0.1:.6g}"
    assert desk.quarantined() == {("AAA", text(day)): reason}
    assert reason in report["detail"]
    assert desk.store.current("quarantine")["close"].item() == was["close"] + 0.1
    assert len(desk.store.rows("prices")) == len(DAYS)

    seen = desk.clock()
    released = quarantine.release(desk.store, "AAA", [day], desk.clock())
    assert released["session"].tolist() == [day]
    assert desk.rows().loc[day, "close"] == was["close"] + 0.1
    assert desk.rows(recorded_by=seen).loc[day, "close"] == was["close"]
    assert desk.run().loc["AAA", ["change", "rows", "detail"]].tolist() == ["same", 0, ""]
    assert set(desk.quarantined("released")) == {("AAA", text(day))}


def test_a_revision_that_is_taken_back_is_resolved(desk: Desk) -> None:
    desk.run()
    desk.source.edits["AAA"] = at_row(-5, "open", 1.002)
    desk.run()
    del desk.source.edits["AAA"]
    assert desk.run().loc["AAA", "change"] == "same"
    assert desk.quarantined() == {}
    assert len(desk.quarantined("resolved")) == 1


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_row_that_vanishes_stays_stored(desk: Desk, spoilt: bool) -> None:
    desk.run()
    day = DAYS[-4]
    desk.source.edits["AAA"] = at_row(-4, "close", np.nan) if spoilt else without(-4)
    report = desk.run().loc["AAA"]
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "vanished", 0)
    reason = "stored, but now delivered with close: missing" if spoilt else "stored, but no longer delivered"
    assert desk.quarantined() == {("AAA", text(day)): reason}
    assert day in desk.rows().index
    assert desk.gaps() == []
    del desk.source.edits["AAA"]
    desk.run()
    assert desk.quarantined() == {}


def test_the_last_bar_may_settle(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.source.edits["AAA"] = at_row(40, "close", 1.001)
    desk.bring(share, DAYS[40])
    first = desk.clock()
    del desk.source.edits["AAA"]
    report = desk.bring(share, DAYS[41])
    assert (report["change"], report["rows"], report["detail"]) == ("same", 2, "")
    close = traded(DAYS)["close"].iloc[40]
    assert desk.rows().loc[DAYS[40], "close"] == close
    assert desk.rows(recorded_by=first).loc[DAYS[40], "close"] == close * 1.001
    # Once a later session is stored, it is settled.
    desk.source.edits["AAA"] = at_row(40, "close", 1.001)
    assert desk.bring(share, DAYS[41])["change"] == "revision"


def test_another_company_s_prices_are_refused_whole(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars * 0.37
    report = desk.bring(share, DAYS[44])
    assert (report["outcome"], report["change"], report["rows"]) == ("invalid", "revision", 0)
    assert "python -m forecaster update AAA --replace" in report["detail"]
    assert desk.rows().index[-1] == DAYS[40]
    held = desk.quarantined()
    assert {day for _, day in held} == {text(day) for day in DAYS[26:45]}
    assert held["AAA", text(DAYS[44])] == "does not continue what is stored"

    assert desk.bring(share, DAYS[44], in_place=True)["rows"] == 45
    np.testing.assert_allclose(desk.rows()["close"], traded(DAYS)["close"].iloc[:45] * 0.37)
    assert desk.quarantined() == {}
    assert desk.bring(share, DAYS[45])[["change", "rows"]].tolist() == ["same", 1]


def test_replace_asks_for_everything_and_changes_only_what_differs(desk: Desk) -> None:
    desk.run()
    desk.source.edits["AAA"] = scaled(10, 1.002)
    assert desk.run(in_place=True).loc["AAA", "rows"] == 1
    assert desk.source.asked[-1] == ("AAA", None)
    assert desk.run(in_place=True).loc["AAA", "rows"] == 0


def test_nothing_is_rewritten_by_a_split_or_a_dividend(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.3, text(DAYS[42]): 0.5}, {text(DAYS[46]): 4.0})
    reports = [desk.bring(share, DAYS[at]) for at in (40, 44, 48, 52)]
    assert [report["rows"] for report in reports] == [41, 4, 4, 4]
    assert [report["change"] for report in reports] == ["new", "redividend", "resplit", "same"]
    assert reports[1]["detail"] == f"dividend of 0.5 on {text(DAYS[42])}"
    assert reports[2]["detail"] == f"split of 4 on {text(DAYS[46])}"
    assert len(desk.store.rows("prices")) == 53
    assert len(desk.store.rows("actions")) == 3


def test_every_earlier_state_can_be_read_again(desk: Desk) -> None:
    """By what the store knew, and by what was known on the day."""
    share = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.3, text(DAYS[42]): 0.5}, {text(DAYS[46]): 4.0})
    desk.source.edits["AAA"] = at_row(52, "close", 1.001)
    moments, states = [], []
    for last in (40, 44, 48, 52):
        desk.bring(share, DAYS[last])
        moments.append(desk.clock())
        states.append(read_history(desk.store))
        shown = share.as_of(DAYS[last]).quoted()
        got = states[-1].prices
        for name in [*OHLC, "volume", "adj_close"]:
            kept = slice(None, -1) if last == 52 else slice(None)
            np.testing.assert_allclose(got[name][kept], shown[name][kept], rtol=1e-3 if last == 52 else 1e-9)
    del desk.source.edits["AAA"]
    desk.bring(share, DAYS[56])
    desk.source.edits["AAA"] = at_row(50, "close", 1.01)
    desk.bring(share, DAYS[56])
    quarantine.release(desk.store, "AAA", None, desk.clock())
    for moment, state in zip(moments, states, strict=True):
        again = read_history(desk.store, recorded_by=moment)
        pd.testing.assert_frame_equal(again.prices, state.prices, check_exact=True)
        pd.testing.assert_frame_equal(again.traded, state.traded, check_exact=True)
        assert again.fingerprint == state.fingerprint
        # On that day: as it is known now, a bar that settled later included.
        since = read_history(desk.store, as_of=state.as_of)
        settled = slice(None, -1) if state is states[-1] else slice(None)
        for name in ("open", "high", "low", "volume", "adj_close"):
            np.testing.assert_allclose(since.prices[name][settled], state.prices[name][settled], rtol=2e-3)
        assert since.prices["session"].tolist() == state.prices["session"].tolist()


@pytest.mark.parametrize(("was", "now"), [(20, 21), (21, 20), (20, None), (None, 20)])
def test_a_dividend_is_moved_withdrawn_or_brought_later(desk: Desk, was: int | None, now: int | None) -> None:
    def share(row: int | None) -> StubSymbol:
        paid = {} if row is None else {text(DAYS[row]): 0.5}
        return StubSymbol("AAA", DAYS[:30], {text(DAYS[3]): 0.2} | paid)

    desk.bring(share(was), DAYS[29])
    assert desk.bring(share(now), DAYS[29])["change"] == "redividend"
    dividends = [(text(DAYS[3]), "dividend", 0.2)]
    assert desk.actions() == dividends + ([] if now is None else [(text(DAYS[now]), "dividend", 0.5)])
    np.testing.assert_allclose(
        read_history(desk.store).prices["adj_close"], share(now).quoted()["adj_close"], rtol=1e-9
    )


@pytest.mark.parametrize("ratio", [4.0, 0.1])
@pytest.mark.parametrize("upto", [0, 35, 38])
def test_a_split_that_is_not_applied_to_the_latest_sessions_is_refused_whole(
    desk: Desk, ratio: float, upto: int
) -> None:
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[41]): ratio})
    desk.bring(share, DAYS[40])
    before = desk.rows()

    def edit(bars: pd.DataFrame) -> None:
        # As a source hands it on that multiplies what has never been divided.
        late = (bars.index >= DAYS[upto]) & (bars.index < DAYS[41])
        bars.loc[late, [*OHLC, "adj_close"]] *= ratio

    desk.source.edits["AAA"] = edit
    report = desk.bring(share, DAYS[43])
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert desk.rows().equals(before)
    assert desk.actions() == []
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[43])[["outcome", "change", "rows"]].tolist() == ["ok", "resplit", 3]
    assert desk.quarantined() == {}
    np.testing.assert_allclose(
        read_history(desk.store).prices["close"], share.as_of(DAYS[43]).quoted()["close"], rtol=1e-9
    )


@pytest.mark.parametrize("ratio", [4.0, 0.1])
def test_a_split_that_is_not_applied_to_the_last_stored_session_changes_it_not(
    desk: Desk, ratio: float
) -> None:
    """A bar settles by a little, not by a split."""
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[41]): ratio})
    desk.bring(share, DAYS[40])

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[DAYS[40], [*OHLC, "adj_close"]] *= ratio

    desk.source.edits["AAA"] = edit
    desk.bring(share, DAYS[43])
    assert desk.rows().loc[DAYS[40], "close"] == share.as_traded().loc[DAYS[40], "close"]
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[44])["outcome"] == "ok"


@pytest.mark.parametrize("ratio", [4.0, 0.1])
def test_a_split_that_is_told_first_and_applied_later(desk: Desk, ratio: float) -> None:
    """Rows from the split on are held, and its action with them; once applied, both come."""
    day = text(DAYS[41])
    share = StubSymbol("AAA", DAYS, {}, {day: ratio})

    def edit(bars: pd.DataFrame) -> None:
        after = bars.index >= day
        bars.loc[after, [*OHLC, "adj_close"]] /= ratio

    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = edit
    report = desk.bring(share, DAYS[43])
    assert report["rows"] == 0
    assert set(desk.quarantined()) == {("AAA", text(at)) for at in DAYS[41:44]}
    assert desk.actions() == []
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[44])[["outcome", "change", "rows"]].tolist() == ["ok", "resplit", 4]
    assert desk.actions() == [(day, "split", ratio)]
    assert desk.quarantined() == {}


def test_actions_are_stored_once_and_corrected(desk: Desk) -> None:
    day = text(DAYS[30])
    share = StubSymbol("AAA", DAYS[:35], {day: 0.5}, {day: 4.0})
    for _ in range(2):
        desk.bring(share, DAYS[34])
    assert len(desk.store.rows("actions")) == 2
    share.dividends[day] = 0.25
    desk.bring(share, DAYS[34])
    assert len(desk.store.rows("actions")) == 3
    assert desk.actions() == [(day, "dividend", 0.25), (day, "split", 4.0)]


# Quarantine and a person


def test_held_rows_are_listed_and_released(workspace: Workspace) -> None:
    source = MemorySource({"AAA": StubSymbol("AAA", DAYS), "BBB": StubSymbol("BBB", DAYS)})
    leap = [DAYS[40], DAYS[41]]

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[leap, [*OHLC, "adj_close"]] *= 50

    source.edits = {"AAA": edit, "BBB": at_row(50, "high", 100.0)}
    workspace.update(["AAA", "BBB"], source)
    assert workspace.quarantined()["symbol"].tolist() == ["AAA", "AAA", "BBB"]
    assert workspace.quarantined(["aaa"])["session"].tolist() == leap
    assert workspace.quarantined(["ZZZ"]).empty

    released = workspace.release("aaa", [text(DAYS[40])])
    assert released["session"].tolist() == [DAYS[40]]
    assert workspace.quarantined(["AAA"])["session"].tolist() == leap[1:]
    assert workspace.history(symbols=["AAA"]).traded.set_index("session").loc[DAYS[40], "close"] == (
        traded(DAYS)["close"].iloc[40] * 50
    )
    # Released again by its source's own word, now that the row before it stands.
    workspace.update(["AAA", "BBB"], source)
    rows = workspace.store.current("prices", where={"symbol": ["AAA"]})
    assert len(rows) in {len(DAYS), len(DAYS) - 1}
    workspace.release("BBB")
    assert workspace.quarantined(["BBB"]).empty
    assert len(workspace.store.current("prices", where={"symbol": ["BBB"]})) == len(DAYS)
    assert set(workspace.store.current("prices")["currency"]) == {"USD"}


def test_what_cannot_be_released_says_why(workspace: Workspace) -> None:
    source = MemorySource({"AAA": StubSymbol("AAA", DAYS), "ROT": StubSymbol("ROT", DAYS[:3])})

    def edit(bars: pd.DataFrame) -> pd.DataFrame:
        bars.loc[DAYS[40], "close"] = np.nan
        bars.loc[DAYS[41], "high"] = -1.0
        bars.loc[DAYS[42], "high"] *= 90
        return pd.concat([bars, bars.iloc[[3]].set_axis(pd.DatetimeIndex(["2023-11-04"]))])

    source.edits = {"AAA": edit, "ROT": lambda bars: bars.assign(high=bars["high"] * 90)}
    workspace.update(["AAA", "ROT"], source)
    assert len(workspace.quarantined(["AAA"])) == 4
    before = workspace.store.version("prices")
    for day, words in [
        (DAYS[40], "close: missing"),
        (DAYS[41], "high: zero or negative"),
        (pd.Timestamp("2023-11-04"), "no session of XNYS"),
    ]:
        with pytest.raises(DataError, match=f"AAA {text(day)} cannot be released: .*{words}"):
            workspace.release("AAA", [text(day)])
    with pytest.raises(DataError, match="cannot be released"):
        workspace.release("AAA")
    with pytest.raises(DataError, match=f"AAA: {text(DAYS[5])} not in quarantine; see quarantine list AAA"):
        workspace.release("AAA", [text(DAYS[42]), text(DAYS[5])])
    with pytest.raises(DataError, match="ZZZ: nothing in quarantine"):
        workspace.release("ZZZ")
    assert workspace.store.version("prices") == before
    assert len(workspace.quarantined(["AAA"])) == 4
    workspace.release("AAA", [text(DAYS[42])])
    with pytest.raises(DataError, match="not in quarantine"):
        workspace.release("AAA", [text(DAYS[42])])


def test_the_split_of_released_rows_comes_with_them(desk: Desk) -> None:
    """A person knows better: the price rose fourfold on the day of a split, and the rows are right."""
    day = text(DAYS[41])
    share = StubSymbol("AAA", DAYS, {}, {day: 4.0})
    desk.bring(share, DAYS[40])

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index >= day, [*OHLC, "adj_close"]] /= 4

    desk.source.edits["AAA"] = edit
    desk.bring(share, DAYS[60])
    assert len(desk.quarantined()) == 20
    quarantine.release(desk.store, "AAA", None, desk.clock())
    desk.bring(share, DAYS[61])
    assert desk.rows().index[-1] == DAYS[61]
    assert desk.actions() == [(day, "split", 4.0)]


def test_rows_are_not_released_while_an_update_runs(workspace: Workspace) -> None:
    with exclusive(workspace.home, "update"), pytest.raises(Locked):
        workspace.release("AAA")
    with exclusive(workspace.home, "update"), pytest.raises(Locked):
        workspace.update(["AAA"], MemorySource())


# Gaps


def test_a_missing_session_is_noticed_asked_for_and_filled(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.source.edits["AAA"] = without(20, 22)
    report = desk.bring(share, DAYS[40])
    assert (report["outcome"], report["rows"]) == ("ok", 39)
    assert report["detail"] == f"2 sessions missing, first {text(DAYS[20])}"
    assert desk.gaps() == [text(DAYS[20]), text(DAYS[22])]
    desk.bring(share, DAYS[42])
    assert DAYS[20 - OVERLAP] <= desk.source.asked[-1][1] <= DAYS[20]
    assert len(desk.store.rows("gaps")) == 2
    desk.source.edits["AAA"] = without(22)
    assert desk.bring(share, DAYS[43])["rows"] == 2
    assert desk.gaps() == [text(DAYS[22])]
    del desk.source.edits["AAA"]
    report = desk.bring(share, DAYS[44])
    assert DAYS[22 - OVERLAP] <= desk.source.asked[-1][1] <= DAYS[22]
    assert (report["rows"], report["detail"]) == (2, "")
    assert desk.gaps() == []
    assert list(desk.rows().index) == list(DAYS[:45])
    desk.bring(share, DAYS[45])
    assert desk.source.asked[-1] == ("AAA", DAYS[30])


def test_a_gap_is_given_up_after_thirty_days(desk: Desk) -> None:
    desk.source.edits["AAA"] = without(20)
    desk.run(at=pd.Timestamp("2024-01-12 23:00", tz="UTC"))
    found = desk.store.rows("gaps")["found_at"].item()
    for after, asked in [(pd.Timedelta(days=29), True), (pd.Timedelta(days=30, hours=1), False)]:
        desk.run(at=found + after)
        (_, start) = desk.source.asked[-1]
        assert (start <= DAYS[20]) == asked
    assert desk.gaps() == [text(DAYS[20])], "still known"


def test_a_gap_at_the_end_is_none_yet(desk: Desk) -> None:
    """The latest sessions may come later."""
    desk.source.edits["AAA"] = without(39, 40)
    desk.bring(StubSymbol("AAA", DAYS), DAYS[40])
    assert desk.gaps() == []
    desk.source.edits["AAA"] = without(39)
    desk.bring(StubSymbol("AAA", DAYS), DAYS[41])
    assert desk.gaps() == [text(DAYS[39])]


def test_a_held_row_is_a_gap_until_it_is_mended(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.source.edits["AAA"] = at_row(10, "close", np.nan)
    desk.bring(share, DAYS[40])
    assert desk.gaps() == [text(DAYS[10])]
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[41])["rows"] == 2
    assert desk.source.asked[-1][1] <= DAYS[10]
    assert desk.quarantined() == {}


def test_holidays_of_the_exchange_are_no_gaps(desk: Desk) -> None:
    desk.source.add(StubSymbol("LON", sessions("2023-11-01", "2024-03-28", "XLON"), exchange="XLON"))
    desk.run("AAA", "LON")
    assert desk.store.rows("gaps").empty


# Gone


def test_gone_is_believed_after_three_days_running(desk: Desk) -> None:
    desk.run("AAA")
    desk.source.outcomes["AAA"] = Outcome.GONE
    for at in ("2024-04-02 12:00", "2024-04-02 18:00", "2024-04-03 12:00", "2024-04-04 12:00"):
        asked = len(desk.source.asked)
        assert desk.run("AAA", at=pd.Timestamp(at, tz="UTC"), named=False)["outcome"].item() == "gone"
        assert len(desk.source.asked) == asked + 1
    report = desk.run("AAA", at=pd.Timestamp("2024-04-05 12:00", tz="UTC"), named=False).loc["AAA"]
    assert len(desk.source.asked) == asked + 1
    assert (report["outcome"], report["change"]) == ("gone", "not asked")
    assert "gone by memory's word on 3 days, last 2024-04-04; not asked any more" in report["detail"]
    assert "python -m forecaster watchlist remove AAA" in report["detail"]
    assert len(desk.rows()) == len(DAYS), "what is stored stays"

    del desk.source.outcomes["AAA"]
    assert desk.run("AAA")["outcome"].item() == "ok", "a person who names it has it asked for"
    assert desk.run("AAA", named=False)["change"].item() == "same"


@pytest.mark.parametrize("between", [Outcome.OK, Outcome.TRANSIENT, Outcome.INVALID])
def test_another_answer_starts_the_count_anew(desk: Desk, between: Outcome) -> None:
    for day, outcome in enumerate([Outcome.GONE, Outcome.GONE, between, Outcome.GONE, Outcome.GONE]):
        desk.source.outcomes["AAA"] = outcome
        desk.run("AAA", at=evening("2024-04-01") + pd.Timedelta(days=day))
    asked = len(desk.source.asked)
    desk.run("AAA", named=False)
    assert len(desk.source.asked) == asked + 1


def test_the_watchlist_is_not_asked_for_what_is_gone(workspace: Workspace) -> None:
    source = MemorySource({"AAA": StubSymbol("AAA", DAYS), "OLD": StubSymbol("OLD", DAYS)})
    workspace.update(["AAA", "OLD"], source)
    del source.shares["OLD"]
    desk = Desk(workspace.store, source)
    for day in range(3):
        desk.run("OLD", at=pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=day))
    source.asked.clear()
    workspace.update(None, source)
    assert [symbol for symbol, _ in source.asked] == ["AAA"]
    workspace.update(["OLD"], source)
    assert [symbol for symbol, _ in source.asked] == ["AAA", "OLD"]


# Stops, and going on


def shares(desk: Desk, *symbols: str) -> list[str]:
    for symbol in symbols:
        desk.source.add(StubSymbol(symbol, DAYS[:41]))
    return list(symbols)


@pytest.mark.parametrize("batch", [1, 50])
def test_after_a_rate_limit_only_the_rest_is_asked(desk: Desk, batch: int) -> None:
    symbols = shares(desk, "AAA", "BBB", "BUSY", "CCC", "DDD")
    desk.source.outcomes["BUSY"] = Outcome.RATE_LIMITED
    report = desk.run(*symbols, at=DAYS[40], batch=batch)
    assert [symbol for symbol, _ in desk.source.asked] == ["AAA", "BBB", "BUSY"]
    assert report["outcome"].tolist() == ["ok", "ok", "rate_limited", "rate_limited", "rate_limited"]
    assert report.loc["CCC", ["change", "rows"]].tolist() == ["not asked", 0]
    assert len(desk.rows("BBB")) == 41
    run = runs.latest(desk.store).iloc[0]
    assert run[["status", "ok", "failed", "rows"]].tolist() == ["stopped", 2, 3, 82]
    assert "rate_limited" in run["detail"]

    desk.source.asked.clear()
    report = desk.run(*symbols, batch=batch)
    assert [symbol for symbol, _ in desk.source.asked] == ["BUSY"]
    assert report["outcome"].tolist() == ["ok", "ok", "rate_limited", "rate_limited", "rate_limited"]
    assert "by the run that this one continues" in report.loc["AAA", "detail"]

    desk.source.asked.clear()
    del desk.source.outcomes["BUSY"]
    report = desk.run(*symbols, batch=batch)
    assert [symbol for symbol, _ in desk.source.asked] == ["BUSY", "CCC", "DDD"]
    assert set(report["outcome"]) == {"ok"}
    assert runs.latest(desk.store)["status"].tolist() == ["done", "stopped", "stopped"]
    assert runs.latest(desk.store)["begun_at"].nunique() == 1

    desk.source.asked.clear()
    desk.run(*symbols, batch=batch)
    assert [symbol for symbol, _ in desk.source.asked] == symbols, "that was the end of it"


def test_a_run_of_other_symbols_does_not_continue(desk: Desk) -> None:
    symbols = shares(desk, "AAA", "BUSY")
    desk.source.outcomes["BUSY"] = Outcome.RATE_LIMITED
    desk.run(*symbols, at=DAYS[40])
    desk.source.asked.clear()
    desk.run("AAA")
    desk.run(*symbols, in_place=True)
    assert [symbol for symbol, _ in desk.source.asked] == ["AAA", "AAA", "BUSY"]


def test_once_a_session_has_ended_all_are_asked_again(desk: Desk) -> None:
    symbols = shares(desk, "AAA", "BUSY")
    desk.source.outcomes["BUSY"] = Outcome.RATE_LIMITED
    desk.run(*symbols, at=DAYS[40])
    desk.source.asked.clear()
    # The next session has begun, but not ended.
    desk.run(*symbols, at=DAYS[41].tz_localize("UTC") + pd.Timedelta(hours=15))
    assert [symbol for symbol, _ in desk.source.asked] == ["BUSY"]
    desk.run(*symbols, at=DAYS[41])
    assert [symbol for symbol, _ in desk.source.asked] == ["BUSY", "AAA", "BUSY"]


def test_a_bar_that_was_not_final_is_fetched_by_the_run_that_continues(desk: Desk) -> None:
    """Asked for ten minutes after the close, and stopped; an hour later the bar is final."""
    symbols = shares(desk, "AAA", "BUSY")
    desk.source.outcomes["BUSY"] = Outcome.RATE_LIMITED
    close = DAYS[40].tz_localize("UTC") + pd.Timedelta(hours=21)
    desk.run(*symbols, at=close + pd.Timedelta(minutes=10))
    assert desk.rows().index[-1] == DAYS[39]
    del desk.source.outcomes["BUSY"]
    desk.run(*symbols, at=close + pd.Timedelta(minutes=70))
    assert desk.rows().index[-1] == DAYS[40]


def test_a_run_that_never_closed_is_continued(desk: Desk) -> None:
    """As if the process had been killed between two symbols."""

    class Killed(BaseException):
        pass

    symbols = shares(desk, "AAA", "BBB", "CCC")

    def kill(bars: pd.DataFrame) -> None:
        raise Killed

    desk.source.edits["CCC"] = kill
    with pytest.raises(Killed):
        desk.run(*symbols, at=DAYS[40], batch=1)
    assert runs.latest(desk.store)["status"].tolist() == ["running"]
    del desk.source.edits["CCC"]
    desk.source.asked.clear()
    report = desk.run(*symbols, batch=1)
    assert [symbol for symbol, _ in desk.source.asked] == ["CCC"]
    assert set(report["outcome"]) == {"ok"}
    assert runs.latest(desk.store)["status"].tolist() == ["done", "running"]
    assert set(desk.store.rows("prices").groupby("symbol").size()) == {41}


@pytest.mark.parametrize("batch", [1, 50])
def test_what_came_before_a_source_refused_is_stored(desk: Desk, batch: int) -> None:
    symbols = shares(desk, "AAA", "BBB", "CCC")

    def refuse(bars: pd.DataFrame) -> None:
        raise SourceError("The key is wrong")

    desk.source.edits["CCC"] = refuse
    with pytest.raises(SourceError, match="The key is wrong"):
        desk.run(*symbols, at=DAYS[40], batch=batch)
    assert set(desk.store.rows("prices")["symbol"]) == {"AAA", "BBB"}
    run = runs.latest(desk.store).iloc[0]
    assert run[["status", "ok", "detail"]].tolist() == ["stopped", 2, "The key is wrong"]


def test_a_source_that_is_down_is_left_alone(desk: Desk) -> None:
    symbols = [f"S{count}" for count in range(9)]
    desk.source.outcomes = dict.fromkeys(symbols, Outcome.TRANSIENT)
    report = desk.run(*symbols)
    assert [symbol for symbol, _ in desk.source.asked] == [one for one in symbols[:5] for _ in range(3)]
    assert set(report["outcome"]) == {"transient"}
    assert report["change"].tolist() == [""] * 5 + ["not asked"] * 4
    assert report.loc["S8", "detail"].startswith("not asked: 5 symbols in a row failed")
    assert runs.latest(desk.store)["status"].item() == "stopped"


# Sources that tell no actions


def test_a_file_on_a_new_scale_replaces_what_is_stored(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {text(DAYS[20]): 0.5}, {text(DAYS[43]): 4.0})
    desk.bring(share, DAYS[40])
    first, state = desk.clock(), read_history(desk.store)
    report = desk.bring(share, DAYS[50])
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "resplit", 51)
    got = read_history(desk.store).prices
    shown = share.as_of(DAYS[50]).quoted()
    for name in [*OHLC, "volume"]:
        np.testing.assert_allclose(got[name], shown[name])
    np.testing.assert_allclose(got["adj_close"], shown["adj_close"])
    assert read_history(desk.store, recorded_by=first).fingerprint == state.fingerprint


def test_a_part_of_a_file_on_a_new_scale_is_refused(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[43]): 4.0})
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[30:]
    report = desk.bring(share, DAYS[50])
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert desk.rows().index[-1] == DAYS[40]


@pytest.mark.parametrize("first", [0, 25, 41])
def test_adjusted_closes_are_continued_from_file_to_file(desk: Desk, first: int) -> None:
    """Each file is adjusted for what its own makers knew."""
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {text(DAYS[at]): 0.5 for at in (20, 35, 45, 55)})
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[first:]
    for last in (50, 60):
        assert desk.bring(share, DAYS[last])["rows"] == 10
    np.testing.assert_allclose(
        read_history(desk.store).prices["adj_close"], share.as_of(DAYS[60]).quoted()["adj_close"], rtol=1e-9
    )


def test_a_gap_between_two_files_is_noticed(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[43:]
    assert "2 sessions missing" in desk.bring(share, DAYS[50])["detail"]
    assert desk.gaps() == [text(DAYS[41]), text(DAYS[42])]


# The real client against the stub: every failure that concerns prices


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStub]:
    """A share with a dividend and a split, and the two indices of the market."""
    reset_yfinance(tmp_path / "yahoo")
    with YahooStub() as stub:
        stub.add(StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.4}, {text(DAYS[25]): 2.0}))
        stub.add(StubSymbol("^GSPC", DAYS, meta={"exchangeName": "SNP", "instrumentType": "INDEX"}))
        stub.add(
            StubSymbol(
                "^VIX",
                sessions("2023-11-01", "2024-03-28", "XCBF"),
                meta={"exchangeName": "WCB", "instrumentType": "INDEX"},
                exchange="XCBF",
            )
        )
        yield stub
    reset_yfinance(tmp_path / "yahoo")


@dataclass
class Live(Desk):
    """A desk whose source is the real client."""

    yahoo: YahooStub = field(default_factory=YahooStub)

    def bring(self, share: StubSymbol, last: str | pd.Timestamp, **options: Any) -> pd.Series:
        self.yahoo.add(share.as_of(last))
        return self.run(share.symbol, at=last, **options).loc[share.symbol]

    def assert_true_to(self, share: StubSymbol, last: pd.Timestamp, held: Any = ()) -> None:
        """Check that what is read is what Yahoo shows, without a fault, on that day."""
        shown, got = share.as_of(last).quoted(), read_history(self.store, ["AAA"]).prices
        assert got["session"].tolist() == list(shown.index)
        for name in NUMBERS:
            within = 1e-4 if name == "volume" else 1e-6
            np.testing.assert_allclose(got[name], shown[name], rtol=within, err_msg=name)
        assert set(self.quarantined()) == {("AAA", text(day)) for day in held}


@pytest.fixture
def live(tmp_path: Path, yahoo: YahooStub) -> Live:
    source = YahooSource(DAYS[0], timeout=5.0, session=yahoo.session())
    return Live(Store(tmp_path / "store"), source, yahoo=yahoo)


def edited(name: str, days: pd.Index, factor: float) -> Callable[[dict[str, Any]], None]:
    """Multiply prices of some days in a finished reply; `name` may be all."""

    def edit(result: dict[str, Any]) -> None:
        stamps = pd.to_datetime(result["timestamp"], unit="s").normalize()
        quote = result["indicators"]["quote"][0] | result["indicators"]["adjclose"][0]
        for column in [*OHLC, "adjclose"] if name == "all" else [name]:
            for at in np.flatnonzero(stamps.isin(days)):
                quote[column][at] *= factor

    return edit


def test_yahoo_day_by_day(live: Live, yahoo: YahooStub) -> None:
    """A dividend, a split, another dividend: only new rows are appended, and every day reads right."""
    share = yahoo.symbols["AAA"]
    share.dividends[text(DAYS[43])] = 0.7
    share.splits[text(DAYS[46])] = 3.0
    share.dividends[text(DAYS[46])] = 0.2
    states = []
    for last in (40, 42, 43, 46, 47):
        report = live.bring(share, DAYS[last])
        assert report["outcome"] == "ok"
        live.assert_true_to(share, DAYS[last])
        states.append((live.clock(), read_history(live.store)))
    assert len(live.store.rows("prices")) == 48
    changes = live.store.rows("updates").sort_values("recorded_at")["change"].tolist()
    assert changes == ["new", "same", "redividend", "resplit", "same"]
    for moment, state in states:
        assert read_history(live.store, recorded_by=moment).fingerprint == state.fingerprint
        then = read_history(live.store, as_of=state.as_of).prices
        np.testing.assert_allclose(then[NUMBERS], state.prices[NUMBERS], rtol=1e-9)


@pytest.mark.parametrize(
    ("failure", "outcome", "requests"),
    [
        (Failure.GONE, "gone", 2),
        (Failure.NO_ROWS, "invalid", 2),
        (Failure.RATE_LIMITED, "rate_limited", 2),
        (Failure.BAD_GATEWAY, "transient", 6),
        (Failure.TRUNCATED, "transient", 3),
        (Failure.SLOW, "transient", 3),
        (Failure.BAD_CRUMB, "transient", 6),
    ],
)
def test_a_failure_is_told_and_leaves_what_is_stored(
    live: Live, yahoo: YahooStub, failure: Failure, outcome: str, requests: int
) -> None:
    share = yahoo.symbols["AAA"]
    live.bring(share, DAYS[40])
    before = live.rows()
    live.source.timeout = 0.3 if failure is Failure.SLOW else 5.0
    share.failure = failure
    asked = len(yahoo.charts())
    report = live.bring(share, DAYS[41])
    assert (report["outcome"], report["rows"]) == (outcome, 0)
    assert 0 < len(report["detail"]) <= 200
    # yfinance itself repeats a question that was answered with an error, once.
    assert len(yahoo.charts()) - asked == requests
    assert live.rows().equals(before)
    live.source.timeout = 5.0
    share.failure = None
    assert live.bring(share, DAYS[41])["rows"] == 1
    live.assert_true_to(share, DAYS[41])


def test_yahoo_s_rate_limit_stops_the_run_and_the_next_goes_on(live: Live, yahoo: YahooStub) -> None:
    busy = yahoo.add(StubSymbol("BUSY", DAYS, failure=Failure.RATE_LIMITED))
    yahoo.add(StubSymbol("CCC", DAYS))
    report = live.run("AAA", "BUSY", "CCC")
    assert report["outcome"].tolist() == ["ok", "rate_limited", "rate_limited"]
    assert set(yahoo.charts()) == {"AAA", "BUSY"}
    busy.failure = None
    yahoo.requests.clear()
    assert set(live.run("AAA", "BUSY", "CCC")["outcome"]) == {"ok"}
    assert yahoo.charts() == ["BUSY", "CCC"]


def test_a_null_price_is_held_until_yahoo_fills_it(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.nulls = {text(DAYS[38]): ("close",), text(DAYS[20]): tuple(OHLC)}
    report = live.bring(share, DAYS[40])
    assert (report["outcome"], report["rows"]) == ("ok", 39)
    assert live.quarantined() == {
        (
            "AAA",
            text(DAYS[20]),
        ): "open: missing; high: missing; low: missing; close: missing; adj_close: missing",
        ("AAA", text(DAYS[38])): "close: missing; adj_close: missing",
    }
    assert live.gaps() == [text(DAYS[20]), text(DAYS[38])]
    share.nulls = {}
    assert live.bring(share, DAYS[41])["rows"] == 3
    live.assert_true_to(share, DAYS[41])


def test_a_null_on_a_stored_session_changes_nothing(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    live.bring(share, DAYS[40])
    share.nulls = {text(DAYS[38]): tuple(OHLC), text(DAYS[37]): (*OHLC, "volume")}
    report = live.bring(share, DAYS[41])
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "vanished", 1)
    assert len(live.rows()) == 42
    share.nulls = {}
    live.bring(share, DAYS[41])
    live.assert_true_to(share, DAYS[41])


def test_the_bar_of_a_running_session_waits_for_its_close(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    live.bring(share, DAYS[40])
    share.edit = edited("close", DAYS[[41]], 0.999)
    at_noon = DAYS[41].tz_localize("UTC") + pd.Timedelta(hours=17)
    yahoo.add(share.as_of(DAYS[41]))
    report = live.run(at=at_noon).loc["AAA"]
    assert (report["outcome"], report["rows"]) == ("ok", 0)
    assert "1 bar of sessions not yet final left out" in report["detail"]
    share.edit = None
    assert live.bring(share, DAYS[41])["rows"] == 1
    live.assert_true_to(share, DAYS[41])


def test_a_last_row_that_comes_twice_is_stored_once(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.duplicate_last = True
    live.bring(share, DAYS[40])
    share.duplicate_last = False
    report = live.bring(share, DAYS[41])
    assert (report["outcome"], report["change"]) == ("ok", "same")
    assert live.store.rows("prices")["session"].value_counts().max() <= 2
    live.assert_true_to(share, DAYS[41])


@pytest.mark.parametrize("forgotten", [(0, 40), (30, 41), (0, 35)])
def test_a_half_applied_split_spoils_nothing(
    live: Live, yahoo: YahooStub, forgotten: tuple[int, int]
) -> None:
    share = yahoo.symbols["AAA"]
    share.splits[text(DAYS[41])] = 4.0
    live.bring(share, DAYS[40])
    before = live.rows()
    share.edit = edited("all", DAYS[slice(*forgotten)], 4.0)
    report = live.bring(share, DAYS[42])
    # Where the latest sessions fit, news is taken; the forgotten ones are held.
    fits = forgotten[1] < 40
    assert report[["outcome", "rows"]].tolist() == (["ok", 2] if fits else ["invalid", 0])
    first = max(forgotten[0], 40 - OVERLAP + 1)
    assert {("AAA", text(day)) for day in DAYS[first : forgotten[1]]} <= set(live.quarantined())
    assert live.rows().loc[before.index].equals(before)
    share.edit = None
    live.bring(share, DAYS[43])
    live.assert_true_to(share, DAYS[43])


def test_a_split_that_yahoo_tells_before_it_divides(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.splits[text(DAYS[41])] = 4.0
    live.bring(share, DAYS[40])
    before = live.rows()
    share.edit = edited("all", DAYS[:41], 4.0)
    assert live.bring(share, DAYS[42])["outcome"] == "invalid"
    assert live.rows().equals(before)
    share.edit = None
    assert live.bring(share, DAYS[42])["change"] == "resplit"
    live.assert_true_to(share, DAYS[42])


def test_a_split_that_was_never_divided_in_a_first_fetch_is_held(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.edit = edited("all", DAYS[:25], 2.0)
    live.bring(share, DAYS[40])
    # The dividend of the undivided stretch is a fraction of what its prices say, too.
    assert {text(day) for day in DAYS[25:41]} <= {day for _, day in live.quarantined()}
    assert set(live.rows().index) <= set(DAYS[:25])
    share.edit = None
    live.bring(share, DAYS[41], in_place=True)
    live.assert_true_to(share, DAYS[41])


def test_a_session_that_the_whole_market_lacks_is_refilled(live: Live, yahoo: YahooStub) -> None:
    days = {"AAA": DAYS.delete(38), "BBB": DAYS.delete(38)}
    shares = {symbol: StubSymbol(symbol, some) for symbol, some in days.items()}
    for share in shares.values():
        yahoo.add(share.as_of(DAYS[40]))
    report = live.run("AAA", "BBB", at=DAYS[40])
    assert report["detail"].tolist() == [f"1 session missing, first {text(DAYS[38])}"] * 2
    for symbol in shares:
        yahoo.add(StubSymbol(symbol, DAYS[:62]))
    live.run("AAA", "BBB", at=DAYS[58])
    assert live.gaps() == []
    assert len(live.rows("AAA")) == len(live.rows("BBB")) == 59
    live.assert_true_to(StubSymbol("AAA", DAYS), DAYS[58])


def test_a_dividend_on_a_missing_session_is_put_right(live: Live, yahoo: YahooStub) -> None:
    """yfinance puts it on the session before, where it does not fit; once the gap is filled it does."""
    paid = text(DAYS[38])
    whole = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.4, paid: 0.9})
    holed = StubSymbol("AAA", DAYS.delete(38), whole.dividends)
    for last in (40, 41):
        live.bring(holed, DAYS[last])
        assert set(live.quarantined()) == {("AAA", text(DAYS[37])), ("AAA", text(DAYS[39]))}
        assert live.gaps() == [text(day) for day in DAYS[37:40]]
        assert live.actions() == [(text(DAYS[10]), "dividend", 0.4)]
    live.bring(whole, DAYS[42])
    assert live.actions() == [(text(DAYS[10]), "dividend", 0.4), (paid, "dividend", 0.9)]
    live.assert_true_to(whole, DAYS[42])


def test_a_dividend_counts_once_while_its_session_is_lost(live: Live, yahoo: YahooStub) -> None:
    """The other way round: stored in good order, then the session goes from Yahoo's reply."""
    paid = text(DAYS[38])
    whole = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.4, paid: 0.9})
    live.bring(whole, DAYS[40])
    live.bring(StubSymbol("AAA", DAYS.delete(38), whole.dividends), DAYS[41])
    assert live.actions() == [(text(DAYS[10]), "dividend", 0.4), (paid, "dividend", 0.9)]
    live.bring(whole, DAYS[42])
    live.assert_true_to(whole, DAYS[42])


@pytest.mark.parametrize("stored", [True, False])
def test_rows_in_pence_are_held(live: Live, yahoo: YahooStub, stored: bool) -> None:
    share = yahoo.symbols["AAA"]
    if stored:
        live.bring(share, DAYS[37])
    share.edit = edited("all", DAYS[[38, 39]], 100.0)
    live.bring(share, DAYS[40])
    held = live.quarantined()
    assert set(held) == {("AAA", text(DAYS[38])), ("AAA", text(DAYS[39]))}
    assert all("another unit" in reason for reason in held.values())
    assert len(live.rows()) == 39
    share.edit = None
    live.bring(share, DAYS[41])
    live.assert_true_to(share, DAYS[41])


def test_jitter_and_a_lost_volume_append_nothing(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    live.bring(share, DAYS[40])
    share.edit = edited("all", DAYS, 1 + 1e-5)
    assert live.bring(share, DAYS[40])[["change", "rows"]].tolist() == ["same", 0]
    share.edit = None
    share.nulls = {text(DAYS[39]): ("volume",)}
    assert live.bring(share, DAYS[40])[["change", "rows"]].tolist() == ["same", 0]
    assert (live.rows()["volume"] > 0).all()
    live.assert_true_to(share, DAYS[40])


def test_a_volume_that_is_lost_at_first_is_brought_later(live: Live, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.nulls = {text(DAYS[39]): ("volume",)}
    live.bring(share, DAYS[40])
    assert live.rows().loc[DAYS[39], "volume"] == 0
    share.nulls = {}
    assert live.bring(share, DAYS[41])[["change", "rows"]].tolist() == ["same", 2]
    live.assert_true_to(share, DAYS[41])


@pytest.mark.parametrize("lost", ["dividend", "adjustment"])
def test_a_dividend_and_its_adjustment_belong_together(live: Live, yahoo: YahooStub, lost: str) -> None:
    share = yahoo.symbols["AAA"]
    live.bring(share, DAYS[40])
    share.dividends[text(DAYS[41])] = 2.0

    def edit(result: dict[str, Any]) -> None:
        if lost == "dividend":
            result["events"]["dividends"].clear()
        else:
            quote = result["indicators"]["quote"][0]["close"]
            result["indicators"]["adjclose"][0]["adjclose"] = list(quote)

    share.edit = edit
    report = live.bring(share, DAYS[42])
    assert report["rows"] == 1
    assert set(live.quarantined()) == {("AAA", text(DAYS[41]))}
    assert "adjustment ratio off" in live.quarantined()["AAA", text(DAYS[41])]
    assert len(live.actions()) == 2
    share.edit = None
    live.bring(share, DAYS[43])
    live.assert_true_to(share, DAYS[43])


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"instrumentType": "OPTION"}, "'OPTION' is not supported; expected one of EQUITY, ETF"),
        ({"instrumentType": "FUTURE"}, "'FUTURE' is not supported"),
        ({"exchangeName": "ZZZ"}, "exchange 'ZZZ' has no calendar"),
    ],
)
def test_what_has_no_daily_price_of_its_own_is_refused(
    live: Live, yahoo: YahooStub, meta: dict[str, Any], words: str
) -> None:
    yahoo.add(StubSymbol("ODD", DAYS, meta=meta))
    report = live.run("ODD", "AAA")
    assert report["outcome"].tolist() == ["invalid", "ok"]
    assert words in report.loc["ODD", "detail"]
    assert set(live.store.rows("instruments")["symbol"]) == {"AAA"}


# Factors of the market


def test_each_factor_is_known_at_its_own_market_s_close(workspace: Workspace, live: Live) -> None:
    outcomes = workspace.update(["AAA"], live.source)
    assert outcomes[["symbol", "outcome"]].to_numpy().tolist() == [
        ["AAA", "ok"],
        ["^GSPC", "ok"],
        ["^VIX", "ok"],
    ]
    assert workspace.watchlist == ("AAA",)
    factors = workspace.store.current("factors").set_index(["name", "session"])
    for name, session, known in [
        ("market_index", "2023-11-22", "2023-11-22 21:00"),
        ("volatility_index", "2023-11-22", "2023-11-22 21:15"),
        ("market_index", "2023-11-24", "2023-11-24 18:00"),
        ("volatility_index", "2023-11-24", "2023-11-24 18:15"),
    ]:
        row = factors.loc[(name, pd.Timestamp(session))]
        assert row["known_at"] == pd.Timestamp(known, tz="UTC")
        assert row["value"] == traded(sessions(session, session))["close"].item()
    assert workspace.update(["AAA"], live.source)["rows"].tolist() == [0, 0, 0]


def test_a_factor_that_fails_is_reported_and_its_faulty_rows_are_kept(live: Live, yahoo: YahooStub) -> None:
    live.clock.moment = evening(DAYS[-1])
    yahoo.symbols["^GSPC"].failure = Failure.BAD_GATEWAY
    yahoo.symbols["^VIX"].nulls = {"2023-11-20": ("close",)}
    pace = Pace(sleep=lambda seconds: None)
    report = update_factors(live.store, live.source, live.clock, pace=pace).set_index("symbol")
    assert report["outcome"].to_dict() == {"^GSPC": "transient", "^VIX": "ok"}
    assert "1 row in quarantine, first 2023-11-20" in report.loc["^VIX", "detail"]
    assert set(live.quarantined()) == {("^VIX", "2023-11-20")}
    assert set(live.store.rows("updates")["symbol"]) == {"^GSPC", "^VIX"}
    assert set(live.store.rows("factors")["name"]) == {"volatility_index"}


def test_factors_are_asked_for_from_where_they_end(desk: Desk) -> None:
    for symbol in MARKET_FACTORS.values():
        desk.source.add(StubSymbol(symbol, DAYS[:41]))
    desk.clock.moment = evening(DAYS[40])
    assert update_factors(desk.store, desk.source, desk.clock)["rows"].tolist() == [41, 41]
    for symbol in MARKET_FACTORS.values():
        desk.source.add(StubSymbol(symbol, DAYS[:43]))
    desk.clock.moment = evening(DAYS[42])
    desk.source.asked.clear()
    assert update_factors(desk.store, desk.source, desk.clock)["rows"].tolist() == [2, 2]
    for _, start in desk.source.asked:
        assert DAYS[40] - pd.Timedelta(days=40) < start < DAYS[30]
    desk.source.edits["^VIX"] = scaled(41, 1.002)
    assert update_factors(desk.store, desk.source, desk.clock)["rows"].tolist() == [0, 1]
    held = desk.store.current("factors").set_index(["name", "session"])["value"]
    assert held["volatility_index", DAYS[41]] == traded(DAYS)["close"].iloc[41] * 1.002


def test_factors_stop_at_a_rate_limit_too(desk: Desk) -> None:
    desk.clock.moment = evening(DAYS[-1])
    desk.source.outcomes = dict.fromkeys(MARKET_FACTORS.values(), Outcome.RATE_LIMITED)
    assert update_factors(desk.store, desk.source, desk.clock)["outcome"].tolist() == ["rate_limited"]
    assert [symbol for symbol, _ in desk.source.asked] == ["^GSPC"]


def test_factors_are_not_asked_for_after_a_rate_limit(
    workspace: Workspace, live: Live, yahoo: YahooStub
) -> None:
    yahoo.add(StubSymbol("BUSY", DAYS, failure=Failure.RATE_LIMITED))
    assert workspace.update(["AAA", "BUSY"], live.source)["outcome"].tolist() == ["ok", "rate_limited"]
    assert set(yahoo.charts()) == {"AAA", "BUSY"}


def test_a_reply_without_an_instrument_goes_by_the_stored_one(desk: Desk) -> None:
    """Some sources describe a symbol only when it is fetched whole."""
    desk.run(at=DAYS[40])
    fetch = desk.source.fetch

    def bare(symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        whole = fetch(symbol, start)
        return Fetched(symbol, whole.outcome, whole.bars, whole.actions)

    desk.source.fetch = bare
    assert desk.run(at=DAYS[42]).loc["AAA", ["outcome", "rows"]].tolist() == ["ok", 2]
    desk.source.add(StubSymbol("BBB", DAYS))
    assert desk.run("BBB").loc["BBB", "detail"] == "its exchange is not known; fetch all of it anew"
