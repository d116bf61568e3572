"""Estimates of many symbols, each drawn towards their common mean as far as it is uncertain."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from forecaster.evaluation.significance import LEVEL


@dataclass(frozen=True)
class Shrunk:
    """Estimates after shrinkage.

    Attributes
    ----------
    mean, error : float
        The common mean and its standard error; NaN where no estimate has an error.
    variance : float
        Of the true values around the mean.
    values, low, high : ndarray of shape (n,)
        Shrunk estimates with their 95 % intervals, in the order given.
    """

    mean: float
    error: float
    variance: float
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def shrink(estimates: np.ndarray, errors: np.ndarray) -> Shrunk:
    """Shrink independent estimates by empirical Bayes, normal around a normal mean.

    The variance between true values is the moment estimate of DerSimonian and Laird (1986), Controlled
    Clinical Trials 7, 177-188; the weight of each estimate, and an interval that counts the uncertain
    mean in, are those of Morris (1983), Journal of the American Statistical Association 78, 47-55.

    Parameters
    ----------
    estimates, errors : ndarray of shape (n,)
        With standard errors. Where either is not finite, or the error is zero, nothing is known: the
        common mean stands for it.
    """
    known = np.isfinite(estimates) & np.isfinite(errors) & (errors > 0)
    if not known.any():
        nothing = np.full(len(estimates), np.nan)
        return Shrunk(np.nan, np.nan, np.nan, nothing, nothing, nothing)
    value, variance = estimates[known], errors[known] ** 2
    between = _between(value, variance)
    weight = 1 / (variance + between)
    mean, mean_variance = float(weight @ value / weight.sum()), float(1 / weight.sum())
    pull = np.ones(len(estimates))
    pull[known] = variance * weight
    values = np.full(len(estimates), mean)
    values[known] += (1 - pull[known]) * (value - mean)
    half = special.ndtri(1 - LEVEL / 2) * np.sqrt(pull * between + pull**2 * mean_variance)
    return Shrunk(mean, mean_variance**0.5, between, values, values - half, values + half)


def group_means(values: pd.Series, group: pd.Series) -> pd.DataFrame:
    """Average independent values by group, with errors from the variance within all groups together.

    A group's own variance would tell more of its luck than of its error, and come with its mean.

    Returns
    -------
    DataFrame
        Index: the groups. count, mean, error; where each group has one value, the error is that of all
        values; NaN for a single value.
    """
    groups = values.groupby(group, observed=True)
    means = groups.agg(["count", "mean"])
    within = (values - groups.transform("mean")).to_numpy()
    freedom = len(values) - len(means)
    variance = within @ within / freedom if freedom else values.var()
    return means.assign(error=np.sqrt(variance / means["count"]))


def _between(value: np.ndarray, variance: np.ndarray) -> float:
    weight = 1 / variance
    mean = weight @ value / weight.sum()
    spread = weight @ (value - mean) ** 2
    room = weight.sum() - (weight**2).sum() / weight.sum()
    return max(0.0, float((spread - (len(value) - 1)) / room)) if len(value) > 1 else 0.0
