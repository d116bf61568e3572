"""The command line: ``python -m forecaster ...``; a file of commands for each concern.

Nothing heavy is imported by any of them, so that ``--help`` answers at once; each command imports
what it needs. Errors end as one line on standard error with the exit code of their type.
"""

import sys
from typing import NoReturn

import typer

from forecaster.cli import data, evaluation, leaks, models  # noqa: F401  commands register themselves
from forecaster.cli.common import DONE, INTERRUPTED, app
from forecaster.errors import ForecasterError

app.add_typer(data.watchlist, name="watchlist")
app.add_typer(data.quarantine, name="quarantine")
app.add_typer(models.models, name="models")


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False) or DONE
    except ForecasterError as error:
        code = _tell(str(error), error.exit_code)
    except typer.TyperException as error:
        code = _tell(
            f"{error.format_message().rstrip('.')}; see python -m forecaster --help", error.exit_code
        )
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    sys.exit(code)


def _tell(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code
