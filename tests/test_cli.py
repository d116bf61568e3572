"""The command line as its user meets it: a process, its output, its exit code."""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from exchange_calendars import get_calendar

from forecaster.cli.common import PARTLY
from forecaster.decisions import CHALLENGER
from forecaster.errors import RateLimited, SourceError
from forecaster.sources import Fetched, Outcome
from forecaster.workspace import Workspace

HEADER = "date,symbol,open,high,low,close,volume"
SOUND = "2024-01-02,AAA,10,11,9,10.5,100"
QUANTILES = ["q01", "q025", "q05", "q10", "q25", "q50", "q75", "q90", "q95", "q975", "q99"]
LEVELS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    yield Run(elsewhere)
    assert not list(elsewhere.iterdir())


def written(home: Path) -> dict[Path, bytes]:
    """Every file of a workspace and its content; the registry opens its database as it likes."""
    return {
        path: path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith("mlflow.db")
    }


def prices(days: pd.DatetimeIndex, symbol: str) -> str:
    """A random walk over some sessions as the text of a CSV file."""
    close = 50 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.01, len(days))))
    frame = pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "symbol": symbol, "open": close})
    return frame.assign(high=close * 1.01, low=close * 0.99, close=close, volume=1e6).to_csv(index=False)


def last_sessions(last: str, count: int) -> pd.DatetimeIndex:
    return get_calendar("XNYS", start="2013-01-02", end="2024-12-31").sessions_window(last, -count)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run: Run, words: list[str]) -> None:
    shown = run(*words).stdout
    for command in (
        "quickstart",
        "update",
        "import",
        "train",
        "forecast",
        "watchlist",
        "models",
        "dashboard",
    ):
        assert re.search(rf"^ *{command} ", shown, re.MULTILINE)


def test_a_command_s_help_lists_its_options(run: Run) -> None:
    shown = run("forecast", "--help").stdout
    assert all(option in shown for option in ("--home", "--as-of", "--json"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nonsense"], "nonsense"),
        (["forecast", "AAPL", "--nope"], "--nope"),
        (["forecast"], "'symbol'"),
        (["forecast", "AAPL", "MSFT"], "MSFT"),
        (["watchlist"], "Missing command"),
        (["models", "nonsense"], "nonsense"),
        (["train", "--seeds", "two"], "'--seeds'"),
        (["train", "--home"], "--home"),
    ],
)
def test_bad_usage(run: Run, words: list[str], named: str) -> None:
    message = run.refused(*words, code=2)
    assert named in message
    assert re.search(r"; see python -m forecaster (\w+ )*--help$", message)


@pytest.mark.parametrize(
    ("words", "named", "remedy"),
    [
        (["update", "AAPL", "--source", "nope"], "'nope'", "choose one of yahoo, tiingo, sample"),
        (["quickstart", "--source", "nope"], "'nope'", "'auto', 'yahoo', 'tiingo' or 'sample'"),
        (["quickstart", "--source", "sample", "--cells", "mlp"], "'mlp'", "'rnn', 'lstm' or 'gru'"),
        (["train", "--cells", "lstm,lstm"], "cells", "none twice"),
        (["train", "--seeds", "0"], "seeds", "greater than or equal to 1"),
        (["forecast", "A A"], "'A A'", "something like AAPL"),
        (["forecast", "AAPL", "--as-of", "yesterday"], "'yesterday'", "expected YYYY-MM-DD"),
        (["forecast", "AAPL", "--as-of", "2024-02-30"], "'2024-02-30'", "expected YYYY-MM-DD"),
        (["forecast", "AAPL", "--as-of", "03/04/2024"], "'03/04/2024'", "expected YYYY-MM-DD"),
        (["forecast", "AAPL", "--as-of", ""], "''", "expected YYYY-MM-DD"),
        (["train", "--as-of", "soon"], "'soon'", "expected YYYY-MM-DD"),
        (["import", "x.csv", "--exchange", "NOPE"], "'NOPE'", "such as XNYS"),
        (["import", "x.csv", "--columns", "close"], "'close'", "our=theirs"),
        (["dashboard", "--port", "70000"], "port", "less than or equal to 65535"),
        (["models", "show", "7"], "'7'", "choose one of"),
    ],
)
def test_a_bad_value(run: Run, tmp_path: Path, words: list[str], named: str, remedy: str) -> None:
    home = tmp_path / "home"
    message = run.refused(*words, "--home", home, code=2)
    assert named in message
    assert remedy in message
    assert not home.exists()


BAD_FILES = {
    "empty": ("", "is empty", "expected a header"),
    "no date column": (f"when{HEADER[4:]}\n{SOUND}\n", "no date column", "--columns session="),
    "duplicate dates": (f"{HEADER}\n{SOUND}\n{SOUND}\n", "line 3, column date", "keep one row"),
    "unsorted dates": (
        f"{HEADER}\n2024-01-03{SOUND[10:]}\n{SOUND}\n",
        "line 3, column date",
        "sort AAA by date",
    ),
    "negative price": (
        f"{HEADER}\n{SOUND.replace('9', '-9')}\n",
        "line 2, AAA: low: zero or negative",
        "correct",
    ),
    "zero price": (
        f"{HEADER}\n{SOUND.replace('10.5', '0')}\n",
        "close: zero or negative",
        "correct or remove",
    ),
    "high below low": (
        f"{HEADER}\n{SOUND.replace('11', '8')}\n",
        "line 2, AAA: high below low",
        "correct or remove",
    ),
    "NaN": (
        f"{HEADER}\n{SOUND.replace('11', 'NaN')}\n",
        "line 2, column high",
        "correct it or remove the row",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_faulty_file_stores_nothing(run: Run, tmp_path: Path, case: str) -> None:
    content, named, remedy = BAD_FILES[case]
    file, home = tmp_path / "bad.csv", tmp_path / "home"
    file.write_text(content)
    message = run.refused("import", file, "--home", home)
    assert "bad.csv" in message
    assert named in message
    assert remedy in message
    assert not home.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["update", "AAPL", "--source", "sample"],
        ["quickstart", "--source", "sample"],
        ["watchlist", "add", "AAPL"],
    ],
)
def test_a_data_folder_that_cannot_be_written(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    message = run.refused(*words, "--home", tmp_path / "file" / "home")
    assert str(tmp_path / "file" / "home") in message
    assert "choose another with --home" in message


def test_a_port_in_use(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = run.refused("dashboard", "--port", port, "--home", tmp_path / "home")
    assert f"Port {port} is in use" in message
    assert f"--port {port + 1}" in message


def test_before_any_data_and_any_model(run: Run, tmp_path: Path, sample_workspace: Workspace) -> None:
    empty = tmp_path / "empty"
    for words in (["forecast", "AAPL"], ["train"], ["update"]):
        assert "python -m forecaster" in run.refused(*words, "--home", empty)
    assert not empty.exists()
    before = written(sample_workspace.home)
    message = run.refused("forecast", "AAPL", "--home", sample_workspace.home)
    assert "No model yet" in message
    assert "python -m forecaster quickstart" in message
    assert written(sample_workspace.home) == before


def test_update_in_full_in_part_and_not_at_all(run: Run, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    first = json.loads(run("update", "AAPL", "--source", "sample", "--json", *home).stdout)
    assert [(row["symbol"], row["outcome"], row["rows"] > 2000) for row in first] == [("AAPL", "ok", True)]
    partly = json.loads(
        run("update", "AAPL", "NONE", "--source", "sample", "--json", *home, code=PARTLY).stdout
    )
    assert [(row["symbol"], row["outcome"], row["rows"]) for row in partly] == [
        ("AAPL", "ok", 0),
        ("NONE", "gone", 0),
    ]
    message = run.refused("update", "NONE", "--source", "sample", *home)
    assert "NONE: gone" in message
    assert "check the symbols" in message
    assert json.loads(run("watchlist", "list", "--json", *home).stdout) == ["AAPL"]


def test_events_on_the_command_line(run: Run, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    shown = run("update", "AAPL", "--source", "sample", *home).stdout
    assert re.search(r"sample +│ 1 +│ 0 +│ 8 ", shown)
    rows = json.loads(run("events", "list", "aapl", "--json", *home).stdout)
    assert [row["known_at"][:10] for row in rows[:2]] == ["2021-09-04", "2021-08-06"]
    assert len(rows) == 8
    listed = run("events", "list", "--kind", "leadership", *home).stdout
    assert "Design chief Jony Ive" in listed
    assert "2019-06-27 20:30" in listed
    assert "iPhone" not in listed
    assert "choose one of results" in run.refused("events", "list", "--kind", "gossip", *home, code=2)
    assert run("events", "list", "NFLX", *home).stdout == "No events of NFLX stored.\n"


def test_an_update_without_events(run: Run, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    shown = run("update", "AAPL", "--source", "sample", "--events", "none", *home).stdout
    assert "Events" not in shown
    assert json.loads(run("events", "list", "--json", *home).stdout) == []
    message = run.refused("update", "AAPL", "--source", "sample", "--events", "sample,gossip", *home, code=2)
    assert "'gossip'; choose one of yahoo, news, filings, sample" in message


def test_events_that_fail_cost_no_exit_code(run: Run, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    run.environment = {"FORECASTER_CONTACT": "", "FORECASTER_REQUESTS_PER_SECOND": "1000"}
    shown = run("update", "AAPL", "--source", "sample", "--events", "filings", *home).stdout
    assert re.search(r"filings +│ 1 +│ 1 +│ 0 +│ AAPL: invalid, set FORECASTER_CONTACT", shown)
    assert run("doctor", *home).stdout


def test_a_file_of_events(run: Run, tmp_path: Path) -> None:
    file, home = tmp_path / "own.csv", ["--home", tmp_path / "home"]
    file.write_text("symbol,kind,known_at,tone\nAAA,policy,2024-02-01T09:00:00Z,2\n")
    message = run.refused("import", file, *home)
    assert "own.csv, line 2, column tone: expected a number from -1 to 1" in message
    assert not (tmp_path / "home").exists()
    file.write_text(file.read_text().replace(",2\n", ",0.2\nBBB,other,2024-02-01,\n"))
    assert run("import", file, *home).stdout == "own.csv: 2 new events of 2 symbols.\n"
    again = json.loads(run("import", file, "--json", *home).stdout)
    assert [(row["symbol"], row["outcome"], row["rows"]) for row in again] == [
        ("AAA", "ok", 0),
        ("BBB", "ok", 0),
    ]
    assert "only the exchange" in run.refused("import", file, "--columns", "tone=mood", *home, code=2)


@pytest.mark.parametrize(
    ("outcomes", "error", "code"),
    [
        ({"AAA": Outcome.RATE_LIMITED}, RateLimited, 75),
        ({"AAA": Outcome.TRANSIENT, "BBB": Outcome.RATE_LIMITED}, RateLimited, 75),
        ({"AAA": Outcome.TRANSIENT}, SourceError, 1),
        ({"AAA": Outcome.TRANSIENT, "BBB": Outcome.TRANSIENT}, SourceError, 1),
    ],
)
def test_when_nothing_arrives(
    tmp_path: Path, outcomes: dict[str, Outcome], error: type[SourceError], code: int
) -> None:
    from forecaster.cli.data import _report_outcomes

    class Down:
        name = "down"
        remote = False

        def symbols(self) -> tuple[str, ...]:
            return tuple(outcomes)

        def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
            return Fetched(symbol, outcomes[symbol], detail="no luck")

    report = Workspace(tmp_path / "home").update(list(outcomes), Down())
    with pytest.raises(error, match="no luck") as raised:
        _report_outcomes(report, as_json=True)
    assert raised.value.exit_code == code


def test_what_fails_alike_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from forecaster.cli.data import _report_outcomes

    failed = [Outcome.TRANSIENT, Outcome.TRANSIENT]
    detail = "Yahoo cannot be reached from here: no name resolution"
    columns = {"symbol": ["AAA", "BBB"], "source": "yahoo", "outcome": failed, "rows": 0, "detail": detail}
    columns |= {"change": "same"}
    with pytest.raises(SourceError, match="None of 2 symbols arrived; transient: Yahoo cannot be reached"):
        _report_outcomes(pd.DataFrame(columns), as_json=False)
    assert capsys.readouterr().out == ""


def test_the_watchlist(run: Run, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    assert run("watchlist", "list", *home).stdout == "The watchlist is empty.\n"
    said = run("watchlist", "add", "msft", "AAPL", *home).stdout.splitlines()
    assert said[0] == "On the watchlist: MSFT, AAPL."
    update = f"python -m forecaster update {home[0]} {home[1]} MSFT AAPL"
    assert said[1] == f"No prices yet of MSFT, AAPL; bring prices: {update}"
    assert "On it before: AAPL." in run("watchlist", "add", "AAPL", *home).stdout
    said = run("watchlist", "remove", "MSFT", "nope", *home).stdout.splitlines()
    assert said == ["Off the watchlist: MSFT. What is stored stays.", "Not on the watchlist: NOPE."]
    assert run("watchlist", "list", *home).stdout == "AAPL\n"


def test_a_workspace_of_the_sample_says_what_it_cannot_have(run: Run, sample_workspace: Workspace) -> None:
    home = ["--home", sample_workspace.home]
    live = "for live prices: python -m forecaster quickstart --home mydata --source yahoo"
    assert live in run("watchlist", "find", "coca", "cola", *home).stdout
    assert live in run.refused("watchlist", "add", "KO", "META", *home)
    assert "META" not in sample_workspace.watchlist
    run("watchlist", "add", "META", *home)
    assert "META" in sample_workspace.watchlist


def test_a_workspace_of_files_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    file, home = tmp_path / "own.csv", ["--home", tmp_path / "home"]
    file.write_text(prices(last_sessions("2023-09-21", 40), "OWN"))
    run("import", file, *home)
    command = f"python -m forecaster import {home[0]} {home[1]} FILE"
    assert command in run("watchlist", "find", "coca", *home).stdout
    assert command in run("watchlist", "add", "MYCO", *home).stdout
    for words in (["update"], ["forecast", "OTHER"], ["forecast", "OWN"]):
        assert command in run.refused(*words, *home, code=2 if words == ["update"] else 1)
    assert command in json.loads(run("doctor", "--json", *home).stdout)[0]["remedy"]


def test_an_unknown_symbol(run: Run, trained_home: Path) -> None:
    message = run.refused("forecast", "ZZZ", "--home", trained_home)
    assert "ZZZ: not stored here" in message
    assert "AAPL" in message
    assert "for live prices: python -m forecaster quickstart --home mydata --source yahoo" in message


def test_a_day_before_the_first(run: Run, trained_home: Path) -> None:
    message = run.refused("forecast", "AAPL", "--as-of", "1990-01-02", "--home", trained_home)
    assert "1990-01-02; choose a later session" in message


def test_the_forecast_as_json(run: Run, trained_home: Path) -> None:
    before = written(trained_home)
    report = json.loads(run("forecast", "aapl", "--home", trained_home, "--json").stdout)
    bars = Workspace(trained_home).store.current("prices", where={"symbol": ["AAPL"]})
    last = bars["session"].max()
    assert (report["symbol"], report["currency"], report["cutoff"]) == ("AAPL", "USD", str(last.date()))
    assert report["base_price"] == pytest.approx(bars["close"].iloc[-1], abs=0.005)
    assert report["demonstration"] is True
    assert_sound(report, last)
    assert written(trained_home) == before


def assert_sound(report: dict, last: pd.Timestamp) -> None:
    """Check the rows of a forecast from the session `last`."""
    rows = pd.DataFrame(report["rows"])
    assert rows["step"].tolist() == list(range(1, 21))
    ahead = get_calendar("XNYS", start="2013-01-02", end="2024-12-31").sessions_window(last, 21)[1:]
    assert rows["session"].tolist() == [str(day.date()) for day in ahead]
    quantiles = rows[QUANTILES].to_numpy()
    assert (quantiles > 0).all()
    assert (np.diff(quantiles, axis=1) > 0).all()
    assert (np.diff(quantiles[:, -1] - quantiles[:, 0]) > 0).all()
    assert rows[["prob_up", "prob_loss"]].stack().between(0, 1).all()
    # The chance of a price below 95 % of today's must fit between the quantiles around that price.
    for prices_of_row, chance in zip(quantiles, rows["prob_loss"], strict=True):
        below = np.searchsorted(prices_of_row, 0.95 * report["base_price"])
        bounds = [0.0, *LEVELS, 1.0]
        assert bounds[below] - 1e-3 <= chance <= bounds[below + 1] + 1e-3


@pytest.mark.slow
def test_a_symbol_that_the_model_never_saw(run: Run, tmp_path: Path, trained_workspace: Workspace) -> None:
    file, home = tmp_path / "new.csv", trained_workspace.home
    file.write_text(prices(last_sessions("2023-09-21", 400), "NEW"))
    assert "400" in run("import", file, "--home", home).stdout
    asked = ("forecast", "NEW", "--as-of", "2023-09-21", "--home", home, "--json")
    report = json.loads(run(*asked).stdout)
    assert_sound(report, pd.Timestamp("2023-09-21"))
    again = json.loads(run(*asked).stdout)
    assert again == report


def test_too_little_history(run: Run, tmp_path: Path, trained_workspace: Workspace) -> None:
    file, home = tmp_path / "young.csv", trained_workspace.home
    file.write_text(prices(last_sessions("2023-09-21", 40), "YOUNG"))
    said = run("import", file, "--home", home).stdout
    assert said.startswith("On the watchlist: YOUNG.\nToo few sessions for a forecast, which needs ")
    before = written(home)
    message = run.refused("forecast", "YOUNG", "--as-of", "2023-09-21", "--home", home)
    assert "YOUNG: 40 sessions are too few" in message
    assert written(home) == before
    needed = re.search(r"bring at least (\d+)$", message)[1]
    assert f"which needs {needed}: YOUNG (40).\n" in said
    assert "On the watchlist" not in run("import", file, "--home", home).stdout


def without_forecasts(workspace: Workspace) -> Path:
    """Make a forecast ask the model again."""
    for file in (workspace.home / "store" / "forecasts").rglob("*.*"):
        file.unlink()
    return workspace.home


def test_a_damaged_model_file(run: Run, trained_workspace: Workspace) -> None:
    home = without_forecasts(trained_workspace)
    for file in home.rglob("*.onnx"):
        file.write_bytes(file.read_bytes()[:2000])
    message = run.refused("forecast", "AAPL", "--home", home)
    assert "model" in message
    assert "train" in message


def test_a_damaged_registry(run: Run, trained_workspace: Workspace) -> None:
    home = without_forecasts(trained_workspace)
    (home / "mlflow.db").write_bytes(b"garbage" * 1000)
    run("forecast", "AAPL", "--home", home)
    decided = trained_workspace.store.rows("decisions")
    shutil.rmtree(home / "store" / "decisions")
    trained_workspace.store.append("decisions", decided[decided["alias"] == CHALLENGER])
    done = run("models", "promote", "1", "--home", home)
    assert "Version 1: first champion: there was none" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("The decision stands")]
    assert "mlflow.db" in warning
    assert "--home" in warning


def test_a_damaged_table(run: Run, sample_workspace: Workspace) -> None:
    home = sample_workspace.home
    for entry in (home / "store" / "prices" / "_delta_log").glob("*.json"):
        entry.write_text("garbage")
    for words in (["forecast", "AAPL"], ["update", "AAPL", "--source", "sample"], ["train"]):
        message = run.refused(*words, "--home", home)
        assert str(home) in message
        assert "choose another with --home" in message


def test_models(run: Run, trained_home: Path) -> None:
    decisions = json.loads(run("models", "list", "--home", trained_home, "--json").stdout)
    assert [row["alias"] for row in decisions] == ["challenger", "champion"]
    shown = json.loads(run("models", "show", "1", "--home", trained_home).stdout)
    assert shown["trained_until"] == "2023-09-21"
    assert {row["model"] for row in shown["scores"]} >= {"ewma_t", "served"}


def test_a_quickstart_on_a_ready_workspace_does_nothing(run: Run, trained_home: Path) -> None:
    before = written(trained_home)
    again = run("quickstart", "--source", "sample", "--home", trained_home)
    assert again.stdout.startswith("Ready: model version 1")
    assert "on the bundled sample" in again.stderr
    assert "quickstart --home mydata --source yahoo" in again.stderr
    assert written(trained_home) == before
