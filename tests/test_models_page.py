"""The page of models, run by Streamlit's AppTest: versions, their cards, and which one is served."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pages
import pandas as pd
import pytest
from job_desk import ended
from pages import words
from streamlit.testing.v1 import AppTest

from forecaster import jobs
from forecaster.decisions import CHAMPION, REFUSED, holder
from forecaster.store import now
from forecaster.workspace import Workspace

draw = partial(pages.draw, path="models")


@pytest.fixture
def succeeded(trained_workspace: Workspace) -> Workspace:
    """A workspace whose version 2 is champion after 1; version 3 was refused. All have the files of 1."""
    store = trained_workspace.store
    row = store.rows("decisions", where={"alias": [CHAMPION]})
    for version, alias in (("2", CHAMPION), ("3", REFUSED)):
        evidence = json.dumps({"rule": "refit", "gain_nats": 0.0123, "dates": 41})
        store.append(
            "decisions",
            row.assign(version=version, alias=alias, reason="no worse", evidence=evidence, decided_at=now()),
        )
    return trained_workspace


def facts(app: AppTest) -> dict[str, str]:
    rows = pd.concat([one.value for one in app.table])
    return {what: value.replace("\\", "") for what, value in zip(rows["What"], rows["Value"], strict=True)}


def test_the_champion_its_card_and_every_decision(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home)
    assert "Champion: version 1" in app.subheader[0].value
    (shown,) = [one.value for one in app.dataframe if "Decision" in one.value]
    assert list(shown["Decision"]) == ["made champion", "registered"]
    assert list(shown["Why"]) == ["first champion: there was none", "registered with its backtest"]
    assert "No forecast has been settled yet" in words(app)
    card = json.loads(Workspace(trained_home).store.rows("decisions")["card"].iloc[0])
    told = facts(app)
    assert told["Rule"] == "first champion"
    assert told["Recipe"] == card["recipe_hash"]
    assert told["Trained until"] == "2023-09-21"
    assert told["Universe"] == "6 symbols: AAPL, AMZN, GOOG, META, NFLX, NVDA"
    assert f"keras {card['packages']['keras']}" in told["Packages"]
    assert card["files"].items() <= {name.replace("\\", ""): told[name] for name in told}.items()


def test_a_version_stands_in_the_url_with_its_evidence(
    monkeypatch: pytest.MonkeyPatch, succeeded: Workspace
) -> None:
    app = draw(monkeypatch, succeeded.home, version="2")
    versions = next(one.value for one in app.dataframe if "role" in one.value)
    assert list(versions["version"]) == ["3", "2", "1"]
    assert list(versions["role"]) == ["refused", "champion", "former champion"]
    assert "Card of version 2" in words(app)
    assert (facts(app)["Gain over it, nats a forecast"], facts(app)["Dates"]) == ("0.0123", "41")
    assert "Card of version 3" in words(draw(monkeypatch, succeeded.home, version="nonsense"))


def test_what_would_be_served_is_said_before_it_is_done(
    monkeypatch: pytest.MonkeyPatch, succeeded: Workspace
) -> None:
    asked = []

    def start(home: Path, words: Sequence[str]) -> str:
        asked.append(tuple(words))
        return "none"

    monkeypatch.setattr(jobs, "start", start)
    app = draw(monkeypatch, succeeded.home, version="3")
    assert "Serve version 3 (" in words(app)
    assert "Serve version 1 (" in words(app)
    assert words(app).count("in place of version 2?") == 2
    app.button(key="promote 3").click().run()
    app.button(key="rollback").click().run()
    assert asked == [("models", "promote", "3"), ("models", "rollback")]


@pytest.mark.slow
def test_a_rollback_runs_as_a_job(monkeypatch: pytest.MonkeyPatch, succeeded: Workspace) -> None:
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    app = draw(monkeypatch, succeeded.home)
    app.button(key="rollback").click().run()
    (job,) = jobs.jobs(succeeded.home)
    done = ended(succeeded.home, job.id)
    assert done.state == "done", jobs.log(succeeded.home, job.id)
    assert done.message == "Version 1 is the champion again: rolled back from version 2"
    assert holder(succeeded.store, CHAMPION) == "1"
    app.run()
    assert "Version 1 is the champion again: rolled back from version 2." in words(app).replace("\\", "")


def test_whoever_may_not_change_anything_is_told_why(
    monkeypatch: pytest.MonkeyPatch, succeeded: Workspace
) -> None:
    told = r"Sign in to change anything\."
    monkeypatch.setattr("forecaster.dashboard.access.denied", lambda: "Sign in to change anything.")
    app = draw(monkeypatch, succeeded.home, version="3")
    buttons = [app.button(key=kind) for kind in ("light", "full")]
    assert all(button.disabled and button.help == told for button in buttons)
    monkeypatch.setattr(jobs, "start", lambda home, words: pytest.fail("a job was started"))
    app.button(key="promote 3").click().run()
    assert app.error[0].value == told
