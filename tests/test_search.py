"""Symbols found by name or ticker, through the real clients against stubs on loopback, and followed."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Run
from market import BEGIN, DAYS, Walk, copied
from test_tiingo import tiingo  # noqa: F401  a fixture
from tiingo_stub import TOKEN, TiingoStub
from tiingo_stub import Failure as Refusal
from yahoo_stub import Failure, MemorySource, YahooStub, reset_yfinance

from forecaster import jobs
from forecaster.errors import RateLimited, SourceError
from forecaster.follow import find, follow
from forecaster.locks import exclusive
from forecaster.sources import Match, Outcome
from forecaster.sources.files import FilesSource
from forecaster.sources.sample import SampleSource
from forecaster.sources.tiingo import TiingoSource
from forecaster.sources.yahoo import YahooSource
from forecaster.workspace import Workspace

SHARE = {"symbol": "AAPL", "longname": "Apple Inc.", "exchange": "NMS", "quoteType": "EQUITY"}
APPLE = Match("AAPL", "Apple Inc.", "XNAS", "EQUITY")


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStub]:
    """Answer searches with what the test puts there."""
    reset_yfinance(tmp_path)
    with YahooStub() as stub:
        yield stub
    reset_yfinance(tmp_path)


def test_yahoo_is_searched_for_what_can_be_followed_here(yahoo: YahooStub) -> None:
    yahoo.quotes = [
        SHARE,
        {"symbol": "APLE", "shortname": "Apple Hospitality", "exchange": "NYQ", "quoteType": "EQUITY"},
        SHARE | {"symbol": "AAPL240119C00050000", "quoteType": "OPTION"},
        SHARE | {"symbol": "AAPL.MOON", "exchange": "MOON"},
        SHARE | {"symbol": "no ticker"},
        {"name": "a list without a symbol"},
    ]
    searched = YahooSource(timeout=5.0, session=yahoo.session()).search("apple")
    hotel = Match("APLE", "Apple Hospitality", "XNYS", "EQUITY")
    assert (searched.outcome, searched.detail, searched.matches) == (Outcome.OK, "", (APPLE, hotel))


def test_nothing_found_is_no_failure(yahoo: YahooStub) -> None:
    searched = YahooSource(timeout=5.0, session=yahoo.session()).search("qqqq")
    assert (searched.outcome, searched.matches) == (Outcome.OK, ())


@pytest.mark.parametrize(
    ("failure", "outcome", "said"),
    [
        (Failure.RATE_LIMITED, Outcome.RATE_LIMITED, "left alone"),
        (Failure.BAD_GATEWAY, Outcome.TRANSIENT, "not JSON"),
        (Failure.TRUNCATED, Outcome.TRANSIENT, "not JSON"),
        (Failure.SLOW, Outcome.TRANSIENT, "cannot be reached from here: no answer in time"),
    ],
)
def test_a_search_that_fails_says_how(
    yahoo: YahooStub, failure: Failure, outcome: Outcome, said: str
) -> None:
    yahoo.search_failure = failure
    searched = YahooSource(timeout=0.5, session=yahoo.session()).search("apple")
    assert (searched.outcome, searched.matches) == (outcome, ())
    assert said in searched.detail
    yahoo.search_failure, yahoo.quotes = None, [SHARE]
    again = YahooSource(timeout=5.0, session=yahoo.session()).search("apple")
    assert again.matches == (APPLE,), "a failure is not remembered"


def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    reset_yfinance(tmp_path)
    with YahooStub() as gone:
        session = gone.session()
    searched = YahooSource(timeout=2.0, session=session).search("apple")
    assert searched.outcome == Outcome.TRANSIENT
    assert searched.detail == "Yahoo cannot be reached from here: the connection is refused"
    reset_yfinance(tmp_path)


def test_tiingo_is_searched_for_what_trades_in_the_united_states(tiingo: TiingoStub) -> None:  # noqa: F811
    share: dict[str, Any] = {"ticker": "aapl", "name": "Apple Inc", "assetType": "Stock", "isActive": True}
    share |= {"countryCode": "US", "permaTicker": "US000000000038"}
    others = [share | {"isActive": False}, share | {"assetType": "Crypto"}, share | {"countryCode": "CN"}]
    tiingo.found = [share, *others]
    source = TiingoSource(timeout=5.0, url=tiingo.url, token=TOKEN)
    assert source.search("apple inc").matches == (Match("AAPL", "Apple Inc", "US", "EQUITY"),)
    assert tiingo.requests[-1] == "/tiingo/utilities/search?query=apple+inc"
    tiingo.search_failure = Refusal.LIMIT
    assert source.search("apple").outcome == Outcome.RATE_LIMITED
    tiingo.search_failure, tiingo.found = None, [{"nonsense": 1}]
    assert source.search("apple").outcome == Outcome.INVALID


def test_what_is_held_is_searched_by_every_word(tmp_path: Path) -> None:
    sample = SampleSource()
    assert [one.symbol for one in sample.search("app").matches] == ["AAPL"]
    assert [one.symbol for one in sample.search(" meta PLAT").matches] == ["META"]
    assert [one.symbol for one in sample.search("a").matches][:1] == ["AAPL"]
    assert sample.search("meta apple").matches == sample.search("  ").matches == ()
    (tmp_path / "x.csv").write_text(
        "date,symbol,open,high,low,close,volume\n2024-01-02,AB,10,11,9,10.5,100\n"
        "2024-01-02,B,10,11,9,10.5,100\n"
    )
    files = FilesSource(tmp_path / "x.csv")
    assert [one.symbol for one in files.search("b").matches] == ["B", "AB"], "the ticker itself comes first"


def test_a_stored_symbol_is_found_first_and_whatever_the_source_says(market_home: Path) -> None:
    workspace, source = Workspace(market_home), MemorySource()
    source.add(Walk("AAAA", DAYS))
    found = find(workspace, "aaa", source)
    assert [one.symbol for one in found.matches] == ["AAA", "AAAA"]
    source.outcomes["aaa"] = Outcome.RATE_LIMITED
    found = find(workspace, "aaa", source)
    assert (found.outcome, [one.symbol for one in found.matches]) == (Outcome.RATE_LIMITED, ["AAA"])


def test_a_new_symbol_is_brought_watched_and_forecast(market_home: Path, tmp_path: Path) -> None:
    market = copied(shutil.copytree(market_home, tmp_path / "market"))
    market.source.add(Walk("NEW", DAYS, seed=9).as_of(BEGIN))
    before = market.workspace.store.version("decisions")
    done = follow(market.workspace, ["new", "GONE"], market.source)
    assert done.forecast == ("NEW",)
    assert done.words == "NEW: on the watchlist and forecast; GONE: not added, gone, GONE: gone, as told"
    assert market.workspace.watchlist == ("AAA", "BBB", "CCC", "NEW")
    assert market.workspace.forecasts("NEW")["cutoff"].unique() == [pd.Timestamp(BEGIN)]
    assert market.workspace.store.version("decisions") == before, "nothing is trained or decided"


@pytest.mark.parametrize(
    ("outcome", "error"), [(Outcome.RATE_LIMITED, RateLimited), (Outcome.TRANSIENT, SourceError)]
)
def test_what_does_not_arrive_is_not_watched(
    sample_workspace: Workspace, outcome: Outcome, error: type[SourceError]
) -> None:
    source = MemorySource(outcomes={"NEW": outcome})
    with pytest.raises(error, match="NEW: "):
        follow(sample_workspace, ["NEW"], source)
    assert "NEW" not in sample_workspace.watchlist


def test_without_a_model_a_symbol_is_watched_and_that_is_said(sample_workspace: Workspace) -> None:
    done = follow(sample_workspace, ["META"], SampleSource())
    assert "META" in sample_workspace.watchlist
    assert "there is no model yet" in done.without["META"]


def test_an_addition_waits_for_its_turn(sample_workspace: Workspace) -> None:
    with ThreadPoolExecutor(1) as beside:
        with exclusive(sample_workspace.home, "update"):
            addition = beside.submit(follow, sample_workspace, ["META"], SampleSource())
            with pytest.raises(TimeoutError):
                addition.result(timeout=0.5)
        addition.result()
    assert "META" in sample_workspace.watchlist


def test_the_command_finds_and_follows(tmp_path: Path, sample_workspace: Workspace) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    run, home = Run(folder), sample_workspace.home
    (found,) = json.loads(run("watchlist", "find", "meta", "plat", "--home", home, "--json").stdout)
    assert found == {"symbol": "META", "name": "Meta Platforms", "exchange": "XNAS", "type": "EQUITY"}
    assert "Nothing fits 'zzz'" in run("watchlist", "find", "zzz", "--home", home).stdout
    done = run("watchlist", "add", "META", "--now", "--home", home, code=3)
    assert "META: on the watchlist without a forecast" in done.stdout
    (job,) = jobs.jobs(home)
    assert (job.state, job.command[:2]) == ("done in part", ("watchlist", "add"))
    assert "META" in Workspace(home).watchlist
    assert "--now" in run.refused("watchlist", "add", "X", "--source", "sample", "--home", home, code=2)
