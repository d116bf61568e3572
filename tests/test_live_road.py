"""The whole road of live prices: unpatched processes, TLS, the real clients, a stub at the other end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Run
from tiingo_stub import TOKEN, StubTicker, TiingoStub
from tls_proxy import TlsProxy
from yahoo_stub import Failure, StubSymbol, YahooStub, add_factors, sessions

from forecaster.ingest import MARKET_FACTORS
from forecaster.store import Store

FIRST, LAST = "2024-01-02", "2024-06-28"
FACTORS = [f"factor:{name}" for name in MARKET_FACTORS]
FAST = {"FORECASTER_REQUESTS_PER_SECOND": "1000", "FORECASTER_EVENT_SOURCES": ""}


@pytest.fixture
def yahoo() -> Iterator[YahooStub]:
    days = sessions(FIRST, LAST)
    with YahooStub() as stub:
        for symbol in ("AAA", "BBB", "CCC"):
            stub.add(StubSymbol(symbol, days))
        add_factors(stub, FIRST, LAST)
        yield stub


@pytest.fixture
def run(yahoo: YahooStub, tmp_path: Path) -> Iterator[Run]:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with TlsProxy(yahoo._server.server_port, tmp_path) as proxy:
        yield Run(elsewhere, proxy.environment() | FAST)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def outcomes(run: Run, home: Path, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """Update, and return the report by symbol."""
    done = run("update", *words, "--json", "--home", home, code=code)
    return {row["symbol"]: row for row in json.loads(done.stdout)}


def last_run(home: Path) -> dict[str, Any]:
    return Store(home / "store").current("runs").iloc[-1].to_dict()


@pytest.mark.slow
def test_from_a_first_update_to_a_released_row(run: Run, yahoo: YahooStub, home: Path) -> None:
    first = outcomes(run, home, "AAA", "BBB", "--source", "yahoo")
    assert {symbol: row["outcome"] for symbol, row in first.items()} == dict.fromkeys(
        ["AAA", "BBB", *FACTORS], "ok"
    )
    assert first["AAA"]["rows"] == len(sessions(FIRST, LAST))
    share = yahoo.symbols["AAA"]
    share.sessions = sessions(FIRST, "2024-07-12")
    share.splits["2024-07-09"] = 4.0
    share.dividends["2024-07-03"] = 0.5
    again = outcomes(run, home)
    assert again["AAA"]["change"] == "resplit"
    assert again["AAA"]["rows"] == len(sessions("2024-07-01", "2024-07-12"))

    def pence(result: dict[str, Any]) -> None:
        quote = result["indicators"]["quote"][0]
        for name in ("open", "high", "low", "close"):
            quote[name][-1] *= 100
        result["indicators"]["adjclose"][0]["adjclose"][-1] *= 100

    share.sessions, share.edit = sessions(FIRST, "2024-07-15"), pence
    assert outcomes(run, home)["AAA"]["rows"] == 0
    (row,) = json.loads(run("quarantine", "list", "--json", "--home", home).stdout)
    assert (row["symbol"], row["session"][:10]) == ("AAA", "2024-07-15")
    assert "another unit" in row["reason"]
    assert "2024-07-15" in run("quarantine", "list", "AAA", "--home", home).stdout
    findings = json.loads(run("doctor", "--json", "--home", home).stdout)
    assert {"quarantine", "symbols"} <= {finding["check"] for finding in findings}
    assert "2024-07-15" in run("quarantine", "release", "AAA", "2024-07-15", "--home", home).stdout
    assert run("quarantine", "list", "--home", home).stdout == "Nothing in quarantine.\n"
    assert "nothing in quarantine" in run.refused("quarantine", "release", "AAA", "--home", home)
    assert Store(home / "store").spans()["AAA"].last == pd.Timestamp("2024-07-15")


def test_every_outcome_and_its_exit_code(run: Run, yahoo: YahooStub, home: Path) -> None:
    yahoo.symbols["BBB"].failure = Failure.NO_ROWS
    yahoo.add(StubSymbol("OPT", sessions(FIRST, LAST), meta={"instrumentType": "OPTION"}))
    report = outcomes(run, home, "AAA", "BBB", "GONE", "OPT", "--source", "yahoo", code=3)
    assert {symbol: row["outcome"] for symbol, row in report.items()} == {
        "AAA": "ok", "BBB": "invalid", "GONE": "gone", "OPT": "invalid", **dict.fromkeys(FACTORS, "ok"),
    }  # fmt: skip
    assert "'OPTION' is not supported" in report["OPT"]["detail"]
    shown = run("update", "AAA", "GONE", "--home", home, code=3).stdout
    for words in ("symbol", "outcome", "change", "AAA", "same", "GONE", "may be delisted"):
        assert words in shown
    summary = last_run(home)
    assert (summary["status"], summary["symbols"], summary["ok"], summary["failed"]) == ("done", 2, 1, 1)
    message = run.refused("update", "GONE", "--home", home)
    assert "No symbol arrived; GONE: gone" in message


def test_a_rate_limit_stops_the_run_and_the_next_goes_on(run: Run, yahoo: YahooStub, home: Path) -> None:
    yahoo.symbols["BBB"].failure = Failure.RATE_LIMITED
    words = ("AAA", "BBB", "CCC", "--source", "yahoo")
    message = run.refused("update", *words, "--home", home, code=75)
    assert "2 of 3 symbols are left; give the same command later" in message
    assert "CCC" not in yahoo.charts()
    assert last_run(home)["status"] == "stopped"
    said = [finding["what"] for finding in json.loads(run("doctor", "--json", "--home", home).stdout)]
    assert any("is not complete: Yahoo asks to be left alone" in words for words in said)
    yahoo.symbols["BBB"].failure = None
    yahoo.requests.clear()
    report = outcomes(run, home, *words)
    assert {row["outcome"] for row in report.values()} == {"ok"}
    assert [symbol for symbol in yahoo.charts() if symbol not in MARKET_FACTORS.values()] == ["BBB", "CCC"]
    assert report["AAA"]["change"] == "not asked"
    assert last_run(home)["status"] == "done"


def test_tiingo_through_the_same_road(tmp_path: Path, home: Path) -> None:
    with TiingoStub() as tiingo, TlsProxy(int(tiingo.url.rpartition(":")[2]), tmp_path) as proxy:
        tiingo.add(StubTicker("AAA", sessions(FIRST, LAST)))
        (tmp_path / "elsewhere").mkdir()
        run = Run(tmp_path / "elsewhere", proxy.environment() | FAST)
        assert "TIINGO_API_KEY" in run.refused("update", "AAA", "--source", "tiingo", "--home", home, code=2)
        run.environment = {**run.environment, "TIINGO_API_KEY": TOKEN}
        report = outcomes(run, home, "AAA", "--source", "tiingo")
        assert report["AAA"]["rows"] == len(sessions(FIRST, LAST))
        assert outcomes(run, home)["AAA"]["change"] == "same"


@pytest.mark.network
def test_the_live_service(tmp_path: Path) -> None:
    """One liquid share and its two factors, over two updates."""
    run = Run(tmp_path, {})
    assert outcomes(run, tmp_path / "home", "AAPL", "--source", "yahoo")["AAPL"]["rows"] > 3000
    assert outcomes(run, tmp_path / "home")["AAPL"]["change"] in ("same", "redividend", "resplit")
