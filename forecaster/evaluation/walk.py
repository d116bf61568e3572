"""The walk: every model fitted at every refit, its forecasts of the sessions up to the next one."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import UsageError
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import Kept, Part
from forecaster.evaluation.scores import with_scores
from forecaster.models import KINDS, LAST_PRICE, NETWORKS, Several, kind
from forecaster.models.calibrate import adjustments, widened
from forecaster.models.distribution import Distribution, StudentT, log_pool, pool
from forecaster.models.pool import POOL_NAMES, scheme
from forecaster.models.tabulate import distribution_of, retabulate, tabulate
from forecaster.progress import Advance, Progress, silent
from forecaster.windows import Windows


def with_members(names: Sequence[str], recipe: Recipe) -> list[str]:
    """Complete a list of models: the last price first, the members of pools, the pools last.

    Raises
    ------
    UsageError
        For an unknown name; lists the choices.
    """
    for name in names:
        if name not in KINDS and name not in POOL_NAMES:
            raise UsageError(f"No model {name!r}; choose among {', '.join([*KINDS, *POOL_NAMES])}")
    pools = [scheme(name, recipe) for name in names if name in POOL_NAMES]
    wanted = {LAST_PRICE, *names, *(member for one in pools for member in one.members(recipe))}
    return [name for name in (*KINDS, *POOL_NAMES) if name in wanted]


def walk(
    windows: Windows,
    folds: Sequence[Fold],
    names: Sequence[str],
    recipe: Recipe,
    steps: Sequence[int],
    kept: Kept,
    progress: Progress = silent,
    jobs: int = 1,
) -> None:
    """Forecast every fold with every model and keep the long tables, part by part.

    Parameters
    ----------
    names : sequence of str
        As `with_members` returns them.
    steps : sequence of int
        Sessions ahead to keep.
    kept : Kept
        What it holds already is not computed again.
    jobs : int
        Processes at work; each fit (fold, model) is one task.
    """
    fits = [
        Fit(name, fold, missing)
        for name in names
        if name in KINDS
        for fold in range(len(folds))
        if Part(name, fold) not in kept
        and (missing := tuple(part for part in _parts(name, fold, recipe) if part not in kept))
    ]
    # The longest first, so that the processes end together.
    fits.sort(key=lambda fit: -_steps(fit, recipe))
    total = sum(_steps(fit, recipe) for fit in fits)
    with progress("Walk-forward", total) as advance:
        for part, table in _tables(fits, windows, folds, recipe, steps, advance, jobs):
            kept.put(part, table)
    for name in names:
        for place, fold in enumerate(folds):
            part = Part(name, place)
            if part in kept:
                continue
            if name in POOL_NAMES:
                kept.put(part, _pooled(part, fold, recipe, kept))
            else:
                seeds = [kept.get(Part(name, place, seed)) for seed in range(recipe.seeds)]
                kept.put(part, _averaged(seeds, name))


class Fit(NamedTuple):
    """One task: a model fitted at a fold, with all its random starts, which share what needs no start."""

    model: str
    fold: int
    parts: tuple[Part, ...]


def _parts(name: str, fold: int, recipe: Recipe) -> list[Part]:
    seeds = range(recipe.seeds) if name in NETWORKS else [None]
    return [Part(name, fold, seed) for seed in seeds]


def _tables(
    fits: Sequence[Fit],
    windows: Windows,
    folds: Sequence[Fold],
    recipe: Recipe,
    steps: Sequence[int],
    advance: Advance,
    jobs: int,
) -> Iterator[tuple[Part, pd.DataFrame]]:
    if jobs == 1:
        for fit in fits:
            yield from _fit_and_forecast(fit, windows, folds[fit.fold], recipe, steps, advance)
        return
    from joblib import Parallel, delayed, parallel_config

    # Computed here, once: the processes share what lies in memory.
    windows.label_rows.shape, windows.ready.shape  # noqa: B018
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        done = Parallel(return_as="generator_unordered")(
            delayed(_alone)(fit, windows, folds[fit.fold], recipe, steps) for fit in fits
        )
        for fit, tables in done:
            yield from tables
            for _ in range(_steps(fit, recipe)):
                advance(f"{fit.model}, fold {fit.fold + 1}")


def _alone(
    fit: Fit, windows: Windows, fold: Fold, recipe: Recipe, steps: Sequence[int]
) -> tuple[Fit, list[tuple[Part, pd.DataFrame]]]:
    """Fit in a process of its own, on one core: independent fits use the cores best that way."""
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")
    return fit, _fit_and_forecast(fit, windows, fold, recipe, steps, lambda note: None)


def _fit_and_forecast(
    fit: Fit, windows: Windows, fold: Fold, recipe: Recipe, steps: Sequence[int], advance: Advance
) -> list[tuple[Part, pd.DataFrame]]:
    seeds = [part.seed for part in fit.parts if part.seed is not None]
    learned_from = windows if fold.since is None else windows.but_since(fold.since)
    fitted = kind(fit.model, recipe, seeds or None).fit(learned_from, fold.refit, advance)
    chosen = [step - 1 for step in steps]
    outcome = windows.labels(fold.cutoffs)[:, chosen].ravel()
    if isinstance(fitted, Several):
        forecasts = fitted.members(windows, fold.cutoffs)
    else:
        forecasts = [fitted.forecast(windows, fold.cutoffs)]
    tables = [tabulate(windows, fold.cutoffs, one[:, chosen], fit.model, steps) for one in forecasts]
    return [(part, with_scores(table, outcome)) for part, table in zip(fit.parts, tables, strict=True)]


def _steps(fit: Fit, recipe: Recipe) -> int:
    # Known beforehand: to ask a network would bring TensorFlow into this process.
    return recipe.epochs * len(fit.parts) if fit.model in NETWORKS else kind(fit.model, recipe).steps


def _rewritten(table: pd.DataFrame, forecast: Distribution, name: str) -> pd.DataFrame:
    return with_scores(retabulate(table, forecast, name), table["outcome"].to_numpy(dtype=float))


def _averaged(tables: Sequence[pd.DataFrame], name: str) -> pd.DataFrame:
    return _rewritten(tables[0], pool([distribution_of(table) for table in tables]), name)


def _pooled(part: Part, fold: Fold, recipe: Recipe, kept: Kept) -> pd.DataFrame:
    """Pool a fold's forecasts with what was known at its refit and, of widths, by each cutoff."""
    chosen = scheme(part.model, recipe)
    members = chosen.members(recipe)
    now = [kept.get(Part(member, part.fold)) for member in members]
    past = [_earlier(kept, member, part.fold, now[0]) for member in members]
    issued = _earlier(kept, part.model, part.fold, now[0]) if chosen.calibrated else now[0][:0]
    parts = []
    for step in sorted(now[0]["step"].unique()):
        known = [_known(table[table["step"] == step], fold) for table in past]
        outcome, date = known[0]["outcome"].to_numpy(dtype=float), known[0]["cutoff"].to_numpy()
        weights = chosen.weights([distribution_of(table) for table in known], outcome, date)
        at_step = [table[table["step"] == step] for table in now]
        merged = log_pool([distribution_of(table) for table in at_step], weights)
        if chosen.calibrated:
            merged = _calibrated(merged, at_step[0], issued[issued["step"] == step], int(step))
        parts.append(_rewritten(at_step[0], merged, part.model))
    return pd.concat(parts).sort_index()


def _calibrated(forecast: StudentT, rows: pd.DataFrame, issued: pd.DataFrame, step: int) -> StudentT:
    about = rows.assign(mean=forecast.mean, sigma=forecast.sigma, df=forecast.df)
    return widened(forecast, adjustments(about, issued, step))


def _known(forecasts: pd.DataFrame, fold: Fold) -> pd.DataFrame:
    """Return the forecasts whose outcomes were known at a refit."""
    return forecasts[forecasts["session"] <= fold.session]


def _earlier(kept: Kept, name: str, fold: int, like: pd.DataFrame) -> pd.DataFrame:
    """Return a model's forecasts of the folds before one."""
    return pd.concat([like[:0], *(kept.get(Part(name, earlier)) for earlier in range(fold))])
