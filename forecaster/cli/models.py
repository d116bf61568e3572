"""Commands about models, forecasts and the dashboard."""

import errno
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

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
    located,
    open_workspace,
    print_frame,
    print_json,
    print_scores,
    records,
)
from forecaster.errors import ForecasterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from forecaster.config import Settings
    from forecaster.registry import Registry
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
    from forecaster.locks import exclusive
    from forecaster.progress import for_terminal
    from forecaster.retrain import issue_each
    from forecaster.timetable import stored
    from forecaster.workflow import train as fit

    workspace, progress = open_workspace(home), for_terminal()
    recipe = Recipe(cells=listed(cells), seeds=seeds)
    history = workspace.history(as_of)
    with exclusive(workspace.home, "retrain"):
        evidence = backtest(history, recipe, folds, test_sessions, progress=progress)
        version = workspace.registry.add(fit(history, recipe, progress, evidence), evidence)
        try:
            decision = f"promoted: {workspace.registry.promote(version)}"
            left_out = issue_each(workspace, list(stored(workspace)), progress, False)
        except NotEarned as refusal:
            decision, left_out = f"not promoted: {refusal}", {}
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
    for symbol, why in left_out.items():
        typer.echo(f"{symbol}: no forecast, {why}.")


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
    state = workspace.health(symbol, version) if as_of is None else None
    report = forecast_report(forecasts, workspace.history(symbols=[symbol]), scores, state)
    if as_of is not None and as_of != report["cutoff"]:
        typer.echo(f"The last stored session of {symbol} up to {as_of} is {report['cutoff']}.", err=True)
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
    for reason in report["reasons"]:
        typer.echo(located(f"{report['state'].capitalize()}. {reason}.", home))


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
    state = workspace.health(symbol, version) if as_of is None else None
    standing, supposed = (
        forecast_report(rows, history, scores, state)
        for _, rows in answer.forecasts.groupby("scenario", sort=False)
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
        told = [json.loads(one) if isinstance(one, str) else {} for one in rows["evidence"]]
        print_json([row | {"evidence": one} for row, one in zip(records(rows), told, strict=True)])
    else:
        shown = rows[["decided_at", "version", "alias", "reason", "verdict"]].assign(
            decided_at=rows["decided_at"].dt.strftime("%Y-%m-%d %H:%M:%S"),
            verdict=rows["verdict"].where(rows["version"] != rows["version"].shift(), ""),
        )
        print_frame(shown, "Decisions, times in UTC")


@models.command("show")
def models_show(version: str, home: Home = None) -> None:
    """Print a version's card and scores as JSON."""
    registry = open_workspace(home).registry
    print_json(json.loads(registry.card(version)) | {"scores": records(registry.scores(version))})


@models.command("promote")
def models_promote(version: str, home: Home = None) -> None:
    """Make a version the champion, if its backtest earns it, and issue its forecasts."""
    _served(home, lambda registry: f"Version {version}: {registry.promote(version)}")


@models.command("repeat")
def models_repeat(version: str, home: Home = None) -> None:
    """Train a version again from its card and tell whether it forecasts the same; nothing is registered."""
    from joblib import cpu_count

    from forecaster.challenge import repeat
    from forecaster.progress import for_terminal

    workspace = open_workspace(home)
    apart = repeat(workspace.store, workspace.registry, version, for_terminal(), cpu_count())
    if apart:
        raise ForecasterError(
            f"Version {version}, trained again from its card, forecasts otherwise, by up to {apart:.2g} "
            f"standard deviations; compare the packages that the card names with those installed"
        )
    typer.echo(f"Version {version}, trained again from its card, gives the same forecasts to the last bit.")


@models.command("rollback")
def models_rollback(home: Home = None) -> None:
    """Make the champion before the present one champion again, and issue its forecasts."""
    _served(home, lambda registry: "Version {} is the champion again: {}".format(*registry.rollback()))


def _served(home: Path | None, decide: "Callable[[Registry], str]") -> None:
    """Decide which version is served, as a job, and issue its forecasts."""
    from forecaster.jobs import recorded
    from forecaster.locks import exclusive
    from forecaster.progress import for_terminal
    from forecaster.retrain import issue_each
    from forecaster.timetable import stored

    workspace = open_workspace(home)
    with (
        recorded(workspace.home, sys.argv[1:], for_terminal(), typer.echo) as job,
        exclusive(workspace.home, "retrain"),
    ):
        job.message = decide(workspace.registry)
        job.say(f"{job.message}.")
        for symbol, why in issue_each(workspace, list(stored(workspace)), job.progress, False).items():
            job.say(f"{symbol}: no forecast, {why}.")


@app.command()
def dashboard(
    home: Home = None,
    address: Annotated[
        str | None,
        typer.Option(help="Where to listen (default: 127.0.0.1); another needs a login.", show_default=False),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port (default: 8501).", show_default=False)] = None,
) -> None:
    """Serve the dashboard until interrupted, on this machine alone unless a login is set up."""
    from forecaster import login
    from forecaster.config import Settings
    from forecaster.remedies import no_workspace
    from forecaster.store import Store

    settings = Settings.load(home=home, address=address, port=port)
    auth = login.credentials(settings)
    if auth is None and not login.is_local(settings.address):
        raise UsageError(
            f"--address {settings.address}: other machines reach it, and no login is set up; "
            f"leave it out to serve 127.0.0.1 alone, or set a login up: {login.HELP}"
        )
    store = Store(settings.home / "store")
    store.version("forecasts")
    if not store.folder.exists():
        typer.echo(located(f"{no_workspace(settings.home)}.", home), err=True)
    _probe(settings.address, settings.port)
    script = Path(__file__).resolve().parents[2] / "app.py"
    os.environ["FORECASTER_HOME"] = str(settings.home.resolve())
    host = f"[{settings.address}]" if ":" in settings.address else settings.address
    url = settings.public_url or f"http://{host}:{settings.port}"
    typer.echo(f"Dashboard: {url}  (Ctrl+C ends it)")
    sys.stdout.flush()
    _serve(script, settings, auth)


def _probe(address: str, port: int) -> None:
    """See whether a port is free, before a server says so in more words."""
    import socket

    try:
        family, kind, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ForecasterError(
                f"Port {port} is in use; choose another, such as --port {port + 1} (make run PORT={port + 1})"
            ) from error
        raise UsageError(f"Cannot listen on {address}, port {port}: {error.strerror}") from error


@asynccontextmanager
async def _ahead(server: object) -> AsyncIterator[None]:
    """Import the pages once the server answers: the first visitor would wait for it."""
    Thread(target=import_module, args=("forecaster.dashboard",), daemon=True).start()
    yield


def _serve(script: Path, settings: "Settings", auth: dict[str, str] | None) -> None:
    from streamlit import App

    # Streamlit looks for its own settings and for modules beside the program that was called.
    sys.argv = [str(script)]
    name = settings.address if auth is None else urlsplit(auth["redirect_uri"]).hostname or ""
    hosts = ["127.0.0.1", "localhost", "::1", name]
    secrets: dict[str, Any] = {} if auth is None else {"auth": auth}
    server = App(script, secrets=secrets, lifespan=_ahead)
    options = {
        "server.address": settings.address,
        "server.port": settings.port,
        "server.headless": True,
        "server.allowedHosts": hosts,
    }
    with suppress(KeyboardInterrupt):
        server.run(config=options)
