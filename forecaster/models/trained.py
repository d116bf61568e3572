"""A trained model: the recipe's networks with everything that they need to forecast."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import SERVED
from forecaster.models.distribution import pool
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
        Where it comes from: recipe hash, data fingerprint, store version, package versions.
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
            If the history ends before the training cutoff.
        TooLittleHistory
            If no symbol can be forecast; says why for the first.
        """
        if history.as_of < self.trained_until:
            raise ModelError(
                f"This model has seen data up to {self.trained_until.date()}; it cannot forecast as of "
                f"{history.as_of.date()}. Train with --as-of {history.as_of.date()} and name that --version"
            )
        panel = assemble(history, self.recipe.groups, self.universe)
        windows = Windows(panel, self.recipe.lookback, self.recipe.horizon)
        ends, refused = [], []
        for symbol in symbols or panel.symbols:
            history.bars(symbol)
            try:
                ends.append(self._current(windows, symbol))
            except TooLittleHistory as error:
                refused.append(error)
        if not ends:
            raise refused[0]
        cutoffs = np.array(ends)
        served = pool([member.forecast(windows, cutoffs) for member in self.members])
        return tabulate(windows, cutoffs, served, SERVED).drop(columns="scale")

    def _current(self, windows: Windows, symbol: str) -> int:
        """Return the row to forecast from, unless the model has seen sessions that follow it."""
        end = windows.last_end(symbol)
        panel = windows.panel
        if panel.calendar[panel.position[end] + 1] <= self.trained_until.to_datetime64():
            last = np.datetime_as_string(panel.session[end], "D")
            raise TooLittleHistory(
                f"{symbol}: its last session is {last}, and the model has seen later ones, "
                f"up to {self.trained_until.date()}; bring its prices up to date"
            )
        return end

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


def card(recipe: Recipe, history: History, universe: tuple[str, ...]) -> dict[str, Any]:
    """Describe where a model comes from, as JSON-ready values."""
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
    }
