"""Back through a recurrent layer: what each step's inputs and state did to the last state, exactly.

Backpropagation through time written out for the three kinds, float64; checked in tests against finite
differences and against Keras' own gradients (`models.gradients`).
"""

from collections.abc import Callable

import numpy as np

from forecaster.explain.gates import States, before
from forecaster.models.weights import Cell

Back = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Gradient by what the gates were computed from (n, gates * units), by the hidden state and by the cell
that the step found, both (n, units)."""


def inputs_gradient(cell: Cell, states: States, last: np.ndarray) -> np.ndarray:
    """Carry a gradient by the last hidden state back to the inputs of every step.

    Parameters
    ----------
    states : States
        `gates.gates` of the sequences, (n, steps, units) each.
    last : ndarray, (..., n, units)
        Gradient of some value by the last hidden state; leading axes for several values.

    Returns
    -------
    ndarray, (..., n, steps, inputs)
    """
    found = {name: before(values) for name, values in states.items() if name in ("hidden", "cell")}
    hidden, memory = np.asarray(last, dtype=np.float64), np.zeros_like(last, dtype=np.float64)
    steps = states["hidden"].shape[1]
    reached = np.empty((*hidden.shape[:-1], steps, len(cell.kernel)))
    for step in reversed(range(steps)):
        now = {name: values[:, step] for name, values in states.items()}
        then = {name: values[:, step] for name, values in found.items()}
        gate, hidden, memory = BACKWARD[cell.kind](cell, now, then, hidden, memory)
        reached[..., step, :] = gate @ cell.kernel.T
    return reached


def _simple(cell: Cell, now: States, then: States, hidden: np.ndarray, memory: np.ndarray) -> Back:
    slope = 1 - now["hidden"] ** 2 if cell.activation == "tanh" else now["hidden"] > 0
    gate = hidden * slope
    return gate, gate @ cell.recurrent.T, memory


def _lstm(cell: Cell, now: States, then: States, hidden: np.ndarray, memory: np.ndarray) -> Back:
    shown = np.tanh(now["cell"])
    memory = memory + hidden * now["output"] * (1 - shown**2)
    gate = np.concatenate(
        [
            memory * now["candidate"] * _slope(now["input"]),
            memory * then["cell"] * _slope(now["forget"]),
            memory * now["input"] * (1 - now["candidate"] ** 2),
            hidden * shown * _slope(now["output"]),
        ],
        axis=-1,
    )
    return gate, gate @ cell.recurrent.T, memory * now["forget"]


def _gru(cell: Cell, now: States, then: States, hidden: np.ndarray, memory: np.ndarray) -> Back:
    update = hidden * (then["hidden"] - now["candidate"]) * _slope(now["update"])
    candidate = hidden * (1 - now["update"]) * (1 - now["candidate"] ** 2)
    kept = hidden * now["update"]
    gates, own = np.split(cell.recurrent, [2 * cell.units], axis=-1)
    if cell.resets_after:
        remembered = then["hidden"] @ own + cell.bias[1][2 * cell.units :]
        reset = candidate * remembered * _slope(now["reset"])
        kept = kept + (candidate * now["reset"]) @ own.T
    else:
        recalled = candidate @ own.T
        reset = recalled * then["hidden"] * _slope(now["reset"])
        kept = kept + recalled * now["reset"]
    both = np.concatenate([update, reset], axis=-1)
    return np.concatenate([both, candidate], axis=-1), kept + both @ gates.T, memory


def _slope(gate: np.ndarray) -> np.ndarray:
    """Slope of the logistic function, told by its value."""
    return gate * (1 - gate)


BACKWARD: dict[str, Callable[..., Back]] = {"rnn": _simple, "lstm": _lstm, "gru": _gru}
"""Kind -> one step back."""
