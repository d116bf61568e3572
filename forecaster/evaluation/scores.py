"""Scores of forecasts: every model at every step, by year and by symbol, with the tests they need."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from forecaster.errors import UsageError
from forecaster.evaluation.comparisons import confidence_sets, improvement, judge, pair_tests, symbol_tests
from forecaster.evaluation.losses import Tally, tally
from forecaster.evaluation.significance import false_discovery
from forecaster.models import LAST_PRICE
from forecaster.models.tabulate import distribution_of
from forecaster.tables import table as stored

TESTED_BY = {"mae": "absolute_error", "rmse": "squared_error"}
"""Metric of the score table -> the loss by whose tests it is judged, where the names differ."""

Tallies = dict[str, dict[int, Tally]]
"""Model -> step -> what is kept of its forecasts."""


@dataclass(frozen=True)
class Scores:
    """What the forecasts of some models were worth, on the stock-days that all of them forecast.

    Losses are averaged over the symbols of a date, then over dates; coverages, widths and directions
    are means over all forecasts. The column ``step`` (sessions ahead) leads in every table.

    Attributes
    ----------
    overall : DataFrame
        One row per step and model: forecasts and dates; crps, log_score (nats; NaN for quantile
        forecasts), qlike (nats) and pinball_01/05/95/99 (bp); coverage_50/80/90/98 (%), width_50/80/90/98
        (% of the price), share_up (% of outcomes); direction (% right of the forecasts that give a
        rise 49.5 % or less, or 50.5 % or more; NaN where they are under 100), direction_gain (points
        over chance) and direction_p (clustered by date); mae and rmse of the median price (% of the
        last price); against the last price crps_skill, mae_skill and rmse_skill (%) and log_score_gain
        (nats, with its standard error log_score_error), positive is better, and the p-values of
        Diebold-Mariano tests crps_p, log_score_p and mae_p; tercile_spread (points: largest minus
        smallest 90 % coverage over terciles of the model's own sigma); in_confidence_set (by log
        score, by crps for a model without; NA where there is none) and is_best (alone in it, and
        better than every other by a paired test); best_classical, the other classical model with the
        lowest log score, with best_classical_gain (nats) and best_classical_p,
        best_classical_crps_skill (%) and best_classical_crps_p against it; first_cutoff and
        last_cutoff.
    tests : DataFrame
        One row per step, loss and ordered pair of models: model, baseline, difference (of mean
        losses, model minus baseline; negative is better), error, p_value (two-sided), dates. Losses
        are `losses.LOSSES`, in the units of `losses.Tally`.
    confidence_sets : DataFrame
        step, loss (log_score, crps), model, p_value, included.
    periods, symbols : DataFrame
        step, model, period (calendar year of the cutoff) or symbol, metric, value; metrics as in
        `overall`.
    per_symbol_tests : DataFrame
        step, loss (log_score, crps), model, baseline (the last price, and gjr_t where it is), symbol,
        difference, p_value, q_value (Benjamini-Hochberg over the symbols of one step, loss and pair).
    improvement : DataFrame
        step, loss, model, baseline, symbols, share_improved (%), share_significant (% better with
        q < .05; NaN where none could be tested).
    directions : DataFrame
        step, model, symbol, hits (%), forecasts (those with an opinion), p_value (Pesaran-Timmermann),
        q_value (over the symbols of one step and model).
    terciles : DataFrame
        step, model, tercile (low, middle, high), level, coverage (%).
    pit : DataFrame
        step, model, bin (0 to 19), share (they add up to one).
    """

    overall: pd.DataFrame
    tests: pd.DataFrame
    confidence_sets: pd.DataFrame
    periods: pd.DataFrame
    symbols: pd.DataFrame
    per_symbol_tests: pd.DataFrame
    improvement: pd.DataFrame
    directions: pd.DataFrame
    terciles: pd.DataFrame
    pit: pd.DataFrame


def with_scores(forecasts: pd.DataFrame, outcome: np.ndarray) -> pd.DataFrame:
    """Add what happened and what it says of each forecast.

    Parameters
    ----------
    forecasts : DataFrame
        Rows of `models.tabulate.tabulate`.
    outcome : ndarray of shape (rows,)
        Log return over the row's step; rows with NaN are left out.

    Returns
    -------
    DataFrame
        With pit (probability integral transform), crps (log return), log_score (nats, negative
        log density) and outcome.
    """
    known = np.isfinite(outcome)
    rows, y = forecasts[known], outcome[known]
    distribution = distribution_of(rows)
    return rows.assign(
        pit=distribution.cdf(y), crps=distribution.crps(y), log_score=distribution.log_score(y), outcome=y
    )


def score(tables: Iterable[pd.DataFrame]) -> Scores:
    """Score models on the stock-days that all of them forecast, one table in memory at a time.

    Parameters
    ----------
    tables : iterable of DataFrame
        The long table of one model each, as of `with_scores`; the last price's is among them. Where
        models forecast different stock-days it is gone through twice.

    Raises
    ------
    UsageError
        If a table is not of one model, the last price is missing, no stock-day is common to all, or
        the iterable would have to be gone through twice and cannot.
    """
    tallies = _tallies(tables)
    tests = _by_step(tallies, pair_tests)
    sets = _by_step(tallies, confidence_sets)
    by_symbol = _by_step(tallies, symbol_tests)
    overall = _with_skill(_gather(tallies, lambda one: one.overall().assign(**_beside(one))), [])
    return Scores(
        overall=judge(overall, tests, sets)[_columns()],
        tests=tests,
        confidence_sets=sets,
        periods=_long(_gather(tallies, lambda one: one.by_period().reset_index(names="period")), "period"),
        symbols=_long(_gather(tallies, lambda one: one.by_symbol().reset_index(names="symbol")), "symbol"),
        per_symbol_tests=by_symbol,
        improvement=improvement(by_symbol),
        directions=_gather(tallies, _directions),
        terciles=_gather(tallies, lambda one: one.terciles),
        pit=_gather(tallies, lambda one: pd.DataFrame({"bin": range(len(one.pit)), "share": one.pit})),
    )


def scores_json(scores: Scores) -> dict[str, list[dict[str, Any]]]:
    """Express scores as JSON-ready values; what is not a finite number is null.

    Returns
    -------
    dict
        ``rows``: one per model, step and metric of `Scores.overall`: model, step, metric, value, and
        for losses tests, one per other model: baseline, difference, error, p_value, dates. The
        metrics mae and rmse have the tests of absolute and squared errors. The other tables of
        `Scores` stand under their names, as lists of rows.
    """
    tests = {
        key: _records(part[["baseline", "difference", "error", "p_value", "dates"]])
        for key, part in scores.tests.groupby(["model", "step", "loss"])
    }
    rows: list[dict[str, Any]] = []
    for figures in _records(scores.overall):
        model, step = figures.pop("model"), figures.pop("step")
        for metric, value in figures.items():
            found = tests.get((model, step, TESTED_BY.get(metric, metric)))
            row = {"model": model, "step": step, "metric": metric, "value": value}
            rows.append(row | {"tests": found} if found else row)
    others = [field.name for field in fields(scores) if field.name not in ("overall", "tests")]
    return {"rows": rows, **{name: _records(getattr(scores, name)) for name in others}}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))


def _tallies(tables: Iterable[pd.DataFrame]) -> Tallies:
    tallies = _collect(tables, None)
    if LAST_PRICE not in tallies:
        raise UsageError(
            f"Expected the forecasts of {LAST_PRICE} among those to score, got {', '.join(tallies) or 'none'}"
        )
    steps = _steps(tallies)
    shared = [step for step in steps if all(step in mine for mine in tallies.values())]
    present = {step: [mine[step].present for mine in tallies.values()] for step in shared}
    if shared == steps and all(one.equals(masks[0]) for masks in present.values() for one in masks):
        return tallies
    if isinstance(tables, Iterator):
        raise UsageError(
            "The models forecast different stock-days, so that their tables must be read twice; "
            "hand them over in a list"
        )
    common = {step: reduce(_both, masks) for step, masks in present.items()}
    if not any(mask.to_numpy().any() for mask in common.values()):
        raise UsageError("No stock-day was forecast by every model; score them on the same cutoffs")
    return _collect(tables, common)


def _steps(tallies: Tallies) -> list[int]:
    return sorted({step for mine in tallies.values() for step in mine})


def _collect(tables: Iterable[pd.DataFrame], common: dict[int, pd.DataFrame] | None) -> Tallies:
    tallies: Tallies = {}
    for table in tables:
        names = [str(name) for name in table["model"].unique()]
        if len(names) != 1 or names[0] in tallies:
            raise UsageError(f"Expected each table to hold one model, all of it, got {', '.join(names)}")
        tallies[names[0]] = tally(table, common)
    return tallies


def _both(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    dates, symbols = one.index.intersection(other.index), one.columns.intersection(other.columns)
    return one.loc[dates, symbols] & other.loc[dates, symbols]


def _gather(tallies: Tallies, table_of: Callable[[Tally], pd.DataFrame]) -> pd.DataFrame:
    """Lay one table of every step and model under each other, steps first."""
    parts = [
        table_of(mine[step]).assign(step=step, model=model)
        for step in _steps(tallies)
        for model, mine in tallies.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows[["step", "model", *rows.columns.drop(["step", "model"])]]


def _by_step(tallies: Tallies, table_of: Callable[[int, dict[str, Tally]], pd.DataFrame]) -> pd.DataFrame:
    tables = [
        table_of(step, {model: mine[step] for model, mine in tallies.items()}) for step in _steps(tallies)
    ]
    return pd.concat(tables, ignore_index=True)


def _columns() -> list[str]:
    """List the figures of the stored table, in its order."""
    return [name for name in stored("scores").schema.names if name not in ("version", "recorded_at")]


def _with_skill(rows: pd.DataFrame, group: list[str]) -> pd.DataFrame:
    """Add the gain on the last price's figures of the same step and group."""
    keys = ["step", *group]
    base = rows.loc[rows["model"] == LAST_PRICE, [*keys, "crps", "log_score", "mae", "rmse"]]
    base = rows[keys].merge(base, on=keys, how="left").set_index(rows.index)
    skills = {f"{name}_skill": 100 * (1 - rows[name] / base[name]) for name in ("crps", "mae", "rmse")}
    return rows.assign(**skills, log_score_gain=base["log_score"] - rows["log_score"])


def _long(rows: pd.DataFrame, group: str) -> pd.DataFrame:
    return _with_skill(rows, [group]).melt(["step", "model", group], var_name="metric", value_name="value")


def _beside(one: Tally) -> dict[str, float | pd.Timestamp]:
    """Figures that only the whole test span has."""
    inside = one.terciles.loc[one.terciles["level"] == 90, "coverage"].to_numpy()
    return {
        "direction_gain": one.directions.gain,
        "direction_p": one.directions.p_value,
        "tercile_spread": float(inside.max() - inside.min()),
        "first_cutoff": one.dates[0],
        "last_cutoff": one.dates[-1],
    }


def _directions(one: Tally) -> pd.DataFrame:
    found = one.directions
    return pd.DataFrame(
        {
            "symbol": one.symbols,
            "hits": found.symbol_hits,
            "forecasts": found.symbol_opinions,
            "p_value": found.symbol_p_values,
            "q_value": false_discovery(found.symbol_p_values),
        }
    )
