"""The README's second table: every model on a panel of large companies, eleven yearly refits.

Run ``python benchmarks/panel.py prices.parquet OUT [--market FILE] [--macro FILE] [--events FILE ...]``,
files as ``benchmark`` reads them, from 2010 on; ``python benchmarks/pull.py prices.parquet`` brings
prices. It takes some half an hour on two cores, goes on in OUT if it was stopped, writes
``benchmarks/results/panel.json`` and puts the table into the README. The ablation is of HARX alone;
``benchmark --ablation`` tries the networks, too.
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
    """Run the evaluation with the networks, and the ablation of HARX."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("prices", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    words.add_argument("--events", type=Path, action="append", default=[])
    given = words.parse_args()
    plan = fc.Plan(pd.Timestamp("2015-01-01"), pd.Timestamp("2025-12-31"), "12m")
    recipe, progress = fc.Recipe(seeds=2), for_terminal()
    inputs = read_inputs(given.prices, given.market, given.macro, given.events)
    run = benchmark(inputs, plan, MODELS, given.out, recipe, progress=progress, jobs=2)
    alone = benchmark(
        inputs, plan, ["harx"], given.out / "inputs", recipe, ablation=True, progress=progress, jobs=2
    )
    keep("panel", replace(run, ablation=alone.ablation))


if __name__ == "__main__":
    main()
