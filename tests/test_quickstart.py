"""The first run: where its data come from, and the whole of it with the default recipe."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from yahoo_stub import Failure, StubSymbol, YahooStub, reset_yfinance, sessions

from forecaster import sources
from forecaster.config import Settings
from forecaster.first_run import _bring_data
from forecaster.ingest import MARKET_FACTORS
from forecaster.ingest.factors import YIELDS
from forecaster.instruments import Instrument
from forecaster.progress import silent
from forecaster.sources import Outcome, Told
from forecaster.sources.yahoo import YahooSource
from forecaster.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


def in_per_cent(result: dict[str, Any]) -> None:
    """Turn prices of about a hundred into yields of about two per cent."""
    for part in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
        for name in {"open", "high", "low", "close", "adjclose"} & set(part):
            part[name] = [value / 50 for value in part[name]]


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[YahooStub]:
    """The real client as the live source, with the stub at the other end."""
    reset_yfinance(tmp_path / "cache")
    with YahooStub() as stub:
        for symbol in ("AAA", "BBB"):
            stub.add(StubSymbol(symbol, sessions("2024-01-02", "2024-03-28")))
        days = sessions("2024-01-02", "2024-03-28")
        for name, symbol in MARKET_FACTORS.items():
            about = {"instrumentType": "INDEX", "exchangeName": "CGI"}
            stub.add(StubSymbol(symbol, days, meta=about, edit=in_per_cent if name in YIELDS else None))
        client = YahooSource(pd.Timestamp("2024-01-02"), timeout=5.0, session=stub.session())
        monkeypatch.setitem(sources.SOURCES, "yahoo", lambda settings: client)
        yield stub
    reset_yfinance(tmp_path / "cache")


def brought(
    tmp_path: Path, seconds: float = 20.0, events: tuple[str, ...] = ()
) -> tuple[Workspace, list[str]]:
    said: list[str] = []
    settings = Settings(
        home=tmp_path / "home",
        watchlist=("AAA", "BBB"),
        probe_seconds=seconds,
        requests_per_second=1000,
        event_sources=events,
    )
    workspace = Workspace(settings=settings)
    _bring_data(workspace, "auto", silent, said.append)
    return workspace, said


def test_live_prices_are_taken_when_yahoo_answers(yahoo: YahooStub, tmp_path: Path) -> None:
    workspace, said = brought(tmp_path)
    assert said == ["Prices: live, from Yahoo (Yahoo answered)."]
    assert workspace.watchlist == ("AAA", "BBB")
    history = workspace.history()
    assert not history.is_demonstration
    assert history.as_of == pd.Timestamp("2024-03-28")
    known = history.factors.groupby("name")["known_at"].max()
    assert known["market_index"] == pd.Timestamp("2024-03-28 16:00", tz="America/New_York")
    # The one of the last session came a quarter of an hour after the close.
    assert known["volatility_index"] == pd.Timestamp("2024-03-27 16:15", tz="America/New_York")
    stored = workspace.store.current("factors", where={"name": ["volatility_index"]})
    assert stored["session"].max() == pd.Timestamp("2024-03-28")


def test_the_sample_is_taken_when_yahoo_refuses(yahoo: YahooStub, tmp_path: Path) -> None:
    yahoo.symbols["AAA"].failure = Failure.RATE_LIMITED
    workspace, said = brought(tmp_path)
    assert said == [
        "Prices: the bundled sample, 2013 to 2023 (Yahoo asks to be left alone for a while). "
        "This workspace keeps to it from now on.",
        "For live prices, now or later: python -m forecaster quickstart --home mydata --source yahoo",
        "Events: 40 notable ones of the sample.",
    ]
    assert set(workspace.event_outcomes()["source"]) == {"sample"}
    assert workspace.history().is_demonstration


def test_the_sample_is_taken_when_yahoo_is_slow(yahoo: YahooStub, tmp_path: Path) -> None:
    yahoo.symbols["AAA"].failure = Failure.SLOW
    _, said = brought(tmp_path, seconds=0.3)
    assert "Yahoo did not answer within 0.3 s" in said[0]


def test_a_symbol_that_fails_is_named_and_the_others_stay(yahoo: YahooStub, tmp_path: Path) -> None:
    yahoo.symbols["BBB"].failure = Failure.GONE
    workspace, said = brought(tmp_path)
    assert len(said) == 2
    assert said[1].startswith("BBB: gone, ")
    assert workspace.watchlist == ("AAA",)


def test_events_that_fail_are_named_and_stop_nothing(
    yahoo: YahooStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused:
        name = "wire"
        remote = True
        host = "wire"
        requests = 1

        def tell(
            self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None
        ) -> Told:
            return Told(instrument.symbol, Outcome.INVALID, detail="no key")

    monkeypatch.setitem(sources.EVENT_SOURCES, "wire", lambda settings: Refused())
    workspace, said = brought(tmp_path, events=("wire", "sample"))
    assert said[1:] == ["Events: 0 from wire, sample; wire: invalid, no key."]
    assert workspace.watchlist == ("AAA", "BBB")


def command(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forecaster", *words, "--home", str(home)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.slow
def test_the_default_recipe_on_the_sample_keeps_the_readme_s_promise(tmp_path: Path) -> None:
    first = json.loads(command("quickstart", "--source", "sample", "--json", home=tmp_path).stdout)
    served = next(row for row in first["scores"] if row["model"] == "served" and row["step"] == 1)
    stored = json.loads((ROOT / "benchmarks" / "results" / "sample.json").read_text(encoding="utf-8"))
    row = next(row for row in stored["rows"] if row["Model"].startswith("Served"))
    assert served["dates"] == stored["dates"]
    # Other processors add up in another order; early stopping may then take another epoch.
    assert served["log_score_gain"] == pytest.approx(float(row["Gain on last price, nats"]), abs=0.015)
    assert served["log_score_p"] < 0.05
    assert 86 < served["coverage_90"] < 94
    report = json.loads(command("forecast", "AAPL", "--json", home=tmp_path).stdout)
    assert [one["step"] for one in report["rows"]] == list(range(1, 21))
    assert report["rows"][0]["session"] == "2023-09-22"
    assert report["demonstration"]
    again = command("quickstart", home=tmp_path)
    assert again.stdout.startswith("Ready: model version 1")
