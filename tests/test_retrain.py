"""The retraining service on a small market: what it does once, twice, and when things fail."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from market import BEGIN, DAYS, SMALL, SYMBOLS, Market, Walk, copied, evening
from scipy import stats
from yahoo_stub import MemorySource

from forecaster import ledger
from forecaster.decisions import CHAMPION, decisions, holder
from forecaster.errors import DataError, Expired, Locked, NotYet, SourceError
from forecaster.ingest import MARKET_FACTORS
from forecaster.locks import exclusive
from forecaster.sources import Outcome
from forecaster.tables import TABLES
from forecaster.timetable import owed, past_runs
from forecaster.workspace import Workspace

AFTER = DAYS[DAYS > BEGIN]


@pytest.fixture
def market(market_home: Path, tmp_path: Path) -> Market:
    return copied(shutil.copytree(market_home, tmp_path / "market"))


def versions(market: Market) -> dict[str, int]:
    return {name: market.workspace.store.version(name) for name in TABLES}


def statuses(market: Market) -> list[str]:
    return list(past_runs(market.workspace)["status"])


def test_the_first_run_makes_a_champion_and_forecasts_every_symbol(market: Market) -> None:
    workspace = market.workspace
    assert holder(workspace.store, CHAMPION) == "1"
    assert list(decisions(workspace.store)["alias"]) == ["challenger", "champion"]
    (run,) = past_runs(workspace).itertuples()
    assert (run.mode, run.status, run.sessions, run.forecasts) == ("full", "done", f"XNYS {BEGIN}", 3)
    rows = workspace.store.rows("forecasts")
    assert set(rows["model"]) == {"served", "rolling_t"}
    assert len(rows) == 2 * len(SYMBOLS) * 5
    assert set(rows["cutoff"]) == {pd.Timestamp(BEGIN)}


def test_a_second_run_after_the_same_session_does_nothing_and_says_so(market: Market) -> None:
    before, asked = versions(market), len(market.source.asked)
    for mode in (None, "light", "full"):
        report = market.run(mode)
        assert (report.status, report.detail) == ("nothing", f"Nothing to do: XNYS {BEGIN} is done.")
    assert versions(market) == before
    assert len(market.source.asked) == asked


def test_a_light_run_forecasts_from_the_new_session(market: Market) -> None:
    before = market.workspace.store.rows("forecasts")
    report = market.at(AFTER[0]).run()
    assert (report.status, report.mode, report.forecasts, report.decision) == ("done", "light", 3, "")
    assert "on 1 dates" in report.live
    rows = market.workspace.store.rows("forecasts")
    pd.testing.assert_frame_equal(
        rows[rows["cutoff"] == BEGIN].sort_values(["model", "symbol", "step"], ignore_index=True),
        before.sort_values(["model", "symbol", "step"], ignore_index=True),
    )
    assert set(market.workspace.forecasts()["cutoff"]) == {AFTER[0]}
    assert market.run().status == "nothing"


def test_settled_forecasts_are_scored_by_what_came(market: Market) -> None:
    for day in AFTER[:4]:
        market.at(day).run("light")
    store = market.workspace.store
    found = ledger.settled(store, SMALL.hash, steps=(1, 2), models=["served"])
    closes = {name: share.quoted()["adj_close"] for name, share in market.shares.items()}
    assert len(found) == len(SYMBOLS) * (4 + 3)
    for row in found.itertuples():
        came = np.log(closes[row.symbol][row.session] / closes[row.symbol][row.cutoff])
        scale = row.sigma * np.sqrt((row.df - 2) / row.df)
        assert row.outcome == pytest.approx(came)
        assert row.log_score == pytest.approx(-stats.t.logpdf(came, row.df, row.mean, scale))
    scores = market.workspace.live().scores().set_index(["step", "model"])
    daily = found[found["step"] == 1].groupby("cutoff")["log_score"].mean()
    assert scores.loc[(1, "served"), "log_score"] == pytest.approx(daily.mean())
    assert {"served", "rolling_t"} == set(scores.loc[1].index)


def test_only_one_runs_at_a_time(market: Market) -> None:
    market.at(AFTER[0])
    with exclusive(market.home, "retrain"), pytest.raises(Locked, match="Another retrain runs"):
        market.run()
    assert market.run().status == "done"


def test_a_symbol_that_is_being_added_is_waited_for(market: Market) -> None:
    market.at(AFTER[0])
    with ThreadPoolExecutor() as pool, exclusive(market.home, "update"):
        run = pool.submit(market.run)
        looking = Workspace(market.home)
        while list(past_runs(looking)["status"])[-1] != "running":
            assert not run.done()
            time.sleep(0.05)
        with pytest.raises(TimeoutError):
            run.result(timeout=2.0)
    assert run.result().status == "done"


def test_a_source_that_fails_leaves_everything_in_place(market: Market) -> None:
    standing = market.workspace.forecasts()
    market.at(AFTER[2]).source.outcomes = dict.fromkeys(SYMBOLS, Outcome.TRANSIENT)
    with pytest.raises(SourceError, match="No symbol arrived"):
        market.run()
    pd.testing.assert_frame_equal(market.workspace.forecasts(), standing)
    assert statuses(market) == ["done", "failed"]
    assert market.workspace.health("AAA").level == "stale"
    assert market.workspace.health("AAA").data_age == 3
    market.source.outcomes = {}
    assert market.run().status == "done"
    assert set(market.workspace.forecasts()["cutoff"]) == {AFTER[2]}
    assert market.workspace.health("AAA").level == "good"


def test_data_that_is_late_is_waited_for(market: Market) -> None:
    market.at(AFTER[0], but=SYMBOLS)
    with pytest.raises(NotYet, match=rf"No bar of XNYS {AFTER[0].date()} has arrived"):
        market.run()
    assert owed(market.workspace) == "light"
    report = market.at(AFTER[0], but=("CCC",)).run()
    assert report.status == "partly"
    assert (report.late, report.left_out) == ({"CCC": f"its prices end on {BEGIN}"}, {})
    assert report.forecasts == 2
    assert owed(market.workspace) == "light"
    assert market.at(AFTER[0]).run().status == "done"
    assert owed(market.workspace) is None


def test_past_the_hard_limit_there_is_no_forecast(market: Market) -> None:
    market.settings["most_data"] = 3
    ended = []
    for day in AFTER[:4]:
        report = market.at(day, but=("BBB",)).run("light")
        ended.append((report.status, report.late, report.left_out))
    late = ("partly", {"BBB": f"its prices end on {BEGIN}"}, {})
    assert ended[:3] == [late, late, late]
    # Halted for so long it keeps no run open any more.
    status, still_late, left_out = ended[3]
    assert (status, still_late, [*left_out]) == ("done", {}, ["BBB"])
    assert left_out["BBB"].startswith("The prices end on 2024-01-02, 4 complete sessions ago")
    assert owed(market.workspace) is None
    workspace = market.workspace
    assert workspace.health("BBB").level == "expired"
    with pytest.raises(Expired, match=r"BBB: no forecast\. The prices end on 2024-01-02, 4 complete"):
        workspace.forecast("BBB")
    with pytest.raises(Expired, match="BBB: no forecast"):
        workspace.paths("BBB")
    with pytest.raises(Expired, match="BBB: no forecast"):
        workspace.what_if("BBB", [f"policy@{AFTER[5].date()}"])
    assert len(workspace.forecast("BBB", as_of=BEGIN)) == 5
    assert len(workspace.forecast("AAA")) == 5


def test_an_old_model_is_told_then_refused_and_then_replaced(market: Market) -> None:
    market.settings |= {"stale_model": 1, "most_model": 3, "full_every": 100}
    levels = []
    for day in AFTER[:3]:
        market.at(day).run("light")
        levels.append(market.workspace.health("AAA").level)
    market.at(AFTER[3]).workspace.update(SYMBOLS, market.source)
    levels.append(market.workspace.health("AAA").level)
    assert levels == ["good", "stale", "stale", "expired"]
    assert market.workspace.health("AAA").model_age == 4
    assert market.workspace.health("AAA").data_age == 0
    with pytest.raises(Expired, match="trained 4 stored sessions ago"):
        market.workspace.forecast("AAA")
    report = market.run("light")
    assert (report.status, report.mode, report.version, report.forecasts) == ("done", "full", "2", 3)
    assert report.decision == (
        "promoted version 2: champion 1 cannot be used: it was trained 4 stored sessions ago"
    )
    assert market.workspace.health("AAA").level == "good"


def test_a_run_that_can_forecast_nothing_fails(tmp_path: Path) -> None:
    market = Market(tmp_path, source=MemorySource(name="files")).at(BEGIN)
    market.clock.moment = evening(AFTER[20])
    market.workspace.update(SYMBOLS, market.source)
    with pytest.raises(DataError, match=r"No symbol can be forecast; AAA: The prices end on 2024-01-02, 21"):
        market.run(recipe=SMALL)
    assert statuses(market) == ["failed"]
    assert market.workspace.forecasts().empty
    assert owed(market.workspace) is not None


def test_market_factors_that_are_late_are_waited_for(tmp_path: Path) -> None:
    market = Market(tmp_path, source=MemorySource(name="yahoo")).at(BEGIN)
    market.workspace.update(SYMBOLS, market.source)
    market.source.outcomes = {MARKET_FACTORS["market_index"]: Outcome.RATE_LIMITED}
    report = market.run(recipe=SMALL)
    assert (report.status, report.forecasts, report.left_out) == ("partly", 3, {})
    assert [*report.late] == ["factor:market_index"]
    assert report.late["factor:market_index"].startswith("rate_limited, ")
    assert owed(market.workspace) == "light"
    market.source.outcomes = {}
    assert market.run().status == "done"


def test_a_clock_that_jumps_does_no_harm(market: Market) -> None:
    market.at(AFTER[0]).run()
    before = versions(market)
    for moment in (evening(BEGIN), evening(BEGIN) - pd.Timedelta(days=200)):
        market.clock.moment = moment
        assert owed(market.workspace) is None
        assert market.run("light").status == "nothing"
    assert versions(market) == before
    market.clock.moment = evening(AFTER[0]) + pd.Timedelta(days=365)
    with pytest.raises(NotYet):
        market.run()
    assert market.workspace.health("AAA").level == "expired"
    market.clock.moment = evening(AFTER[0])
    assert owed(market.workspace) is None
    market.at(AFTER[1])
    assert market.run().status == "done"
    assert market.workspace.health("AAA").level == "good"


def test_what_is_said_after_a_clock_ran_ahead_holds(market: Market) -> None:
    """The list of symbols, and a close that is corrected; a forecast's moment stays the clock's."""
    market.at(AFTER[0])
    market.clock.moment = evening(AFTER[0]) + pd.Timedelta(days=60)
    with pytest.raises(NotYet):
        market.run()
    market.workspace.watch(["NEW"])
    market.clock.moment = evening(AFTER[0])
    market.workspace.watch(["NEW"], watched=False)
    assert market.workspace.watchlist == SYMBOLS
    store = market.workspace.store
    where = {"symbol": ["AAA"], "session": [AFTER[0].date()]}
    (before,) = store.current("prices", where=where).to_dict("records")
    market.source.edits["AAA"] = _one_per_cent_higher
    now = market.at(AFTER[1]).clock.moment
    assert market.run().status == "done"
    (corrected,) = store.current("prices", where=where).to_dict("records")
    assert corrected["close"] == pytest.approx(1.01 * before["close"])
    known = store.current("prices", where=where, recorded_by=before["fetched_at"])
    assert known["close"].tolist() == [before["close"]]
    issued = store.rows("forecasts", where={"cutoff": [AFTER[1].date()]})["issued_at"]
    assert len(issued) > 0
    assert issued.between(now, now + pd.Timedelta(seconds=1)).all()


def _one_per_cent_higher(bars: pd.DataFrame) -> None:
    bars.loc[AFTER[0], ["open", "high", "low", "close", "adj_close"]] *= 1.01


def test_too_little_news_for_newer_weights(market: Market) -> None:
    report = market.at(AFTER[0]).run("full")
    assert report.decision.startswith("no training: newer weights are judged on the last 42 sessions")
    assert holder(market.workspace.store, CHAMPION) == "1"


def test_a_symbol_that_joins_after_the_run_is_forecast(market: Market) -> None:
    market.shares["DDD"] = Walk("DDD", DAYS, seed=9)
    market.at(BEGIN).workspace.update(["DDD"], market.source)
    assert owed(market.workspace) == "light"
    report = market.run()
    assert (report.status, report.forecasts) == ("done", 4)
    assert len(market.workspace.forecasts("DDD")) == SMALL.horizon
    assert market.run().status == "nothing"


def test_a_symbol_with_too_short_a_history_keeps_no_run_open(market: Market) -> None:
    young = Walk("EEE", DAYS[(DAYS > "2023-12-01")], seed=9)
    market.shares["EEE"] = young
    market.at(BEGIN).workspace.update(["EEE"], market.source)
    report = market.at(AFTER[0]).run()
    assert (report.status, report.late, report.forecasts) == ("done", {}, 3)
    assert set(report.left_out) == {"EEE"}
    assert market.run().status == "nothing"


def test_two_processes_may_issue_the_same_forecast(market: Market) -> None:
    """Should a forecast stand there twice all the same, the first word counts."""
    store = market.workspace.store
    rows = store.rows("forecasts")
    later = rows.assign(issued_at=rows["issued_at"] + pd.Timedelta(seconds=1), mean=0.5)
    store.append("forecasts", later)
    report = market.at(AFTER[0]).run("light")
    assert "on 1 dates" in report.live
    found = ledger.settled(store, SMALL.hash, models=["served"])
    assert len(found) == len(SYMBOLS)
    assert (found["mean"] < 0.1).all()


def test_what_is_issued_when_the_close_has_come_is_no_evidence(market: Market) -> None:
    """Newer weights that speak late do not take the place of a forecast that was in time."""
    market.at(AFTER[0]).run("light")
    store = market.workspace.store
    before = ledger.settled(store, SMALL.hash)
    close = pd.Timestamp(AFTER[0], tz="America/New_York") + pd.Timedelta(hours=16)
    first = store.rows("forecasts", where={"cutoff": [pd.Timestamp(BEGIN).date()], "version": ["1"]})
    for version, moment, lateness in (("2", close, True), ("3", close - pd.Timedelta(seconds=1), False)):
        store.append("forecasts", first.assign(version=version, issued_at=moment.tz_convert("UTC"), mean=0.5))
        after = ledger.settled(store, SMALL.hash)
        assert len(after) == len(before)
        assert (after["mean"] == 0.5).all() != lateness
        stood = ledger.stood(store, SMALL.hash, [1])
        assert not stood["late"].any()
    alone = first.assign(recipe_hash="other", issued_at=close.tz_convert("UTC"))
    store.append("forecasts", alone)
    stood = ledger.stood(store, "other")
    assert (stood["late"] == (stood["step"] == 1)).all()
    assert ledger.settled(store, "other").empty


def test_a_corrected_close_does_not_move_what_was_issued(market: Market) -> None:
    market.at(AFTER[0]).run("light")
    before = ledger.settled(market.workspace.store, SMALL.hash, models=["served"]).set_index("symbol")
    rows = market.workspace.store.current("prices", where={"symbol": ["AAA"]}, since=pd.Timestamp(BEGIN))
    wrong = rows[rows["session"] == BEGIN]
    prices = ["open", "high", "low", "close", "adj_close"]
    corrected = wrong.assign(**{name: 1.1 * wrong[name] for name in prices}, fetched_at=market.clock())
    market.workspace.store.append("prices", corrected)
    after = ledger.settled(market.workspace.store, SMALL.hash, models=["served"]).set_index("symbol")
    pd.testing.assert_series_equal(after["outcome"], before["outcome"])


def test_newer_weights_carry_the_calibration_on(market: Market) -> None:
    """What one version has learned of its width, the next one of the same recipe begins with."""
    for day in AFTER[:3]:
        market.at(day).run("light")
    store, history = market.workspace.store, market.workspace.history()
    carried = ledger.carried(store, SMALL.hash, SYMBOLS, history)
    rows = store.rows("forecasts", where={"version": ["1"]})
    last = rows[rows["cutoff"] == AFTER[2]]
    newer = last.assign(version="2", issued_at=last["issued_at"] + pd.Timedelta(hours=1))
    store.append("forecasts", newer)
    again = ledger.carried(store, SMALL.hash, SYMBOLS, history)
    for symbol in SYMBOLS:
        np.testing.assert_array_equal(again[symbol], carried[symbol])
