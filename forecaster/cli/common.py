"""What the commands share: the application, their options, how they print."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.workspace import Workspace

DONE, FAILED, PARTLY, LATER, INTERRUPTED = 0, 1, 3, 75, 130

app = typer.Typer(
    name="forecaster",
    help="Stock-price forecasts as calibrated distributions, with the evidence for and against their skill.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the workspace (default: data).", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="Session YYYY-MM-DD; use nothing known later.", show_default=False),
]
Cells = Annotated[str, typer.Option("--cells", help="Kinds of network: rnn, lstm, gru; separated by commas.")]
Seeds = Annotated[int, typer.Option("--seeds", help="Networks of each kind.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", help="Our column = the file's, e.g. session=Day,close=Last.", show_default=False
    ),
]
Symbols = Annotated[
    list[str] | None, typer.Argument(help="Symbols (default: the watchlist).", show_default=False)
]


def open_workspace(home: Path | None) -> "Workspace":
    """Open the workspace that an option or the settings name."""
    from forecaster.config import Settings
    from forecaster.workspace import Workspace

    return Workspace(settings=Settings.load(home=home))


def located(text: str, home: Path | None) -> str:
    """Let the commands that a text names act on the workspace that the option names."""
    from forecaster.remedies import located

    return text if home is None else located(text, home)


def listed(text: str) -> tuple[str, ...]:
    """Split at commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def mapping(text: str | None) -> dict[str, str]:
    """Split ``ours=theirs`` pairs at commas.

    Raises
    ------
    UsageError
        If a part is no pair.
    """
    pairs = {}
    for pair in listed(text or ""):
        ours, found, theirs = pair.partition("=")
        if not found:
            raise UsageError(f"--columns: expected our=theirs, got {pair!r}")
        pairs[ours.strip()] = theirs.strip()
    return pairs


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Turn rows into what JSON can hold."""
    return json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))


def print_json(value: object) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def console() -> Any:
    """Make a console as wide as the terminal, or wide enough for every digit."""
    from rich.console import Console

    # Piped output has no width of its own; a table cut to 80 columns would lose digits.
    return Console(width=None if sys.stdout.isatty() else 160)


def print_frame(frame: "pd.DataFrame", title: str) -> None:
    """Print a table."""
    from rich.table import Table

    table = Table(title=title)
    for name in frame.columns:
        table.add_column(str(name).replace("_", " "))
    for row in frame.astype(str).itertuples(index=False):
        table.add_row(*row)
    console().print(table)


def print_scores(scores: "pd.DataFrame") -> None:
    """Print the scores one session ahead."""
    from forecaster.report import score_rows

    rows = score_rows(scores).drop(columns=["Pinball 1/5/95/99 %, bp", "CRPS, %", "Error test"])
    print_frame(rows, "Scores one session ahead, on sessions that no model had seen")
