"""Workspaces that tests share: made once, copied where a test writes."""

import shutil
from pathlib import Path

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import pytest
from browsing import address, browser, pictures  # noqa: F401  fixtures
from filelock import FileLock
from job_desk import job_home  # noqa: F401  a fixture
from market import begun

from forecaster.config import Recipe, Settings
from forecaster.first_run import quickstart
from forecaster.history import History
from forecaster.workspace import Workspace

TINY = Recipe(lookback=16, units=4, seeds=1, epochs=2, batch=64, horizon=20)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that trains in seconds; it proves the road, not the skill."""
    return TINY


@pytest.fixture(scope="session")
def _sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sample")
    Workspace(home, Settings(source="sample")).update(["AAPL", "NFLX", "NVDA"], "sample")
    return home


@pytest.fixture
def sample_workspace(_sample_home: Path, tmp_path: Path) -> Workspace:
    """A workspace of one's own with three of the sample's symbols and no model."""
    return Workspace(shutil.copytree(_sample_home, tmp_path / "home"))


@pytest.fixture(scope="session")
def history(_sample_home: Path) -> History:
    """Three of the sample's symbols, all sessions; not to be written to."""
    return Workspace(_sample_home).history()


@pytest.fixture(scope="session")
def market_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A workspace of a small market after its first retraining; not to be written to."""
    folder = tmp_path_factory.getbasetemp()
    home = (folder if worker_id == "master" else folder.parent) / "market"
    with FileLock(home.with_suffix(".lock")):
        if not (home / "done").exists():
            begun(home)
            (home / "done").touch()
    return home


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A quickstarted workspace on the sample with a tiny model; not to be written to."""
    folder = tmp_path_factory.getbasetemp()
    # Workers of one run share the parent folder: the first makes the workspace, the others wait.
    shared = folder if worker_id == "master" else folder.parent
    home = shared / "trained"
    with FileLock(shared / "trained.lock"):
        if not (home / "done").exists():
            quickstart(Workspace(home, Settings(home=home, source="sample")), TINY)
            (home / "done").touch()
    return home


@pytest.fixture
def trained_workspace(trained_home: Path, tmp_path: Path) -> Workspace:
    """A copy of the trained workspace for a test that writes."""
    return Workspace(shutil.copytree(trained_home, tmp_path / "trained"))
