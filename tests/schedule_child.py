"""A schedule of `job_child`'s jobs, in a process of its own; started by tests."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import typer
from job_desk import LONG

from forecaster import jobs
from forecaster.schedule import Schedule, retraining

home, sys.executable = Path(sys.argv[1]), sys.argv[2]
duty = retraining(home, owed=lambda: "light", next_due=lambda: datetime(2100, 1, 1, tzinfo=UTC))
duty = replace(duty, start=lambda kind: jobs.start(home, ["count", "slow", f"--{kind}", *LONG]))
Schedule(home, duty, say=typer.echo).run()
