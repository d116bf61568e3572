"""The front page, run by Streamlit's AppTest: its figures, its states, and how the watchlist changes."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from job_desk import ended
from pages import checked, words
from streamlit.testing.v1 import AppTest
from tls_proxy import TlsProxy
from yahoo_stub import Failure, YahooStub

from forecaster import jobs
from forecaster.dashboard import actions
from forecaster.errors import Denied
from forecaster.store import now
from forecaster.workspace import Workspace

run = partial(pages.run, path="today")
draw = partial(pages.draw, path="today")
CUTOFF = pd.Timestamp("2023-09-21")
SHARE = {"symbol": "AAPL", "longname": "Apple Inc.", "exchange": "NMS", "quoteType": "EQUITY"}


def table(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value.set_index("symbol")


def test_every_symbol_shows_its_price_and_tomorrow_s_forecast(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app, workspace = draw(monkeypatch, trained_home), Workspace(trained_home)
    shown = table(app)
    assert list(app.dataframe[0].value.columns[:4]) == ["symbol", "last", "low", "high"]
    assert "the verdict is about the range" in words(app)
    drawn = app.dataframe[0].proto
    assert "currency" not in drawn.column_order, "all are in US dollars"
    assert "Last, USD" in drawn.columns
    assert tuple(shown.index) == workspace.watchlist
    bars = workspace.store.current("prices", where={"symbol": ["NVDA"]})
    row = workspace.forecasts("NVDA").query("step == 1").iloc[0]
    nvidia = shown.loc["NVDA"]
    assert list(nvidia["closes"]) == pytest.approx(bars["close"].tail(63).tolist())
    assert nvidia["last"] == bars["close"].iloc[-1]
    for name, quantile in {"median": "q50", "low": "q05", "high": "q95"}.items():
        assert nvidia[name] == pytest.approx(row["base_price"] * np.exp(row[quantile]))
    assert nvidia["prob_up"] == pytest.approx(100 * row["prob_up"])
    assert (nvidia["name"], nvidia["currency"], nvidia["confidence"]) == ("NVIDIA", "USD", "good")
    scores = workspace.store.current("scores", where={"step": [1], "model": ["served"]}).iloc[0]
    beats = scores["log_score_gain"] > 0 and scores["log_score_p"] < 0.05
    assert (nvidia["verdict"] == "range: better than the last price's") == beats


def test_a_split_does_not_break_the_line_of_closes(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    before = table(draw(monkeypatch, trained_workspace.home))["closes"]["AAPL"]
    day = get_calendar("XNYS", start="2023-01-03", end="2023-12-29").sessions_window(CUTOFF, -10)[0]
    split = {"symbol": ["AAPL"], "session": [day], "kind": ["split"], "value": [4.0]}
    trained_workspace.store.append("actions", pd.DataFrame(split).assign(fetched_at=now()))
    bars = trained_workspace.store.current("prices", where={"symbol": ["AAPL"]})
    after = bars["session"] >= day
    bars.loc[after, ["open", "high", "low", "close"]] /= 4
    bars = bars.assign(tells_actions=True, fetched_at=now())
    trained_workspace.store.append("prices", bars)
    closes = table(draw(monkeypatch, trained_workspace.home))["closes"]["AAPL"]
    np.testing.assert_allclose(closes, np.array(before) / 4)


def test_sessions_to_results_are_those_of_the_plan_told_last(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    told = pd.Timestamp("2023-09-01 12:00", tz="UTC")
    plans = [
        ("AAPL", "2023-10-02 13:00", 0),
        ("AAPL", "2023-10-10 20:30", 1),
        ("META", "2023-09-14 20:30", 0),
    ]
    rows = pd.DataFrame(
        {
            "symbol": [symbol for symbol, _, _ in plans],
            "happened_at": [pd.Timestamp(moment, tz="UTC") for _, moment, _ in plans],
            "known_at": [told + pd.Timedelta(days=later) for _, _, later in plans],
        }
    )
    rows = rows.assign(kind="results_scheduled", tone=np.nan, magnitude=1.0, title="", url="", source="x")
    trained_workspace.store.append("events", rows.assign(fetched_at=now()))
    shown = table(draw(monkeypatch, trained_workspace.home))["results_in"]
    market = get_calendar("XNYS", start="2023-01-03", end="2023-12-29")
    # After the close of the 10th they move the 11th; Columbus Day is a session.
    assert shown["AAPL"] == len(market.sessions_in_range(CUTOFF, "2023-10-11")) - 1 == 14
    assert pd.isna(shown["META"]), "those are past"


def test_the_filters_and_the_order_stand_in_the_url(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    home = trained_workspace.home
    doubted = trained_workspace.forecasts("META").assign(doubt="Unlike anything", issued_at=now())
    trained_workspace.store.append("forecasts", doubted)
    assert list(table(draw(monkeypatch, home, holds="nvid")).index) == ["NVDA"]
    assert list(table(draw(monkeypatch, home, confidence="low confidence")).index) == ["META"]
    app = draw(monkeypatch, home, order="widest range")
    width = (table(app)["high"] - table(app)["low"]) / table(app)["last"]
    assert (np.diff(width) <= 0).all()
    assert table(draw(monkeypatch, home, order="least confidence")).index[0] == "META"
    assert table(draw(monkeypatch, home, order="nonsense")).index.is_monotonic_increasing
    assert "No symbol fits" in words(draw(monkeypatch, home, holds="["))
    assert table(app)["why"]["META"] == "Unlike anything"


def test_a_forecast_too_old_is_not_shown(monkeypatch: pytest.MonkeyPatch, market_home: Path) -> None:
    app = run(monkeypatch, market_home)
    assert not app.exception
    shown = table(app)
    assert set(shown["confidence"]) == {"expired"}
    assert shown[["median", "low", "high", "prob_up"]].isna().all(axis=None)
    assert shown["last"].notna().all()
    assert "3 of 3 symbols: stale, expired or without prices" in words(app)
    assert "complete sessions ago" in shown["why"]["AAA"]
    loses = any("loses to the last price" in one.value for one in app.error)
    assert ("worse than the last price" in shown["verdict"]["AAA"]) == loses


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, sample_workspace: Workspace) -> None:
    sample_workspace.watch(["ZZZZ"])
    app = draw(monkeypatch, sample_workspace.home)
    shown = table(app)
    assert shown["confidence"].to_dict() == {
        "AAPL": "no forecast", "NFLX": "no forecast", "NVDA": "no forecast", "ZZZZ": "no prices",
    }  # fmt: skip
    assert pd.isna(shown["last"]["ZZZZ"])
    notice = next(one.value for one in app.warning if one.value.startswith("1 of 4 symbols"))
    assert "six stocks and no others" in notice


def test_a_symbol_is_found_in_the_sample(monkeypatch: pytest.MonkeyPatch, trained_home: Path) -> None:
    app = draw(monkeypatch, trained_home, words="goo")
    assert not [one for one in app.button if one.key == "add GOOG"], "opening a link asks nobody"
    app.button(key="search").click().run()
    assert "GOOG** Alphabet" in words(checked(app))
    app.text_input(key="words").set_value("--help").run()
    said = words(checked(app))
    assert "The source knows nothing that fits --help" in said
    assert "quickstart --home mydata --source yahoo" in said


@pytest.mark.slow
def test_each_way_in_which_a_search_ends_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with YahooStub() as yahoo:
        with TlsProxy(yahoo._server.server_port, tmp_path) as proxy:
            for name, value in proxy.environment().items():
                monkeypatch.setenv(name, value)
            yahoo.quotes = [SHARE]
            app = draw(monkeypatch, tmp_path / "home", words="apple")
            app.button(key="search").click().run()
            assert "AAPL** Apple Inc." in words(checked(app))
            assert app.button(key="add AAPL").disabled is False
            yahoo.search_failure = Failure.RATE_LIMITED
            app.button(key="search").click().run()
            assert "**Rate limited.**" in words(checked(app))
        app.button(key="search").click().run()
        assert "**The search did not get through.**" in words(checked(app))
        assert "Check the connection" in words(app)


def test_removing_appends_to_the_watchlist(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    app = draw(monkeypatch, trained_workspace.home)
    app.button(key="remove").click().run()
    assert "Nothing is chosen" in words(checked(app))
    app.multiselect(key="off-symbols").set_value(["META", "GOOG"])
    app.button(key="remove").click().run()
    assert list(table(checked(app)).index) == ["AAPL", "AMZN", "NFLX", "NVDA"]
    assert "Off the watchlist: META, GOOG." in words(app).replace("\\", "")
    assert trained_workspace.watchlist == ("AAPL", "AMZN", "NFLX", "NVDA")
    assert not trained_workspace.forecasts("META").empty


@pytest.mark.slow
def test_adding_brings_and_forecasts_in_a_job(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    home = trained_workspace.home
    trained_workspace.watch(["META"], watched=False)
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    app = draw(monkeypatch, home, words="meta")
    app.button(key="search").click().run()
    app.button(key="add META").click().run()
    (job,) = jobs.jobs(home)
    assert job.command == ("watchlist", "add", "META", "--now")
    assert ended(home, job.id).state == "done", jobs.log(home, job.id)
    checked(app.run())
    assert "META: on the watchlist and forecast." in words(app)
    assert "META" in table(app).index


def test_whoever_may_not_change_anything_cannot(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    reason = "a_b_c@example.org may look, and change nothing."
    monkeypatch.setattr("forecaster.dashboard.access.denied", lambda: reason)
    app = draw(monkeypatch, trained_workspace.home, words="goo")
    changing = [app.button(key="search"), app.button(key="remove"), app.multiselect(key="off-symbols")]
    assert all(
        one.disabled and one.help == r"a\_b\_c@example\.org may look, and change nothing\."
        for one in changing
    )
    for action in (
        lambda: actions.start("retrain", "--light"),
        lambda: actions.cancel("x"),
        lambda: actions.unwatch(["AAPL"]),
    ):
        with pytest.raises(Denied, match=reason):
            action()
    assert not jobs.jobs(trained_workspace.home)
    assert "AAPL" in trained_workspace.watchlist
