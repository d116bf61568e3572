"""Simple RNN, LSTM and GRU in Keras: one builder, trained on shared segments.

A network reads `lookback` sessions and gives, for each step ahead, a Student-t distribution of
the log return in units of the past-only base volatility. The variance of each session ahead has a
linear part that is fitted by likelihood and held fixed (`models.skip`); what the recurrent layer
adds to it starts at zero. So training begins at a strong classical forecast and learns corrections,
and where no correction helps on the validation sessions the linear part stands alone.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

# First: once TensorFlow has brought its own TLS library, yfinance's client can no longer load its.
import curl_cffi  # noqa: F401
import keras
import numpy as np
from keras import layers, ops
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.models.distribution import StudentT, pool
from forecaster.models.skip import Skip, fit_skip
from forecaster.progress import Advance
from forecaster.windows import Segments, Windows

# Each fit traces a network of its own, which is no fault worth a warning.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

CELLS: dict[str, type[layers.Layer]] = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}

BACKEND: str = keras.backend.backend()
CLIP_NORM = 1.0
DRIFT_PENALTY = 1.0
"""L2 on the weights of the mean, which has no constant: a past bull market is no forecast."""

LIMIT = 5.0
"""Largest absolute input let through, in training standard deviations."""

LARGEST = 6.0
"""Bound of the log variance of one session ahead, in squared base volatilities."""

LEAST_DF = 2.1
FIRST_DF = 6.0
LEAST_START = 0.1
CHUNK = 8192
"""Windows gathered at a time when forecasting: bounds the memory."""


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
class StudentTHead(layers.Layer):
    """From a state, the current inputs and what is known ahead to (mean, sigma, df) per step.

    The variance of step k is that of step k - 1 plus a positive increment: the exponential of a
    linear form in the state, the inputs, and what is known ahead of session k alone. So the fan
    widens, and what is announced for a session moves that session and later ones only. What is
    linear in the inputs and in what is known ahead is not trained; see `begin_at`.

    Inputs are (..., units), (..., features) and (..., horizon, ahead features); the output is
    (..., horizon, 3), mean and sigma in units of the base volatility.
    """

    def __init__(self, horizon: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.horizon = horizon
        zero: dict[str, Any] = {"kernel_initializer": "zeros"}
        self.growth_of_state = layers.Dense(horizon, use_bias=False, name="growth_of_state", **zero)
        fixed = zero | {"trainable": False}
        self.growth_of_inputs = layers.Dense(horizon, name="growth_of_inputs", **fixed)
        self.growth_ahead = layers.Dense(1, use_bias=False, name="growth_ahead", **fixed)
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

    def build(self, state_shape: tuple, inputs_shape: tuple, ahead_shape: tuple) -> None:
        self.growth_of_state.build(state_shape)
        self.growth_of_inputs.build(inputs_shape)
        self.growth_ahead.build(ahead_shape)
        self.drift.build(state_shape)
        self.tail.build(state_shape)

    def call(self, state: Any, inputs: Any, ahead: Any) -> Any:
        growth = self.growth_of_state(state) + self.growth_of_inputs(inputs)
        growth = growth + ops.squeeze(self.growth_ahead(ahead), axis=-1)
        increments = ops.exp(LARGEST * ops.tanh(growth / LARGEST))
        sigma = ops.sqrt(ops.cumsum(increments, axis=-1))
        mean = ops.cumsum(0.1 * self.drift(state), axis=-1)
        df = LEAST_DF + ops.softplus(self.tail(state))
        return ops.stack([mean, sigma, df], axis=-1)

    def rest_on(self, skip: Skip) -> None:
        """Take over the linear part."""
        self.growth_of_inputs.set_weights([skip.inputs, skip.bias])
        self.growth_ahead.set_weights([skip.ahead[:, None]])

    def begin_at(self, skip: Skip) -> None:
        """Take over the linear part and the degrees of freedom."""
        self.rest_on(skip)
        kernel, _ = self.tail.get_weights()
        first = np.log(np.expm1(max(skip.df - LEAST_DF, LEAST_START)))
        self.tail.set_weights([kernel, np.full(self.horizon, first, np.float32)])

    def compute_output_shape(self, state_shape: tuple, inputs_shape: tuple, ahead_shape: tuple) -> tuple:
        return (*state_shape[:-1], self.horizon, 3)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"horizon": self.horizon}


def log_gamma(x: Any) -> Any:
    """Logarithm of the gamma function for x >= 1 on any Keras backend.

    Stirling's series after raising the argument by six (Abramowitz and Stegun 1964, 6.1.41);
    absolute error below 1e-5 in single precision for 1 <= x <= 60.
    """
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5)
    z = x + 6
    series = 1 / (12 * z) - 1 / (360 * z**3)
    return (z - 0.5) * ops.log(z) - z + 0.5 * math.log(2 * math.pi) + series - ops.log(product)


def negative_log_likelihood(outcome: Any, forecast: Any) -> Any:
    """Mean negative log density of the known outcomes, in nats.

    Parameters
    ----------
    outcome : tensor (..., horizon)
        Returns in units of base volatility; NaN where unknown.
    forecast : tensor (..., horizon, 3)
        Mean, standard deviation and degrees of freedom of a Student-t distribution.
    """
    unknown = ops.isnan(outcome)
    y = ops.where(unknown, 0.0, outcome)
    mean, sigma, df = forecast[..., 0], forecast[..., 1], forecast[..., 2]
    scale = sigma * ops.sqrt((df - 2) / df)
    density = (
        log_gamma((df + 1) / 2)
        - log_gamma(df / 2)
        - 0.5 * ops.log(math.pi * df)
        - ops.log(scale)
        - (df + 1) / 2 * ops.log1p(((y - mean) / scale) ** 2 / df)
    )
    known = ops.cast(ops.logical_not(unknown), "float32")
    return -ops.sum(known * density) / ops.maximum(ops.sum(known), 1.0)


def build(
    recipe: Recipe, cell: str, scaler: StandardScaler, ahead_features: int
) -> tuple[keras.Model, keras.Model]:
    """Build the two readings of one network, which share every weight.

    Parameters
    ----------
    cell : str
        "rnn", "lstm" or "gru".
    scaler : StandardScaler
        Fitted on training rows only; its statistics become part of the network.
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
    recurrent = CELLS[cell](recipe.units, return_sequences=True, name=cell)
    dropout = layers.Dropout(recipe.dropout, name="dropout")
    head = StudentTHead(recipe.horizon, name="head")
    features, burn_in = scaler.n_features_in_, recipe.lookback - 1

    segment = keras.Input((None, features), name="segment")
    segment_ahead = keras.Input((None, recipe.horizon, ahead_features), name="segment_ahead")
    scaled = standardise(segment)
    states = dropout(recurrent(scaled))[:, burn_in:]
    learner = keras.Model([segment, segment_ahead], head(states, scaled[:, burn_in:], segment_ahead))

    window = keras.Input((recipe.lookback, features), name="window")
    window_ahead = keras.Input((recipe.horizon, ahead_features), name="window_ahead")
    scaled = standardise(window)
    state = recurrent(scaled)[:, -1]
    reader = keras.Model([window, window_ahead], head(state, scaled[:, -1], window_ahead))
    return learner, reader


class SegmentBatches(keras.utils.PyDataset):
    """Batches of segments, gathered when asked for; cut and shuffled anew each epoch."""

    def __init__(
        self,
        windows: Windows,
        cutoffs: np.ndarray,
        known_by: np.datetime64,
        recipe: Recipe,
        shuffle: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self._windows, self._cutoffs, self._known_by = windows, cutoffs, known_by
        self._recipe, self._shuffle = recipe, shuffle
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        stride, shuffle = self._recipe.stride, self._shuffle
        offset = 0 if shuffle is None else int(shuffle.integers(stride))
        cover = Segments.cover(self._windows, self._cutoffs, stride, offset)
        count = len(cover.rows)
        order = np.arange(count) if shuffle is None else shuffle.permutation(count)
        self._rows, self._is_cutoff = cover.rows[order], cover.is_cutoff[order]

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._recipe.batch)

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        chosen = slice(index * self._recipe.batch, (index + 1) * self._recipe.batch)
        rows, burn_in = self._rows[chosen], self._recipe.lookback - 1
        targets = rows[:, burn_in:]
        sigma = self._windows.panel.base_sigma[targets][..., None]
        outcomes = self._windows.labels(targets, self._known_by) / sigma
        outcomes[~self._is_cutoff[chosen][:, burn_in:]] = np.nan
        inputs = self._windows.panel.values[rows], self._windows.ahead(targets)
        return inputs, outcomes.astype(np.float32)


class _Report(keras.callbacks.Callback):
    """Tells the progress of each epoch."""

    def __init__(self, advance: Advance, title: str) -> None:
        super().__init__()
        self._advance, self._title = advance, title
        self.epochs = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs += 1
        self._advance(f"{self._title}, validation {(logs or {}).get('val_loss', math.nan):.4f} nats")


class Recurrent:
    """Networks of one kind, one per seed, pooled.

    Parameters
    ----------
    recipe : Recipe
    cell : str
        "rnn", "lstm" or "gru".
    seeds : sequence of int, optional
        Random starts; default: as many as the recipe says, from 0 on.
    networks : list of keras.Model, optional
        Trained readers, where they come from a file.
    """

    def __init__(
        self,
        recipe: Recipe,
        cell: str,
        seeds: Sequence[int] | None = None,
        networks: list[keras.Model] | None = None,
    ) -> None:
        self.name = cell
        self.recipe = recipe
        self.seeds = tuple(range(recipe.seeds) if seeds is None else seeds)
        self.networks = networks or []

    @classmethod
    def load(cls, folder: Path, recipe: Recipe, cell: str) -> Self:
        """Read the networks that `save` wrote; Keras loads in safe mode."""
        paths = [folder / f"{cell}-{seed}.keras" for seed in range(recipe.seeds)]
        networks = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in paths]
        return cls(recipe, cell, networks=networks)

    def save(self, folder: Path) -> None:
        """Write one .keras file per seed."""
        for seed, network in enumerate(self.networks):
            network.save(folder / f"{self.name}-{seed}.keras")

    @property
    def steps(self) -> int:
        return len(self.seeds) * self.recipe.epochs

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        known_at = windows.panel.known_at
        cutoffs = windows.ends[known_at[windows.ends] <= known_by]
        moments = np.unique(known_at[cutoffs])
        held_back = int(len(moments) * self.recipe.validation)
        if held_back == 0 or len(moments) <= held_back + self.recipe.horizon:
            raise TooLittleHistory(
                f"{len(moments)} sessions with full windows up to {np.datetime_as_string(known_by, 'D')} are "
                f"too few to train on; bring a longer history or shorten lookback and horizon"
            )
        last_training = moments[-held_back - 1]
        training = cutoffs[known_at[cutoffs] <= last_training]
        validation = cutoffs[known_at[cutoffs] > last_training]
        scaler = StandardScaler().fit(windows.panel.values[training].astype(np.float64))

        def linear(rows: np.ndarray, until: np.datetime64) -> Skip:
            scaled = np.clip(scaler.transform(windows.panel.values[rows]), -LIMIT, LIMIT) * (scaler.var_ > 0)
            return fit_skip(windows, rows, until, scaled.astype(np.float32))

        first, last = linear(training, last_training), linear(cutoffs, known_by)
        held = SegmentBatches(windows, validation, known_by, self.recipe)
        for seed in self.seeds:
            keras.utils.set_random_seed(seed)
            learner, reader = build(self.recipe, self.name, scaler, len(windows.panel.ahead_names))
            head = reader.get_layer("head")
            head.begin_at(first)
            shuffle = np.random.default_rng(seed)
            batches = SegmentBatches(windows, training, last_training, self.recipe, shuffle)
            self._train(learner, batches, held, f"{self.name}, seed {seed}", advance)
            # The corrections stand; what they correct may learn from the sessions held back, too.
            head.rest_on(last)
            self.networks.append(reader)
        return self

    def _train(
        self,
        learner: keras.Model,
        batches: SegmentBatches,
        held: SegmentBatches,
        title: str,
        advance: Advance,
    ) -> None:
        """Learn corrections, as long as they help on the sessions held back; none if none does."""
        learner.compile(
            optimizer=keras.optimizers.Adam(self.recipe.learning_rate, clipnorm=CLIP_NORM),
            loss=negative_log_likelihood,
        )
        without, weights = learner.evaluate(held, verbose=0), learner.get_weights()
        report = _Report(advance, title)
        stop = keras.callbacks.EarlyStopping(patience=self.recipe.patience, restore_best_weights=True)
        learner.fit(
            batches,
            validation_data=held,
            epochs=self.recipe.epochs,
            callbacks=[stop, report],
            shuffle=False,
            verbose=0,
        )
        if not stop.best < without:
            learner.set_weights(weights)
        for _ in range(self.recipe.epochs - report.epochs):
            advance(title)

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        parts = [self._chunk(windows, part) for part in np.split(ends, range(CHUNK, len(ends), CHUNK))]
        return StudentT(
            mean=np.concatenate([part.mean for part in parts]),
            sigma=np.concatenate([part.sigma for part in parts]),
            df=np.concatenate([part.df for part in parts]),
        )

    def _chunk(self, windows: Windows, ends: np.ndarray) -> StudentT:
        inputs = [windows.inputs(ends), windows.ahead(ends)]
        base = windows.panel.base_sigma[ends][:, None]
        members = []
        for network in self.networks:
            # Called, not predicted: tracing a graph for one pass would take longer than the pass.
            raw = ops.convert_to_numpy(network(inputs, training=False)).astype(np.float64)
            members.append(StudentT(base * raw[..., 0], base * raw[..., 1], raw[..., 2]))
        return pool(members)
