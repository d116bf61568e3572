"""The store: what goes in comes out, the last word holds, and nothing is ever lost."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import StoreError, UsageError
from forecaster.store import Store, now
from forecaster.tables import TABLES

NOON = pd.Timestamp("2024-01-10 12:00", tz="UTC")
MINUTE = pd.Timedelta(minutes=1)
MICROSECOND = pd.Timedelta(microseconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def watched(symbol: str, is_watched: bool, minutes: int = 0) -> pd.DataFrame:
    row = {"symbol": symbol, "watched": is_watched, "recorded_at": NOON + minutes * MINUTE}
    return pd.DataFrame([row])


def factor(session: str, value: float, minutes: int = 0) -> pd.DataFrame:
    row = {
        "name": "market_index",
        "symbol": "",
        "session": pd.Timestamp(session),
        "value": value,
        "known_at": NOON,
        "source": "test",
        "fetched_at": NOON + minutes * MINUTE,
    }
    return pd.DataFrame([row])


def example(name: str, number: int) -> dict[str, Any]:
    """A row of any table, made from its column types."""
    values: dict[arrow.DataType, Any] = {
        arrow.string(): f"word {number}",
        arrow.float64(): number + 0.1,
        arrow.int64(): 2**40 + number,
        arrow.bool_(): bool(number % 2),
        arrow.date32(): pd.Timestamp("2024-01-02") + pd.Timedelta(days=number),
        arrow.timestamp("us", tz="UTC"): NOON + pd.Timedelta(microseconds=number),
    }
    return {field.name: values[field.type] for field in TABLES[name].schema}


PANDAS_TYPES = {
    arrow.string(): "str",
    arrow.float64(): "float64",
    arrow.int64(): "int64",
    arrow.bool_(): "bool",
    arrow.date32(): "datetime64[ns]",
    arrow.timestamp("us", tz="UTC"): "datetime64[us, UTC]",
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_comes_back_as_it_went_in(store: Store, name: str) -> None:
    rows = [example(name, number) for number in range(3)]
    backwards = pd.DataFrame(rows)[TABLES[name].schema.names[::-1]]
    assert store.append(name, backwards) == 3
    read = store.rows(name)
    assert read.to_dict("records") == rows
    assert read.dtypes.astype(str).to_dict() == {
        field.name: PANDAS_TYPES[field.type] for field in TABLES[name].schema
    }


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_has_its_columns_and_types(store: Store, name: str) -> None:
    for empty in (store.rows(name), store.current(name)):
        assert empty.empty
        assert empty.dtypes.astype(str).to_dict() == {
            field.name: PANDAS_TYPES[field.type] for field in TABLES[name].schema
        }
    assert store.version(name) == -1
    assert store.append(name, empty) == 0
    assert not store.folder.exists()


def test_missing_numbers_stay_missing(store: Store) -> None:
    store.append("factors", factor("2024-01-02", np.nan))
    assert store.rows("factors")["value"].isna().all()


def test_an_unknown_table_is_named(store: Store) -> None:
    for ask in (store.rows, store.current, store.version, lambda name: store.append(name, pd.DataFrame())):
        with pytest.raises(UsageError, match="No table 'price'; choose one of prices, actions"):
            ask("price")


def test_the_row_appended_last_holds_whatever_the_clock_said(store: Store) -> None:
    for minutes, value in ((5, 5.0), (9, 9.0), (1, 1.0), (1, 2.0)):
        store.append("factors", factor("2024-01-02", value, minutes))
        assert store.current("factors")["value"].tolist() == [value]
    read = store.rows("factors").set_index("value")["fetched_at"]
    moved = {1.0: NOON + 9 * MINUTE + MICROSECOND, 2.0: NOON + 9 * MINUTE + 2 * MICROSECOND}
    assert read.to_dict() == {5.0: NOON + 5 * MINUTE, 9.0: NOON + 9 * MINUTE} | moved
    assert store.current("factors", recorded_by=NOON + 9 * MINUTE)["value"].tolist() == [9.0]
    assert set(store.rows("factors")["known_at"]) == {NOON}


def test_a_clock_that_was_set_back_moves_only_what_replaces_a_row(store: Store) -> None:
    store.append("factors", pd.concat([factor("2024-01-02", 1.0, 9), factor("2024-01-03", 2.0)]))
    later = [factor("2024-01-02", 3.0, 4), factor("2024-01-03", 4.0, 4), factor("2024-01-04", 5.0, 4)]
    store.append("factors", pd.concat(later))
    moments = store.current("factors")["fetched_at"].tolist()
    assert moments == [NOON + 9 * MINUTE + MICROSECOND, NOON + 4 * MINUTE, NOON + 4 * MINUTE]


def test_decisions_keep_their_order_whatever_the_clock_said(store: Store) -> None:
    rows = [example("decisions", number) for number in range(3)]
    ahead = pd.DataFrame(rows[:1]).assign(decided_at=NOON + 9 * MINUTE)
    store.append("decisions", ahead)
    store.append("decisions", pd.DataFrame(rows[1:]))
    told = store.rows("decisions").sort_values("decided_at")
    assert told["version"].tolist() == ["word 0", "word 1", "word 2"]


def test_when_a_forecast_was_issued_is_never_moved(store: Store) -> None:
    row = pd.DataFrame([example("forecasts", 0)])
    for minutes in (9, 1):
        store.append("forecasts", row.assign(issued_at=NOON + minutes * MINUTE))
    assert sorted(store.rows("forecasts")["issued_at"]) == [NOON + MINUTE, NOON + 9 * MINUTE]


def test_recorded_by_reads_what_was_known_then(store: Store) -> None:
    for minutes, value in ((0, 1.0), (10, 2.0)):
        store.append("factors", factor("2024-01-02", value, minutes))
    store.append("factors", factor("2024-01-03", 3.0, 10))

    def at(minutes: int) -> list[float]:
        return store.current("factors", recorded_by=NOON + minutes * MINUTE)["value"].tolist()

    assert [at(minutes) for minutes in (-1, 0, 9, 10, 11)] == [[], [1.0], [1.0], [2.0, 3.0], [2.0, 3.0]]
    just_before = NOON + 10 * MINUTE - pd.Timedelta(microseconds=1)
    assert store.current("factors", recorded_by=just_before)["value"].tolist() == [1.0]


def test_until_includes_its_session(store: Store) -> None:
    for day in ("2024-01-04", "2024-01-02", "2024-01-03"):
        store.append("factors", factor(day, 1.0))
    read = store.current("factors", until=pd.Timestamp("2024-01-03"))
    assert read["session"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03")]


def test_where_takes_values_of_several_columns(store: Store) -> None:
    store.append("watchlist", pd.concat([watched("A", True), watched("B", False), watched("C", True)]))
    assert store.rows("watchlist", where={"symbol": ["A", "B"], "watched": [True]})["symbol"].tolist() == [
        "A"
    ]
    assert store.rows("watchlist", where={"symbol": []}).empty
    assert store.rows("watchlist", where={"symbol": ["Z"]}).empty


def test_versions_count_commits_and_empty_appends_make_none(store: Store) -> None:
    store.append("watchlist", watched("A", True))
    store.append("watchlist", watched("A", True).iloc[:0])
    assert store.version("watchlist") == 0
    store.append("watchlist", watched("B", True))
    assert store.version("watchlist") == 1


def test_files_once_written_are_never_touched(store: Store) -> None:
    store.append("watchlist", watched("A", True))
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    store.append("watchlist", watched("A", False, 1))
    assert {path: path.read_bytes() for path in before} == before


one_row = st.tuples(st.sampled_from("ABCD"), st.booleans())


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(one_row, max_size=4), max_size=5), st.integers(0, 5))
def test_current_is_a_dictionary_of_the_last_words(batches: list[list[tuple[str, bool]]], known: int) -> None:
    with TemporaryDirectory() as folder:
        store, last, then, words = Store(Path(folder)), {}, {}, []
        for minute, batch in enumerate(batches):
            rows = [watched(symbol, flag, minute) for symbol, flag in batch]
            store.append("watchlist", pd.concat([watched("A", True).iloc[:0], *rows]))
            last.update(batch)
            words += batch
            if minute <= known:
                then.update(batch)
        read = store.current("watchlist")
        assert list(read["symbol"]) == sorted(last)
        assert dict(zip(read["symbol"], read["watched"], strict=True)) == last
        every = store.rows("watchlist")
        assert sorted(zip(every["symbol"], every["watched"], strict=True)) == sorted(words)
        earlier = store.current("watchlist", recorded_by=NOON + known * MINUTE)
        assert dict(zip(earlier["symbol"], earlier["watched"], strict=True)) == then


WRITER = """
import sys
import pandas as pd
from pathlib import Path
from forecaster.store import Store, now

store, first, commits = Store(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for commit in range(first, first + commits):
    symbols = [f"S{commit}-{part}" for part in range(10)]
    store.append("watchlist", pd.DataFrame({"symbol": symbols, "watched": True, "recorded_at": now()}))
"""


def writers(store: Store, *numbers: tuple[int, int]) -> list["subprocess.Popen[str]"]:
    """Start processes that each append commits of ten rows, all at the same moment."""
    paths = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.folder), *map(str, pair)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=paths,
        )
        for pair in numbers
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def test_a_reader_sees_whole_commits_while_another_process_writes(store: Store) -> None:
    (writer,) = writers(store, (0, 30))
    seen = []
    with writer:
        while writer.poll() is None:
            rows = store.rows("watchlist")
            sizes = rows["symbol"].str.partition("-")[0].value_counts() if len(rows) else pd.Series(dtype=int)
            assert (sizes == 10).all()
            seen.append(len(rows))
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert len(store.rows("watchlist")) == 300


def test_two_processes_that_write_at_once_lose_nothing(store: Store) -> None:
    processes = writers(store, (0, 10), (10, 10))
    for process in processes:
        with process:
            assert process.wait(timeout=60) == 0
    assert len(store.current("watchlist")) == 200
    assert store.version("watchlist") == 19


def assert_clear(store: Store, act: Callable[[], object]) -> None:
    with pytest.raises(StoreError) as failure:
        act()
    message = str(failure.value)
    assert str(store.folder) in message
    assert "choose another with --home" in message
    assert len(message.splitlines()) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store")
    assert_clear(store, lambda: store.append("watchlist", watched("A", True)))


def damage_log(folder: Path) -> None:
    for entry in folder.glob("_delta_log/*.json"):
        entry.write_text("garbage")


def empty_log(folder: Path) -> None:
    for entry in folder.glob("_delta_log/*.json"):
        entry.write_text("")


def damage_rows(folder: Path) -> None:
    for file in folder.glob("*.parquet"):
        file.write_bytes(bytes(file.stat().st_size))


def cut_rows(folder: Path) -> None:
    for file in folder.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:50])


def lose_rows(folder: Path) -> None:
    for file in folder.glob("*.parquet"):
        file.unlink()


@pytest.mark.parametrize("harm", [damage_log, empty_log, damage_rows, cut_rows, lose_rows])
def test_a_damaged_table_is_told(store: Store, harm: Callable[[Path], None]) -> None:
    store.append("watchlist", watched("A", True))
    harm(store.folder / "watchlist")
    assert_clear(store, lambda: store.rows("watchlist"))
    assert_clear(store, lambda: store.current("watchlist"))


def test_now_is_utc_in_the_stored_precision(store: Store) -> None:
    moment = now()
    assert str(moment.tz) == "UTC"
    store.append("watchlist", watched("A", True).assign(recorded_at=moment))
    assert store.rows("watchlist")["recorded_at"].tolist() == [moment]
