"""Networks of one kind as they are served: through ONNX Runtime, without Keras."""

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from forecaster.config import Recipe
from forecaster.errors import ModelError
from forecaster.models.distribution import StudentT, pool
from forecaster.models.har import Har
from forecaster.models.reading import Reader, read
from forecaster.models.weights import Weights
from forecaster.windows import Windows

THREADS = 1
"""Of each network: one is quickest where a request is one window, and leaves the other cores free."""

UNSOUND = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NotImplemented,
    failures.RuntimeException,
)
"""What ONNX Runtime raises over a graph that it cannot load."""


class Served:
    """Exported networks of one kind, one per seed, pooled.

    Parameters
    ----------
    cell : str
        "rnn", "lstm" or "gru".
    files : sequence of Path
        What `models.recurrent.Recurrent.save` wrote, all of it.
    readers : sequence of Reader
    linear : Har or None
        What their memory of surprises rests on.
    """

    def __init__(
        self, cell: str, files: Sequence[Path], readers: Sequence[Reader], linear: Har | None
    ) -> None:
        self.name = cell
        self._files, self.readers, self.linear = files, readers, linear

    @classmethod
    def load(cls, folder: Path, recipe: Recipe, cell: str) -> Self:
        """Read exported networks.

        Raises
        ------
        OSError, ValueError, KeyError, TypeError
            If a file is missing or damaged.
        """
        readers = [reader((folder / f"{cell}-{seed}.onnx").read_bytes()) for seed in range(recipe.seeds)]
        linear = Har.read(folder / f"{cell}.json") if recipe.surprise else None
        return cls(cell, sorted(folder.glob(f"{cell}[-.]*")), readers, linear)

    @cached_property
    def weights(self) -> list[Weights]:
        """What each seed's network has learned, from the .keras files, which forecasts do not read.

        Raises
        ------
        ModelError
            If one is damaged.
        """
        files = {file.stem: file for file in self._files if file.suffix == ".keras"}
        try:
            return [Weights.read(files[f"{self.name}-{seed}"]) for seed in range(len(self.readers))]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"The weights of {self.name} cannot be read ({reason}); train again") from error

    def save(self, folder: Path) -> None:
        """Copy the files that it was read from."""
        for file in self._files:
            shutil.copy(file, folder)

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        """Forecast from rows `ends`: shape (len(ends), horizon)."""
        return pool(self.members(windows, ends))

    def members(self, windows: Windows, ends: np.ndarray) -> list[StudentT]:
        """Forecast with each random start by itself; see `forecast`."""
        return read([self], windows, ends)[0]


def reader(graph: bytes) -> Reader:
    """Load a graph.

    Raises
    ------
    ValueError
        If it is none that ONNX Runtime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except UNSOUND as error:
        raise ValueError(f"expected an ONNX graph: {error}") from error

    def run(window: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        return session.run(["forecast"], {"window": window, "window_ahead": ahead})[0]

    return run
