"""The weights of a trained network as arrays, read without Keras: what an explanation computes from."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from zipfile import ZipFile

import numpy as np

LARGEST = 6.0
"""Bound of the log variance of one session ahead, in squared base volatilities."""

FADES = (2.0, 10.0)
"""Sessions ahead after which what the state adds to the log variance has faded to 1/e. Free weights for
every session fit the far ones to a few years' accidents."""

MEAN_STEP = 0.1
"""Mean of one session, in base volatilities, per unit of what the state says of it."""

LEAST_DF = 2.1

KINDS = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru"}
"""Recurrent layers of Keras -> the names of their kinds here."""

FOLDERS = {"rnn": "simple_rnn", "lstm": "lstm", "gru": "gru"}
"""Kind -> where Keras keeps its weights in a file."""


@dataclass(frozen=True)
class Cell:
    """Weights of one recurrent layer, float64, the gates side by side in the order of Keras.

    Attributes
    ----------
    kind : str
        "rnn", "lstm" (input, forget, candidate, output) or "gru" (update, reset, candidate).
    kernel : ndarray, (inputs, gates * units)
    recurrent : ndarray, (units, gates * units)
    bias : ndarray, (gates * units,)
        Or (2, gates * units): a GRU that resets after the product with the state adds a bias there, too
        (``reset_after``).
    activation : {"tanh", "relu"}
        Of a simple RNN; LSTM and GRU have tanh, and logistic gates.
    """

    kind: str
    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    activation: str = "tanh"

    @property
    def units(self) -> int:
        return len(self.recurrent)

    @property
    def resets_after(self) -> bool:
        """Whether it is a GRU that resets after the product with the state."""
        return self.bias.ndim == 2

    @classmethod
    def of(cls, layer: Any) -> Self:
        """Copy the weights of a Keras layer."""
        kernel, recurrent, bias = (np.asarray(one, dtype=np.float64) for one in layer.get_weights())
        return cls(KINDS[type(layer).__name__], kernel, recurrent, bias, layer.activation.__name__)


@dataclass(frozen=True)
class Weights:
    """Everything that a network of `models.network.build` has learned, float64.

    Attributes
    ----------
    mean, spread : ndarray, (features,)
        What inputs are shifted and divided by.
    limit : float
        Where the result is cut, below and above.
    columns : ndarray of int, (own features,)
        Inputs that the recurrent layer reads.
    cell : Cell
    growth_of_state : ndarray, (units, len(FADES))
    growth_of_inputs : ndarray, (features, horizon)
    growth : ndarray, (horizon,)
        The constant beside it.
    growth_ahead : ndarray, (ahead features, horizon)
    drift : ndarray, (units, horizon)
    tail : ndarray, (units, horizon)
    tail_constant : ndarray, (horizon,)
    response : ndarray, (units, ahead features)
        Zero where the state may not change what is known ahead.
    """

    mean: np.ndarray
    spread: np.ndarray
    limit: float
    columns: np.ndarray
    cell: Cell
    growth_of_state: np.ndarray
    growth_of_inputs: np.ndarray
    growth: np.ndarray
    growth_ahead: np.ndarray
    drift: np.ndarray
    tail: np.ndarray
    tail_constant: np.ndarray
    response: np.ndarray

    @property
    def adds_something(self) -> bool:
        """Whether the state reaches the forecast; it does not where training found no correction worth it."""
        return any(one.any() for one in (self.growth_of_state, self.drift, self.tail, self.response))

    @classmethod
    def of(cls, network: Any) -> Self:
        """Copy the weights of a Keras network, the reader of `models.network.build`."""
        scaling, head = network.get_layer("standardise"), network.get_layer("head")
        layer = next(one for one in network.layers if type(one).__name__ in KINDS)
        parts = ("growth_of_state", "growth_of_inputs", "drift", "tail", *(["response"] * head.responds))
        return cls._laid_out(
            {"mean": scaling.mean, "scale": scaling.spread, "limit": scaling.limit},
            network.get_layer("select").columns,
            Cell.of(layer),
            {part: getattr(head, part).get_weights() for part in parts}
            | {"ahead": [np.asarray(head.growth_ahead)]},
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the weights of a network from its .keras file.

        Raises
        ------
        OSError, ValueError, KeyError
            If it is missing or damaged.
        """
        # Late: a forecast does not need it.
        import h5py

        with ZipFile(path) as archive:
            layers = {
                one["class_name"]: one["config"]
                for one in json.loads(archive.read("config.json"))["config"]["layers"]
            }
            stored = h5py.File(BytesIO(archive.read("model.weights.h5")))["layers"]

        def arrays(folder: str) -> list[np.ndarray]:
            values = stored[f"{folder}/vars"]
            return [np.asarray(values[str(at)], dtype=np.float64) for at in range(len(values))]

        name = next(one for one in layers if one in KINDS)
        kernel, recurrent, bias = arrays(f"{FOLDERS[KINDS[name]]}/cell")
        head = {part: arrays(f"student_t_head/{part}") for part in stored["student_t_head"] if part != "vars"}
        return cls._laid_out(
            layers["Standardise"],
            layers["Select"]["columns"],
            Cell(KINDS[name], kernel, recurrent, bias, layers[name]["activation"]),
            head | {"ahead": arrays("student_t_head")},
        )

    @classmethod
    def _laid_out(
        cls, scaling: dict[str, Any], columns: list[int], cell: Cell, head: dict[str, list[np.ndarray]]
    ) -> Self:
        whole = {part: [np.asarray(one, dtype=np.float64) for one in arrays] for part, arrays in head.items()}
        (ahead,) = whole["ahead"]
        return cls(
            mean=np.asarray(scaling["mean"], dtype=np.float64),
            spread=np.asarray(scaling["scale"], dtype=np.float64),
            limit=float(scaling["limit"]),
            columns=np.asarray(columns, dtype=int),
            cell=cell,
            growth_of_state=whole["growth_of_state"][0],
            growth_of_inputs=whole["growth_of_inputs"][0],
            growth=whole["growth_of_inputs"][1],
            growth_ahead=ahead,
            drift=whole["drift"][0],
            tail=whole["tail"][0],
            tail_constant=whole["tail"][1],
            response=whole["response"][0] if "response" in whole else np.zeros((cell.units, len(ahead))),
        )
