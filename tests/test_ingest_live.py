"""Ingest with the real Yahoo client against the stub: every failure that concerns prices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ingest_desk import DAYS, NUMBERS, OHLC, OVERLAP, Live, live, text, yahoo
from yahoo_stub import Failure, StubSymbol, YahooStub

from forecaster.history import read_history

__all__ = ["live", "yahoo"]


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
    fits = forgotten[1] < 41
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
