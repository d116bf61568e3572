"""What if, as its user asks it: words in, two forecasts side by side out."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import Run
from exchange_calendars import get_calendar

from forecaster.explain.scenario import LABEL
from forecaster.store import Store

AHEAD = get_calendar("XNAS", start="2023-09-22", end="2023-10-31").sessions[:20].strftime("%Y-%m-%d")
"""The sessions after the sample's last."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    yield Run(elsewhere)
    assert not list(elsewhere.iterdir())


def asked(*words: str) -> list[str]:
    return [part for word in words for part in ("--what-if", word)]


def test_both_forecasts_come_as_json_and_nothing_is_issued(run: Run, trained_home: Path) -> None:
    store = Store(trained_home / "store")
    before = store.version("forecasts")
    words = asked(f"results@{AHEAD[6]}:-0.8", "market=-3%")
    said = json.loads(run("forecast", "AAPL", *words, "--json", "--home", trained_home).stdout)
    stored = store.rows("forecasts", where={"symbol": ["AAPL"], "model": ["served"]}).sort_values("step")
    for name in ("q05", "q50", "q95"):
        prices = [row[name] for row in said["rows"]]
        np.testing.assert_allclose(prices, stored["base_price"] * np.exp(stored[name]), atol=1e-3)
    supposed = said["what_if"]
    assert [row["session"] for row in supposed["rows"]] == list(AHEAD)
    assert supposed["rows"][0]["q05"] != said["rows"][0]["q05"], "the market moves every session"
    assert supposed["scenario"] == {
        "events": [{"kind": "results", "date": AHEAD[6], "tone": -0.8}],
        "market": -3.0,
        "volatility_index": None,
    }
    assert supposed["notes"][-1] == LABEL
    assert all(isinstance(warning, str) for warning in supposed["warnings"])
    assert store.version("forecasts") == before


def test_the_table_shows_both_at_the_usual_steps_and_at_the_event_s(run: Run, trained_home: Path) -> None:
    shown = run("forecast", "AAPL", *asked(f"leadership@{AHEAD[6]}:-0.5"), "--home", trained_home).stdout
    steps = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert steps == ["1", "5", "7", "10", "20"]
    assert "As it stands: median" in shown
    assert "What if: 95 %" in shown
    assert f"leadership@{AHEAD[6]}:-0.5" in shown
    assert LABEL in shown
    assert "Warning: The history of the model's symbols holds" in shown


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("strike@2023-10-03", "'strike'"),
        ("results@03/10/2023", "'03/10/2023' is no date"),
        ("results@2023-10-03:9", "tone"),
        ("oil=+5", "expected KIND@DATE[:TONE]"),
        ("vix=much", "'much' is no number"),
    ],
)
def test_words_that_cannot_be_read_are_refused(run: Run, tmp_path: Path, word: str, named: str) -> None:
    home = tmp_path / "home"
    assert named in run.refused("forecast", "AAPL", *asked(word), "--home", home, code=2)
    assert not home.exists()


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("policy@2023-09-23", f"is no session of XNAS; the next sessions are {AHEAD[0]}, {AHEAD[1]}"),
        ("vix=+10", "No volatility index is known"),
    ],
)
def test_what_does_not_fit_the_workspace_is_refused(
    run: Run, trained_home: Path, word: str, named: str
) -> None:
    assert named in run.refused("forecast", "AAPL", *asked(word), "--home", trained_home, code=2)
