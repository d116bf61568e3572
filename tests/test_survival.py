"""What a workspace survives: killed processes, a rival, a full disk, older tables, many small files."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake
from yahoo_stub import Failure, LoopbackSession, StubSymbol, YahooStub, add_factors, sessions

from forecaster import ingest
from forecaster.config import Settings
from forecaster.errors import Locked, StoreError
from forecaster.ingest import runs
from forecaster.locks import exclusive
from forecaster.sources.yahoo import YahooSource
from forecaster.store import Store
from forecaster.tables import TABLES
from forecaster.workspace import Workspace

ROOT = Path(__file__).parents[1]
SYMBOLS = [letter * 3 for letter in "ABCDEFGHIJKL"]
SAMPLE = ["AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"]
FIRST = pd.Timestamp("2023-01-03")
NEVER = pd.Timestamp("2000-01-01", tz="UTC")
KEPT = ("prices", "actions", "instruments", "factors", "watchlist", "gaps", "quarantine")
MOMENTS = ["fetched_at", "recorded_at", "found_at"]
PATIENCE = 60.0
FATAL = ("prices", "updates", "watchlist", "actions", "runs", "factors", "instruments")

# Forked from a process that has the imports behind it: an update then starts in milliseconds.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["forecaster.sources.yahoo", "forecaster.workspace", "yfinance"])


def shares(yahoo: YahooStub) -> list[str]:
    """Symbols of a stub but for the factors."""
    return [symbol for symbol in yahoo.symbols if symbol not in ingest.MARKET_FACTORS.values()]


class Told(Store):
    """A store that says through a pipe to which table it is about to append, and may die of it."""

    def __init__(self, folder: Path, pipe: Connection, fatal: str, times: int) -> None:
        super().__init__(folder)
        self.pipe, self.fatal, self.times = pipe, fatal, times

    def append(self, name: str, frame: pd.DataFrame) -> int:
        if len(frame):
            self.pipe.send(name)
            self.times -= name == self.fatal
            if self.times == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().append(name, frame)


def keep_up(home: Path, symbols: list[str], port: int, pipe: Connection, fatal: str, times: int) -> None:
    """Update a workspace from the stub, two symbols a commit; the body of a child process."""
    tempfile.tempdir = str(home.parent)  # Whoever is killed does not tidy up.
    ingest.BATCH = 2
    workspace = Workspace(home, Settings(home=home, requests_per_second=1e6))
    workspace.store = Told(workspace.store.folder, pipe, fatal, times)
    pipe.send("ready")
    outcomes = workspace.update(symbols, YahooSource(FIRST, session=LoopbackSession(port)))
    assert (outcomes["outcome"] == "ok").all(), outcomes.to_string()


def heard(pipe: Connection, seconds: float) -> str:
    """Return the next word of a child, or none if it has ended or says nothing in time."""
    try:
        return pipe.recv() if pipe.poll(seconds) else ""
    except EOFError:
        return ""


@contextmanager
def updating(
    home: Path, yahoo: YahooStub, fatal: str = "", times: int = -1
) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run an update beside the block, from the moment when it begins; killed with the block's end.

    It kills itself before it appends to the table `fatal` for so many `times`.
    """
    ours, theirs = CHILDREN.Pipe(duplex=False)
    words = home, shares(yahoo), yahoo._server.server_port, theirs, fatal, times
    child = CHILDREN.Process(target=keep_up, args=words)
    child.start()
    theirs.close()
    assert heard(ours, PATIENCE) == "ready"
    try:
        yield child, ours
    finally:
        child.kill()
        child.join()
        ours.close()


def update(home: Path, yahoo: YahooStub) -> float:
    """Update a workspace in peace and return the seconds that it took."""
    with updating(home, yahoo) as (child, _):
        begun = time.monotonic()
        child.join(PATIENCE)
        assert child.exitcode == 0
        return time.monotonic() - begun


@pytest.fixture
def yahoo() -> Iterator[YahooStub]:
    """Six shares and the factors, nearly two years long."""
    with YahooStub() as stub:
        for symbol in SYMBOLS[:6]:
            share(stub, symbol)
        add_factors(stub, "2023-01-03", "2024-11-29")
        yield stub


def share(yahoo: YahooStub, symbol: str) -> None:
    yahoo.add(StubSymbol(symbol, sessions("2023-01-03", "2024-11-29"), dividends={"2023-03-10": 0.5}))


def pass_a_month(yahoo: YahooStub) -> None:
    """Let every symbol trade on; one is split in between and two pay a dividend."""
    for stock in yahoo.symbols.values():
        stock.sessions = sessions("2023-01-03", "2024-12-31", stock.exchange)
    yahoo.symbols["BBB"].splits["2024-12-10"] = 4.0
    yahoo.symbols["BBB"].dividends["2024-12-17"] = 0.25
    yahoo.symbols["EEE"].dividends["2024-12-04"] = 0.75


def timeless(store: Store, name: str) -> pd.DataFrame:
    """What holds in a table, but for the moments at which it was learned."""
    return store.current(name).drop(columns=MOMENTS, errors="ignore")


def assert_same(store: Store, other: Store) -> None:
    for name in KEPT:
        pd.testing.assert_frame_equal(timeless(store, name), timeless(other, name), obj=name)
    ends = [one.current("updates")[["symbol", "source", "outcome"]] for one in (store, other)]
    pd.testing.assert_frame_equal(*ends, obj="updates")


def assert_whole(store: Store, yahoo: YahooStub, since: pd.Timestamp, before: Store, after: Store) -> None:
    """Every table opens, nothing is lost or stands twice, and whatever is reported stored is stored."""
    for name in TABLES:
        store.rows(name)
    # Actions may: a share that has none of its bars yet is taken for unknown.
    for name in ("prices", "factors", "gaps"):
        assert not store.rows(name).duplicated(list(TABLES[name].key)).any(), name
    prices = timeless(store, "prices")
    assert len(prices.merge(timeless(after, "prices"))) == len(prices)
    lost = timeless(before, "prices").merge(prices, how="left", indicator=True)
    assert (lost["_merge"] == "both").all()
    reported = store.rows("updates")
    reported = set(reported.loc[(reported["started_at"] >= since) & (reported["outcome"] == "ok"), "symbol"])
    for symbol in reported.intersection(SYMBOLS):
        held = prices.loc[prices["symbol"] == symbol, "session"]
        assert list(held) == list(yahoo.symbols[symbol].sessions), symbol
    for symbol in reported.difference(SYMBOLS):
        name = symbol.removeprefix("factor:")
        values = store.rows("factors", where={"name": [name]})
        assert set(values["session"]) == set(yahoo.symbols[ingest.MARKET_FACTORS[name]].sessions), symbol
    stored = {(row.symbol, row.session, row.kind) for row in store.rows("actions").itertuples()}
    for symbol in reported.intersection(SYMBOLS):
        stock = yahoo.symbols[symbol]
        for kind, days in (("dividend", stock.dividends), ("split", stock.splits)):
            assert {(symbol, pd.Timestamp(day), kind) for day in days} <= stored


def survive(folder: Path, yahoo: YahooStub, kills: int, seed: int, is_first_load: bool) -> None:
    """Kill updates until enough have died, half of them at random moments, half between two commits.

    A workspace whose update lived is compared with an undisturbed one, and begun anew.
    """
    start = folder / "start"
    start.mkdir()
    if not is_first_load:
        update(start, yahoo)
        pass_a_month(yahoo)
    before = Workspace(start).store
    moments = before.rows("updates")["started_at"]
    since = NEVER if moments.empty else moments.max() + pd.Timedelta(microseconds=1)
    undisturbed = Workspace(shutil.copytree(start, folder / "undisturbed"))
    longest = update(undisturbed.home, yahoo)
    chance, died, begun = np.random.default_rng(seed), 0, 0
    home = shutil.copytree(start, folder / "home 0")
    # Where nothing is to be appended to a table, nobody dies of it.
    for fatal in cycle(word for table in FATAL for word in (table, "")):
        if died == kills:
            break
        with updating(home, yahoo, fatal, int(chance.integers(1, 3))) as (child, pipe):
            child.join(PATIENCE if fatal else chance.uniform(0, longest))
            child.kill()
            child.join()
            told = list(iter(lambda: heard(pipe, 0), ""))
        where = f"seed {seed}, kill {died}, workspace {begun}, last appends {told[-3:]}"
        store = Workspace(home).store
        try:
            assert child.exitcode in (0, -9), child.exitcode
            assert_whole(store, yahoo, since, before, undisturbed.store)
            if child.exitcode == 0:
                assert_same(store, undisturbed.store)
                begun += 1
                home = shutil.copytree(start, folder / f"home {begun}")
            else:
                died += 1
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
    update(home, yahoo)
    assert_same(Workspace(home).store, undisturbed.store)
    assert Workspace(home).history().fingerprint == undisturbed.history().fingerprint
    assert runs.latest(Workspace(home).store)["status"].iloc[0] == runs.DONE


@pytest.mark.slow
@pytest.mark.parametrize("is_first_load", [True, False], ids=["first load", "a month later"])
def test_an_update_can_be_killed(tmp_path: Path, yahoo: YahooStub, is_first_load: bool) -> None:
    survive(tmp_path, yahoo, kills=5, seed=1, is_first_load=is_first_load)


@pytest.mark.slow
@pytest.mark.parametrize("is_first_load", [True, False], ids=["first load", "a month later"])
def test_an_update_can_be_killed_often(tmp_path: Path, yahoo: YahooStub, is_first_load: bool) -> None:
    for symbol in SYMBOLS[6:]:
        share(yahoo, symbol)
    survive(tmp_path, yahoo, kills=20, seed=2, is_first_load=is_first_load)


def test_two_updates_do_not_mix(tmp_path: Path, yahoo: YahooStub) -> None:
    home = tmp_path / "home"
    yahoo.symbols["AAA"].failure = Failure.SLOW
    with updating(home, yahoo) as (child, pipe):
        assert heard(pipe, PATIENCE) == "runs"
        with pytest.raises(Locked, match="Another update runs in"):
            Workspace(home).update(["AAPL"], "sample")
        done = command("update", "AAPL", "--source", "sample", "--home", home)
        assert done.returncode == Locked.exit_code
        assert error(done) == f"error: Another update runs in {home}; wait until it has ended, then try again"
        child.kill()
        child.join()
        with exclusive(home, "update"):
            pass
    assert Workspace(home).store.version("prices") == -1
    yahoo.symbols["AAA"].failure = None
    update(home, yahoo)
    assert list(Workspace(home).watchlist) == shares(yahoo)


def command(*words: object, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command; no file that it writes may become larger than so many bytes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, "-m", "forecaster", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=limit,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what went wrong."""
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], done.stderr
    assert "Traceback" not in done.stderr
    return lines[-1]


def assert_no_room(home: Path, said: str) -> None:
    assert str(home) in said
    assert "cannot be read or written" in said
    assert "free space" in said


def fill_and_free(disk: Path) -> None:
    """Fill a small disk from two ends, and give it room again; the body of a child process."""
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(disk), "-o"]
    subprocess.run([*mount, "size=2m"], check=True)
    home, ballast = disk / "home", disk / "ballast"
    Workspace(home).update(SAMPLE[:1], "sample")
    store, refusals = Workspace(home).store, 0
    first = store.rows("prices")
    for spare in (0, 4, 16, 64, 128, 256):
        free = shutil.disk_usage(disk).free
        ballast.write_bytes(bytes(max(0, free - spare * 1024)))
        try:
            Workspace(home).update(SAMPLE, "sample")
        except StoreError as refusal:
            refusals += 1
            assert_no_room(home, f"{refusal}")
        done = store.rows("updates").query("outcome == 'ok'")["symbol"]
        prices = store.rows("prices")
        assert set(done) <= set(prices["symbol"])
        pd.testing.assert_frame_equal(prices[prices["symbol"] == SAMPLE[0]].reset_index(drop=True), first)
        ballast.unlink()
    assert refusals > 2
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free))
    done = command("update", *SAMPLE, "--source", "sample", "--home", home)
    assert done.returncode == 1
    assert_no_room(home, error(done))
    subprocess.run([*mount, "size=64m,remount"], check=True)
    done = command("update", *SAMPLE, "--source", "sample", "--home", home)
    assert done.returncode == 0, done.stderr
    peaceful = Workspace(disk / "peaceful")
    peaceful.update(SAMPLE, "sample")
    assert_same(store, peaceful.store)


def test_a_disk_can_be_full(tmp_path: Path) -> None:
    """On a disk of its own, in a name space where an ordinary user may mount one."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no name space of one's own is permitted here")
    code = "import sys, pathlib, test_survival; test_survival.fill_and_free(pathlib.Path(sys.argv[1]))"
    paths = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [*apart, sys.executable, "-c", code, tmp_path],
        env=paths, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kilobytes", [1, 64])
def test_a_write_can_stop_half_way(tmp_path: Path, kilobytes: int) -> None:
    home = tmp_path / "home"
    Workspace(home).update(SAMPLE[:1], "sample")
    store = Workspace(home).store
    before = store.rows("prices")
    done = command("update", *SAMPLE, "--source", "sample", "--home", home, largest_file=kilobytes * 1024)
    assert done.returncode == 1
    assert_no_room(home, error(done))
    pd.testing.assert_frame_equal(store.rows("prices"), before)
    assert set(store.rows("updates")["symbol"]) == set(SAMPLE[:1])
    assert command("update", *SAMPLE, "--source", "sample", "--home", home).returncode == 0
    peaceful = Workspace(tmp_path / "peaceful")
    peaceful.update(SAMPLE, "sample")
    assert_same(store, peaceful.store)


def test_tables_of_an_older_version_are_read_and_continued(tmp_path: Path, yahoo: YahooStub) -> None:
    home = tmp_path / "home"
    yahoo.symbols["AAA"].nulls["2023-06-01"] = ("close",)
    update(home, yahoo)
    store = Workspace(home).store
    lost = {"quarantine": ["status"], "updates": ["change", "started_at"]}
    for name, columns in lost.items():
        folder = store.folder / name
        rows = DeltaTable(folder).to_pyarrow_table().drop_columns(columns)
        shutil.rmtree(folder)
        write_deltalake(folder, rows, name=name)
    shutil.rmtree(store.folder / "runs")
    before = {name: store.rows(name) for name in ("prices", *lost)}
    assert all(before[name][columns].isna().all(axis=None) for name, columns in lost.items())
    (row,) = Workspace(home).quarantined().itertuples()
    assert (row.symbol, row.session) == ("AAA", pd.Timestamp("2023-06-01"))
    yahoo.symbols["AAA"].nulls.clear()
    pass_a_month(yahoo)
    update(home, yahoo)
    for name, rows in before.items():
        key = [*TABLES[name].key, TABLES[name].recorded]
        now = store.rows(name)
        kept = rows[key].merge(now, on=key)
        pd.testing.assert_frame_equal(kept[rows.columns], rows, check_dtype=False, obj=name)
        assert len(now) > len(rows)
    assert Workspace(home).quarantined().empty
    assert pd.Timestamp("2023-06-01") in set(store.rows("prices", where={"symbol": ["AAA"]})["session"])


NOON = pd.Timestamp("2024-01-02 12:00", tz="UTC")


def day_by_day(store: Store, days: int) -> None:
    """Append a bar a day, and each tenth day another word on the bar before."""
    for day, session in enumerate(sessions("2024-01-02", "2024-12-31")[:days]):
        moment = NOON + pd.Timedelta(days=day)
        written = [session, session - pd.offsets.BDay()] if day % 10 == 9 else [session]
        row = dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), 1.0 + day)
        row |= {
            "symbol": "AAA",
            "currency": "USD",
            "source": "test",
            "fetched_at": moment,
            "tells_actions": True,
        }
        store.append("prices", pd.DataFrame([row | {"session": one} for one in written]))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["session", "fetched_at"], ignore_index=True)


def test_many_small_files_are_laid_together(tmp_path: Path) -> None:
    store, middle = Store(tmp_path / "store"), NOON + pd.Timedelta(days=80)
    day_by_day(store, 160)
    rows, current = store.rows("prices"), store.current("prices")
    then = store.current("prices", recorded_by=middle)
    assert len(rows) > len(current) > len(then) > 0
    table = DeltaTable(store.folder / "prices")
    reader = table.to_pyarrow_dataset()
    assert len(table.file_uris()) == 160
    store.compact()
    assert len(DeltaTable(store.folder / "prices").file_uris()) == 1
    pd.testing.assert_frame_equal(in_order(store.rows("prices")), in_order(rows))
    pd.testing.assert_frame_equal(store.current("prices"), current)
    pd.testing.assert_frame_equal(store.current("prices", recorded_by=middle), then)
    assert reader.to_table().num_rows == len(rows)
    day_by_day(store, 1)
    assert len(store.rows("prices")) == len(rows) + 1


def lay_together(folder: Path, pipe: Connection) -> None:
    """Compact a store; the body of a child process."""
    store = Store(folder)
    store.version("prices")
    pipe.send("ready")
    store.compact()


@pytest.mark.slow
def test_laying_files_together_can_be_killed(tmp_path: Path) -> None:
    store, chance = Store(tmp_path / "store"), np.random.default_rng(seed := 3)
    day_by_day(store, 110)
    before = in_order(store.rows("prices"))
    for kill in range(5):
        copy = Store(shutil.copytree(store.folder, tmp_path / f"store {kill}"))
        ours, theirs = CHILDREN.Pipe(duplex=False)
        child = CHILDREN.Process(target=lay_together, args=(copy.folder, theirs))
        child.start()
        assert heard(ours, PATIENCE) == "ready"
        time.sleep(chance.uniform(0, 0.1))
        child.kill()
        child.join()
        after = in_order(copy.rows("prices"))
        pd.testing.assert_frame_equal(after, before, obj=f"seed {seed}, kill {kill}")
        copy.compact()
        pd.testing.assert_frame_equal(in_order(copy.rows("prices")), before)
