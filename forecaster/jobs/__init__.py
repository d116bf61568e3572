"""Jobs: long work in a process of its own, whose progress, log and end anyone can read.

A job is a folder, ``HOME/jobs/ID``::

    job.json      what was started, when, and by which process
    state.json    how far it is and how it ended; replaced whole
    log.txt       what it said
    lock          held by the process for as long as it lives
    cancelled     there once somebody has asked it to end

A job that has not written down its end and whose lock is free has died, however that came.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from forecaster.errors import ForecasterError, StoreError, UsageError
from forecaster.jobs.record import Job, State, alive, folder_of, new, read_all, read_log, register, writing
from forecaster.jobs.recorder import NAMED, Recorder, interruptible, recorded

__all__ = [
    "Job",
    "Recorder",
    "State",
    "cancel",
    "interruptible",
    "job",
    "jobs",
    "log",
    "recorded",
    "start",
]


def start(home: Path, words: Sequence[str]) -> str:
    """Start a command in a process of its own, which lives on when this one ends.

    Parameters
    ----------
    home : Path
        Folder of the workspace, on which the command runs.
    words : sequence of str
        A command that makes use of `recorded`, and its options, such as ``["retrain", "--light"]``.

    Returns
    -------
    str
        The job's id.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    ForecasterError
        If the machine has no room for another process.
    """
    folder, lock = new(home, words[0])
    try:
        with writing(folder), (folder / "log.txt").open("ab") as log:
            process = _child(folder.name, [*words, "--home", str(home.resolve())], log, lock)
        try:
            register(folder, words, process.pid, detached=True)
        except StoreError:
            # Nobody could see it, or end it.
            process.kill()
            raise
    finally:
        os.close(lock)
    threading.Thread(target=process.wait, daemon=True).start()
    return folder.name


def _child(job_id: str, words: Sequence[str], log: IO[bytes], lock: int) -> "subprocess.Popen[bytes]":
    try:
        # It inherits the lock with its open file: there is no moment at which nobody holds it.
        return subprocess.Popen(
            [sys.executable, "-m", "forecaster", *words],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock],
            env=os.environ | {NAMED: job_id, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    except OSError as error:
        raise ForecasterError(
            f"No process can be started for job {job_id} ({error.strerror}); see that memory and processes "
            f"are free, and try again"
        ) from error


def jobs(home: Path) -> list[Job]:
    """Return the jobs of a workspace, newest first."""
    return read_all(home)


def job(home: Path, job_id: str) -> Job:
    """Return one job.

    Raises
    ------
    UsageError
        If there is no such job; it lists the latest ones.
    """
    known = {one.id: one for one in jobs(home)}
    if job_id not in known:
        choices = f"choose one of {', '.join([*known][:5])}" if known else "there has been none yet"
        raise UsageError(f"No job {job_id!r} in {home}; {choices}")
    return known[job_id]


def log(home: Path, job_id: str) -> str:
    """Return what a job has said so far.

    Raises
    ------
    UsageError
        If there is no such job.
    """
    return read_log(folder_of(home) / job(home, job_id).id)


def cancel(home: Path, job_id: str, patience: float = 20.0) -> Job:
    """Ask a job to end, wait until it has, and return how it ended.

    Parameters
    ----------
    patience : float
        Seconds after which a job that does not react is killed.

    Raises
    ------
    UsageError
        If there is no such job, or it has ended already.
    """
    found = job(home, job_id)
    folder = folder_of(home) / found.id
    if not found.running:
        raise UsageError(f"Job {found.id} does not run: it ended as {found.state}; nothing to cancel")
    (folder / "cancelled").touch()
    with suppress(ProcessLookupError):
        # Its process alone: it ends its own helpers, whose sudden end would look to it like a failure.
        os.kill(found.pid, signal.SIGTERM)
        if not _ends(folder, patience):
            (os.killpg if found.detached else os.kill)(found.pid, signal.SIGKILL)
            _ends(folder, patience)
    return job(home, job_id)


def _ends(folder: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
