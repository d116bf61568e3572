"""The page Inside the network, run by Streamlit's AppTest: its numbers are those of ``explain --json``."""

import base64
import hashlib
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
from pages import words
from streamlit.testing.v1 import AppTest

from forecaster.dashboard import experiments, loaded
from forecaster.dashboard.inside import _agreement
from forecaster.decisions import CHAMPION, decisions
from forecaster.errors import TooLittleHistory, UsageError
from forecaster.explain.belt import belt
from forecaster.explain.inside import Inside, laid_out
from forecaster.inside_plots import (
    contributions,
    plot_belt,
    plot_dependencies,
    plot_gates,
    plot_recall,
    rows_of,
    signed,
    whole_percents,
)
from forecaster.store import now
from forecaster.workspace import Workspace

draw = partial(pages.run, path="inside")
DAY = "2022-04-25"


def figure(app: AppTest, has: str) -> dict:
    """The first chart in whose description some words stand."""
    specs = [json.loads(one.proto.spec) for one in app.get("plotly_chart")]
    return next(one for one in specs if has in json.dumps(one))


def decoded(values: dict | list) -> np.ndarray:
    if isinstance(values, list):
        return np.array(values)
    flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return flat.reshape([int(one) for one in values["shape"].split(",")]) if "shape" in values else flat


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def found(request: pytest.FixtureRequest, trained_home: Path) -> Inside:
    """A window of a trained network; of the simple RNN, which is not trained here, only its states."""
    workspace = Workspace(trained_home)
    if request.param != "rnn":
        return workspace.explain("NFLX", request.param, DAY)
    whole = workspace.explain("NFLX", "gru", DAY)
    return replace(whole, cell="rnn", units=whole.units[whole.units["gate"] == "hidden"])


def test_the_page_tells_the_numbers_of_the_command(monkeypatch, trained_home):
    said = laid_out(Workspace(trained_home).explain("NFLX", "gru", DAY))
    app = draw(monkeypatch, trained_home, symbol="NFLX", cell="GRU", as_of=DAY, horizon="5", step="14")
    assert not app.error
    assert laid_out(loaded.look("1", "NFLX", "gru", DAY)) == said, "what is downloaded"
    assert f"explain NFLX --cell gru --as-of {DAY} --json" in words(app)
    drawn = figure(app, "share, 0 to 1")["data"]
    gates = pd.DataFrame(said["gates"]).pivot(index="gate", columns="session", values="mean")
    assert list(drawn[0]["y"]) == ["update", "reset", "kept"]
    np.testing.assert_allclose(decoded(drawn[0]["z"]), gates.loc[["update", "reset", "kept"]])
    assert "Results" in {one.get("name") for one in drawn}, "of 19 April"
    lives = [row["half_life"] for row in said["half_lives"]]
    assert f"**{np.median(lives):.1f} sessions**" in words(app)
    lines = figure(app, "Last hidden state by each session")["data"]
    np.testing.assert_allclose(
        decoded(lines[1]["y"])[::-1], [row["state"] for row in said["gradients"]], err_msg="LSTM, then GRU"
    )
    sigma = [one for one in said["attribution"]["groups"] if (one["target"], one["step"]) == ("sigma", 5)]
    whole = sum(abs(one["value"]) for one in sigma)
    bars = figure(app, "Share of the absolute contributions")["data"]
    assert [decoded(one["x"])[0] for one in bars] == pytest.approx(
        [100 * abs(one["value"]) / whole for one in sigma]
    )
    assert "learned from sessions after this window" in words(app)
    assert f"session 14 of {len(said['sessions'])}" in words(app)


@pytest.mark.slow
def test_the_step_is_walked_by_buttons_and_stands_in_the_url(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, symbol="AAPL", step="3", unit="2", rows="forget")
    found = loaded.look("1", "AAPL", "lstm")
    days = list(found.sessions["session"])
    assert f"of the cell state {signed(belt(found, 0, 1, days[2]).before)} the" in words(app)
    app.button(key="previous").click().run()
    app.button(key="previous").click().run()
    assert app.query_params["step"] == "1"
    assert "of the cell state 0.000" in words(app)
    assert "nothing to forget yet" in words(app)
    assert app.button(key="previous").disabled
    units = decoded(figure(app, "Unit of start 1")["data"][0]["z"])
    mine = found.units[found.units["gate"] == "forget"].pivot(index="unit", columns="session", values="value")
    np.testing.assert_allclose(units, mine)


def test_what_is_kept_and_added_is_what_is_carried_on(found: Inside) -> None:
    states = found.units[found.units["gate"] == ("cell" if found.cell == "lstm" else "hidden")]
    before = 0.0
    for day, value in states[states["unit"] == 3].set_index("session")["value"].items():
        one = belt(found, 0, 3, pd.Timestamp(day))
        assert (one.before, one.after) == (before, value)
        if found.cell != "rnn":
            assert one.kept + one.added == pytest.approx(value)
        if found.cell == "lstm":
            assert one.values["output"] * np.tanh(value) == pytest.approx(one.shown)
        else:
            assert one.shown == value
        before = value
    written = [note.text for note in plot_belt(one).layout.annotations]
    assert any(f"<b>{signed(one.shown)}</b>" in text for text in written)
    with pytest.raises(UsageError, match="with 4 units each"):
        belt(found, 0, 4, found.cutoff)


def test_states_have_a_scale_of_two_sides_and_shares_one_from_0_to_1(found: Inside) -> None:
    closes = pd.Series(np.arange(16.0), index=found.sessions["session"])
    assert ("gates" in rows_of(found.cell)) == (found.cell != "rnn")
    for rows in rows_of(found.cell):
        heat, price = plot_gates(found, closes, "USD", rows, mark=found.cutoff).data[:2]
        assert len(heat.x) == len(price.x) == len(closes), "sessions only, side by side"
        if rows in ("cell", "hidden", "candidate"):
            assert heat.zmin == -heat.zmax
            assert np.abs(heat.z).max() == pytest.approx(heat.zmax)
        else:
            assert (heat.zmin, heat.zmax) == (0, 1)


def test_the_bar_is_whole_and_says_which_way(found: Inside) -> None:
    parts = contributions(found, 20)
    assert list(parts["group"]) == ["trend", "previous_day", "exogenous"]
    assert parts["share"].sum() == pytest.approx(1)
    for bar, value in zip(plot_dependencies(parts).data, parts["value"], strict=True):
        assert ("widens" in bar.name) == (value > 0)
    nothing = replace(found.attribution, groups=found.attribution.groups.assign(value=0.0))
    assert contributions(replace(found, attribution=nothing), 20)["share"].isna().all()


def test_the_forecast_page_draws_the_same_bar(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, path="forecast", symbol="NVDA", horizon="10")
    cutoff = Workspace(trained_home).forecasts("NVDA")["cutoff"].iloc[0]
    parts = contributions(Workspace(trained_home).explain("NVDA", None, cutoff), 10)
    bars = figure(app, "Share of the absolute contributions")["data"]
    assert [decoded(one["x"])[0] for one in bars] == pytest.approx(list(100 * parts["share"]))


def test_a_champion_without_a_forecast(monkeypatch, trained_workspace):
    shutil.rmtree(trained_workspace.home / "store" / "forecasts")
    assert "python -m forecaster forecast SYMBOL" in words(draw(monkeypatch, trained_workspace.home))


def test_a_champion_that_was_trained_otherwise(monkeypatch, trained_workspace):
    """Its files are whole, but name an input that is computed no more."""
    rows = decisions(trained_workspace.store)
    champion = rows[rows["alias"] == CHAMPION].iloc[-1:]
    told = json.loads(champion["card"].iloc[0])
    file = trained_workspace.home / "artifacts" / told["run"] / "card.json"
    card = json.loads(file.read_text())
    file.write_text(json.dumps(card | {"inputs": {"trend.gone": [0, 1]} | card["inputs"]}))
    told["files"]["card.json"] = hashlib.sha256(file.read_bytes()).hexdigest()
    trained_workspace.store.append("decisions", champion.assign(card=json.dumps(told), decided_at=now()))
    (error,) = draw(monkeypatch, trained_workspace.home).error
    assert "trained on other inputs (trend.gone is gone)" in error.value.replace("\\", "")


def test_an_expired_forecast_s_window_can_be_seen_and_says_so(monkeypatch, market_home):
    app = draw(monkeypatch, market_home, symbol="AAA")
    assert "**Expired.**" in words(app)
    assert not app.error


def test_a_window_with_too_little_before_it(monkeypatch, trained_home):
    monkeypatch.setenv("FORECASTER_HOME", str(trained_home))
    days = loaded.readable("1", "AAPL")
    assert loaded.look("1", "AAPL", None, days[-1]).cutoff == pd.Timestamp(days[-1])
    before = pd.Timestamp(days[-1]) - pd.Timedelta(days=1)
    with pytest.raises(TooLittleHistory, match="sessions are too few"):
        loaded.look("1", "AAPL", None, str(before.date()))


def test_without_the_results_of_the_experiments_their_place_is_named(monkeypatch, tmp_path):
    app = AppTest.from_string("from forecaster.dashboard import experiments\nexperiments.section()").run()
    assert len(app.get("plotly_chart")) == 2
    found = json.loads(experiments.RESULTS.read_text())
    assert list(app.dataframe[1].value["seconds"]) == [one["seconds"] for one in found["epochs"]]
    monkeypatch.setattr(experiments, "RESULTS", tmp_path / "none.json")
    app.run()
    assert not app.exception
    assert "benchmarks/results" in words(app)


@pytest.mark.parametrize(
    ("shares", "percents"),
    [((0.396, 0.177, 0.427), [39, 18, 43]), ((1 / 3, 1 / 3, 1 / 3), [34, 33, 33]), ((1.0,), [100])],
)
def test_rounded_shares_add_up(shares: tuple[float, ...], percents: list[int]) -> None:
    assert whole_percents(pd.Series(shares)) == percents


def test_what_is_still_known_falls_from_all_to_nothing() -> None:
    errors = pd.DataFrame({"cell": "lstm", "lag": [1, 10, 100], "error": [0.0, 0.25, 1.3]})
    figure = plot_recall(errors)
    assert list(figure.data[0].y) == [100, 75, 0]
    assert figure.layout.yaxis.title.text == "Still known, %"


@pytest.mark.parametrize(("difference", "words"), [(8e-8, "to 6 decimal places"), (0.0, "exactly")])
def test_a_tiny_difference_is_told_in_decimal_places(difference: float, words: str) -> None:
    assert _agreement(difference) == words


def test_networks_without_a_correction_are_told_above_the_map(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, symbol="NFLX", cell="GRU")
    found = loaded.look("1", "NFLX", "gru")
    assert "In 1 of 1 networks training kept no correction" in found.silence
    assert found.silence in found.notes
    assert found.silence in [one.value.replace("\\", "") for one in app.info]
    assert found.silence not in "".join(one.value.replace("\\", "") for one in app.caption)
