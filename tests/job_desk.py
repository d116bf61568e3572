"""Real jobs for tests: the command line of `job_child` in place of the package's own."""

import os
import shlex
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forecaster import jobs
from forecaster.jobs import Job

TESTS = Path(__file__).parent
PYTHON = sys.executable
PATIENCE = 60.0
LONG = ["--steps", "3000", "--pause", "0.02"]


@pytest.fixture
def job_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace whose started jobs know the command ``count``; none outlives the test."""
    python, child = shlex.quote(PYTHON), shlex.quote(str(TESTS / "job_child.py"))
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nshift 2\nexec {python} {child} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    paths = [str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    home = tmp_path / "home"
    yield home
    for job in jobs.jobs(home):
        if job.running:
            os.kill(job.pid, signal.SIGKILL)


def wait(home: Path, job_id: str, until: Callable[[Job], bool]) -> Job:
    """Return a job as soon as something is true of it."""
    end = time.monotonic() + PATIENCE
    while not until(job := jobs.job(home, job_id)):
        assert job.running and time.monotonic() < end, job
        time.sleep(0.02)
    return job


def ended(home: Path, job_id: str) -> Job:
    return wait(home, job_id, lambda job: not job.running)


def under_way(home: Path, job_id: str) -> Job:
    return wait(home, job_id, lambda job: job.done > 1)
