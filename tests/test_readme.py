"""The README's tables are those of the stored results, and its commands exist."""

import importlib
import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecaster
from forecaster.evaluation.verdict import subject, verdict
from forecaster.models import SERVED, TITLES
from forecaster.report import score_rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sample", "panel"])
def test_each_table_is_that_of_the_stored_results(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("tables")
    results = json.loads((tables.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert tables.insert(README, name, results) == README
    scores = pd.read_json(StringIO(json.dumps(results["scores"])))
    assert verdict(scores, 1, subject(scores)) in results["verdict"]
    assert results["rows"] == score_rows(scores).to_dict("records")
    shown = {row["Model"].removesuffix(" (best)") for row in results["rows"]}
    assert shown == {TITLES[model] for model in results["about"]["models"]}
    assert "/" not in json.dumps(results["about"]["inputs"])


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


def test_the_scenario_in_the_notebook_is_one_of_today(trained_home: Path) -> None:
    (block,) = re.findall(r"```python\n(print\(ws\.events.*?)```", README, re.DOTALL)
    exec(block, {"fc": forecaster, "ws": forecaster.Workspace(trained_home)})


def test_the_words_before_the_tables_tell_their_figures() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "sample.json").read_text(encoding="utf-8"))
    scores = pd.read_json(StringIO(json.dumps(results["scores"])))
    served = scores[(scores["model"] == SERVED) & (scores["step"] == 1)].iloc[0]
    assert f"{100 * np.expm1(served['log_score_gain']):.1f} % more probability density" in README


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
