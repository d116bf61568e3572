"""Commands that prove or deny skill: a benchmark of any panel, a backtest of the workspace."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.common import (
    AsJson,
    AsOf,
    Columns,
    Home,
    app,
    listed,
    mapping,
    open_workspace,
    print_scores,
)
from forecaster.errors import UsageError

if TYPE_CHECKING:
    from forecaster.benchmark import Benchmark
    from forecaster.benchmark.inputs import Inputs
    from forecaster.evaluation.folds import Plan

CLASSICAL = "constant,rolling_t,ewma_t,garch_t,gjr_t,har,harx,boosting,pool_classical"
EVERY_MODEL = f"{CLASSICAL},lstm,gru,pool,served"
NETWORKS = ("rnn", "lstm", "gru")

Models = Annotated[
    str,
    typer.Option(
        "--models", help="Separated by commas: constant, rolling_t, ewma_t, garch_t, gjr_t, har, harx, "
        "boosting, pool_classical, rnn, lstm, gru, pool, served; or all, or classical."
    ),
]  # fmt: skip
TestStart = Annotated[
    str | None,
    typer.Option("--test-start", help="First day of the forecasts, YYYY-MM-DD.", show_default=False),
]
TestEnd = Annotated[
    str | None, typer.Option("--test-end", help="Last day of the forecasts.", show_default=False)
]
Refit = Annotated[str, typer.Option("--refit", help="How often to refit: months (12m) or sessions (250).")]
Rolling = Annotated[
    int | None,
    typer.Option("--rolling", help="Train on so many last sessions (default: on all).", show_default=False),
]
Starts = Annotated[int, typer.Option("--seeds", help="Random starts of each network.")]
Ablation = Annotated[
    bool, typer.Option("--ablation", help="Also without each group of inputs, and with each alone.")
]
AllSteps = Annotated[bool, typer.Option("--all-steps", help="Keep every session ahead, not 1, 5, 10, 20.")]
Quick = Annotated[bool, typer.Option("--quick", help="Try the road: the last year, one refit, three epochs.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Processes at work (default: one a core).", show_default=False),
]


@app.command()
def benchmark(
    prices: Annotated[Path, typer.Option("--prices", help="CSV or Parquet: date, symbol, OHLC, volume.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores, forecasts and report.")],
    market: Annotated[
        Path | None,
        typer.Option("--market", help="Market and sectors, returns or levels by date.", show_default=False),
    ] = None,
    macro: Annotated[
        Path | None,
        typer.Option("--macro", help="Series by date: VIX_CLOSE, DGS10, DGS2.", show_default=False),
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option("--events", help="Company events; give it again for more files.", show_default=False),
    ] = None,
    test_start: TestStart = None,
    test_end: TestEnd = None,
    refit: Refit = "12m",
    rolling: Rolling = None,
    models: Models = "all",
    seeds: Starts = 3,
    ablation: Ablation = False,
    all_steps: AllSteps = False,
    quick: Quick = False,
    exchange: Annotated[str, typer.Option("--exchange", help="Whose sessions the dates are.")] = "XNYS",
    columns: Columns = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate models walk-forward on a price file; a stopped run goes on with the same command."""
    from forecaster.benchmark.inputs import read_inputs

    inputs = read_inputs(prices, market, macro, events or (), exchange, mapping(columns))
    plan = _plan(test_start, test_end, refit, rolling)
    _evaluate(inputs, plan, models, seeds, out, ablation, all_steps, quick, jobs, as_json)


@app.command()
def backtest(
    home: Home = None,
    as_of: AsOf = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder (default: backtest in the home).", show_default=False)
    ] = None,
    test_start: TestStart = None,
    test_end: TestEnd = None,
    refit: Refit = "12m",
    rolling: Rolling = None,
    models: Models = "all",
    seeds: Starts = 2,
    ablation: Ablation = False,
    all_steps: AllSteps = False,
    quick: Quick = False,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate models walk-forward on the stored prices of the watchlist."""
    from forecaster.benchmark.inputs import Inputs
    from forecaster.findings import keep_ablation

    workspace = open_workspace(home)
    inputs = Inputs(workspace.history(as_of), ["Prices and factors of the workspace's store."])
    plan = _plan(test_start, test_end, refit, rolling)
    folder = out or workspace.home / "backtest"
    result = _evaluate(inputs, plan, models, seeds, folder, ablation, all_steps, quick, jobs, as_json)
    keep_ablation(workspace.store, result, workspace.clock())


def _plan(test_start: str | None, test_end: str | None, refit: str, rolling: int | None) -> "Plan":
    from forecaster.evaluation.folds import Plan
    from forecaster.history import parse_session

    first, last = (None if day is None else parse_session(day) for day in (test_start, test_end))
    return Plan(first, last, refit, rolling)


def _evaluate(
    inputs: "Inputs",
    plan: "Plan",
    models: str,
    seeds: int,
    out: Path,
    ablation: bool,
    all_steps: bool,
    quick: bool,
    jobs: int | None,
    as_json: bool,
) -> "Benchmark":
    from joblib import cpu_count

    from forecaster.benchmark import benchmark as run
    from forecaster.config import Recipe
    from forecaster.progress import for_terminal

    names = listed({"all": EVERY_MODEL, "classical": CLASSICAL}.get(models, models))
    if not names:
        raise UsageError("--models: expected at least one name, got none")
    cells = tuple(name for name in names if name in NETWORKS)
    recipe = Recipe(seeds=seeds, **({"cells": cells} if cells else {}))
    # Whose folders they are is nobody's business.
    command = shlex.join(Path(word).name if "/" in word else word for word in sys.argv[1:])
    result = run(
        inputs, plan, names, out, recipe, ablation, all_steps, quick, for_terminal(), jobs or cpu_count(),
        command,
    )  # fmt: skip
    if as_json:
        typer.echo((out / "scores.json").read_text(encoding="utf-8"))
        return result
    print_scores(result.scores.overall)
    typer.echo(f"\nAt one session ahead. {result.verdict()}")
    typer.echo(f"Written: {out / 'scores.json'}, {out / 'forecasts'}, {out / 'report.html'}")
    return result
