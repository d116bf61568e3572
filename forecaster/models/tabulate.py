"""Forecasts as rows: one per symbol, cutoff and step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.models.distribution import StudentT
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES
from forecaster.windows import Windows


def tabulate(
    windows: Windows, ends: np.ndarray, distribution: StudentT, model: str, steps: Sequence[int] | None = None
) -> pd.DataFrame:
    """Lay distributions out as a long table.

    Parameters
    ----------
    ends : ndarray of int, (n,)
        Cutoff rows.
    distribution : StudentT
        Shape (n, horizon).
    model : str
        Value of the column ``model``.
    steps : sequence of int, optional
        Steps ahead to keep; default: all.

    Returns
    -------
    DataFrame
        symbol, cutoff, step, session, base_price, family, mean, sigma, df, scale, prob_up, the quantile
        columns (all of the log return over `step` sessions) and model; sorted by symbol, cutoff, step.
    """
    panel = windows.panel
    kept = np.asarray(steps if steps is not None else range(1, windows.horizon + 1))
    chosen = distribution[:, kept - 1]
    rows = np.repeat(ends, len(kept))
    sessions = panel.calendar[panel.position[ends][:, None] + kept]
    quantiles = {
        name: chosen.quantile(level).ravel() for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    }
    return pd.DataFrame(
        {
            "symbol": np.asarray(panel.symbols, dtype=object)[panel.code[rows]],
            "cutoff": panel.session[rows],
            "step": np.tile(kept, len(ends)),
            "session": sessions.ravel(),
            "base_price": panel.close[rows],
            "family": distribution.family,
            "mean": chosen.mean.ravel(),
            "sigma": chosen.sigma.ravel(),
            "df": chosen.df.ravel(),
            "scale": chosen.scale.ravel(),
            "prob_up": 1.0 - chosen.cdf(0.0).ravel(),
            **quantiles,
            "model": model,
        }
    )


def distribution_of(table: pd.DataFrame) -> StudentT:
    """Rebuild the distributions of a table's rows, shape (rows,)."""
    return StudentT(*(table[name].to_numpy(dtype=float) for name in ("mean", "sigma", "df")))


def as_prices(table: pd.DataFrame, loss: float = 0.05) -> pd.DataFrame:
    """Express a table's forecasts in prices.

    Parameters
    ----------
    loss : float
        Fraction of the last price; ``prob_loss`` is the probability of losing more than it.

    Returns
    -------
    DataFrame
        symbol, cutoff, step, session, base_price, the quantile columns as prices (base price times
        exp(return)), prob_up and prob_loss.
    """
    prices = table[["symbol", "cutoff", "step", "session", "base_price"]].copy()
    for name in QUANTILE_COLUMNS:
        prices[name] = table["base_price"] * np.exp(table[name])
    prices["prob_up"] = table["prob_up"]
    prices["prob_loss"] = distribution_of(table).cdf(np.log1p(-loss))
    return prices
