"""What is served: the recipe's networks and classical models, pooled and calibrated."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.models import COMPARED, LAST_PRICE, SERVED, Classical, kind
from forecaster.models.calibrate import adjustments, widened
from forecaster.models.distribution import StudentT, log_pool, pool
from forecaster.models.har import widening
from forecaster.models.pool import Pool, scheme
from forecaster.models.reading import Network, read
from forecaster.models.serving import Served
from forecaster.models.tabulate import distribution_of
from forecaster.windows import Windows

FILE = "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """Fitted models with the weights of their pool and the adjustment of each symbol's width.

    Attributes
    ----------
    beside : tuple of Classical
    networks : tuple of Network
        One per kind; each pools its seeds. `Recurrent` after training, `Served` from files.
    weights : ndarray of shape (models, horizon)
        Of the classical models, then the networks; each step's sum to one.
    adjustments : dict
        Symbol -> what is added to the log width of each step, (horizon,); a symbol that is not there
        has none.
    last_price : Classical
        The baseline, fitted on the same sessions; it is issued beside and is no part of the pool.
    """

    beside: tuple[Classical, ...]
    networks: tuple[Network, ...]
    weights: np.ndarray
    adjustments: dict[str, np.ndarray]
    last_price: Classical

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        beside: Sequence[Classical],
        networks: Sequence[Network],
        last_price: Classical,
        evidence: pd.DataFrame | None = None,
    ) -> Self:
        """Put fitted models together.

        Parameters
        ----------
        evidence : DataFrame, optional
            Long table of a backtest of the same recipe, which weights and adjustments are learned from.
            Without it weights are equal and nothing is adjusted.
        """
        chosen = scheme(SERVED, recipe)
        names = chosen.members(recipe)
        weights = np.full((len(names), recipe.horizon), 1 / len(names))
        adjusted: dict[str, np.ndarray] = {}
        if evidence is not None:
            weights = _weights(evidence, chosen, names, recipe.horizon)
            if chosen.calibrated:
                adjusted = _adjustments(evidence[evidence["model"] == SERVED], recipe.horizon)
        return cls(tuple(beside), tuple(networks), weights, adjusted, last_price)

    @property
    def compared(self) -> tuple[Classical, ...]:
        """Those of `models.COMPARED` that it holds; their own forecasts are issued beside the served one."""
        return self.last_price, *(one for one in self.beside if one.name in COMPARED)

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        """Forecast from rows `ends`: shape (len(ends), horizon)."""
        classical = [one.forecast(windows, ends) for one in self.beside]
        networks = [pool(members) for members in read(self.networks, windows, ends)]
        pooled = log_pool([*classical, *networks], self.weights)
        served = widened(pooled, self.adjustment(windows, ends))
        # Weights and adjustments differ by step: the fan widens all the same.
        return StudentT(served.mean, widening(served.sigma), served.df)

    def adjustment(self, windows: Windows, ends: np.ndarray) -> np.ndarray:
        """Return what calibration adds to the log width from rows `ends`: shape (len(ends), horizon)."""
        none = np.zeros(windows.horizon)
        symbols = [windows.panel.symbols[code] for code in windows.panel.code[ends]]
        return np.array([self.adjustments.get(symbol, none) for symbol in symbols])

    def save(self, folder: Path) -> None:
        """Write the networks (.keras and .onnx) and everything else (JSON) into a folder."""
        for network in self.networks:
            network.save(folder)
        rest = {
            "beside": {one.name: one.as_json() for one in self.beside},
            "weights": self.weights.tolist(),
            "adjustments": {symbol: one.tolist() for symbol, one in self.adjustments.items()},
            "last_price": self.last_price.as_json(),
        }
        (folder / FILE).write_text(json.dumps(rest), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, recipe: Recipe, keras: bool = False) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        keras : bool
            Whether the networks are Keras' own, in safe mode, in place of their serving form.

        Raises
        ------
        OSError, ValueError, KeyError, TypeError
            If a file is missing or damaged.
        """
        form: type[Any] = Served
        if keras:
            # Late: it brings TensorFlow.
            from forecaster.models.recurrent import Recurrent

            form = Recurrent
        rest = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            tuple(classical(name, recipe).take(learned) for name, learned in rest["beside"].items()),
            tuple(form.load(folder, recipe, cell) for cell in recipe.cells),
            np.array(rest["weights"]),
            {symbol: np.array(one) for symbol, one in rest["adjustments"].items()},
            classical(LAST_PRICE, recipe).take(rest["last_price"]),
        )


def classical(name: str, recipe: Recipe) -> Classical:
    """Make an unfitted classical model that can be served."""
    made: Any = kind(name, recipe)
    return made


def _weights(evidence: pd.DataFrame, chosen: Pool, names: Sequence[str], horizon: int) -> np.ndarray:
    """Learn the weights of each step that a backtest kept, and lay them out over all steps."""
    found = {}
    for step in map(int, sorted(evidence["step"].unique())):
        rows = evidence[evidence["step"] == step]
        tables = [rows[rows["model"] == name] for name in names]
        outcome, date = tables[0]["outcome"].to_numpy(dtype=float), tables[0]["cutoff"].to_numpy()
        found[step] = chosen.weights([distribution_of(table) for table in tables], outcome, date)
    by_member = np.transpose(list(found.values()))
    return np.array([_over_steps(dict(zip(found, one, strict=True)), horizon) for one in by_member])


def _adjustments(issued: pd.DataFrame, horizon: int) -> dict[str, np.ndarray]:
    """Give each symbol's adjustment once all outcomes of a backtest are known."""
    symbols = issued["symbol"].unique()
    last = pd.DataFrame(
        {"symbol": symbols, "cutoff": issued["session"].max(), "session": pd.NaT, "outcome": np.nan}
    ).assign(mean=0.0, sigma=1.0, df=3.0)
    found = {
        step: dict(zip(symbols, adjustments(last, issued[issued["step"] == step], step), strict=True))
        for step in map(int, sorted(issued["step"].unique()))
    }
    return {
        str(symbol): _over_steps({step: of[symbol] for step, of in found.items()}, horizon)
        for symbol in symbols
    }


def _over_steps(known: dict[int, float], horizon: int) -> np.ndarray:
    """Interpolate between the steps that are known, linearly in the logarithm of the step; (horizon,)."""
    return np.interp(np.log(np.arange(1, horizon + 1)), np.log(list(known)), list(known.values()))
