"""Ingest: the factors of the market, each with the moment at which it was known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from ingest_desk import (
    DAYS,
    OHLC,
    Desk,
    Live,
    desk,
    evening,
    live,
    scaled,
    text,
    without,
    workspace,
    yahoo,
)  # fmt: skip
from yahoo_stub import Failure, StubSymbol, YahooStub, sessions, traded

from forecaster.ingest import MARKET_FACTORS, gaps, update_factors
from forecaster.ingest.factors import YIELDS
from forecaster.ingest.gaps import FACTOR
from forecaster.ingest.pace import Pace
from forecaster.sources import Outcome
from forecaster.workspace import Workspace

__all__ = ["desk", "live", "workspace", "yahoo"]

NAMES = [FACTOR + name for name in MARKET_FACTORS]


@pytest.fixture
def factors(desk: Desk) -> Desk:
    """A desk that has forty-one sessions of every factor."""
    for name, symbol in MARKET_FACTORS.items():
        desk.source.add(StubSymbol(symbol, DAYS))
        if name in YIELDS:
            desk.source.edits[symbol] = yields
    bring(desk, 40)
    return desk


def yields(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.assign(**{name: bars[name] / 50 for name in [*OHLC, "adj_close"]})


def bring(desk: Desk, row: int) -> pd.DataFrame:
    """Let the world go on to the night after a session, when all is final, and update."""
    for symbol in MARKET_FACTORS.values():
        desk.source.shares[symbol] = StubSymbol(symbol, DAYS[: row + 1])
    desk.clock.moment = max(desk.clock.moment, night(DAYS[row]))
    desk.source.asked.clear()
    return update_factors(desk.store, desk.source, desk.clock).set_index("symbol")


def night(day: pd.Timestamp) -> pd.Timestamp:
    return evening(day) + pd.Timedelta(hours=2)


def held(desk: Desk, name: str) -> pd.Series:
    return desk.store.current("factors", where={"name": [name]}).set_index("session")["value"]


@pytest.mark.parametrize(
    ("session", "close"),
    [
        ("2023-11-22", "21:00"),
        ("2023-11-24", "18:00"),  # early, 13:00 in New York
        ("2024-03-08", "21:00"),  # the last session of winter time
        ("2024-03-11", "20:00"),  # the first of summer time
    ],
)
def test_each_factor_is_known_at_its_own_moment(live: Live, session: str, close: str) -> None:
    live.clock.moment = evening(DAYS[-1])
    report = update_factors(live.store, live.source, live.clock)
    assert report["symbol"].tolist() == NAMES
    assert set(report["outcome"]) == {"ok"}
    rows = live.store.current("factors", where={"session": [pd.Timestamp(session).date()]}).set_index("name")
    price = traded(sessions(session, session))["close"].item()
    for name in MARKET_FACTORS:
        late = {"volatility_index": "15min", "rate_10y": "2h", "rate_3m": "2h"}.get(name, "0min")
        known = pd.Timestamp(f"{session} {close}", tz="UTC") + pd.Timedelta(late)
        assert rows.loc[name, "known_at"] == known, name
        assert rows.loc[name, "value"] == pytest.approx(price / 50 if "rate" in name else price, rel=1e-6)


def test_a_factor_and_a_share_of_the_same_symbol_do_not_meet(workspace: Workspace, live: Live) -> None:
    outcomes = workspace.update(["AAA", "^VIX"], live.source)
    assert outcomes["symbol"].tolist() == ["AAA", "^VIX", *NAMES]
    assert workspace.watchlist == ("AAA", "^VIX")
    assert set(workspace.store.current("updates")["symbol"]) == {"AAA", "^VIX", *NAMES}
    assert set(workspace.store.rows("prices")["symbol"]) == {"AAA", "^VIX"}
    assert set(workspace.store.rows("factors")["name"]) == set(MARKET_FACTORS)
    assert workspace.update(["AAA", "^VIX"], live.source)["rows"].tolist() == [0] * (2 + len(NAMES))


def test_a_value_counts_once_it_is_final(live: Live) -> None:
    """At 16:50 the stocks' and the volatility index's are, half an hour after they came; yields are not."""
    live.clock.moment = pd.Timestamp("2024-03-26 16:50", tz="America/New_York").tz_convert("UTC")
    update_factors(live.store, live.source, live.clock)
    last = live.store.current("factors").groupby("name")["session"].max().dt.strftime("%m-%d")
    assert last["market_index"] == last["volatility_index"] == last["sector_energy"] == "03-26"
    assert last["rate_10y"] == last["rate_3m"] == "03-25"


def test_a_factor_that_fails_is_reported_and_its_faulty_rows_are_kept(live: Live, yahoo: YahooStub) -> None:
    live.clock.moment = evening(DAYS[-1])
    yahoo.symbols["^GSPC"].failure = Failure.BAD_GATEWAY
    yahoo.symbols["^VIX"].nulls = {"2023-11-20": ("close",)}
    pace = Pace(sleep=lambda seconds: None)
    report = update_factors(live.store, live.source, live.clock, pace=pace).set_index("symbol")
    assert report["outcome"].drop("factor:market_index").eq("ok").all()
    assert report.loc["factor:market_index", "outcome"] == "transient"
    detail = report.loc["factor:volatility_index", "detail"]
    assert "1 row in quarantine, first 2023-11-20: close: missing" in detail
    assert "1 session missing, first 2023-11-20" in detail
    assert set(live.quarantined()) == {("factor:volatility_index", "2023-11-20")}
    assert set(live.store.rows("factors")["name"]) == set(MARKET_FACTORS) - {"market_index"}
    yahoo.symbols["^VIX"].nulls = {}
    update_factors(live.store, live.source, live.clock, pace=pace)
    assert not live.quarantined()
    assert pd.Timestamp("2023-11-20") in held(live, "volatility_index").index


def test_factors_are_asked_for_from_a_month_before_they_end(factors: Desk) -> None:
    assert {len(rows) for _, rows in factors.store.rows("factors").groupby("name")} == {41}
    assert bring(factors, 42)["rows"].tolist() == [2] * len(NAMES)
    assert factors.source.asked == [
        (symbol, DAYS[40] - pd.Timedelta(days=30)) for symbol in MARKET_FACTORS.values()
    ]
    assert bring(factors, 42)["rows"].sum() == 0


def test_a_corrected_value_is_told_and_its_first_word_stays_on_record(factors: Desk) -> None:
    before = held(factors, "volatility_index")[DAYS[30]]
    factors.source.edits["^VIX"] = scaled(30, 1.002)
    factors.source.edits["^GSPC"] = scaled(30, 1.0001)
    report = bring(factors, 40)
    assert report["rows"].sum() == 1
    told = f"1 value corrected, first {text(DAYS[30])}: {before:.6g} to {before * 1.002:.6g}"
    assert report.loc["factor:volatility_index", "detail"] == told
    assert held(factors, "volatility_index")[DAYS[30]] == pytest.approx(before * 1.002)
    rows = factors.store.rows("factors", where={"name": ["volatility_index"], "session": [DAYS[30].date()]})
    assert sorted(rows["value"]) == pytest.approx([before, before * 1.002])


def test_the_last_value_may_settle_without_a_word(factors: Desk) -> None:
    factors.source.edits["^VIX"] = scaled(40, 1.01)
    report = bring(factors, 41)
    assert report.loc["factor:volatility_index", ["rows", "detail"]].tolist() == [2, ""]


def test_a_session_that_is_missing_is_asked_for_again_for_a_month(factors: Desk) -> None:
    name = "factor:market_index"
    factors.source.edits["^GSPC"] = without(42, 44)
    report = bring(factors, 45)
    assert report.loc[name, "detail"] == f"2 sessions missing, first {text(DAYS[42])}"
    noticed = factors.store.rows("gaps")
    assert list(zip(noticed["symbol"], noticed["session"], strict=True)) == [
        (name, DAYS[42]), (name, DAYS[44])
    ]  # fmt: skip
    noticed_at = noticed["found_at"].iloc[0]
    factors.source.edits["^GSPC"] = without(44)
    # The first asks for both that are missing; for the others thirty days are counted from one of them,
    # and from the last stored session once it has been missing for a month.
    for before, row, earliest in [(45, 50, 42), (50, 58, 44), (58, 64, 44), (64, 68, 64), (68, 72, 68)]:
        bring(factors, row)
        asked = dict(factors.source.asked)
        assert (factors.clock.moment - noticed_at < gaps.ASKED_FOR) == (row <= 64)
        assert asked["^GSPC"] == DAYS[earliest] - pd.Timedelta(days=30)
        assert asked["^VIX"] == DAYS[before] - pd.Timedelta(days=30)
    assert DAYS[42] in held(factors, "market_index").index
    assert DAYS[44] not in held(factors, "market_index").index
    assert len(factors.store.rows("gaps")) == 2, "each is noticed once"
    assert gaps.standing(factors.store)[["symbol", "session"]].to_numpy().tolist() == [[name, DAYS[44]]]


def test_bonds_rest_on_some_days_of_stocks_and_trade_on_some_others(desk: Desk) -> None:
    """In 2021 there was no yield on Columbus Day and Veterans Day, and one on Good Friday."""
    days = sessions("2021-03-01", "2021-11-30")
    rest = pd.DatetimeIndex(["2021-10-11", "2021-11-11"])
    good_friday = pd.DatetimeIndex(["2021-04-02"])
    for symbol in MARKET_FACTORS.values():
        desk.source.add(StubSymbol(symbol, days))
    desk.source.edits["^IRX"] = yields
    desk.source.edits["^TNX"] = lambda bars: yields(
        pd.concat([bars.drop(index=rest), bars.iloc[[0]].set_axis(good_friday)])
    )
    desk.clock.moment = night(days[-1])
    report = update_factors(desk.store, desk.source, desk.clock).set_index("symbol")
    assert report.loc["factor:rate_10y", ["outcome", "detail"]].tolist() == ["ok", ""]
    assert desk.store.rows("gaps").empty
    assert not desk.quarantined()
    assert list(held(desk, "rate_10y").index) == list(days.difference(rest))


@pytest.mark.parametrize(
    ("symbol", "edit", "reason"),
    [
        ("^TNX", lambda bars: bars.assign(close=bars["close"] * 10), "a yield of .* %: another unit"),
        ("^TNX", lambda bars: bars.assign(close=bars["close"] + 3), ".* after .*: another unit"),
        ("^VIX", lambda bars: bars.assign(close=bars["close"] * 100), ".* after .*: another unit"),
        ("^GSPC", lambda bars: bars.assign(close=0.0), "zero or negative"),
        ("XLE", lambda bars: bars.assign(adj_close=np.nan), "missing"),
    ],
)
def test_a_value_that_cannot_be_is_refused(factors: Desk, symbol: str, edit: Any, reason: str) -> None:
    ordinary = factors.source.edits.get(symbol, lambda bars: bars)

    def last_one_wrong(bars: pd.DataFrame) -> pd.DataFrame:
        bars = ordinary(bars)
        bars.iloc[[-1]] = edit(bars.iloc[[-1]])
        return bars

    factors.source.edits[symbol] = last_one_wrong
    name = {symbol: name for name, symbol in MARKET_FACTORS.items()}[symbol]
    report = bring(factors, 42)
    assert report.loc[FACTOR + name, "rows"] == 1
    rows = factors.store.current("quarantine")
    assert rows[["symbol", "session"]].to_numpy().tolist() == [[FACTOR + name, DAYS[42]]]
    assert rows["reason"].str.fullmatch(f".*{reason}.*").all()


def test_a_yield_may_be_zero_or_below(desk: Desk) -> None:
    for symbol in MARKET_FACTORS.values():
        desk.source.add(StubSymbol(symbol, DAYS))
    path = np.linspace(0.05, -0.1, len(DAYS))
    path[10] = 0.0
    desk.source.edits["^TNX"] = yields
    desk.source.edits["^IRX"] = lambda bars: bars.assign(close=path)
    desk.clock.moment = night(DAYS[-1])
    report = update_factors(desk.store, desk.source, desk.clock).set_index("symbol")
    assert report.loc["factor:rate_3m", ["outcome", "rows", "detail"]].tolist() == ["ok", len(DAYS), ""]
    np.testing.assert_array_equal(held(desk, "rate_3m"), path)


def test_a_sector_is_its_total_return_whatever_is_paid_or_split_later(live: Live, yahoo: YahooStub) -> None:
    """Against the returns counted from what was traded and paid on the day."""
    fund = yahoo.symbols["XLK"]
    fund.dividends = {text(DAYS[20]): 0.7, text(DAYS[60]): 0.8}
    fund.splits = {text(DAYS[70]): 2.0}
    whole = StubSymbol("XLK", DAYS, fund.dividends, fund.splits)
    for row in (45, 58, 64, 75, len(DAYS) - 1):
        shown = whole.as_of(DAYS[row])
        fund.sessions, fund.dividends, fund.splits = shown.sessions, shown.dividends, shown.splits
        live.clock.moment = evening(DAYS[row])
        report = update_factors(live.store, live.source, live.clock).set_index("symbol")
        assert report.loc["factor:sector_technology", "outcome"] == "ok"
        assert report.loc["factor:sector_technology", "detail"] == ""
    close = whole.as_traded()["close"]
    paid = pd.Series(whole.dividends).set_axis(pd.to_datetime(list(whole.dividends)))
    paid = paid.reindex(DAYS, fill_value=0.0)
    ratio = pd.Series(1.0, index=DAYS)
    ratio[DAYS[70]] = 2.0
    expected = (close + paid) * ratio / close.shift()
    level = held(live, "sector_technology")
    # Yahoo's own adjustment is 1 - dividend / close before, which differs from this in the second order.
    np.testing.assert_allclose((level / level.shift())[1:], expected[1:], rtol=1e-4)


def test_a_sector_that_cannot_be_joined_is_refused(factors: Desk) -> None:
    factors.source.edits["XLE"] = without(*range(41))
    report = bring(factors, 44)
    row = report.loc["factor:sector_energy"]
    assert (row["outcome"], row["rows"]) == ("invalid", 0)
    assert "no session that is stored is among those delivered" in row["detail"]


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
