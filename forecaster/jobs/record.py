"""The folder of a job: what stands in it, and what that says."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.errors import StoreError

State = Literal["running", "done", "done in part", "try later", "cancelled", "failed", "died"]

ENDS: dict[int, State] = {0: "done", 3: "done in part", 75: "try later", 130: "cancelled"}
"""Exit code of a command -> how the job ended; any other has failed."""

KEPT = 50
"""Jobs whose folders are kept."""


@dataclass(frozen=True)
class Job:
    """What is known of a job.

    Attributes
    ----------
    id : str
        Names of later jobs sort after those of earlier ones.
    command : tuple of str
        Words after ``python -m forecaster``.
    started_at : datetime
        UTC, as `updated_at`.
    pid : int
        Of its process; leader of a group of its own if `detached`.
    detached : bool
        Whether it was started by `start` and not in a terminal.
    state : str
        running, done, done in part, try later, cancelled, failed, or died: ended without a word.
    stage, note : str
        The part of the work that it is at, and a few words on the last step.
    done, total : int
        Steps of the stage.
    seconds_left : float or None
        Until the end of the stage, if it goes on as it has; None before its first step.
    updated_at : datetime
        When all this was written down.
    exit_code : int or None
        Of the command; None while it runs, and if it died.
    message : str
        How it ended, in words.
    """

    id: str
    command: tuple[str, ...]
    started_at: datetime
    pid: int
    detached: bool
    state: State
    stage: str
    done: int
    total: int
    seconds_left: float | None
    note: str
    updated_at: datetime
    exit_code: int | None
    message: str

    @property
    def running(self) -> bool:
        """Whether its process is at work."""
        return self.state == "running"


def folder_of(home: Path) -> Path:
    """Return the folder that holds those of a workspace's jobs."""
    return home / "jobs"


def new(home: Path, name: str) -> tuple[Path, int]:
    """Make a job's folder and hold its lock; folders of long ended jobs go.

    Returns
    -------
    tuple
        The folder, and the open file whose closing releases the lock.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    folder = folder_of(home) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(4)}"
    with writing(folder):
        folder.mkdir(parents=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for old in read_all(home)[KEPT - 1 :]:
        if not old.running:
            shutil.rmtree(folder_of(home) / old.id, ignore_errors=True)
    return folder, lock


def register(folder: Path, command: Sequence[str], pid: int, detached: bool) -> None:
    """Write down what was started."""
    started_at = datetime.now(UTC).isoformat()
    about = {"command": list(command), "started_at": started_at, "pid": pid, "detached": detached}
    replace_json(folder / "job.json", about)


def read_all(home: Path) -> list[Job]:
    """Return the jobs of a workspace, newest first."""
    found = [_read(folder) for folder in folder_of(home).glob("*")]
    return sorted((job for job in found if job), key=lambda job: (job.started_at, job.id), reverse=True)


def alive(folder: Path) -> bool:
    """Say whether a process holds the job's lock."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def read_log(folder: Path) -> str:
    """Return what a job has said."""
    file = folder / "log.txt"
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in one line that something cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}); check its path, permissions and free space, "
            f"or choose another folder with --home"
        ) from error


def replace_json(file: Path, content: object) -> None:
    """Write a JSON file so that a reader sees the old one or the new one, and never half of it.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    new_file = file.with_name(f"{file.name}.new")
    with writing(file):
        new_file.write_text(json.dumps(content, indent=2), encoding="utf-8")
        new_file.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is not there, or was cut when the machine went down."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


def _read(folder: Path) -> Job | None:
    about = read_json(folder / "job.json")
    if not about:
        return None
    # Asked first: a job that ends in between has then written down its end.
    at_work = alive(folder)
    state = read_json(folder / "state.json")
    code, message = state.get("exit_code"), state.get("message", "")
    if code is None and not at_work:
        last = next((line for line in reversed(read_log(folder).splitlines()) if line.strip()), "")
        message = f"It ended without a word; the last line of its log: {last.strip() or 'none'}"
    return Job(
        id=folder.name,
        command=tuple(about["command"]),
        started_at=datetime.fromisoformat(about["started_at"]),
        pid=about["pid"],
        detached=about["detached"],
        state=_state(folder, code, at_work),
        stage=state.get("stage", ""),
        done=state.get("done", 0),
        total=state.get("total", 0),
        seconds_left=state.get("seconds_left"),
        note=state.get("note", ""),
        updated_at=datetime.fromisoformat(state.get("updated_at", about["started_at"])),
        exit_code=code,
        message=message,
    )


def _state(folder: Path, exit_code: int | None, at_work: bool) -> State:
    if exit_code is not None:
        return ENDS.get(exit_code, "failed")
    if at_work:
        return "running"
    return "cancelled" if (folder / "cancelled").exists() else "died"
