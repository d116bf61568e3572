"""How long the page Forecast works on its server: for a move of a "what if" control, and for another symbol.

Run ``python benchmarks/what_if.py --symbols 500 --years 16 --moves 40`` (the defaults). It makes the
workspace of ``serving.py`` in a temporary folder (or in ``--home``, where it is kept and found again), and
prints milliseconds: of the moves, from the control's value to the finished figure in JSON, and of what is
read for a symbol that nobody has looked at yet. The processor's own time says what a busy machine would hide.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from serving import make, register

import forecaster as fc
from forecaster import ledger, workflow
from forecaster.event_marks import marks
from forecaster.explain.scenario import WHAT_IF, Scenario, Situation
from forecaster.fan_plots import plot_forecast
from forecaster.health import health
from forecaster.history import History, read_history
from forecaster.store import now

PAST = 252
"""Sessions in the chart."""


def moves(
    workspace: fc.Workspace, symbol: str, count: int
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Time moves of each control; the first answer, which measures the past events, is given beforehand."""
    _, model = workspace.registry.load()
    history = workflow.history_for(workspace.store, model, [symbol])
    situation = Situation.of(model, history, symbol)
    own, standing = history.only([symbol]), situation.standing
    told = marks(own, symbol)
    days = [day.date() for day in standing["session"]]

    def move(words: list[str]) -> None:
        answer = situation.answer(Scenario.parse(words)).forecasts
        supposed = answer[answer["scenario"] == WHAT_IF]
        plot_forecast(
            own, standing, symbol, PAST, 20, candles=True, beside=None, marks=told, supposed=supposed
        ).to_json()

    swept: dict[str, Callable[[int], list[str]]] = {
        "market": lambda at: [f"market={-5 + 0.25 * at:g}%"],
        "volatility index": lambda at: [f"vix={1 + 0.5 * at:+g}"],
        "tone of results": lambda at: [f"results@{days[5]}:{-1 + 0.05 * at:.2f}"],
        "session of results": lambda at: [f"results@{days[at % 20]}:-0.5"],
        "all of them": lambda at: [f"results@{days[at % 20]}:-0.5", f"market={-5 + 0.25 * at:g}%", "vix=+5"],
    }
    for name, words in swept.items():
        move(words(0))
        yield name, [timed(lambda at=at, words=words: move(words(at))) for at in range(1, count + 1)]


def changes(workspace: fc.Workspace, count: int) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Time what is read and drawn for symbols of which nothing is held yet."""
    store, settings = workspace.store, workspace.settings
    held: dict[str, History] = {}

    def forecast(symbol: str) -> None:
        ledger.beside(store, ledger.latest(store, symbol))

    def history(symbol: str) -> None:
        held[symbol] = read_history(store, [symbol])

    def figure(symbol: str) -> None:
        rows = ledger.latest(store, symbol)
        plot_forecast(held[symbol], rows, symbol, PAST, 20, marks=marks(held[symbol], symbol)).to_json()

    ways: dict[str, Callable[[str], object]] = {
        "forecast, and those beside": forecast,
        "history": history,
        "state": lambda symbol: health(store, settings, [symbol], now()),
        "figure": figure,
    }
    symbols = list(itertools.islice(itertools.cycle(workspace.watchlist), count + 1))
    for name, work in ways.items():
        work(symbols[0])
        yield name, [timed(lambda work=work, symbol=symbol: work(symbol)) for symbol in symbols[1:]]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Time one call in milliseconds: by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return 1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)


def main() -> None:
    """Make the workspace, if need be, and print the tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--symbols", type=int, default=500)
    words.add_argument("--years", type=int, default=16)
    words.add_argument("--moves", type=int, default=40)
    words.add_argument("--home", type=Path)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        workspace = fc.Workspace(given.home or spare)
        if not workspace.watchlist:
            make(workspace, given.symbols, given.years)
            register(workspace)
            workflow.issue(workspace.store, workspace.registry, workspace.watchlist)
        for title, rows in {
            "From a control to the figure": moves(workspace, workspace.watchlist[0], given.moves),
            "Another symbol": changes(workspace, given.moves),
        }.items():
            print(f"{title}, milliseconds{'median':>16}{'longest':>10}{'processor':>12}")
            for name, taken in rows:
                clock, processor = zip(*taken, strict=True)
                print(f"  {name:40}{median(clock):10.1f}{max(clock):10.1f}{median(processor):12.1f}")


if __name__ == "__main__":
    main()
