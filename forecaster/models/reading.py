"""From windows to the forecasts of networks, whatever computes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from forecaster.models.distribution import StudentT
from forecaster.models.har import Har
from forecaster.models.surprise import with_surprise
from forecaster.models.weights import Weights
from forecaster.windows import Windows

Reader = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""One network: from windows (n, lookback, features) and what is known ahead (n, horizon, ahead features) to
mean, sigma and df, the first two in base volatilities: float32 (n, horizon, 3)."""

CHUNK = 8192
"""Windows gathered at a time: bounds the memory."""


class Network(Protocol):
    """Fitted networks of one kind, in the form of training or of serving.

    Attributes
    ----------
    name : str
        "rnn", "lstm" or "gru".
    readers : sequence of Reader
        One per random start.
    weights : sequence of Weights
        What each of them has learned.
    linear : Har or None
        What their memory of surprises rests on, if they have one.
    """

    name: str
    linear: Har | None

    @property
    def readers(self) -> Sequence[Reader]: ...

    @property
    def weights(self) -> Sequence[Weights]: ...

    def members(self, windows: Windows, ends: np.ndarray) -> list[StudentT]:
        """Forecast with each random start: distributions of shape (len(ends), horizon)."""

    def save(self, folder: Path) -> None:
        """Write them into a folder, in both forms."""


def read(networks: Sequence[Network], windows: Windows, ends: np.ndarray) -> list[list[StudentT]]:
    """Forecast with each random start of some kinds of network.

    Kinds that rest on the same linear model share their inputs.

    Parameters
    ----------
    ends : ndarray of int, (n,)
        Cutoff rows.

    Returns
    -------
    list of list of StudentT
        Of each kind one per random start, each of shape (n, horizon).
    """
    base = windows.panel.base_sigma[ends][:, None]
    windows, ends = windows.reaching(ends)
    learned = [one.linear and one.linear.as_json() for one in networks]
    raw: list[list[np.ndarray]] = [[] for _ in networks]
    for first in sorted({learned.index(one) for one in learned}):
        linear = networks[first].linear
        seen = windows if linear is None else with_surprise(windows, linear)
        alike = [at for at, one in enumerate(learned) if one == learned[first]]
        for part in np.split(ends, range(CHUNK, len(ends), CHUNK)):
            inputs, ahead = seen.inputs(part), seen.ahead(part)
            for at in alike:
                told = [reader(inputs, ahead) for reader in networks[at].readers]
                raw[at].append(np.array(told, dtype=np.float64))
    whole = [np.concatenate(parts, axis=1) for parts in raw]
    return [[StudentT(base * one[..., 0], base * one[..., 1], one[..., 2]) for one in kind] for kind in whole]
