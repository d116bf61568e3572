"""Every gate and state of a recurrent layer at every step, recomputed from its weights with NumPy.

The equations are those of Keras: Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al.
(2000) for the LSTM, Cho et al. (2014) for the GRU, whose update gate is the share that is *kept*.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from scipy.special import expit

from forecaster.models.weights import Cell

States = dict[str, np.ndarray]
"""Gate or state -> its value at every step, float64 (n, steps, units)."""

GATES: dict[str, tuple[str, ...]] = {
    "rnn": ("hidden",),
    "lstm": ("forget", "input", "candidate", "cell", "output", "hidden"),
    "gru": ("update", "reset", "candidate", "hidden"),
}
"""Kind -> what happens at a step, in that order."""

SHARES = frozenset({"forget", "input", "output", "update", "reset"})
"""Gates, between 0 and 1; the others are states, of either sign."""

KEEPING = {"lstm": "forget", "gru": "update"}
"""Kind -> the gate that says what share of a unit's state is kept; a simple RNN has none."""

CARRIED = {"lstm": "cell", "gru": "hidden", "rnn": "hidden"}
"""Kind -> the state that is carried from step to step."""

Value = TypeVar("Value", float, np.ndarray)


def gates(cell: Cell, inputs: np.ndarray) -> States:
    """Run a recurrent layer over sequences from a zero state.

    Parameters
    ----------
    inputs : ndarray, (n, steps, inputs)
        As the layer reads them; of a network here that is standardised, see `explain.twin`.

    Returns
    -------
    States
        `GATES` of the kind.
    """
    bias = cell.bias[0] if cell.resets_after else cell.bias
    # What the inputs bring to each gate does not depend on the state: all steps at once.
    brought = np.asarray(inputs, dtype=np.float64) @ cell.kernel + bias
    state = (np.zeros((len(inputs), cell.units)),) * 2
    names = GATES[cell.kind]
    steps = []
    for step in range(brought.shape[1]):
        values = FORWARD[cell.kind](cell, brought[:, step], *state)
        steps.append(values)
        state = values[-1], values[names.index("cell")] if "cell" in names else state[1]
    return {name: np.stack([one[at] for one in steps], axis=1) for at, name in enumerate(names)}


def before(values: np.ndarray) -> np.ndarray:
    """Return the state that each step found: that of the step before it, at first zero."""
    return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)


def update(kind: str, values: Mapping[str, Value], before: Value) -> tuple[Value, Value]:
    """Split the carried state of an LSTM or GRU into what was kept of the one before and what was added."""
    keeping = values[KEEPING[kind]]
    writing = values["input"] if kind == "lstm" else 1 - keeping
    return keeping * before, writing * values["candidate"]


def kept_share(kind: str, states: States) -> np.ndarray | None:
    """Tell how much of each unit's state is what was kept, against what was written at the step.

    Returns
    -------
    ndarray, (n, steps, units)
        Between 0 (all new) and 1 (all kept), by absolute values; None for a simple RNN, which writes its
        whole state anew.
    """
    if kind not in KEEPING:
        return None
    kept, added = map(np.abs, update(kind, states, before(states[CARRIED[kind]])))
    whole = kept + added
    return np.divide(kept, whole, out=np.zeros_like(kept), where=whole > 0)


def _simple(cell: Cell, brought: np.ndarray, hidden: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, ...]:
    value = brought + hidden @ cell.recurrent
    return (np.tanh(value) if cell.activation == "tanh" else np.maximum(value, 0.0),)


def _lstm(cell: Cell, brought: np.ndarray, hidden: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, ...]:
    taken, forget, candidate, output = np.split(brought + hidden @ cell.recurrent, 4, axis=-1)
    taken, forget, output = expit(taken), expit(forget), expit(output)
    candidate = np.tanh(candidate)
    memory = forget * memory + taken * candidate
    return forget, taken, candidate, memory, output, output * np.tanh(memory)


def _gru(cell: Cell, brought: np.ndarray, hidden: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, ...]:
    if cell.resets_after:
        remembered = hidden @ cell.recurrent + cell.bias[1]
        update, reset = np.split(expit((brought + remembered)[:, : 2 * cell.units]), 2, axis=-1)
        recalled = reset * remembered[:, 2 * cell.units :]
    else:
        gate, own = np.split(cell.recurrent, [2 * cell.units], axis=-1)
        update, reset = np.split(expit(brought[:, : 2 * cell.units] + hidden @ gate), 2, axis=-1)
        recalled = (reset * hidden) @ own
    candidate = np.tanh(brought[:, 2 * cell.units :] + recalled)
    return update, reset, candidate, update * hidden + (1 - update) * candidate


FORWARD: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {"rnn": _simple, "lstm": _lstm, "gru": _gru}
"""Kind -> one step from what the inputs bring (n, gates * units), the last hidden state and the last cell."""
