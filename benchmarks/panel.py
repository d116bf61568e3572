"""The README's second table: every model on a panel of large companies, eleven yearly refits.

Run ``python benchmarks/panel.py prices.parquet OUT [--market FILE] [--macro FILE] [--events FILE ...]``,
files as ``benchmark`` reads them, from 2010 on; ``python benchmarks/pull.py prices.parquet`` brings
prices. It takes some half an hour on two cores, goes on in OUT if it was stopped, writes
``benchmarks/results/panel.json`` and puts the table into the README. With ``--ablation`` it tells as well
what HARX loses without inputs; ``benchmark --ablation`` tries the networks, too.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
from sample import MODELS
from tables import keep

import forecaster as fc
from forecaster.benchmark import benchmark
from forecaster.benchmark.inputs import read_inputs
from forecaster.progress import for_terminal


def main() -> None:
    """Run the evaluation with the networks, and the ablation of HARX if asked."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("prices", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    words.add_argument("--events", type=Path, action="append", default=[])
    words.add_argument("--ablation", action="store_true")
    given = words.parse_args()
    plan = fc.Plan(pd.Timestamp("2015-01-01"), pd.Timestamp("2025-12-31"), "12m")
    recipe, progress = fc.Recipe(seeds=2), for_terminal()
    inputs = read_inputs(given.prices, given.market, given.macro, given.events)
    run = benchmark(inputs, plan, [*MODELS, "rnn"], given.out, recipe, progress=progress, jobs=2)
    if given.ablation:
        place = given.out / "inputs"
        alone = benchmark(inputs, plan, ["harx"], place, recipe, ablation=True, progress=progress, jobs=2)
        run = replace(run, ablation=alone.ablation)
    keep("panel", run)


if __name__ == "__main__":
    main()
