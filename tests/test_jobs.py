"""Jobs: real processes that report, end in every way, are cancelled, and are killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from job_desk import LONG, PATIENCE, TESTS, ended, under_way, wait

from forecaster import jobs
from forecaster.errors import DataError, ForecasterError, Locked, StoreError, UsageError
from forecaster.jobs.record import KEPT, alive, folder_of, new, register
from forecaster.locks import exclusive
from forecaster.progress import Pace, lines, silent, together


def held(home: Path) -> bool:
    try:
        with exclusive(home, "count"):
            return False
    except Locked:
        return True


def test_progress_is_seen_from_another_process(job_home: Path) -> None:
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    first = jobs.job(job_home, job_id)
    assert (first.state, first.detached, first.command[:2]) == ("running", True, ("count", "slow"))
    at = under_way(job_home, job_id)
    assert (at.stage, at.total, at.state) == ("Counting", 3000, "running")
    assert at.seconds_left is not None
    assert at.seconds_left > 0
    assert at.note == f"step {at.done - 1}"
    assert at.exit_code is None
    later = wait(job_home, job_id, lambda job: job.done > at.done)
    assert later.updated_at > at.updated_at
    said = jobs.log(job_home, job_id)
    assert "counting slow" in said
    assert said.count("Counting ...") == 1
    assert os.getpgid(at.pid) == at.pid != os.getpgid(0)


def test_cancelling_ends_it_and_releases_its_locks(job_home: Path) -> None:
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    under_way(job_home, job_id)
    assert held(job_home)
    gone = jobs.cancel(job_home, job_id)
    assert (gone.state, gone.exit_code) == ("cancelled", 130)
    assert not held(job_home)
    assert "Cancelled." in jobs.log(job_home, job_id)
    assert "Traceback" not in jobs.log(job_home, job_id)
    with pytest.raises(UsageError, match="ended as cancelled; nothing to cancel"):
        jobs.cancel(job_home, job_id)


def test_a_job_can_be_cancelled_before_it_has_said_a_word(job_home: Path) -> None:
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    assert jobs.cancel(job_home, job_id).state == "cancelled"


def test_one_that_does_not_react_is_killed(job_home: Path) -> None:
    job_id = jobs.start(job_home, ["count", "deaf", *LONG])
    under_way(job_home, job_id)
    gone = jobs.cancel(job_home, job_id, patience=0.2)
    assert (gone.state, gone.exit_code) == ("cancelled", None)
    assert not held(job_home)


def test_a_killed_job_is_known_to_have_died(job_home: Path) -> None:
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    os.kill(under_way(job_home, job_id).pid, signal.SIGKILL)
    gone = ended(job_home, job_id)
    assert (gone.state, gone.exit_code, gone.stage) == ("died", None, "Counting")
    assert gone.message.startswith("It ended without a word; the last line of its log: ")
    assert "Counting" in gone.message
    assert not held(job_home)


@pytest.mark.parametrize(
    ("how", "state", "exit_code", "message"),
    [
        ("well", "done", 0, "counted to 3"),
        ("partly", "done in part", 3, "counted to 3"),
        ("refused", "failed", 1, "There is nothing to count"),
        ("broken", "failed", 1, "ZeroDivisionError: an abacus broke"),
    ],
)
def test_how_it_ended_is_told(
    job_home: Path,
    how: str,
    state: str,
    exit_code: int,
    message: str,
) -> None:
    job_id = jobs.start(job_home, ["count", how])
    gone = ended(job_home, job_id)
    assert (gone.state, gone.exit_code, gone.message) == (state, exit_code, message)
    assert (gone.done, gone.total, gone.seconds_left) == (3, 3, None)
    said = last_words(job_home, job_id)
    assert message in said
    assert ("Traceback" in said) == (how == "broken")


def last_words(home: Path, job_id: str) -> str:
    """Read the log of a job once its process has gone, which is a little after it has told its end."""
    end = time.monotonic() + PATIENCE
    while alive(folder_of(home) / job_id):
        assert time.monotonic() < end
    return jobs.log(home, job_id)


def test_a_command_that_is_refused_before_it_is_a_job_is_told_by_its_log(job_home: Path) -> None:
    gone = ended(job_home, jobs.start(job_home, ["count"]))
    assert (gone.state, gone.exit_code) == ("died", None)
    assert "Missing argument" in gone.message


def test_of_two_at_once_the_second_says_that_it_is_locked_out(job_home: Path) -> None:
    first = jobs.start(job_home, ["count", "slow", *LONG])
    under_way(job_home, first)
    second = jobs.start(job_home, ["count", "well"])
    refused = ended(job_home, second)
    assert (refused.state, refused.exit_code) == ("try later", 75)
    assert refused.message.startswith("Another count runs")
    assert [job.id for job in jobs.jobs(job_home)] == [second, first]
    assert jobs.job(job_home, first).running
    jobs.cancel(job_home, first)
    assert ended(job_home, jobs.start(job_home, ["count", "well"])).state == "done"


def test_a_job_started_in_a_terminal_is_seen_and_cancelled_from_elsewhere(
    job_home: Path,
) -> None:
    words = [sys.executable, "-m", "forecaster", "count", "slow", *LONG, "--home", str(job_home)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    while not (found := jobs.jobs(job_home)) or not found[0].done:
        assert time.monotonic() < end
    assert (found[0].pid, found[0].detached) == (process.pid, False)
    assert jobs.cancel(job_home, found[0].id).state == "cancelled"
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == "counting slow\n"
    assert errors.splitlines()[0] == "Counting ..."
    assert errors.splitlines()[-1] == "interrupted"
    said = jobs.log(job_home, found[0].id)
    assert "counting slow" in said
    assert "Counting ..." in said


def test_in_one_process_it_reports_on_and_leaves_no_trace(tmp_path: Path) -> None:
    before, told, heard = signal.getsignal(signal.SIGTERM), [], []

    @contextmanager
    def listening(name: str, total: int):
        told.append((name, total))
        yield told.append

    with jobs.recorded(tmp_path, ["train", "--seeds", "2"], listening, heard.append) as job:
        with job.progress("First", 2) as advance:
            advance("one")
            advance("two")
            assert jobs.job(tmp_path, job.id).done == 2
        with job.progress("Second", 1) as advance:
            now = jobs.job(tmp_path, job.id)
            assert (now.stage, now.done, now.seconds_left, now.note) == ("Second", 0, None, "")
        job.say("a word")
        job.message = "all is well"
        assert jobs.job(tmp_path, job.id).running
    assert told == [("First", 2), "one", "two", ("Second", 1)]
    assert heard == ["a word"]
    assert signal.getsignal(signal.SIGTERM) is before
    done = jobs.job(tmp_path, job.id)
    assert (done.state, done.message, done.command) == ("done", "all is well", ("train", "--seeds", "2"))
    assert done.id.split("-")[2] == "train"
    with pytest.raises(DataError), jobs.recorded(tmp_path, ["train"]) as job:
        raise DataError("nothing there")
    assert jobs.job(tmp_path, job.id).state == "failed"
    with pytest.raises(KeyboardInterrupt), jobs.recorded(tmp_path, ["train"]) as job:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert jobs.job(tmp_path, job.id).state == "cancelled"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_that_nobody_expected_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), jobs.recorded(tmp_path, ["train"]) as job:
        _ = 1 / 0
    assert jobs.job(tmp_path, job.id).message == "ZeroDivisionError: division by zero"
    assert "Traceback (most recent call last)" in jobs.log(tmp_path, job.id)


def test_a_machine_without_room_for_a_process_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(ForecasterError, match=r"No process can be started for job .*Cannot allocate memory"):
        jobs.start(tmp_path, ["train"])
    assert jobs.jobs(tmp_path) == []


def test_an_unknown_job_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No job 'x' in .*; there has been none yet"):
        jobs.job(tmp_path, "x")
    with jobs.recorded(tmp_path, ["train"]) as job:
        pass
    for wrong in ("x", "", "..", f"../jobs/{job.id}"):
        with pytest.raises(UsageError, match=f"choose one of {job.id}"):
            jobs.log(tmp_path, wrong)


def test_the_latest_jobs_are_kept_and_those_at_work(tmp_path: Path) -> None:
    working, lock = new(tmp_path, "train")
    register(working, ["train"], os.getpid(), detached=False)
    for _ in range(KEPT + 5):
        with jobs.recorded(tmp_path, ["train"]) as job:
            pass
    kept = [one.id for one in jobs.jobs(tmp_path)]
    assert kept[0] == job.id
    assert len(kept) == KEPT + 1
    assert kept[-1] == working.name
    os.close(lock)
    with jobs.recorded(tmp_path, ["train"]):
        pass
    assert working.name not in [one.id for one in jobs.jobs(tmp_path)]
    assert len(list((tmp_path / "jobs").iterdir())) == KEPT


def test_reading_makes_nothing_and_survives_files_cut_by_a_crash(tmp_path: Path) -> None:
    assert jobs.jobs(tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
    with jobs.recorded(tmp_path, ["train"]) as job:
        pass
    (tmp_path / "jobs" / job.id / "state.json").write_text('{"stage": "Tr')
    assert jobs.job(tmp_path, job.id).state == "died"
    (tmp_path / "jobs" / job.id / "job.json").write_text("")
    assert jobs.jobs(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file, where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"), jobs.recorded(tmp_path, ["train"]):
        pass


def test_lines_and_several_ways_of_reporting_at_once() -> None:
    first, second = [], []
    with together(lines(first.append), silent, lines(second.append))("Counting", 2) as advance:
        advance("one")
        advance("two")
    assert first == second
    assert first[0] == "Counting ..."
    assert first[-1] == "Counting: done in 0 s"


def test_a_slow_first_step_does_not_stretch_what_is_said_to_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 101.0, 103.0, 103.5])
    monkeypatch.setattr("forecaster.progress.time.monotonic", lambda: next(moments))
    pace = Pace(4)
    assert [pace.step() for _ in range(4)] == [None, 2.0, 1.5, 0.0]


def command(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "forecaster", *map(str, words)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_the_command_line_lists_shows_and_cancels(job_home: Path) -> None:
    here = ("--home", job_home)
    assert command("jobs", *here) == "There has been no job yet.\n"
    assert json.loads(command("jobs", "list", "--json", *here)) == []
    job_id = jobs.start(job_home, ["count", "slow", *LONG])
    under_way(job_home, job_id)
    listed = command("jobs", *here)
    assert job_id in listed
    assert "running" in listed
    assert "Counting: " in listed
    (job,) = json.loads(command("jobs", "--json", *here))
    assert (job["id"], job["state"], job["stage"], job["total"]) == (job_id, "running", "Counting", 3000)
    assert datetime.fromisoformat(job["started_at"]) <= datetime.fromisoformat(job["updated_at"])
    assert "/3000, about" in command("jobs", "show", job_id, *here)
    assert command("jobs", "cancel", job_id, *here) == f"Job {job_id}: cancelled.\n"
    shown = json.loads(command("jobs", "show", job_id, "--json", *here))
    assert (shown["state"], shown["exit_code"]) == ("cancelled", 130)
    assert "counting slow" in shown["log"]
    assert "nothing to cancel" in command("jobs", "cancel", job_id, *here, code=2)
    assert "jobs list --home DIR" in command("jobs", *here, "list", code=2)
    assert f"choose one of {job_id}" in command("jobs", "show", "x", *here, code=2)


def test_the_commands_need_nothing_heavy() -> None:
    code = (
        "import sys; from forecaster import jobs, cli; "
        "assert not {'pandas', 'numpy', 'keras'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=TESTS.parent)
