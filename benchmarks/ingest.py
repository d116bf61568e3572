"""What ingest sustains: the store by itself, and the whole client at a configured rate.

Run ``python benchmarks/ingest.py`` (some five minutes on two cores), or with ``--quick``; it prints
a table and writes ``benchmarks/results/ingest.json``. Every run has a process of its own, and the
machine's other work shows in the figures: compare them as ratios.

- Store: made-up shares of 20 years with quarterly dividends and two splits, made as they are asked
  for, no limit of rate; then the same a week later, with the usual overlap. Three times over.
- Client: shares of a year through yfinance, from a stub of Yahoo on loopback that runs in another
  process. The configured rate explains (symbols - burst) / rate seconds of the wall time.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from forecaster import ingest
from forecaster.adjust import split_factor
from forecaster.ingest.pace import BURST, Pace
from forecaster.instruments import Instrument
from forecaster.progress import Advance
from forecaster.sessions import all_sessions
from forecaster.sources import Fetched, Outcome, Source
from forecaster.sources.yahoo import YahooSource
from forecaster.store import Store

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "ingest.json"
FIRST, LAST = pd.Timestamp("2006-01-03"), pd.Timestamp("2025-12-31")
A_WEEK = 5
PAID = 0.005
ASKED = 200
"""Symbols a minute that the store must take."""
SETTLED = 100
"""Symbols after which memory should grow no more."""

SPAWN = multiprocessing.get_context("spawn")


class Made:
    """Made-up shares, the same at each request; the last `held_back` sessions have not come yet."""

    name = "made"
    remote = True

    def __init__(self, held_back: int) -> None:
        known = pd.DatetimeIndex(all_sessions("XNYS"))
        self.sessions = known[(known >= FIRST) & (known <= LAST)]
        self.last = self.sessions[-1 - held_back]
        count = len(self.sessions)
        splits = {
            "session": self.sessions[[count // 3, 2 * count // 3]],
            "kind": "split",
            "value": [2.0, 3.0],
        }
        self._splits = pd.DataFrame(splits)
        self._shares = split_factor(self.sessions.to_numpy(), self._splits)
        self._paid = np.arange(30, count - A_WEEK, 63)
        kept = np.ones(count + 1)
        kept[self._paid] = 1 - PAID
        self._income = np.cumprod(kept[::-1])[::-1][1:]

    def symbols(self) -> tuple[str, ...]:
        """Return nothing: there is a share for every name."""
        return ()

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Make a share from `start` on."""
        chance = np.random.default_rng(int(symbol[1:]))
        steps, volume = chance.normal(0, 0.01, (2, len(self.sessions)))
        price = 50 * np.exp(np.cumsum(steps))
        levels = {"open": 0.999, "high": 1.01, "low": 0.99, "close": 1.0}
        bars = pd.DataFrame(
            {
                "session": self.sessions,
                **{name: price * level * self._shares for name, level in levels.items()},
                "adj_close": price * self._income,
                "volume": np.round(1e6 * np.exp(volume)),
            }
        )
        amounts = PAID * price[self._paid - 1] * self._shares[self._paid]
        paid = {"session": self.sessions[self._paid], "kind": "dividend", "value": amounts}
        actions = pd.concat([pd.DataFrame(paid), self._splits])
        bars, actions = (
            part[part["session"].between(start or FIRST, self.last)].reset_index(drop=True)
            for part in (bars, actions)
        )
        about = Instrument(symbol, symbol, "XNYS", "America/New_York", "USD")
        return Fetched(symbol, Outcome.OK, bars, actions, about)


def peak() -> float:
    """Return the most memory that this process has held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def apart(work: Callable[..., dict[str, Any]], *words: Any) -> dict[str, Any]:
    """Do some work in a process of its own."""
    with SPAWN.Pool(1) as pool:
        return pool.apply(work, words)


def measure(folder: Path, source: Source, count: int, pace: Pace) -> dict[str, Any]:
    """Time one update and watch its memory."""
    symbols = [f"S{number}" for number in range(count)]
    peaks = [peak()]

    @contextmanager
    def watched(name: str, total: int) -> Iterator[Advance]:
        yield lambda note: peaks.append(peak())

    start = time.perf_counter()
    report = ingest.update(Store(folder), source, symbols, pace=pace, progress=watched)
    seconds = time.perf_counter() - start
    if (report["outcome"] != Outcome.OK).any():
        raise RuntimeError(report[report["outcome"] != Outcome.OK].to_string())
    return {
        "symbols": count,
        "rows": int(report["rows"].sum()),
        "seconds": round(seconds, 2),
        "symbols_per_minute": round(60 * count / seconds),
        "mib_before": round(peaks[0]),
        "mib_peak": round(peak()),
        "mib_grown_since_settled": round(peak() - peaks[min(SETTLED, count // 2)], 1),
    }


def fill(folder: Path, count: int, held_back: int) -> dict[str, Any]:
    """Update from made-up shares as fast as it goes."""
    return measure(folder, Made(held_back), count, Pace())


def ask(folder: Path, count: int, rate: float, port: int) -> dict[str, Any]:
    """Update from the stub at a rate."""
    sys.path.insert(0, str(ROOT / "tests"))
    from yahoo_stub import LoopbackSession

    source = YahooSource(session=LoopbackSession(port))
    found = measure(folder, source, count, Pace(rate))
    explained = (count - BURST) / rate
    shares = {"rate": rate, "explained_by_rate": round(explained / found["seconds"], 3)}
    return found | shares


def serve(count: int, pipe: Connection) -> None:
    """Serve shares of a year until told to stop; then say how many were asked for."""
    sys.path.insert(0, str(ROOT / "tests"))
    from yahoo_stub import StubSymbol, YahooStub, sessions

    days = sessions("2025-01-02", "2025-12-31")
    with YahooStub() as yahoo:
        for number in range(count):
            yahoo.add(StubSymbol(f"S{number}", days, dividends={"2025-03-10": 0.5, "2025-09-10": 0.5}))
        pipe.send(yahoo._server.server_port)
        pipe.recv()
        pipe.send(len(yahoo.charts()))


def store_runs(count: int) -> list[dict[str, Any]]:
    """Fill a store, and go on a week later."""
    with tempfile.TemporaryDirectory() as folder:
        return [apart(fill, Path(folder), count, held_back) for held_back in (A_WEEK, 0)]


def client_run(count: int, rate: float) -> dict[str, Any]:
    """Fill a store through yfinance."""
    ours, theirs = SPAWN.Pipe()
    stub = SPAWN.Process(target=serve, args=(count, theirs))
    stub.start()
    with tempfile.TemporaryDirectory() as folder:
        found = apart(ask, Path(folder), count, rate, ours.recv())
    ours.send("stop")
    found["requests"] = ours.recv()
    stub.join()
    return found


def main() -> None:
    """Measure, keep the figures and show them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--symbols", type=int, default=500, help="asked for through the client")
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second")
    parser.add_argument("--quick", action="store_true", help="a tenth of the symbols, once; writes nothing")
    asked = parser.parse_args()
    times, parts = (1, 10) if asked.quick else (3, 1)
    store = [store_runs(200 // parts) for _ in range(times)]
    client = client_run(asked.symbols // parts, asked.rate)
    results = {
        "date": str(datetime.datetime.now(tz=datetime.UTC).date()),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in ("deltalake", "pandas", "pyarrow", "yfinance")},
        "asked_symbols_per_minute": ASKED,
        "store_first": [first for first, _ in store],
        "store_a_week_later": [later for _, later in store],
        "client": client,
    }
    print(f"{'':24}{'symbols':>9}{'seconds':>9}{'a minute':>10}{'peak MiB':>10}{'grown MiB':>11}")
    for name in ("store_first", "store_a_week_later", "client"):
        for run in results[name] if isinstance(results[name], list) else [client]:
            print(
                f"{name.replace('_', ' '):24}{run['symbols']:9}{run['seconds']:9.1f}"
                f"{run['symbols_per_minute']:10}{run['mib_peak']:10}{run['mib_grown_since_settled']:11}"
            )
    speed = median(first["symbols_per_minute"] for first, _ in store)
    print(
        f"store: {speed / ASKED:.1f} times the {ASKED} symbols a minute asked for\n"
        f"client: the rate explains {100 * client['explained_by_rate']:.0f} % of the time; "
        f"{client['requests'] / client['symbols']:.2f} requests a symbol"
    )
    if not asked.quick:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
