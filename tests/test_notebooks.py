"""The notebooks run from top to bottom, as a reader would run them, in their quick form."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
NOWHERE = "http://127.0.0.1:9"
"""A proxy that does not answer: a notebook that asked the network would fail."""


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, scratch = tmp_path / "reader", tmp_path / "scratch"
    reader.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    monkeypatch.setenv("FORECASTER_QUICK", "1")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(reader)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert {one.name for one in reader.iterdir()} <= {"workspace"}
    assert not [one.name for one in scratch.iterdir() if one.is_dir()]
