"""Walk-forward backtest: every model refitted at the same sessions, scored on the same forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from forecaster.config import Recipe
from forecaster.evaluation.ablation import announced_dates
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.kept import InMemory, Part
from forecaster.evaluation.scores import Scores, score
from forecaster.evaluation.verdict import verdict
from forecaster.evaluation.walk import walk, with_members
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import SERVED, UNDATED
from forecaster.progress import Progress, silent
from forecaster.windows import Windows

STEPS = (1, 5, 10, 20)
BESIDE = ("rolling_t", "ewma_t", "gjr_t", "harx")
"""Classical forecasters that stand beside the networks wherever nobody asks for others."""


@dataclass(frozen=True)
class Backtest:
    """Forecasts of sessions that their models never saw, with what happened.

    Attributes
    ----------
    forecasts : DataFrame
        The long table: one row per model, symbol, cutoff and step.
    recipe : Recipe
    fingerprint : str
        Of the history that was read.
    refits : tuple of Timestamp
        Sessions at whose close the models were fitted anew.
    plan : Plan
        Which of them to choose.
    """

    forecasts: pd.DataFrame
    recipe: Recipe
    fingerprint: str
    refits: tuple[pd.Timestamp, ...] = ()
    plan: Plan = field(default_factory=Plan)

    @cached_property
    def details(self) -> Scores:
        """Every score, test and confidence set; see `evaluation.scores.Scores`."""
        return score(rows for _, rows in self.forecasts.groupby("model", sort=False))

    def scores(self) -> pd.DataFrame:
        """One row per step and model; see `evaluation.scores.Scores.overall`."""
        return self.details.overall.copy()

    def verdict(self, step: int = 1) -> str:
        """Say in words what the scores of the served forecast allow to say."""
        return verdict(self.details.overall, step)


def backtest(
    history: History,
    recipe: Recipe,
    folds: int = 2,
    test_sessions: int = 504,
    models: Sequence[str] | None = None,
    progress: Progress = silent,
    plan: Plan | None = None,
    jobs: int = 1,
) -> Backtest:
    """Refit every model `folds` times over the last `test_sessions` sessions and score it between.

    Parameters
    ----------
    models : sequence of str, optional
        Names in `models.KINDS` and `models.pool.POOL_NAMES`; default: the last price, EWMA-t, GJR-t and
        HARX, the recipe's cells and their pool, "served". The last price is always among them, and
        so are the members of a pool. Where dates of results were made up, HARX stands there without any
        announced date, too.
    plan : Plan, optional
        In place of `folds` and `test_sessions`: refits by months or sessions, on dates of one's own.
    jobs : int
        Processes at work.

    Raises
    ------
    TooLittleHistory
        If the history is too short to hold that many sessions back.
    UsageError
        For an unknown model, or a plan that is none.
    """
    chosen = history.only(recipe.universe) if recipe.universe else history

    def windows_of(known: History) -> Windows:
        return Windows(assemble(known, recipe.groups), recipe.lookback, recipe.horizon)

    windows = windows_of(chosen)
    chosen_plan = plan or Plan(folds=folds, test_sessions=test_sessions)
    cut = chosen_plan.cut(windows)
    names = with_members(models if models is not None else [*BESIDE, *recipe.cells, SERVED], recipe)
    kept = InMemory()
    walk(windows, cut, names, recipe, steps_of(recipe), kept, progress, jobs)
    tables = [kept.get(Part(name, place)) for name in names for place in range(len(cut))]
    if chosen.has_backfill and "harx" in names:
        undated, alone = windows_of(chosen.but_events(~announced_dates(chosen))), InMemory()
        walk(undated, cut, ["harx"], recipe, steps_of(recipe), alone, progress, jobs)
        tables += [alone.get(Part("harx", place)).assign(model=UNDATED) for place in range(len(cut))]
    refits = tuple(pd.Timestamp(fold.session) for fold in cut)
    return Backtest(pd.concat(tables, ignore_index=True), recipe, chosen.fingerprint, refits, chosen_plan)


def steps_of(recipe: Recipe) -> list[int]:
    """Sessions ahead whose forecasts are kept: 1, 5, 10, 20 and the horizon."""
    return sorted({step for step in STEPS if step <= recipe.horizon} | {recipe.horizon})
