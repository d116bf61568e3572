"""A trained model: the recipe's networks with everything that they need to forecast."""

import json
import platform
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features import COMPANY, Panel, assemble
from forecaster.features.exogenous import Shock
from forecaster.history import History
from forecaster.models import SERVED
from forecaster.models.distribution import StudentT
from forecaster.models.ensemble import Ensemble
from forecaster.models.novelty import Novelty
from forecaster.models.paths import rescaled, shuffle, templates
from forecaster.models.recurrent import BACKEND
from forecaster.models.tabulate import tabulate
from forecaster.windows import Windows

CARD, NOVELTY = "card.json", "novelty.json"
PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pandas")


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
    trained_until : Timestamp
        Last session whose data it saw.
    card : dict
        Where it comes from: recipe hash, data fingerprint, store version, package versions; and what it
        reads: ``inputs`` and ``ahead`` (known ahead), name -> lowest and highest value in training.
    """

    recipe: Recipe
    ensemble: Ensemble
    novelty: Novelty | None
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
        windows = self.windows(history)
        ends, refused = [], []
        for symbol in symbols or windows.panel.symbols:
            history.bars(symbol)
            try:
                ends.append(self.current(windows, symbol))
            except TooLittleHistory as error:
                refused.append(error)
        if not ends:
            raise refused[0]
        cutoffs = np.array(ends)
        return self.table(windows, cutoffs, self.served(windows, cutoffs))

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
        history.bars(symbol)
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

    def windows(self, history: History, shock: Shock | None = None) -> Windows:
        """Lay out the inputs that the networks read of a history.

        Parameters
        ----------
        shock : Shock, optional
            A made-up move of the market; see `features.exogenous.Shock`.

        Raises
        ------
        ModelError
            If the history ends before the training cutoff, or the model was trained on other inputs.
        """
        if history.as_of < self.trained_until:
            raise ModelError(
                f"This model has seen data up to {self.trained_until.date()}; it cannot forecast as of "
                f"{history.as_of.date()}. Train with --as-of {history.as_of.date()} and name that --version"
            )
        panel = assemble(history, self.recipe.groups, self.universe, shock)
        self._require_known_inputs(panel)
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
                said = f"{name} is {value:.3g}; in training it lay between {low:.3g} and {high:.3g}."
                outside[name] = (beyond, said)
        return [said for _, said in outside.values()]

    def has_learned(self, name: str) -> bool:
        """Whether an input known ahead varied in training."""
        low, high = self.card["ahead"].get(name, (0.0, 0.0))
        return bool(low < high)

    def _require_known_inputs(self, panel: Panel) -> None:
        trained = (*self.card["inputs"], *self.card["ahead"])
        if trained != (*panel.names, *panel.ahead_names):
            raise ModelError(_trained_otherwise(trained, (*panel.names, *panel.ahead_names)))

    def save(self, folder: Path) -> None:
        """Write the networks (.keras) and everything else (JSON) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.ensemble.save(folder)
        if self.novelty is not None:
            (folder / NOVELTY).write_text(json.dumps(self.novelty.as_json()), encoding="utf-8")
        (folder / CARD).write_text(json.dumps(self.card, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read what `save` wrote; Keras loads in safe mode.

        Raises
        ------
        ModelError
            If a file is missing or damaged.
        """
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            recipe = Recipe(**card["recipe"])
            ensemble = Ensemble.load(folder, recipe)
            told = (folder / NOVELTY).read_text(encoding="utf-8") if recipe.abstain else ""
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"The files in {folder} are no sound model ({reason}); train again") from error
        novelty = Novelty.from_json(json.loads(told)) if told else None
        until = pd.Timestamp(card["trained_until"])
        return cls(recipe, ensemble, novelty, tuple(card["universe"]), until, card)


def novelty(windows: Windows) -> Novelty:
    """Measure the inputs of the training, company events left out: rare kinds of news are no novelty."""
    judged = _judged(windows.panel)
    names = [windows.panel.names[at] for at in judged]
    return Novelty.fit(windows.panel.values[windows.ends][:, judged], names)


def _judged(panel: Panel) -> list[int]:
    return [at for at, name in enumerate(panel.names) if name not in COMPANY]


def _trained_otherwise(trained: Collection[str], today: Collection[str]) -> str:
    gone = [f"{name} is gone" for name in trained if name not in today]
    new = [f"{name} is new" for name in today if name not in trained]
    changes = [*gone, *new] or ["they stood in another order"]
    named = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    return f"This model was trained on other inputs ({named}); train again: python -m forecaster train"


def card(recipe: Recipe, history: History, universe: tuple[str, ...], windows: Windows) -> dict[str, Any]:
    """Describe where a model comes from and what it reads, as JSON-ready values."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except ModuleNotFoundError:
            continue
    return {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe.hash,
        "universe": list(universe),
        "trained_until": str(history.as_of.date()),
        "fingerprint": history.fingerprint,
        "store_version": history.store_version,
        "demonstration": history.is_demonstration,
        "packages": installed,
        "python": platform.python_version(),
        "backend": BACKEND,
        **_ranges(windows),
    }


def _ranges(windows: Windows) -> dict[str, dict[str, list[float]]]:
    """Lowest and highest value of every input over the windows' ends."""
    panel, horizon = windows.panel, windows.horizon
    chosen = np.isin(np.arange(len(panel.values)), windows.ends)[:, None]
    low = np.min(panel.values, axis=0, where=chosen, initial=np.inf)
    high = np.max(panel.values, axis=0, where=chosen, initial=-np.inf)
    position = panel.position[windows.ends]
    calendar = panel.ahead[position.min() + 1 : position.max() + horizon + 1]
    names = len(panel.ahead_names) - calendar.shape[1]
    ahead_low, ahead_high = calendar.min(axis=0), calendar.max(axis=0)
    if names:
        told = panel.announced[windows.ends, : horizon * names]
        ahead_low = np.append(ahead_low, told.min(axis=0).toarray().reshape(horizon, names).min(axis=0))
        ahead_high = np.append(ahead_high, told.max(axis=0).toarray().reshape(horizon, names).max(axis=0))
    return {
        "inputs": _by_name(panel.names, low, high),
        "ahead": _by_name(panel.ahead_names, ahead_low, ahead_high),
    }


def _by_name(names: tuple[str, ...], low: np.ndarray, high: np.ndarray) -> dict[str, list[float]]:
    return {name: [float(a), float(b)] for name, a, b in zip(names, low, high, strict=True)}
