"""The SEC's filings: edgartools itself against a stub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from sec_stub import Failure, SecStub, StubCompany, StubFiling
from tls_proxy import TlsProxy

from forecaster import events
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions
from forecaster.sources import Outcome, Told, filings
from forecaster.sources.filings import Filings

ROOT = Path(__file__).parents[1]
CONTACT = "somebody@example.com"
ASKED_AT = pd.Timestamp("2025-01-15 12:00", tz="UTC")
TICKERS = "company_tickers.json"
AAA = Instrument("AAA", "AAA Incorporated", "XNYS", "America/New_York", "USD")


@pytest.fixture
def sec(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecStub]:
    """Serve one filer, AAA, past any proxy and without pauses."""
    manager = filings._edgar(CONTACT).httpclient.HTTP_MGR
    monkeypatch.setattr(manager, "proxy", None)
    monkeypatch.setattr(manager, "rate_limiter_enabled", False)
    manager.close()
    with SecStub() as stub:
        stub.add(StubCompany("AAA", 1234567, [StubFiling("2.02,9.01", "2024-05-02T16:30:41.000Z")]))
        yield stub
    manager.close()


@pytest.fixture
def aaa(sec: SecStub) -> StubCompany:
    """Return the ordinary filer."""
    return sec.companies["AAA"]


@pytest.fixture
def source(sec: SecStub) -> Filings:
    """Return the source under test."""
    return Filings(CONTACT, timeout=5.0, url=sec.url, data_url=sec.data_url)


def rows_of(told: Told) -> pd.DataFrame:
    """Return the events of an answer that went well, which pass the check of all events."""
    assert (told.outcome, told.detail) == (Outcome.OK, "")
    pd.testing.assert_frame_equal(events.checked(told.events, "again"), told.events)
    return told.events


def assert_failed(told: Told, outcome: Outcome) -> None:
    """Check a failure and that it is told to a person in one line."""
    assert told.outcome == outcome
    assert told.events.empty
    assert tuple(told.events.columns) == events.COLUMNS
    assert 0 < len(told.detail) <= 200
    assert len(told.detail.splitlines()) == 1
    assert "<" not in told.detail


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def test_a_filing_becomes_an_event(source: Filings, sec: SecStub) -> None:
    assert (source.name, source.remote, source.host, source.requests) == ("filings", True, "sec", 1)
    (row,) = rows_of(source.tell(AAA, ASKED_AT)).to_dict("records")
    assert pd.isna(row.pop("tone"))
    assert pd.isna(row.pop("magnitude"))
    assert row == {
        "symbol": "AAA",
        "kind": "results",
        "happened_at": utc("2024-05-02 20:30:41"),
        "known_at": utc("2024-05-02 20:30:41"),
        "title": "8-K item 2.02: results of operations and financial condition",
        "url": "https://www.sec.gov/Archives/edgar/data/1234567/000123456724000001/"
        "0001234567-24-000001-index.html",
        "source": "filings",
    }
    assert sec.requests == [
        "/www.sec.gov/files/company_tickers.json",
        "/data.sec.gov/submissions/CIK0001234567.json",
    ]
    assert sec.agents == {f"forecaster {CONTACT}"}


@pytest.mark.parametrize(
    ("items", "kinds"),
    [
        ("2.02,9.01", ["results"]),
        ("5.02", ["leadership"]),
        ("1.01", ["policy"]),
        ("7.01", ["policy"]),
        ("8.01", ["policy"]),
        ("2.05", ["restructuring"]),
        ("2.02,7.01,9.01", ["policy", "results"]),
        ("1.01,2.05,5.02,8.01", ["leadership", "policy", "restructuring"]),
        (" 5.02 , 9.01", ["leadership"]),
        ("5.02,5.02", ["leadership"]),
        ("9.01", []),
        ("5.03,12.02,2.020", []),
        ("5,12", []),
        ("", []),
        (None, []),
    ],
)
def test_items_make_one_event_for_each_kind(
    source: Filings, aaa: StubCompany, items: str | None, kinds: list[str]
) -> None:
    aaa.recent = [StubFiling(items, "2024-05-02T16:30:41.000Z")]
    rows = rows_of(source.tell(AAA, ASKED_AT))
    assert sorted(rows["kind"]) == kinds
    assert rows["known_at"].nunique() <= 1


def test_a_title_names_every_item_of_its_kind(source: Filings, aaa: StubCompany) -> None:
    aaa.recent = [StubFiling("8.01,1.01,5.02", "2024-05-02T16:30:41.000Z")]
    rows = rows_of(source.tell(AAA, ASKED_AT)).set_index("kind")
    assert rows.loc["policy", "title"] == (
        "8-K item 1.01: entry into a material agreement; item 8.01: other events"
    )
    assert rows.loc["leadership", "title"] == (
        "8-K item 5.02: departure or election of directors or officers"
    )


def test_amendments_and_other_forms_are_no_news(source: Filings, aaa: StubCompany) -> None:
    aaa.recent = [
        StubFiling("5.02", "2024-05-02T16:30:41.000Z", form=form)
        for form in ("8-K", "8-K/A", "8-K12B", "8-K12B/A", "10-Q", "4", "6-K", "")
    ]
    assert len(rows_of(source.tell(AAA, ASKED_AT))) == 2


@pytest.mark.parametrize(
    ("clock", "known_at"),
    [
        ("2024-01-18T16:30:10.000Z", "2024-01-18 21:30:10"),
        ("2024-07-18T16:30:10.000Z", "2024-07-18 20:30:10"),
        ("2024-07-18T16:30:10Z", "2024-07-18 20:30:10"),
        ("2024-07-18T16:30:10", "2024-07-18 20:30:10"),
        ("2024-03-08T17:00:00.000Z", "2024-03-08 22:00:00"),
        ("2024-03-10T01:59:59.000Z", "2024-03-10 06:59:59"),
        ("2024-03-10T02:30:00.000Z", "2024-03-10 07:00:00"),
        ("2024-03-10T03:00:00.000Z", "2024-03-10 07:00:00"),
        ("2024-11-03T00:59:59.000Z", "2024-11-03 04:59:59"),
        ("2024-11-03T01:30:00.000Z", "2024-11-03 06:30:00"),
        ("2024-11-03T02:00:00.000Z", "2024-11-03 07:00:00"),
    ],
)
def test_a_clock_time_is_new_yorks(source: Filings, aaa: StubCompany, clock: str, known_at: str) -> None:
    aaa.recent = [StubFiling("5.02", clock)]
    assert rows_of(source.tell(AAA, ASKED_AT))["known_at"].tolist() == [utc(known_at)]


@pytest.mark.parametrize("day", ["2024-03-10", "2024-07-04", "2024-11-03"])
def test_whatever_the_filers_clock_nothing_is_known_too_early(
    source: Filings, aaa: StubCompany, day: str
) -> None:
    """The three ways in which the SEC has sent one moment: UTC, New York time, UTC moved once more."""
    truth = {}
    for half_hours in range(-96, 96):
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=30 * half_hours + 7)
        clock = moment.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=UTC)
        for told in (moment, clock, moment + (moment - clock)):
            number = f"0001234567-24-{len(truth):06d}"
            aaa.recent.append(StubFiling("5.02", f"{told:%Y-%m-%dT%H:%M:%S.000Z}", number=number))
            truth[number] = moment
    rows = rows_of(source.tell(AAA, ASKED_AT))
    rows = rows[rows["kind"] == "leadership"]
    late = [
        row.known_at - truth[row.url.split("/")[-1].removesuffix("-index.html")] for row in rows.itertuples()
    ]
    assert len(late) == len(truth)
    assert min(late) == timedelta(0)
    assert max(late) <= timedelta(hours=10)


@pytest.mark.parametrize(
    ("clock", "session"),
    [
        ("2024-05-02T07:00:00.000Z", "2024-05-02"),
        ("2024-05-02T15:59:59.000Z", "2024-05-02"),
        ("2024-05-02T16:00:00.000Z", "2024-05-03"),
        ("2024-05-03T16:30:00.000Z", "2024-05-06"),
        ("2024-05-03T00:30:00.000Z", "2024-05-03"),
        ("2024-11-29T12:59:59.000Z", "2024-11-29"),
        ("2024-11-29T13:00:00.000Z", "2024-12-02"),
        ("2024-12-24T22:00:00.000Z", "2024-12-26"),
    ],
)
def test_what_comes_at_the_close_or_later_moves_the_next_session(
    source: Filings, aaa: StubCompany, clock: str, session: str
) -> None:
    aaa.recent = [StubFiling("2.02", clock)]
    rows = rows_of(source.tell(AAA, ASKED_AT))
    (position,) = events.moved_session(rows, "XNYS", "known_at")
    assert all_sessions("XNYS")[position] == pd.Timestamp(session)


@pytest.mark.parametrize("accepted", [None, "", "soon"])
def test_a_date_without_a_time_counts_from_the_next_session(
    source: Filings, aaa: StubCompany, accepted: str | None
) -> None:
    aaa.recent.append(StubFiling("5.02", accepted, filed="2024-05-03"))
    rows = rows_of(source.tell(AAA, ASKED_AT)).set_index("kind")
    assert rows["known_at"].to_dict() == {
        "results": utc("2024-05-02 20:30:41"),
        "leadership": utc("2024-05-04 03:59:59"),
    }
    aaa.recent = [StubFiling("5.02", accepted, filed="2024-05-03")]
    (position,) = events.moved_session(rows_of(source.tell(AAA, ASKED_AT)), "XNYS", "known_at")
    assert all_sessions("XNYS")[position] == pd.Timestamp("2024-05-06")


@pytest.fixture
def long_history(aaa: StubCompany) -> StubCompany:
    """Return the filer with three older pages, the last from before the items had today's numbers."""
    aaa.older = [
        [StubFiling("5.02", "2018-06-01T18:30:00.000Z"), StubFiling("8.01", "2012-03-01T09:00:00.000Z")],
        [StubFiling("2.05", "2012-02-01T09:00:00.000Z"), StubFiling("1.01", "2005-02-01T09:00:00.000Z")],
        [StubFiling("2.02", "2004-08-19T09:00:00.000Z")],
    ]
    return aaa


@pytest.mark.parametrize(
    ("since", "years", "pages"),
    [
        (None, [2005, 2012, 2012, 2018, 2024], 2),
        ("1990-01-01", [2005, 2012, 2012, 2018, 2024], 2),
        ("2012-02-15", [2012, 2018, 2024], 1),
        ("2018-06-01 22:30", [2018, 2024], 1),
        ("2018-06-01 22:31", [2024], 1),
        ("2018-06-05", [2024], 0),
        ("2024-05-03", [], 0),
    ],
)
def test_older_pages_are_read_while_they_are_wanted(
    source: Filings, sec: SecStub, long_history: StubCompany, since: str | None, years: list[int], pages: int
) -> None:
    rows = rows_of(source.tell(AAA, ASKED_AT, None if since is None else utc(since)))
    assert rows["known_at"].dt.year.tolist() == years
    assert [path for path in sec.requests if "-submissions-" in path] == [
        f"/data.sec.gov/submissions/CIK0001234567-submissions-{place:03d}.json"
        for place in range(1, pages + 1)
    ]


def test_a_filing_accepted_in_the_evening_is_dated_the_day_after(source: Filings, aaa: StubCompany) -> None:
    aaa.older = [[StubFiling("5.02", "2018-06-01T22:00:00.000Z", filed="2018-06-01")]]
    rows = rows_of(source.tell(AAA, ASKED_AT, utc("2018-06-02 02:00")))
    assert rows["kind"].tolist() == ["leadership", "results"]


@pytest.mark.parametrize("name", [TICKERS, "CIK0001234567.json", "CIK0001234567-submissions-001.json"])
@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure.LIMIT, Outcome.RATE_LIMITED),
        (Failure.FORBIDDEN, Outcome.RATE_LIMITED),
        (Failure.SERVER_ERROR, Outcome.TRANSIENT),
        (Failure.UNAVAILABLE, Outcome.TRANSIENT),
        (Failure.BROKEN_OFF, Outcome.TRANSIENT),
        (Failure.SLOW, Outcome.TRANSIENT),
        (Failure.NOT_FOUND, Outcome.INVALID),
        (Failure.MOVED, Outcome.INVALID),
        (Failure.PAGE, Outcome.INVALID),
        (Failure.EMPTY, Outcome.INVALID),
        (Failure.NO_OBJECT, Outcome.INVALID),
        (Failure.TRUNCATED, Outcome.INVALID),
    ],
)
def test_failures_have_types_and_pass(
    source: Filings, sec: SecStub, long_history: StubCompany, name: str, failure: Failure, outcome: Outcome
) -> None:
    sec.failures[name] = failure
    source.timeout = 0.2 if failure == Failure.SLOW else 5.0
    assert_failed(source.tell(AAA, ASKED_AT), outcome)
    asked = [path.rpartition("/")[2] for path in sec.requests]
    assert asked.count(name) == 1, "whoever paces the requests asks again"
    assert asked[-1] == name
    del sec.failures[name]
    source.timeout = 5.0
    assert len(rows_of(source.tell(AAA, ASKED_AT))) == 5


def test_nobody_there_is_transient(sec: SecStub) -> None:
    away = Filings(CONTACT, url="http://127.0.0.1:9", data_url=sec.data_url)
    assert_failed(away.tell(AAA, ASKED_AT), Outcome.TRANSIENT)


@pytest.mark.parametrize(
    "columns",
    [
        {"acceptanceDateTime": None},
        {"items": None},
        {"items": ["2.02", "5.02"]},
        {"items": [2.02]},
        {"form": "8-K"},
        {"filingDate": ["soon"]},
        {"filingDate": [None]},
        {"accessionNumber": [7]},
    ],
    ids=str,
)
def test_a_page_of_another_form_is_invalid(
    source: Filings, aaa: StubCompany, columns: dict[str, object]
) -> None:
    aaa.columns = columns
    told = source.tell(AAA, ASKED_AT)
    assert_failed(told, Outcome.INVALID)
    assert "unexpected form" in told.detail


def test_the_list_of_tickers_is_asked_for_once(source: Filings, sec: SecStub) -> None:
    sec.add(StubCompany("BBB-A", 42, [StubFiling("5.02", "2024-05-02T16:30:41.000Z")]))
    for symbol in ("AAA", "BBB-A", "BBB.A"):
        instrument = Instrument(symbol, symbol, "XNAS", "America/New_York", "USD")
        assert rows_of(source.tell(instrument, ASKED_AT))["symbol"].tolist() == [symbol]
    assert [path for path in sec.requests if TICKERS in path] == [f"/www.sec.gov/files/{TICKERS}"]


@pytest.mark.parametrize(
    "contact", ["", "   ", "somebody", "some body@example.com", "jörg@example.com", "a@b\n@c"]
)
def test_without_a_contact_nothing_is_asked(sec: SecStub, contact: str) -> None:
    told = Filings(contact, url=sec.url, data_url=sec.data_url).tell(AAA, ASKED_AT)
    assert_failed(told, Outcome.INVALID)
    assert told.detail == "set FORECASTER_CONTACT to your e-mail address: the SEC asks for one"
    assert sec.requests == []


@pytest.mark.parametrize(
    "instrument",
    [
        Instrument("AAA", "AAA", "XTKS", "Asia/Tokyo", "JPY"),
        Instrument("AAA", "AAA", "XTSE", "America/Toronto", "CAD"),
        Instrument("AAA", "AAA", "XNYS", "America/New_York", "USD", "INDEX"),
        Instrument("AAA", "AAA", "ARCX", "America/New_York", "USD", "ETF"),
    ],
    ids=lambda one: f"{one.exchange} {one.type}",
)
def test_what_files_nothing_there_is_not_looked_up(
    source: Filings, sec: SecStub, instrument: Instrument
) -> None:
    assert_failed(source.tell(instrument, ASKED_AT), Outcome.GONE)
    assert sec.requests == []


def test_a_company_of_which_nothing_is_known_does_not_pass_for_a_quiet_one(
    source: Filings, sec: SecStub, aaa: StubCompany
) -> None:
    quiet = source.tell(AAA, ASKED_AT, utc("2024-06-01"))
    assert rows_of(quiet).empty
    aaa.recent = [StubFiling("", "2024-05-02T16:30:41.000Z", form="6-K")]
    foreign = source.tell(AAA, ASKED_AT)
    assert_failed(foreign, Outcome.GONE)
    assert "no form 8-K" in foreign.detail
    aaa.recent = []
    assert_failed(source.tell(AAA, ASKED_AT), Outcome.GONE)
    unlisted = source.tell(Instrument("ZZZ", "ZZZ", "XNYS", "America/New_York", "USD"), ASKED_AT)
    assert_failed(unlisted, Outcome.GONE)
    assert "ticker ZZZ" in unlisted.detail


ASK_TWICE = f"""
import json
import pandas as pd
from forecaster.instruments import Instrument
from forecaster.sources.filings import Filings

source = Filings({CONTACT!r})
instrument = Instrument("AAA", "AAA", "XNYS", "America/New_York", "USD")
for _ in range(2):
    told = source.tell(instrument, pd.Timestamp("2025-01-15", tz="UTC"))
    print(json.dumps([told.outcome, told.events["known_at"].astype(str).tolist()]))
"""


def test_an_unpatched_process_asks_the_sec_only_and_leaves_nothing_behind(
    sec: SecStub, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("home", "temporary", "elsewhere")]
    for place in places:
        place.mkdir()
    home, temporary, elsewhere = places
    company = "CIK0001234567.json"
    sec.stumbles[company] = Failure.TRUNCATED
    with TlsProxy(sec.port, tmp_path) as proxy:
        own = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGAR")}
        done = subprocess.run(
            [sys.executable, "-c", ASK_TWICE],
            cwd=elsewhere, env=environment | proxy.environment() | own, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        ["invalid", []],
        ["ok", ["2024-05-02 20:30:41+00:00"]],
    ]
    assert done.stderr == ""
    assert sec.requests == [
        f"/www.sec.gov/files/{TICKERS}",
        f"/data.sec.gov/submissions/{company}",
        f"/data.sec.gov/submissions/{company}",
    ]
    assert sec.agents == {f"forecaster {CONTACT}"}
    assert [list(place.iterdir()) for place in places] == [[], [], []]


@pytest.mark.network
@pytest.mark.skipif("FORECASTER_CONTACT" not in os.environ, reason="the SEC asks for a contact")
def test_the_live_service() -> None:
    """One filer of long standing."""
    apple = Instrument("AAPL", "Apple Inc.", "XNAS", "America/New_York", "USD")
    rows = rows_of(Filings(os.environ["FORECASTER_CONTACT"]).tell(apple, pd.Timestamp.now(tz="UTC")))
    assert (rows["kind"] == "results").sum() > 80
