"""The timetable: asks each minute whether a retraining is owed, and has it done once.

What is owed follows from the exchange's calendar and from what has been done, so that nothing has to
be remembered or waited for: a restart, missed sessions, daylight saving, a suspended machine and a
clock that jumps all end in the same question, asked a minute later.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from forecaster import jobs
from forecaster.alerts import alert
from forecaster.config import Settings
from forecaster.errors import ForecasterError, StoreError, UsageError
from forecaster.jobs.record import ENDS, read_json, replace_json
from forecaster.locks import exclusive

Kind = Literal["full", "light"]

DONE, FAILED, PARTLY, LATER, CANCELLED, DIED = 0, 1, 3, 75, 130, 137

PAUSE, PAUSE_AT_WORK = 60.0, 2.0
"""Seconds between two looks; while a job runs."""

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=15), timedelta(hours=4)
"""Between a run that did not succeed and the next attempt; doubled each time, up to the longest."""

FRESH, FRESH_ONCE = timedelta(minutes=5), timedelta(hours=3)
"""Age up to which the health file speaks of a schedule that lives; that is called every hour."""

PATIENT = 4
"""Runs in a row, put off or done in part, from which on that counts as a failure; as often it is told."""


@dataclass(frozen=True)
class Duty:
    """What the schedule asks, and what it has done.

    Attributes
    ----------
    owed : callable
        What is to be done now: "full", "light" or None.
    next_due : callable
        When the next session will be complete and its data are expected, UTC; None if none will.
    start : callable
        Starts a retraining of a kind in a process of its own; returns the job's id.
    exit_code : callable
        Of a job, by its id; None while it runs.
    cancel : callable
        Ends a job, by its id.
    alert : callable
        Tells whom it may concern that runs do not succeed; returns what did not get through.
    """

    owed: Callable[[], Kind | None]
    next_due: Callable[[], datetime | None]
    start: Callable[[Kind], str]
    exit_code: Callable[[str], int | None]
    cancel: Callable[[str], object]
    alert: Callable[[str], list[str]]


def retraining(home: Path, owed: Callable[[], Kind | None], next_due: Callable[[], datetime | None]) -> Duty:
    """Return the duty that runs ``retrain`` as a job of a workspace."""
    settings = Settings.load(home=home)
    return Duty(
        owed,
        next_due,
        start=lambda kind: jobs.start(home, ["retrain", f"--{kind}"]),
        exit_code=lambda job_id: _exit_code(home, job_id),
        cancel=lambda job_id: jobs.cancel(home, job_id),
        alert=lambda words: alert(settings, "schedule", words, datetime.now(UTC)),
    )


class Health(BaseModel):
    """What a supervisor reads, and what the schedule must not forget; ``HOME/schedule.json``.

    Attributes
    ----------
    pid : int or None
        Of the schedule's process; None once it has ended by itself.
    once : bool
        Whether it was called to look once and end, as cron does, and is to be called again.
    checked_at : datetime or None
        When it last looked, UTC, as all times here.
    next_due : datetime or None
        When the next retraining will be owed.
    job : str or None
        Of a retraining that runs.
    last_job, last_ended_at, last_exit_code
        Of the last one that has ended.
    failures : int
        Retrainings in a row that did not succeed.
    wait : timedelta
        How long was waited last before an attempt; zero after a success, and from a new session on.
    next_attempt : datetime or None
        Not before then, unless a new session is complete.
    trouble : str
        Why it could not look; empty if it could.
    """

    model_config = ConfigDict(frozen=True)

    pid: int | None = None
    once: bool = False
    checked_at: datetime | None = None
    next_due: datetime | None = None
    job: str | None = None
    last_job: str | None = None
    last_ended_at: datetime | None = None
    last_exit_code: int | None = None
    failures: int = 0
    wait: timedelta = timedelta()
    next_attempt: datetime | None = None
    trouble: str = ""

    def waits(self, moment: datetime) -> bool:
        """Whether the next attempt still lies ahead; a clock that was set back does not prolong it."""
        return self.next_attempt is not None and moment < self.next_attempt <= moment + LONGEST_WAIT

    def complaint(self, moment: datetime) -> str:
        """Say in one line what is wrong with the schedule; empty if nothing is."""
        if self.checked_at is None:
            return "No schedule has run in this workspace yet; start it: python -m forecaster schedule"
        if self.pid is None and not self.once:
            return (
                f"No schedule runs; it ended at {_minute(self.checked_at)}. "
                f"Start it: python -m forecaster schedule"
            )
        if abs(moment - self.checked_at) > (FRESH_ONCE if self.once else FRESH):
            return f"The schedule was last heard of at {_minute(self.checked_at)}; start it again"
        if self.trouble:
            return f"The schedule cannot work: {self.trouble}"
        return self.of_runs()

    def of_runs(self) -> str:
        """Say in one line that runs do not succeed; empty if they do, or may just be late."""
        if not self.failures or (self.last_exit_code in (PARTLY, LATER) and self.failures < PATIENT):
            return ""
        runs = "run" if self.failures == 1 else f"{self.failures} runs"
        again = f"; next attempt at {_minute(self.next_attempt)}" if self.next_attempt else ""
        return (
            f"The last {runs} did not succeed (exit code {self.last_exit_code}){again}; "
            f"see: python -m forecaster jobs show {self.last_job}"
        )


def health(home: Path) -> Health:
    """Read what the schedule of a workspace last wrote down; all empty if it never ran."""
    return Health.model_validate(read_json(_file(home)))


class Schedule:
    """The schedule of one workspace.

    Parameters
    ----------
    home : Path
        Folder of the workspace.
    duty : Duty
        What to ask and to do.
    say : callable
        Where lines about runs go.
    clock : callable
        The present moment in UTC.
    sleep : callable
        Waits for some seconds.
    """

    def __init__(
        self,
        home: Path,
        duty: Duty,
        say: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._duty = duty
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self.health = health(home)

    def run(self) -> None:
        """Look each minute until interrupted; a retraining that runs then is cancelled.

        Raises
        ------
        Locked
            If the workspace has a schedule already.
        StoreError
            If the folder cannot be written.
        """
        with exclusive(self._home, "schedule"), jobs.interruptible():
            self._note(once=False)
            self._tell("The schedule looks each minute whether a retraining is owed; Ctrl+C ends it.")
            try:
                while True:
                    self.look()
                    self._sleep(PAUSE_AT_WORK if self.health.job else PAUSE)
            except KeyboardInterrupt:
                self._stop()

    def once(self) -> int:
        """Have done what is owed, wait for its end, and return the exit code that tells it.

        Returns
        -------
        int
            Of the retraining; 0 if none is owed, 75 if it is not yet time for the next attempt, 1 if it
            could not be asked, 130 if interrupted.
        """
        with exclusive(self._home, "schedule"), jobs.interruptible():
            self._note(once=True)
            try:
                self.look()
                ran = self.health.job is not None
                while self.health.job:
                    self._sleep(PAUSE_AT_WORK)
                    self.look()
            except KeyboardInterrupt:
                self._stop()
                return CANCELLED
            self._note(pid=None)
            if self.health.trouble:
                return FAILED
            if ran:
                return self.health.last_exit_code or DONE
            return LATER if self.health.waits(self._clock()) and self._duty.owed() else DONE

    def look(self) -> None:
        """Ask once: follow the retraining that runs, or start the one that is owed."""
        trouble = ""
        try:
            self._follow()
            if self.health.job is None:
                self._begin()
        except ForecasterError as error:
            trouble = str(error)
            if trouble != self.health.trouble:
                self._tell(trouble)
        # A disk that is full for a while must not end the schedule.
        with suppress(StoreError):
            self._note(pid=os.getpid(), checked_at=self._clock(), trouble=trouble)

    def _follow(self) -> None:
        if self.health.job is not None:
            exit_code = self._duty.exit_code(self.health.job)
            if exit_code is not None:
                self._ended(self.health.job, exit_code)

    def _begin(self) -> None:
        due = self._duty.next_due()
        if due != self.health.next_due:
            # Another session is complete: its data may mend what failed.
            self._note(next_due=due, wait=timedelta(), next_attempt=None)
        if self.health.waits(self._clock()):
            return
        kind = self._duty.owed()
        if kind is not None:
            self._note(job=self._duty.start(kind))
            self._tell(f"A {kind} retraining is owed; it runs as job {self.health.job}.")

    def _ended(self, job: str, exit_code: int) -> None:
        """Write down how a retraining ended; what is still owed is not tried again at once."""
        wait, failures = timedelta(), 0
        if exit_code != DONE:
            wait = min(2 * self.health.wait or FIRST_WAIT, LONGEST_WAIT)
            failures = self.health.failures + (exit_code != CANCELLED)
        moment = self._clock()
        ended: dict[str, Any] = {
            "job": None, "last_job": job, "last_ended_at": moment, "last_exit_code": exit_code,
            "failures": failures, "wait": wait, "next_attempt": moment + (wait or FIRST_WAIT),
        }  # fmt: skip
        self.health = self.health.model_copy(update=ended)
        again = f" If it is still owed, the next attempt is in {wait}." if wait else ""
        self._tell(f"Job {job}: {ENDS.get(exit_code, 'failed')}.{again}")
        # One that failed has told by itself; of many that were put off every so many speak.
        if exit_code == DIED or (exit_code in (PARTLY, LATER) and failures % PATIENT == 0):
            for problem in self._duty.alert(self.health.of_runs()):
                self._tell(f"The alert did not get through: {problem}")
        # Last: a disk that is full must not keep the alert back.
        self._note()

    def _stop(self) -> None:
        before = self.health
        if before.job is not None:
            self._tell(f"The schedule ends, and cancels job {before.job}.")
            # It may have ended in this very moment.
            with suppress(UsageError):
                self._duty.cancel(before.job)
            exit_code = self._duty.exit_code(before.job)
            self._ended(before.job, CANCELLED if exit_code is None else exit_code)
            if self.health.last_exit_code == CANCELLED:
                # Nobody disliked the retraining: the next schedule is to begin with it.
                self._note(wait=before.wait, next_attempt=None)
        self._note(pid=None, checked_at=self._clock())

    def _note(self, **changes: Any) -> None:
        self.health = self.health.model_copy(update=changes)
        replace_json(_file(self._home), self.health.model_dump(mode="json"))

    def _tell(self, line: str) -> None:
        self._say(f"{self._clock():%Y-%m-%d %H:%M:%S} UTC {line}")


def _exit_code(home: Path, job_id: str) -> int | None:
    """Return how a job ended; one whose folder is gone has failed."""
    try:
        job = jobs.job(home, job_id)
    except UsageError:
        return FAILED
    if job.running:
        return None
    if job.exit_code is not None:
        return job.exit_code
    return CANCELLED if job.state == "cancelled" else DIED


def _file(home: Path) -> Path:
    return home / "schedule.json"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
