"""Models ranked by one score on any choice of stock-days: all of them, one year, one symbol."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from forecaster.evaluation.confidence import confidence_set
from forecaster.evaluation.significance import LEVEL, PairedTest, false_discovery, paired_test


@dataclass(frozen=True)
class Ranking:
    """Models by mean loss on the stock-days that all of them forecast.

    Losses are averaged over the symbols of a date, then over dates.

    Attributes
    ----------
    step : int
        Sessions ahead.
    score : {"log_score", "crps"}
    forecasts, dates : int
        Stock-days a model, and their dates.
    models : DataFrame
        One row per model, lowest loss first: model, loss, behind (loss minus the lowest), p_value (of that
        difference; NaN where it is not tested), set_p and included (in the 90 % model confidence set; NA
        on too few dates).
    tests : DataFrame
        step, loss (the score's name), model, baseline, difference (negative: the model is better), error,
        p_value, dates; one row per ordered pair.
    """

    step: int
    score: str
    forecasts: int
    dates: int
    models: pd.DataFrame
    tests: pd.DataFrame

    @property
    def winner(self) -> str | None:
        """The model that is alone in the confidence set and better than each other by a paired test."""
        inside = self.models["included"].fillna(False).astype(bool)
        surely = (self.models["p_value"].iloc[1:] < LEVEL).all()
        alone = int(inside.sum()) == 1 and bool(inside.iloc[0])
        return str(self.models["model"].iloc[0]) if alone and surely else None

    def test(self, model: str, baseline: str) -> PairedTest:
        """Return the test of one model against another."""
        pair = (self.tests["model"] == model) & (self.tests["baseline"] == baseline)
        row = self.tests[pair].iloc[0]
        return PairedTest(row["difference"], row["error"], row["p_value"], int(row["dates"]))


def stock_day_losses(forecasts: pd.DataFrame, score: str) -> pd.DataFrame:
    """Lay a score out by stock-day, those that every model forecast.

    Parameters
    ----------
    forecasts : DataFrame
        Rows of the long table at one step: model, symbol, cutoff and the score.
    score : str
        A model that has none of it, as one of quantiles has no log score, is left out.

    Returns
    -------
    DataFrame
        Index (cutoff, symbol), sorted; models as columns.
    """
    wide = forecasts.pivot(index=["cutoff", "symbol"], columns="model", values=score)
    return wide.dropna(axis="columns", how="all").dropna().sort_index()


def only(losses: pd.DataFrame, year: str | None, symbol: str | None) -> pd.DataFrame:
    """Choose the stock-days of one calendar year of the cutoff, of one symbol, or both."""
    chosen = np.ones(len(losses), dtype=bool)
    if year is not None:
        chosen &= pd.DatetimeIndex(losses.index.get_level_values("cutoff")).year == int(year)
    if symbol is not None:
        chosen &= losses.index.get_level_values("symbol") == symbol
    return losses[chosen]


def rank(losses: pd.DataFrame, step: int, score: str) -> Ranking:
    """Rank models, test every pair of them, and find the model confidence set.

    Parameters
    ----------
    losses : DataFrame
        Rows of `stock_day_losses`, at least one.
    """
    daily = losses.groupby(level="cutoff").mean()
    order = daily.mean().sort_values().index
    daily = daily[order]
    found = []
    for first, second in combinations(order, 2):
        test = paired_test(daily[first].to_numpy(), daily[second].to_numpy(), step)
        told = (test.error, test.p_value, test.dates)
        found.append((step, score, first, second, test.difference, *told))
        found.append((step, score, second, first, -test.difference, *told))
    columns = ["step", "loss", "model", "baseline", "difference", "error", "p_value", "dates"]
    tests = pd.DataFrame(found, columns=columns)
    against_first = tests[tests["baseline"] == order[0]].set_index("model")
    members = confidence_set(daily, step).set_index("model")
    means = daily.mean()
    models = pd.DataFrame(
        {
            "model": order,
            "loss": means.to_numpy(),
            "behind": (means - means.iloc[0]).to_numpy(),
            "p_value": against_first["p_value"].reindex(order).to_numpy(),
            "set_p": members["p_value"].reindex(order).to_numpy(dtype=float),
            "included": members["included"].astype("boolean").reindex(order).array,
        }
    )
    return Ranking(step, score, len(losses), len(daily), models, tests)


def leads(parts: Iterable[tuple[str, int, pd.DataFrame]], baseline: str) -> pd.DataFrame:
    """Tell of each group of stock-days which model came first, and whether its lead is more than luck.

    Parameters
    ----------
    parts : iterable of (group, step, losses)
        Losses as of `stock_day_losses`; a group with one model or none is left out.
    baseline : str
        The model over which gains are told.

    Returns
    -------
    DataFrame
        One row per group: group, forecasts, dates, first, second, lead (mean loss of the second minus the
        first), p_value, q_value (Benjamini-Hochberg over the groups), then per model its gain over the
        baseline. The two were found in the same losses, which makes a lead look surer than it is.
    """
    rows = []
    for group, step, losses in parts:
        daily = losses.groupby(level="cutoff").mean()
        means = daily.mean().sort_values()
        if len(daily) and len(means) > 1:
            first, second = (str(model) for model in means.index[:2])
            test = paired_test(daily[first].to_numpy(), daily[second].to_numpy(), step)
            found = (group, len(losses), len(daily), first, second, -test.difference, test.p_value)
            rows.append((*found, means[baseline] - means if baseline in means else means * np.nan))
    names = ["group", "forecasts", "dates", "first", "second", "lead", "p_value"]
    table = pd.DataFrame([row[:-1] for row in rows], columns=names)
    gains = pd.DataFrame([row[-1] for row in rows]).reset_index(drop=True)
    return pd.concat(
        [table.assign(q_value=false_discovery(table["p_value"].to_numpy(dtype=float))), gains], axis=1
    )
