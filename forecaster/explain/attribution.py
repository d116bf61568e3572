"""What each group of inputs and each past step contributes to a forecast: integrated gradients.

Attributed is the forecast of one kind of network with its random starts pooled as the service pools them
(`models.distribution.pool`), before it is merged with HARX and calibrated. The gradients are summed along
the straight way from a window in which everything is as usual to the window as it is; contributions then
add up to the difference of the two forecasts.

Notes
-----
Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", ICML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from forecaster.config import GROUPS
from forecaster.errors import ModelError, UsageError
from forecaster.explain.twin import Reading, read
from forecaster.models.weights import Weights
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES

TARGETS = ("sigma", *QUANTILE_COLUMNS)
"""What can be attributed: the standard deviation of the log return, and its quantiles."""

POINTS = (32, 128, 512)
"""Of the Gauss-Legendre rule along the way: more where fewer do not do, as where gates swing over."""

INCOMPLETE = 0.01
"""Share of the difference that contributions may miss."""

NEGLIGIBLE = 0.01
"""Share of the absolute sum of contributions below which they cancel, and their sum measures nothing."""

ROUNDING = 1e-9
"""Base volatilities: a smaller difference is none."""


@dataclass(frozen=True)
class Inputs:
    """What networks of one kind read, standardised, and what it would be if all were as usual.

    Attributes
    ----------
    scaled : ndarray, (lookback, features)
        Its usual value is 0, the mean in training.
    ahead, usual_ahead : ndarray, (horizon, ahead features)
        What is known of the sessions ahead, and its mean in the past.
    groups : tuple of str, (features,)
        Of each feature; what is known ahead is exogenous.
    unit : float
        Log return of one unit of the networks: the base volatility.
    """

    scaled: np.ndarray
    ahead: np.ndarray
    usual_ahead: np.ndarray
    groups: tuple[str, ...]
    unit: float = 1.0

    def without(self, *groups: str) -> "Inputs":
        """Put everything of some groups as usual."""
        scaled = np.where(np.isin(self.groups, groups), 0.0, self.scaled)
        ahead = self.usual_ahead if "exogenous" in groups else self.ahead
        return replace(self, scaled=scaled, ahead=ahead)


@dataclass(frozen=True)
class Attribution:
    """Contributions to a forecast, in units of the log return.

    Attributes
    ----------
    totals : DataFrame
        Per target and step (sessions ahead): forecast, usual (what the networks say if all inputs are as
        usual), and gap, the share of their difference that the contributions miss (where they cancel, of
        `NEGLIGIBLE` of their absolute sum).
    contributions : DataFrame
        Per target, step, group and lag: value. Lag counts sessions back from the cutoff, 0 for the cutoff
        itself; below zero it is the session ahead that something is known of.
    groups : DataFrame
        Per target, step and group: value, the sum of its contributions; and occlusion, how far the
        forecast moves if the group alone is taken away (put as usual). Both agree where groups act each by
        itself.
    """

    totals: pd.DataFrame
    contributions: pd.DataFrame
    groups: pd.DataFrame


def attribute(
    networks: Sequence[Weights],
    inputs: Inputs,
    targets: Sequence[str] = ("sigma", "q05", "q50", "q95"),
    steps: Sequence[int] = (1,),
) -> Attribution:
    """Attribute the pooled forecast of some networks to their inputs.

    Parameters
    ----------
    networks : sequence of Weights
        The random starts of one kind; contributions are of their pool.
    inputs : Inputs
    targets : sequence of str
        Of `TARGETS`.
    steps : sequence of int
        Sessions ahead.

    Raises
    ------
    UsageError
        For an unknown target or step; lists the choices.
    ModelError
        If contributions miss more than `INCOMPLETE` of what they explain.
    """
    horizon = len(inputs.ahead)
    if unknown := [one for one in targets if one not in TARGETS]:
        raise UsageError(f"Nothing to attribute to {', '.join(unknown)}; choose of {', '.join(TARGETS)}")
    if unknown := [str(one) for one in steps if not 1 <= one <= horizon]:
        raise UsageError(f"No forecast {', '.join(unknown)} sessions ahead; choose of 1 to {horizon}")
    for points in POINTS:
        found = _attributed(networks, inputs, targets, steps, points)
        if (worst := found.totals["gap"].max(skipna=False)) <= INCOMPLETE / 10:
            break
    if not worst <= INCOMPLETE:
        raise ModelError(
            f"Contributions miss {worst:.1%} of the forecast, at most {INCOMPLETE:.0%} was expected"
        )
    return found


def _attributed(
    networks: Sequence[Weights], inputs: Inputs, targets: Sequence[str], steps: Sequence[int], points: int
) -> Attribution:
    nodes, shares = np.polynomial.legendre.leggauss(points)
    way, shares = (nodes[:, None, None] + 1) / 2, shares / 2
    moved = inputs.ahead - inputs.usual_ahead
    readings = [read(one, way * inputs.scaled, inputs.usual_ahead + way * moved) for one in networks]
    whole, nothing = _pooled(networks, inputs), _pooled(networks, inputs.without(*GROUPS))
    hidden: dict[str, np.ndarray] = {one: _pooled(networks, inputs.without(one)) for one in GROUPS}
    totals, contributions, groups = [], [], []
    for target, step in product(targets, steps):
        key: dict[str, Any] = {"target": target, "step": step}
        measured = _measure(target, step, inputs.unit)
        forecast, usual = (measured(one)[0][0] for one in (whole, nothing))
        past, ahead = _integrated(readings, measured, shares)
        table = _table(past * inputs.scaled, ahead * moved, inputs.groups).assign(**key)
        missed = abs(table["value"].sum() - (forecast - usual))
        least = max(NEGLIGIBLE * table["value"].abs().sum(), ROUNDING * inputs.unit)
        gap = missed / max(abs(forecast - usual), least)
        totals.append(key | {"forecast": forecast, "usual": usual, "gap": gap})
        contributions.append(table)
        for group, value in table.groupby("group", sort=False)["value"].sum().items():
            without = measured(hidden[str(group)])[0][0]
            groups.append(key | {"group": group, "value": value, "occlusion": forecast - without})
    return Attribution(
        pd.DataFrame(totals),
        pd.concat(contributions, ignore_index=True)[["target", "step", "group", "lag", "value"]],
        pd.DataFrame(groups),
    )


Measure = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From forecasts (networks, n, horizon, 3) to one value of their pool (n,), and its gradient."""


def _measure(target: str, step: int, unit: float) -> Measure:
    level = None if target == "sigma" else QUANTILES[QUANTILE_COLUMNS.index(target)]

    def measured(forecasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        members = np.moveaxis(forecasts[:, :, step - 1], -1, 0)
        mean = members[0].mean(axis=0)
        sigma = np.exp(np.log(members[1]).mean(axis=0))
        df = 2 + np.exp(np.log(members[2] - 2).mean(axis=0))
        reach, bend = (np.ones_like(df), np.zeros_like(df)) if level is None else _reach(df, level)
        gradient = np.zeros_like(forecasts)
        by_member = [
            np.full_like(members[0], 0.0 if level is None else 1.0),
            sigma * reach / members[1],
            sigma * bend * (df - 2) / (members[2] - 2),
        ]
        gradient[:, :, step - 1] = unit / len(forecasts) * np.stack(by_member, axis=-1)
        return unit * ((0.0 if level is None else mean) + sigma * reach), gradient

    return measured


def _reach(df: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantile of a Student-t of variance 1, and its slope in the degrees of freedom (no closed form)."""

    def quantile(df: np.ndarray) -> np.ndarray:
        return np.sqrt((df - 2) / df) * special.stdtrit(df, level)

    width = 1e-4 * (df - 2)
    return quantile(df), (quantile(df + width) - quantile(df - width)) / (2 * width)


def _integrated(
    readings: Sequence[Reading], measured: Measure, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average the gradients along the way: by the inputs (lookback, features), and by what is known ahead."""
    _, gradient = measured(np.stack([one.forecast for one in readings]))
    parts = [one.back(gradient[at])[:2] for at, one in enumerate(readings)]
    past, ahead = (sum(part) for part in zip(*parts, strict=True))
    return np.tensordot(shares, past, 1), np.tensordot(shares, ahead, 1)


def _pooled(networks: Sequence[Weights], inputs: Inputs) -> np.ndarray:
    return np.stack([read(one, inputs.scaled[None], inputs.ahead[None]).forecast for one in networks])


def _table(past: np.ndarray, ahead: np.ndarray, groups: tuple[str, ...]) -> pd.DataFrame:
    lookback, names = len(past), np.array(groups)
    parts = [
        pd.DataFrame(
            {"group": group, "lag": np.arange(lookback), "value": past[::-1, names == group].sum(axis=1)}
        )
        for group in GROUPS
    ]
    told = {"group": "exogenous", "lag": -np.arange(1, len(ahead) + 1), "value": ahead.sum(axis=1)}
    return pd.concat([*parts, pd.DataFrame(told)], ignore_index=True)
