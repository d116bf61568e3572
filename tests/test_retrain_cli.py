"""``retrain`` as its user meets it: what it says, its exit codes, its job, and who hears of a failure."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from command_line import Run
from market import BEGIN, SYMBOLS, Market
from yahoo_stub import MemorySource

from forecaster.config import Settings
from forecaster.errors import Locked
from forecaster.jobs import job, jobs
from forecaster.locks import exclusive

ROOT, PATIENCE = Path(__file__).resolve().parents[1], 60


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained_home, tmp_path / "home")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return Run(elsewhere)


def test_it_says_what_it_did_and_then_that_nothing_is_left(run: Run, home: Path) -> None:
    said = run("retrain", "--home", home).stdout
    assert "Decision: no training: newer weights are judged on the last 42 sessions" in said
    assert "6 symbols forecast by version 1 from XNAS 2023-09-21." in said
    again = run("retrain", "--home", home).stdout
    assert again == "Nothing to do: XNAS 2023-09-21 is done.\n"
    told = json.loads(run("retrain", "--due", "--json", "--home", home).stdout)
    assert (told["status"], told["version"], told["left_out"]) == ("nothing", "1", {})
    assert [one.state for one in jobs(home)] == ["done"] * 3
    assert jobs(home)[0].message == told["detail"]


def test_an_interrupted_one_says_what_stands(home: Path) -> None:
    words = [sys.executable, "-m", "forecaster", "retrain", "--full", "--cells", "gru", "--home", str(home)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    while not (found := jobs(home)) or not found[0].stage:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    stands = "the champion and the forecasts issued so far stand; give the same command again"
    assert stands in errors
    assert stands in jobs(home)[0].message


def test_the_health_of_a_forecast_is_in_its_json(run: Run, home: Path) -> None:
    told = json.loads(run("forecast", "AAPL", "--json", "--home", home).stdout)
    assert told["beats_last_price"] in (True, False, None)
    assert (told["state"], told["data_age"], told["model_age"]) == ("good", None, 0)


def test_modes_exclude_each_other(run: Run, home: Path) -> None:
    assert "exclude each other" in run.refused("retrain", "--full", "--light", "--home", home, code=2)


def test_a_rival_is_told_to_try_later(run: Run, home: Path) -> None:
    with exclusive(home, "retrain"):
        assert "Another retrain runs" in run.refused("retrain", "--home", home, code=Locked.exit_code)
    (one,) = jobs(home)
    assert (job(home, one.id).state, one.exit_code) == ("try later", 75)


class Listener(BaseHTTPRequestHandler):
    heard: list[dict[str, str]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[tuple[str, list[dict[str, str]]]]:
    heard: list[dict[str, str]] = []
    handler = type("Ear", (Listener,), {"heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", heard
        server.shutdown()


def test_a_failure_is_told_to_a_command_and_an_address(
    run: Run, tmp_path: Path, listener: tuple[str, list[dict[str, str]]]
) -> None:
    address, heard = listener
    note = tmp_path / "note.txt"
    code = f"import os, pathlib; pathlib.Path({str(note)!r}).write_text(os.environ['FORECASTER_FAILURE'])"
    run.environment = {
        "FORECASTER_ON_FAILURE": f'{sys.executable} -c "{code}"',
        "FORECASTER_WEBHOOK": address,
    }
    error = run.refused("retrain", "--home", tmp_path / "empty")
    assert f"There is no workspace at {tmp_path / 'empty'}; make one: " in error
    assert note.read_text() in error.replace(f" --home {tmp_path / 'empty'}", "")
    assert not (tmp_path / "empty").exists()
    assert [one["error"] for one in heard] == [note.read_text()]
    assert heard[0]["command"] == "retrain"


def test_a_source_without_its_key_is_a_failure_that_is_told(run: Run, tmp_path: Path) -> None:
    market = Market(tmp_path / "market", source=MemorySource(name="tiingo")).at(BEGIN)
    market.workspace.update(SYMBOLS, market.source)
    note = tmp_path / "note.txt"
    code = f"import os, pathlib; pathlib.Path({str(note)!r}).write_text(os.environ['FORECASTER_FAILURE'])"
    run.environment = {"FORECASTER_ON_FAILURE": f'{sys.executable} -c "{code}"'}
    error = run("retrain", "--light", "--home", market.home, code=2).stderr
    assert "TIINGO_API_KEY" in note.read_text()
    assert note.read_text() in error


def test_an_alert_that_fails_does_not_hide_the_failure(run: Run, tmp_path: Path) -> None:
    run.environment = {
        "FORECASTER_ON_FAILURE": "no-such-command",
        "FORECASTER_WEBHOOK": "http://127.0.0.1:9/",
    }
    done = run("retrain", "--home", tmp_path / "empty", code=1)
    lines = done.stderr.splitlines()
    assert sum(line.startswith("warning: the alert did not get through") for line in lines) == 2
    assert lines[-1].startswith("error: There is no workspace at")


def test_settings_of_the_service_are_checked() -> None:
    assert Settings().trial_sessions == 42
    with pytest.raises(Exception, match="trial_sessions"):
        Settings(trial_sessions=10)
