"""A trained model: the recipe's networks with everything that they need to forecast."""

import json
import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features import Panel, assemble
from forecaster.features.exogenous import Shock
from forecaster.history import History
from forecaster.models import SERVED
from forecaster.models.distribution import StudentT, pool
from forecaster.models.recurrent import BACKEND, Recurrent
from forecaster.models.tabulate import tabulate
from forecaster.windows import Windows

CARD = "card.json"
PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pandas")


@dataclass(frozen=True)
class Model:
    """Networks of every kind that the recipe names, pooled into one forecast.

    Attributes
    ----------
    recipe : Recipe
    members : tuple of Recurrent
        One per kind; each pools its seeds. Scaling statistics are part of each network.
    universe : tuple of str
        Symbols that it learned from; cross-section means are taken over them. Any other symbol is
        served by the same networks.
    trained_until : Timestamp
        Last session whose data it saw.
    card : dict
        Where it comes from: recipe hash, data fingerprint, store version, package versions; and what it
        reads: ``inputs`` and ``ahead`` (known ahead), name -> lowest and highest value in training.
    """

    recipe: Recipe
    members: tuple[Recurrent, ...]
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
            One row per symbol and step; columns of `models.tabulate.tabulate`, without ``scale``.
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
        return tabulate(windows, cutoffs, self.served(windows, cutoffs), SERVED).drop(columns="scale")

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

    def served(self, windows: Windows, cutoffs: np.ndarray) -> StudentT:
        """Pool the networks' forecasts from some rows: shape (n, horizon)."""
        return pool([member.forecast(windows, cutoffs) for member in self.members])

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
        if moved and "inputs" not in self.card:
            return ["The model's card does not tell the range of its inputs in training; train again."]
        known = {**self.card.get("inputs", {}), **self.card.get("ahead", {})}
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
        """Whether an input known ahead varied in training; taken as given where the card does not tell."""
        low, high = self.card.get("ahead", {}).get(name, (0.0, 1.0))
        return bool(low < high)

    def _require_known_inputs(self, panel: Panel) -> None:
        if "inputs" in self.card:
            trained = (*self.card["inputs"], *self.card["ahead"])
            if trained != (*panel.names, *panel.ahead_names):
                raise ModelError(_trained_otherwise(trained, (*panel.names, *panel.ahead_names)))
            return
        # Cards of old did not name the inputs, but the networks know how many they read.
        (_, _, inputs), (_, _, ahead) = self.members[0].networks[0].input_shape
        if (inputs, ahead) != (len(panel.names), len(panel.ahead_names)):
            raise ModelError(
                f"This model was trained on other inputs ({inputs} and {ahead} known ahead; today there are "
                f"{len(panel.names)} and {len(panel.ahead_names)}); train again: python -m forecaster train"
            )

    def save(self, folder: Path) -> None:
        """Write the networks (.keras) and the card (JSON) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            member.save(folder)
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
            members = tuple(Recurrent.load(folder, recipe, cell) for cell in recipe.cells)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"The files in {folder} are no sound model ({reason}); train again") from error
        return cls(recipe, members, tuple(card["universe"]), pd.Timestamp(card["trained_until"]), card)


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
