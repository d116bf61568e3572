"""The Yahoo source: the real yfinance client against a stub on loopback."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from yahoo_stub import COLUMNS, Failure, StubSymbol, YahooStub, reset_yfinance, sessions, traded

from forecaster.instruments import Instrument
from forecaster.sources import ACTION_COLUMNS, BAR_COLUMNS, Fetched, Outcome
from forecaster.sources.yahoo import YahooSource

FIRST, LAST = "2024-01-02", "2024-03-28"
DIVIDEND_DAY, SPLIT_DAY, AMOUNT, RATIO = "2024-02-15", "2024-03-07", 0.5, 4.0
PRICES = ["open", "high", "low", "close"]


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStub]:
    """Serve one ordinary share, AAA."""
    reset_yfinance(tmp_path)
    with YahooStub() as stub:
        stub.add(
            StubSymbol("AAA", sessions(FIRST, LAST), {DIVIDEND_DAY: AMOUNT}, {SPLIT_DAY: RATIO}),
        )
        yield stub
    reset_yfinance(tmp_path)


@pytest.fixture
def aaa(yahoo: YahooStub) -> StubSymbol:
    """Return the ordinary share."""
    return yahoo.symbols["AAA"]


@pytest.fixture
def source(yahoo: YahooStub) -> YahooSource:
    """Return the source under test."""
    return YahooSource(pd.Timestamp(FIRST), timeout=5.0, session=yahoo.session())


def test_without_a_connection_one_plain_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reset_yfinance(tmp_path)
    with YahooStub() as gone:
        session = gone.session()
    fetched = YahooSource(timeout=2.0, session=session).fetch("AAA")
    assert fetched.outcome == Outcome.TRANSIENT
    assert fetched.detail == "Yahoo cannot be reached from here: the connection is refused"
    assert not caplog.records, "the client says nothing besides"
    reset_yfinance(tmp_path)


def bars_of(fetched: Fetched) -> pd.DataFrame:
    """Return the bars of a fetch that went well, by session."""
    assert (fetched.outcome, fetched.detail) == (Outcome.OK, "")
    return fetched.bars.set_index("session")


def test_requests_work_beside_tensorflow() -> None:
    """Loaded after TensorFlow, the client would fail on every request."""
    code = (
        "import forecaster.models.recurrent; from curl_cffi import requests\n"
        "try: requests.Session(impersonate='chrome').get('http://127.0.0.1:1/')\n"
        "except requests.exceptions.ConnectionError: print('asked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "asked\n"


def test_bars_are_as_traded(source: YahooSource) -> None:
    """Yahoo divides what lies before a split; the source takes that out, from prices and volume."""
    fetched = source.fetch("AAA")
    bars = bars_of(fetched)
    raw = traded(sessions(FIRST, LAST))
    split = np.where(raw.index < SPLIT_DAY, 1.0, RATIO)
    last_cum = raw["close"][raw.index < DIVIDEND_DAY].iloc[-1]
    paid = np.where(raw.index < DIVIDEND_DAY, 1 - AMOUNT / last_cum, 1.0)

    assert tuple(fetched.bars.columns) == BAR_COLUMNS
    assert fetched.bars["session"].dtype == "datetime64[ns]"
    assert (fetched.bars.dtypes.drop("session") == "float64").all()
    assert list(bars.index) == list(raw.index)
    for column in PRICES:
        np.testing.assert_allclose(bars[column], raw[column] / split)
    np.testing.assert_allclose(bars["volume"], raw["volume"] * split)
    np.testing.assert_allclose(bars["adj_close"], raw["close"] / RATIO * paid)


def test_actions_are_as_paid(source: YahooSource) -> None:
    fetched = source.fetch("AAA").actions
    assert fetched is not None
    assert tuple(fetched.columns) == ACTION_COLUMNS
    assert fetched["session"].dtype == "datetime64[ns]"
    assert fetched.to_numpy().tolist() == [
        [pd.Timestamp(DIVIDEND_DAY), "dividend", AMOUNT],
        [pd.Timestamp(SPLIT_DAY), "split", RATIO],
    ]


def test_several_splits_and_dividends(source: YahooSource, aaa: StubSymbol) -> None:
    aaa.splits |= {"2024-01-18": 0.1, "2024-03-20": 1.5}
    aaa.dividends |= {"2024-01-18": 2.0, "2024-01-10": 0.3, "2024-03-20": 0.1}
    fetched = source.fetch("AAA")
    bars, shown = bars_of(fetched), aaa.as_traded()
    for column in [*PRICES, "volume"]:
        np.testing.assert_allclose(bars[column], shown[column])
    np.testing.assert_allclose(bars["adj_close"], aaa.quoted()["adj_close"])
    expected = aaa.actions()
    assert fetched.actions is not None
    assert fetched.actions[["session", "kind"]].to_numpy().tolist() == (
        expected[["session", "kind"]].to_numpy().tolist()
    )
    np.testing.assert_allclose(fetched.actions["value"], expected["value"])


def test_a_start_after_a_split_changes_nothing(source: YahooSource, aaa: StubSymbol) -> None:
    whole = bars_of(source.fetch("AAA"))
    for start in ("2024-03-06", SPLIT_DAY, "2024-03-08"):
        part = bars_of(source.fetch("AAA", pd.Timestamp(start)))
        np.testing.assert_allclose(part[PRICES], whole.loc[start:, PRICES])


@pytest.mark.parametrize("kind", ["MUTUALFUND", "ETF"])
def test_capital_gains_count_as_distributions(source: YahooSource, aaa: StubSymbol, kind: str) -> None:
    """Of a fund that pays both on one day, and its gains alone on another."""
    gains = {DIVIDEND_DAY: 0.75, "2024-03-15": 0.25}

    def pay(result: dict[str, Any]) -> None:
        days = {str(pd.Timestamp(at, unit="s").date()): at for at in result["timestamp"]}
        result["events"]["capitalGains"] = {
            str(days[day]): {"date": days[day], "amount": amount / (RATIO if day < SPLIT_DAY else 1.0)}
            for day, amount in gains.items()
        }

    aaa.meta = {"instrumentType": kind}
    aaa.edit = pay
    actions = source.fetch("AAA").actions
    assert actions is not None
    assert actions.to_numpy().tolist() == [
        [pd.Timestamp(DIVIDEND_DAY), "dividend", AMOUNT + 0.75],
        [pd.Timestamp(SPLIT_DAY), "split", RATIO],
        [pd.Timestamp("2024-03-15"), "dividend", 0.25],
    ]


def test_no_actions(source: YahooSource) -> None:
    actions = source.fetch("AAA", pd.Timestamp("2024-03-08")).actions
    assert actions is not None
    assert actions.empty
    assert tuple(actions.columns) == ACTION_COLUMNS


def test_instrument(source: YahooSource) -> None:
    expected = Instrument("AAA", "AAA Incorporated", "XNYS", "America/New_York", "USD", "EQUITY")
    assert source.fetch("AAA").instrument == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [({"longName": None, "shortName": "Triple A"}, "Triple A"), ({"longName": None}, "AAA")],
)
def test_instrument_without_a_long_name(
    source: YahooSource, aaa: StubSymbol, names: dict[str, Any], expected: str
) -> None:
    aaa.meta = names
    instrument = source.fetch("AAA").instrument
    assert instrument is not None
    assert instrument.name == expected


def test_start_is_the_first_session(source: YahooSource) -> None:
    bars = bars_of(source.fetch("AAA", pd.Timestamp("2024-03-15")))
    assert list(bars.index) == list(sessions("2024-03-15", LAST))


@pytest.mark.parametrize(
    ("exchange", "code"), [("XASX", "ASX"), ("XTKS", "JPX"), ("XLON", "LSE"), ("BVMF", "SAO")]
)
def test_sessions_are_local_dates(yahoo: YahooStub, source: YahooSource, exchange: str, code: str) -> None:
    days = sessions("2024-03-01", "2024-04-30", exchange)
    yahoo.add(StubSymbol("FAR", days, meta={"exchangeName": code}, exchange=exchange))
    start = days[5]
    assert list(bars_of(source.fetch("FAR", start)).index) == list(days[5:])


def test_faulty_rows_stay_but_placeholders_go(source: YahooSource, aaa: StubSymbol) -> None:
    aaa.nulls = {
        "2024-01-10": COLUMNS,
        "2024-01-11": ("close",),
        "2024-01-12": tuple(PRICES),
        "2024-01-16": ("volume",),
    }
    bars = bars_of(source.fetch("AAA"))
    assert list(bars.index) == list(sessions(FIRST, LAST).drop("2024-01-10"))
    assert list(bars.isna().loc["2024-01-11"]) == [False, False, False, True, True, False]
    assert bars.loc["2024-01-12", PRICES].isna().all()
    volume = traded(sessions("2024-01-12", "2024-01-12"))["volume"].iloc[0]
    assert bars.loc["2024-01-12", "volume"] == volume
    assert bars.loc["2024-01-16", "volume"] == 0
    assert bars.loc["2024-01-16", PRICES].notna().all()


def test_dividend_on_a_placeholder_is_kept(source: YahooSource, aaa: StubSymbol) -> None:
    aaa.nulls = {DIVIDEND_DAY: COLUMNS}
    fetched = source.fetch("AAA")
    assert pd.Timestamp(DIVIDEND_DAY) not in bars_of(fetched).index
    assert fetched.actions is not None
    assert fetched.actions["session"].tolist() == [pd.Timestamp(DIVIDEND_DAY), pd.Timestamp(SPLIT_DAY)]


def test_only_the_last_of_a_duplicated_last_row_stays(source: YahooSource, aaa: StubSymbol) -> None:
    aaa.duplicate_last = True
    aaa.dividends[LAST] = 0.25
    fetched = source.fetch("AAA")
    bars = bars_of(fetched)
    assert bars.index.is_unique
    assert bars["volume"].iloc[-1] == traded(sessions(LAST, LAST))["volume"].iloc[0] * RATIO + 100
    assert fetched.actions is not None
    assert fetched.actions["value"].tolist() == [AMOUNT, RATIO, 0.25]


def test_later_actions_leave_bars_as_traded(source: YahooSource, aaa: StubSymbol) -> None:
    before = bars_of(source.fetch("AAA"))
    aaa.sessions = sessions(FIRST, "2024-04-30")
    aaa.dividends["2024-04-10"] = 1.0
    later = bars_of(source.fetch("AAA"))
    assert len(later) == len(before) + len(sessions("2024-04-01", "2024-04-30"))
    np.testing.assert_allclose(later.loc[before.index, PRICES], before[PRICES])
    cum_close = traded(sessions("2024-04-09", "2024-04-09"))["close"].iloc[0] / RATIO
    np.testing.assert_allclose(
        later.loc[before.index, "adj_close"], before["adj_close"] * (1 - 1.0 / cum_close)
    )

    aaa.splits["2024-04-22"] = 2.0
    split = bars_of(source.fetch("AAA"))
    np.testing.assert_allclose(split.loc[before.index, [*PRICES, "volume"]], before[[*PRICES, "volume"]])
    np.testing.assert_allclose(split.loc[before.index, "adj_close"], later.loc[before.index, "adj_close"] / 2)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure.GONE, Outcome.GONE),
        (Failure.NO_ROWS, Outcome.INVALID),
        (Failure.RATE_LIMITED, Outcome.RATE_LIMITED),
        (Failure.BAD_GATEWAY, Outcome.TRANSIENT),
        (Failure.BAD_CRUMB, Outcome.TRANSIENT),
        (Failure.TRUNCATED, Outcome.TRANSIENT),
        (Failure.SLOW, Outcome.TRANSIENT),
    ],
)
def test_failure_is_typed_and_passes(
    source: YahooSource, aaa: StubSymbol, failure: Failure, expected: Outcome
) -> None:
    source.timeout = 0.5 if failure == Failure.SLOW else 5.0
    aaa.failure = failure
    assert_failed(source.fetch("AAA"), expected)
    aaa.failure = None
    assert source.fetch("AAA").outcome == Outcome.OK


def assert_failed(fetched: Fetched, outcome: Outcome) -> None:
    """Check a failure and that it is told to a person in one line."""
    assert fetched.outcome == outcome
    assert fetched.bars.empty
    assert fetched.actions is None
    assert fetched.instrument is None
    assert 0 < len(fetched.detail) <= 200
    assert len(fetched.detail.splitlines()) == 1
    assert "<" not in fetched.detail


def test_no_connection(source: YahooSource, yahoo: YahooStub, aaa: StubSymbol) -> None:
    with YahooStub() as closed:
        source.session = closed.session()
    assert_failed(source.fetch("AAA"), Outcome.TRANSIENT)


def test_dead_symbol_costs_one_question_and_yfinance_s_own_repeat(
    source: YahooSource, yahoo: YahooStub
) -> None:
    fetched = source.fetch("DEAD")
    assert_failed(fetched, Outcome.GONE)
    assert "may be delisted" in fetched.detail
    assert yahoo.charts() == ["DEAD", "DEAD"]
    assert not any("quoteSummary" in path for path in yahoo.requests)


def test_live_symbol_costs_one_question(source: YahooSource, yahoo: YahooStub) -> None:
    source.fetch("AAA")
    assert yahoo.charts() == ["AAA"]


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"instrumentType": "OPTION"}, "'OPTION' is not supported"),
        ({"instrumentType": "CRYPTOCURRENCY"}, "'CRYPTOCURRENCY' is not supported"),
        ({"exchangeName": "ZZZ"}, "exchange 'ZZZ' has no calendar"),
    ],
)
def test_what_cannot_be_forecast_is_invalid(
    source: YahooSource, aaa: StubSymbol, meta: dict[str, Any], words: str
) -> None:
    aaa.meta = meta
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.INVALID)
    assert words in fetched.detail


@pytest.mark.parametrize(
    "edit",
    [
        lambda result: result.pop("timestamp"),
        lambda result: result.pop("indicators"),
        lambda result: result.update(timestamp=None),
        lambda result: result.update(timestamp=[10**15] * len(result["timestamp"])),
        lambda result: result.update(events={"dividends": {"1": {"amount": 1}}}),
        lambda result: result.update(events=None),
        lambda result: result["meta"].pop("exchangeTimezoneName"),
        lambda result: result["meta"].update(exchangeTimezoneName="Moon/Base"),
        lambda result: result["meta"].pop("exchangeName"),
        lambda result: result["indicators"].update(quote=[]),
        lambda result: result["indicators"].update(quote=[{}]),
        lambda result: result["indicators"]["quote"][0].pop("close"),
        lambda result: result["indicators"]["quote"][0].update(close=[1.0]),
        lambda result: result["indicators"]["quote"][0].update(close=["x"] * len(result["timestamp"])),
        lambda result: result["indicators"].update(adjclose=[{}]),
    ],
)
def test_a_reply_of_another_form_is_invalid(
    source: YahooSource, aaa: StubSymbol, edit: Callable[[dict[str, Any]], object]
) -> None:
    aaa.edit = edit
    assert_failed(source.fetch("AAA"), Outcome.INVALID)


def test_nothing_but_placeholders_is_invalid(source: YahooSource, aaa: StubSymbol) -> None:
    aaa.nulls = {str(day.date()): COLUMNS for day in aaa.sessions}
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.INVALID)
    assert "no usable row from 2024-01-02 on" in fetched.detail


def test_nothing_from_the_start_on_is_invalid(source: YahooSource) -> None:
    assert_failed(source.fetch("AAA", pd.Timestamp("2024-04-02")), Outcome.INVALID)


def test_prices_come_without_a_crumb(source: YahooSource, yahoo: YahooStub) -> None:
    yahoo.crumb_status = 429
    assert source.fetch("AAA").outcome == Outcome.OK
    assert source.fetch("AAA").outcome == Outcome.OK


def test_threads_do_not_mix_outcomes(source: YahooSource, yahoo: YahooStub) -> None:
    days = sessions(FIRST, LAST)
    yahoo.add(StubSymbol("BUSY", days, failure=Failure.RATE_LIMITED))
    yahoo.add(StubSymbol("DOWN", days, failure=Failure.BAD_GATEWAY))
    expected = {
        "AAA": Outcome.OK,
        "BUSY": Outcome.RATE_LIMITED,
        "DOWN": Outcome.TRANSIENT,
        "DEAD": Outcome.GONE,
    }
    asked = list(expected) * 5
    with ThreadPoolExecutor(4) as pool:
        got = [fetched.outcome for fetched in pool.map(source.fetch, asked)]
    assert got == [expected[symbol] for symbol in asked]


def test_yfinance_s_switch_is_put_back(source: YahooSource) -> None:
    import yfinance

    for symbol in ("AAA", "DEAD"):
        source.fetch(symbol)
        assert yfinance.config.debug.hide_exceptions is True


def test_protocol(source: YahooSource) -> None:
    assert source.name == "yahoo"
    assert source.remote
    assert source.symbols() == ()


CHILD = """
import sys
from pathlib import Path
from tempfile import gettempdir
from yahoo_stub import StubSymbol, YahooStub, sessions
from forecaster.sources.yahoo import YahooSource

assert "yfinance" not in sys.modules
with YahooStub() as yahoo:
    yahoo.add(StubSymbol("AAA", sessions("2024-01-02", "2024-01-31")))
    assert YahooSource(session=yahoo.session()).fetch("AAA").outcome == "ok"
assert list(Path(gettempdir()).glob("*/*.db"))
"""


def test_databases_live_and_end_with_the_process(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    folders = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(temporary)}
    here = Path(__file__).parent
    paths = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    subprocess.run([sys.executable, "-c", CHILD], env=os.environ | folders | paths, check=True, timeout=60)
    assert not list(temporary.iterdir())
    assert not list(home.iterdir())
