"""Simple RNN, LSTM and GRU in Keras: one builder, trained on shared segments.

A network reads `lookback` sessions and gives, for each step ahead, a Student-t distribution of
the log return in units of the past-only base volatility. The variance of each session ahead has a
linear part that is fitted by likelihood and held fixed (`models.skip`); what the recurrent layer
adds to it starts at zero. So training begins at a strong classical forecast and learns corrections,
and where no correction helps on the validation sessions the linear part stands alone.
"""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

# First: once TensorFlow has brought its own TLS library, yfinance's client can no longer load its.
import curl_cffi  # noqa: F401
import keras
import numpy as np
from keras import ops
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.models.distribution import StudentT, pool
from forecaster.models.export import graph_of, require_same_forecast
from forecaster.models.har import Har
from forecaster.models.loss import loss
from forecaster.models.network import LIMIT, build
from forecaster.models.reading import Reader, read
from forecaster.models.skip import Skip, fit_skip
from forecaster.models.surprise import linear_model, with_surprise
from forecaster.models.weights import Weights
from forecaster.progress import Advance
from forecaster.windows import Segments, Windows

# Each fit traces a network of its own, which is no fault worth a warning.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

BACKEND: str = keras.backend.backend()
CLIP_NORM = 1.0
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the learned corrections that are tried."""

DOUBT = 2.0
"""Standard errors that a gain has to exceed to count."""

COMPARED = 256
"""Windows, the last ones, on which the serving form is compared with Keras."""


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

    def moments(self, index: int) -> np.ndarray:
        """Moments at which the cutoffs of a batch's labelled steps were known, (segments, stride)."""
        chosen = slice(index * self._recipe.batch, (index + 1) * self._recipe.batch)
        return self._windows.panel.known_at[self._rows[chosen, self._recipe.lookback - 1 :]]


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
    linear : Har, optional
        What their memory of surprises rests on, likewise.
    """

    def __init__(
        self,
        recipe: Recipe,
        cell: str,
        seeds: Sequence[int] | None = None,
        networks: list[keras.Model] | None = None,
        linear: Har | None = None,
    ) -> None:
        self.name = cell
        self.recipe = recipe
        self.seeds = tuple(range(recipe.seeds) if seeds is None else seeds)
        self.networks = networks or []
        self.linear = linear

    @classmethod
    def load(cls, folder: Path, recipe: Recipe, cell: str) -> Self:
        """Read the networks that `save` wrote; Keras loads in safe mode."""
        paths = [folder / f"{cell}-{seed}.keras" for seed in range(recipe.seeds)]
        networks = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in paths]
        linear = None
        if recipe.surprise:
            linear = Har.read(folder / f"{cell}.json")
        return cls(recipe, cell, networks=networks, linear=linear)

    def save(self, folder: Path) -> None:
        """Write each seed's network as .keras and .onnx, and what the memory of surprises rests on."""
        if self.linear is not None:
            (folder / f"{self.name}.json").write_text(json.dumps(self.linear.as_json()), encoding="utf-8")
        for seed, network in enumerate(self.networks):
            network.save(folder / f"{self.name}-{seed}.keras")
            graph = graph_of(network).SerializeToString()
            (folder / f"{self.name}-{seed}.onnx").write_bytes(graph)

    @property
    def readers(self) -> list[Reader]:
        return [_reader(network) for network in self.networks]

    @property
    def weights(self) -> list[Weights]:
        return [Weights.of(network) for network in self.networks]

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
        if self.recipe.surprise:
            self.linear = linear_model(windows, last_training)
            windows = with_surprise(windows, self.linear)
        scaler = StandardScaler().fit(windows.panel.values[training].astype(np.float64))

        def linear(rows: np.ndarray, until: np.datetime64) -> Skip:
            scaled = np.clip(scaler.transform(windows.panel.values[rows]), -LIMIT, LIMIT) * (scaler.var_ > 0)
            return fit_skip(windows, rows, until, scaled.astype(np.float32))

        first = last = None
        if self.recipe.linear_part:
            first, last = linear(training, last_training), linear(cutoffs, known_by)
        held = SegmentBatches(windows, validation, known_by, self.recipe)
        for seed in self.seeds:
            keras.utils.set_random_seed(seed)
            panel = windows.panel
            learner, reader = build(self.recipe, self.name, scaler, panel.names, len(panel.ahead_names))
            head = reader.get_layer("head")
            if first is not None:
                head.begin_at(first)
            shuffle = np.random.default_rng(seed)
            batches = SegmentBatches(windows, training, last_training, self.recipe, shuffle)
            self._train(learner, batches, held, f"{self.name}, seed {seed}", advance)
            # The corrections stand; what they correct may learn from the sessions held back, too.
            if last is not None:
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
            loss=loss(self.recipe.crps),
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
        elif self.recipe.shrink:
            _shrink(learner, held, self.recipe.horizon)
        for _ in range(self.recipe.epochs - report.epochs):
            advance(title)

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        return pool(self.members(windows, ends))

    def members(self, windows: Windows, ends: np.ndarray) -> list[StudentT]:
        """Forecast with each random start by itself; see `forecast`."""
        return read([self], windows, ends)[0]

    def require_same_forecast(self, windows: Windows) -> float:
        """Check that the serving form of each network forecasts what the network does.

        Returns
        -------
        float
            Largest difference over the last `COMPARED` windows of the cutoffs; see
            `models.export.require_same_forecast`.

        Raises
        ------
        ModelError
            If one differs.
        """
        latest = np.argsort(windows.panel.known_at[windows.ends], kind="stable")[-COMPARED:]
        windows, ends = windows.reaching(windows.ends[latest])
        if self.linear is not None:
            windows = with_surprise(windows, self.linear)
        inputs = windows.inputs(ends), windows.ahead(ends)
        return max(require_same_forecast(one, graph_of(one), inputs) for one in self.networks)


def _reader(network: keras.Model) -> Reader:
    # Called, not predicted: tracing a graph for one pass would take longer than the pass.
    return lambda window, ahead: ops.convert_to_numpy(network([window, ahead], training=False))


def _shrink(learner: keras.Model, held: SegmentBatches, horizon: int) -> None:
    """Keep that share of the corrections whose gain on the sessions held back is surest; none if none is.

    A gain counts less `DOUBT` standard errors, which are taken from the means of blocks of `horizon`
    sessions: neighbouring sessions share their outcomes, and all stocks of a session its shocks.
    """
    head = learner.get_layer("head")
    whole = head.corrections()
    head.correct(whole, 0.0)
    without, sure = _daily_losses(learner, held), {0.0: 0.0}
    for share in SHARES:
        head.correct(whole, share)
        gain = without - _daily_losses(learner, held)
        blocks = [part.mean() for part in np.array_split(gain, max(2, len(gain) // horizon))]
        sure[share] = float(gain.mean() - DOUBT * np.std(blocks, ddof=1) / np.sqrt(len(blocks)))
    head.correct(whole, max(sure, key=sure.__getitem__))


def _daily_losses(learner: keras.Model, held: SegmentBatches) -> np.ndarray:
    """Return the loss of `negative_log_likelihood` by session, in order; (sessions,)."""
    moments, losses, weights = [], [], []
    for index in range(len(held)):
        inputs, outcome = held[index]
        raw = ops.convert_to_numpy(learner(inputs, training=False)).astype(np.float64)
        loss = StudentT(raw[..., 0], raw[..., 1], raw[..., 2]).log_score(outcome)
        weight = np.isfinite(outcome) / np.arange(1, outcome.shape[-1] + 1)
        moments.append(held.moments(index).ravel())
        losses.append(np.where(np.isfinite(outcome), weight * loss, 0.0).sum(axis=-1).ravel())
        weights.append(weight.sum(axis=-1).ravel())
    _, place = np.unique(np.concatenate(moments), return_inverse=True)
    total, weight = (np.bincount(place, np.concatenate(parts)) for parts in (losses, weights))
    return total[weight > 0] / weight[weight > 0]
