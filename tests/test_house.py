"""The house itself: rooms import downward only, the front door is what it says, the words are kept."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import forecaster
from forecaster import tables
from forecaster.config import Recipe, Settings
from forecaster.errors import ForecasterError, UsageError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "forecaster"

ROOMS = [
    "errors", "config", "progress", "tables", "instruments", "sessions", "events", "locks", "store",
    "adjust", "sources", "remedies", "ingest", "history", "features", "windows", "models", "evaluation",
    "plots", "score_plots", "event_plots", "event_marks", "fan_plots", "network_plots", "record_plots",
    "decisions", "promotion", "registry", "ledger", "live", "health", "report", "benchmark", "findings",
    "explain", "inside_plots", "workflow", "challenge", "workspace", "doctor", "timetable", "retrain",
    "first_run", "follow", "alerts", "jobs", "schedule", "login", "cli", "dashboard",
]  # fmt: skip
"""Every room imports only rooms above it in this list."""

INSIDE = {
    "sources": [
        "__init__",
        "yahoo",
        "tiingo",
        "files",
        "sample",
        "event_files",
        "sample_events",
        "yahoo_events",
        "tone",
        "news",
        "filings",
    ],
    "ingest": [
        "pace",
        "overlap",
        "unreported",
        "checks",
        "sift",
        "gaps",
        "quarantine",
        "runs",
        "factors",
        "company_events",
        "__init__",
    ],
    "explain": [
        "__init__",
        "effects",
        "announced",
        "scenario",
        "gates",
        "backward",
        "twin",
        "memory",
        "attribution",
        "inside",
        "belt",
        "experiments",
    ],
    "features": [
        "volatility",
        "bars",
        "ahead",
        "trend",
        "previous_day",
        "company",
        "sectors",
        "exogenous",
        "titles",
        "__init__",
    ],
    "models": [
        "distribution",
        "novelty",
        "drift",
        "calibrate",
        "__init__",
        "paths",
        "scale",
        "scaled_t",
        "rolling_t",
        "ewma_t",
        "constant",
        "garch",
        "har",
        "skip",
        "surprise",
        "boosting",
        "pool",
        "tabulate",
        "loss",
        "weights",
        "network",
        "gradients",
        "reading",
        "serving",
        "export",
        "recurrent",
        "ensemble",
        "card",
        "trained",
    ],
    "jobs": ["record", "recorder", "__init__"],
    "cli": [
        "common",
        "data",
        "evaluation",
        "explain",
        "leaks",
        "models",
        "retraining",
        "service",
        "__init__",
    ],
    "evaluation": [
        "__init__",
        "folds",
        "significance",
        "confidence",
        "shrinkage",
        "direction",
        "losses",
        "comparisons",
        "ranking",
        "scores",
        "verdict",
        "kept",
        "walk",
        "event_study",
        "ablation",
        "backtest",
        "perturbation",
        "invariance",
        "subjects",
        "leakage",
    ],
    "benchmark": ["inputs", "words", "document", "pairs", "sections", "event_sections", "page", "__init__"],
    "dashboard": [
        "reads",
        "texts",
        "event_reads",
        "record_reads",
        "access",
        "account",
        "actions",
        "questions",
        "links",
        "downloads",
        "charts",
        "controls",
        "live_slider",
        "winners",
        "loaded",
        "what_if",
        "fan",
        "quantiles",
        "evidence",
        "dependencies",
        "bundle",
        "forecast",
        "record",
        "compare",
        "experiments",
        "conveyor",
        "inside",
        "jobs",
        "cards",
        "models",
        "events",
        "data",
        "method",
        "watched",
        "today",
        "__init__",
    ],
}
"""The same inside a room; a table of variants may name the files below it, late, in a function."""

FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> set[tuple[str, bool]]:
    """Names of this package that a file imports, each with whether it does so inside a function."""
    tree = ast.parse(file.read_text())
    late = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "forecaster":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "forecaster"]
        else:
            continue
        found |= {(name, node in late) for name in names}
    return found


def place(name: str) -> tuple[str, str]:
    """Room and file of a dotted name."""
    parts = name.split(".")[1:]
    room = parts[0]
    if room in INSIDE:
        return room, parts[1] if len(parts) > 1 and parts[1] in INSIDE[room] else "__init__"
    return room, ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_only_downward(file: Path) -> None:
    relative = file.relative_to(PACKAGE).with_suffix("")
    if str(relative) in ("__init__", "__main__"):
        pytest.skip("the front door opens onto every room")
    room, inside = relative.parts[0], relative.parts[1] if len(relative.parts) > 1 else ""
    for name, late in imported(file):
        their_room, their_file = place(name)
        assert their_room in ROOMS, name
        if their_room == room and room in INSIDE:
            order = INSIDE[room]
            is_table = inside == "__init__" and late
            assert is_table or order.index(their_file) < order.index(inside), f"{relative} imports {name}"
        else:
            assert ROOMS.index(their_room) < ROOMS.index(room), f"{relative} imports {name}"


def test_every_file_has_its_place() -> None:
    for file in FILES:
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        assert parts[0] in (*ROOMS, "__init__", "__main__"), file
        if len(parts) > 1:
            assert parts[1] in INSIDE[parts[0]], file


def test_no_file_wants_to_be_two_rooms() -> None:
    assert not [file.name for file in FILES if len(file.read_text().splitlines()) > 400]


def test_all_equals_the_public_names() -> None:
    assert sorted(forecaster.__all__) == list(forecaster.__all__)
    assert set(forecaster.__all__) == set(forecaster._ROOMS)
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = next(node for node in ast.walk(tree) if isinstance(node, ast.If))
    typed = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == set(forecaster.__all__)
    for name in forecaster.__all__ * 2:
        value = getattr(forecaster, name)
        assert value.__doc__, name
        assert value.__name__ == name, "a module of that name hides it"
    with pytest.raises(AttributeError, match="plot_forecast"):
        forecaster.nonsense  # noqa: B018


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import sys, forecaster; heavy = {'pandas', 'numpy', 'keras', 'tensorflow', 'typer'}; "
    subprocess.run([sys.executable, "-c", code + "assert not heavy & set(sys.modules)"], check=True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from forecaster.cli import app; app(['--help'], standalone_mode=False); "
        "assert not {'pandas', 'numpy', 'keras', 'mlflow', 'streamlit'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_remedies_know_the_groups_of_commands() -> None:
    from forecaster.cli import app
    from forecaster.remedies import GROUPS, located

    assert {group.name for group in app.registered_groups} == set(GROUPS)
    text = "go: python -m forecaster models list, or python -m forecaster update A --now, or: quickstart"
    assert located(text, Path("a b")) == (
        "go: python -m forecaster models list --home 'a b', or "
        "python -m forecaster update --home 'a b' A --now, or: quickstart"
    )
    named = "python -m forecaster quickstart --home mydata"
    assert located(named, Path("other")) == named


@pytest.mark.parametrize("package", ["tensorflow", "torch", "jax"])
def test_no_file_but_one_names_a_keras_backend(package: str) -> None:
    for file in set(FILES) - {PACKAGE / "models" / "gradients.py"}:
        assert f"import {package}" not in file.read_text(), file


def test_nothing_is_pickled() -> None:
    for file in FILES:
        text = file.read_text()
        assert "pickle" not in text, file
        assert "joblib.load" not in text, file


def test_every_error_is_drawn_in_the_tree() -> None:
    from forecaster import errors

    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    for one in kinds:
        assert issubclass(one, ForecasterError)
        assert one.__name__ in (errors.__doc__ or "")


def test_an_unknown_table_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="prices, actions, instruments"):
        tables.table("nonsense")


def test_a_recipe_is_named_by_its_content() -> None:
    assert Recipe().hash == Recipe().hash != Recipe(units=33).hash
    assert Recipe().but(seeds=3) == Recipe(seeds=3)
    assert Recipe(**Recipe(cells=("gru",)).model_dump(mode="json")) == Recipe(cells=("gru",))
    for wrong in (
        {"cells": ("lstm", "lstm")},
        {"cells": ()},
        {"lookback": 0},
        {"horizon": "x"},
        {"nonsense": 1},
    ):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Recipe(**wrong)


def test_settings_come_from_the_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORECASTER_HOME", raising=False)
    (tmp_path / "forecaster.toml").write_text('home = "elsewhere"\nport = 9000\n')
    assert Settings.load().home == Path("elsewhere")
    monkeypatch.setenv("FORECASTER_PORT", "9001")
    assert Settings.load().port == 9001
    assert Settings.load(port=9002).port == 9002
    monkeypatch.setenv("FORECASTER_PORT", "many")
    with pytest.raises(UsageError, match="port"):
        Settings.load()
    monkeypatch.setenv("FORECASTER_PORT", "9001")
    monkeypatch.setenv("FORECASTER_WATCHLIST", "AAPL, MSFT")
    assert Settings.load().watchlist == ("AAPL", "MSFT")
    (tmp_path / "forecaster.toml").write_text("home = \n")
    with pytest.raises(UsageError, match="cannot be read"):
        Settings.load()
