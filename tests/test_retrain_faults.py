"""What the retraining service survives: killed processes, damaged files, a locked database, a full disk."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from market import BEGIN, DAYS, SMALL, SYMBOLS, Market, copied

from forecaster.challenge import repeat
from forecaster.decisions import CHAMPION, decisions, holder
from forecaster.errors import ModelError, StoreError
from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.folds import Plan
from forecaster.models.trained import Model
from forecaster.tables import TABLES
from forecaster.timetable import owed, past_runs

TESTS = Path(__file__).resolve().parent
AFTER = DAYS[DAYS > BEGIN]
FAR = AFTER[49]
"""So far on that newer weights can be judged on sessions that the champion has not seen."""

KILLS = int(os.environ.get("FORECASTER_KILLS", "5"))
KEY = list(TABLES["forecasts"].key)


@pytest.fixture
def market(market_home: Path, tmp_path: Path) -> Market:
    return copied(shutil.copytree(market_home, tmp_path / "market"))


def child(market: Market, day: pd.Timestamp, mode: str) -> subprocess.Popen[str]:
    """Start a retraining in a process of its own, and wait until it is about to work."""
    process = subprocess.Popen(
        [sys.executable, TESTS / "retrain_child.py", market.home, str(day.date()), mode],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def same_rows(rows: pd.DataFrame, of: pd.DataFrame) -> bool:
    """Whether all rows of one table stand unchanged in another."""
    kept = rows[KEY].merge(of, on=KEY)
    return rows.sort_values(KEY, ignore_index=True).equals(
        kept[rows.columns].sort_values(KEY, ignore_index=True)
    )


@pytest.fixture(scope="module")
def seconds(market_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """How long an undisturbed run of each kind takes here."""
    found = {}
    for mode in ("light", "full"):
        market = copied(shutil.copytree(market_home, tmp_path_factory.mktemp("undisturbed") / mode))
        process, start = child(market, FAR, mode), time.monotonic()
        assert process.communicate()[0] == "done\n"
        found[mode] = time.monotonic() - start
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_run_loses_nothing_and_the_next_repairs(
    market: Market, seconds: dict[str, float], kill: int
) -> None:
    mode = "full" if kill % 2 else "light"
    before = market.workspace.store.rows("forecasts")
    process = child(market, FAR, mode)
    time.sleep(np.random.default_rng(kill).uniform(0, seconds[mode]))
    process.kill()
    process.wait()
    store = market.workspace.store
    assert same_rows(before, store.rows("forecasts"))
    version, model = market.workspace.registry.load()
    assert version == holder(store, CHAMPION)
    assert len(model.forecast(market.workspace.history())) == len(SYMBOLS) * SMALL.horizon
    issued = store.rows("forecasts")
    market.settings["full_every"] = 1000
    assert market.at(FAR).run(mode).status in ("done", "nothing")
    after = store.rows("forecasts")
    assert same_rows(issued, after)
    assert not after[KEY].duplicated().any()
    standing = market.workspace.forecasts()
    assert set(standing["cutoff"]) == {FAR}
    assert set(standing["version"]) == {holder(store, CHAMPION)}
    assert len(standing) == len(SYMBOLS) * SMALL.horizon
    made = decisions(store)
    assert set(made.loc[made["alias"] != "challenger", "version"]) <= set(
        made.loc[made["alias"] == "challenger", "version"]
    )
    assert market.run(mode).status == "nothing"


def folder(market: Market, version: str) -> Path:
    run = json.loads(market.workspace.registry.card(version))["run"]
    return market.home / "artifacts" / run


@pytest.mark.slow
def test_a_damaged_champion_is_replaced_by_the_next_run(market: Market) -> None:
    standing = market.workspace.forecasts()
    (network,) = folder(market, "1").glob("*.onnx")
    network.write_bytes(network.read_bytes()[:100])
    with pytest.raises(ModelError, match="damaged or missing"):
        market.workspace.registry.load()
    pd.testing.assert_frame_equal(market.workspace.forecasts(), standing)
    report = market.at(AFTER[0]).run("light")
    assert (report.mode, report.status, report.version) == ("full", "done", "2")
    assert report.decision.startswith(
        "promoted version 2: champion 1 cannot be used: The files of model version 1"
    )
    assert set(market.workspace.forecasts()["version"]) == {"2"}


@pytest.mark.slow
def test_a_version_can_be_repeated_from_its_card(market: Market) -> None:
    """Although the store has learned more since, a split that rewrites every earlier price included."""
    market.shares["AAA"].splits[str(AFTER[1].date())] = 3.0
    for day in AFTER[:3]:
        market.at(day).run("light")
    workspace = market.workspace
    assert repeat(workspace.store, workspace.registry, "1") == 0.0


@pytest.mark.slow
def test_a_changed_recipe_is_judged_over_the_same_folds(market: Market) -> None:
    report = market.at(AFTER[0]).run("full", SMALL.but(units=5))
    assert report.status == "done"
    made = decisions(market.workspace.store).iloc[-1]
    evidence = json.loads(made["evidence"])
    assert (made["version"], evidence["rule"], evidence["champion"]) == ("2", "changed recipe", "1")
    assert evidence["dates"] >= 500
    assert (made["alias"] == "champion") == report.decision.startswith("promoted version 2")
    assert set(market.workspace.forecasts()["version"]) == {report.version}
    assert market.run("full", SMALL.but(units=5)).status == "nothing"


def test_a_locked_registry_stops_no_forecast(market: Market) -> None:
    """Forecasts are issued without it; a training says that it cannot be written, and is owed again."""
    with sqlite3.connect(market.home / "mlflow.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert market.at(AFTER[0]).run("light").status == "done"
        with pytest.raises(StoreError, match=r"mlflow.db cannot be opened or written"):
            market.workspace.registry.add(*_again(market))
        database.execute("ROLLBACK")
    assert market.workspace.registry.add(*_again(market)) == "2"
    assert set(market.workspace.forecasts()["cutoff"]) == {AFTER[0]}


def _again(market: Market) -> tuple[Model, Backtest]:
    """The champion with its own backtest, to be registered once more."""
    _, model = market.workspace.registry.load()
    card = json.loads(market.workspace.registry.card("1"))
    rows = market.workspace.store.rows("backtests", where={"version": ["1"]})
    evidence = rows.drop(columns=["version", "recorded_at"])
    refits = tuple(map(pd.Timestamp, card["refits"]))
    return model, Backtest(evidence, model.recipe, card["fingerprint"], refits, Plan.from_json(card["plan"]))


@pytest.mark.slow
def test_a_training_that_fails_keeps_no_forecast_back(market: Market) -> None:
    (market.home / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError):
        market.at(FAR).run("full")
    assert set(market.workspace.forecasts()["cutoff"]) == {FAR}
    assert owed(market.workspace) == "full"


@pytest.mark.parametrize(("room", "statuses"), [(1024, []), (10_000, ["failed"])])
def test_a_disk_without_room_leaves_everything_in_place(
    market: Market, room: int, statuses: list[str]
) -> None:
    """None for the first row; or enough for the prices, and none for the forecasts."""
    before = market.workspace.store.rows("forecasts")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    process = subprocess.run(
        [sys.executable, TESTS / "retrain_child.py", market.home, str(AFTER[0].date()), "light"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        preexec_fn=full, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode != 0
    assert "cannot be read or written" in process.stderr
    store = market.workspace.store
    assert list(past_runs(market.workspace)["status"]) == ["done", *statuses]
    assert (store.spans()["AAA"].last == AFTER[0]) == bool(statuses)
    assert same_rows(before, store.rows("forecasts"))
    assert len(before) == len(store.rows("forecasts"))
    assert market.at(AFTER[0]).run("light").status == "done"
    assert set(market.workspace.forecasts()["cutoff"]) == {AFTER[0]}


@pytest.mark.parametrize("name", ["card.json", "ensemble.json", "drift.json", "gru-0.onnx"])
def test_a_bit_that_flips_is_seen(market: Market, name: str) -> None:
    file = folder(market, "1") / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=f"damaged or missing: {name}"):
        market.workspace.registry.load()


def test_models_that_cannot_be_reached_are_not_replaced(market: Market) -> None:
    (market.home / "artifacts").rename(market.home / "elsewhere")
    with pytest.raises(StoreError, match="is gone; bring it back"):
        market.at(AFTER[0]).run("light")
    assert holder(market.workspace.store, CHAMPION) == "1"
    (market.home / "elsewhere").rename(market.home / "artifacts")
    assert market.run("light").status == "done"
