"""What each switch of the recipe is worth: the same folds, with one switch turned at a time.

Run ``python benchmarks/switches.py prices.parquet --test-start DAY --test-end DAY [--market FILE]
[--macro FILE] [--events FILE ...]``, files as ``benchmark`` reads them. The default recipe with one
kind of network and one random start is refitted every twelve months; then, for each switch, what it
concerns: the network, or what is served. Printed is the gain in log score over the default 1, 5 and 20
sessions ahead, in ten-thousandths of a nat, with its t-statistic over dates: below zero the switch
costs. The defaults were chosen on days before 2015 (LOG.md).
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import forecaster as fc
from forecaster.benchmark.inputs import read_inputs
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import InMemory, Part
from forecaster.evaluation.significance import daily_losses, paired_test
from forecaster.evaluation.walk import walk, with_members
from forecaster.features import assemble
from forecaster.models import SERVED
from forecaster.progress import for_terminal
from forecaster.windows import Windows

CELL = "gru"
STEPS = [1, 5, 20]
OF_THE_NETWORK: dict[str, dict[str, Any]] = {
    "no linear part": {"linear_part": False},
    "no memory of surprises": {"surprise": False},
    "the layer reads shared inputs, too": {"own_memory": False},
    "corrections not cut": {"shrink": False},
    "the state may change what is known ahead": {"response": True},
    "CRPS beside the log score": {"crps": 1.0},
    "a charge on corrections": {"decay": 1e-3},
}
OF_THE_POOL: dict[str, dict[str, Any]] = {
    "networks alone": {"beside": ()},
    "with GJR-GARCH-t beside": {"beside": ("gjr_t", "harx")},
    "equal weights": {"learned_weights": False},
    "not calibrated": {"calibrated": False},
}


def main() -> None:
    """Walk with the default and with every switch, and print the gains."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("prices", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    words.add_argument("--events", type=Path, action="append", default=[])
    words.add_argument("--test-start", type=pd.Timestamp, required=True)
    words.add_argument("--test-end", type=pd.Timestamp, required=True)
    words.add_argument("--jobs", type=int, default=1)
    given = words.parse_args()
    recipe = fc.Recipe(cells=(CELL,), seeds=1)
    history = read_inputs(given.prices, given.market, given.macro, given.events).history
    windows = Windows(assemble(history, recipe.groups), recipe.lookback, recipe.horizon)
    folds = fc.Plan(given.test_start, given.test_end).cut(windows)
    default = InMemory()

    def go(kept: InMemory, names: list[str], changed: fc.Recipe) -> None:
        walk(windows, folds, names, changed, STEPS, kept, for_terminal(), given.jobs)

    go(default, with_members([SERVED, "gjr_t"], recipe), recipe)
    for what, change in OF_THE_NETWORK.items():
        other = InMemory()
        go(other, with_members([CELL], recipe), recipe.but(**change))
        _print(CELL, what, _gains(CELL, other, default, folds))
    for what, change in OF_THE_POOL.items():
        other = InMemory({part: rows for part, rows in default.items() if part.model != SERVED})
        go(other, with_members([SERVED, "gjr_t"], recipe), recipe.but(**change))
        _print(SERVED, what, _gains(SERVED, other, default, folds))


def _gains(name: str, first: InMemory, second: InMemory, folds: list[Fold]) -> list[tuple[float, float]]:
    """Return the gain over the default and its t-statistic, by step."""
    tables = [
        kept.get(Part(name, place)).assign(model=model)
        for model, kept in (("changed", first), ("default", second))
        for place in range(len(folds))
    ]
    rows, found = pd.concat(tables), []
    for step in STEPS:
        losses = daily_losses(rows[rows["step"] == step], "log_score")
        test = paired_test(losses["changed"].to_numpy(), losses["default"].to_numpy(), step)
        found.append((-1e4 * test.difference, -test.difference / test.error))
    return found


def _print(model: str, what: str, gains: list[tuple[float, float]]) -> None:
    told = " | ".join(f"{gain:+7.1f} (t {t:+.1f})" for gain, t in gains)
    print(f"| {model} | {what} | {told} |", flush=True)


if __name__ == "__main__":
    main()
