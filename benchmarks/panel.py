"""The README's second and third tables: every model on a panel of large companies, eleven yearly refits.

Run ``python benchmarks/panel.py prices.parquet OUT``; the file is one that ``benchmark`` reads, from
2010 on, such as ``python benchmarks/pull.py prices.parquet`` brings. It takes some forty minutes on
two cores, goes on in OUT if it was stopped, writes ``benchmarks/results/panel.json`` and puts the
table into the README. With ``--events FILE`` (and ``--market``, ``--macro``), as ``benchmark`` takes them,
it is ``panel_events.json`` and the third table.
"""

import argparse
from pathlib import Path

import pandas as pd
from sample import MODELS
from tables import keep

import forecaster as fc
from forecaster.benchmark import benchmark
from forecaster.benchmark.inputs import read_inputs
from forecaster.progress import for_terminal


def main() -> None:
    """Run the evaluation with the networks and the ablation."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("prices", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    words.add_argument("--events", type=Path, action="append", default=[])
    given = words.parse_args()
    plan = fc.Plan(pd.Timestamp("2015-01-01"), pd.Timestamp("2025-12-31"), "12m")
    recipe, progress = fc.Recipe(seeds=3), for_terminal()
    inputs = read_inputs(given.prices, given.market, given.macro, given.events)
    run = benchmark(inputs, plan, MODELS, given.out, recipe, ablation=True, progress=progress, jobs=2)
    keep("panel_events" if given.events else "panel", run)


if __name__ == "__main__":
    main()
