"""A job as its own process sees it: where its progress, its words and its end are written down."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from forecaster.errors import ForecasterError
from forecaster.jobs.record import ENDS, folder_of, new, register, replace_json, writing
from forecaster.progress import Advance, Pace, Progress, lines, silent, together

SECONDS_BETWEEN_WRITES = 0.5
CANCELLED = 130
NAMED = "FORECASTER_JOB"
"""Variable that tells a process which job it was started as."""


class Recorder:
    """Writes down what the job of this process does.

    Attributes
    ----------
    progress : Progress
        To be handed to the work.
    exit_code : int
        The command's; set it to 3 for work done in part. 0 unless set.
    message : str
        What came of it, in a line; may be set at any time.
    """

    def __init__(self, folder: Path, progress: Progress, say: Callable[[str], None]) -> None:
        self.id = folder.name
        self.progress = together(progress, lines(self.log), self._stage)
        self.exit_code = 0
        self.message = ""
        self._folder = folder
        self._say = say
        self._state: dict[str, Any] = {}

    def say(self, line: str) -> None:
        """Tell a line: to the log, and to the terminal."""
        self.log(line)
        self._say(line)

    def end(self, exit_code: int, message: str) -> None:
        """Write down how the job ended."""
        self.log(" ".join([ENDS.get(exit_code, "failed").capitalize() + ".", message]).rstrip())
        self._write(seconds_left=None, exit_code=exit_code, message=message)

    def log(self, line: str) -> None:
        """Tell a line to the log alone."""
        file = self._folder / "log.txt"
        with writing(file), file.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")

    def _write(self, **changes: Any) -> None:
        self._state |= changes | {"updated_at": datetime.now(UTC).isoformat()}
        replace_json(self._folder / "state.json", self._state)

    @contextmanager
    def _stage(self, name: str, total: int) -> Iterator[Advance]:
        written = time.monotonic()
        pace = Pace(total)
        self._write(stage=name, done=0, total=total, seconds_left=None, note="")

        def advance(note: str) -> None:
            nonlocal written
            left = pace.step()
            moment = time.monotonic()
            if moment - written >= SECONDS_BETWEEN_WRITES or pace.done == total:
                written = moment
                self._write(done=pace.done, seconds_left=None if left is None else round(left, 1), note=note)

        yield advance


def _nobody(line: str) -> None:
    """Hear nothing."""


@contextmanager
def recorded(
    home: Path,
    command: Sequence[str],
    progress: Progress = silent,
    say: Callable[[str], None] = _nobody,
) -> Iterator[Recorder]:
    """Make the work of a ``with`` block a job of the workspace.

    The signal TERM raises KeyboardInterrupt in it, as Ctrl+C does: locks are released, and the job
    ends as cancelled. An error is written down and raised again.

    Parameters
    ----------
    home : Path
        Folder of the workspace.
    command : sequence of str
        Words after ``python -m forecaster``; the first names the job.
    progress : Progress
        Where else to report; left out, as is `say`, in a job that another process has started: there
        standard error is the log.
    say : callable
        Where else lines go.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    given = os.environ.pop(NAMED, None)
    if given is not None and (folder_of(home) / given).exists():
        folder, lock = folder_of(home) / given, None
        progress, say = silent, _nobody
    else:
        folder, lock = new(home, command[0])
        register(folder, command, os.getpid(), detached=False)
    recorder = Recorder(folder, progress, say)
    code, message = 1, ""
    try:
        with interruptible():
            yield recorder
        code, message = recorder.exit_code, recorder.message
    except ForecasterError as error:
        code, message = error.exit_code, str(error)
        raise
    except KeyboardInterrupt:
        code, message = CANCELLED, recorder.message
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        if lock is not None:
            recorder.log(traceback.format_exc().rstrip())
        raise
    finally:
        recorder.end(code, message)
        if lock is not None:
            os.close(lock)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the signal TERM raise KeyboardInterrupt, once; the main thread alone hears signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
