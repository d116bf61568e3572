"""One recurrent network in Keras: standardised inputs, a recurrent layer, a head that gives a Student-t."""

import math
from collections.abc import Sequence
from typing import Any

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import keras
import numpy as np
from keras import layers, ops
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.features import SHARED
from forecaster.models.skip import Skip
from forecaster.models.weights import FADES, LARGEST, LEAST_DF, MEAN_STEP

CELLS: dict[str, type[layers.Layer]] = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}

DRIFT_PENALTY = 1.0
"""L2 on the weights of the mean, which has no constant: a past bull market is no forecast."""

LIMIT = 5.0
"""Largest absolute input let through, in training standard deviations."""

FIRST_DF = 6.0
LEAST_START = 0.1


@keras.saving.register_keras_serializable(package="forecaster")
class Standardise(layers.Layer):
    """Shift and scale inputs by training statistics, cut them at `limit`, put 0 for unknown ones.

    Parameters
    ----------
    mean, scale : list of float
        Per feature, from training rows only; saved with the network.
    limit : float
        Largest absolute value let through, in training standard deviations.
    """

    def __init__(self, mean: list[float], scale: list[float], limit: float = LIMIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.spread, self.limit = mean, scale, limit

    def call(self, inputs: Any) -> Any:
        scaled = (inputs - ops.array(self.mean, "float32")) / ops.array(self.spread, "float32")
        return ops.clip(ops.where(ops.isnan(inputs), 0.0, scaled), -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"mean": self.mean, "scale": self.spread, "limit": self.limit}


@keras.saving.register_keras_serializable(package="forecaster")
class Select(layers.Layer):
    """Let some of the inputs through.

    Parameters
    ----------
    columns : list of int
    """

    def __init__(self, columns: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = columns

    def call(self, inputs: Any) -> Any:
        return ops.take(inputs, self.columns, axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (*shape[:-1], len(self.columns))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"columns": self.columns}


@keras.saving.register_keras_serializable(package="forecaster")
class StudentTHead(layers.Layer):
    """From a state, the current inputs and what is known ahead to (mean, sigma, df) per step.

    The variance of step k is that of step k - 1 plus a positive increment: the exponential of a
    linear form in the inputs, what is known ahead of session k alone (whose weights may themselves
    depend on the state, `response`), and the state, whose part fades with k. So the fan widens, and
    what is announced for a session moves that session and later ones only. What is linear in the
    inputs and in what is known ahead is not trained where the network rests on a linear part; see
    `begin_at`.

    Inputs are (..., units), (..., features) and (..., horizon, ahead features); the output is
    (..., horizon, 3), mean and sigma in units of the base volatility.

    Parameters
    ----------
    horizon : int
    rests : bool
        Whether the linear part is given and held fixed.
    decay : float
        L2 on the weights that correct the linear part.
    response : bool
        Whether the state may change the weights of what is known ahead.
    """

    def __init__(
        self, horizon: int, rests: bool = True, decay: float = 0.0, response: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.horizon, self.rests, self.decay, self.responds = horizon, rests, decay, response
        zero: dict[str, Any] = {"kernel_initializer": "zeros"}
        charged = zero | {"kernel_regularizer": keras.regularizers.L2(decay) if decay else None}
        self.growth_of_state = layers.Dense(len(FADES), use_bias=False, name="growth_of_state", **charged)
        self.fading = np.exp(-np.arange(horizon) / np.array(FADES)[:, None]).astype(np.float32)
        linear = zero | {"trainable": not rests}
        self.growth_of_inputs = layers.Dense(horizon, name="growth_of_inputs", **linear)
        self.drift = layers.Dense(
            horizon,
            use_bias=False,
            kernel_regularizer=keras.regularizers.L2(DRIFT_PENALTY),
            name="drift",
            **zero,
        )
        first = math.log(math.expm1(FIRST_DF - LEAST_DF))
        self.tail = layers.Dense(
            horizon, name="tail", bias_initializer=keras.initializers.Constant(first), **zero
        )
        self._charged = charged

    def build(self, state_shape: tuple, inputs_shape: tuple, ahead_shape: tuple) -> None:
        self.growth_of_state.build(state_shape)
        self.growth_of_inputs.build(inputs_shape)
        self.growth_ahead = self.add_weight(
            shape=(ahead_shape[-1], self.horizon),
            initializer="zeros",
            trainable=not self.rests,
            name="growth_ahead",
        )
        self.drift.build(state_shape)
        self.tail.build(state_shape)
        if self.responds:
            self.response = layers.Dense(ahead_shape[-1], use_bias=False, name="response", **self._charged)
            self.response.build(state_shape)

    def call(self, state: Any, inputs: Any, ahead: Any) -> Any:
        growth = ops.matmul(self.growth_of_state(state), self.fading) + self.growth_of_inputs(inputs)
        growth = growth + ops.sum(ahead * ops.transpose(self.growth_ahead), axis=-1)
        if self.responds:
            growth = growth + ops.sum(ahead * self.response(state)[..., None, :], axis=-1)
        increments = ops.exp(LARGEST * ops.tanh(growth / LARGEST))
        sigma = ops.sqrt(ops.cumsum(increments, axis=-1))
        mean = ops.cumsum(MEAN_STEP * self.drift(state), axis=-1)
        df = LEAST_DF + ops.softplus(self.tail(state))
        return ops.stack([mean, sigma, df], axis=-1)

    def rest_on(self, skip: Skip) -> None:
        """Take over the linear part."""
        self.growth_of_inputs.set_weights([skip.inputs, skip.bias])
        self.growth_ahead.assign(skip.ahead)

    def begin_at(self, skip: Skip) -> None:
        """Take over the linear part and the degrees of freedom."""
        self.rest_on(skip)
        kernel, _ = self.tail.get_weights()
        first = np.log(np.expm1(max(skip.df - LEAST_DF, LEAST_START)))
        self.tail.set_weights([kernel, np.full(self.horizon, first, np.float32)])

    def corrections(self) -> list[np.ndarray]:
        """Return the weights of what is added to the linear part."""
        return [layer.get_weights()[0] for layer in self._correcting()]

    def correct(self, corrections: list[np.ndarray], share: float) -> None:
        """Keep a share of corrections."""
        for layer, kernel in zip(self._correcting(), corrections, strict=True):
            layer.set_weights([share * kernel, *layer.get_weights()[1:]])

    def _correcting(self) -> list[layers.Layer]:
        return [self.growth_of_state, self.drift, self.tail, *([self.response] if self.responds else [])]

    def compute_output_shape(self, state_shape: tuple, inputs_shape: tuple, ahead_shape: tuple) -> tuple:
        return (*state_shape[:-1], self.horizon, 3)

    def get_config(self) -> dict[str, Any]:
        own = {"horizon": self.horizon, "rests": self.rests, "decay": self.decay, "response": self.responds}
        return super().get_config() | own


def build(
    recipe: Recipe, cell: str, scaler: StandardScaler, names: Sequence[str], ahead_features: int
) -> tuple[keras.Model, keras.Model]:
    """Build the two readings of one network, which share every weight.

    Parameters
    ----------
    cell : str
        "rnn", "lstm" or "gru".
    scaler : StandardScaler
        Fitted on training rows only; its statistics become part of the network.
    names : sequence of str
        Of the inputs, as in ``Panel.names``.
    ahead_features : int
        Inputs known ahead per session; may be none.

    Returns
    -------
    learner : keras.Model
        Reads segments (batch, lookback - 1 + stride, features) and gives a distribution at each of
        the last `stride` steps.
    reader : keras.Model
        Reads windows (batch, lookback, features) and gives the distribution at their end: the
        canonical forecast.
    """
    # What never varied in training has taught nothing: it is read as 0.
    scale = np.where(scaler.var_ > 0, scaler.scale_, np.finfo(np.float32).max)
    standardise = Standardise(scaler.mean_.tolist(), scale.tolist(), name="standardise")
    own = [at for at, name in enumerate(names) if not (recipe.own_memory and name in SHARED)]
    select = Select(own, name="select")
    recurrent = CELLS[cell](recipe.units, return_sequences=True, name=cell)
    dropout = layers.Dropout(recipe.dropout, name="dropout")
    head = StudentTHead(
        recipe.horizon,
        recipe.linear_part,
        recipe.decay,
        recipe.response and ahead_features > 0,
        name="head",
    )
    burn_in = recipe.lookback - 1

    segment = keras.Input((None, len(names)), name="segment")
    segment_ahead = keras.Input((None, recipe.horizon, ahead_features), name="segment_ahead")
    scaled = standardise(segment)
    states = dropout(recurrent(select(scaled)))[:, burn_in:]
    learner = keras.Model([segment, segment_ahead], head(states, scaled[:, burn_in:], segment_ahead))

    window = keras.Input((recipe.lookback, len(names)), name="window")
    window_ahead = keras.Input((recipe.horizon, ahead_features), name="window_ahead")
    scaled = standardise(window)
    state = recurrent(select(scaled))[:, -1]
    reader = keras.Model([window, window_ahead], head(state, scaled[:, -1], window_ahead))
    return learner, reader
