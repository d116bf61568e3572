"""neuralforecast's LSTM and GRU with a Student-t loss.

A direct forecast of h sessions decodes its last session from the state at the cutoff, the one before from the
state one session earlier, and so on: of twenty, the first would know nothing of the last nineteen sessions.
So there is one network per step h: its target is the return over h sessions, its loss looks at the last
session of the horizon alone, and for h > 1 it reads the daily returns beside. Its Student-t is the forecast
as it stands: nothing is assumed of how sessions depend on each other.

Windows are not scaled by themselves (``scaler_type="identity"``): a network that sees them scaled cannot know
how wild the times are. On the bundled sample, July 2018 to June 2019, the usual "robust" scored worse by .013
nats one session ahead and by .35 at twenty, "standard" by .023 and .27.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import DistributionLoss
from neuralforecast.models import GRU, LSTM
from training import BATCH, CHECK, PATIENCE, QUIET, Best, Fold, Parameters

SYMBOLS = 8
"""Symbols from which the windows of a gradient step are drawn: the package copies all their windows."""


def train(cell: str, fold: Fold, task: dict[str, Any]) -> tuple[Callable[[], list[Parameters]], float]:
    """Train one network per step; returns what forecasts, and the seconds of all trainings."""
    networks, seconds = [], 0.0
    for step in task["steps"]:
        last_alone = np.append(np.zeros(step - 1), 1.0)
        loss = DistributionLoss("StudentT", num_samples=1, return_params=True, horizon_weight=last_alone)
        model = {"LSTM": LSTM, "GRU": GRU}[cell](
            step,
            task["lookback"],
            encoder_hidden_size=task["units"],
            encoder_n_layers=1,
            hist_exog_list=["daily"] if step > 1 else None,
            loss=loss,
            max_steps=task["max_steps"],
            early_stop_patience_steps=PATIENCE,
            val_check_steps=CHECK,
            batch_size=SYMBOLS,
            valid_batch_size=2 * SYMBOLS,
            windows_batch_size=BATCH,
            training_data_availability_threshold=1.0,
            scaler_type="identity",
            random_seed=1,
            alias="peer",
            callbacks=[Best("ptl/val_loss")],
            **QUIET,
        )
        network = NeuralForecast([model], freq=1)
        rows = _long(fold.training, step, task["horizon"])
        begun = time.perf_counter()
        network.fit(rows, val_size=fold.held_back)
        seconds += time.perf_counter() - begun
        networks.append(network)
    asked = list(zip(networks, task["steps"], strict=True))
    return lambda: [_forecast(network, fold, step, task["horizon"]) for network, step in asked], seconds


def _forecast(network: NeuralForecast, fold: Fold, step: int, horizon: int) -> Parameters:
    """Ask at each cutoff, whose history is a series of its own."""
    found = network.predict(df=_long(list(fold.pasts), step, horizon))
    rows = found.sort_values(["unique_id", "ds"]).groupby("unique_id").tail(1)
    df, loc, scale = (rows[f"peer-{name}"].to_numpy(dtype=float) for name in ("df", "loc", "scale"))
    return np.sqrt(step) * loc, np.sqrt(step) * scale * np.sqrt(df / (df - 2)), df


def _long(stretches: list[np.ndarray], step: int, horizon: int) -> pd.DataFrame:
    """Lay stretches of daily returns out as rows: the return over `step` sessions up to each, and its own.

    The former are divided by the root of `step`; the first ``horizon - 1`` rows of each stretch are used up.
    """
    daily = [one[horizon - 1 :] for one in stretches]
    summed = [np.convolve(one, np.ones(step) / np.sqrt(step), "valid")[horizon - step :] for one in stretches]
    sizes = [len(one) for one in daily]
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(daily)), sizes),
            "ds": np.concatenate([np.arange(size) for size in sizes]),
            "y": np.concatenate(summed).astype(np.float32),
            "daily": np.concatenate(daily).astype(np.float32),
        }
    )
