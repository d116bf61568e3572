"""Ingest: the factors of the market, each known at its own market's close."""

import pandas as pd
from ingest_desk import DAYS, Desk, Live, desk, evening, live, scaled, workspace, yahoo
from yahoo_stub import Failure, StubSymbol, YahooStub, sessions, traded

from forecaster.ingest import MARKET_FACTORS, update_factors
from forecaster.ingest.pace import Pace
from forecaster.sources import Outcome
from forecaster.workspace import Workspace

__all__ = ["desk", "live", "workspace", "yahoo"]


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
