"""The README's table is that of the stored results, and its commands exist."""

import importlib.util
import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas as pd

from forecaster.evaluation.verdict import verdict
from forecaster.report import score_rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_stored_results() -> None:
    spec = importlib.util.spec_from_file_location("sample_benchmark", ROOT / "benchmarks" / "sample.py")
    assert spec and spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    results = json.loads(benchmark.RESULTS.read_text(encoding="utf-8"))
    assert benchmark.insert(README, results) == README
    scores = pd.read_json(StringIO(json.dumps(results["scores"])))
    assert results["verdict"] == verdict(scores)
    assert results["rows"] == score_rows(scores).to_dict("records")


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"python -m forecaster ([a-z]+)", README))
    assert {"quickstart", "update", "forecast", "dashboard"} <= named
    for command in named:
        done = subprocess.run(
            [sys.executable, "-m", "forecaster", command, "--help"],
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, command


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
