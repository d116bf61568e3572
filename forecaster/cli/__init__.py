"""The command line: ``python -m forecaster ...``; a file of commands for each concern.

Nothing heavy is imported by any of them, so that ``--help`` answers at once; each command imports
what it needs. Errors end as one line on standard error with the exit code of their type.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import typer

# Commands register themselves.
from forecaster.cli import data, evaluation, explain, leaks, models, retraining, service  # noqa: F401
from forecaster.cli.common import DONE, INTERRUPTED, app, located
from forecaster.errors import ForecasterError

app.add_typer(data.watchlist, name="watchlist")
app.add_typer(data.quarantine, name="quarantine")
app.add_typer(models.models, name="models")


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or DONE
    except ForecasterError as error:
        code = _tell(located(str(error), _home()), error.exit_code)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "python -m forecaster"
        code = _tell(f"{error.format_message().rstrip('.')}; see {command} --help", error.exit_code)
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    sys.exit(code)


def _home() -> Path | None:
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument("--home", type=Path)
    return words.parse_known_args(sys.argv[1:])[0].home


def _tell(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code
