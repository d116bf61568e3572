"""Which run is owed, against the exchange's schedule read here day by day."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from exchange_calendars import get_calendar
from yahoo_stub import MemorySource, StubSymbol, sessions

from forecaster.config import Settings
from forecaster.timetable import due, next_due, owed, past_runs, stored, text
from forecaster.workspace import Workspace

YEAR = sessions("2024-01-02", "2024-12-31")
CLOSES = get_calendar("XNYS", start="2020-01-01", end="2025-12-31").closes
DELAY = pd.Timedelta(minutes=90)


@dataclass
class Clock:
    moment: pd.Timestamp = field(default_factory=lambda: pd.Timestamp("2024-01-02 23:00", tz="UTC"))

    def __call__(self) -> pd.Timestamp:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(tmp_path: Path, clock: Clock) -> Workspace:
    made = Workspace(tmp_path, Settings(home=tmp_path), clock)
    made.update(["AAA"], MemorySource({"AAA": StubSymbol("AAA", sessions("2023-11-01", "2024-01-02"))}))
    return made


def crown(workspace: Workspace, trained_until: str) -> None:
    """Write down a champion."""
    row = {"version": "1", "alias": "champion", "reason": "", "verdict": "", "evidence": "{}"}
    row |= {"card": json.dumps({"trained_until": trained_until}), "decided_at": workspace.clock()}
    workspace.store.append("decisions", pd.DataFrame([row]))


def run(workspace: Workspace, mode: str, status: str = "done") -> None:
    """Write down a run as it would end."""
    found = due(workspace)
    row = {"started_at": workspace.clock(), "mode": mode, "sessions": text(found), "status": status}
    row |= {"session": max(found.values()), "recipe_hash": "", "version": "1", "decision": ""}
    row |= {
        "forecasts": 1,
        "detail": "",
        "symbols": " ".join(stored(workspace)),
        "recorded_at": workspace.clock(),
    }
    workspace.store.append("retrains", pd.DataFrame([row]))


def test_without_a_champion_a_full_run_is_owed(workspace: Workspace) -> None:
    assert owed(workspace) == "full"


def test_without_prices_nothing_is_owed(tmp_path: Path) -> None:
    empty = Workspace(tmp_path / "empty", Settings(home=tmp_path / "empty"))
    assert owed(empty) is None
    assert next_due(empty) is None


@pytest.mark.parametrize(
    ("before", "last"),
    [("2024-03-05", "2024-04-02"), ("2024-06-28", "2024-07-12"), ("2024-10-25", "2024-12-02")],
)
def test_every_session_is_owed_once(workspace: Workspace, clock: Clock, before: str, last: str) -> None:
    """From 90 minutes after its close on, early ones and clock changes included; each fifth run is full."""
    crown(workspace, before)
    expected = {day: CLOSES[day] + DELAY for day in sessions(before, last)[1:]}
    clock.moment = CLOSES[before] + DELAY
    run(workspace, "light")
    done, since = [], 0
    minute = pd.Timedelta(minutes=1)
    for moment in [at + wait for at in expected.values() for wait in (-minute, 0 * minute)]:
        clock.moment = moment
        complete = [day for day, at in expected.items() if at <= moment]
        mode = owed(workspace)
        assert (mode is not None) == (len(complete) > len(done)), moment
        assert next_due(workspace) == min(at for at in CLOSES + DELAY if at > moment)
        if mode is None:
            continue
        since += 1
        assert mode == ("full" if since % 5 == 0 else "light"), moment
        run(workspace, mode)
        done.append(complete[-1])
    assert done == list(expected)


def test_several_missed_sessions_are_one_run(workspace: Workspace, clock: Clock) -> None:
    crown(workspace, "2023-12-29")
    clock.moment = pd.Timestamp("2024-01-05 23:30", tz="UTC")
    assert owed(workspace) == "light"
    run(workspace, "light")
    assert owed(workspace) is None
    assert len(past_runs(workspace)) == 1


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_that_did_not_end_well_is_owed_again(workspace: Workspace, status: str) -> None:
    crown(workspace, "2023-12-01")
    run(workspace, "full", status)
    assert owed(workspace) == "full"


def test_after_a_full_run_in_part_a_light_one_is_owed(workspace: Workspace) -> None:
    crown(workspace, "2023-12-01")
    run(workspace, "full", "partly")
    assert owed(workspace) == "light"


def test_a_clock_that_goes_back_owes_nothing_new(workspace: Workspace, clock: Clock) -> None:
    crown(workspace, "2023-12-29")
    for day in YEAR[:3]:
        clock.moment = CLOSES[day] + DELAY
        run(workspace, "light")
    clock.moment = CLOSES[YEAR[1]] + DELAY
    assert owed(workspace) is None
    clock.moment = CLOSES[YEAR[3]] + DELAY
    assert owed(workspace) == "light"


def test_two_exchanges_have_a_run_each(workspace: Workspace, clock: Clock) -> None:
    tokyo = StubSymbol("7203.T", sessions("2023-11-01", "2024-01-02", "XTKS"), exchange="XTKS")
    workspace.update(["7203.T"], MemorySource({"7203.T": tokyo}))
    crown(workspace, "2023-12-29")
    run(workspace, "light")
    clock.moment = pd.Timestamp("2024-01-04 08:00", tz="UTC")
    assert text(due(workspace)) == "XNYS 2024-01-03, XTKS 2024-01-04"
    assert owed(workspace) == "light"
    run(workspace, "light")
    assert owed(workspace) is None
    assert next_due(workspace) == CLOSES["2024-01-04"] + DELAY


def test_a_sample_is_run_once(sample_workspace: Workspace) -> None:
    assert next_due(sample_workspace) is None
    assert text(due(sample_workspace)) == "XNAS 2023-09-21"
    crown(sample_workspace, "2023-09-21")
    assert owed(sample_workspace) == "light"
    run(sample_workspace, "light")
    assert owed(sample_workspace) is None
