"""Retraining on the page of models, run by Streamlit's AppTest on real jobs."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pages
import pandas as pd
import pytest
from job_desk import LONG, under_way
from pages import checked
from streamlit.testing.v1 import AppTest

from forecaster import jobs
from forecaster.errors import DataError
from forecaster.jobs.record import new, register, replace_json
from forecaster.schedule import Health

draw = partial(pages.draw, path="models")


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A workspace with two jobs: one that failed after one that went well."""
    home = tmp_path / "home"
    with jobs.recorded(home, ["retrain", "--light"]) as job:
        for line in range(250):
            job.say(f"line {line}.")
        job.message = "6 forecasts issued"
    with pytest.raises(DataError), jobs.recorded(home, ["retrain", "--full"]):
        raise DataError("No price came")
    return home


@pytest.fixture
def retraining(tmp_path: Path) -> Iterator[Path]:
    """A workspace in which a retraining has begun."""
    folder, lock = new(tmp_path / "home", "retrain")
    register(folder, ["retrain", "--full"], os.getpid(), detached=False)
    yield tmp_path / "home"
    os.close(lock)


def words(app: AppTest) -> str:
    return "\n".join(str(one.value) for kind in (app.markdown, app.caption, app.warning) for one in kind)


def runs(app: AppTest) -> pd.DataFrame:
    return next(one.value for one in app.dataframe if "command" in one.value)


def test_runs_and_their_logs_are_shown(monkeypatch: pytest.MonkeyPatch, ended: Path) -> None:
    failed, well = jobs.jobs(ended)
    app = draw(monkeypatch, ended)
    shown = runs(app)
    assert list(shown["id"]) == [failed.id, well.id]
    assert list(shown["state"]) == ["failed", "done"]
    assert list(shown["command"]) == ["retrain --full", "retrain --light"]
    assert list(shown["message"]) == ["No price came", "6 forecasts issued"]
    assert "Failed. No price came" in app.code[-1].value
    assert "python -m forecaster schedule" in words(app)
    app.selectbox(key="job").set_value(well.id).run()
    log = checked(app).code[-1].value.splitlines()
    assert len(log) == 200
    assert log[0].endswith("line 51.")
    assert log[-1].endswith("Done. 6 forecasts issued")
    assert "The last 200 of 251 lines." in words(app)


def test_the_job_stands_in_the_url(monkeypatch: pytest.MonkeyPatch, ended: Path) -> None:
    failed, well = jobs.jobs(ended)
    assert "6 forecasts" in draw(monkeypatch, ended, job=well.id).code[-1].value
    assert "No price came" in draw(monkeypatch, ended, job="../nonsense").code[-1].value
    assert draw(monkeypatch, ended, job="../nonsense").selectbox(key="job").value == failed.id


@pytest.mark.parametrize("kind", ["light", "full"])
def test_a_button_starts_a_retraining_in_its_own_process(
    monkeypatch: pytest.MonkeyPatch, ended: Path, kind: str
) -> None:
    asked = []

    def start(home: Path, command: Sequence[str]) -> str:
        asked.append((home, list(command)))
        return jobs.jobs(ended)[-1].id

    app = draw(monkeypatch, ended)
    monkeypatch.setattr(jobs, "start", start)
    app.button(key=kind).click().run()
    assert asked == [(ended, ["retrain", f"--{kind}"])]
    assert checked(app).selectbox(key="job").value == jobs.jobs(ended)[-1].id, (
        "the log is of what was started"
    )


def test_no_second_retraining_is_offered_while_one_runs(
    monkeypatch: pytest.MonkeyPatch, retraining: Path
) -> None:
    app = draw(monkeypatch, retraining)
    assert app.button(key="light").disabled
    assert app.button(key="full").disabled
    assert "**retrain \\-\\-full**, started just now: starting" in words(app)
    assert app.code[-1].value == "It has said nothing yet."


def test_a_running_job_shows_its_progress_and_can_be_ended(
    monkeypatch: pytest.MonkeyPatch, job_home: Path
) -> None:
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    job = under_way(job_home, job_id)
    app = draw(monkeypatch, job_home)
    assert ": Counting" in words(app)
    (bar,) = app.get("progress")
    assert bar.proto.value <= 100 * jobs.job(job_home, job_id).done // 3000
    assert "of 3000 steps, about " in bar.proto.text
    assert not app.button(key="light").disabled, "a count is no retraining"
    assert "The champion and the forecasts that stand stay as they are." in words(app)
    assert jobs.job(job_home, job_id).running, "asked before it is ended"
    app.button(key=f"end {job_id}").click().run()
    assert jobs.job(job_home, job_id).state == "cancelled"
    assert list(runs(checked(app))["state"]) == ["cancelled"]
    assert not app.get("progress")
    assert job.detached


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({}, "The schedule is well: the next retraining is due at 2100-01-04 21:30 UTC; no run yet."),
        ({"last_ended_at": 3, "last_exit_code": 0}, "; the last run ended 3 hours ago."),
        ({"failures": 2, "last_exit_code": 1, "last_job": "x"}, "The last 2 runs did not succeed"),
        ({"pid": None}, "No schedule runs; it ended at"),
    ],
)
def test_the_schedule_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, ended: Path, health: dict[str, object], said: str
) -> None:
    moment = datetime.now(UTC)
    if "last_ended_at" in health:
        health = health | {"last_ended_at": moment - timedelta(hours=3, minutes=5)}
    known = {"pid": 1, "checked_at": moment, "next_due": datetime(2100, 1, 4, 21, 30, tzinfo=UTC)}
    replace_json(ended / "schedule.json", Health(**(known | health)).model_dump(mode="json"))
    app = draw(monkeypatch, ended)
    assert said in words(app)
    assert len(app.warning) == ("well" not in words(app))
