"""Headlines from Yahoo: the real yfinance client against a stub on loopback."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from news_stub import CONSENT, INVALID_CRUMB, REPAIRS, NewsStub, address, advertisement, flat_story, story
from yahoo_stub import StubSymbol, reset_yfinance, sessions

from forecaster.events import CHECKS, COLUMNS, RELEASED
from forecaster.instruments import Instrument
from forecaster.sources import Outcome, Told
from forecaster.sources.news import COUNT, OLDEST, TITLE_LENGTH, YahooNews, _distinctive, _plain
from forecaster.sources.yahoo import YahooSource

ACME = Instrument("ACME", "Acme Corporation", "XNYS", "America/New_York", "USD")
ASKED_AT = pd.Timestamp("2025-02-10 21:30", tz="UTC")
EARLIER = "2025-02-10T14:00:00Z"
FALL = "Acme's profit falls 20%"


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[NewsStub]:
    """Serve one headline."""
    reset_yfinance(tmp_path)
    with NewsStub() as stub:
        stub.stream = [story(FALL, EARLIER)]
        yield stub
    reset_yfinance(tmp_path)


@pytest.fixture
def source(yahoo: NewsStub) -> YahooNews:
    """Return the source under test."""
    return YahooNews(timeout=5.0, session=yahoo.session())


def told_well(source: YahooNews, instrument: Instrument = ACME, detail: str = "") -> pd.DataFrame:
    """Ask, and return the rows of an asking that went well."""
    told = source.tell(instrument, ASKED_AT)
    assert (told.symbol, told.outcome, told.detail) == (instrument.symbol, Outcome.OK, detail)
    CHECKS.validate(told.events)
    assert told.events["kind"].isin(list(RELEASED)).all()
    assert (told.events["known_at"] == ASKED_AT).all()
    return told.events


def assert_failed(told: Told, outcome: Outcome) -> None:
    """Check a failure and that it is told to a person in one line."""
    assert told.outcome == outcome
    assert told.events.empty
    assert tuple(told.events.columns) == COLUMNS
    assert 0 < len(told.detail) <= 200
    assert len(told.detail.splitlines()) == 1
    assert "<" not in told.detail


def titles(yahoo: NewsStub, source: YahooNews, instrument: Instrument, *stream: str) -> list[str]:
    """Return which of these headlines are told of a company."""
    yahoo.stream = [story(title, EARLIER) for title in stream]
    return told_well(source, instrument)["title"].tolist()


def test_a_headline_is_known_when_it_is_seen(source: YahooNews) -> None:
    row = told_well(source).to_dict("records")[0]
    assert row.pop("tone") < -0.3
    assert pd.isna(row.pop("magnitude"))
    assert row == {
        "symbol": "ACME",
        "kind": "profit",
        "happened_at": pd.Timestamp(EARLIER),
        "known_at": ASKED_AT,
        "title": FALL,
        "url": address(FALL),
        "source": "news",
    }


def test_a_company_costs_one_question(source: YahooNews, yahoo: NewsStub) -> None:
    told_well(source)
    told_well(source)
    paths = [path for path in yahoo.requests if not path.startswith("fc.")]
    assert paths == ["query1.finance.yahoo.com/v1/test/getcrumb"] + 2 * ["finance.yahoo.com/xhr/ncp"]


def test_the_question_is_the_one_that_yfinance_asks(source: YahooNews, yahoo: NewsStub) -> None:
    import yfinance

    told_well(source)
    shown = yfinance.Ticker("ACME", session=yahoo.session()).get_news(count=COUNT, tab="news")
    assert [entry["content"]["title"] for entry in shown] == [FALL]
    assert yahoo.asked[0] == yahoo.asked[1]
    assert yahoo.asked[0]["body"] == {"serviceConfig": {"snippetCount": COUNT, "s": ["ACME"]}}


def test_the_form_before_is_read_too(source: YahooNews, yahoo: NewsStub) -> None:
    nested = told_well(source)
    yahoo.stream = [flat_story(FALL, EARLIER)]
    pd.testing.assert_frame_equal(told_well(source), nested)


def test_an_empty_stream_is_no_failure(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.stream = []
    assert told_well(source).empty


@pytest.mark.parametrize("kind", ["ETF", "INDEX", "MUTUALFUND"])
def test_nothing_is_asked_about_funds_and_indices(source: YahooNews, yahoo: NewsStub, kind: str) -> None:
    assert told_well(source, replace(ACME, type=kind)).empty
    assert not yahoo.requests


def test_advertisements_are_left_out(source: YahooNews, yahoo: NewsStub) -> None:
    disguised = story("Acme shares to buy today", EARLIER) | {"ad": {"adChoicesUrl": "https://ads.example/"}}
    yahoo.stream = [advertisement(), *yahoo.stream, disguised]
    assert told_well(source)["title"].tolist() == [FALL]
    yahoo.stream = [advertisement()]
    assert told_well(source).empty


def test_a_story_told_twice_counts_once(source: YahooNews, yahoo: NewsStub) -> None:
    again = story("Acme's profit falls 20%, shares drop", "2025-02-10T15:00:00Z")
    again["content"]["canonicalUrl"] = yahoo.stream[0]["content"]["canonicalUrl"]
    yahoo.stream += [again]
    assert told_well(source)["title"].tolist() == [FALL]


def test_rows_come_in_order_of_publication(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.stream += [story("Acme names new chief executive", "2025-02-08T09:00:00+01:00")]
    rows = told_well(source)
    assert rows["kind"].tolist() == ["leadership", "profit"]
    assert rows["happened_at"].tolist() == [
        pd.Timestamp("2025-02-08 08:00", tz="UTC"),
        pd.Timestamp(EARLIER),
    ]


def test_the_future_is_left_out_until_it_has_come(source: YahooNews, yahoo: NewsStub) -> None:
    second_later = story("Acme sued over data breach", "2025-02-10T21:30:01Z")
    at_once = story("Acme recalls anvils", "2025-02-10T21:30:00Z")
    yahoo.stream += [second_later, at_once]
    rows = told_well(source, detail="headlines dated after this asking: 1")
    assert rows["title"].tolist() == [FALL, "Acme recalls anvils"]
    later = source.tell(ACME, ASKED_AT + pd.Timedelta(days=1))
    assert later.detail == ""
    assert later.events["title"].tolist() == [FALL, "Acme recalls anvils", "Acme sued over data breach"]


def test_what_is_old_is_left_out(source: YahooNews, yahoo: NewsStub) -> None:
    limit = ASKED_AT - OLDEST
    older = limit - pd.Timedelta(seconds=1)
    yahoo.stream = [story("Acme at the limit", limit.isoformat()), story("Acme older", older.isoformat())]
    assert told_well(source)["title"].tolist() == ["Acme at the limit"]


FAULTY: list[Any] = [
    story(FALL, EARLIER, title=None),
    story(FALL, EARLIER, title="<p> </p>"),
    story(FALL, EARLIER, title=["Acme"]),
    story(FALL, EARLIER, pubDate=None),
    story(FALL, "yesterday"),
    story(FALL, "2025-02-10"),
    story(FALL, "2025-02-10T14:00:00"),
    story(FALL, EARLIER, pubDate={}),
    story(FALL, EARLIER, pubDate=1e300),
    story(FALL, EARLIER, canonicalUrl=None, clickThroughUrl=None),
    story(FALL, EARLIER, canonicalUrl={"url": "javascript:alert(1)"}, clickThroughUrl={"url": None}),
    story(FALL, EARLIER, canonicalUrl="ftp://wire.example/acme", clickThroughUrl=None),
    story(FALL, EARLIER, canonicalUrl='https://wire.example/"onclick="x', clickThroughUrl=None),
    {"id": "1", "content": None},
    {"id": "1", "content": "Acme"},
    {},
    "Acme",
    None,
]


@pytest.mark.parametrize("entry", FAULTY, ids=range(len(FAULTY)))
def test_a_faulty_entry_takes_no_other_with_it(source: YahooNews, yahoo: NewsStub, entry: Any) -> None:
    yahoo.stream.insert(0, entry)
    detail = "headlines without title, date or address: 1"
    assert told_well(source, detail=detail)["title"].tolist() == [FALL]
    yahoo.stream = [entry, advertisement()]
    assert_failed(source.tell(ACME, ASKED_AT), Outcome.INVALID)


def test_the_second_address_stands_in_for_the_first(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.stream = [story(FALL, EARLIER, canonicalUrl=None)]
    assert told_well(source)["url"].tolist() == [address(FALL)]


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        ((429, "Too Many Requests\r\n"), Outcome.RATE_LIMITED, "left alone"),
        ((500, "<html>\n<body>Internal Server Error</body>\n</html>"), Outcome.TRANSIENT, "status 500"),
        ((502, '{"data": {"tickerStream": {"stream": []}}}'), Outcome.TRANSIENT, "status 502"),
        ((401, INVALID_CRUMB), Outcome.TRANSIENT, "status 401"),
        ((200, REPAIRS), Outcome.TRANSIENT, "not JSON"),
        ((200, CONSENT), Outcome.TRANSIENT, "not JSON"),
        ((200, ""), Outcome.TRANSIENT, "not JSON"),
        ((200, '{"data": {"tickerStream": {"str'), Outcome.TRANSIENT, "not JSON"),
        ((200, INVALID_CRUMB), Outcome.INVALID, "unexpected form"),
        ((200, "[]"), Outcome.INVALID, "unexpected form"),
        ((200, "null"), Outcome.INVALID, "unexpected form"),
        ((200, '{"data": {"tickerStream": null}}'), Outcome.INVALID, "unexpected form"),
        ((200, '{"data": {"tickerStream": {"stream": null}}}'), Outcome.INVALID, "a list of headlines"),
        ((200, '{"data": {"tickerStream": {"stream": {"0": {}}}}}'), Outcome.INVALID, "a list of headlines"),
    ],
)
def test_failure_is_typed_and_passes(
    source: YahooNews, yahoo: NewsStub, answer: tuple[int, str], outcome: Outcome, words: str
) -> None:
    yahoo.answer = answer
    told = source.tell(ACME, ASKED_AT)
    assert_failed(told, outcome)
    assert words in told.detail
    yahoo.answer = None
    assert len(told_well(source)) == 1


def test_a_slow_reply_ends_at_the_timeout(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.is_slow, source.timeout = True, 0.3
    assert_failed(source.tell(ACME, ASKED_AT), Outcome.TRANSIENT)


def test_no_connection(source: YahooNews) -> None:
    with NewsStub() as closed:
        source.session = closed.session()
    assert_failed(source.tell(ACME, ASKED_AT), Outcome.TRANSIENT)


def test_headlines_come_without_a_crumb(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.crumb_status = 429
    assert len(told_well(source)) == 1


def test_a_title_is_plain_text_on_one_line(source: YahooNews, yahoo: NewsStub) -> None:
    told = "  Acme &amp; Sons&#39; profit <b>falls</b> &lt;i&gt;20&nbsp;%&lt;/i&gt;"
    told += "\r\n\x00\u202eagain\u200b\ud800 "
    long = "Acme " + 500 * "on and "
    yahoo.stream = [story(FALL, EARLIER, title=told), story("Acme goes on", EARLIER, title=long)]
    first, second = told_well(source)["title"]
    assert first == "Acme & Sons' profit falls 20 % again"
    assert len(second) <= TITLE_LENGTH
    assert second == second.strip()


@given(st.text())
def test_no_text_keeps_markup_or_control_characters(text: str) -> None:
    shown = _plain(f"<b>{text}</b>")
    assert shown == " ".join(shown.split())
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Acme Corporation", "Acme"),
        ("The Acme Company", "Acme"),
        ("Acme.com, Inc.", "Acme"),
        ("Acme, Inc.", "Acme"),
        ("A&amp;C Inc.", "A&C"),
        ("Bank of Acme Corporation", "Bank of Acme"),
        ("First Acme, Inc.", "First Acme"),
        ("U.S. Acme", "U.S. Acme"),
        ("A. B. Acme Group", "A. B. Acme"),
        ("Acme’s Corporation", "Acme's"),
        ("General", "General"),
        ("The", "The"),
        ("", ""),
    ],
)
def test_a_name_is_shortened_to_what_headlines_say(name: str, expected: str) -> None:
    assert _distinctive(name) == expected


@pytest.mark.parametrize(
    ("symbol", "name", "about", "not_about"),
    [
        (
            "ACME",
            "Acme Corporation",
            ["Acme’s profit falls", "ACME PROFIT FALLS", "Is (ACME) a buy?", "Why ACME fell"],
            ["Markets fall", "Acmella flowers", "The acme of bad policy", "Pacme recalls cars"],
        ),
        (
            "IT",
            "Gadget Inc.",
            ["Gadget cuts costs", "Upgrade (NYSE: IT)", "Moves: Other (OTHR, IT)", "$IT falls"],
            ["IT spending falls", "WILL IT FALL?", "Big budgets (IT spending)", "$ITX falls"],
        ),
        ("ALL", "Sure Corporation", ["ALL falls after results", "(ALL)"], ["ALL BANKS FALL", "All fall"]),
        ("BRK-B", "Bricks Inc.", ["Bricks rises", "(BRK.B) rises", "(BRK-B)", "$BRK.B up"], ["BRK rises"]),
        ("ACM.L", "Acme plc", ["Acme rises", "(ACM.L)", "(LON: ACM)"], ["ACM meets"]),
        ("ADI.DE", "addido AG", ["addido rises", "Addido rises"], ["additional rises"]),
        ("FST", "First Acme, Inc.", ["First Acme rises"], ["First of all, shares rise", "Acme rises"]),
    ],
)
def test_only_what_names_the_company_counts(
    yahoo: NewsStub, source: YahooNews, symbol: str, name: str, about: list[str], not_about: list[str]
) -> None:
    instrument = replace(ACME, symbol=symbol, name=name)
    shown = titles(yahoo, source, instrument, *about, *not_about)
    assert shown == [title.replace("’", "'") for title in about]


def test_the_first_sentence_of_the_summary_counts_too(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.stream = [
        story("Anvil sales slump", EARLIER, "Acme sells fewer anvils. Others do too."),
        story("Stocks slip", EARLIER, "Indices closed lower. Acme and others fell."),
        story("Stocks slide", EARLIER, summary=["Acme"]),
    ]
    assert told_well(source)["title"].tolist() == ["Anvil sales slump"]


def test_since_hides_nothing(source: YahooNews) -> None:
    told = source.tell(ACME, ASKED_AT, since=ASKED_AT)
    pd.testing.assert_frame_equal(told.events, told_well(source))


def test_prices_and_headlines_take_turns(source: YahooNews, yahoo: NewsStub) -> None:
    yahoo.add(StubSymbol("ACME", sessions("2024-01-02", "2024-01-31")))
    prices = YahooSource(pd.Timestamp("2024-01-02"), timeout=5.0, session=yahoo.session())
    with ThreadPoolExecutor(4) as pool:
        told = [pool.submit(source.tell, ACME, ASKED_AT) for _ in range(6)]
        fetched = [pool.submit(prices.fetch, "ACME") for _ in range(6)]
        assert {len(one.result().events) for one in told} == {1}
        assert {one.result().outcome for one in fetched} == {Outcome.OK}


def test_protocol(source: YahooNews) -> None:
    assert (source.name, source.remote, source.host, source.requests) == ("news", True, "yahoo", 1)
