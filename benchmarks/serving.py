"""How fast forecasts are served: the exported networks against Keras, a cold process, and a warm one.

A cold process computes every forecast, or reads those that a run has issued.

Run ``python benchmarks/serving.py --symbols 500 --years 16 --runs 5`` (the defaults). It makes up that many
price histories in a temporary folder (or in ``--home``, where they are kept and found again), trains
networks of the default size for one epoch on three of them, and prints a table; all ways in turn, medians of
the runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

import forecaster as fc
from forecaster import workflow
from forecaster.decisions import CHAMPION
from forecaster.models.trained import Model
from forecaster.sessions import all_sessions, closes
from forecaster.store import now

YEAR, LAST = 252, np.datetime64("2025-12-31")
EVERY = 63
"""Sessions from one quarter's results to the next."""

COLD = """
import sys, time
begun, home = float(sys.argv[1]), sys.argv[2]
def lap(name):
    global begun
    print(name, time.time() - begun)
    begun = time.time()
lap("start of Python")
import forecaster as fc
from forecaster import workflow
lap("imports")
ws = fc.Workspace(home)
symbols = ws.watchlist
_, model, history = workflow._loaded(ws.store, ws.registry, symbols, None, None)
lap("model and history")
windows = model.windows(history)
lap("features")
ends = model.ends(windows, symbols)
served = model.served(windows, ends)
lap("networks and classical models")
assert len(model.table(windows, ends, served)) == 20 * len(symbols)
lap("table")
assert not {"tensorflow", "keras", "mlflow"} & set(sys.modules)
"""

ISSUED = """
import sys, time
import forecaster as fc
ws = fc.Workspace(sys.argv[2])
assert ws.forecasts()["symbol"].nunique() == len(ws.watchlist)
print("issued forecasts, read", time.time() - float(sys.argv[1]))
"""


def make(workspace: fc.Workspace, count: int, years: int) -> None:
    """Store made-up prices, a market, a volatility index, rates, sectors and dates of results."""
    draw = np.random.default_rng(0)
    days = all_sessions("XNYS")
    days = days[days <= LAST][-years * YEAR :]
    moments = pd.DatetimeIndex(closes("XNYS", days), tz="UTC")
    market = 0.008 * draw.standard_t(4, len(days)) / np.sqrt(2)
    symbols = [f"S{number:03d}" for number in range(count)]
    parts, told = [], []
    for symbol in symbols:
        returns = market + 0.015 * draw.standard_t(4, len(days)) / np.sqrt(2)
        close = 100 * np.exp(np.cumsum(returns))
        opened = close * np.exp(-returns * draw.random(len(days)))
        reach = np.exp(0.01 * draw.random((2, len(days))))
        volume = np.exp(14 + 0.5 * draw.normal(size=len(days))).round()
        high, low = np.maximum(opened, close) * reach[0], np.minimum(opened, close) / reach[1]
        bars = {"session": days, "open": opened, "high": high, "low": low, "close": close, "volume": volume}
        parts.append(pd.DataFrame(bars | {"symbol": symbol, "adj_close": close}))
        came = moments[int(draw.integers(EVERY)) :: EVERY] + pd.Timedelta(hours=1)
        told.append(pd.DataFrame({"symbol": symbol, "happened_at": came, "known_at": came}))
    stamp = {"source": "made up", "fetched_at": now()}
    prices = pd.concat(parts).assign(currency="USD", tells_actions=True, **stamp)
    results = {"kind": "results", "tone": np.nan, "magnitude": np.nan, "title": "", "url": ""}
    levels = {"market_index": 1000 * np.exp(np.cumsum(market))}
    levels["volatility_index"] = 18 * np.exp(0.3 * np.sin(np.arange(len(days)) / 90)) + draw.random(len(days))
    levels |= {f"rate_{name}": 3 + 0.03 * np.cumsum(draw.normal(size=len(days))) for name in ("10y", "3m")}
    for number in range(11):
        own = market + 0.004 * draw.normal(size=len(days))
        levels[f"sector_{number}"] = 100 * np.exp(np.cumsum(own))
    series = [
        pd.DataFrame({"name": name, "session": days, "value": level, "known_at": moments})
        for name, level in levels.items()
    ]
    described = {"exchange": "XNYS", "timezone": "America/New_York", "currency": "USD", "type": "EQUITY"}
    frame = pd.DataFrame({"symbol": symbols, "name": symbols}).assign(**described, fetched_at=now())
    workspace.store.append("instruments", frame)
    workspace.store.append("factors", pd.concat(series).assign(symbol="", **stamp))
    workspace.store.append("events", pd.concat(told).assign(**results, **stamp))
    workspace.store.append("prices", prices)
    workspace.watch(symbols)


def register(workspace: fc.Workspace) -> None:
    """Train on three symbols, and let the model serve all."""
    symbols = workspace.watchlist
    model = fc.train(workspace.history(symbols=symbols[:3]), fc.Recipe(epochs=1))
    model = replace(model, universe=symbols, card=model.card | {"universe": list(symbols)})
    model.save(workspace.home / "artifacts" / "made")
    decision = {"version": "1", "alias": CHAMPION, "reason": "", "verdict": "", "evidence": "{}"}
    card = json.dumps(model.card | {"run": "made", "files": {}})
    workspace.store.append("decisions", pd.DataFrame([decision | {"card": card, "decided_at": now()}]))


def milliseconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def cold(home: Path, script: str = COLD) -> dict[str, float]:
    """Forecast every symbol in a new process and return the seconds of each part."""
    words = [sys.executable, "-c", script, str(time.time()), str(home)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    parts = dict(line.rsplit(" ", 1) for line in told.splitlines())
    return {name: float(seconds) for name, seconds in parts.items()}


def warm(workspace: fc.Workspace, runs: int) -> dict[str, list[float]]:
    """Time what a process does that has done it before, the networks in both forms, in turn."""
    _, served = workspace.registry.load()
    _, trained = workspace.registry.load(keras=True)
    windows = served.windows(workspace.history())
    every = served.ends(windows, workspace.watchlist)
    symbol, day = workspace.watchlist[0], workspace.history(symbols=workspace.watchlist[:1]).as_of

    def networks(model: Model, ends: np.ndarray) -> None:
        for one in model.ensemble.networks:
            one.members(windows, ends)

    ways: dict[str, Callable[[], object]] = {
        "networks, one symbol, Keras": lambda: networks(trained, every[:1]),
        "networks, one symbol, served": lambda: networks(served, every[:1]),
        "networks, all symbols, Keras": lambda: networks(trained, every),
        "networks, all symbols, served": lambda: networks(served, every),
        "forecast, one symbol, from windows": lambda: served.served(windows, every[:1]),
        "forecast, all symbols, from windows": lambda: served.served(windows, every),
        "Workspace.forecast, one symbol": lambda: workspace.forecast(symbol, day, "1"),
    }
    for work in ways.values():
        work()
    taken = [{name: milliseconds(work) for name, work in ways.items()} for _ in range(runs)]
    return {name: [run[name] for run in taken] for name in ways}


def main() -> None:
    """Make the workspace, if need be, and print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--symbols", type=int, default=500)
    words.add_argument("--years", type=int, default=16)
    words.add_argument("--runs", type=int, default=5)
    words.add_argument("--home", type=Path)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        workspace = fc.Workspace(given.home or spare)
        if not workspace.watchlist:
            make(workspace, given.symbols, given.years)
            register(workspace)
        runs = [cold(workspace.home) for _ in range(given.runs)]
        print(f"Cold process, {len(workspace.watchlist)} symbols, seconds")
        for name in runs[0]:
            print(f"  {name:40}{median(run[name] for run in runs):10.2f}")
        print(f"  {'together':40}{median(sum(run.values()) for run in runs):10.2f}")
        workflow.issue(workspace.store, workspace.registry, workspace.watchlist)
        read = [cold(workspace.home, ISSUED) for _ in range(given.runs)]
        for name in read[0]:
            print(f"  {name:40}{median(run[name] for run in read):10.2f}")
        print("Warm process, milliseconds")
        taken = warm(workspace, given.runs)
        for name, each in taken.items():
            print(f"  {name:40}{median(each):10.2f}")
        for which in ("one symbol", "all symbols"):
            pairs = zip(taken[f"networks, {which}, Keras"], taken[f"networks, {which}, served"], strict=True)
            ratio = median(keras / served for keras, served in pairs)
            print(f"  networks, {which}: {ratio:.0f} times as fast as Keras")


if __name__ == "__main__":
    main()
