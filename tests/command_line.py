"""The command line as its user meets it: a process, its output, its exit code."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from forecaster.cli.common import DONE

ROOT = Path(__file__).parents[1]


class Run:
    """Runs commands in an empty folder, which must stay empty."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = environment or {}

    def __call__(self, *words: object, code: int = DONE) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "forecaster", *map(str, words)],
            cwd=self.folder, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **self.environment},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def refused(self, *words: object, code: int = 1) -> str:
        """Run what must fail and return its only error line."""
        done = self(*words, code=code)
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        assert len(errors) == 1, done.stderr
        assert done.stderr.splitlines()[-1] == errors[0]
        assert errors[0].startswith("error: ")
        return errors[0]
