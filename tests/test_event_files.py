"""Files of company events: their four shapes, what a date counts for, how what does not fit is refused."""

import math
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from exchange_calendars import get_calendar
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import FileFormatError, UsageError
from forecaster.events import COLUMNS, moved_session
from forecaster.sessions import all_sessions
from forecaster.sources.event_files import is_events, read_events
from forecaster.sources.sample import FOLDER

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = get_calendar("XNYS", start="2008-01-02", end="2026-02-01")
EVENTS = "symbol,kind,known_at,happened_at,tone,magnitude,title,url,source"


@pytest.fixture
def write(tmp_path: Path):
    """Write lines, or a frame, as a file and return its path."""

    def written(*lines: str, name: str = "own.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return written


def utc(moment: str) -> pd.Timestamp:
    return pd.Timestamp(moment, tz="UTC")


def moved(rows: pd.DataFrame) -> list[str]:
    """Day of the session that each row moves."""
    days = all_sessions("XNYS")[moved_session(rows, "XNYS", "known_at")]
    return [str(day)[:10] for day in days]


def test_the_events_shape_in_full(write) -> None:
    path = write(
        EVENTS,
        "aapl,Results,2024-02-01T16:30:00-05:00,2024-02-01T21:30:00Z,0.5,3.9,First quarter,https://x/1,Wire",
        "BRK-B,policy,2024-02-02 09:00:00+0000,,,,,,",
    )
    rows = read_events(path)
    assert tuple(rows.columns) == COLUMNS
    first, second = rows.to_dict("records")
    assert first == {
        "symbol": "AAPL",
        "kind": "results",
        "happened_at": utc("2024-02-01 21:30"),
        "known_at": utc("2024-02-01 21:30"),
        "tone": 0.5,
        "magnitude": 3.9,
        "title": "First quarter",
        "url": "https://x/1",
        "source": "Wire",
    }
    assert second["happened_at"] == second["known_at"] == utc("2024-02-02 09:00")
    assert math.isnan(second["tone"])
    assert math.isnan(second["magnitude"])
    assert (second["title"], second["url"], second["source"]) == ("", "", "own.csv")


def test_three_columns_are_enough_whatever_their_case(write) -> None:
    rows = read_events(write("KIND,Ticker , Known_At", "other,MSFT,2024-02-02T09:00:00Z"))
    assert rows[["symbol", "kind", "source"]].to_numpy().tolist() == [["MSFT", "other", "own.csv"]]


def test_parquet_holds_the_same(tmp_path: Path, write) -> None:
    lines = [EVENTS, "AAPL,policy,2024-02-01T16:30:00-05:00,2024-01-31T12:00:00Z,-0.25,1,Fine,,Wire"]
    from_csv = read_events(write(*lines))
    frame = pd.read_csv(write(*lines))
    for name in ("known_at", "happened_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.tz_convert("Asia/Tokyo")
    frame.to_parquet(tmp_path / "own.parquet")
    pd.testing.assert_frame_equal(read_events(tmp_path / "own.parquet"), from_csv)


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-07-03", "2024-07-05"],
        pd.to_datetime(["2024-07-03", "2024-07-05"]),
        pd.to_datetime(["2024-07-03", "2024-07-05"]).date,
    ],
)
def test_a_date_counts_from_the_next_session(tmp_path: Path, dates) -> None:
    frame = pd.DataFrame({"symbol": "AAPL", "kind": "policy", "known_at": dates})
    frame.to_parquet(tmp_path / "own.parquet")
    rows = read_events(tmp_path / "own.parquet")
    # The 3rd closes early, the 4th is a holiday, the 6th and 7th are a weekend.
    assert rows["known_at"].tolist() == [utc("2024-07-04 03:59:59"), utc("2024-07-06 03:59:59")]
    assert moved(rows) == ["2024-07-05", "2024-07-08"]


@given(
    day=st.dates(datetime(2008, 1, 2).date(), datetime(2025, 12, 31).date()),
    clock=st.none() | st.times().map(lambda told: told.replace(second=0, microsecond=0)),
)
@settings(max_examples=60, deadline=None)
def test_the_moved_session_against_a_plain_loop(tmp_path_factory, day, clock) -> None:
    """The first session that closes after the moment; days with a clock change are among the draws."""
    path = tmp_path_factory.mktemp("drawn") / "own.csv"
    told = "" if clock is None else f"{clock:%H:%M}"
    path.write_text(f"symbol,kind,happened_on,known_time_et\nAAPL,policy,{day},{told}\n")
    rows = read_events(path)
    if clock is None:
        expected = next(one for one in CALENDAR.sessions if one.date() > day)
        assert rows["known_at"][0].tz_convert(NEW_YORK).time() == time(23, 59, 59)
    else:
        # Of an hour that comes twice the later, of one that is skipped the next: never too early.
        local = datetime.combine(day, clock, NEW_YORK)
        moment = max(pd.Timestamp(local.replace(fold=fold)).tz_convert("UTC") for fold in (0, 1))
        assert timedelta(0) <= moment - rows["known_at"][0] <= timedelta(hours=1)
        expected = next(one for one, end in CALENDAR.closes.items() if end > rows["known_at"][0])
    assert moved(rows) == [str(expected.date())]


@pytest.mark.parametrize("day", ["2024-03-08", "2024-03-10", "2024-03-11", "2024-11-03", "2024-11-04"])
def test_clock_changes(write, day: str) -> None:
    rows = read_events(write("symbol,kind,happened_on,known_time_et", f"AAPL,policy,{day},16:00"))
    is_summer = "2024-03-10" <= day < "2024-11-03"
    assert rows["known_at"][0] == utc(f"{day} {20 if is_summer else 21}:00")


def test_what_happened_on_the_day_on_which_it_was_known(write) -> None:
    """A date of the same day lies before the known time; one of an earlier day at its end."""
    rows = read_events(
        write(
            "symbol,kind,known_at,happened_at",
            "AAPL,policy,2024-02-01T09:00:00-05:00,2024-02-01",
            "AAPL,policy,2024-02-01T09:00:00-05:00,2024-01-30",
            "AAPL,policy,2024-02-01,2024-02-01",
        )
    )
    assert rows["happened_at"].tolist() == [
        utc("2024-02-01 14:00"),
        utc("2024-01-31 04:59:59"),
        utc("2024-02-02 04:59:59"),
    ]


def test_a_planned_date_stands_for_midday_at_the_exchange(write) -> None:
    path = write(
        "symbol,kind,known_at,happened_at,magnitude",
        "AAPL,results_scheduled,2024-01-10T12:00:00Z,2024-02-01,0.5",
        "AAPL,results_scheduled,2024-01-10T12:00:00Z,2024-02-02T16:30:00-05:00,0.5",
    )
    assert read_events(path)["happened_at"].tolist() == [utc("2024-02-01 17:00"), utc("2024-02-02 21:30")]
    assert read_events(path, "XTKS")["happened_at"][0] == utc("2024-02-01 03:00")


def test_filings_tell_one_event_for_each_kind_of_item(write) -> None:
    rows = read_events(
        write(
            "ticker,accept_utc,is_results_202,is_leadership_502,items,form",
            'KO,2020-02-10T21:30:00Z,True,False,"2.02,7.01,9.01",8-K',
            'KO,2020-02-11 13:00:00,False,True,"1.01,5.02,8.01",8-K',
            'KO,2020-02-12 13:00:00,False,False,"2.05,5.07",8-K',
            'KO,2020-02-13 13:00:00,True,False,"2.02",8-K/A',
            "KO,2020-02-14 13:00:00,1,0,,8-K",
        )
    )
    assert rows[["kind", "known_at", "title"]].to_numpy().tolist() == [
        ["policy", utc("2020-02-11 02:30"), "8-K, item 7.01"],
        ["results", utc("2020-02-11 02:30"), "8-K, item 2.02"],
        ["policy", utc("2020-02-11 18:00"), "8-K, item 1.01, 8.01"],
        ["leadership", utc("2020-02-11 18:00"), "8-K, item 5.02"],
        ["restructuring", utc("2020-02-12 18:00"), "8-K, item 2.05"],
        ["results", utc("2020-02-14 18:00"), "8-K, item 2.02"],
    ]
    assert rows[["tone", "magnitude"]].isna().all(axis=None)


@pytest.mark.parametrize("day", ["2024-01-17", "2024-03-10", "2024-07-05", "2024-11-03"])
def test_whatever_clock_a_filing_has_it_is_never_known_too_early(write, day: str) -> None:
    """The two ways in which the SEC sends one moment: in UTC, and in New York time with a Z."""
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    truth = [start + timedelta(minutes=10 * step) for step in range(-200, 200)]
    for zone, latest in ((UTC, timedelta(hours=5)), (NEW_YORK, timedelta(hours=1))):
        clocks = [f"{moment.astimezone(zone):%Y-%m-%dT%H:%M:%S.000Z}" for moment in truth]
        lines = [f"INTC,{clock},True,https://x/{place}" for place, clock in enumerate(clocks)]
        known_at = read_events(write("ticker,accept_utc,is_results_202,url", *lines)).set_index("url")[
            "known_at"
        ]
        late = [known_at[f"https://x/{place}"] - moment for place, moment in enumerate(truth)]
        assert min(late) >= timedelta(0)
        assert max(late) <= latest


def test_a_filing_from_after_the_close_moves_the_next_session(write) -> None:
    """16:05 in New York, with a Z; a date without a time counts to its end."""
    rows = read_events(
        write(
            "ticker,accept_utc,is_results_202",
            "INTC,2024-01-25T16:05:00.000Z,True",
            "INTC,2024-04-25 16:05:00,True",
            "INTC,2024-08-01,True",
        )
    )
    assert rows["known_at"].tolist() == [
        utc("2024-01-25 21:05"),
        utc("2024-04-25 20:05"),
        utc("2024-08-02 03:59:59"),
    ]
    assert moved(rows) == ["2024-01-26", "2024-04-26", "2024-08-02"]


def test_filings_need_no_items(write) -> None:
    rows = read_events(
        write("ticker,accept_utc,is_results_202", "KO,2020-02-10T21:30:00Z,true", "KO,2020-02-11,no")
    )
    assert rows["kind"].tolist() == ["results"]


RESULTS = "ticker,announce_utc,surprise_pct,eps_estimate,eps_actual"


def test_results_with_their_surprise(write) -> None:
    rows = read_events(
        write(
            RESULTS,
            "AAPL,2024-02-01 21:00:00,10,2.0,2.2",
            "AAPL,2024-05-02T11:00:00Z,-4.0,1.5,1.44",
            "AAPL,2024-08-01 20:00:00+00:00,,1.0,1.0",
            "AAPL,2024-10-31 20:00:00,,,1.5",
        )
    )
    assert rows["magnitude"].tolist()[:3] == [10.0, 4.0, 0.0]
    assert rows["tone"].tolist()[:3] == pytest.approx([math.tanh(1.0), math.tanh(-0.4), 0.0])
    assert rows.loc[3, ["tone", "magnitude"]].isna().all()
    assert rows["title"].tolist()[::3] == ["Results, surprise +10.0 %", "Results"]
    # At the close, in winter and in summer: the next session. Before the open: the same.
    assert moved(rows) == ["2024-02-02", "2024-05-02", "2024-08-02", "2024-11-01"]


def test_planned_results_are_no_results(write) -> None:
    """What has no figure and comes after the last figure of the file had not happened when it was made."""
    rows = read_events(
        write(
            RESULTS,
            "AAPL,2024-05-02 20:30:00,5,1.0,1.05",
            "MSFT,2024-04-25 20:30:00,,2.0,",
            "MSFT,2024-05-03 20:30:00,,2.0,",
            "AAPL,2024-08-01 20:30:00,,1.1,",
        )
    )
    assert rows[["symbol", "known_at"]].to_numpy().tolist() == [
        ["AAPL", utc("2024-05-02 20:30")],
        ["MSFT", utc("2024-04-25 20:30")],
    ]


def test_a_file_of_nothing_but_dates_is_refused(write) -> None:
    with pytest.raises(FileFormatError, match="which results have come and which are planned"):
        read_events(write(RESULTS, "AAPL,2024-08-01 20:30:00,,1.1,"))


def test_quarters_reported_together_are_one_event(write) -> None:
    lines = [
        "SMCI,2019-12-19 22:00:00,-10,,",
        "SMCI,2019-12-19 22:00:00,-40,,",
        "SMCI,2019-12-20 21:00:00,2,,",
    ]
    rows = read_events(write(RESULTS, *lines))
    assert rows["magnitude"].tolist() == [25.0, 2.0]


def test_a_report_at_midnight_has_no_time(write) -> None:
    rows = read_events(write(RESULTS, "APA,2020-11-05 05:00:00,58,,", "APA,2020-11-04 23:00:00,58,,"))
    assert moved(rows) == ["2020-11-06", "2020-11-05"]


def test_an_estimate_of_zero_leaves_the_surprise_unknown(write) -> None:
    rows = read_events(write(RESULTS, "APA,2020-11-05 15:00:00,,0,0.1", "APA,2021-02-05 15:00:00,1,1,1.01"))
    assert np.isnan(rows["magnitude"][0])


def test_weekends_belong_to_monday(write) -> None:
    rows = read_events(write(RESULTS, "BRK-B,2019-02-23 13:00:00,-13,,", "BRK-B,2019-05-04 12:00:00,1,,"))
    assert moved(rows) == ["2019-02-25", "2019-05-06"]


def test_the_sample_s_events() -> None:
    rows = read_events(FOLDER / "notable_events.csv")
    assert rows["kind"].value_counts().to_dict() == {"results": 21, "policy": 11, "leadership": 8}
    named = rows.set_index("title")
    ballast = named.loc["Apple confirms that it slows older iPhones with worn batteries"]
    assert ballast["known_at"] == utc("2017-12-21 04:59:59")
    assert (ballast["tone"], ballast["source"]) == (-0.4, "Company statement to the press")
    guidance = named.loc["Apple cuts its revenue guidance for the first fiscal quarter of 2019"]
    assert guidance["known_at"] == utc("2019-01-02 21:30")
    moves = dict(zip(rows["title"], moved(rows), strict=True))
    assert moves["Apple cuts its revenue guidance for the first fiscal quarter of 2019"] == "2019-01-03"
    assert moves["Nvidia cuts its guidance for the fourth fiscal quarter of 2019"] == "2019-01-28"
    cambridge = "Reports that Cambridge Analytica harvested data of tens of millions of Facebook users"
    assert moves[cambridge] == "2018-03-19"


SOUND = "AAPL,policy,2024-02-01T09:00:00-05:00"
FAULTY = {
    "no zone": (["AAPL,policy,2024-02-01T09:00:00"], "line 2, column known_at: .* has no time zone"),
    "no time": ([SOUND, "AAPL,policy,soon"], "line 3, column known_at: 'soon' is no time"),
    "no such day": (["AAPL,policy,2024-02-30"], "line 2, column known_at: '2024-02-30' is no time"),
    "no known_at": (["AAPL,policy,"], "line 2, column known_at: missing"),
    "kind": (
        [SOUND, "", "AAPL,rumour,2024-02-01"],
        "line 4, column kind: 'rumour' is none of results, profit",
    ),
    "symbol": (["A A,policy,2024-02-01"], "line 2, column symbol: 'A A' is no ticker"),
    "no symbol": ([",policy,2024-02-01"], "line 2, column symbol: missing"),
    "tone": ([f"{SOUND},,1.5"], "line 2, column tone: expected a number from -1 to 1, or nothing; got '1.5'"),
    "a word for a tone": ([f"{SOUND},,bad"], "line 2, column tone: expected a number from -1 to 1"),
    "magnitude": ([f"{SOUND},,,-2"], "line 2, column magnitude: expected"),
    "endless magnitude": ([f"{SOUND},,,inf"], "line 2, column magnitude: expected"),
    "known before": ([f"{SOUND},2024-02-02"], "line 2, column known_at: known before it happened"),
    "no plan": (["AAPL,results_scheduled,2024-02-01"], "line 2, column happened_at: missing; give the date"),
    "in other words": ([f"{SOUND},,,,One", f"{SOUND},,,,Two"], "line 3, column symbol: the same event"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_cell_is_named(write, case: str) -> None:
    lines, words = FAULTY[case]
    with pytest.raises(FileFormatError, match=f"own.csv, {words}"):
        read_events(write("symbol,kind,known_at,happened_at,tone,magnitude,title", *lines))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("AAPL,policy,2024-02-01T09:00:00Z,", "line 2, column happened_on: expected a date"),
        ("AAPL,policy,2024-02-01,4 pm", "line 2, column known_time_et: expected a time of the day"),
        ("AAPL,policy,2024-02-01,25:00", "line 2, column known_time_et: expected a time of the day"),
        ("AAPL,results_scheduled,2024-02-01,", "line 2, column kind"),
    ],
)
def test_a_faulty_public_event(write, line: str, words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        read_events(write("symbol,kind,happened_on,known_time_et", line))


def test_a_row_that_stands_twice_counts_once(write) -> None:
    assert len(read_events(write("symbol,kind,known_at", SOUND, SOUND))) == 1


def test_rows_of_a_parquet_file_are_counted_from_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"symbol": "AAPL", "kind": ["policy", "rumour"], "known_at": "2024-02-01"})
    frame.to_parquet(tmp_path / "own.parquet")
    with pytest.raises(FileFormatError, match=r"own\.parquet, row 2, column kind"):
        read_events(tmp_path / "own.parquet")
    frame["known_at"] = pd.to_datetime(["2024-02-01 00:00", "2024-02-01 16:30"])
    frame.assign(kind="policy").to_parquet(tmp_path / "own.parquet")
    with pytest.raises(FileFormatError, match=r"row 1, column known_at: .* has no time zone"):
        read_events(tmp_path / "own.parquet")


def test_other_files_are_refused(write, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="of no events; expected symbol, kind, known_at; or"):
        read_events(write("date,close", "2024-01-02,10"))
    with pytest.raises(FileFormatError, match="is empty"):
        read_events(write("symbol,kind,known_at"))
    with pytest.raises(FileFormatError, match="no such file"):
        read_events(tmp_path / "none.csv")
    with pytest.raises(FileFormatError, match="two columns are called 'kind'"):
        read_events(write("symbol,kind,KIND,known_at", "AAPL,policy,policy,2024-02-01"))
    with pytest.raises(UsageError, match="NOPE"):
        read_events(write("symbol,kind,known_at", SOUND), "NOPE")


def test_events_are_told_from_prices_by_their_columns(write, tmp_path: Path) -> None:
    for header in ("Symbol,KIND,known_at,extra", RESULTS, "ticker,accept_utc,is_results_202"):
        assert is_events(write(header))
    pd.DataFrame({"ticker": ["A"], "kind": "other", "known_at": "2024-02-01"}).to_parquet(
        tmp_path / "e.PARQUET"
    )
    assert is_events(tmp_path / "e.PARQUET")
    assert not is_events(write("date,symbol,open,high,low,close,volume"))
    assert not is_events(write("", name="empty.csv"))
    assert not is_events(write("symbol,kind,known_at", name="events.txt"))
    assert not is_events(write("no Parquet", name="broken.parquet"))
    assert not is_events(tmp_path / "none.csv")
    assert not is_events(tmp_path)
