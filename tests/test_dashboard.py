"""The pages, run by Streamlit's AppTest: numbers, states, and what they must not import."""

import base64
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from market import BEGIN, DAYS, copied
from pages import run
from scipy import stats
from streamlit.testing.v1 import AppTest
from yahoo_stub import sessions, traded

from forecaster import ledger
from forecaster.config import Settings
from forecaster.dashboard import PAGES, bundle
from forecaster.dashboard.texts import ago, command, count, lasted, plain
from forecaster.ingest import runs, update
from forecaster.ingest.pace import Pace
from forecaster.ingest.unreported import NO_ACTIONS
from forecaster.instruments import Instrument
from forecaster.models.trained import Model
from forecaster.sessions import next_sessions
from forecaster.sources import Fetched, Outcome
from forecaster.store import Store, now
from forecaster.tables import QUANTILE_COLUMNS
from forecaster.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
NOON = pd.Timestamp("2024-06-03 12:00", tz="UTC")
DAY = pd.Timedelta(days=1)


def show(monkeypatch, home: Path, **query: str) -> AppTest:
    """Run the page Forecast."""
    return run(monkeypatch, home, "forecast", **query)


def metrics(app: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in app.metric}


def table_with(app: AppTest, column: str) -> pd.DataFrame:
    return next(one.value for one in app.dataframe if column in one.value)


def traces(app: AppTest) -> dict[str, dict]:
    """What is drawn in the chart of the fan."""
    return {one.get("name", ""): one for one in json.loads(app.get("plotly_chart")[0].proto.spec)["data"]}


def texts(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_without_a_path_the_app_opens_today(monkeypatch, trained_home):
    monkeypatch.setenv("FORECASTER_HOME", str(trained_home))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception
    assert app.title[0].value == "Today"


@pytest.mark.parametrize("path", PAGES)
def test_every_page_draws_without_an_error(monkeypatch, trained_home, path):
    app = run(monkeypatch, trained_home, path)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_to_do_in_an_empty_workspace(monkeypatch, tmp_path, path):
    app = run(monkeypatch, tmp_path / "new", path)
    assert not app.exception
    assert "python -m forecaster quickstart" in texts(app)
    assert not (tmp_path / "new").exists(), "reading makes nothing"
    if path == "today":
        assert f"There is no workspace at {tmp_path / 'new'} yet." in texts(app).replace("\\", "")


def test_the_figures_are_those_of_the_stored_forecast(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home, symbol="NVDA", horizon="5")
    rows = Workspace(trained_home).forecasts("NVDA")
    row = rows[rows["step"] == 5].iloc[0]
    low, high = row["base_price"] * np.exp(row["q05"]), row["base_price"] * np.exp(row["q95"])
    scale = row["sigma"] * np.sqrt((row["df"] - 2) / row["df"])
    loss = stats.t.cdf((np.log(0.95) - row["mean"]) / scale, row["df"])
    assert app.title[0].value == r"NVIDIA \(NVDA\)"
    assert metrics(app) == {
        "Close on 21 Sep 2023, USD": f"{row['base_price']:.2f}",
        "90 % range, USD": f"{low:.2f} to {high:.2f}",
        "Probability of a rise": f"{100 * row['prob_up']:.1f} %",
        "Probability of a loss over 5 %": f"{100 * loss:.1f} %",
    }
    assert app.subheader[0].value == f"5 sessions ahead: {row['session']:%d %b %Y}"


def test_the_quantile_table_is_in_prices(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home, symbol="AAPL")
    rows = Workspace(trained_home).forecasts("AAPL")
    shown = table_with(app, "q01")
    assert list(shown["step"]) == list(range(1, 21))
    assert list(shown["session"]) == [
        pd.Timestamp(day) for day in next_sessions("XNAS", rows["cutoff"].iloc[0], 20)
    ]
    for name in QUANTILE_COLUMNS:
        np.testing.assert_allclose(shown[name], rows["base_price"] * np.exp(rows[name]))
    assert (np.diff(shown[list(QUANTILE_COLUMNS)], axis=1) > 0).all()


def test_the_score_table_and_the_verdict_are_of_the_horizon_and_the_baseline_is_there(
    monkeypatch, trained_home
):
    app = show(monkeypatch, trained_home, symbol="AAPL", horizon="10")
    workspace = Workspace(trained_home)
    scores = workspace.store.current("scores", where={"step": [10]}).sort_values("log_score")
    shown = table_with(app, "gain")
    np.testing.assert_allclose(shown["log_score"], scores["log_score"])
    np.testing.assert_allclose(shown["mae"], scores["mae"])
    baseline = shown[shown["model"].str.startswith("Last price, rolling-250 Student-t")]
    assert len(baseline) == 1
    assert baseline["gain"].isna().all(), "it has no gain over itself"
    served = scores[scores["model"] == "served"].iloc[0]
    assert any(
        "At 10 sessions ahead:" in text.value
        and f"off by {served['mae']:.2f} %" in text.value.replace("\\", "")
        for text in app.markdown
    )


def test_changing_the_symbol_and_the_horizon_changes_the_page(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home)
    assert app.title[0].value == r"Apple \(AAPL\)"
    assert app.subheader[0].value.startswith("20 sessions ahead")
    app.selectbox(key="symbol").set_value("META").run()
    app.button_group(key="horizon").set_value(1).run()
    assert app.title[0].value == r"Meta Platforms \(META\)"
    assert app.subheader[0].value == "1 session ahead: 22 Sep 2023"
    base = Workspace(trained_home).forecasts("META")["base_price"].iloc[0]
    assert metrics(app)["Close on 21 Sep 2023, USD"] == f"{base:.2f}"


def test_a_symbol_in_small_letters_is_understood(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home, symbol="nvda")
    assert app.title[0].value == r"NVIDIA \(NVDA\)"
    assert not app.warning


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("ZZZZ", r"There is no forecast of ZZZZ here. Choose one of the list; the bundled sample has six"),
        ("![x](https://example.com/x.png)", "The symbol in the address is no ticker."),
    ],
)
def test_an_unknown_symbol_in_the_url_gives_one_clear_text(monkeypatch, trained_home, asked, words):
    app = show(monkeypatch, trained_home, symbol=asked)
    assert not app.exception
    assert len(app.warning) == 1
    assert words in app.warning[0].value
    assert "example" not in texts(app)
    assert app.title[0].value == r"Apple \(AAPL\)"


@pytest.mark.parametrize("query", [{"horizon": "7"}, {"horizon": "x"}, {"past": "9 years"}, {"past": ""}])
def test_bad_values_in_the_url_fall_back_to_the_default_view(monkeypatch, trained_home, query):
    app = show(monkeypatch, trained_home, **query)
    assert not app.exception
    assert app.subheader[0].value.startswith("20 sessions ahead")


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("forecast", {"horizon": "7"}, "Sessions ahead 7 is not here; 20 is shown."),
        ("record", {"horizon": "7"}, "Sessions ahead 7 is not here; 1 is shown."),
        ("models", {"version": "99"}, "Version 99 is not here; 1 is shown."),
        ("events", {"symbol": "ZZZZ"}, "Symbol ZZZZ is not here; AAPL is shown."),
    ],
)
def test_what_the_address_asks_for_and_is_not_here_is_told(monkeypatch, trained_home, path, query, said):
    app = run(monkeypatch, trained_home, path, **query)
    assert [one.value.replace("\\", "") for one in app.toast] == [said]


def test_the_sample_is_marked_as_a_demonstration(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home)
    (notice,) = [one.value for one in app.info]
    assert notice.startswith(
        "Demonstration on the bundled sample: it ends in the past, and so do its forecasts."
    )
    assert "`python -m forecaster quickstart --home mydata --source yahoo`" in notice
    assert not app.warning
    facts = app.table[0].value.set_index("What")["Value"]
    assert facts["Behind the exchange"] == "not counted for the sample"
    assert facts["Last stored session"] == r"2023\-09\-21"


NEXT_WEEK = pd.Timestamp("2023-09-28 12:00", tz="UTC")


def test_old_prices_and_an_older_forecast_are_said_with_their_remedies(monkeypatch, trained_workspace):
    store = trained_workspace.store
    bars = trained_workspace.history(symbols=["AAPL"]).prices
    later = bars.tail(1).assign(session=next_sessions("XNAS", bars["session"].max(), 1))
    store.append(
        "prices", pd.concat([bars, later]).assign(source="files", fetched_at=now(), tells_actions=False)
    )
    monkeypatch.setattr("forecaster.dashboard.reads.now", lambda: NEXT_WEEK)
    monkeypatch.setattr("forecaster.dashboard.forecast.now", lambda: NEXT_WEEK)
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL")
    behind, old = (one.value for one in app.warning)
    assert "3 sessions behind the exchange" in behind
    assert "python -m forecaster retrain --light" in behind
    assert old.startswith(
        "This forecast was made from the close of 2023-09-21; there are prices up to 2023-09-22."
    )
    assert "python -m forecaster forecast AAPL" in old
    assert not app.info


def test_prices_of_the_last_complete_session_are_not_called_old(monkeypatch, trained_workspace):
    bars = trained_workspace.history(symbols=["AAPL"]).prices
    trained_workspace.store.append(
        "prices", bars.assign(source="files", fetched_at=now(), tells_actions=False)
    )
    day = pd.Timestamp("2023-09-22 15:00", tz="UTC")
    monkeypatch.setattr("forecaster.dashboard.reads.now", lambda: day)
    monkeypatch.setattr("forecaster.dashboard.forecast.now", lambda: day)
    assert not show(monkeypatch, trained_workspace.home, symbol="AAPL").warning
    monkeypatch.setattr("forecaster.dashboard.forecast.now", lambda: day + pd.Timedelta(hours=8))
    (behind,) = show(monkeypatch, trained_workspace.home, symbol="AAPL").warning
    assert behind.value.startswith("The prices are 1 session behind the exchange.")


def test_a_new_forecast_shows_without_a_restart(monkeypatch, trained_workspace):
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL")
    rows = trained_workspace.forecasts("AAPL")
    raised = rows.assign(base_price=2 * rows["base_price"], version="2", issued_at=now())
    trained_workspace.store.append("forecasts", raised)
    app.run()
    shown = metrics(app)["Close on 21 Sep 2023, USD"]
    assert shown == f"{rows['base_price'].iloc[0]:.2f}", "of two, the champion's stands"
    decisions = trained_workspace.store.rows("decisions", where={"alias": ["champion"]})
    trained_workspace.store.append("decisions", decisions.assign(version="2", decided_at=now()))
    app.run()
    assert metrics(app)["Close on 21 Sep 2023, USD"] == f"{2 * rows['base_price'].iloc[0]:.2f}"
    assert "No backtest of model version 2 is stored" in texts(app)


def broken_home(home: Path, how: str) -> Path:
    if how == "the store is a file":
        shutil.rmtree(home / "store")
        (home / "store").write_text("")
    elif how == "the home is a file":
        shutil.rmtree(home)
        home.write_text("")
    else:
        name, pattern = how.split(": ")
        for file in (home / "store" / name).rglob(pattern):
            file.write_bytes(b"not what it was")
    return home


@pytest.mark.parametrize(
    "how",
    [
        "forecasts: *.json", "forecasts: *.parquet", "prices: *.parquet", "instruments: *.parquet",
        "scores: *.parquet", "the store is a file", "the home is a file",
    ],
)  # fmt: skip
def test_broken_data_give_one_clear_text_and_no_traceback(monkeypatch, trained_workspace, how):
    app = show(monkeypatch, broken_home(trained_workspace.home, how))
    assert not app.exception
    (error,) = app.error
    assert "The data folder" in error.value
    assert "cannot be read" in error.value
    assert r"\-\-home" in error.value, "the remedy"
    assert "Traceback" not in texts(app)


def test_a_bad_setting_gives_one_clear_text(monkeypatch, trained_home):
    monkeypatch.setenv("FORECASTER_BAR_DELAY_MINUTES", "soon")
    app = show(monkeypatch, trained_home)
    assert not app.exception
    assert "bar\\_delay\\_minutes" in app.error[0].value


def test_the_view_stands_in_the_url(monkeypatch, trained_home):
    app = show(
        monkeypatch, trained_home, symbol="AAPL", units="per cent", form="candles", loss="10", horizon="5",
        compare="last price",
    )  # fmt: skip
    rows = Workspace(trained_home).forecasts("AAPL")
    shown = table_with(app, "q01")
    np.testing.assert_allclose(shown["q05"], 100 * np.expm1(rows["q05"]))
    row = rows[rows["step"] == 5].iloc[0]
    scale = row["sigma"] * np.sqrt((row["df"] - 2) / row["df"])
    loss = stats.t.cdf((np.log(0.9) - row["mean"]) / scale, row["df"])
    assert metrics(app)["Probability of a loss over 10 %"] == f"{100 * loss:.1f} %"
    assert metrics(app)["90 % range, %"] == " to ".join(
        f"{100 * np.expm1(row[end]):+.1f}" for end in ("q05", "q95")
    )
    drawn = traces(app)
    assert {"Candle, hollow if up", "Volume", "Last price", "Last price: 90 % range"} <= set(drawn)
    assert "Close" not in drawn
    assert "GJR-GARCH was not written down" in texts(app)


def test_the_range_of_gjr_garch_is_drawn_where_the_ledger_holds_it(monkeypatch, trained_workspace):
    store = trained_workspace.store
    rows = store.rows("forecasts", where={"model": ["rolling_t"], "symbol": ["AAPL"]})
    store.append("forecasts", rows.assign(model="gjr_t"))
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL")
    assert "GJR-GARCH: 90 % range" in traces(app)
    assert "GJR-GARCH was not" not in texts(app)


def test_a_ledger_of_earlier_days_is_shown_without_what_it_lacks(monkeypatch, trained_workspace):
    store = trained_workspace.store
    served = store.rows("forecasts", where={"model": ["served"]})
    shutil.rmtree(store.folder / "forecasts")
    store.append("forecasts", served)
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL", compare="last price")
    assert not app.exception
    assert not app.error
    assert "Last price: 90 % range" not in traces(app)
    assert "Last price" in traces(app)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.RATE_LIMITED, "**Rate limited.** yahoo refused further requests 2 hours ago."),
        (Outcome.TRANSIENT, "**Offline.** yahoo did not answer properly 2 hours ago."),
        (Outcome.GONE, "**No new prices.** yahoo was asked 2 hours ago."),
    ],
)
def test_a_source_that_did_not_deliver_is_told(monkeypatch, trained_workspace, outcome, words):
    store, moment = trained_workspace.store, pd.Timestamp("2023-09-22 15:00", tz="UTC")
    bars = trained_workspace.history(symbols=["AAPL"]).prices
    store.append("prices", bars.assign(source="yahoo", fetched_at=now(), tells_actions=False))
    asked = {"symbol": "AAPL", "source": "yahoo", "outcome": str(outcome), "rows": 0, "detail": "*busy*."}
    when = now() - pd.Timedelta(hours=2)
    row = pd.DataFrame([asked]).assign(recorded_at=when, started_at=when, change="")
    store.append("updates", row.assign(recorded_at=now() + DAY))
    monkeypatch.setattr("forecaster.dashboard.reads.now", lambda: moment)
    monkeypatch.setattr("forecaster.dashboard.forecast.now", lambda: now() + DAY + pd.Timedelta(hours=2))
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL")
    (said,) = [one.value for one in app.warning if "asked" in one.value or "yahoo" in one.value]
    assert said.startswith(words)
    assert r"\*busy\*" in said


def suppose(monkeypatch, home: Path, symbol: str = "AAPL", **values: str) -> AppTest:
    """Open the page with a scenario in its address."""
    app = show(monkeypatch, home, symbol=symbol, **{"what-if": "true"}, **values)
    assert not app.exception
    return app


def test_what_if_waits_until_something_is_supposed(monkeypatch, trained_home):
    app = suppose(monkeypatch, trained_home)
    assert "Choose an event, or move the market" in texts(app)
    assert "No volatility index is known at" in texts(app).replace("\\", "")
    assert not [name for name in traces(app) if name.startswith("What if")]


def test_what_if_draws_both_forecasts_of_the_command_line(monkeypatch, trained_home):
    app = suppose(monkeypatch, trained_home, event="leadership", day="3", tone="-0.5", market="-3")
    assert not app.error
    words = ["leadership@2023-09-26:-0.5", "market=-3%"]
    rows = Workspace(trained_home).what_if("AAPL", words).forecasts
    supposed = rows[rows["scenario"] == "what if"].set_index("step")
    base = supposed["base_price"].iloc[0]
    drawn = np.array(decoded(traces(app)["What if: q05"]["y"]))
    np.testing.assert_allclose(drawn, [base, *base * np.exp(supposed["q05"])])
    deltas = {one.label: one.delta for one in app.metric}
    assert deltas["Probability of a rise"] == f"what if: {100 * supposed.loc[20, 'prob_up']:.1f} %"
    shown = table_with(app, "what if: median")
    assert list(shown["step"]) == [1, 3, 5, 10, 20]
    np.testing.assert_allclose(
        shown["what if: median"], base * np.exp(supposed.loc[list(shown["step"]), "q50"])
    )
    said = texts(app).replace("\\", "")
    assert "What if news of the leadership comes on 26 Sep 2023 with a tone of \N{MINUS SIGN}0.5" in said
    assert " and the market closed 3 % lower" in said
    assert "Not causal: " in said
    assert any("events of the kind leadership" in one.value for one in app.warning)


def decoded(values: list | dict) -> list:
    """Read an array of a figure, which may be packed."""
    if isinstance(values, list):
        return values
    return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()


def test_what_if_stays_while_the_view_changes_and_follows_the_symbol(monkeypatch, trained_home):
    app = suppose(monkeypatch, trained_home, market="-3")
    before = table_with(app, "what if: median")
    app.button_group(key="horizon").set_value(1).run()
    pd.testing.assert_frame_equal(table_with(app, "what if: median"), before)
    app.selectbox(key="symbol").set_value("META").run()
    base = Workspace(trained_home).forecasts("META")["base_price"].iloc[0]
    assert abs(table_with(app, "what if: median")["what if: median"].iloc[0] / base - 1) < 0.1
    app.toggle(key="what-if").set_value(False).run()
    assert not any("what if: median" in one.value for one in app.dataframe)


@pytest.mark.parametrize("query", [{"market": "x"}, {"market": "-90"}, {"event": "y"}, {"day": "1e9"}])
def test_a_scenario_in_the_url_that_makes_no_sense_supposes_nothing(monkeypatch, trained_home, query):
    app = suppose(monkeypatch, trained_home, **query)
    assert not app.error
    assert "Choose an event, or move the market" in texts(app)


def test_an_error_of_what_if_is_told_as_it_is(monkeypatch, trained_workspace):
    shutil.rmtree(trained_workspace.home / "artifacts")
    app = suppose(monkeypatch, trained_workspace.home, event="policy")
    (error,) = app.error
    assert "the folder of the models, is gone" in error.value.replace("\\", "")


def test_the_zip_says_that_the_model_is_gone(trained_home, tmp_path):
    home = shutil.copytree(trained_home, tmp_path / "home")
    shutil.rmtree(home / "artifacts")
    workspace = Workspace(home)
    rows = workspace.forecasts("AAPL")
    packed = bundle.pack(workspace.registry, workspace.store, rows, rows[:0])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert "the folder of the models, is gone" in archive.read("model/MISSING.txt").decode()


def test_the_zip_holds_what_made_the_forecast(trained_home, tmp_path):
    workspace = Workspace(trained_home)
    rows = workspace.forecasts("AAPL")
    beside = ledger.beside(workspace.store, rows)
    packed = bundle.pack(workspace.registry, workspace.store, rows, beside)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("model/")])
        held = {name: archive.read(name).decode() for name in archive.namelist() if "model/" not in name}
    again = Model.load(tmp_path / "model").forecast(workspace.history(as_of=rows["cutoff"].iloc[0]), ["AAPL"])
    np.testing.assert_allclose(again["sigma"], rows["sigma"], rtol=1e-6)
    assert not [name for name in held if name.endswith((".pkl", ".toml", ".db"))]
    issued = pd.read_csv(io.StringIO(held["forecast.csv"]))
    assert list(issued["model"].unique()) == ["served", "rolling_t"]
    np.testing.assert_allclose(issued["q05"][:20], rows["q05"])
    np.testing.assert_allclose(issued["price_q05"][:20], rows["base_price"] * np.exp(rows["q05"]))
    assert json.loads(held["forecast.json"])["symbol"] == "AAPL"
    card = json.loads(held["card.json"])
    assert card["recipe_hash"] == rows["recipe_hash"].iloc[0]
    prices = pd.read_csv(io.StringIO(held["prices.csv"]), parse_dates=["session"])
    assert set(prices["symbol"]) == set(card["universe"])
    assert prices["session"].max() == rows["cutoff"].iloc[0]
    assert "champion" in set(pd.read_csv(io.StringIO(held["decisions.csv"]))["alias"])
    assert "forecast AAPL --as-of 2023-09-21 --version 1" in held["README.txt"]


@pytest.mark.slow
def test_a_scenario_brings_in_neither_tensorflow_nor_mlflow(trained_home):
    script = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "page = 'from forecaster.dashboard import PAGES, guarded; guarded(PAGES[\"forecast\"][2])()'\n"
        "app = AppTest.from_string(page, default_timeout=60)\n"
        "app.query_params['what-if'], app.query_params['market'] = 'true', '-3'\n"
        "app.run()\n"
        "assert any('what if: median' in one.value for one in app.dataframe)\n"
        "print(sorted({'tensorflow', 'keras', 'mlflow', 'yfinance'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True,
        env=os.environ | {"FORECASTER_HOME": str(trained_home)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_the_dashboard_brings_in_neither_tensorflow_nor_mlflow():
    script = (
        "import sys, forecaster.dashboard\n"
        "print(sorted({'tensorflow', 'keras', 'mlflow', 'yfinance'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_is_shown_as_text_is_no_markup():
    assert plain("![x](y) $a$ <b>") == r"\!\[x\]\(y\) \$a\$ \<b\>"
    assert plain("AT and T 2") == "AT and T 2"


def test_numbers_agree_with_their_nouns():
    assert [count(number, "session") for number in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]


@pytest.mark.parametrize(
    ("seconds", "words", "before"),
    [
        (0, "0 s", "just now"), (59, "59 s", "just now"), (60, "1 min", "1 minute ago"),
        (3599, "59 min", "59 minutes ago"), (7500, "2 h 5 min", "2 hours ago"),
        (86400, "24 h 0 min", "1 day ago"), (3 * 86400 - 1, "71 h 59 min", "2 days ago"),
    ],
)  # fmt: skip
def test_stretches_of_time_are_told_in_plain_words(seconds, words, before):
    time = pd.Timedelta(seconds=seconds)
    assert lasted(time) == words
    assert ago(NOON - time, NOON) == before
    assert ago(NOON + time, NOON) == "just now", "the clock of another machine may be ahead"


def test_commands_name_the_workspace_unless_it_is_the_default_one(monkeypatch, tmp_path):
    monkeypatch.setenv("FORECASTER_HOME", str(tmp_path / "my data"))
    assert command("update") == f"python -m forecaster update --home '{tmp_path}/my data'"
    monkeypatch.setenv("FORECASTER_HOME", str(Settings.model_fields["home"].default))
    assert command("update") == "python -m forecaster update"


@pytest.mark.parametrize("path", PAGES)
def test_reading_leaves_the_store_as_it_was(monkeypatch, trained_workspace, path):
    store = Store(trained_workspace.home / "store")
    before = sorted(path.relative_to(store.folder) for path in store.folder.rglob("*"))
    run(monkeypatch, trained_workspace.home, path)
    assert sorted(path.relative_to(store.folder) for path in store.folder.rglob("*")) == before


def bars(last: str = "2024-05-31") -> pd.DataFrame:
    """Sound bars from May 2024 on, indexed by session."""
    made = traded(sessions("2024-05-01", last)).astype(float)
    return made.assign(adj_close=made["close"]).rename_axis("session")


@dataclass
class Memory:
    """A source in memory."""

    held: dict[str, pd.DataFrame]
    failures: dict[str, tuple[Outcome, str]] = field(default_factory=dict)
    name: str = "memory"
    remote: bool = True

    def symbols(self) -> tuple[str, ...]:
        return tuple(self.held)

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        if symbol in self.failures:
            outcome, detail = self.failures[symbol]
            return Fetched(symbol, outcome, detail=detail)
        rows = self.held[symbol].loc[start:].reset_index()
        share = Instrument(symbol, f"{symbol} Company", "XNYS", "America/New_York", "USD")
        return Fetched(symbol, Outcome.OK, rows, NO_ACTIONS, share)


def bring(home: Path, source: Memory, moment: pd.Timestamp = NOON) -> None:
    """Update from a source; its clock ticks once a second."""
    ticks = itertools.count()
    pace = Pace(sleep=lambda seconds: None)
    wanted = [*source.held, *(symbol for symbol in source.failures if symbol not in source.held)]
    update(
        Store(home / "store"), source, wanted, lambda: moment + pd.Timedelta(seconds=next(ticks)), pace=pace
    )


def data_page(monkeypatch, home: Path, moment: pd.Timestamp = NOON, **query: str) -> AppTest:
    """Draw the data page as it looks at a moment."""
    monkeypatch.setattr("forecaster.dashboard.data.now", lambda: moment)
    app = run(monkeypatch, home, "data", **query)
    assert not app.exception
    assert not app.error
    return app


def tables(app: AppTest) -> dict[str, pd.DataFrame]:
    """Tables of the page under the first column that only they have."""
    marks = {
        "behind": "freshness", "added": "sources", "sessions": "missing", "reason": "quarantine",
        "state": "runs",
    }  # fmt: skip
    return {
        next(name for mark, name in marks.items() if mark in one.value): one.value for one in app.dataframe
    }


def test_the_sample_s_data_are_told_and_its_age_is_not_counted(monkeypatch, sample_workspace):
    app = data_page(monkeypatch, sample_workspace.home, now())
    assert app.info[0].value.startswith("Demonstration on the bundled sample")
    assert not app.warning
    shown = metrics(app)
    rows = len(sample_workspace.store.rows("prices"))
    assert (shown["Source"], shown["Status"]) == ("sample", "done")
    assert shown["Last update"] == "just now" or shown["Last update"].endswith(" ago")
    assert (shown["Symbols ok"], shown["Failed or not asked"]) == ("3 of 3", "0")
    assert shown["Rows added"] == f"{rows:,}"
    fresh = tables(app)["freshness"]
    assert list(fresh["symbol"]) == ["AAPL", "NFLX", "NVDA"]
    assert fresh["behind"].isna().all()
    assert (fresh["last"] == pd.Timestamp("2023-09-21")).all()
    assert "No row is held in quarantine." in texts(app)
    assert "No session is known to be missing" in texts(app)
    assert len(tables(app)["runs"]) == 1


def test_what_needs_attention_comes_first(monkeypatch, tmp_path):
    source = Memory({name: bars() for name in ("FINE", "OFF", "SLOW", "LATE")} | {"LATE": bars("2024-05-29")})
    source.failures = {"LOST": (Outcome.GONE, "no such symbol")}
    bring(tmp_path, source)
    source.failures["SLOW"] = (Outcome.TRANSIENT, "timed out")
    bring(tmp_path, source, NOON + DAY / 24)
    workspace = Workspace(tmp_path)
    workspace.watch(["OFF", "NEW"])
    workspace.watch(["OFF"], watched=False)
    app = data_page(monkeypatch, tmp_path, NOON + DAY)
    fresh = tables(app)["freshness"].set_index("symbol")
    assert list(fresh.index) == ["LOST", "SLOW", "NEW", "LATE", "FINE", "OFF"]
    assert list(fresh["outcome"]) == ["gone", "transient", "not asked yet", "ok", "ok", "ok"]
    assert fresh["behind"].fillna(-1).tolist() == [-1, 1, -1, 3, 1, 1]
    assert fresh.loc["OFF", "detail"] == "off the watchlist"
    assert fresh.loc["SLOW", ["detail", "exchange", "currency"]].tolist() == ["timed out", "XNYS", "USD"]
    failed, behind = (one.value.replace("\\", "") for one in app.warning)
    assert failed.startswith(
        "2 of 5 symbols did not come with the last update. SLOW: timed out. The table below"
    )
    assert behind.startswith("3 of 5 symbols are behind the exchange, the furthest LATE by 3 sessions.")
    assert "python -m forecaster update" in behind


def test_what_never_came_is_told_until_the_next_update(monkeypatch, tmp_path):
    bring(tmp_path, Memory({"FINE": bars()}, {"LOST": (Outcome.GONE, "no such symbol")}))
    app = data_page(monkeypatch, tmp_path)
    assert list(tables(app)["freshness"]["symbol"]) == ["LOST", "FINE"]
    assert "**gone**: the source knows no such symbol." in texts(app)
    bring(tmp_path, Memory({"FINE": bars()}), NOON + DAY)
    shown = tables(data_page(monkeypatch, tmp_path))
    assert list(shown["freshness"]["symbol"]) == ["FINE"]
    assert list(shown["sources"]["outcome"]) == ["ok"]


def test_the_filters_stand_in_the_url(monkeypatch, tmp_path):
    lost = {"LOST": (Outcome.GONE, "no such symbol"), "LORN": (Outcome.GONE, "no such symbol")}
    bring(tmp_path, Memory({"FINE": bars(), "FIRST": bars()}, lost))

    def shown(**query: str) -> list[str]:
        return list(tables(data_page(monkeypatch, tmp_path, **query))["freshness"]["symbol"])

    assert shown(outcome="gone") == ["LORN", "LOST"]
    assert shown(find=" fir") == ["FIRST"]
    assert shown(outcome="gone", find="ost") == ["LOST"]
    assert len(shown(outcome="nonsense")) == 4
    app = data_page(monkeypatch, tmp_path, find="[")
    assert "No symbol fits" in texts(app)
    app.text_input(key="find").set_value("f").run()
    app.button_group(key="outcome").set_value("ok").run()
    assert list(tables(app)["freshness"]["symbol"]) == ["FINE", "FIRST"]


def test_a_rate_limit_is_told_with_what_to_do(monkeypatch, tmp_path):
    source = Memory({name: bars() for name in ("AAA", "BBB", "CCC")})
    source.failures["BBB"] = (Outcome.RATE_LIMITED, "come back *later*")
    bring(tmp_path, source)
    app = data_page(monkeypatch, tmp_path, NOON + DAY / 8)
    (notice,) = app.warning
    assert notice.value.startswith("Rate limited: memory refuses further requests")
    assert r"come back \*later\*" in notice.value
    assert "python -m forecaster update" in notice.value
    shown = metrics(app)
    assert (shown["Last update"], shown["Status"]) == ("3 hours ago", "stopped")
    assert (shown["Symbols ok"], shown["Failed or not asked"]) == ("1 of 3", "2")
    assert list(tables(app)["freshness"]["symbol"]) == ["BBB", "CCC", "AAA"]


def test_a_source_that_is_down_is_not_called_a_rate_limit(monkeypatch, tmp_path):
    bring(tmp_path, Memory({}, {f"S{at}": (Outcome.TRANSIENT, "timed out") for at in range(7)}))
    (notice,) = data_page(monkeypatch, tmp_path).warning
    assert notice.value.startswith("The last update stopped early, since memory did not answer properly.")
    assert "timed out" in notice.value


def test_a_run_at_work_is_told_from_one_that_broke_off(monkeypatch, tmp_path):
    store = Store(tmp_path / "store")
    bring(tmp_path, Memory({"AAA": bars()}))
    runs.begin(store, "memory", ["AAA", "BBB"], NOON + DAY)
    app = data_page(monkeypatch, tmp_path, NOON + DAY + pd.Timedelta(minutes=9))
    assert "An update is at work: 0 of 2 symbols so far." in app.info[0].value
    assert metrics(app)["Status"] == "running"
    app = data_page(monkeypatch, tmp_path, NOON + DAY + pd.Timedelta(minutes=11))
    assert app.warning[0].value.startswith(
        "The last update broke off: nothing was heard of it after 2024-06-04 12:00 UTC, 11 minutes ago."
    )
    assert metrics(app)["Status"] == "broken off"
    assert list(tables(app)["runs"]["state"]) == ["broken off", "done"]
    runs.begin(store, "memory", ["AAA"], NOON + 2 * DAY)
    app = data_page(monkeypatch, tmp_path, NOON + 2 * DAY)
    assert list(tables(app)["runs"]["state"]) == ["running", "broken off", "done"]


def test_a_run_that_dies_before_it_brought_anything_is_told(monkeypatch, tmp_path):
    runs.begin(Store(tmp_path / "store"), "memory", ["AAA"], NOON)
    app = data_page(monkeypatch, tmp_path, NOON + DAY)
    assert "The last update broke off" in app.warning[0].value
    assert "No symbol is stored, and none has been asked for yet." in texts(app)


def test_missing_and_refused_rows_are_listed(monkeypatch, tmp_path):
    source = Memory({"GAPS": bars().drop(pd.to_datetime(["2024-05-08", "2024-05-15"])), "ODD": bars()})
    bring(tmp_path, source)
    day = pd.Timestamp("2024-05-21")
    was = float(source.held["ODD"].loc[day, "close"])
    source.held["ODD"].loc[day, ["high", "close"]] *= 1.25
    source.held["ODD"] = pd.concat([source.held["ODD"], bars("2024-06-03").tail(1).assign(close=np.nan)])
    bring(tmp_path, source, NOON + DAY)
    app = data_page(monkeypatch, tmp_path, NOON + 30 * DAY)
    (missing,) = tables(app)["missing"].to_dict("records")
    assert (missing["symbol"], missing["sessions"], missing["state"]) == ("GAPS", 2, "still asked for")
    assert (str(missing["first"].date()), str(missing["last"].date())) == ("2024-05-08", "2024-05-15")
    later = data_page(monkeypatch, tmp_path, NOON + 31 * DAY)
    assert tables(later)["missing"]["state"].tolist() == ["given up"]
    revised, absent = tables(app)["quarantine"].to_dict("records")
    assert revised["session"] == day
    assert (revised["close"], revised["stored_close"]) == (1.25 * was, was)
    assert revised["reason"].startswith("close revised from")
    assert "close: missing" in absent["reason"]
    assert np.isnan(absent["stored_close"])
    assert absent["currency"] == "USD"
    words = texts(app)
    assert f"python -m forecaster quarantine list --home {tmp_path}" in words
    assert f"python -m forecaster quarantine release SYMBOL SESSION --home {tmp_path}" in words


def test_the_newest_twenty_runs_are_listed(monkeypatch, tmp_path):
    source = Memory({"AAA": bars()})
    for at in range(22):
        bring(tmp_path, source, NOON + at * DAY / 24)
    app = data_page(monkeypatch, tmp_path, NOON + DAY)
    listed = tables(app)["runs"]
    assert list(listed["started_at"]) == [NOON + at * DAY / 24 for at in range(21, 1, -1)]
    assert "The last 20 of 22." in texts(app)
    assert set(listed["state"]) == {"done"}


def test_what_an_update_adds_shows_without_a_restart(monkeypatch, tmp_path):
    source = Memory({"AAA": bars("2024-05-29")})
    bring(tmp_path, source)
    app = data_page(monkeypatch, tmp_path)
    assert tables(app)["freshness"]["behind"].tolist() == [2]
    source.held["AAA"] = bars()
    bring(tmp_path, source, NOON + DAY / 24)
    app.run()
    assert tables(app)["freshness"]["behind"].tolist() == [0]
    assert metrics(app)["Rows added"] == "2"


def test_a_market_factor_is_listed_with_its_own_reach(monkeypatch, tmp_path):
    store = Store(tmp_path / "store")
    known = pd.DataFrame({"name": "volatility_index", "symbol": "", "session": bars().index, "value": 15.0})
    store.append("factors", known.assign(known_at=NOON, source="yahoo", fetched_at=NOON))
    said = {"source": "yahoo", "outcome": "ok", "rows": 22, "detail": "", "change": ""}
    asked = {"symbol": ["factor:volatility_index"], **said}
    store.append("updates", pd.DataFrame(asked).assign(recorded_at=NOON, started_at=NOON))
    app = data_page(monkeypatch, tmp_path)
    (row,) = tables(app)["freshness"].to_dict("records")
    assert (row["symbol"], row["name"]) == ("factor:volatility_index", "volatility index")
    assert str(row["last"].date()) == "2024-05-31"
    assert pd.isna(row["behind"])
    assert "No run of an update is on record" in app.info[0].value


def test_each_source_is_told_with_its_gravest_outcome(monkeypatch, tmp_path):
    source = Memory({"AAA": bars(), "BBB": bars()}, {"LOST": (Outcome.GONE, "no such symbol")})
    bring(tmp_path, source)
    store = Store(tmp_path / "store")
    factor = {"symbol": ["factor:rate_10y"], "source": "yahoo", "outcome": "ok", "rows": 22, "detail": ""}
    store.append("updates", pd.DataFrame(factor).assign(change="", recorded_at=NOON, started_at=NOON))
    told = pd.DataFrame(
        [
            ("AAA", "news", "ok", 3, ""), ("BBB", "news", "rate_limited", 0, "come back later"),
            ("AAA", "filings", "ok", 5, ""),
        ],
        columns=["symbol", "source", "outcome", "rows", "detail"],
    )  # fmt: skip
    store.append("event_updates", told.assign(recorded_at=NOON))
    rows = tables(data_page(monkeypatch, tmp_path))["sources"].set_index(["what", "source"])
    assert rows[["outcome", "ok", "asked", "added"]].to_dict("split")["data"] == [
        ["ok", 1, 1, 5],
        ["rate limited", 1, 2, 3],
        ["ok", 1, 1, 22],
        ["gone", 2, 3, 2 * len(bars())],
    ]
    assert list(rows.index) == [
        ("events", "filings"), ("events", "news"), ("market factors", "yahoo"), ("prices", "memory"),
    ]  # fmt: skip
    assert rows.loc[("events", "news"), "detail"] == "come back later"


def test_live_scores_stand_beside_those_of_the_backtest(monkeypatch, market_home, tmp_path):
    market = copied(shutil.copytree(market_home, tmp_path / "market"))
    for day in DAYS[DAYS > BEGIN][:3]:
        market.at(day).run("light")
    app = run(monkeypatch, market.home, "models")
    assert re.search(r"nats over the last price on 3 dates, .* in the backtest on \d+", texts(app))
    shown = next(one.value for one in app.dataframe if "model" in one.value)
    assert sorted(shown["model"].unique()) == [
        "Last price, rolling-250 Student-t",
        "Served: pool, calibrated",
    ]
    assert (shown.loc[shown["step"] == 1, "forecasts"] == 9).all()


def test_a_forecast_that_is_too_old_is_not_shown(monkeypatch, market_home):
    app = show(monkeypatch, market_home, symbol="AAA")
    assert not app.exception
    assert "Too old to be shown" in texts(app)
    assert "complete sessions ago" in texts(app)
    assert not app.metric


def test_a_model_that_loses_to_the_last_price_says_so(monkeypatch, trained_workspace):
    assert "loses to the last price" not in texts(show(monkeypatch, trained_workspace.home))
    store = trained_workspace.store
    rows = store.current("scores").assign(log_score_gain=-0.1, log_score_p=0.001, recorded_at=now())
    store.append("scores", rows)
    assert "This model loses to the last price" in texts(show(monkeypatch, trained_workspace.home))
