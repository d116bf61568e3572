"""The peers: LSTM and GRU of neuralforecast and of Darts, fitted and asked fold by fold.

Run by ``compare.py`` in an environment of its own (``requirements.txt``), which has none of this project's
code. It reads what the project exported and writes a table of Student-t forecasts per peer and fold; what
is written already is not computed again.

All peers read the daily log returns alone, divided by each symbol's standard deviation up to the refit, and
are one network for all symbols with the recipe's units in one layer, from one random start. Training ends
after 4 looks at the last 15 % of the sessions without gain, 50 gradient steps apart, after ``max_steps`` at
most; the best weights are kept. Each has the road that suits it: see ``darts_rnn.py`` and ``neural_rnn.py``.
What they do not name is the packages' default.
"""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import darts_rnn
import neural_rnn
import pandas as pd
import torch
from training import fold_of

PEERS = {
    "neuralforecast_lstm": (neural_rnn.train, "LSTM"),
    "neuralforecast_gru": (neural_rnn.train, "GRU"),
    "darts_lstm": (darts_rnn.train, "LSTM"),
    "darts_gru": (darts_rnn.train, "GRU"),
}


def main() -> None:
    """Fit and ask every peer at every fold that is not done."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("out", type=Path, help="folder with run.json, panel.parquet and cutoffs.parquet")
    out = words.parse_args().out
    # One core, so that the times of a fit can be compared.
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning_fabric", "darts", "neuralforecast"):
        logging.getLogger(name).setLevel(logging.ERROR)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    task = run["recipe"] | {name: run[name] for name in ("steps", "max_steps")}
    panel, cutoffs = pd.read_parquet(out / "panel.parquet"), pd.read_parquet(out / "cutoffs.parquet")
    for name, (train, cell) in PEERS.items():
        for place, refit in enumerate(run["refits"]):
            path = out / "peers" / f"model={name}" / f"fold-{place:03d}.parquet"
            if path.exists():
                continue
            rows = cutoffs[cutoffs["fold"] == place].reset_index(drop=True)
            fold = fold_of(panel, rows, refit, task)
            forecast, seconds = train(cell, fold, task)
            begun = time.perf_counter()
            parts = [
                rows[["symbol", "cutoff"]].assign(
                    step=step, mean=fold.sd * mean, sigma=fold.sd * sigma, df=df, seconds=seconds
                )
                for step, (mean, sigma, df) in zip(task["steps"], forecast(), strict=True)
            ]
            asked = time.perf_counter() - begun
            print(f"{name}, fold {place + 1}: {seconds:.0f} s to fit, {asked:.0f} s to ask", flush=True)
            _write(pd.concat(parts, ignore_index=True), path)


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    table.to_parquet(unfinished, index=False)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
