"""The dashboard's page of events, run by Streamlit's AppTest on stored events."""

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pages
import pandas as pd
import pytest
from command_line import Run
from streamlit.testing.v1 import AppTest

from forecaster.store import Store, now
from forecaster.tables import table
from forecaster.workspace import Workspace

draw = partial(pages.draw, path="events")


def texts(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def listed(app: AppTest) -> pd.DataFrame:
    return next(one.value for one in app.dataframe if "usable" in one.value)


def traces(app: AppTest, key: str) -> dict[str, dict[str, Any]]:
    """Return the traces of a chart by name."""
    (chart,) = (one.proto for one in app.get("plotly_chart") if one.proto.id.endswith(f"-{key}"))
    return {trace.get("name", ""): trace for trace in json.loads(chart.spec)["data"]}


def height(trace: dict[str, Any]) -> np.ndarray:
    """Return the values of a trace as they travel to the browser."""
    return np.frombuffer(base64.b64decode(trace["y"]["bdata"]), trace["y"]["dtype"])


def tell(store: Store, *rows: dict) -> None:
    """Store events; what is not said of one is empty."""
    told = pd.DataFrame(rows).reindex(columns=table("events").schema.names)
    for name in ("happened_at", "known_at"):
        told[name] = pd.to_datetime(told[name], utc=True, format="ISO8601")
    texts = {name: told[name].astype("str").fillna("") for name in ("title", "url", "source")}
    store.append("events", told.assign(fetched_at=now(), **texts))


PLANNED = {"symbol": "AAPL", "kind": "results_scheduled", "source": "yahoo", "magnitude": 1.0}


def test_the_table_says_when_an_event_was_known_and_which_session_could_use_it(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    news = {"symbol": "AAPL", "source": "news", "happened_at": "2023-09-15 20:00Z", "kind": "leadership"}
    tell(
        trained_workspace.store,
        # Friday's close in New York is 20:00 UTC: a second before it counts that day, at it on Monday.
        news | {"known_at": "2023-09-15 20:00Z", "title": "At the close", "url": "https://example.org/a"},
        news | {"known_at": "2023-09-15 20:00Z", "title": "Not a page", "url": "javascript:alert(1)"},
        news | {"known_at": "2023-09-15 19:59:59Z", "happened_at": "2023-09-15 19:00Z", "title": "Before it"},
    )
    rows = listed(draw(monkeypatch, trained_workspace.home, symbol="AAPL", kind=["Leadership"]))
    rows = rows.set_index("title")
    days = rows["usable"].dt.strftime("%A %Y-%m-%d")
    assert days["Before it"] == "Friday 2023-09-15"
    assert days["At the close"] == days["Not a page"] == "Monday 2023-09-18"
    assert rows.loc["At the close", "url"] == "https://example.org/a"
    assert pd.isna(rows.loc["Not a page", "url"]), "only a web page is a link"
    assert days["Design chief Jony Ive is to leave Apple"] == "Friday 2019-06-28"
    assert rows.loc["Design chief Jony Ive is to leave Apple", "tone"] == -0.4


def test_events_stand_on_the_price_each_kind_with_a_mark_of_its_own(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    tell(
        trained_workspace.store,
        PLANNED | {"happened_at": "2023-10-25 21:00Z", "known_at": "2023-09-01 12:00Z"},
        PLANNED | {"happened_at": "2023-11-02 21:00Z", "known_at": "2023-09-20 12:00Z"},
    )
    app = draw(monkeypatch, trained_workspace.home, symbol="AAPL")
    drawn = traces(app, "timeline")
    assert list(drawn) == ["Close", "Results", "Leadership", "Policy", "Announced date of results"]
    marks = [trace["marker"]["symbol"] for name, trace in drawn.items() if name != "Close"]
    assert len(set(marks)) == len(marks)
    (plan,) = drawn["Announced date of results"]["x"]
    assert pd.Timestamp(plan).date() == pd.Timestamp("2023-11-03").date(), "after the close of the 2nd"
    bars = trained_workspace.history(symbols=["AAPL"]).bars("AAPL").set_index("session")["close"]
    assert height(drawn["Announced date of results"]) == pytest.approx([bars.iloc[-1]])
    (left,) = height(drawn["Leadership"])
    assert left == pytest.approx(bars[pd.Timestamp("2019-06-28")])
    kinds = listed(app)["kind"]
    assert (kinds == "Announced date of results (replaced since)").sum() == 1


def test_kind_and_span_filter_chart_and_table_and_stand_in_the_url(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home, symbol="AAPL", span="All")
    assert len(listed(app)) == 8, "as many as the sample has of it"
    app = draw(monkeypatch, trained_home, symbol="AAPL", span="All", kind=["Policy", "Leadership"])
    assert set(listed(app)["kind"]) == {"Policy", "Leadership"}
    assert set(traces(app, "timeline")) == {"Close", "Policy", "Leadership"}
    app.button_group(key="span").set_value("1 year").run()
    assert "No event of these kinds falls in this span" in texts(app)
    assert not any("usable" in one.value for one in app.dataframe)
    app = draw(monkeypatch, trained_home, symbol="AAPL", span="9 lives", kind=["Gossip"])
    assert app.button_group(key="span").value == "5 years"


def test_all_symbols_stand_on_the_mean_of_their_returns(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home, symbol="All symbols", span="All")
    assert len(listed(app)) == 40
    bars = Workspace(trained_home).history().prices
    wanted, last = [100.0], {}
    for _, day in bars.groupby("session", sort=True):
        now_at = dict(zip(day["symbol"], day["adj_close"], strict=True))
        steps = [value / last[symbol] for symbol, value in now_at.items() if symbol in last]
        wanted.append(wanted[-1] * (float(np.mean(steps)) if steps else 1.0))
        last |= now_at
    np.testing.assert_allclose(height(traces(app, "timeline")["Close"]), wanted[1:], rtol=1e-9)


def test_the_event_study_says_how_few_events_it_rests_on(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home, study="Leadership", measure="Volatility")
    chosen, few = (one.value for one in app.warning)
    assert chosen.startswith("**Chosen events.**")
    assert few.startswith("**Few events** (8 events on 8 dates of 5 companies)")
    (figures,) = [one.value for one in app.dataframe if "volatility" in one.value]
    events = Workspace(trained_home).store.current("events")
    assert figures.set_index("kind")["events"]["Leadership"] == (events["kind"] == "leadership").sum()
    mean = traces(app, "path")
    assert any("tone" in name for name in mean)
    assert "need not have come from them" in texts(app)


def test_one_date_has_no_band(monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace) -> None:
    tell(
        trained_workspace.store,
        {
            "symbol": "AAPL",
            "kind": "profit",
            "happened_at": "2023-06-01 12:00Z",
            "known_at": "2023-06-01 12:00Z",
        },
    )
    app = draw(monkeypatch, trained_workspace.home, study="News of profit")
    assert app.warning[1].value.startswith("**One date only** (1 event on 1 date)")
    (figures,) = [one.value for one in app.dataframe if "volatility" in one.value]
    assert "to" not in figures.set_index("kind")["session"]["News of profit"]


def test_without_events_or_an_ablation_the_page_names_the_commands(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    assert "python -m forecaster backtest --ablation" in texts(draw(monkeypatch, trained_workspace.home))
    (trained_workspace.home / "store" / "events").rename(trained_workspace.home / "events-gone")
    app = draw(monkeypatch, trained_workspace.home)
    assert "No event is stored here yet." in texts(app)
    assert "python -m forecaster import FILE" in texts(app)


def change(variant: str, days: str, nats: float, p: float, **other: object) -> dict[str, object]:
    return {
        "model": "harx", "variant": variant, "step": 1, "days": days, "folds": 3, "dates": 250, "events": 12,
        "log_score_change": nats, "error": 0.002, "p_value": p, "crps_change": 100 * nats,
        "recipe_hash": "abc", "fingerprint": "f", "quick": False, "symbols": 6,
        "first_cutoff": pd.Timestamp("2022-01-03"), "last_cutoff": pd.Timestamp("2022-12-30"),
    } | other  # fmt: skip


def test_the_last_ablation_is_shown_and_a_quick_one_is_of_low_confidence(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    store, moment = trained_workspace.store, now()
    older = [change("without trend", "all", 0.5, 0.0001)]
    store.append("ablations", pd.DataFrame(older).assign(recorded_at=moment - pd.Timedelta(days=9)))
    rows = [
        change("without results", "all", 0.0012, 0.3),
        change("without results", "event days", 0.0345, 0.001),
        change("without policy", "event days", 0.2, np.nan, dates=4),
        change("without results", "all", 0.0050, 0.2, step=5),
    ]
    store.append("ablations", pd.DataFrame(rows).assign(recorded_at=moment - pd.Timedelta(days=2)))
    app = draw(monkeypatch, trained_workspace.home)
    (shown,) = [one.value for one in app.dataframe if "log_score_change" in one.value]
    assert list(shown["days"]) == ["all days", "event days", "event days"]
    assert list(shown["told"]) == ["not distinguishable", "differs", "too few dates"]
    assert "Run 2 days ago, on 6 symbols, cutoffs from 2022-01-03 to 2022-12-30" in texts(app)
    assert "Low confidence" not in texts(app)
    app.button_group(key="horizon").set_value(5).run()
    (shown,) = [one.value for one in app.dataframe if "log_score_change" in one.value]
    assert list(shown["log_score_change"]) == [0.005]
    quick = pd.DataFrame([change("without trend", "all", 0.1, 0.5, quick=True)])
    store.append("ablations", quick.assign(recorded_at=moment))
    assert "**Low confidence.** This was a quick run" in texts(draw(monkeypatch, trained_workspace.home))


@pytest.mark.slow
def test_a_backtest_with_an_ablation_is_kept_and_shown(
    monkeypatch: pytest.MonkeyPatch, sample_workspace: Workspace, tmp_path: Path
) -> None:
    words = ["--models", "harx", "--ablation", "--quick", "--test-start", "2023-01-01", "--jobs", "1"]
    done = Run(tmp_path)("backtest", *words, "--home", sample_workspace.home, "--json")
    told = pd.DataFrame(json.loads(done.stdout)["ablation"]).query("step == 1")
    app = draw(monkeypatch, sample_workspace.home)
    (shown,) = [one.value for one in app.dataframe if "log_score_change" in one.value]
    assert list(shown["variant"]) == [name.replace("_", " ") for name in told["variant"]]
    np.testing.assert_allclose(shown["log_score_change"], told["log_score_change"], rtol=1e-6)
    assert "on 3 symbols" in texts(app)


def test_a_new_event_shows_without_a_restart(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    app = draw(monkeypatch, trained_workspace.home, symbol="AAPL")
    before = len(listed(app))
    tell(
        trained_workspace.store,
        {
            "symbol": "AAPL",
            "kind": "other",
            "happened_at": "2023-09-01 12:00Z",
            "known_at": "2023-09-01 12:00Z",
        },
    )
    assert len(listed(app.run())) == before + 1
