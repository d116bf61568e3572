"""What the peers are fitted on and asked about, and how their training ends."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

CHECK = 50
"""Gradient steps between two looks at the validation sessions."""

PATIENCE = 4
"""Looks without gain that end the training."""

BATCH = 128
"""Windows in a gradient step."""

QUIET: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
    "accelerator": "cpu",
}

Parameters = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Mean, standard deviation and degrees of freedom."""


@dataclass(frozen=True)
class Fold:
    """What one refit may know, and the histories of its cutoffs; returns in units of `sd`.

    Attributes
    ----------
    training : list of ndarray
        Daily returns known at the refit, one array per symbol and stretch without a long gap.
    held_back : int
        Last rows of each that are not trained on but end the training.
    cutoffs : ndarray of datetime64, (n,)
    pasts : ndarray of shape (n, lookback + horizon - 1)
        Daily returns up to each cutoff, the cutoff's own last: nothing after it is at hand.
    sd : ndarray of shape (n,)
        Standard deviation of the cutoff's symbol, up to the refit.
    """

    training: list[np.ndarray]
    held_back: int
    cutoffs: np.ndarray
    pasts: np.ndarray
    sd: np.ndarray


def fold_of(panel: pd.DataFrame, cutoffs: pd.DataFrame, refit: str, task: dict[str, Any]) -> Fold:
    """Take from the panel what a refit and its cutoffs may see.

    Parameters
    ----------
    panel : DataFrame
        symbol, session, known_at, log_return; sorted by symbol, then session.
    cutoffs : DataFrame
        row (of the panel), symbol, cutoff.
    refit : str
        UTC moment that ends the training.
    task : dict
        lookback, horizon and validation of the project's recipe.
    """
    known = panel["known_at"] <= np.datetime64(refit)
    sd = panel[known].groupby("symbol")["log_return"].std()
    sd = sd.reindex(panel["symbol"].unique()).fillna(sd.median())
    returns = (panel["log_return"] / panel["symbol"].map(sd)).to_numpy()
    # The first row has no return, nor has one after a long gap: there a stretch begins.
    missing = panel["log_return"].isna()
    stretch = (missing | panel["symbol"].ne(panel["symbol"].shift())).cumsum()[known & ~missing]
    held_back = int(task["validation"] * panel.loc[known, "session"].nunique())
    least = held_back + 2 * (task["lookback"] + task["horizon"])
    width = task["lookback"] + task["horizon"] - 1
    pasts = np.lib.stride_tricks.sliding_window_view(returns, width)[cutoffs["row"] - width + 1]
    return Fold(
        [returns[rows] for rows in stretch.groupby(stretch).groups.values() if len(rows) >= least],
        held_back,
        cutoffs["cutoff"].to_numpy(),
        pasts.copy(),
        cutoffs["symbol"].map(sd).to_numpy(),
    )


class Best(pl.Callback):
    """Keep the weights with the lowest validation loss.

    Parameters
    ----------
    monitor : str
        Name of that loss.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.lowest, self.weights = monitor, np.inf, None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get(self.monitor, np.inf))
        if not trainer.sanity_checking and loss < self.lowest:
            self.lowest = loss
            self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.weights is not None:
            pl_module.load_state_dict(self.weights)
