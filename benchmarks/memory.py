"""What the three kinds of cell remember: vanishing and exploding gradients, seconds an epoch, and reach.

Run ``python benchmarks/memory.py`` (some seven minutes of one core); it writes
``benchmarks/results/memory.json`` and prints the tables. ``--quick`` shows in seconds that it runs, and
``--out FILE`` writes elsewhere. Kinds are trained in turn, so that what slows the machine slows all; seconds
compare within one run only.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

import forecaster as fc
from forecaster.explain.experiments import LAYERS, exploding, reaches, recall, side_by_side
from forecaster.features import assemble
from forecaster.models.recurrent import CLIP_NORM
from forecaster.windows import Windows

OUT = Path(__file__).parent / "results" / "memory.json"
DIGITS = 5


def main() -> None:
    """Run the experiments, keep their results and print them."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--quick", action="store_true")
    words.add_argument("--out", type=Path, default=OUT)
    given = words.parse_args()
    symbols, recipe = ["AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"], fc.Recipe()
    lags, updates, epochs, descents, seeds = [1, 5, 10, 20, 50, 100], 400, 6, 60, range(3)
    if given.quick:
        symbols, recipe = symbols[:1], recipe.but(lookback=16, units=4, horizon=2)
        lags, updates, epochs, descents, seeds = [2], 10, 2, 3, range(1)
    recalled = recall(list(LAYERS), lags, updates, seeds)
    with tempfile.TemporaryDirectory() as home:
        workspace = fc.Workspace(home, fc.Settings(source="sample"))
        workspace.update(symbols, "sample")
        windows = Windows(assemble(workspace.history()), recipe.lookback, recipe.horizon)
        seconds, gradients = side_by_side(windows, recipe, epochs)
    paths = pd.concat(
        [
            exploding(name, clip, descents).assign(cell=name, clip=clip)
            for name in ("rnn", "rnn_relu")
            for clip in (None, CLIP_NORM)
        ],
        ignore_index=True,
    )
    median = seconds.groupby("cell", sort=False)[["seconds", "cpu_seconds"]].median()
    results = {
        "about": {
            "keras": keras.__version__, "backend": keras.backend.backend(), "updates": updates,
            "epochs": epochs, "seeds": len(seeds), "symbols": symbols, "recipe": recipe.hash,
            "quick": given.quick,
        },
        "recall": rows(recalled),
        "reaches": reaches(recalled),
        "gradients": rows(gradients),
        "epochs": rows(median.join((median / median.loc["lstm"]).add_suffix("_ratio")).reset_index()),
        "exploding": rows(paths),
    }  # fmt: skip
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    told(recalled, gradients, results, paths)


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn rows into what JSON can hold; what is not finite is null."""
    numbers = table.select_dtypes("number").columns
    digits = {name: [float(f"{one:.{DIGITS}g}") for one in table[name]] for name in numbers}
    rounded = table.assign(**digits).astype(object)
    return rounded.where(~table.isin([np.inf, -np.inf]) & table.notna(), None).to_dict("records")


def told(
    recalled: pd.DataFrame, gradients: pd.DataFrame, results: dict[str, Any], paths: pd.DataFrame
) -> None:
    """Print the tables."""
    print("Share of the event's variance left unexplained, by steps back:")
    print(
        recalled.pivot_table(index="cell", columns="lag", values="error", aggfunc="median", sort=False)
        .round(2)
        .to_string()
    )
    print(f"Remembered up to: {results['reaches']}")
    print("Seconds an epoch, and ratio to LSTM:")
    print(pd.DataFrame(results["epochs"]).to_string(index=False))
    shown = gradients[gradients["lag"].isin([0, 1, 2, 5, 10, 20, 40, 63])]
    print("Gradient norms by sessions back:")
    print(shown.pivot(index="lag", columns="cell", values=["before", "after", "forecast"]).to_string())
    print("Plain gradient descent from large recurrent weights:")
    for (name, clip), one in paths.groupby(["cell", "clip"], dropna=False, sort=False):
        print(
            f"{name}, clipped at {clip}: {len(one)} updates, largest norm {one['norm'].max():.3g}, "
            f"loss {one['loss'].iloc[0]:.3g} -> {one['loss'].iloc[-1]:.3g}"
        )


if __name__ == "__main__":
    main()
