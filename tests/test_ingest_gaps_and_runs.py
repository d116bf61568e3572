"""Ingest: what is missing is asked for again, what is gone no more, and a broken run goes on."""

import numpy as np
import pandas as pd
import pytest
from ingest_desk import DAYS, OVERLAP, Desk, at_row, desk, evening, text, without, workspace
from yahoo_stub import MemorySource, StubSymbol, sessions

from forecaster.errors import SourceError
from forecaster.ingest import runs
from forecaster.sources import Outcome
from forecaster.workspace import Workspace

__all__ = ["desk", "workspace"]


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
