"""The Tiingo source: its real HTTP client against a stub on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiingo_stub import PRICES, TOKEN, Failure, StubTicker, TiingoStub
from yahoo_stub import sessions

from forecaster.errors import SourceError, UsageError
from forecaster.instruments import SUPPORTED_TYPES, Instrument
from forecaster.sessions import calendar
from forecaster.sources import ACTION_COLUMNS, BAR_COLUMNS, Fetched, Outcome
from forecaster.sources.tiingo import EXCHANGE_OF_TIINGO, TiingoSource

FIRST, LAST = "2024-01-02", "2024-03-28"
DIVIDEND_DAY, SPLIT_DAY, AMOUNT, RATIO = "2024-02-15", "2024-03-07", 0.5, 4.0


@pytest.fixture
def tiingo(monkeypatch: pytest.MonkeyPatch) -> Iterator[TiingoStub]:
    """Serve one ordinary share, AAA, past any proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    with TiingoStub() as stub:
        stub.add(StubTicker("AAA", sessions(FIRST, LAST), {DIVIDEND_DAY: AMOUNT}, {SPLIT_DAY: RATIO}))
        yield stub


@pytest.fixture
def aaa(tiingo: TiingoStub) -> StubTicker:
    """Return the ordinary share."""
    return tiingo.tickers["AAA"]


@pytest.fixture
def source(tiingo: TiingoStub) -> TiingoSource:
    """Return the source under test."""
    return TiingoSource(pd.Timestamp(FIRST), timeout=5.0, url=tiingo.url, token=TOKEN)


def bars_of(fetched: Fetched) -> pd.DataFrame:
    """Return the bars of a fetch that went well, by session."""
    assert (fetched.outcome, fetched.detail) == (Outcome.OK, "")
    return fetched.bars.set_index("session")


def assert_failed(fetched: Fetched, outcome: Outcome) -> None:
    """Check a failure and that it is told to a person in one line."""
    assert fetched.outcome == outcome
    assert fetched.bars.empty
    assert fetched.actions is None
    assert fetched.instrument is None
    assert 0 < len(fetched.detail) <= 200
    assert len(fetched.detail.splitlines()) == 1
    assert "<" not in fetched.detail


def test_protocol(source: TiingoSource) -> None:
    assert source.name == "tiingo"
    assert source.remote
    assert source.symbols() == ()


def test_bars_are_as_traded(source: TiingoSource, aaa: StubTicker) -> None:
    fetched = source.fetch("AAA")
    bars = bars_of(fetched)
    raw = aaa.traded()
    assert tuple(fetched.bars.columns) == BAR_COLUMNS
    assert fetched.bars["session"].dtype == "datetime64[ns]"
    assert (fetched.bars.dtypes[1:] == "float64").all()
    assert list(bars.index) == list(sessions(FIRST, LAST))
    columns = [*PRICES, "volume"]
    np.testing.assert_array_equal(bars[columns], raw[columns])
    fell = bars["close"].pct_change()[SPLIT_DAY]
    assert -0.80 < fell < -0.70, "a share is worth a quarter after four for one"


def test_adjusted_close_reckons_with_dividends_and_splits(source: TiingoSource, aaa: StubTicker) -> None:
    close = aaa.traded()["close"]
    expected, factor = {}, 1.0
    for day, before in zip(close.index[::-1], [*close.iloc[-2::-1], None], strict=True):
        expected[day] = close[day] * factor
        if day == pd.Timestamp(DIVIDEND_DAY):
            factor *= (before - AMOUNT) / before
        if day == pd.Timestamp(SPLIT_DAY):
            factor /= RATIO
    adjusted = bars_of(source.fetch("AAA"))["adj_close"]
    np.testing.assert_allclose(adjusted, [expected[day] for day in adjusted.index])
    assert adjusted.iloc[-1] == close.iloc[-1]


def test_actions_are_as_of_the_day(source: TiingoSource, aaa: StubTicker) -> None:
    aaa.dividends["2024-03-21"] = 0.1
    aaa.splits["2024-03-21"] = 0.125
    actions = source.fetch("AAA").actions
    assert tuple(actions.columns) == ACTION_COLUMNS
    assert actions["session"].dtype == "datetime64[ns]"
    assert actions["value"].dtype == "float64"
    both = pd.Timestamp("2024-03-21")
    assert actions.to_records(index=False).tolist() == [
        (pd.Timestamp(DIVIDEND_DAY).value, "dividend", AMOUNT),
        (pd.Timestamp(SPLIT_DAY).value, "split", RATIO),
        (both.value, "dividend", 0.1),
        (both.value, "split", 0.125),
    ]


def test_no_actions_is_an_empty_table(source: TiingoSource, tiingo: TiingoStub) -> None:
    tiingo.add(StubTicker("CALM", sessions(FIRST, LAST)))
    actions = source.fetch("CALM").actions
    assert actions.empty
    assert tuple(actions.columns) == ACTION_COLUMNS


def test_later_days_and_a_new_adjustment(source: TiingoSource, aaa: StubTicker) -> None:
    before = bars_of(source.fetch("AAA"))
    aaa.sessions = sessions(FIRST, "2024-04-30")
    aaa.splits["2024-04-22"] = 2.0
    later = bars_of(source.fetch("AAA")).loc[before.index]
    columns = [*PRICES, "volume"]
    np.testing.assert_array_equal(later[columns], before[columns])
    np.testing.assert_allclose(later["adj_close"], before["adj_close"] / 2)


@pytest.mark.parametrize("start", ["2024-03-01", "2024-03-02"])
def test_start_is_the_first_session(source: TiingoSource, start: str) -> None:
    fetched = source.fetch("AAA", pd.Timestamp(start))
    assert list(bars_of(fetched).index) == list(sessions(start, LAST))
    assert fetched.actions["kind"].tolist() == ["split"]


def test_rows_before_the_start_are_not_kept(source: TiingoSource, aaa: StubTicker) -> None:
    earlier = aaa.rows(pd.Timestamp("2024-02-15"), pd.Timestamp("2024-02-16"))
    aaa.edit = lambda rows: rows.__setitem__(slice(0), earlier)
    fetched = source.fetch("AAA", pd.Timestamp("2024-03-01"))
    assert list(bars_of(fetched).index) == list(sessions("2024-03-01", LAST))
    assert fetched.actions["kind"].tolist() == ["split"]


def test_only_a_first_fetch_asks_for_the_instrument(source: TiingoSource, tiingo: TiingoStub) -> None:
    first = source.fetch("AAA")
    assert first.instrument == Instrument("AAA", "AAA Incorporated", "XNYS", "America/New_York", "USD")
    assert tiingo.requests == ["/tiingo/daily/AAA/prices?startDate=2024-01-02", "/tiingo/daily/AAA"]
    tiingo.requests.clear()
    assert source.fetch("AAA", pd.Timestamp("2024-03-01")).instrument is None
    assert tiingo.requests == ["/tiingo/daily/AAA/prices?startDate=2024-03-01"]


def test_a_ticker_stays_one_part_of_the_path(source: TiingoSource, tiingo: TiingoStub) -> None:
    tiingo.add(StubTicker("BRK-B", sessions(FIRST, LAST)))
    assert source.fetch("BRK-B").outcome == Outcome.OK
    tiingo.requests.clear()
    assert_failed(source.fetch("^GSPC/?x=1#y"), Outcome.GONE)
    assert tiingo.requests == ["/tiingo/daily/%5EGSPC%2F%3Fx%3D1%23y/prices?startDate=2024-01-02"]


@pytest.mark.parametrize(
    ("code", "exchange", "kind"),
    [
        ("NYSE", "XNYS", "EQUITY"),
        ("NASDAQ", "XNAS", "EQUITY"),
        ("NYSE ARCA", "ARCX", "EQUITY"),
        ("AMEX", "XASE", "EQUITY"),
        ("NYSE MKT", "XASE", "EQUITY"),
        ("BATS", "BATS", "EQUITY"),
        ("PINK", "XNYS", "EQUITY"),
        ("NMFQS", "XNAS", "MUTUALFUND"),
    ],
)
def test_exchanges(source: TiingoSource, aaa: StubTicker, code: str, exchange: str, kind: str) -> None:
    aaa.about = {"exchangeCode": code}
    instrument = source.fetch("AAA").instrument
    assert (instrument.exchange, instrument.type) == (exchange, kind)


def test_every_exchange_has_a_calendar_of_new_york() -> None:
    assert {str(calendar(exchange).tz) for exchange in EXCHANGE_OF_TIINGO.values()} == {"America/New_York"}
    assert {"EQUITY", "MUTUALFUND"} <= set(SUPPORTED_TYPES)


@pytest.mark.parametrize("code", ["SHG", "", None])
def test_an_unknown_exchange_is_invalid(source: TiingoSource, aaa: StubTicker, code: str | None) -> None:
    aaa.about = {"exchangeCode": code}
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.INVALID)
    assert f"AAA: Tiingo's exchange {code!r} has no calendar" in fetched.detail


@pytest.mark.parametrize("name", ["", None])
def test_instrument_without_a_name(source: TiingoSource, aaa: StubTicker, name: str | None) -> None:
    aaa.about = {"name": name}
    assert source.fetch("AAA").instrument.name == "AAA"


def test_faulty_rows_stay(source: TiingoSource, aaa: StubTicker) -> None:
    def lose(rows: list[Any]) -> None:
        rows[3].update(open=None)
        rows[4].update(dict.fromkeys([*PRICES, "volume", "adjClose"]))
        rows.append(rows[-1])

    aaa.edit = lose
    bars = bars_of(source.fetch("AAA"))
    assert list(bars.index) == [*sessions(FIRST, LAST), pd.Timestamp(LAST)]
    assert bars.isna().to_numpy().sum() == 1 + 6
    assert np.isnan(bars["open"].iloc[3])
    assert bars.iloc[4].isna().all()


def test_a_single_row_may_be_faulty(source: TiingoSource, aaa: StubTicker) -> None:
    aaa.edit = lambda rows: rows[0].update(open=None, volume=None)
    bars = bars_of(source.fetch("AAA", pd.Timestamp(LAST)))
    assert bars.shape == (1, 6)
    assert bars[["open", "volume"]].isna().all(axis=None)
    assert (bars.dtypes == "float64").all()


def test_a_date_without_a_time_is_one_too(source: TiingoSource, aaa: StubTicker) -> None:
    aaa.edit = lambda rows: [row.update(date=row["date"][:10]) for row in rows]
    assert list(bars_of(source.fetch("AAA")).index) == list(sessions(FIRST, LAST))


FAILURES = [
    (Failure.UNKNOWN_TICKER, Outcome.GONE),
    (Failure.UNKNOWN_TICKER_AS_TEXT, Outcome.GONE),
    (Failure.NOTHING_HERE, Outcome.GONE),
    (Failure.LIMIT, Outcome.RATE_LIMITED),
    (Failure.LIMIT_IN_JSON, Outcome.RATE_LIMITED),
    (Failure.LIMIT_WITH_STATUS_200, Outcome.RATE_LIMITED),
    (Failure.LIMIT_IN_JSON_WITH_STATUS_200, Outcome.RATE_LIMITED),
    (Failure.LIMIT_WITH_STATUS_403, Outcome.RATE_LIMITED),
    (Failure.BAD_REQUEST, Outcome.INVALID),
    (Failure.SERVER_ERROR, Outcome.TRANSIENT),
    (Failure.BAD_GATEWAY, Outcome.TRANSIENT),
    (Failure.GATEWAY_FINDS_NOTHING, Outcome.TRANSIENT),
    (Failure.PAGE, Outcome.TRANSIENT),
    (Failure.PAGE_NOT_FOUND, Outcome.TRANSIENT),
    (Failure.EMPTY, Outcome.TRANSIENT),
    (Failure.TRUNCATED, Outcome.TRANSIENT),
    (Failure.BROKEN_OFF, Outcome.TRANSIENT),
    (Failure.SLOW, Outcome.TRANSIENT),
]


@pytest.mark.parametrize("which", ["failure", "meta_failure"])
@pytest.mark.parametrize(("failure", "expected"), FAILURES)
def test_failure_is_typed_and_passes(
    source: TiingoSource, aaa: StubTicker, failure: Failure, expected: Outcome, which: str
) -> None:
    source.timeout = 0.2 if failure == Failure.SLOW else 5.0
    setattr(aaa, which, failure)
    assert_failed(source.fetch("AAA"), expected)
    setattr(aaa, which, None)
    assert source.fetch("AAA").outcome == Outcome.OK


def test_every_failure_of_the_stub_is_tested() -> None:
    refused = {Failure.UNAUTHORIZED, Failure.FORBIDDEN}
    assert {failure for failure, _ in FAILURES} | refused == set(Failure)


def test_tiingo_s_own_words_are_told(source: TiingoSource, aaa: StubTicker) -> None:
    assert "Ticker 'ZZZ' not found" in source.fetch("ZZZ").detail
    aaa.failure = Failure.LIMIT
    assert "429 Too Many Requests: Error: You have run over your hourly" in source.fetch("AAA").detail


def test_a_dead_symbol_costs_one_request(source: TiingoSource, tiingo: TiingoStub) -> None:
    assert_failed(source.fetch("ZZZ"), Outcome.GONE)
    assert len(tiingo.requests) == 1


def test_no_connection(source: TiingoSource, tiingo: TiingoStub) -> None:
    with TiingoStub() as closed:
        source.url = closed.url
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.TRANSIENT)
    assert fetched.detail == "Tiingo did not answer: ConnectionError"
    source.url = tiingo.url
    assert source.fetch("AAA").outcome == Outcome.OK


def test_it_waits_no_longer_than_told(source: TiingoSource, aaa: StubTicker) -> None:
    source.timeout = 0.2
    aaa.failure = Failure.SLOW
    assert source.fetch("AAA").detail == "Tiingo did not answer: ReadTimeout"


def test_nothing_from_the_start_on_is_invalid(source: TiingoSource) -> None:
    fetched = source.fetch("AAA", pd.Timestamp("2024-04-02"))
    assert_failed(fetched, Outcome.INVALID)
    assert "no row from 2024-04-02 on" in fetched.detail


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows.clear(),
        lambda rows: rows.append(None),
        lambda rows: rows.append([1, 2, 3]),
        lambda rows: rows.append({}),
        lambda rows: rows[5].pop("date"),
        lambda rows: rows[5].pop("close"),
        lambda rows: rows[5].pop("adjClose"),
        lambda rows: rows[5].pop("divCash"),
        lambda rows: rows[5].update(date=None),
        lambda rows: rows[5].update(date="yesterday"),
        lambda rows: rows[5].update(date="2024-01-09T14:30:00.000Z"),
        lambda rows: rows[5].update(date="9999-12-31T00:00:00.000Z"),
        lambda rows: rows[5].update(open="12.5"),
        lambda rows: rows[5].update(volume=True),
        lambda rows: rows[5].update(high=[1.0]),
        lambda rows: rows[5].update(divCash=None),
        lambda rows: rows[5].update(divCash=float("nan")),
        lambda rows: rows[5].update(splitFactor=None),
        lambda rows: rows[5].update(splitFactor=0.0),
        lambda rows: rows[5].update(splitFactor=float("inf")),
    ],
)
def test_a_price_reply_of_another_form_is_invalid(
    source: TiingoSource, aaa: StubTicker, edit: Callable[[list[Any]], object]
) -> None:
    aaa.edit = edit
    assert_failed(source.fetch("AAA"), Outcome.INVALID)
    aaa.edit = None
    assert source.fetch("AAA").outcome == Outcome.OK


def test_the_first_wrong_field_is_named(source: TiingoSource, aaa: StubTicker) -> None:
    aaa.edit = lambda rows: rows[5].update(adjClose="12.5")
    assert "unexpected form: 5.adjClose: expected a valid number" in source.fetch("AAA").detail


@pytest.mark.parametrize("data", [None, 3, True, {}, {"detail": 5}, {"rows": []}, "[]"])
def test_a_reply_that_is_no_list_is_not_taken_for_prices(
    source: TiingoSource, aaa: StubTicker, monkeypatch: pytest.MonkeyPatch, data: object
) -> None:
    monkeypatch.setattr(aaa, "rows", lambda first, last: data)
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.TRANSIENT if isinstance(data, str) else Outcome.INVALID)


@pytest.mark.parametrize(
    "about", [{"name": 5}, {"exchangeCode": ["NYSE"]}, {"exchangeCode": 5}, {"name": {"en": "AAA"}}]
)
def test_a_meta_reply_of_another_form_is_invalid(
    source: TiingoSource, aaa: StubTicker, about: dict[str, Any]
) -> None:
    aaa.about = about
    fetched = source.fetch("AAA")
    assert_failed(fetched, Outcome.INVALID)
    assert f"unexpected form: {next(iter(about))}: " in fetched.detail


@pytest.mark.parametrize("which", ["failure", "meta_failure"])
def test_a_symbol_that_a_plan_leaves_out_is_invalid(
    source: TiingoSource, aaa: StubTicker, which: str
) -> None:
    setattr(aaa, which, Failure.FORBIDDEN)
    assert_failed(source.fetch("AAA"), Outcome.INVALID)
    setattr(aaa, which, None)
    assert source.fetch("AAA").outcome == Outcome.OK


@pytest.mark.parametrize("which", ["failure", "meta_failure"])
def test_a_refused_token_concerns_every_symbol(source: TiingoSource, aaa: StubTicker, which: str) -> None:
    setattr(aaa, which, Failure.UNAUTHORIZED)
    with pytest.raises(SourceError, match=r"^Tiingo answers 401 .+ compare TIINGO_API_KEY with .+tiingo"):
        source.fetch("AAA")
    setattr(aaa, which, None)
    assert source.fetch("AAA").outcome == Outcome.OK


def test_a_wrong_token_is_refused_and_not_repeated(tiingo: TiingoStub) -> None:
    wrong = "a-wrong-token"
    with pytest.raises(SourceError, match="Invalid token") as caught:
        TiingoSource(url=tiingo.url, token=wrong).fetch("AAA")
    assert wrong not in str(caught.value)
    assert tiingo.tokens == [f"Token {wrong}"]


def test_the_token_is_in_the_header_alone(source: TiingoSource, tiingo: TiingoStub, aaa: StubTicker) -> None:
    seen = [repr(source), str(source)]
    source.timeout = 0.2
    for failure in Failure:
        aaa.failure = failure
        try:
            seen.append(repr(source.fetch("AAA")))
        except SourceError as error:
            seen.append(str(error))
    assert not any(TOKEN in text for text in [*seen, *tiingo.requests])
    assert set(tiingo.tokens) == {f"Token {TOKEN}"}


def test_the_token_stays_with_its_server(source: TiingoSource, tiingo: TiingoStub) -> None:
    with TiingoStub() as other:
        tiingo.elsewhere = other.url
        with pytest.raises(SourceError):
            source.fetch("AAA")
        assert other.tokens == [""]


def test_a_netrc_file_does_not_replace_the_token(
    source: TiingoSource, tiingo: TiingoStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert source.fetch("AAA").outcome == Outcome.OK


def test_the_token_comes_from_the_environment(tiingo: TiingoStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", f" {TOKEN}\n")
    assert TiingoSource(url=tiingo.url).fetch("AAA").outcome == Outcome.OK
    monkeypatch.setenv("TIINGO_API_KEY", "a-wrong-token")
    assert TiingoSource(url=tiingo.url, token=TOKEN).fetch("AAA").outcome == Outcome.OK


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_a_token_it_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TIINGO_API_KEY", value)
    with pytest.raises(UsageError, match=r"got none: .*https://www\.tiingo\.com.* set TIINGO_API_KEY"):
        TiingoSource()


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schlüssel", "nul\0"])
def test_a_token_that_fits_no_header_is_refused_unseen(token: str) -> None:
    with pytest.raises(UsageError, match="got something else") as caught:
        TiingoSource(token=token)
    assert token not in str(caught.value)
