"""The experiments on memory: what they draw, that they run from their command, and what they have found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.explain.experiments import BEFORE, LAYERS, planted, reaches

ROOT = Path(__file__).parents[1]


def test_the_event_lies_where_it_is_said_to() -> None:
    inputs, outcome = planted(7, 40, 3)
    assert inputs.shape == (40, BEFORE + 8, 2)
    event = inputs[:, -1 - 7]
    np.testing.assert_array_equal(event[:, 0], outcome[:, 0])
    np.testing.assert_array_equal(event[:, 1], 1)
    assert inputs[..., 1].sum() == 40
    again, _ = planted(7, 40, 3)
    np.testing.assert_array_equal(inputs, again)


def test_reach_is_the_last_lag_before_the_first_that_is_forgotten() -> None:
    """Of several seeds the median counts."""
    errors = {1: [0.1, 0.2, 0.9], 5: [0.4, 0.4, 0.4], 10: [0.9, 0.9, 0.1], 20: [0.1, 0.1, 0.1]}
    rows = [("gru", lag, error) for lag, three in errors.items() for error in three]
    table = pd.DataFrame([*rows, ("rnn", 1, 0.7)], columns=["cell", "lag", "error"])
    assert reaches(table) == {"gru": 5, "rnn": 0}


@pytest.mark.slow
def test_the_command_runs_and_writes_every_table(tmp_path: Path) -> None:
    out = tmp_path / "memory.json"
    subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "memory.py", "--quick", "--out", out],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    told = json.loads(out.read_text())
    assert {row["cell"] for row in told["recall"]} == set(LAYERS) == set(told["reaches"])
    assert {row["cell"] for row in told["gradients"]} == {row["cell"] for row in told["epochs"]}
    unclipped = [row for row in told["exploding"] if row["cell"] == "rnn_relu" and row["clip"] is None]
    assert unclipped[-1]["norm"] is None or unclipped[-1]["norm"] > 1e6, "the gradient explodes"
    assert told["about"]["quick"]
