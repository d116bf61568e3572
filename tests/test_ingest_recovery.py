"""Earlier states that later news leaves alone, and updates that recover by themselves."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from ingest_desk import DAYS, Desk, Live, at_row, desk, live, scaled, text, without, yahoo
from yahoo_stub import MemorySource, StubSymbol, YahooStub, sessions

from forecaster.errors import UsageError
from forecaster.history import read_history
from forecaster.ingest import quarantine
from forecaster.sessions import last_complete

__all__ = ["desk", "live", "yahoo"]


def test_a_later_dividend_changes_nothing_at_an_earlier_cutoff(desk: Desk) -> None:
    """Also where an earlier one was told by the adjusted closes only, and so refused."""
    share = StubSymbol("AAA", DAYS, {text(DAYS[31]): 3.7, text(DAYS[60]): 2.0})

    def untold(bars: pd.DataFrame) -> None:
        bars.loc[bars.index < DAYS[31], "adj_close"] *= 0.99

    desk.source.edits["AAA"] = untold
    desk.bring(share, DAYS[50])
    before = read_history(desk.store, as_of=DAYS[45])
    desk.bring(share, DAYS[65])
    after = read_history(desk.store, as_of=DAYS[45])
    assert text(DAYS[60]) in [day for day, _, _ in desk.actions()]
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize("row", [38, 39, 40])
def test_a_small_revision_never_stops_what_comes_after_it(desk: Desk, row: int) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = at_row(row, "low", 0.9997)
    for last in (41, 42, 45, 60):
        report = desk.bring(share, DAYS[last])
        assert report["outcome"] == "ok"
    assert list(desk.rows().index) == list(DAYS[:61])


def test_what_was_refused_or_missing_is_known_after_a_kill_before_the_prices(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.source.edits["AAA"] = lambda bars: without(8)(bars).assign(
        open=lambda rows: rows["open"].where(rows.index != DAYS[5])
    )
    append = desk.store.append

    def killed(name: str, frame: pd.DataFrame) -> int:
        if name == "prices":
            raise KeyboardInterrupt
        return append(name, frame)

    monkeypatch.setattr(desk.store, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    monkeypatch.undo()
    assert set(desk.quarantined()) == {("AAA", text(DAYS[5]))}
    desk.run()
    assert desk.gaps() == [text(DAYS[5]), text(DAYS[8])]
    del desk.source.edits["AAA"]
    desk.run()
    assert list(desk.rows().index) == list(DAYS)
    assert desk.gaps() == []


def test_dividends_in_pounds_beside_prices_in_pence(live: Live, yahoo: YahooStub) -> None:
    days = sessions("2023-11-01", "2024-03-28", "XLON")
    paid = text(days[20])
    share = StubSymbol(
        "VOD.L", days, {paid: 2.5}, exchange="XLON", meta={"exchangeName": "LSE", "currency": "GBp"}
    )

    def in_pounds(result: dict[str, Any]) -> None:
        for told in result["events"]["dividends"].values():
            told["amount"] /= 100

    yahoo.add(replace(share, edit=in_pounds))
    assert live.run("VOD.L", at=days[-1]).loc["VOD.L", ["outcome", "rows"]].tolist() == ["ok", len(days)]
    assert live.actions() == [(paid, "dividend", pytest.approx(2.5))]
    assert live.quarantined() == {}


def test_a_released_row_is_not_held_again_for_the_same_reason(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = without(35)
    desk.bring(share, DAYS[41])
    quarantine.release(desk.store, "AAA", None, desk.clock())
    desk.bring(share, DAYS[42])
    assert desk.quarantined() == {}
    assert DAYS[35] in desk.rows().index
    assert len(desk.store.rows("prices")) == 43, "what stood stored is not stored twice"


def test_an_older_file_settles_no_later_session(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[60])
    desk.source.edits["AAA"] = scaled(30, 1.05)
    desk.source.add(share.as_of(DAYS[30]))
    report = desk.run("AAA", at=DAYS[61]).loc["AAA"]
    assert report["change"] == "revision"
    assert desk.rows().loc[DAYS[30], "close"] == pytest.approx(share.quoted().loc[DAYS[30], "close"])


def test_parts_of_a_file_are_judged_by_their_neighbours(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    desk.bring(StubSymbol("AAA", DAYS[:40]), DAYS[39])
    prices = ["open", "high", "low", "close", "adj_close"]
    desk.source.edits["AAA"] = lambda bars: bars.assign(**{name: bars[name] / 100 for name in prices})
    desk.source.add(StubSymbol("AAA", DAYS[40:60]))
    report = desk.run("AAA", at=DAYS[60]).loc["AAA"]
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert len(desk.quarantined()) == 20


def test_another_company_or_exchange_does_not_go_on_with_a_series(desk: Desk) -> None:
    desk.bring(StubSymbol("AAA", DAYS[:40]), DAYS[39])
    desk.source.add(StubSymbol("AAA", DAYS[45:]))
    report = desk.run("AAA", at=DAYS[-1], in_place=True).loc["AAA"]
    assert report["outcome"] == "invalid"
    assert "another company" in report["detail"]
    london = StubSymbol("AAA", sessions("2023-11-01", "2024-03-28", "XLON"), exchange="XLON")
    desk.source.add(replace(london, meta={"exchangeName": "LSE"}))
    report = desk.run("AAA", at=DAYS[-1]).loc["AAA"]
    assert (report["outcome"], report["rows"]) == ("invalid", 0)


def test_a_symbol_that_gets_nothing_for_a_week_counts_as_failed(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])

    def pence(bars: pd.DataFrame) -> None:
        bars.loc[bars.index > DAYS[40], ["open", "high", "low", "close", "adj_close"]] *= 100

    desk.source.edits["AAA"] = pence
    assert desk.bring(share, DAYS[45])["outcome"] == "ok"
    assert desk.bring(share, DAYS[46])["outcome"] == "invalid"
    assert len(desk.rows()) == 41


def test_a_clock_before_the_calendar_begins() -> None:
    with pytest.raises(UsageError, match="is the clock right"):
        last_complete("XNYS", pd.Timestamp("1970-01-02", tz="UTC"), 30)
