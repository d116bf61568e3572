"""The pages, run by Streamlit's AppTest: numbers, states, and what they must not import."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from streamlit.testing.v1 import AppTest

from forecaster.config import Settings
from forecaster.dashboard import PAGES
from forecaster.dashboard.texts import command, count, plain
from forecaster.sessions import next_sessions
from forecaster.store import Store, now
from forecaster.tables import QUANTILE_COLUMNS
from forecaster.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


def show(monkeypatch, home: Path, **query: str) -> AppTest:
    """Run the app on a workspace as a browser with this query would."""
    monkeypatch.setenv("FORECASTER_HOME", str(home))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def metrics(app: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in app.metric}


def texts(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_draws_without_an_error(monkeypatch, trained_home, path):
    monkeypatch.setenv("FORECASTER_HOME", str(trained_home))
    script = f"from forecaster.dashboard import PAGES, guarded\nguarded(PAGES[{path!r}][2])()"
    app = AppTest.from_string(script, default_timeout=60).run()
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_to_do_in_an_empty_workspace(monkeypatch, tmp_path, path):
    monkeypatch.setenv("FORECASTER_HOME", str(tmp_path / "new"))
    script = f"from forecaster.dashboard import PAGES, guarded\nguarded(PAGES[{path!r}][2])()"
    app = AppTest.from_string(script, default_timeout=60).run()
    assert not app.exception
    assert "python -m forecaster quickstart" in texts(app)
    assert not (tmp_path / "new").exists(), "reading makes nothing"


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
    shown = app.dataframe[2].value
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
    shown = app.dataframe[0].value
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
        ("ZZZZ", "There is no forecast of ZZZZ here. Choose one of the list, or make it:"),
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


def test_the_sample_is_marked_as_a_demonstration(monkeypatch, trained_home):
    app = show(monkeypatch, trained_home)
    assert [one.value for one in app.info] == [
        "Demonstration on the bundled sample: it ends in the past, and so do its forecasts."
    ]
    assert not app.warning
    facts = app.table[0].value.set_index("What")["Value"]
    assert facts["Behind the exchange"] == "not counted for the sample"
    assert facts["Last stored session"] == r"2023\-09\-21"


def test_old_prices_and_an_older_forecast_are_said_with_their_remedies(monkeypatch, trained_workspace):
    store = trained_workspace.store
    bars = trained_workspace.history(symbols=["AAPL"]).prices
    later = bars.tail(1).assign(session=next_sessions("XNAS", bars["session"].max(), 1))
    store.append("prices", pd.concat([bars, later]).assign(source="files", fetched_at=now()))
    app = show(monkeypatch, trained_workspace.home, symbol="AAPL")
    behind, old = (one.value for one in app.warning)
    assert "sessions behind the exchange" in behind
    assert "python -m forecaster update" in behind
    assert old.startswith(
        "This forecast was made from the close of 2023-09-21; there are prices up to 2023-09-22."
    )
    assert "python -m forecaster forecast AAPL" in old
    assert not app.info


def test_prices_of_the_last_complete_session_are_not_called_old(monkeypatch, trained_workspace):
    bars = trained_workspace.history(symbols=["AAPL"]).prices
    trained_workspace.store.append("prices", bars.assign(source="files", fetched_at=now()))
    day = pd.Timestamp("2023-09-22 15:00", tz="UTC")
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


def test_commands_name_the_workspace_unless_it_is_the_default_one(monkeypatch, tmp_path):
    monkeypatch.setenv("FORECASTER_HOME", str(tmp_path / "my data"))
    assert command("update") == f"python -m forecaster update --home '{tmp_path}/my data'"
    monkeypatch.setenv("FORECASTER_HOME", str(Settings.model_fields["home"].default))
    assert command("update") == "python -m forecaster update"


def test_reading_leaves_the_store_as_it_was(monkeypatch, trained_workspace):
    store = Store(trained_workspace.home / "store")
    before = sorted(path.relative_to(store.folder) for path in store.folder.rglob("*"))
    show(monkeypatch, trained_workspace.home)
    assert sorted(path.relative_to(store.folder) for path in store.folder.rglob("*")) == before
