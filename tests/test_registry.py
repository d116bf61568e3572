"""Registry, ledger and workflow on real MLflow with SQLite and real Delta tables."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import ingest, ledger
from forecaster.challenge import was_rolled_back
from forecaster.config import Recipe, Settings
from forecaster.decisions import CHAMPION, decisions, holder
from forecaster.errors import Locked, ModelError, NotEarned, UsageError
from forecaster.evaluation.backtest import BESIDE, Backtest
from forecaster.first_run import quickstart
from forecaster.locks import exclusive
from forecaster.models.trained import Model
from forecaster.remedies import LIVE
from forecaster.sources.sample import SampleSource
from forecaster.workspace import Workspace


@pytest.fixture
def workspace(trained_workspace: Workspace) -> Workspace:
    return trained_workspace


def backtest_of(workspace: Workspace, recipe: Recipe, better_by: float) -> Backtest:
    """The champion's own backtest with the served log score moved by a noisy constant."""
    rows = workspace.store.rows("backtests", where={"version": ["1"]}).drop(
        columns=["version", "recorded_at"]
    )
    noise = np.random.default_rng(0).normal(0, 0.01, len(rows))
    served = rows["model"] == "served"
    moved = rows.assign(log_score=rows["log_score"] - np.where(served, better_by + noise, 0.0))
    card = json.loads(workspace.registry.card("1"))
    return Backtest(moved, recipe, card["fingerprint"], tuple(map(pd.Timestamp, card["refits"])))


def challenger(workspace: Workspace) -> Model:
    return workspace.registry.load()[1]


def test_quickstart_leaves_a_champion_with_its_evidence(workspace: Workspace, tiny: Recipe) -> None:
    version, model = workspace.registry.load()
    assert version == "1"
    assert model.recipe == tiny
    card = json.loads(workspace.registry.card("1"))
    assert card["recipe_hash"] == tiny.hash
    assert card["trained_until"] == "2023-09-21"
    assert card["demonstration"] is True
    scores = workspace.registry.scores("1")
    assert set(scores["model"]) == {*BESIDE, "lstm", "gru", "served"}
    assert list(decisions(workspace.store)["alias"]) == ["challenger", "champion"]


def test_a_second_quickstart_does_nothing(workspace: Workspace, tiny: Recipe) -> None:
    tables = ("prices", "forecasts", "backtests", "scores", "decisions", "updates")
    before = {name: workspace.store.version(name) for name in tables}
    said: list[str] = []
    summary = quickstart(workspace, tiny, "yahoo", say=said.append)
    assert not summary.trained
    assert {name: workspace.store.version(name) for name in tables} == before
    assert said[0] == "Yahoo was not asked: this workspace keeps to its source of prices, sample."


def test_a_quickstart_does_not_train_beside_a_retraining(tmp_path: Path, tiny: Recipe) -> None:
    workspace = Workspace(tmp_path, Settings(home=tmp_path, source="sample"))
    with exclusive(tmp_path, "retrain"), pytest.raises(Locked, match="Another retrain runs"):
        quickstart(workspace, tiny)
    assert len(workspace.watchlist) == 6
    assert decisions(workspace.store).empty


@pytest.mark.slow
def test_a_quickstart_that_was_cut_short_goes_on(tmp_path: Path, tiny: Recipe) -> None:
    """Killed after the first prices, before the watchlist knew of them."""
    workspace = Workspace(tmp_path, Settings(home=tmp_path, source="auto"))
    ingest.update(workspace.store, SampleSource(), ["AAPL", "NFLX"])
    assert not workspace.watchlist
    said: list[str] = []
    summary = quickstart(workspace, tiny.but(cells=("gru",)), say=said.append)
    assert summary.trained
    assert said == [
        "Prices: the bundled sample, 2013 to 2023 (an earlier run began with them). "
        "This workspace keeps to it from now on.",
        f"For live prices, now or later: {LIVE}",
        "Events: 40 notable ones of the sample.",
        "Model registered: first champion: there was none.",
    ]
    assert len(workspace.watchlist) == 6
    assert set(workspace.forecasts()["symbol"]) == set(workspace.watchlist)


def test_a_better_challenger_is_promoted(workspace: Workspace, tiny: Recipe) -> None:
    version = workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, 0.2))
    assert holder(workspace.store, CHAMPION) == "1"
    reason = workspace.registry.promote()
    assert reason.startswith("beats the champion: +0.")
    assert holder(workspace.store, CHAMPION) == version == "2"
    assert workspace.registry.load()[0] == "2"
    last = decisions(workspace.store).iloc[-1]
    assert (last["alias"], last["reason"]) == ("champion", reason)
    evidence = json.loads(last["evidence"])
    assert evidence["champion"] == "1"
    assert evidence["gain_nats"] == pytest.approx(0.2, abs=0.01)


def test_what_was_refused_is_kept_with_its_evidence(workspace: Workspace, tiny: Recipe) -> None:
    workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, -0.1))
    with pytest.raises(NotEarned):
        workspace.registry.promote()
    last = decisions(workspace.store).iloc[-1]
    assert (last["version"], last["alias"]) == ("2", "refused")
    assert json.loads(last["evidence"])["gain_nats"] == pytest.approx(-0.1, abs=0.01)
    assert holder(workspace.store, CHAMPION) == "1"


def test_a_backtest_over_other_folds_is_no_comparison(workspace: Workspace, tiny: Recipe) -> None:
    evidence = backtest_of(workspace, tiny, 0.2)
    workspace.registry.add(challenger(workspace), replace(evidence, refits=evidence.refits[:1]))
    with pytest.raises(NotEarned, match="tested on other data or folds than champion 1"):
        workspace.registry.promote()
    last = decisions(workspace.store).iloc[-1]
    assert (last["version"], last["alias"]) == ("2", "refused")
    assert json.loads(last["evidence"]) == {"rule": "other data or folds", "champion": "1"}
    assert workspace.registry.promote(
        rival=replace(backtest_of(workspace, tiny, 0.0), refits=evidence.refits[:1])
    )


def test_a_champion_that_cannot_be_used_is_replaced(workspace: Workspace, tiny: Recipe) -> None:
    workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, -0.2))
    assert workspace.registry.promote(unusable="it is damaged") == "champion 1 cannot be used: it is damaged"
    assert holder(workspace.store, CHAMPION) == "2"


def test_a_champion_can_be_rolled_back(workspace: Workspace, tiny: Recipe) -> None:
    with pytest.raises(ModelError, match="first champion; there is none to roll back to"):
        workspace.registry.rollback()
    for better_by in (0.2, 0.4):
        workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, better_by))
        workspace.registry.promote(unusable="for this test")
    assert workspace.registry.rollback() == ("2", "rolled back from version 3")
    assert holder(workspace.store, CHAMPION) == "2"
    assert workspace.registry.rollback() == ("1", "rolled back from version 2")
    assert list(decisions(workspace.store).query("alias == 'champion'")["version"]) == [
        "1",
        "2",
        "3",
        "2",
        "1",
    ]


def test_a_champion_from_before_there_was_evidence_was_not_brought_back(workspace: Workspace) -> None:
    assert not was_rolled_back(workspace.store)
    crowned = decisions(workspace.store).query("alias == 'champion'")
    workspace.store.append("decisions", crowned.assign(version="2", evidence=None))
    assert not was_rolled_back(workspace.store)
    back = crowned.assign(evidence='{"rule": "rollback", "champion": "2"}')
    workspace.store.append("decisions", back)
    assert was_rolled_back(workspace.store)


def test_a_clock_that_was_set_back_makes_no_decision_older(workspace: Workspace, tiny: Recipe) -> None:
    workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, 0.2))
    early = Workspace(workspace.home, workspace.settings, lambda: pd.Timestamp("2000-01-01", tz="UTC"))
    early.registry.promote("2")
    assert holder(workspace.store, CHAMPION) == "2"


@pytest.mark.parametrize("better_by", [0.0, -0.02])
def test_a_challenger_that_is_no_better_is_refused(
    workspace: Workspace, tiny: Recipe, better_by: float
) -> None:
    workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, better_by))
    with pytest.raises(NotEarned, match="against champion 1: does not earn the place"):
        workspace.registry.promote()
    assert holder(workspace.store, CHAMPION) == "1"


def test_a_version_without_evidence_is_refused(workspace: Workspace) -> None:
    registered = decisions(workspace.store).query("alias == 'challenger'")
    workspace.store.append("decisions", registered.assign(version="7"))
    with pytest.raises(NotEarned, match="Version 7 against champion 1: it has no backtest"):
        workspace.registry.promote("7")
    last = decisions(workspace.store).iloc[-1]
    assert (last["version"], last["alias"]) == ("7", "refused")
    assert json.loads(last["evidence"]) == {"rule": "no backtest", "champion": "1"}


def test_an_unknown_version_is_not_promoted(workspace: Workspace) -> None:
    before = workspace.store.version("decisions")
    with pytest.raises(ModelError, match="no model version '7'"):
        workspace.registry.promote("7")
    assert workspace.store.version("decisions") == before


@pytest.mark.slow
def test_a_decision_stands_whatever_becomes_of_its_alias(
    workspace: Workspace, tiny: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    """A locked database keeps MLflow's aliases back; the next decision sets both."""
    registry = workspace.registry
    for better_by in (0.2, 0.4):
        registry.add(challenger(workspace), backtest_of(workspace, tiny, better_by))
    registry.promote("2")

    def aliases() -> dict[str, str]:
        with sqlite3.connect(workspace.home / "mlflow.db") as database:
            rows = database.execute("SELECT alias, version FROM registered_model_aliases")
            return {alias: str(version) for alias, version in rows}

    assert aliases() == {"champion": "2", "challenger": "3"}
    with sqlite3.connect(workspace.home / "mlflow.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert registry.rollback()[0] == "1"
        assert holder(workspace.store, CHAMPION) == "1"
        registry.promote("3")
        assert holder(workspace.store, CHAMPION) == "3"
        database.execute("ROLLBACK")
    warned = [record.getMessage() for record in caplog.records if record.name == "forecaster.registry"]
    assert len(warned) == 2
    assert all("mlflow.db cannot be opened or written" in line for line in warned)
    assert aliases() == {"champion": "2", "challenger": "3"}
    registry.add(challenger(workspace), backtest_of(workspace, tiny, 0.6))
    assert aliases() == {"champion": "3", "challenger": "4"}


def test_a_backtest_of_another_recipe_is_refused(workspace: Workspace, tiny: Recipe) -> None:
    evidence = replace(backtest_of(workspace, tiny, 0.0), recipe=tiny.but(units=5))
    with pytest.raises(ModelError, match="run the backtest with the model's own recipe"):
        workspace.registry.add(challenger(workspace), evidence)


def test_a_backtest_of_other_data_is_refused(workspace: Workspace, tiny: Recipe) -> None:
    evidence = replace(backtest_of(workspace, tiny, 0.0), fingerprint="0" * 12)
    with pytest.raises(ModelError, match="run both on the same history"):
        workspace.registry.add(challenger(workspace), evidence)


def test_the_champion_s_forecast_stands(workspace: Workspace, tiny: Recipe) -> None:
    first = workspace.forecast("AAPL")
    assert set(first["version"]) == {"1"}
    workspace.registry.add(challenger(workspace), backtest_of(workspace, tiny, 0.2))
    workspace.registry.promote()
    second = workspace.forecast("AAPL")
    assert set(second["version"]) == {"2"}
    assert len(second) == len(first)
    ledger.issue(workspace.store, first.assign(version="1", step=first["step"] + 20))
    assert set(ledger.latest(workspace.store, "AAPL")["version"]) == {"2"}, "whole, and the champion's"


def test_an_unknown_version_lists_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="choose one of: 1"):
        workspace.registry.card("9")
    with pytest.raises(ModelError, match="no model version '9'"):
        workspace.registry.load("9")


def test_a_workspace_may_be_moved(workspace: Workspace) -> None:
    """The fixture copied the folder; its registry still names the old place."""
    _, model = workspace.registry.load()
    assert model.forecast(workspace.history())["symbol"].nunique() == 6


def test_a_forecast_is_issued_once_and_never_rewritten(workspace: Workspace) -> None:
    before = workspace.store.rows("forecasts")
    forecast = ledger.latest(workspace.store)
    again = ledger.issue(workspace.store, forecast.assign(mean=99.0))
    assert again.empty
    pd.testing.assert_frame_equal(workspace.store.rows("forecasts"), before)
    assert before["step"].nunique() == 20
    assert before["symbol"].nunique() == 6


def test_the_latest_cutoff_is_served(workspace: Workspace) -> None:
    forecast = ledger.latest(workspace.store, "AAPL")
    later = forecast.assign(cutoff=forecast["cutoff"] + pd.Timedelta(days=1), mean=0.5)
    ledger.issue(workspace.store, later)
    assert (ledger.latest(workspace.store, "AAPL")["mean"] == 0.5).all()
    assert len(ledger.latest(workspace.store, "AAPL")) == len(forecast)
    where = {"symbol": ["AAPL"], "model": ["served"]}
    assert len(workspace.store.rows("forecasts", where=where)) == 2 * len(forecast)


def test_a_stored_forecast_needs_no_tensorflow(workspace: Workspace) -> None:
    import subprocess
    import sys

    code = (
        "import sys, forecaster as fc;"
        f"table = fc.Workspace({str(workspace.home)!r}).forecast('AAPL');"
        "assert len(table) == 20; assert 'tensorflow' not in sys.modules and 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
