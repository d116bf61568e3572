"""The user's own files: what is understood, and how what is not is refused."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import FileFormatError, UsageError
from forecaster.instruments import Instrument
from forecaster.sources import BAR_COLUMNS, Outcome
from forecaster.sources.files import FilesSource
from forecaster.workspace import Workspace

HEADER = "date,symbol,open,high,low,close,volume"
FIRST, SECOND, THIRD = (f"2024-01-0{day},AAA,10,11,9,10.5,100" for day in (2, 3, 4))
BARE = "Date,Open,High,Low,Close,Volume\n2024-01-02,10,11,9,10.5,100\n"


def csv(*lines: str) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


def frame(**changed: object) -> pd.DataFrame:
    """The three good rows, as a Parquet file would hold them."""
    return pd.DataFrame(
        {
            "date": ["2024-01-02", "2024-01-03", "2024-01-04"],
            "symbol": "AAA",
            "open": 10.0,
            "high": 11.0,
            "low": 9.0,
            "close": 10.5,
            "volume": 100.0,
        }
    ).assign(**changed)


def write(path: Path, content: str | bytes | pd.DataFrame) -> Path:
    if isinstance(content, pd.DataFrame):
        content.to_parquet(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


def sessions_of(source: FilesSource, symbol: str) -> list[str]:
    fetched = source.fetch(symbol)
    assert (fetched.outcome, tuple(fetched.bars.columns)) == (Outcome.OK, BAR_COLUMNS)
    return [str(day.date()) for day in fetched.bars["session"]]


def test_a_long_csv_holds_several_symbols(tmp_path: Path) -> None:
    other = "2024-01-03,brk-b,20,22,18,21,0"
    source = FilesSource(write(tmp_path / "all.csv", csv(FIRST, other, SECOND)))
    assert source.symbols() == ("AAA", "BRK-B")
    assert sessions_of(source, "AAA") == ["2024-01-02", "2024-01-03"]
    assert source.fetch("BRK-B").bars.to_numpy().tolist() == [
        [pd.Timestamp("2024-01-03"), 20.0, 22.0, 18.0, 21.0, 21.0, 0.0]
    ]
    assert source.fetch("AAA").instrument == Instrument("AAA", "AAA", "XNYS", "America/New_York", "USD")


def test_a_file_without_symbols_is_named_after_its_symbol(tmp_path: Path) -> None:
    assert FilesSource(write(tmp_path / "spy.csv", BARE)).symbols() == ("SPY",)


def test_a_folder_of_both_kinds(tmp_path: Path) -> None:
    write(tmp_path / "spy.csv", BARE)
    write(tmp_path / "b.PARQUET", frame())
    write(tmp_path / "notes.txt", "not prices")
    (tmp_path / "old.csv").mkdir()
    assert set(FilesSource(tmp_path).symbols()) == {"SPY", "AAA"}


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-02", "2024-01-03", "2024-01-04"],
        [20240102, 20240103, 20240104],
        pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]),
        pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]).tz_localize("America/New_York"),
        pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]).date,
        ["2024-01-02 00:00:00-05:00", "2024-01-03T00:00", "2024-01-04"],
    ],
)
def test_the_forms_of_a_date(tmp_path: Path, dates: object) -> None:
    source = FilesSource(write(tmp_path / "p.parquet", frame(date=dates)))
    assert sessions_of(source, "AAA") == ["2024-01-02", "2024-01-03", "2024-01-04"]


@pytest.mark.parametrize(
    "header",
    [
        "Date,Ticker,Open,High,Low,Close,Adj Close,Volume",
        "TIMESTAMP, symbol, OPEN, HIGH, LOW, Last, Adjusted, Vol.",
        "day,code,open,high,low,price,adj.close,VOL",
    ],
)
def test_recognised_names(tmp_path: Path, header: str) -> None:
    source = FilesSource(write(tmp_path / "x.csv", f"{header}\n2024-01-02,AAA,10,11,9,10.5,5.25,100\n"))
    assert source.fetch("AAA").bars.iloc[0].tolist()[1:] == [10.0, 11.0, 9.0, 10.5, 5.25, 100.0]


def test_mapped_names_win(tmp_path: Path) -> None:
    text = "Wann,Auf,Hoch,Tief,Close,Schluss,Menge\n2024-01-02,10,11,9,-1,10.5,100\n"
    names = {
        "session": "Wann",
        "open": "Auf",
        "high": "Hoch",
        "low": "Tief",
        "close": "Schluss",
        "volume": "Menge",
    }
    assert FilesSource(write(tmp_path / "aaa.csv", text), names).fetch("AAA").bars["close"].tolist() == [10.5]


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        ({"cloze": "Last"}, UsageError, "No column 'cloze' to map; choose one of session, symbol, open"),
        ({"close": "Last"}, FileFormatError, "x.csv: no column 'Last'; it has date, symbol, open"),
    ],
)
def test_a_mapping_that_does_not_fit(
    tmp_path: Path, columns: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        FilesSource(write(tmp_path / "x.csv", csv(FIRST)), columns)


def test_start_and_unknown_symbol(tmp_path: Path) -> None:
    source = FilesSource(write(tmp_path / "x.csv", csv(FIRST, SECOND, THIRD)))
    assert source.fetch("AAA", pd.Timestamp("2024-01-03")).bars["session"].dt.day.tolist() == [3, 4]
    missing = source.fetch("BBB")
    assert (missing.outcome, missing.detail) == (Outcome.GONE, "the files hold only AAA")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + csv(FIRST, SECOND),
        csv(FIRST, SECOND).replace("\n", "\r\n"),
        csv(FIRST, "", SECOND, "", ""),
        csv(FIRST, SECOND.replace("AAA", "aaa")),
        csv(FIRST, SECOND).replace(",", " , "),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "mixed case", "spaces"],
)
def test_harmless_differences(tmp_path: Path, text: str) -> None:
    assert sessions_of(FilesSource(write(tmp_path / "x.csv", text)), "AAA") == ["2024-01-02", "2024-01-03"]


def test_na_is_a_ticker(tmp_path: Path) -> None:
    assert FilesSource(write(tmp_path / "x.csv", csv(FIRST.replace("AAA", "NA")))).symbols() == ("NA",)


def test_the_exchange_decides_what_a_session_is(tmp_path: Path) -> None:
    holiday = write(tmp_path / "x.csv", csv(FIRST, "2024-07-04,AAA,10,11,9,10,1"))
    with pytest.raises(FileFormatError, match="line 3, column date: 2024-07-04 is no session of XNYS"):
        FilesSource(holiday)
    instrument = FilesSource(holiday, exchange="XLON").fetch("AAA").instrument
    assert instrument is not None
    assert (instrument.exchange, instrument.timezone) == ("XLON", "Europe/London")


ROW = "2024-01-03,AAA,{},{},{},{},{}"
BAD_CSV = {
    "empty": ("", "is empty", "expected a header"),
    "blank": ("\n\n", "is empty", "expected a header"),
    "header only": (csv(), "is empty", "expected a header and one row per session"),
    "no date column": (
        csv(FIRST).replace("date", "when"),
        "no date column among when, symbol",
        "--columns session=",
    ),
    "no close column": (csv(FIRST).replace("close", "c"), "no close column among date", "--columns close="),
    "two close columns": (
        "date,symbol,open,high,low,close,close,volume\n2024-01-02,AAA,10,11,9,10,10.5,100\n",
        "columns close and close.1 may both be close",
        "--columns close=",
    ),
    "semicolons": (csv(FIRST).replace(",", ";"), "no date column", "--columns session="),
    "foreign date": (
        csv(FIRST, SECOND.replace("2024-01-03", "03/01/2024")),
        "line 3, column date",
        "YYYY-MM-DD",
    ),
    "impossible date": (csv(FIRST, SECOND.replace("01-03", "02-30")), "line 3, column date", "YYYY-MM-DD"),
    "missing date": (
        csv(FIRST, SECOND.replace("2024-01-03", "")),
        "line 3, column date: missing",
        "YYYY-MM-DD",
    ),
    "date of another age": (csv(FIRST.replace("2024", "1600")), "line 2, column date", "YYYY-MM-DD"),
    "before the calendar": (
        csv(FIRST.replace("2024", "1970")),
        "line 2, column date: 1970-01-02",
        "remove such rows",
    ),
    "after the calendar": (
        csv(FIRST.replace("2024", "2199")),
        "line 2, column date: 2199-01-02",
        "remove such rows",
    ),
    "duplicate": (
        csv(FIRST, SECOND, SECOND),
        "line 4, column date: 2024-01-03 stands twice for AAA",
        "keep one",
    ),
    "duplicate in another case": (
        csv(FIRST, FIRST.lower()),
        "line 3, column date: 2024-01-02 stands twice",
        "keep",
    ),
    "unsorted": (
        csv(FIRST, THIRD, SECOND),
        "line 4, column date: 2024-01-03 comes after 2024-01-04",
        "sort AAA",
    ),
    "weekend": (csv(FIRST, "2024-01-06,AAA,10,11,9,10,1"), "line 3, column date: 2024-01-06", "--exchange"),
    "negative price": (
        csv(FIRST, ROW.format(10, 11, -9, 10, 1)),
        "line 3, AAA: low: zero or neg",
        "correct or remove",
    ),
    "zero price": (
        csv(FIRST, ROW.format(10, 11, 9, 0, 1)),
        r"line 3, AAA: .*close: zero or neg",
        "correct or remove",
    ),
    "high below low": (
        csv(FIRST, ROW.format(10, 9, 11, 10, 1)),
        "line 3, AAA: high below low",
        "correct or remove",
    ),
    "close outside": (
        csv(FIRST, ROW.format(10, 11, 9, 12, 1)),
        "line 3, AAA: close outside low..high",
        "correct",
    ),
    "negative volume": (
        csv(FIRST, ROW.format(10, 11, 9, 10, -1)),
        "line 3, AAA: volume: negative",
        "correct",
    ),
    "endless price": (
        csv(FIRST, ROW.format(10, "inf", 9, 10, 1)),
        "line 3, AAA: high: not finite",
        "correct",
    ),
    "endless volume": (
        csv(FIRST, ROW.format(10, 11, 9, 10, "inf")),
        "line 3, AAA: volume: not finite",
        "correct",
    ),
    "NaN": (
        csv(FIRST, ROW.format(10, "NaN", 9, 10, 1)),
        "line 3, column high: 'NaN' is no number",
        "correct it",
    ),
    "missing price": (csv(FIRST, ROW.format(10, "", 9, 10, 1)), "line 3, column high: missing", "correct it"),
    "text": (
        csv(FIRST, ROW.format(10, 11, "low", 10, 1)),
        "line 3, column low: 'low' is no number",
        "correct it",
    ),
    "after blank lines": (
        csv(FIRST, "", "", ROW.format(10, 11, 9, "x", 1)),
        "line 5, column close",
        "correct it",
    ),
    "short line": (csv(FIRST, "2024-01-03,AAA,10,11"), "line 3, column low: missing", "correct it"),
    "long line": (csv(FIRST, SECOND + ",1,2"), "line 3", "save it again"),
    "no symbol": (csv(FIRST, SECOND.replace("AAA", "")), "line 3, column symbol: missing", "fill it in"),
    "no ticker": (csv(FIRST.replace("AAA", "A A")), "'A A' is no ticker", "expected something like"),
    "garbage": (bytes(range(256)) * 20, "cannot be read as CSV", "save it again"),
    "zeros": (bytes(100), "is empty", "expected a header"),
    "UTF-16": (csv(FIRST).encode("utf-16"), "cannot be read as CSV", "save it again"),
}
BAD_PARQUET = {
    "empty": (b"", "cannot be read as PARQUET", "save it again"),
    "garbage": (bytes(range(256)) * 20, "cannot be read as PARQUET", "save it again"),
    "no rows": (frame().iloc[:0], "is empty", "expected a header"),
    "no date": (frame().drop(columns="date"), "no date column", "--columns session="),
    "missing date": (
        frame(date=[pd.Timestamp("2024-01-02"), pd.NaT, pd.NaT]),
        "row 2, column date: missing",
        "YYYY",
    ),
    "a number for a date": (
        frame(date=[1.5, 2.5, 3.5]),
        "row 1, column date: '1.5' is no date",
        "YYYY-MM-DD",
    ),
    "NaN": (frame(high=[11, np.nan, 11]), "row 2, column high: missing", "correct it"),
    "text": (frame(high=["11", "x", "11"]), "row 2, column high: 'x' is no number", "correct it"),
    "lists": (frame(close=[[10], [10], [10]]), "row 1, column close", "correct it"),
}


def refused(file: Path, home: Path, words: str, remedy: str) -> None:
    """Import next to sound data: one line that names file, place and remedy, and nothing stored."""
    workspace = Workspace(home)
    before = workspace.store.version("prices")
    with pytest.raises(FileFormatError, match=words) as refusal:
        workspace.import_file(file)
    message = str(refusal.value)
    assert file.name in message
    assert remedy in message
    assert len(message.splitlines()) == 1
    assert workspace.store.version("prices") == before
    assert not (home / "store").exists()


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_faulty_csv_is_refused_whole(tmp_path: Path, case: str) -> None:
    content, words, remedy = BAD_CSV[case]
    refused(write(tmp_path / "x.csv", content), tmp_path / "home", words, remedy)


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_a_faulty_parquet_is_refused_whole(tmp_path: Path, case: str) -> None:
    content, words, remedy = BAD_PARQUET[case]
    refused(write(tmp_path / "x.parquet", content), tmp_path / "home", words, remedy)


def test_other_suffixes_missing_files_and_empty_folders(tmp_path: Path) -> None:
    home = tmp_path / "home"
    refused(
        write(tmp_path / "x.txt", csv(FIRST)), home, "x.txt: expected a file that ends in", ".csv or .parquet"
    )
    refused(tmp_path / "none.csv", home, "none.csv: no such file or folder", "check the path")
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", home, "no file in this folder ends in", "check the path")


def test_a_symbol_in_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "a.csv", csv(FIRST))
    write(folder / "b.csv", csv(SECOND))
    with pytest.raises(FileFormatError, match=r"b\.csv: AAA stands in an earlier file too; keep one"):
        Workspace(tmp_path / "home").import_file(folder)


def test_one_bad_file_of_a_folder_stops_them_all(tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    write(folder / "a.csv", BARE)
    write(folder / "b.csv", BARE.replace("10.5", "x"))
    workspace = Workspace(tmp_path / "home")
    with pytest.raises(FileFormatError, match=re.escape("b.csv, line 2, column close: 'x' is no number")):
        workspace.import_file(folder)
    assert not workspace.home.exists()


def test_what_was_stored_stays_after_a_refusal(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    assert workspace.import_file(write(tmp_path / "good.csv", csv(FIRST, SECOND)))["rows"].tolist() == [2]
    before = workspace.store.rows("prices")
    with pytest.raises(FileFormatError, match="line 3"):
        workspace.import_file(write(tmp_path / "bad.csv", csv(FIRST, ROW.format(1, 1, 1, "x", 1))))
    pd.testing.assert_frame_equal(workspace.store.rows("prices"), before)
    assert workspace.import_file(tmp_path / "good.csv")["rows"].tolist() == [0]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"{HEADER}\n{text}".encode()))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "x.csv"
    file.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.csv"):
        FilesSource(file)
