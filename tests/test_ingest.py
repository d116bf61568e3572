"""Ingest: what is final, sound and new is stored as it came, and the rest is accounted for."""

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from ingest_desk import DAYS, OHLC, OVERLAP, Desk, desk, evening, text
from yahoo_stub import MemorySource, StubSymbol

from forecaster.ingest import runs
from forecaster.sources import Fetched, Outcome

__all__ = ["desk"]


# One symbol


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


# Several symbols, sources and currencies


@pytest.mark.parametrize("batch", [1, 50])
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
