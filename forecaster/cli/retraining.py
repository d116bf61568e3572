"""The command that a timetable runs: bring the workspace up to date and let the evidence decide."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.common import (
    DONE,
    LATER,
    PARTLY,
    AsJson,
    Home,
    app,
    listed,
    open_workspace,
    print_frame,
    print_json,
)
from forecaster.errors import DataError, ForecasterError, UsageError

if TYPE_CHECKING:
    from forecaster.retrain import Report
    from forecaster.workspace import Workspace


STANDING = (
    "Interrupted: the champion and the forecasts issued so far stand; give the same command again to go on"
)


@app.command()
def retrain(
    home: Home = None,
    full: Annotated[bool, typer.Option("--full", help="Train, whatever is owed (the default).")] = False,
    light: Annotated[bool, typer.Option("--light", help="Do not train: forecast and settle.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Do what is owed today, full or light.")] = False,
    cells: Annotated[
        str | None,
        typer.Option("--cells", help="Another recipe's kinds of network, by commas.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="... and its networks of each kind.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Update, train and judge a challenger, forecast every symbol; nothing is done twice."""
    from joblib import cpu_count

    from forecaster.challenge import champion_recipe
    from forecaster.config import Recipe
    from forecaster.jobs import recorded
    from forecaster.progress import for_terminal
    from forecaster.remedies import no_workspace
    from forecaster.retrain import retrain as run
    from forecaster.timetable import Mode

    if full + light + due > 1:
        raise UsageError("--full, --light and --due exclude each other; give one of them, or none")
    if light and (cells or seeds):
        raise UsageError("--cells and --seeds change what is trained, and --light trains nothing")
    workspace = open_workspace(home)
    changes: dict[str, Any] = {} if cells is None else {"cells": listed(cells)}
    changes |= {} if seeds is None else {"seeds": seeds}
    recipe = (champion_recipe(workspace.store) or Recipe()).but(**changes) if changes else None
    mode: Mode | None = None if due else "light" if light else "full"
    try:
        if not workspace.home.exists():
            raise DataError(no_workspace(workspace.home))
        with recorded(workspace.home, sys.argv[1:], for_terminal()) as job:
            try:
                report = run(workspace, mode, recipe, progress=job.progress, jobs=cpu_count())
            except KeyboardInterrupt:
                job.message = STANDING
                typer.echo(f"{STANDING}.", err=True)
                raise
            done = f"{report.forecasts} symbols forecast" if report.forecasts else ""
            job.message = "; ".join(filter(None, [report.decision, done, report.detail]))
            job.exit_code = PARTLY if report.late else DONE
    except Exception as error:
        _alert(workspace, error)
        raise
    if as_json:
        print_json(asdict(report))
    else:
        _print(report)
    if report.late:
        raise typer.Exit(PARTLY)


def _print(report: "Report") -> None:
    import pandas as pd

    lines = [report.detail, report.decision and f"Decision: {report.decision}."]
    if report.status != "nothing":
        lines += [f"{report.forecasts} symbols forecast by version {report.version} from {report.sessions}."]
        lines += [report.live]
    for line in filter(None, lines):
        typer.echo(line[0].upper() + line[1:])
    for title, found in (("Late", report.late), ("Not forecast", report.left_out)):
        if found:
            print_frame(pd.DataFrame(list(found.items()), columns=["symbol", "why"]), title)


def _alert(workspace: "Workspace", error: Exception) -> None:
    """Tell whom the settings name; a lock that is held or data that is late is no failure."""
    if isinstance(error, ForecasterError) and error.exit_code == LATER:
        return
    from forecaster.alerts import alert

    for problem in alert(workspace.settings, "retrain", str(error), workspace.clock()):
        typer.echo(f"warning: the alert did not get through: {problem}", err=True)
