"""Commands about work that goes on by itself: the schedule and jobs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.common import (
    DONE,
    FAILED,
    AsJson,
    Home,
    app,
    console,
    located,
    open_workspace,
    print_json,
)
from forecaster.errors import DataError, UsageError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from forecaster.jobs import Job
    from forecaster.schedule import Duty
    from forecaster.workspace import Workspace

Id = Annotated[str, typer.Argument(help="As jobs list shows it.")]

jobs = typer.Typer(help="Long work: what runs, what has run, and how it ended.", invoke_without_command=True)
app.add_typer(jobs, name="jobs")


@app.command()
def schedule(
    home: Home = None,
    once: Annotated[bool, typer.Option("--once", help="Do what is owed now, and end.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Tell by the exit code whether the schedule is well.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Print what is owed, and when next.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retrain after each session of the exchange, in a process of its own, until interrupted."""
    from forecaster.remedies import no_workspace
    from forecaster.schedule import Schedule

    if once + check + status > 1:
        raise UsageError("--once, --check and --status exclude each other; choose one")
    if as_json and not (check or status):
        raise UsageError("--json goes with --check or --status")
    if check:
        raise typer.Exit(_check(home, as_json))
    workspace = open_workspace(home)
    duty = _duty(workspace)
    if status:
        if not workspace.store.folder.exists():
            raise DataError(no_workspace(workspace.home))
        _status(home, duty, as_json)
        return
    timetable = Schedule(workspace.home, duty, say=typer.echo)
    if once:
        raise typer.Exit(timetable.once())
    timetable.run()


def _duty(workspace: "Workspace") -> "Duty":
    from forecaster.schedule import retraining
    from forecaster.timetable import next_due, owed

    def when() -> "datetime | None":
        moment = next_due(workspace)
        return None if moment is None else moment.to_pydatetime()

    return retraining(workspace.home, owed=lambda: owed(workspace), next_due=when)


def _check(home: "Path | None", as_json: bool) -> int:
    from datetime import UTC, datetime

    from forecaster.schedule import health

    found = health(_home(home))
    complaint = found.complaint(datetime.now(UTC))
    if as_json:
        print_json({"healthy": not complaint, "complaint": complaint} | found.model_dump(mode="json"))
    else:
        typer.echo(located(complaint, home) or "The schedule is well.")
    return FAILED if complaint else DONE


def _status(home: "Path | None", duty: "Duty", as_json: bool) -> None:
    from datetime import UTC, datetime

    from forecaster.schedule import health

    found, owed, due = health(_home(home)), duty.owed(), duty.next_due()
    if as_json:
        now = {"owed": owed, "next_due": None if due is None else due.isoformat()}
        print_json(found.model_dump(mode="json") | now)
        return
    typer.echo(f"Owed now: {f'a {owed} retraining' if owed else 'nothing'}.")
    when = "never: no source here brings new sessions" if due is None else f"{due:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"Next due: {when}.")
    if found.job:
        typer.echo(f"Runs now: {found.job}.")
    if found.last_job:
        typer.echo(
            f"Last run: {found.last_job}, ended {found.last_ended_at:%Y-%m-%d %H:%M} UTC "
            f"with exit code {found.last_exit_code}."
        )
    typer.echo(located(found.complaint(datetime.now(UTC)), home) or "The schedule is well.")


@jobs.callback()
def jobs_default(context: typer.Context, home: Home = None, as_json: AsJson = False) -> None:
    """Long work: what runs, what has run, and how it ended."""
    if context.invoked_subcommand is None:
        jobs_list(home, as_json)
    elif home is not None or as_json:
        raise UsageError(f"Put the options after the command: jobs {context.invoked_subcommand} --home DIR")


@jobs.command("list")
def jobs_list(home: Home = None, as_json: AsJson = False) -> None:
    """Print the latest jobs, newest first."""
    from rich.table import Table

    from forecaster.jobs import jobs as known

    found = known(_home(home))
    if as_json:
        print_json([_content(job) for job in found])
        return
    if not found:
        typer.echo("There has been no job yet.")
        return
    table = Table(title="Jobs, times in UTC")
    for heading in ("id", "command", "started", "state", "message"):
        table.add_column(heading, overflow="fold")
    for job in found:
        started = f"{job.started_at:%Y-%m-%d %H:%M:%S}"
        told = _at(job) if job.running else job.message
        table.add_row(job.id, " ".join(job.command), started, job.state, told)
    console().print(table)


@jobs.command("show")
def jobs_show(job_id: Id, home: Home = None, as_json: AsJson = False) -> None:
    """Print how far a job is, or how it ended, and what it said."""
    from forecaster.jobs import job, log

    folder = _home(home)
    found, said = job(folder, job_id), log(folder, job_id)
    if as_json:
        print_json(_content(found) | {"log": said})
        return
    typer.echo(f"{found.id}: python -m forecaster {' '.join(found.command)}")
    typer.echo(f"Started {found.started_at:%Y-%m-%d %H:%M:%S} UTC; {found.state}. {found.message}".rstrip())
    if found.running:
        typer.echo(_at(found))
    typer.echo(f"\n{said}".rstrip())


@jobs.command("cancel")
def jobs_cancel(job_id: Id, home: Home = None) -> None:
    """End a running job; the champion and the forecasts that stand stay as they are."""
    from forecaster.jobs import cancel

    ended = cancel(_home(home), job_id)
    typer.echo(f"Job {ended.id}: {ended.state}.")


def _home(home: "Path | None") -> "Path":
    from forecaster.config import Settings

    return Settings.load(home=home).home


def _content(job: "Job") -> dict[str, Any]:
    moments = {"started_at": job.started_at.isoformat(), "updated_at": job.updated_at.isoformat()}
    return asdict(job) | moments


def _at(job: "Job") -> str:
    from forecaster.progress import span

    if not job.stage:
        return "starting"
    left = "" if job.seconds_left is None else f", {span(job.seconds_left)} left"
    return f"{job.stage}: {job.done}/{job.total}{left} {job.note}".rstrip()
