"""The schedule, by a clock of the test's own: a year of New York, gaps, restarts, failures, jumps."""

import configparser
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from job_desk import PATIENCE, PYTHON, TESTS, ended, under_way

from forecaster import jobs, timetable
from forecaster.cli import app
from forecaster.errors import DataError, Locked, StoreError, UsageError
from forecaster.jobs.record import alive, folder_of
from forecaster.locks import exclusive
from forecaster.schedule import Duty, Schedule, health, retraining
from forecaster.workspace import Workspace

DELAY = timedelta(minutes=30)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NEW_YORK = ZoneInfo("America/New_York")

# As published by the exchange, and the day of mourning on 9 January.
HOLIDAYS = {date(2025, *day) for day in (
    (1, 1), (1, 9), (1, 20), (2, 17), (4, 18), (5, 26), (6, 19), (7, 4), (9, 1), (11, 27), (12, 25),
)}  # fmt: skip
EARLY = {date(2025, *day) for day in ((7, 3), (11, 28), (12, 24))}


def due_at(day: date) -> datetime:
    """When a session's data are expected: half an hour after the close on the wall in New York."""
    close = datetime(day.year, day.month, day.day, 13 if day in EARLY else 16, tzinfo=NEW_YORK)
    return close.astimezone(UTC) + DELAY


DAYS = [date(2025, 1, 1) + timedelta(days=at) for at in range(365)]
SESSIONS = [day for day in DAYS if day.weekday() < 5 and day not in HOLIDAYS]
DUE = {day: due_at(day) for day in SESSIONS}


@dataclass
class World:
    """A clock, an exchange, and retrainings that take ten minutes and end as they are told to."""

    now: datetime
    home: Path
    pace: float = 1.0
    codes: Callable[[int], int] = lambda run: 0
    took: timedelta = 10 * MINUTE
    done: date = date(2024, 12, 31)
    trained: date = date(2024, 12, 30)
    runs: list[tuple[datetime, date, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    def complete(self) -> date:
        return max((day for day, due in DUE.items() if due <= self.now), default=date(2024, 12, 31))

    def owed(self) -> str | None:
        day = self.complete()
        if day <= self.done:
            return None
        return "full" if day.isocalendar()[:2] > self.trained.isocalendar()[:2] else "light"

    def next_due(self) -> datetime:
        return min((due for due in DUE.values() if due > self.now), default=due_at(date(2026, 1, 2)))

    def start(self, kind: str) -> str:
        self.runs.append((self.now, self.complete(), kind))
        return str(len(self.runs) - 1)

    def exit_code(self, job_id: str) -> int | None:
        if job_id in self.cancelled:
            return 130
        began, day, kind = self.runs[int(job_id)]
        if began <= self.now < began + self.took:
            return None
        code = self.codes(int(job_id))
        if code == 0:
            self.done = max(self.done, day)
            self.trained = max(self.trained, day) if kind == "full" else self.trained
        return code

    def alert(self, words: str) -> list[str]:
        self.alerts.append(words)
        return ["webhook: refused"]

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds * self.pace)

    def schedule(self) -> Schedule:
        calls = (self.owed, self.next_due, self.start, self.exit_code, self.cancelled.append, self.alert)
        duty = Duty(*calls)
        return Schedule(self.home, duty, self.said.append, lambda: self.now, self.sleep)

    def live(self, until: datetime, schedule: Schedule | None = None) -> Schedule:
        """Look until a moment, as `Schedule.run` does."""
        schedule = schedule or self.schedule()
        while self.now < until:
            schedule.look()
            self.sleep(2 if schedule.health.job else 60)
        return schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def started(world: World) -> list[datetime]:
    return [moment for moment, _, _ in world.runs]


def assert_close(found: list[datetime], expected: list[datetime]) -> None:
    """Each run begins with the first look after it may: within a minute, and a look during a run."""
    assert len(found) == len(expected), found
    for moment, wanted in zip(found, expected, strict=True):
        assert timedelta() <= moment - wanted <= 2 * MINUTE, (moment, wanted)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No health file, whose writing would take most of the time of thousands of looks."""
    monkeypatch.setattr("forecaster.schedule.replace_json", lambda file, content: None)


@pytest.mark.usefixtures("unwritten")
def test_a_year_of_sessions_has_one_run_each(tmp_path: Path) -> None:
    world = World(at("2025-01-01"), tmp_path, pace=10)
    world.live(at("2026-01-01"))
    assert len(SESSIONS) == 250
    assert [day for _, day, _ in world.runs] == SESSIONS
    for moment, day, _ in world.runs:
        assert timedelta() <= moment - DUE[day] <= 10 * MINUTE, day
    weeks = {day.isocalendar()[:2]: day for day in reversed(SESSIONS)}
    full = [day for _, day, kind in world.runs if kind == "full"]
    assert full == sorted(weeks.values())[1:], "the first session of each week but that of the last training"
    clock = {day: f"{DUE[day]:%H:%M}" for day in SESSIONS}
    assert (clock[date(2025, 3, 7)], clock[date(2025, 3, 10)]) == ("21:30", "20:30")
    assert (clock[date(2025, 10, 31)], clock[date(2025, 11, 3)]) == ("20:30", "21:30")
    assert (clock[date(2025, 7, 3)], clock[date(2025, 11, 28)]) == ("17:30", "18:30")


def test_the_expected_times_are_those_of_the_exchange_s_calendar() -> None:
    from exchange_calendars import get_calendar

    closes = get_calendar("XNYS", start="2025-01-01", end="2025-12-31").closes
    assert [day.date() for day in closes.index] == SESSIONS
    assert [moment.to_pydatetime() for moment in closes] == [due - DELAY for due in DUE.values()]


def test_missed_sessions_are_caught_up_with_by_one_run(tmp_path: Path) -> None:
    world = World(at("2025-03-10 12:00"), tmp_path, done=date(2025, 3, 4), trained=date(2025, 3, 10))
    world.live(at("2025-03-10 20:00"))
    assert [(day, kind) for _, day, kind in world.runs] == [(date(2025, 3, 7), "light")]
    world.live(at("2025-03-10 23:00"))
    assert_close(started(world)[1:], [at("2025-03-10 20:30")])


@pytest.mark.parametrize("looks", [1, 2, 101])
def test_a_restart_changes_nothing(tmp_path: Path, looks: int) -> None:
    codes = {2: 1, 3: 75, 5: 3}
    steady = World(at("2025-03-03"), tmp_path / "steady", pace=5, codes=lambda run: codes.get(run, 0))
    steady.home.mkdir()
    steady.live(at("2025-03-08"))
    assert [day.day for _, day, _ in steady.runs] == [28, 3, 4, 4, 4, 5, 5, 6, 7]
    shaken = replace(
        steady, now=at("2025-03-03"), home=tmp_path / "shaken", runs=[], said=[],
        done=date(2024, 12, 31), trained=date(2024, 12, 30),
    )  # fmt: skip
    shaken.home.mkdir()
    for look in itertools.count():
        if look % looks == 0:
            schedule = shaken.schedule()
        if shaken.now >= at("2025-03-08"):
            break
        schedule.look()
        shaken.sleep(2 if schedule.health.job else 60)
    assert shaken.runs == steady.runs
    assert shaken.said == steady.said


@pytest.mark.usefixtures("unwritten")
def test_failures_wait_longer_and_longer_until_a_new_session(tmp_path: Path) -> None:
    world = World(
        at("2025-03-04 21:00"), tmp_path, codes=lambda run: (1, 75, 3)[run % 3],
        done=date(2025, 3, 3), trained=date(2025, 3, 4),
    )  # fmt: skip
    schedule = world.live(at("2025-03-05 22:30"))
    waits = [15, 30, 60, 120, 240, 240, 240]
    expected, moment = [], at("2025-03-04 21:30")
    while moment < at("2025-03-05 21:30"):
        expected.append(moment)
        moment += world.took + timedelta(minutes=waits[min(len(expected), len(waits)) - 1])
    again = at("2025-03-05 21:30")
    expected += [again, again + world.took + 15 * MINUTE]
    for moment, wanted in zip(started(world), expected, strict=True):
        assert timedelta() <= moment - wanted <= len(expected) * 2 * MINUTE, (moment, wanted)
    assert schedule.health.failures == len(expected)
    world.codes = lambda run: 0
    world.live(at("2025-03-06 12:00"), schedule)
    assert (schedule.health.failures, schedule.health.last_exit_code) == (0, 0)
    assert len(world.runs) == len(expected) + 1


def test_what_stays_owed_after_a_success_is_not_run_in_a_circle(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path, took=MINUTE)
    world.owed = lambda: "light"  # type: ignore[method-assign]
    world.live(at("2025-03-04 22:30"))
    assert len(world.runs) == 4


@pytest.mark.usefixtures("unwritten")
def test_a_clock_that_jumps_brings_no_second_run(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:00"), tmp_path, done=date(2025, 3, 3), trained=date(2025, 3, 28))
    schedule = world.live(at("2025-03-04 23:00"))
    assert len(world.runs) == 1
    for jump in (-3 * HOUR, 90 * MINUTE, -2 * DAY, timedelta(), 40 * HOUR):
        world.now += jump
        world.live(world.now + HOUR, schedule)
        assert len(world.runs) == 1
    world.now = at("2025-03-07 12:00")
    world.live(world.now + HOUR, schedule)
    assert [day.day for _, day, _ in world.runs] == [4, 6], "one run for what a suspended machine missed"


@pytest.mark.parametrize("jump", [-300 * DAY, -30 * DAY, -5 * HOUR])
def test_a_clock_set_back_does_not_put_the_next_attempt_off(tmp_path: Path, jump: timedelta) -> None:
    world = World(at("2025-12-03 21:35"), tmp_path, codes=lambda run: 1, done=date(2024, 12, 31))
    schedule = world.live(at("2025-12-03 21:50"))
    assert len(world.runs) == 1
    world.now += jump
    world.live(world.now + timedelta(minutes=2), schedule)
    assert len(world.runs) == 2


def test_a_run_that_a_killed_schedule_left_behind_is_followed(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:29"), tmp_path, took=HOUR, done=date(2025, 3, 3))
    world.live(at("2025-03-04 21:45"))
    assert health(tmp_path).job == "0"
    world.live(at("2025-03-04 23:00"))
    assert len(world.runs) == 1
    assert (health(tmp_path).job, health(tmp_path).last_job, health(tmp_path).last_exit_code) == (
        None,
        "0",
        0,
    )


def interrupted(world: World, after: datetime) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        world.now += timedelta(seconds=seconds)
        if world.now >= after:
            raise KeyboardInterrupt

    return sleep


def test_told_to_end_it_cancels_and_the_next_one_begins_with_it(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:29"), tmp_path, took=HOUR, done=date(2025, 3, 3))
    world.sleep = interrupted(world, at("2025-03-04 21:45"))  # type: ignore[method-assign]
    world.schedule().run()
    assert world.cancelled == ["0"]
    assert any("cancels job 0" in line for line in world.said)
    now = health(tmp_path)
    assert (now.pid, now.job, now.last_exit_code, now.failures) == (None, None, 130, 0)
    assert "No schedule runs" in now.complaint(world.now)
    world.schedule().look()
    assert len(world.runs) == 2


def test_told_to_end_while_it_waits_it_does_not_forget_to_wait(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path, codes=lambda run: 1, done=date(2025, 3, 3))
    world.sleep = interrupted(world, at("2025-03-04 21:45"))  # type: ignore[method-assign]
    world.schedule().run()
    assert not world.cancelled
    world.schedule().look()
    assert len(world.runs) == 1


def test_once_does_what_is_owed_and_tells_by_its_code_how_it_went(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path, codes=lambda run: (1, 0)[run], done=date(2025, 3, 3))
    assert world.schedule().once() == 1
    assert world.schedule().once() == 75
    assert len(world.runs) == 1
    world.now += HOUR
    assert world.schedule().once() == 0
    assert world.schedule().once() == 0
    assert len(world.runs) == 2
    now = health(tmp_path)
    assert (now.pid, now.once) == (None, True)
    assert now.complaint(world.now + 2 * HOUR) == "", "cron calls it again"
    assert "last heard of" in now.complaint(world.now + 4 * HOUR)
    world = replace(world, now=at("2025-03-05 21:30"), took=DAY, runs=[])
    world.sleep = interrupted(world, at("2025-03-05 21:45"))  # type: ignore[method-assign]
    assert world.schedule().once() == 130
    assert world.cancelled == ["0"]


def test_a_workspace_has_one_schedule(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path)
    with exclusive(tmp_path, "schedule"):
        for begin in (world.schedule().run, world.schedule().once):
            with pytest.raises(Locked, match="Another schedule runs"):
                begin()
    assert not world.runs


def test_a_store_that_cannot_be_read_is_told_once_and_asked_again(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path, done=date(2025, 3, 3))
    sound = world.owed

    def broken() -> str | None:
        raise StoreError("The disk is gone")

    world.owed = broken  # type: ignore[method-assign]
    schedule = world.live(at("2025-03-04 21:40"))
    assert world.said == ["2025-03-04 21:30:00 UTC The disk is gone"]
    assert schedule.health.complaint(world.now) == "The schedule cannot work: The disk is gone"
    assert schedule.once() == 1
    world.owed = sound  # type: ignore[method-assign]
    world.schedule().look()
    assert len(world.runs) == 1
    assert health(tmp_path).trouble == ""


def test_the_health_file_says_whether_the_schedule_is_well(tmp_path: Path) -> None:
    world = World(at("2025-03-04 21:00"), tmp_path, done=date(2025, 3, 3), trained=date(2025, 3, 4))
    assert "start it: python -m forecaster schedule" in health(tmp_path).complaint(world.now)
    assert not (tmp_path / "schedule.json").exists(), "reading makes nothing"
    world.live(at("2025-03-04 21:20"))
    told = json.loads((tmp_path / "schedule.json").read_text())
    assert told["next_due"] == "2025-03-04T21:30:00Z"
    assert told["pid"] > 0
    assert told["job"] is None
    assert health(tmp_path).complaint(world.now + 4 * MINUTE) == ""
    for moment in (world.now + 6 * MINUTE, world.now - HOUR):
        assert "last heard of at 2025-03-04 21:19 UTC" in health(tmp_path).complaint(moment)


@pytest.mark.parametrize(
    ("code", "unwell"),
    [(0, None), (1, 1), (2, 1), (3, 4), (75, 4), (130, None)],
)
def test_which_ends_of_a_run_are_a_failure(tmp_path: Path, code: int, unwell: int | None) -> None:
    world = World(at("2025-03-04 21:30"), tmp_path, codes=lambda run: code, done=date(2025, 3, 3))
    schedule = world.schedule()
    for run in range(1, 6):
        while len(world.runs) < run or schedule.health.job:
            schedule.look()
            world.sleep(2 if schedule.health.job else 60)
            if code == 0 and world.now > at("2025-03-04 23:00"):
                break
        complaint = schedule.health.complaint(world.now)
        assert bool(complaint) == (unwell is not None and run >= unwell), (run, complaint)
        if complaint:
            assert f"(exit code {code}); " in complaint or f"(exit code {code}); next" in complaint
            assert f"jobs show {run - 1}" in complaint


@pytest.mark.parametrize(("code", "alerts"), [(137, 9), (75, 2), (3, 2), (1, 0), (2, 0), (130, 0), (0, 0)])
def test_runs_that_end_without_a_word_of_their_own_raise_an_alert(
    tmp_path: Path, code: int, alerts: int
) -> None:
    world = World(at("2025-03-04 12:00"), tmp_path, codes=lambda run: code)
    schedule = world.schedule()
    while len(world.runs) < (9 if code else 1) or schedule.health.job:
        world.live(world.now + timedelta(minutes=2), schedule)
    assert len(world.alerts) == alerts
    assert sum("The alert did not get through: webhook: refused" in line for line in world.said) == alerts
    assert all(f"(exit code {code})" in words for words in world.alerts)


def test_a_run_that_was_killed_tells_the_command_of_the_settings(
    job_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = job_home / "told"
    monkeypatch.setenv("FORECASTER_ON_FAILURE", f"bash -c 'echo \"$FORECASTER_FAILURE\" > {told}'")
    duty = retraining(job_home, lambda: None, lambda: at("2100-01-01"))
    job_id = jobs.start(job_home, ["count", "slow", "--steps", "3000", "--pause", "0.02"])
    under_way(job_home, job_id)
    os.kill(jobs.job(job_home, job_id).pid, signal.SIGKILL)
    while duty.exit_code(job_id) is None:
        time.sleep(0.05)
    assert duty.exit_code(job_id) == 137
    assert duty.alert("The last run did not succeed") == []
    assert told.read_text() == "The last run did not succeed\n"


def test_real_jobs_end_for_the_schedule_as_they_ended(
    job_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duty = retraining(job_home, lambda: None, lambda: at("2100-01-01"))
    for how, code in (("well", 0), ("partly", 3), ("broken", 1)):
        job_id = jobs.start(job_home, ["count", how])
        ended(job_home, job_id)
        assert duty.exit_code(job_id) == code
    assert duty.exit_code("nonsense") == 1
    job_id = jobs.start(job_home, ["count", "slow", "--steps", "3000", "--pause", "0.02"])
    assert duty.exit_code(job_id) is None
    under_way(job_home, job_id)
    duty.cancel(job_id)
    assert duty.exit_code(job_id) == 130
    monkeypatch.setattr(jobs, "start", lambda home, words: f"{home.name} {' '.join(words)}")
    assert [duty.start(kind) for kind in ("full", "light")] == ["home retrain --full", "home retrain --light"]


def schedule_process(home: Path) -> subprocess.Popen[str]:
    home.mkdir(exist_ok=True)
    words = [PYTHON, TESTS / "schedule_child.py", home, sys.executable]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_a_killed_schedule_leaves_its_run_to_the_next_which_ends_it_when_told(job_home: Path) -> None:
    first = schedule_process(job_home)
    assert "looks each minute" in first.stdout.readline()
    assert "A light retraining is owed" in first.stdout.readline()
    (job,) = jobs.jobs(job_home)
    under_way(job_home, job.id)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=PATIENCE)
    assert jobs.job(job_home, job.id).running
    second = schedule_process(job_home)
    while health(job_home).pid != second.pid:
        assert second.poll() is None
    second.send_signal(signal.SIGTERM)
    said, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0
    assert f"cancels job {job.id}" in said
    assert [one.state for one in jobs.jobs(job_home)] == ["cancelled"]
    assert not alive(folder_of(job_home) / job.id)


@pytest.fixture
def retrain(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The part that says what is owed, in place of the package's own."""
    part = SimpleNamespace(
        owed=lambda workspace: "full", next_due=lambda workspace: pd.Timestamp("2100-01-04 21:30", tz="UTC")
    )
    for name in ("owed", "next_due"):
        monkeypatch.setattr(timetable, name, lambda workspace, name=name: getattr(part, name)(workspace))
    return part


def typed(*words: object) -> int:
    return app(list(map(str, words)), standalone_mode=False) or 0


def test_the_command_line_tells_how_the_schedule_is(
    tmp_path: Path, retrain: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ("--home", tmp_path)
    assert typed("schedule", "--check", *here) == 1
    assert capsys.readouterr().out.startswith("No schedule has run in this workspace yet")
    with pytest.raises(DataError, match=f"There is no workspace at {tmp_path}; make one: "):
        typed("schedule", "--status", *here)
    Workspace(tmp_path).watch(["AAA"])
    assert typed("schedule", "--status", *here) == 0
    said = capsys.readouterr().out
    assert "Owed now: a full retraining.\nNext due: 2100-01-04 21:30 UTC.\n" in said
    retrain.owed = lambda workspace: None
    assert typed("schedule", "--once", *here) == 0
    world = World(datetime.now(UTC), tmp_path)
    world.owed = lambda: None  # type: ignore[method-assign]
    world.schedule().look()
    capsys.readouterr()
    assert typed("schedule", "--check", *here) == 0
    assert capsys.readouterr().out == "The schedule is well.\n"
    typed("schedule", "--check", "--json", *here)
    assert json.loads(capsys.readouterr().out)["healthy"] is True
    typed("schedule", "--status", "--json", *here)
    told = json.loads(capsys.readouterr().out)
    assert (told["owed"], told["next_due"]) == (None, "2100-01-04T21:30:00+00:00")
    for wrong in (("--once", "--check"), ("--json",)):
        with pytest.raises(UsageError, match="--"):
            typed("schedule", *wrong, *here)


DOCUMENT = (TESTS.parent / "docs" / "schedule.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    return found


def parse_command(words: list[str]) -> str:
    """Parse words by the real application, without running them; return the command's name."""
    at_module = words.index("-m")
    assert Path(words[at_module - 1]).name == "python"
    assert words[at_module + 1] == "forecaster"
    name, *options = words[at_module + 2 :]
    import typer

    command = typer.main.get_command(app).commands[name]
    command.make_context(name, options)
    return name


def in_range(text: str, low: int, high: int) -> bool:
    """Say whether a field of a cron line is well formed: ``*``, numbers, ranges, steps, lists."""
    for part in text.split(","):
        span, _, step = part.partition("/")
        ends = [low, high] if span == "*" else [int(end) for end in span.split("-")]
        if not low <= ends[0] <= ends[-1] <= high or (step and not 1 <= int(step) <= high):
            return False
    return True


def test_the_cron_line_is_sound() -> None:
    (line,) = block("cron").strip().splitlines()
    *fields, command = line.split(maxsplit=5)
    assert all(itertools.starmap(in_range, zip(fields, (0, 0, 1, 1, 0), (59, 23, 31, 12, 7), strict=True)))
    assert "%" not in command, "which cron would take for a line break"
    change, run = command.split(" && ")
    assert shlex.split(change) == ["cd", "FOLDER"]
    words = shlex.split(run.partition(" >> ")[0])
    assert parse_command(words) == "schedule"
    assert "--once" in words
    assert fields[1:] == ["*"] * 4, "hourly: an early close is not waited for until the evening"


def test_the_systemd_unit_is_sound() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    assert service["Type"] in ("simple", "exec"), "it does not fork, and notifies nobody"
    assert service["Restart"] == "on-failure"
    words = shlex.split(service["ExecStart"])
    assert parse_command(words) == "schedule"
    assert words[-1] == "schedule", "no option: it stays"
    assert words[0].startswith(f"{service['WorkingDirectory']}/"), "systemd wants an absolute path"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 2 * 20, "time to cancel a job, and to kill it"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0", "it never gives up"
    assert unit["Install"]["WantedBy"].endswith(".target")


def test_the_document_names_what_there_is() -> None:
    assert not re.search(r"(?<![\w.~])/(home|work|tmp|root|usr|opt)\b", DOCUMENT)
    for line in block_lines("sh"):
        parse_command(shlex.split(line, comments=True))
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", DOCUMENT, flags=re.MULTILINE))))
    assert table == set(type(health(Path("nowhere"))).model_fields)


def block_lines(language: str) -> list[str]:
    return "".join(re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)).splitlines()
