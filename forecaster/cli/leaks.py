"""The command that looks for leaks."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.common import (
    DONE,
    FAILED,
    AsJson,
    Columns,
    Home,
    app,
    listed,
    mapping,
    open_workspace,
    print_frame,
    print_json,
    records,
)
from forecaster.errors import DataError, LeakFound, UsageError

if TYPE_CHECKING:
    from forecaster.config import Recipe
    from forecaster.evaluation.leakage import LeakReport
    from forecaster.evaluation.subjects import FeatureFunction
    from forecaster.history import History
    from forecaster.workspace import Workspace


@app.command()
def leakcheck(
    home: Home = None,
    prices: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet file to check on: date, symbol, OHLC, volume.", show_default=False),
    ] = None,
    market: Annotated[
        Path | None, typer.Option(help="Beside --prices: market and sectors by date.", show_default=False)
    ] = None,
    macro: Annotated[
        Path | None, typer.Option(help="Beside --prices: series by date, VIX_CLOSE.", show_default=False)
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option(
            "--events", help="Beside --prices: company events; again for more files.", show_default=False
        ),
    ] = None,
    exchange: Annotated[str, typer.Option(help="Whose sessions the dates of --prices are.")] = "XNYS",
    columns: Columns = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Models, pools too, separated by commas (default: the classical kinds and --cells).",
            show_default=False,
        ),
    ] = None,
    cells: Annotated[str, typer.Option(help="Kinds of network: rnn, lstm, gru.")] = "lstm,gru",
    groups: Annotated[str, typer.Option(help="Input groups.")] = "trend,previous_day,exogenous",
    function: Annotated[
        str | None,
        typer.Option(
            help="A function of your own instead, as FILE.py:NAME; the file is run. It takes a History and "
            "gives a table: symbol, session, one column per feature.",
            show_default=False,
        ),
    ] = None,
    cutoffs: Annotated[int, typer.Option(help="Moments whose future is rewritten.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Rewrite what became known after a moment, and report what moves before it."""
    from forecaster.config import Recipe
    from forecaster.evaluation.leakage import leakcheck as check
    from forecaster.progress import for_terminal
    from forecaster.remedies import no_workspace

    subject = Recipe(cells=listed(cells), groups=listed(groups)) if function is None else _function(function)
    names = None if models is None else listed(models)
    workspace = open_workspace(home)
    is_named = "home" in workspace.settings.model_fields_set
    if prices is None and is_named and not workspace.store.folder.exists():
        raise DataError(no_workspace(workspace.home))
    is_own = prices is None and (is_named or workspace.store.version("prices") >= 0)
    if prices is not None:
        from forecaster.benchmark.inputs import read_inputs

        history = read_inputs(prices, market, macro, events or (), exchange, mapping(columns)).history
        origin = str(prices)
    elif is_own:
        history, origin = workspace.history(), f"the workspace {workspace.home}"
    else:
        typer.echo(f"No prices are stored in {workspace.home}: the bundled sample is checked.", err=True)
        history, origin = _sample(), "the bundled sample"
    if is_own and isinstance(subject, Recipe):
        report = _recorded(workspace, history, subject, names, cutoffs)
    else:
        report = check(history, subject, names, cutoffs, progress=for_terminal())
    if as_json:
        print_json(_content(report, history, origin))
    else:
        print_frame(report.table(), f"Leak check on {origin}, {len(history.symbols)} symbols")
    for leak in report.leaks[1:]:
        typer.echo(leak.message, err=True)
    if report.leaks:
        more = len(report.leaks) - 1
        raise LeakFound(report.leaks[0].message + (f" (and {more} more, told above)" if more else ""))
    if not as_json:
        cells_compared = sum(one.cells for one in report.checks)
        typer.echo(f"No leak found: none of {cells_compared:,} values moved with what became known later.")


def _recorded(
    workspace: "Workspace", history: "History", recipe: "Recipe", models: Sequence[str] | None, cutoffs: int
) -> "LeakReport":
    """Check a recipe as a job of the workspace, and write down in its store what was found."""
    from forecaster.evaluation.leakage import leakcheck as check
    from forecaster.findings import keep_leakcheck
    from forecaster.jobs import recorded
    from forecaster.progress import for_terminal

    with recorded(workspace.home, sys.argv[1:], for_terminal()) as job:
        report = check(history, recipe, models, cutoffs, progress=job.progress)
        keep_leakcheck(workspace.store, report, recipe, history, workspace.clock())
        job.exit_code = DONE if report.clean else FAILED
        job.message = "No leak found" if report.clean else report.leaks[0].message
    return report


def _sample() -> "History":
    import pandas as pd

    from forecaster.history import history_of
    from forecaster.sources.sample import SampleSource

    source = SampleSource()
    fetched = [source.fetch(symbol) for symbol in source.symbols()]
    bars = pd.concat([one.bars.assign(symbol=one.symbol) for one in fetched], ignore_index=True)
    instruments = {one.symbol: one.instrument for one in fetched if one.instrument is not None}
    return history_of(bars, instruments)


def _function(place: str) -> "FeatureFunction":
    """Import a function from a file that the user named."""
    from importlib.util import module_from_spec, spec_from_file_location

    path, _, name = place.rpartition(":")
    file = Path(path)
    if not path or not name.isidentifier() or file.suffix != ".py":
        raise UsageError(f"--function: expected FILE.py:NAME, got {place!r}")
    if not file.is_file():
        raise UsageError(f"--function: no file {path}; expected FILE.py:NAME")
    spec = spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"--function: {path} cannot be imported; expected FILE.py:NAME")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"--function: {path} fails on import: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        found = "is not callable" if hasattr(module, name) else "is not there"
        raise UsageError(f"--function: {name} {found} in {path}; expected a function that takes a History")
    return function


def _content(report: "LeakReport", history: "History", origin: str) -> dict[str, Any]:
    return {
        "history": origin,
        "fingerprint": history.fingerprint,
        "symbols": list(history.symbols),
        "as_of": str(history.as_of.date()),
        "clean": report.clean,
        "checks": records(report.table()),
        "leaks": [
            {
                "subject": leak.what,
                "feature": leak.feature,
                "symbol": leak.symbol,
                "session": str(leak.session.date()),
                "cutoff": leak.cutoff.isoformat(),
                "before": str(leak.before),
                "after": str(leak.after),
                "also": list(leak.also),
                "message": leak.message,
            }
            for leak in report.leaks
        ],
    }
