"""The forecasts of this project beside those of neuralforecast and Darts, on the same stock-days.

Run ``python benchmarks/peers/compare.py prices.parquet OUT [--market FILE] [--macro FILE] [--events FILE
...] [--run DIR]``, files as ``benchmark`` reads them. DIR is the folder of a benchmark run of the same files
and refits, whose forecasts are taken as they are; without it the project's own models are trained, too.
The peers run in an environment of their own, made under ``benchmarks/peers/.venv`` at the first run (6.6 GB,
since the wheels of torch bring those of CUDA along); ``forecast.py`` says what they are. The fits are timed
at the last refit, one random start on one core each. Stopped, it goes on in OUT with the same command.
``--publish`` writes ``benchmarks/results/peers.json`` and the README's table; ``--time`` with an OUT of its
own only times the fits anew, and puts the seconds there.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))
from summary import PEERS, PINS, results_of, table
from tables import README, RESULTS, put

import forecaster as fc
from forecaster.benchmark.inputs import Inputs, read_inputs
from forecaster.errors import UsageError
from forecaster.evaluation.backtest import steps_of
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import RUN, InFolder, Part
from forecaster.evaluation.scores import score, with_scores
from forecaster.evaluation.walk import walk, with_members
from forecaster.features import assemble
from forecaster.models import NETWORKS, kind
from forecaster.models.distribution import StudentT
from forecaster.models.tabulate import tabulate
from forecaster.progress import for_terminal
from forecaster.windows import Windows

HERE = Path(__file__).resolve().parent
OWN = ("gjr_t", "harx", "lstm", "gru", "served")
TIMED = ("gjr_t", "harx", "lstm", "gru")


def main() -> None:
    """Export, let the peers forecast, score all together."""
    given = _arguments()
    # One core for every fit, before TensorFlow is there.
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")
    inputs = read_inputs(given.prices, given.market, given.macro, given.events)
    recipe = _recipe(given.run)
    windows = Windows(assemble(inputs.history, recipe.groups), recipe.lookback, recipe.horizon)
    folds = fc.Plan(given.test_start, given.test_end, given.refit, folds=given.folds).cut(windows)
    task = _task(inputs, recipe, folds, given.max_steps)
    if given.time:
        results = _timed(windows, folds[-1], recipe, task, given.out)
        _publish(results)
        print(table(results))
        return
    kept = InFolder(given.out, task)
    names = with_members(OWN, recipe)
    own = kept if given.run is None else _reused(given.run, task, names)
    if given.run is None:
        walk(windows, folds, names, recipe, task["steps"], kept, for_terminal(), jobs=given.jobs)
    _export(windows, folds, given.out)
    subprocess.run([_environment(), HERE / "forecast.py", given.out], check=True)
    for name in PEERS:
        for place, fold in enumerate(folds):
            kept.put(Part(name, place), _scored(windows, fold, task["steps"], name, given.out, place))
    tables = [
        pd.concat([source.get(Part(name, place)) for place in range(len(folds))], ignore_index=True)
        for source, some in ((own, names), (kept, PEERS))
        for name in some
    ]
    seconds = _seconds(windows, folds[-1], recipe, given.out, len(folds) - 1)
    results = results_of(score(tables), task, inputs, windows, seconds)
    (given.out / "peers.json").write_text(_text(results), encoding="utf-8")
    if given.publish:
        _publish(results)
    print(table(results))


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("prices", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    words.add_argument("--events", type=Path, action="append", default=[])
    words.add_argument("--run", type=Path, help="folder of a benchmark run to take the own forecasts from")
    words.add_argument("--test-start", type=pd.Timestamp, default=pd.Timestamp("2015-01-01"))
    words.add_argument("--test-end", type=pd.Timestamp, default=pd.Timestamp("2025-12-31"))
    words.add_argument("--refit", default="12m")
    words.add_argument("--folds", type=int, help="so many folds of equal length instead of --refit")
    words.add_argument("--max-steps", type=int, default=400, help="gradient steps of a peer at most")
    words.add_argument("--jobs", type=int, default=1, help="processes that train the own models")
    words.add_argument("--publish", action="store_true", help="write the README's table")
    words.add_argument("--time", action="store_true", help="only time the fits of the README's table anew")
    return words.parse_args()


def _recipe(run: Path | None) -> fc.Recipe:
    if run is None:
        return fc.Recipe()
    if not (run / RUN).is_file():
        raise UsageError(f"{run}: no {RUN} there; name the folder of a benchmark run, or leave --run out")
    return fc.Recipe(**json.loads((run / RUN).read_text(encoding="utf-8"))["recipe"])


def _task(inputs: Inputs, recipe: fc.Recipe, folds: Sequence[Fold], max_steps: int) -> dict[str, Any]:
    """Name the comparison: what the peers are told, and all that its forecasts depend on."""
    return {
        "fingerprint": inputs.history.fingerprint,
        "recipe": recipe.model_dump(mode="json"),
        "steps": steps_of(recipe),
        "refits": [str(fold.refit) for fold in folds],
        "cutoffs": [len(fold.cutoffs) for fold in folds],
        "max_steps": max_steps,
        "peers": _code(),
    }


def _code() -> str:
    """Twelve hexadecimal digits that name what makes the peers' forecasts."""
    files = [HERE / name for name in ("forecast.py", "training.py", "darts_rnn.py", "neural_rnn.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in [*files, PINS])).hexdigest()[:12]


def _reused(run: Path, task: dict[str, Any], names: Sequence[str]) -> InFolder:
    """Open a benchmark run's folder, if it is of the same data and refits and complete."""
    there = json.loads((run / RUN).read_text(encoding="utf-8"))
    there["refits"] = [fold["refit"] for fold in there.get("folds", [])]
    there["cutoffs"] = [fold["cutoffs"] for fold in there.get("folds", [])]
    alike = ("fingerprint", "steps", "refits", "cutoffs")
    if other := [name for name in alike if there[name] != task[name]]:
        raise UsageError(f"{run} has another {', '.join(other)}; give the files and dates that it had")
    kept = InFolder(run, {})
    places = range(len(task["refits"]))
    if missing := [name for name in names if any(Part(name, place) not in kept for place in places)]:
        raise UsageError(f"{run} lacks forecasts of {', '.join(missing)}; let that benchmark end first")
    return kept


def _export(windows: Windows, folds: Sequence[Fold], out: Path) -> None:
    """Write what the peers read: daily returns of every symbol, and the cutoffs by row."""
    panel = windows.panel
    symbol = np.asarray(panel.symbols, dtype=object)[panel.code]
    columns = {"session": panel.session, "known_at": panel.known_at, "log_return": panel.log_return}
    pd.DataFrame({"symbol": symbol, **columns}).to_parquet(out / "panel.parquet", index=False)
    rows = np.concatenate([fold.cutoffs for fold in folds])
    place = np.repeat(np.arange(len(folds)), [len(fold.cutoffs) for fold in folds])
    named = {"fold": place, "row": rows, "symbol": symbol[rows], "cutoff": panel.session[rows]}
    pd.DataFrame(named).to_parquet(out / "cutoffs.parquet", index=False)


def _environment() -> Path:
    """Make the peers' environment unless it is there; returns its Python."""
    folder = HERE / ".venv"
    done, python = folder / "installed.txt", folder / "bin" / "python"
    if not done.is_file() or done.read_text(encoding="utf-8") != PINS.read_text(encoding="utf-8"):
        print("Making the environment of the peers: 6.6 GB", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", PINS], check=True)
        done.write_text(PINS.read_text(encoding="utf-8"), encoding="utf-8")
    return python


def _peer_table(out: Path, name: str, place: int) -> pd.DataFrame:
    return pd.read_parquet(out / "peers" / f"model={name}" / f"fold-{place:03d}.parquet")


def _scored(
    windows: Windows, fold: Fold, steps: Sequence[int], name: str, out: Path, place: int
) -> pd.DataFrame:
    """Put a peer's forecasts into the project's long table, on exactly the project's stock-days."""
    rows = _peer_table(out, name, place).set_index(["symbol", "cutoff", "step"])
    symbol = np.asarray(windows.panel.symbols, dtype=object)[windows.panel.code[fold.cutoffs]]
    days = windows.panel.session[fold.cutoffs]
    wanted = pd.MultiIndex.from_arrays(
        [np.repeat(symbol, len(steps)), np.repeat(days, len(steps)), np.tile(steps, len(days))]
    )
    if len(rows) != len(wanted) or not np.isfinite(found := rows.reindex(wanted)).to_numpy().all():
        raise UsageError(f"{name} did not forecast exactly the stock-days of fold {place + 1}")
    shape = (len(days), len(steps))
    forecast = StudentT(*(found[column].to_numpy().reshape(shape) for column in ("mean", "sigma", "df")))
    outcome = windows.labels(fold.cutoffs)[:, [step - 1 for step in steps]].ravel()
    return with_scores(tabulate(windows, fold.cutoffs, forecast, name, steps), outcome)


def _timed(
    windows: Windows, fold: Fold, recipe: fc.Recipe, task: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Return what is published with the seconds of fits that are timed now."""
    results: dict[str, Any] = json.loads((RESULTS / "peers.json").read_text(encoding="utf-8"))
    now = {"fingerprint": task["fingerprint"], "peers": task["peers"], "max_steps": task["max_steps"]}
    now |= {"recipe_hash": recipe.hash, "refits": task["refits"]}
    if other := [name for name, value in now.items() if results["about"][name] != value]:
        raise UsageError(
            f"What is published has another {', '.join(other)}; compare all anew, with --publish"
        )
    # Its task is the last refit alone.
    InFolder(out, task | {name: task[name][-1:] for name in ("refits", "cutoffs")})
    _export(windows, [fold], out)
    subprocess.run([_environment(), HERE / "forecast.py", out], check=True)
    return results | {"seconds_of_a_fit": _seconds(windows, fold, recipe, out, 0)}


def _seconds(windows: Windows, fold: Fold, recipe: fc.Recipe, out: Path, place: int) -> dict[str, float]:
    """Return the seconds of a fit of each own kind and of each peer's at a place."""
    return _own_seconds(windows, fold, recipe, out) | {
        name: float(_peer_table(out, name, place)["seconds"].iloc[0]) for name in PEERS
    }


def _text(results: dict[str, Any]) -> str:
    return json.dumps(results, indent=1, ensure_ascii=False) + "\n"


def _publish(results: dict[str, Any]) -> None:
    (RESULTS / "peers.json").write_text(_text(results), encoding="utf-8")
    README.write_text(put(README.read_text(encoding="utf-8"), "peers", table(results)), encoding="utf-8")


def _own_seconds(windows: Windows, fold: Fold, recipe: fc.Recipe, out: Path) -> dict[str, float]:
    """Time a fit of each own kind, once."""
    path = out / "seconds.json"
    seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in TIMED:
        if name not in seconds:
            model = kind(name, recipe, [0] if name in NETWORKS else None)
            begun = time.perf_counter()
            model.fit(windows, fold.refit, lambda note: None)
            seconds[name] = time.perf_counter() - begun
            path.write_text(json.dumps(seconds), encoding="utf-8")
    return seconds


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(str(error))
