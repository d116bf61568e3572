"""A trained model: the recipe's networks with everything that they need to forecast."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import ModelError, TooLittleHistory, UsageError
from forecaster.features import COMPANY, Panel, assemble, names_of
from forecaster.features.exogenous import Surroundings
from forecaster.features.titles import unlike_training
from forecaster.history import History
from forecaster.models import SERVED
from forecaster.models.distribution import StudentT
from forecaster.models.drift import SESSIONS, Drift
from forecaster.models.ensemble import Ensemble
from forecaster.models.novelty import Novelty
from forecaster.models.paths import rescaled, shuffle, templates
from forecaster.models.tabulate import tabulate
from forecaster.windows import Windows

CARD, NOVELTY, DRIFT = "card.json", "novelty.json", "drift.json"


@dataclass(frozen=True)
class Model:
    """Networks of every kind that the recipe names, pooled into one forecast.

    Attributes
    ----------
    recipe : Recipe
    ensemble : Ensemble
        What forecasts. Scaling statistics are part of each of its models.
    universe : tuple of str
        Symbols that it learned from; cross-section means are taken over them. Any other symbol is
        served by the same models.
    novelty : Novelty or None
        Tells inputs far outside the training, where the recipe asks for it.
    drift : Drift
        Tells when inputs are no longer spread as in training.
    trained_until : Timestamp
        Last session whose data it saw.
    card : dict
        Where it comes from: recipe hash, data fingerprint, store version, package versions; how far its
        serving form is from Keras at most, ``onnx_difference``; and what it reads: ``inputs`` and ``ahead``
        (known ahead), name -> lowest and highest value in training.
    """

    recipe: Recipe
    ensemble: Ensemble
    novelty: Novelty | None
    drift: Drift
    universe: tuple[str, ...]
    trained_until: pd.Timestamp
    card: dict[str, Any]

    def forecast(self, history: History, symbols: tuple[str, ...] | None = None) -> pd.DataFrame:
        """Forecast 1..horizon sessions after each symbol's last session.

        Parameters
        ----------
        history : History
            Must reach at least to the training cutoff: a model may not be asked about a past that
            it has seen the future of.
        symbols : tuple of str, optional
            Default: all of the history's. Cross-section means need the universe in the history too.

        Returns
        -------
        DataFrame
            One row per symbol and step; columns of `models.tabulate.tabulate`, without ``scale``;
            ``adjustment``, what calibration added to the log width; and ``doubt``, why the forecast is
            of low confidence, empty where nothing speaks against it.
            Symbols whose history is too short or ends before the training cutoff are left out.

        Raises
        ------
        ModelError
            If the history ends before the training cutoff, or the model was trained on other inputs.
        TooLittleHistory
            If no symbol can be forecast; says why for the first.
        """
        chosen = symbols or history.symbols
        history.require(chosen)
        return self.read(self.windows(history), chosen)

    def read(self, windows: Windows, symbols: Sequence[str], with_compared: bool = False) -> pd.DataFrame:
        """Forecast from what `windows` has laid out; see `forecast`.

        Parameters
        ----------
        with_compared : bool
            Whether the forecasts of the models to compare with follow, as rows of their own.
        """
        cutoffs = self.ends(windows, symbols)
        tables = [self.table(windows, cutoffs, self.served(windows, cutoffs))]
        for one in self.ensemble.compared if with_compared else ():
            rows = tabulate(windows, cutoffs, one.forecast(windows, cutoffs), one.name).drop(columns="scale")
            tables.append(rows.assign(adjustment=0.0, doubt=""))
        return pd.concat(tables, ignore_index=True)

    def ends(self, windows: Windows, symbols: Sequence[str]) -> np.ndarray:
        """Return the rows to forecast symbols from, of those that can be forecast.

        Raises
        ------
        TooLittleHistory
            If none can; says why for the first.
        """
        ends, refused = [], []
        for symbol in symbols:
            try:
                ends.append(self.current(windows, symbol))
            except TooLittleHistory as error:
                refused.append(error)
        if refused and not ends:
            raise refused[0]
        return np.array(ends, dtype=int)

    def served(self, windows: Windows, cutoffs: np.ndarray) -> StudentT:
        """Forecast from some rows: shape (n, horizon)."""
        return self.ensemble.forecast(windows, cutoffs)

    def table(self, windows: Windows, cutoffs: np.ndarray, forecast: StudentT) -> pd.DataFrame:
        """Lay a forecast from some rows out as `forecast` gives it."""
        return (
            tabulate(windows, cutoffs, forecast, SERVED)
            .drop(columns="scale")
            .assign(
                adjustment=self.ensemble.adjustment(windows, cutoffs).ravel(),
                doubt=np.repeat([self.doubt(windows, int(end)) for end in cutoffs], windows.horizon),
            )
        )

    def paths(self, history: History, symbol: str, count: int = 1000) -> pd.DataFrame:
        """Draw joint paths over the sessions ahead that agree with the forecast of every step.

        What depends on the whole way, such as touching a level, is a share of the paths.

        Parameters
        ----------
        count : int
            Paths wanted; see `models.paths`.

        Returns
        -------
        DataFrame
            path (from 1), step, session, log_return since the cutoff, and price.

        Raises
        ------
        ModelError, TooLittleHistory
            As `forecast`; or if the history holds too few past stretches of so many sessions.
        """
        history.require([symbol])
        windows = self.windows(history)
        end = self.current(windows, symbol)
        forecast = self.served(windows, np.array([end]))[0]
        returns = shuffle(forecast, rescaled(templates(windows, end, count), forecast.sigma))
        panel, steps = windows.panel, np.arange(1, windows.horizon + 1)
        return pd.DataFrame(
            {
                "path": np.repeat(np.arange(1, len(returns) + 1), windows.horizon),
                "step": np.tile(steps, len(returns)),
                "session": np.tile(panel.calendar[panel.position[end] + steps], len(returns)),
                "log_return": returns.ravel(),
                "price": panel.close[end] * np.exp(returns.ravel()),
            }
        )

    def calibrated(self, adjustments: dict[str, np.ndarray]) -> "Model":
        """Return this model with newer adjustments of some symbols."""
        known = self.ensemble.adjustments | adjustments
        return replace(self, ensemble=replace(self.ensemble, adjustments=known))

    def doubt(self, windows: Windows, end: int) -> str:
        """Say why a forecast from a row is of low confidence; empty if its inputs are like the training's."""
        values = windows.panel.values[[end]][:, _judged(windows.panel)]
        if self.novelty is None or not self.novelty.is_far(values)[0]:
            return ""
        return f"Inputs far outside the training: {self.novelty.why(values[0])}"

    def moved(self, windows: Windows) -> tuple[list[str], int]:
        """Name the inputs whose spread over the last sessions is unlike any stretch of the training's.

        Returns
        -------
        list of str
            See `models.drift.Drift.moved`; company events are not judged.
        int
            How many inputs were judged: those that varied in training.
        """
        panel = windows.panel
        lately = panel.session > np.unique(panel.session)[-SESSIONS - 1 :][0]
        inside = np.isin(panel.code, [panel.symbols.index(one) for one in self.universe])
        judged = _judged(panel)
        moved = self.drift.moved(panel.values[lately & inside & windows.ready][:, judged])
        return moved, len(self.drift.names)

    def windows(self, history: History, around: Surroundings | None = None) -> Windows:
        """Lay out the inputs that the networks read of a history.

        Parameters
        ----------
        around : Surroundings, optional
            The market-wide series, where they are known already; then the universe need not be in the
            history.

        Raises
        ------
        ModelError
            If the history ends before the training cutoff, or the model was trained on other inputs.
        """
        self.require_inputs()
        if history.as_of < self.trained_until:
            raise ModelError(
                f"This model has seen data up to {self.trained_until.date()}; it cannot forecast as of "
                f"{history.as_of.date()}. Train with --as-of {history.as_of.date()} and name that --version"
            )
        panel = assemble(history, self.recipe.groups, self.universe, around)
        return Windows(panel, self.recipe.lookback, self.recipe.horizon)

    def current(self, windows: Windows, symbol: str) -> int:
        """Return the row to forecast a symbol from: its last.

        Raises
        ------
        TooLittleHistory
            If no window ends there, or the model has seen sessions that follow it.
        """
        end = windows.last_end(symbol)
        panel = windows.panel
        if panel.calendar[panel.position[end] + 1] <= self.trained_until.to_datetime64():
            last = np.datetime_as_string(panel.session[end], "D")
            raise TooLittleHistory(
                f"{symbol}: its last session is {last}, and the model has seen later ones, "
                f"up to {self.trained_until.date()}; bring its prices up to date"
            )
        return end

    def outside_of_training(self, before: Windows, after: Windows, end: int) -> list[str]:
        """Say which inputs of a row lie outside their range in training, of those that differ.

        Parameters
        ----------
        before, after : Windows
            The same rows with other inputs, or others known ahead.
        end : int
            The row.
        """
        panel, row = after.panel, np.array([end])
        told, now = before.ahead(row)[0], after.ahead(row)[0]
        moved = [
            (name, value)
            for name, value, old in zip(panel.names, panel.values[end], before.panel.values[end], strict=True)
            if value != old
        ]
        for at, name in enumerate(panel.ahead_names):
            moved += [(name, value) for value in np.unique(now[now[:, at] != told[:, at], at])]
        known = {**self.card["inputs"], **self.card["ahead"]}
        outside: dict[str, tuple[float, str]] = {}
        for name, value in moved:
            low, high = known[name]
            beyond = max(low - value, value - high)
            # Of several sessions ahead the furthest out speaks for its input.
            if beyond > outside.get(name, (0.0, ""))[0]:
                outside[name] = (beyond, unlike_training(name, value, low, high))
        return list(dict.fromkeys(said for _, said in outside.values()))

    def has_learned(self, name: str) -> bool:
        """Whether an input known ahead varied in training."""
        low, high = self.card["ahead"].get(name, (0.0, 0.0))
        return bool(low < high)

    def require_inputs(self) -> None:
        """Check that the inputs of today are those of the training.

        Raises
        ------
        ModelError
        """
        trained = (*self.card["inputs"], *self.card["ahead"])
        today = [name for names in names_of(self.recipe.groups) for name in names]
        if list(trained) != today:
            raise ModelError(_trained_otherwise(trained, today))

    def save(self, folder: Path) -> None:
        """Write the networks (.keras and .onnx) and everything else (JSON) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ensemble.save(folder)
        if self.novelty is not None:
            (folder / NOVELTY).write_text(json.dumps(self.novelty.as_json()), encoding="utf-8")
        (folder / DRIFT).write_text(json.dumps(self.drift.as_json()), encoding="utf-8")
        (folder / CARD).write_text(json.dumps(self.card, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, keras: bool = False) -> "Model":
        """Read what `save` wrote.

        Parameters
        ----------
        keras : bool
            Whether to read the networks as Keras models, as gradients ask for; safe mode. Default: in their
            serving form, which needs no TensorFlow.

        Raises
        ------
        ModelError
            If a file is missing or damaged.
        """
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            recipe = Recipe(**card["recipe"])
            ensemble = Ensemble.load(folder, recipe, keras)
            drift = Drift.from_json(json.loads((folder / DRIFT).read_text(encoding="utf-8")))
            told = (folder / NOVELTY).read_text(encoding="utf-8") if recipe.abstain else ""
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, UsageError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"The files in {folder} are no sound model ({reason}); train again") from error
        novelty = Novelty.from_json(json.loads(told)) if told else None
        until = pd.Timestamp(card["trained_until"])
        return cls(recipe, ensemble, novelty, drift, tuple(card["universe"]), until, card)


def novelty(windows: Windows) -> Novelty:
    """Measure the inputs of the training, company events left out: rare kinds of news are no novelty."""
    judged = _judged(windows.panel)
    names = [windows.panel.names[at] for at in judged]
    return Novelty.fit(windows.panel.values[windows.ends][:, judged], names)


def drift(windows: Windows) -> Drift:
    """Measure how the inputs of the training are spread, company events left out."""
    judged, panel = _judged(windows.panel), windows.panel
    names = [panel.names[at] for at in judged]
    return Drift.fit(panel.values[windows.ends][:, judged], panel.session[windows.ends], names)


def _judged(panel: Panel) -> list[int]:
    return [at for at, name in enumerate(panel.names) if name not in COMPANY]


def _trained_otherwise(trained: Collection[str], today: Collection[str]) -> str:
    gone = [f"{name} is gone" for name in trained if name not in today]
    new = [f"{name} is new" for name in today if name not in trained]
    changes = [*gone, *new] or ["they stood in another order"]
    named = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    return f"This model was trained on other inputs ({named}); train again: python -m forecaster train"
