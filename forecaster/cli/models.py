"""Commands about models, forecasts and the dashboard."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.common import (
    AsJson,
    AsOf,
    Cells,
    Home,
    Seeds,
    app,
    console,
    listed,
    open_workspace,
    print_frame,
    print_json,
    print_scores,
    records,
)
from forecaster.errors import ForecasterError

if TYPE_CHECKING:
    from forecaster.workspace import Workspace

SHOWN = (1, 5, 10, 20)
"""Steps ahead that a comparison of two forecasts shows, beside those of the events."""

models = typer.Typer(help="Versions of the model.")


@app.command()
def quickstart(
    home: Home = None,
    source: Annotated[
        str | None,
        typer.Option(help="auto, yahoo, tiingo or sample (default: the setting).", show_default=False),
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
    recipe = Recipe(cells=listed(cells), seeds=seeds)
    summary = run(workspace, recipe, progress=for_terminal(), say=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(
            {"version": summary.version, "verdict": summary.verdict, "scores": records(summary.scores)}
        )
        return
    if not summary.trained:
        typer.echo(f"Ready: model version {summary.version} and its forecasts are in {workspace.home}.")
        return
    print_scores(summary.scores)
    typer.echo(f"\nAt one session ahead: {summary.verdict}")


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

    workspace, progress = open_workspace(home), for_terminal()
    recipe = Recipe(cells=listed(cells), seeds=seeds)
    history = workspace.history(as_of)
    evidence = backtest(history, recipe, folds, test_sessions, progress=progress)
    version = workspace.registry.add(fit(history, recipe, progress, evidence), evidence)
    try:
        decision = f"promoted: {workspace.registry.promote(version)}"
        issue(workspace.store, workspace.registry, workspace.watchlist)
    except NotEarned as refusal:
        decision = f"not promoted: {refusal}"
    if as_json:
        print_json(
            {
                "version": version,
                "decision": decision,
                "verdict": evidence.verdict(),
                "scores": records(evidence.scores()),
            }
        )
        return
    print_scores(evidence.scores())
    typer.echo(f"\nAt one session ahead: {evidence.verdict()}\nVersion {version} {decision}.")


@app.command()
def forecast(
    symbol: Annotated[str, typer.Argument(help="A stored symbol.")],
    home: Home = None,
    as_of: AsOf = None,
    version: Annotated[
        str | None, typer.Option(help="Model version (default: the champion).", show_default=False)
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Suppose KIND@DATE[:TONE], vix=+POINTS or market=PER CENT%; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the distribution of the price over the next sessions."""
    from forecaster.report import forecast_report

    workspace = open_workspace(home)
    if what_if:
        _what_if(workspace, symbol, what_if, as_of, version, as_json)
        return
    forecasts = workspace.forecast(symbol, as_of, version)
    scores = workspace.store.current("scores", where={"version": [forecasts["version"].iloc[0]]})
    report = forecast_report(forecasts, workspace.history(symbols=[symbol]), scores)
    if as_json:
        print_json(report)
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
    console().print(table)
    if report["low_confidence"]:
        typer.echo(f"Low confidence. {report['low_confidence']}")


def _what_if(
    workspace: "Workspace",
    symbol: str,
    words: list[str],
    as_of: str | None,
    version: str | None,
    as_json: bool,
) -> None:
    """Print the forecast as it stands beside the one that a scenario gives."""
    from rich.table import Table

    from forecaster.explain.scenario import Scenario
    from forecaster.report import forecast_report

    scenario = Scenario.parse(words)
    answer = workspace.what_if(symbol, scenario, as_of, version)
    scores = workspace.store.current("scores", where={"version": [answer.forecasts["version"].iloc[0]]})
    history = workspace.history(symbols=[symbol])
    standing, supposed = (
        forecast_report(rows, history, scores) for _, rows in answer.forecasts.groupby("scenario", sort=False)
    )
    if as_json:
        said = {"notes": answer.notes, "warnings": answer.warnings, "rows": supposed["rows"]}
        print_json(standing | {"what_if": {"scenario": scenario.model_dump(mode="json"), **said}})
        return
    table = Table(
        title=f"{standing['symbol']}, what if: {', '.join(scenario.words)}; from "
        f"{standing['base_price']:.2f} {standing['currency']} at the close of {standing['cutoff']}"
    )
    for heading in ("Step", "Session", *(f"{name}: {part}" for name in ("As it stands", "What if")
                                         for part in ("5 %", "median", "95 %"))):  # fmt: skip
        table.add_column(heading, justify="right")
    dates = {str(event.date) for event in scenario.events}
    for before, after in zip(standing["rows"], supposed["rows"], strict=True):
        if before["step"] in SHOWN or before["session"] in dates:
            prices = [f"{row[name]:.2f}" for row in (before, after) for name in ("q05", "q50", "q95")]
            table.add_row(str(before["step"]), before["session"], *prices)
    console().print(table)
    for line in (*(f"Warning: {warning}" for warning in answer.warnings), *answer.notes):
        typer.echo(line)


@models.command("list")
def models_list(home: Home = None, as_json: AsJson = False) -> None:
    """Print every decision about a version, oldest first."""
    from forecaster.decisions import decisions

    rows = decisions(open_workspace(home).store).drop(columns="card")
    if as_json:
        print_json(records(rows))
    else:
        print_frame(rows[["decided_at", "version", "alias", "reason", "verdict"]], "Decisions")


@models.command("show")
def models_show(version: str, home: Home = None) -> None:
    """Print a version's card and scores as JSON."""
    registry = open_workspace(home).registry
    print_json(json.loads(registry.card(version)) | {"scores": records(registry.scores(version))})


@models.command("promote")
def models_promote(version: str, home: Home = None) -> None:
    """Make a version the champion, if its backtest earns it, and issue its forecasts."""
    from forecaster.workflow import issue

    workspace = open_workspace(home)
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
    script = Path(__file__).resolve().parents[2] / "app.py"
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
