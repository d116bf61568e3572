"""The walk: every model fitted at every refit, its forecasts of the sessions up to the next one."""

import os
from collections.abc import Iterator, Sequence

import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import UsageError
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import Kept, Part
from forecaster.evaluation.scores import with_scores
from forecaster.models import KINDS, LAST_PRICE, NETWORKS, kind
from forecaster.models.distribution import Distribution, log_pool, pool
from forecaster.models.pool import POOLS, learn_weights
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
        if name not in KINDS and name not in POOLS:
            raise UsageError(f"No model {name!r}; choose among {', '.join([*KINDS, *POOLS])}")
    members = [member for name in names if name in POOLS for member in POOLS[name].members(recipe)]
    wanted = {LAST_PRICE, *names, *members}
    return [name for name in (*KINDS, *POOLS) if name in wanted]


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
        Processes at work; each fit (fold, model, seed) is one task.
    """
    parts = [
        Part(name, fold, seed)
        for name in names
        if name in KINDS
        for fold in range(len(folds))
        for seed in (range(recipe.seeds) if name in NETWORKS else [None])
    ]
    pending = [part for part in parts if part not in kept and Part(part.model, part.fold) not in kept]
    # The longest first, so that the processes end together.
    pending.sort(key=lambda part: -_steps(part, recipe))
    total = sum(_steps(part, recipe) for part in pending)
    with progress("Walk-forward", total) as advance:
        for part, table in _tables(pending, windows, folds, recipe, steps, advance, jobs):
            kept.put(part, table)
    for name in names:
        for place, fold in enumerate(folds):
            part = Part(name, place)
            if part in kept:
                continue
            if name in POOLS:
                kept.put(part, _pooled(part, fold, recipe, kept))
            else:
                seeds = [kept.get(Part(name, place, seed)) for seed in range(recipe.seeds)]
                kept.put(part, _averaged(seeds, name))


def _tables(
    pending: Sequence[Part],
    windows: Windows,
    folds: Sequence[Fold],
    recipe: Recipe,
    steps: Sequence[int],
    advance: Advance,
    jobs: int,
) -> Iterator[tuple[Part, pd.DataFrame]]:
    if jobs == 1:
        for part in pending:
            yield part, _fit_and_forecast(part, windows, folds[part.fold], recipe, steps, advance)
        return
    from joblib import Parallel, delayed, parallel_config

    # Computed here, once: the processes share what lies in memory.
    windows.label_rows.shape, windows.ready.shape  # noqa: B018
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        done = Parallel(return_as="generator_unordered")(
            delayed(_alone)(part, windows, folds[part.fold], recipe, steps) for part in pending
        )
        for part, table in done:
            yield part, table
            for _ in range(_steps(part, recipe)):
                advance(f"{part.model}, fold {part.fold + 1}")


def _alone(
    part: Part, windows: Windows, fold: Fold, recipe: Recipe, steps: Sequence[int]
) -> tuple[Part, pd.DataFrame]:
    """Fit in a process of its own, on one core: independent fits use the cores best that way."""
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")
    return part, _fit_and_forecast(part, windows, fold, recipe, steps, lambda note: None)


def _fit_and_forecast(
    part: Part, windows: Windows, fold: Fold, recipe: Recipe, steps: Sequence[int], advance: Advance
) -> pd.DataFrame:
    seeds = None if part.seed is None else [part.seed]
    learned_from = windows if fold.since is None else windows.but_since(fold.since)
    fitted = kind(part.model, recipe, seeds).fit(learned_from, fold.refit, advance)
    chosen = [step - 1 for step in steps]
    forecast = fitted.forecast(windows, fold.cutoffs)[:, chosen]
    table = tabulate(windows, fold.cutoffs, forecast, part.model, steps)
    return with_scores(table, windows.labels(fold.cutoffs)[:, chosen].ravel())


def _steps(part: Part, recipe: Recipe) -> int:
    # Known beforehand: to ask a network would bring TensorFlow into this process.
    return recipe.epochs if part.seed is not None else kind(part.model, recipe).steps


def _rewritten(table: pd.DataFrame, forecast: Distribution, name: str) -> pd.DataFrame:
    return with_scores(retabulate(table, forecast, name), table["outcome"].to_numpy(dtype=float))


def _averaged(tables: Sequence[pd.DataFrame], name: str) -> pd.DataFrame:
    return _rewritten(tables[0], pool([distribution_of(table) for table in tables]), name)


def _pooled(part: Part, fold: Fold, recipe: Recipe, kept: Kept) -> pd.DataFrame:
    """Pool a fold's forecasts, with weights per step learned on what was known at its refit."""
    scheme = POOLS[part.model]
    members = scheme.members(recipe)
    now = [kept.get(Part(member, part.fold)) for member in members]
    if not scheme.learned:
        return _averaged(now, part.model)
    past = [
        pd.concat([now[place][:0], *(_known(kept, member, earlier, fold) for earlier in range(part.fold))])
        for place, member in enumerate(members)
    ]
    parts = []
    for step in sorted(now[0]["step"].unique()):
        known = [table[table["step"] == step] for table in past]
        forecasts = [distribution_of(table) for table in known]
        outcome, date = known[0]["outcome"].to_numpy(dtype=float), known[0]["cutoff"].to_numpy()
        weights = learn_weights(forecasts, outcome, date)
        at_step = [table[table["step"] == step] for table in now]
        merged = log_pool([distribution_of(table) for table in at_step], weights)
        parts.append(_rewritten(at_step[0], merged, part.model))
    return pd.concat(parts).sort_index()


def _known(kept: Kept, member: str, earlier: int, fold: Fold) -> pd.DataFrame:
    """Return a member's forecasts of an earlier fold whose outcomes were known at a refit."""
    table = kept.get(Part(member, earlier))
    return table[table["session"] <= fold.session]
