"""What shared segments save: training targets a second, against overlapping windows, in one run.

Run ``python benchmarks/segments.py --cell lstm --stride 64 --batch 16`` (the defaults). Both ways
train the same network on the same targets of the bundled sample; three passes each, in turn, and
the median ratio is printed. The usual way takes batches of 256 windows.
"""

import argparse
import tempfile
import time
from statistics import median

import keras
import numpy as np
from sklearn.preprocessing import StandardScaler

import forecaster as fc
from forecaster.features import assemble
from forecaster.models.loss import negative_log_likelihood
from forecaster.models.network import build
from forecaster.models.recurrent import CLIP_NORM, SegmentBatches
from forecaster.windows import Windows

BATCH = 256


class WindowBatches(keras.utils.PyDataset):
    """The usual way: every window is read from its own start."""

    def __init__(self, windows: Windows, cutoffs: np.ndarray, known_by: np.datetime64) -> None:
        super().__init__()
        self._windows, self._cutoffs, self._known_by = windows, cutoffs, known_by

    def __len__(self) -> int:
        return len(self._cutoffs) // BATCH

    def __getitem__(self, index: int) -> tuple:
        ends = self._cutoffs[index * BATCH : (index + 1) * BATCH]
        sigma = self._windows.panel.base_sigma[ends][:, None]
        labels = self._windows.labels(ends, self._known_by) / sigma
        inputs = self._windows.inputs(ends), self._windows.ahead(ends)
        return inputs, labels.astype(np.float32)


def seconds(model: keras.Model, batches: keras.utils.PyDataset) -> float:
    """Time one pass."""
    start = time.perf_counter()
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    return time.perf_counter() - start


def main() -> None:
    """Train both ways in turn and print the ratio."""
    default = fc.Recipe()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="lstm", choices=["rnn", "lstm", "gru"])
    parser.add_argument("--stride", type=int, default=default.stride)
    parser.add_argument("--batch", type=int, default=default.batch)
    asked = parser.parse_args()
    recipe = default.but(stride=asked.stride, batch=asked.batch)
    with tempfile.TemporaryDirectory() as home:
        workspace = fc.Workspace(home, fc.Settings(source="sample"))
        workspace.update(["AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"], "sample")
        windows = Windows(assemble(workspace.history()), recipe.lookback, recipe.horizon)
    known_by = windows.panel.session.max()
    scaler = StandardScaler().fit(windows.panel.values[windows.ends].astype(float))
    panel = windows.panel
    learner, reader = build(recipe, asked.cell, scaler, panel.names, len(panel.ahead_names))
    for model in (learner, reader):
        model.compile(keras.optimizers.Adam(clipnorm=CLIP_NORM), loss=negative_log_likelihood)
    ways = {
        "segments": (learner, SegmentBatches(windows, windows.ends, known_by, recipe)),
        "windows": (reader, WindowBatches(windows, windows.ends, known_by)),
    }
    for model, batches in ways.values():
        seconds(model, batches)
    runs = [{name: seconds(*way) for name, way in ways.items()} for _ in range(3)]
    for name in ways:
        print(f"{name}: {len(windows.ends) / median(run[name] for run in runs):,.0f} targets/s")
    print(f"ratio: {median(run['windows'] / run['segments'] for run in runs):.1f}")


if __name__ == "__main__":
    main()
