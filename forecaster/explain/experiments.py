"""What the three kinds of cell can learn to remember: experiments that train networks.

An event lies some steps back in a sequence of noise, and a network is to say at the end what its value
was: the shortest story of a results shock that still matters weeks later. All kinds see the same
sequences, and start from Keras' usual weights. `benchmarks/memory.py` runs these and keeps the results;
what is told of trained models without training is in `explain.memory`.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import keras
import numpy as np
import pandas as pd
from keras import ops
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.explain.memory import forecast_gradients, state_gradients
from forecaster.explain.twin import read, standardised
from forecaster.models.gradients import by_weights
from forecaster.models.loss import loss
from forecaster.models.network import CELLS, build
from forecaster.models.recurrent import CLIP_NORM, SegmentBatches
from forecaster.models.weights import Weights
from forecaster.windows import Windows

LAYERS: dict[str, Callable[[int], keras.Layer]] = {
    "rnn": keras.layers.SimpleRNN,
    "rnn_relu": partial(keras.layers.SimpleRNN, activation="relu"),
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
}
"""What is compared: the kinds of the service, and the simple RNN with ReLU in place of tanh."""

UNITS = 32
BATCH = 64
BEFORE = 10
"""Steps of noise before the event."""

LEARNING_RATE = 3e-3
"""Of Adam, as trains the networks; with `CLIP_NORM`."""

LEARNED = 0.05
"""Share of the variance left unexplained at which training ends."""

LARGE = 1.5
"""Factor on the recurrent weights at the start that makes gradients grow on their way back."""


def planted(lag: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw sequences with one event each.

    Parameters
    ----------
    lag : int
        Steps from the event to the end, the same in all.

    Returns
    -------
    inputs : ndarray of float32, (count, BEFORE + lag + 1, 2)
        A value, drawn anew at every step, and 1 at the event, else 0.
    outcome : ndarray of float32, (count, 1)
        The event's value, of variance 1: who remembers nothing errs by 1.
    """
    draw = np.random.default_rng(seed)
    value = draw.normal(size=(count, BEFORE + lag + 1))
    mark = np.zeros_like(value)
    mark[:, BEFORE] = 1
    return np.stack([value, mark], axis=-1).astype(np.float32), value[:, [BEFORE]].astype(np.float32)


def network(name: str, gain: float = 1.0, units: int = UNITS) -> keras.Model:
    """Build a recurrent layer with one linear output, of sequences of any length.

    Parameters
    ----------
    name : str
        Of `LAYERS`.
    gain : float
        Factor on its recurrent weights at the start.
    """
    layer = LAYERS[name](units)
    model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel, gain * recurrent, bias])
    return model


def recall(
    names: Sequence[str], lags: Sequence[int], updates: int, seeds: Sequence[int] = (0,)
) -> pd.DataFrame:
    """Train each kind on an event at each lag, and measure what it still knows of it.

    Parameters
    ----------
    names : sequence of str
        Of `LAYERS`.
    updates : int
        Gradient steps at most, in ten equal parts; training ends early once little is left to learn.

    Returns
    -------
    DataFrame
        Per cell, lag and seed: error (share of the event's variance that stays unexplained, on sequences
        not trained on) and updates.
    """
    part = max(1, updates // 10)
    rows = []
    for lag in lags:
        inputs, outcome = planted(lag, part * BATCH, 1)
        unseen, truth = planted(lag, 512, 2)
        for seed in seeds:
            for name in names:
                keras.utils.set_random_seed(seed)
                model, error, done = network(name), math.inf, 0
                model.compile(keras.optimizers.Adam(LEARNING_RATE, clipnorm=CLIP_NORM), loss="mse")
                while done < updates and error > LEARNED:
                    model.fit(inputs, outcome, batch_size=BATCH, epochs=1, verbose=0)
                    error, done = float(model.evaluate(unseen, truth, batch_size=512, verbose=0)), done + part
                rows.append({"cell": name, "lag": lag, "seed": seed, "error": error, "updates": done})
    return pd.DataFrame(rows)


def reaches(recalled: pd.DataFrame, most: float = 0.5) -> dict[str, int]:
    """Return how far back each kind remembers: the largest lag up to which no error exceeds `most`.

    Parameters
    ----------
    recalled : DataFrame
        From `recall`; of several seeds the median counts. 0 where even the shortest lag is too far.
    """
    found = {}
    for name, rows in recalled.groupby("cell", sort=False):
        error = rows.groupby("lag")["error"].median().sort_index()
        within = error.index[(error <= most).cumprod().astype(bool)]
        found[str(name)] = int(within[-1]) if len(within) else 0
    return found


def exploding(
    name: str, clip: float | None, updates: int, lag: int = 20, rate: float = 0.01, seed: int = 0
) -> pd.DataFrame:
    """Train by plain gradient descent from large recurrent weights, and watch the gradient.

    Parameters
    ----------
    clip : float, optional
        Norm that the gradient of each weight matrix is cut to; None: not at all.
    rate : float
        Learning rate.

    Returns
    -------
    DataFrame
        Per update: loss, and norm of the whole gradient before it is cut. It ends where a value is no
        longer finite.
    """
    keras.utils.set_random_seed(seed)
    model = network(name, LARGE)
    optimizer = keras.optimizers.SGD(rate, clipnorm=clip)
    differentiate = by_weights(model, lambda outcome, output: ops.mean((outcome - output) ** 2))
    rows = []
    for update in range(updates):
        value, gradient = differentiate(*planted(lag, BATCH, update))
        norm = math.sqrt(sum(float(ops.sum(one**2)) for one in gradient))
        rows.append({"update": update, "loss": float(value), "norm": norm})
        if not math.isfinite(rows[-1]["loss"] + norm):
            break
        optimizer.apply(gradient, model.trainable_variables)
    return pd.DataFrame(rows)


def side_by_side(
    windows: Windows, recipe: Recipe, epochs: int, names: Sequence[str] = tuple(CELLS)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train the kinds of the service on the same prices in turn, an epoch each.

    The networks rest on no linear part and nothing of what they learn is cut, so that all they know of the
    sessions before the last has passed through their state.

    Parameters
    ----------
    windows : Windows
        Those of `recipe`.
    epochs : int
        The first also builds the graph, and its seconds are not kept.

    Returns
    -------
    seconds : DataFrame
        Per cell and epoch from the second on: seconds, and cpu_seconds of all cores, which other work on
        the machine disturbs less.
    gradients : DataFrame
        Per cell and lag, mean over windows: norms of the state's gradient before (untrained) and after
        training, and of that of the forecast (log sigma one session ahead).
    """
    recipe = recipe.but(linear_part=False)
    panel = windows.panel
    scaler = StandardScaler().fit(panel.values[windows.ends].astype(np.float64))
    known_by = panel.known_at.max()
    some = windows.ends[:: max(1, len(windows.ends) // 256)]
    inputs, ahead = windows.inputs(some), windows.ahead(some).astype(np.float64)
    pairs: dict[str, tuple[keras.Model, keras.Model]] = {}
    states: dict[tuple[str, str], np.ndarray] = {}

    def states_of(reader: keras.Model) -> np.ndarray:
        weights = Weights.of(reader)
        return state_gradients(weights.cell, standardised(weights, inputs)[..., weights.columns]).mean(axis=0)

    for name in names:
        keras.utils.set_random_seed(0)
        pairs[name] = build(recipe, name, scaler, panel.names, len(panel.ahead_names))
        pairs[name][0].compile(
            keras.optimizers.Adam(recipe.learning_rate, clipnorm=CLIP_NORM), loss=loss(recipe.crps)
        )
        states[name, "before"] = states_of(pairs[name][1])
    rows = []
    for epoch in range(epochs):
        for name, (learner, _) in pairs.items():
            batches = SegmentBatches(windows, windows.ends, known_by, recipe, np.random.default_rng(epoch))
            began, worked = time.perf_counter(), time.process_time()
            learner.fit(batches, epochs=1, shuffle=False, verbose=0)
            taken = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
            if epoch:
                rows.append({"cell": name, "epoch": epoch} | taken)
    tables = []
    for name, (_, reader) in pairs.items():
        weights = Weights.of(reader)
        reading = read(weights, standardised(weights, inputs), ahead)
        by_lag: dict[str, Any] = {
            "cell": name, "lag": np.arange(recipe.lookback), "before": states[name, "before"],
            "after": states_of(reader), "forecast": forecast_gradients(reading).mean(axis=0),
        }  # fmt: skip
        tables.append(pd.DataFrame(by_lag))
    return pd.DataFrame(rows), pd.concat(tables, ignore_index=True)
