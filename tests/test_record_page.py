"""The page of the track record, run by Streamlit's AppTest; its numbers against loops over the rows."""

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
from pages import words
from scipy import stats

from forecaster.dashboard.downloads import as_csv, as_json
from forecaster.dashboard.record import traced
from forecaster.decisions import recipe_hash
from forecaster.live import issued
from forecaster.models import LAST_PRICE, SERVED
from forecaster.store import Store, now

draw = partial(pages.draw, path="record")
DATES, CLOSE = 40, pd.Timedelta(hours=16)


@pytest.fixture(scope="module")
def settled_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has issued its backtest's forecasts of the last dates; not to be written to."""
    home = shutil.copytree(trained_home, tmp_path_factory.mktemp("settled") / "home")
    store = Store(home / "store")
    rows = store.rows("backtests", where={"model": [SERVED, LAST_PRICE]})
    rows = rows[rows["cutoff"].isin(np.sort(rows["cutoff"].unique())[-DATES:])]
    moment = rows["cutoff"].dt.tz_localize("UTC") + pd.Timedelta(hours=22)
    known = {"recipe_hash": recipe_hash(store, "1"), "store_version": 0, "adjustment": 0.0, "doubt": ""}
    forecasts = store.rows("forecasts")
    store.append("forecasts", rows.assign(issued_at=moment, **known)[forecasts.columns])
    # The sample was issued long after its last session: once more, in the evening of its cutoff.
    evening = forecasts["cutoff"].dt.tz_localize("UTC") + pd.Timedelta(hours=22)
    store.append("forecasts", forecasts.assign(issued_at=evening))
    return home


def served(home: Path, step: int = 1, model: str = SERVED) -> pd.DataFrame:
    """Forecasts of the ledger at a step that were issued in time, with the outcome looked up in the bars."""
    store = Store(home / "store")
    rows = store.rows("forecasts", where={"model": [model], "step": [step]})
    rows = rows[rows["issued_at"] < rows["session"].dt.tz_localize("America/New_York") + CLOSE]
    close = store.current("prices").set_index(["symbol", "session"])["adj_close"]
    outcome = [
        np.log(close[symbol, session] / close[symbol, cutoff]) if (symbol, session) in close.index else np.nan
        for symbol, session, cutoff in zip(rows["symbol"], rows["session"], rows["cutoff"], strict=True)
    ]
    return rows.assign(outcome=outcome)


def log_score(rows: pd.DataFrame) -> float:
    """Mean over dates of the mean log score of a date, from the parameters of the forecasts."""
    scale = rows["sigma"] * np.sqrt((rows["df"] - 2) / rows["df"])
    scores = -stats.t.logpdf(rows["outcome"], rows["df"], rows["mean"], scale)
    return float(np.mean([scores[rows["cutoff"] == day].mean() for day in rows["cutoff"].unique()]))


def test_what_was_issued_after_the_close_never_counts(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home)
    late = Store(trained_home / "store").rows("forecasts", where={"model": [SERVED], "step": [1]})
    assert len(late) and served(trained_home).empty
    assert "0 forecasts settled** on 0 dates. A test" in words(app)
    assert f"{len(late)} forecasts issued after the close in question do not count" in words(app)


def test_before_anything_is_settled_it_says_when_the_first_will_be(monkeypatch, trained_home, tmp_path):
    home = shutil.copytree(trained_home, tmp_path / "home")
    forecasts = Store(home / "store").rows("forecasts")
    evening = forecasts["cutoff"].dt.tz_localize("UTC") + pd.Timedelta(hours=22)
    Store(home / "store").append("forecasts", forecasts.assign(issued_at=evening))
    app = draw(monkeypatch, home)
    rows = served(home)
    assert f"0 forecasts settled** on 0 dates; {len(rows)} awaited" in words(app)
    assert f"the first for the close of {rows['session'].min():%Y-%m-%d}" in words(app)
    assert "A test 1 session ahead asks for 30 dates" in words(app)
    assert "No forecast has been settled yet" in words(app)
    assert "Demonstration on the bundled sample" in app.info[0].value
    assert app.button_group(key="record").value == "backtest", "so that there is something to see"
    assert set(app.table[0].value["Issued"]) == {"none yet"}


def test_live_stands_beside_backtest_and_both_are_those_of_the_rows(monkeypatch, settled_home):
    app = draw(monkeypatch, settled_home)
    shown = app.table[0].value.set_index("Served, 1 session ahead")
    rows = served(settled_home).dropna(subset="outcome")
    assert shown.loc["Forecasts", "Issued"] == str(len(rows))
    assert shown.loc["Dates", "Issued"] == str(DATES)
    for share, low, high in ((50, "q25", "q75"), (90, "q05", "q95")):
        inside = sum(row[low] <= row["outcome"] <= row[high] for row in rows.to_dict("records"))
        assert shown.loc[f"Within the {share} % range, %", "Issued"] == f"{100 * inside / len(rows):.1f}"
    assert shown.loc["Log score, nats", "Issued"] == f"{log_score(rows):.4f}"
    stored = Store(settled_home / "store").current("scores", where={"step": [1], "model": [SERVED]}).iloc[0]
    assert shown.loc["Log score, nats", "Backtest"] == f"{stored['log_score']:.4f}"
    gain = shown.loc["Gain over the last price, nats, 95 %", "Backtest"]
    half = stored["log_score_error"] * stats.t.ppf(0.975, stored["dates"] - 1)
    assert gain == f"{stored['log_score_gain']:+.4f} \u00b1 {half:.4f}"


def test_misses_of_a_symbol_are_counted(monkeypatch, settled_home):
    app = draw(monkeypatch, settled_home, symbol="NVDA", record="issued")
    rows = served(settled_home).dropna(subset="outcome")
    rows = rows[rows["symbol"] == "NVDA"]
    above, below = (rows["outcome"] > rows["q95"]).sum(), (rows["outcome"] < rows["q05"]).sum()
    assert f"Of the last {DATES} settled closes of NVDA, {above + below} missed the 90 % range" in words(app)
    assert f"{above} above, {below} below" in words(app)
    shown = app.dataframe[0].value
    assert len(shown) == DATES + 1, "and the one that is awaited"
    assert shown["came"].value_counts().get("missed", 0) == above + below
    last = rows.sort_values("session").iloc[-1]
    first = shown[shown["session"] == last["session"]].iloc[0]
    assert first["q95"] == pytest.approx(last["base_price"] * np.exp(last["q95"]))
    assert first["close_came"] == pytest.approx(last["base_price"] * np.exp(last["outcome"]))
    assert shown["came"].iloc[0] == "awaited"


@pytest.mark.parametrize("step", [1, 5])
def test_what_will_never_be_settled_is_not_awaited(monkeypatch, settled_home, tmp_path, step):
    """One symbol's prices end; those of the others go on for two sessions."""
    home = shutil.copytree(settled_home, tmp_path / "home")
    store = Store(home / "store")
    bars = store.current("prices")
    bars = bars[(bars["session"] == bars["session"].max()) & (bars["symbol"] != "META")]
    for day in ("2023-09-22", "2023-09-25"):
        store.append("prices", bars.assign(session=pd.Timestamp(day), fetched_at=now()))
    stored = store.current("prices")[["symbol", "session"]].to_numpy().tolist()
    awaited, never = [], []
    for row in served(home, step).to_dict("records"):
        if np.isnan(row["outcome"]):
            passed = any(
                session > row["session"] or (symbol, session) == (row["symbol"], row["session"])
                for symbol, session in stored
            )
            (never if passed else awaited).append((row["symbol"], row["session"]))
    assert {symbol for symbol, _ in never} == ({"META"} if step == 1 else set())
    app = draw(monkeypatch, home, horizon=str(step), symbol="META", record="issued")
    assert (f"{len(awaited)} awaited" in words(app)) == bool(awaited)
    assert (f"; {len(never)} without a price, though later ones are stored" in words(app)) == bool(never)
    assert app.dataframe[0].value["came"].iloc[0] == ("awaited" if awaited else "no price")


def test_the_state_stands_in_the_url(monkeypatch, settled_home):
    app = draw(monkeypatch, settled_home, horizon="5", symbol="META", record="backtest", past="250")
    assert "Of the last 250 settled closes of META" in words(app)
    assert "Served, 5 sessions ahead" in app.table[0].value.columns
    assert "A test 5 sessions ahead asks for 110 dates" in words(app)


def test_bad_values_in_the_url_fall_back_to_the_default_view(monkeypatch, settled_home):
    app = draw(monkeypatch, settled_home, horizon="7", symbol="ZZZZ", record="", version="9", past="x")
    assert f"Of the last {DATES} settled closes of AAPL" in words(app)


def test_the_skill_is_told_against_every_baseline(monkeypatch, settled_home):
    table = draw(monkeypatch, settled_home).table[1].value.set_index("Baseline")
    store = Store(settled_home / "store")
    wide = store.rows("backtests", where={"step": [1]}).pivot(
        index=["cutoff", "symbol"], columns="model", values="log_score"
    )
    daily = wide.dropna().groupby("cutoff").mean()
    assert len(table) == wide.shape[1] - 1
    for model, title in (("harx", "HARX"), ("lstm", "LSTM")):
        gain = (daily[model] - daily[SERVED]).mean()
        assert table.loc[title, "Backtest, nats"].startswith(f"{gain:+.4f} \u00b1 ")
        assert table.loc[title, "Issued, nats"] == "not issued"
    gain = log_score(served(settled_home, model=LAST_PRICE).dropna(subset="outcome")) - log_score(
        served(settled_home).dropna(subset="outcome")
    )
    said = table.loc["Last price, rolling-250 Student-t", "Issued, nats"]
    assert said.startswith(f"{gain:+.4f} \u00b1 ")


def test_a_version_of_low_confidence_says_so(monkeypatch, trained_workspace):
    observed = {"version": "1", "kind": "drift", "session": pd.Timestamp("2023-09-21"), "value": 0.5}
    row = {"limit": 0.25, "is_out": True, "reason": "9 of 18 inputs are spread anew", "recorded_at": now()}
    trained_workspace.store.append("monitors", pd.DataFrame([observed | row]))
    (warning,) = draw(monkeypatch, trained_workspace.home).warning
    assert warning.value.startswith("**Low confidence.** 9 of 18 inputs")


def test_what_is_taken_away_is_the_rows(settled_home):
    rows = issued(Store(settled_home / "store"), "1", 1)
    back = pd.read_csv(io.StringIO(as_csv(traced(rows))), parse_dates=["cutoff", "session"])
    assert len(back) == len(rows)
    known = served(settled_home).set_index(["symbol", "cutoff"])
    for row in back.to_dict("records"):
        stood = known.loc[(row["symbol"], row["cutoff"])]
        assert row["session"] == stood["session"]
        assert row["q05"] == pytest.approx(stood["q05"], rel=1e-12)
        if np.isnan(stood["outcome"]):
            assert np.isnan(row["outcome"])
            assert pd.isna(row["within_90"])
        else:
            assert row["outcome"] == pytest.approx(stood["outcome"])
            assert row["within_90"] == (stood["q05"] <= stood["outcome"] <= stood["q95"])
    told = json.loads(as_json(traced(rows)))
    assert [one["cutoff"] for one in told] == [f"{day:%Y-%m-%d}" for day in back["cutoff"]]
    assert {one["within_90"] for one in told} == {True, False, None}


def test_no_spreadsheet_computes_what_a_text_says():
    titles = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "one\r=1", "Up 3 %, -1", None]
    rows = pd.DataFrame({"title": titles, "tone": -0.5, "cutoff": pd.Timestamp("2024-03-01")})
    back = list(csv.reader(io.StringIO(as_csv(rows), newline="")))
    assert [one[0] for one in back[1:]] == [f"'{title}" for title in titles[:7]] + [*titles[7:9], ""]
    assert {tuple(one[1:]) for one in back[1:]} == {("-0.5", "2024-03-01")}
    assert [one["title"] for one in json.loads(as_json(rows))] == titles
