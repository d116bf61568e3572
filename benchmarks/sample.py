"""The README's first table: every model with the default recipe on the bundled sample.

Run ``python benchmarks/sample.py``; it takes some three minutes, writes
``benchmarks/results/sample.json`` and puts the table into the README.
"""

import tempfile
from pathlib import Path

from tables import keep

import forecaster as fc
from forecaster.benchmark import benchmark
from forecaster.benchmark.inputs import Inputs
from forecaster.models import CLASSICAL
from forecaster.progress import for_terminal

MODELS = [*CLASSICAL, "pool_classical", "lstm", "gru", "pool", "served"]


def main() -> None:
    """Run the evaluation on the last two years of the sample."""
    with tempfile.TemporaryDirectory() as home:
        workspace = fc.Workspace(home, fc.Settings(source="sample"))
        workspace.update(["AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"], "sample")
        inputs = Inputs(workspace.history(), ["The bundled sample."])
        plan = fc.Plan(folds=2, test_sessions=504)
        keep("sample", benchmark(inputs, plan, MODELS, Path(home) / "out", progress=for_terminal(), jobs=2))


if __name__ == "__main__":
    main()
