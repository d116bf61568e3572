"""Forecasts as rows: one per symbol, cutoff and step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecaster.models.distribution import Distribution, QuantileTable, StudentT
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES
from forecaster.windows import Windows


def tabulate(
    windows: Windows,
    ends: np.ndarray,
    distribution: Distribution,
    model: str,
    steps: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Lay distributions out as a long table.

    Parameters
    ----------
    ends : ndarray of int, (n,)
        Cutoff rows.
    distribution : Distribution
        Shape (n, steps).
    model : str
        Value of the column ``model``.
    steps : sequence of int, optional
        Steps ahead that it holds; default: 1..horizon.

    Returns
    -------
    DataFrame
        symbol, cutoff, step, session, base_price, family, mean, sigma, df, scale, prob_up, the quantile
        columns (all of the log return over `step` sessions) and model; sorted by symbol, cutoff, step.
    """
    panel = windows.panel
    kept = np.asarray(steps if steps is not None else range(1, windows.horizon + 1))
    rows = np.repeat(ends, len(kept))
    sessions = panel.calendar[panel.position[ends][:, None] + kept]
    return pd.DataFrame(
        {
            "symbol": np.asarray(panel.symbols, dtype=object)[panel.code[rows]],
            "cutoff": panel.session[rows],
            "step": np.tile(kept, len(ends)),
            "session": sessions.ravel(),
            "base_price": panel.close[rows],
            **_described(distribution),
            "model": model,
        }
    )


def retabulate(table: pd.DataFrame, distribution: Distribution, model: str) -> pd.DataFrame:
    """Put another forecast, of shape (rows,), into the rows of a table."""
    return table.assign(**_described(distribution), model=model)


def _described(distribution: Distribution) -> dict[str, Any]:
    return {
        "family": distribution.family,
        "mean": distribution.mean.ravel(),
        "sigma": distribution.sigma.ravel(),
        "df": distribution.df.ravel(),
        "scale": distribution.scale.ravel(),
        "prob_up": 1.0 - distribution.cdf(0.0).ravel(),
        **{
            name: distribution.quantile(level).ravel()
            for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
        },
    }


def distribution_of(table: pd.DataFrame) -> Distribution:
    """Rebuild the distributions of the rows of one model, shape (rows,)."""
    if len(table) and table["family"].iloc[0] == QuantileTable.family:
        return QuantileTable(table[list(QUANTILE_COLUMNS)].to_numpy(dtype=float))
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
