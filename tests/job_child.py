"""The command line with one more command, whose work is a job that sleeps; started by tests."""

import signal
import time
from typing import Annotated

import typer

from forecaster.cli import main
from forecaster.cli.common import Home, app, open_workspace
from forecaster.errors import DataError
from forecaster.jobs import recorded
from forecaster.locks import exclusive
from forecaster.progress import for_terminal


@app.command()
def count(
    how: str,
    home: Home = None,
    steps: int = 3,
    pause: float = 0.0,
    light: Annotated[bool, typer.Option("--light/--full")] = True,
) -> None:
    """Count to a number, and end in one of the ways in which work can end."""
    folder = open_workspace(home).home
    with recorded(folder, ["count", how], for_terminal(), typer.echo) as job, exclusive(folder, "count"):
        if how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        job.say(f"counting {how}")
        with job.progress("Counting", steps) as advance:
            for step in range(steps):
                time.sleep(pause)
                advance(f"step {step}")
        if how == "refused":
            raise DataError("There is nothing to count")
        if how == "broken":
            raise ZeroDivisionError("an abacus broke")
        job.message = f"counted to {steps}"
        job.exit_code = 3 if how == "partly" else 0
    raise typer.Exit(job.exit_code)


main()
