"""The dashboard's page of the method, run by Streamlit's AppTest: live figures, leak checks, notebooks."""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
from command_line import Run

from forecaster import jobs
from forecaster.jobs.record import new, register
from forecaster.store import now
from forecaster.workspace import Workspace

draw = partial(pages.run, path="method")
ROOT = Path(__file__).resolve().parents[1]


def keep(workspace: Workspace, days_ago: int, **values: object) -> None:
    """Store a leak check of two subjects, the second as told."""
    row = {
        "checked_at": now() - pd.Timedelta(days=days_ago), "networks": "lstm,gru",
        "groups": "trend,previous_day,exogenous", "fingerprint": "f", "as_of": pd.Timestamp("2023-09-21"),
        "symbols": 6, "subject": "inputs", "columns": 16, "cutoffs": 4, "values": 1200, "passed": True,
        "leak": "", "note": "",
    }  # fmt: skip
    second = row | {"subject": "fit of harx", "values": 34} | values
    workspace.store.append("leakchecks", pd.DataFrame([row, second]))


def test_the_figures_are_the_champion_s_own(monkeypatch: pytest.MonkeyPatch, trained_home: Path) -> None:
    app = draw(monkeypatch, trained_home, horizon="5")
    workspace = Workspace(trained_home)
    scores = workspace.store.current("scores", where={"step": [5]}).set_index("model")
    served, last_price = scores.loc["served"], scores.loc["rolling_t"]
    rises = workspace.forecasts().query("step == 5")["prob_up"]
    shown = {one.label: one.value for one in app.metric}
    assert float(shown["Gain over the last price"].replace("−", "-").split()[0]) == pytest.approx(
        served["log_score_gain"], abs=5e-5
    )
    assert shown["CRPS"] == f"{100 * served['crps']:.2f} %"
    assert shown["Within the 90 % range"] == f"{served['coverage_90']:.1f} %"
    assert shown["Median price off by"] == f"{served['mae']:.2f} %"
    assert (rises == 0.5).all(), "a model without drift takes no side"
    assert shown["Probability of a rise"] == "50.0 %"
    words = pages.words(app)
    off = f"off by {served['mae']:.2f} % on average, the last price by {last_price['mae']:.2f} %"
    assert off in words
    density = abs(100 * np.expm1(served["log_score_gain"]))
    assert (
        f"{density:.1f} % {'more' if served['log_score_gain'] >= 0 else 'less'} probability density" in words
    )
    assert f"{served['share_up']:.1f} % of the outcomes were rises" in words
    assert "It gives no opinion: the middle of its fan lies on the last price." in words
    assert "No forecast has been settled yet" in words


def test_probabilities_of_a_rise_are_those_of_the_forecasts_that_stand(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    rows = trained_workspace.forecasts()
    leaning = {"AAPL": 0.4712, "NVDA": 0.5386}
    told = rows.assign(prob_up=rows["symbol"].map(leaning).fillna(0.5), issued_at=now())
    trained_workspace.store.append("forecasts", told)
    scores = trained_workspace.store.current("scores")
    opinion = scores.assign(direction=52.34, direction_p=0.21, recorded_at=now())
    trained_workspace.store.append("scores", opinion)
    app = draw(monkeypatch, trained_workspace.home)
    assert {one.label: one.value for one in app.metric}["Probability of a rise"] == "47.1 to 53.9 %"
    words = pages.words(app)
    assert "now say 47.1 to 53.9 % over 6 symbols" in words
    assert "called 52.3 % of rises and falls right" in words
    assert "not distinguishable (p = .210)" in words


@pytest.mark.parametrize(
    ("kind", "gates"),
    [("LSTM", ["Forget", "Input", "Output"]), ("GRU", ["Reset", "Update"]), ("Simple RNN", [])],
)
def test_each_kind_of_network_is_told_by_its_gates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, gates: list[str]
) -> None:
    app = draw(monkeypatch, tmp_path / "new", network=kind)
    words = pages.words(app)
    for gate in ("Forget", "Input", "Output", "Reset", "Update"):
        assert (f"**{gate} gate**" in words) == (gate in gates)
    (drawing,) = (one.proto for one in app.get("plotly_chart"))
    notes = [note["text"] for note in json.loads(drawing.spec)["layout"]["annotations"]]
    for word in ("trend", "previous day", "exogenous", kind, *map(str.lower, gates)):
        assert any(f"<b>{word}</b>" in note for note in notes)
    assert any("no gate" in note for note in notes) == (not gates)


def test_a_workspace_without_a_leak_check_says_so(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home)
    assert f"The leak detector has never run here. On the command line: `python -m forecaster leakcheck --home {trained_home}`" in pages.words(app)  # fmt: skip  # noqa: E501
    assert not app.success


def test_the_last_leak_check_is_told_with_its_age(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    keep(trained_workspace, 40, passed=False, leak="Leak in fit of harx: old", values=7)
    keep(trained_workspace, 3)
    app = draw(monkeypatch, trained_workspace.home)
    (passed,) = app.success
    assert "Passed, no leak found" in passed.value
    assert "3 days ago: none of 1,234 values moved" in passed.value
    assert not app.error
    shown = next(one.value for one in app.dataframe if "subject" in one.value)
    assert list(shown["subject"]) == ["inputs", "fit of harx"]
    assert list(shown["result"]) == ["passed", "passed"]
    assert "Stale" not in pages.words(app)


def test_a_leak_is_an_error_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    keep(trained_workspace, 0, passed=False, leak="Leak in fit of harx: q50 of *AAPL* at 2020-01-02")
    app = draw(monkeypatch, trained_workspace.home)
    (error,) = app.error
    assert error.value.startswith("**Leak found**")
    assert r"q50 of \*AAPL\* at 2020\-01\-02" in error.value
    assert not app.success


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"networks": "lstm"}, "The champion also has gru, which this check has not looked at."),
        ({"groups": "trend"}, "The champion also has exogenous, previous"),
        ({"as_of": pd.Timestamp("2023-01-03")}, "trained on sessions up to 2023-09-21, which were not there"),
    ],
)
def test_a_check_that_does_not_speak_for_the_champion_is_called_stale(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace, values: dict[str, object], said: str
) -> None:
    row = {"networks": "lstm,gru", "groups": "trend,previous_day,exogenous"} | values
    keep(trained_workspace, 0, **row)
    rows = trained_workspace.store.rows("leakchecks").assign(**values, checked_at=now())
    trained_workspace.store.append("leakchecks", rows)
    (stale,) = (one.value for one in draw(monkeypatch, trained_workspace.home).warning)
    assert said in stale.replace("\\", "")


def test_a_button_starts_the_check_of_the_champion_s_inputs(
    monkeypatch: pytest.MonkeyPatch, trained_workspace: Workspace
) -> None:
    home, asked = trained_workspace.home, []
    app = draw(monkeypatch, home)
    monkeypatch.setattr(jobs, "start", lambda home, words: asked.append((home, words)) or "x")
    app.button(key="leakcheck").click().run()
    assert asked == [(home, ["leakcheck", "--cells", "lstm,gru", "--groups", "trend,previous_day,exogenous"])]
    folder, lock = new(home, "leakcheck")
    register(folder, ["leakcheck"], os.getpid(), detached=False)
    try:
        app.run()
        assert app.button(key="leakcheck").disabled, "one runs"
        assert len(app.get("progress")) == 1
    finally:
        os.close(lock)


def test_who_may_not_start_it_is_told_why(monkeypatch: pytest.MonkeyPatch, trained_home: Path) -> None:
    monkeypatch.setattr("forecaster.dashboard.access.denied", lambda: "Sign in to change something")
    button = draw(monkeypatch, trained_home).button(key="leakcheck")
    assert button.disabled
    assert button.help == "Sign in to change something"


@pytest.mark.slow
def test_the_command_writes_down_what_it_found(
    monkeypatch: pytest.MonkeyPatch, sample_workspace: Workspace, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    words = ["--models", "constant", "--groups", "trend", "--cutoffs", "2", "--home", sample_workspace.home]
    done = run("leakcheck", *words)
    rows = sample_workspace.store.rows("leakchecks")
    assert list(rows["subject"]) == [
        "inputs",
        "windows",
        "labels",
        "fit of constant",
        "forecasts of constant",
    ]
    assert rows["passed"].all()
    assert f"none of {rows['values'].sum():,} values moved" in done.stdout
    assert set(rows["groups"]) == {"trend"}
    (job,) = jobs.jobs(sample_workspace.home)
    assert (job.command[0], job.state, job.message) == ("leakcheck", "done", "No leak found")
    app = draw(monkeypatch, sample_workspace.home)
    assert f"none of {rows['values'].sum():,} values moved" in app.success[0].value


def test_notebooks_can_be_read_and_taken_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = draw(monkeypatch, tmp_path / "new")
    files = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(app.expander) == len(files)
    for file, shown in zip(files, app.expander, strict=True):
        cells = json.loads(file.read_text())["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
        assert title in shown.label.replace("\\", "")
        code = [one.value for one in shown.code]
        assert code[0] == f".venv/bin/jupyter lab notebooks/{file.name}"
        assert code[1:] == ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        assert len(shown.get("download_button")) == 1
