"""The command line: ``python -m forecaster ...``.

Nothing heavy is imported here, so that ``--help`` answers at once; each command imports what it
needs. Errors end as one line on standard error with the exit code of their type.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from forecaster.errors import ForecasterError, RateLimited, SourceError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.workspace import Workspace

DONE, PARTLY, INTERRUPTED = 0, 3, 130

app = typer.Typer(
    name="forecaster",
    help="Stock-price forecasts as calibrated distributions, with the evidence for and against their skill.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
watchlist = typer.Typer(help="Symbols that are kept up to date and forecast.")
models = typer.Typer(help="Versions of the model.")
app.add_typer(watchlist, name="watchlist")
app.add_typer(models, name="models")

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
Symbols = Annotated[
    list[str] | None, typer.Argument(help="Symbols (default: the watchlist).", show_default=False)
]


@app.command()
def quickstart(
    home: Home = None,
    source: Annotated[
        str | None, typer.Option(help="auto, yahoo or sample (default: the setting).", show_default=False)
    ] = None,
    cells: Cells = "lstm,gru",
    seeds: Seeds = 2,
    as_json: AsJson = False,
) -> None:
    """Bring data, train, score on unseen sessions and forecast; nothing is done twice."""
    from forecaster.config import Recipe, Settings
    from forecaster.first_run import quickstart as run
    from forecaster.progress import for_terminal
    from forecaster.workspace import Workspace

    settings = Settings.load(home=home, source=source)
    workspace = Workspace(settings=settings)
    recipe = Recipe(cells=_listed(cells), seeds=seeds)
    summary = run(workspace, recipe, progress=for_terminal(), say=lambda line: typer.echo(line, err=True))
    if as_json:
        _print_json(
            {"version": summary.version, "verdict": summary.verdict, "scores": _records(summary.scores)}
        )
        return
    if not summary.trained:
        typer.echo(f"Ready: model version {summary.version} and its forecasts are in {workspace.home}.")
        return
    _print_scores(summary.scores)
    typer.echo(f"\nAt one session ahead: {summary.verdict}")


@app.command()
def update(
    symbols: Symbols = None,
    home: Home = None,
    source: Annotated[
        str | None, typer.Option(help="yahoo or sample (default: where the stored prices come from).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch prices and append what is new; safe to repeat."""
    from forecaster.progress import for_terminal

    workspace = _workspace(home)
    outcomes = workspace.update(symbols, source, for_terminal())
    _report_outcomes(outcomes, as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet file, or a folder of them.")],
    home: Home = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Our column = the file's, e.g. session=Day,close=Last.", show_default=False),
    ] = None,
    exchange: Annotated[str, typer.Option(help="Market identifier code of the exchange.")] = "XNYS",
    currency: Annotated[
        str | None,
        typer.Option(help="Of the prices (default: USD in New York, else blank).", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take prices from a file, whole or not at all."""
    mapping = {}
    for pair in _listed(columns or ""):
        ours, found, theirs = pair.partition("=")
        if not found:
            raise UsageError(f"--columns: expected our=theirs, got {pair!r}")
        mapping[ours.strip()] = theirs.strip()
    _report_outcomes(_workspace(home).import_file(file, mapping, exchange, currency), as_json)


@app.command()
def train(
    home: Home = None,
    as_of: AsOf = None,
    cells: Cells = "lstm,gru",
    seeds: Seeds = 2,
    folds: Annotated[int, typer.Option(help="Refits of the backtest.")] = 2,
    test_sessions: Annotated[int, typer.Option(help="Sessions held back for it.")] = 504,
    as_json: AsJson = False,
) -> None:
    """Backtest and train a model, register it, and make it champion if it earns it."""
    from forecaster.config import Recipe
    from forecaster.errors import NotEarned
    from forecaster.evaluation.backtest import backtest
    from forecaster.progress import for_terminal
    from forecaster.workflow import issue
    from forecaster.workflow import train as fit

    workspace, progress = _workspace(home), for_terminal()
    recipe = Recipe(cells=_listed(cells), seeds=seeds)
    history = workspace.history(as_of)
    evidence = backtest(history, recipe, folds, test_sessions, progress=progress)
    version = workspace.registry.add(fit(history, recipe, progress), evidence)
    try:
        decision = f"promoted: {workspace.registry.promote(version)}"
        issue(workspace.store, workspace.registry, workspace.watchlist)
    except NotEarned as refusal:
        decision = f"not promoted: {refusal}"
    if as_json:
        _print_json(
            {
                "version": version,
                "decision": decision,
                "verdict": evidence.verdict(),
                "scores": _records(evidence.scores()),
            }
        )
        return
    _print_scores(evidence.scores())
    typer.echo(f"\nAt one session ahead: {evidence.verdict()}\nVersion {version} {decision}.")


@app.command()
def forecast(
    symbol: Annotated[str, typer.Argument(help="A stored symbol.")],
    home: Home = None,
    as_of: AsOf = None,
    version: Annotated[
        str | None, typer.Option(help="Model version (default: the champion).", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the distribution of the price over the next sessions."""
    from forecaster.report import forecast_report

    workspace = _workspace(home)
    forecasts = workspace.forecast(symbol, as_of, version)
    scores = workspace.store.current("scores", where={"version": [forecasts["version"].iloc[0]]})
    report = forecast_report(forecasts, workspace.history(symbols=[symbol]), scores)
    if as_json:
        _print_json(report)
        return
    from rich.table import Table

    price = f"{report['base_price']:.2f} {report['currency']}"
    table = Table(
        title=f"{report['symbol']}: {price} at the close of {report['cutoff']}", caption=report["note"]
    )
    for heading in ("Step", "Session", "5 %", "25 %", "Median", "75 %", "95 %", "P(rise)", "P(loss > 5 %)"):
        table.add_column(heading, justify="right")
    for row in report["rows"]:
        prices = [f"{row[name]:.2f}" for name in ("q05", "q25", "q50", "q75", "q95")]
        shares = [f"{100 * row[name]:.1f} %" for name in ("prob_up", "prob_loss")]
        table.add_row(str(row["step"]), row["session"], *prices, *shares)
    _console().print(table)


@watchlist.command("list")
def watchlist_list(home: Home = None, as_json: AsJson = False) -> None:
    """Print the watchlist."""
    symbols = _workspace(home).watchlist
    if as_json:
        _print_json(list(symbols))
    else:
        typer.echo("\n".join(symbols) if symbols else "The watchlist is empty.")


@watchlist.command("add")
def watchlist_add(symbols: list[str], home: Home = None) -> None:
    """Add symbols; their prices come with the next update."""
    _workspace(home).watch(symbols)


@watchlist.command("remove")
def watchlist_remove(symbols: list[str], home: Home = None) -> None:
    """Remove symbols; their prices stay stored."""
    _workspace(home).watch(symbols, watched=False)


@models.command("list")
def models_list(home: Home = None, as_json: AsJson = False) -> None:
    """Print every decision about a version, oldest first."""
    from forecaster.decisions import decisions

    rows = decisions(_workspace(home).store).drop(columns="card")
    if as_json:
        _print_json(_records(rows))
    else:
        _print_frame(rows[["decided_at", "version", "alias", "reason", "verdict"]], "Decisions")


@models.command("show")
def models_show(version: str, home: Home = None) -> None:
    """Print a version's card and scores as JSON."""
    registry = _workspace(home).registry
    _print_json(json.loads(registry.card(version)) | {"scores": _records(registry.scores(version))})


@models.command("promote")
def models_promote(version: str, home: Home = None) -> None:
    """Make a version the champion, if its backtest earns it, and issue its forecasts."""
    from forecaster.workflow import issue

    workspace = _workspace(home)
    typer.echo(f"Version {version}: {workspace.registry.promote(version)}.")
    issue(workspace.store, workspace.registry, workspace.watchlist)


@app.command()
def dashboard(
    home: Home = None,
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1 (default: 8501).", show_default=False)
    ] = None,
) -> None:
    """Serve the dashboard on this machine until interrupted."""
    import socket

    from forecaster.config import Settings
    from forecaster.store import Store

    settings = Settings.load(home=home, port=port)
    Store(settings.home / "store").version("forecasts")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.port))
        except OSError as error:
            raise ForecasterError(
                f"Port {settings.port} is in use; choose another, such as --port {settings.port + 1} "
                f"(make run PORT={settings.port + 1})"
            ) from error
    script = Path(__file__).resolve().parents[1] / "app.py"
    os.environ["FORECASTER_HOME"] = str(settings.home.resolve())
    os.chdir(script.parent)
    typer.echo(f"Dashboard: http://127.0.0.1:{settings.port}  (Ctrl+C ends it)")
    sys.stdout.flush()
    options = [
        "--server.port",
        str(settings.port),
        "--server.address",
        "127.0.0.1",
        "--server.headless",
        "true",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(script), *options])


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


def _workspace(home: Path | None) -> "Workspace":
    from forecaster.config import Settings
    from forecaster.workspace import Workspace

    return Workspace(settings=Settings.load(home=home))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _report_outcomes(outcomes: "pd.DataFrame", as_json: bool) -> None:
    if as_json:
        _print_json(_records(outcomes))
    else:
        _print_frame(outcomes, "Outcomes")
    arrived = outcomes["outcome"] == "ok"
    if arrived.all():
        return
    if arrived.any():
        raise typer.Exit(PARTLY)
    first = outcomes.iloc[0]
    why = f"No symbol arrived; {first['symbol']}: {first['outcome']}, {first['detail']}"
    if (outcomes["outcome"] == "rate_limited").any():
        raise RateLimited(f"{why}; try again later")
    raise SourceError(f"{why}; check the symbols, the connection and --source")


def _records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _console() -> Any:
    from rich.console import Console

    # Piped output has no width of its own; a table cut to 80 columns would lose digits.
    return Console(width=None if sys.stdout.isatty() else 160)


def _print_frame(frame: "pd.DataFrame", title: str) -> None:
    from rich.table import Table

    table = Table(title=title)
    for name in frame.columns:
        table.add_column(str(name).replace("_", " "))
    for row in frame.astype(str).itertuples(index=False):
        table.add_row(*row)
    _console().print(table)


def _print_scores(scores: "pd.DataFrame") -> None:
    from forecaster.report import score_rows

    rows = score_rows(scores).drop(columns=["Pinball 1/5/95/99 %, bp", "CRPS, %", "Error test"])
    _print_frame(rows, "Scores one session ahead, on sessions that no model had seen")
