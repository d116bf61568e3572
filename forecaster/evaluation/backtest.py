"""Walk-forward backtest: every model refitted at the same sessions, scored on the same forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from forecaster.config import Recipe
from forecaster.evaluation.folds import walk_forward
from forecaster.evaluation.scores import score_table, with_scores
from forecaster.evaluation.verdict import verdict
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import CLASSICAL, LAST_PRICE, SERVED, kind
from forecaster.models.distribution import pool
from forecaster.models.tabulate import tabulate
from forecaster.progress import Progress, silent
from forecaster.windows import Windows

STEPS = (1, 5, 10, 20)


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
    """

    forecasts: pd.DataFrame
    recipe: Recipe
    fingerprint: str

    @cached_property
    def _scores(self) -> pd.DataFrame:
        return score_table(self.forecasts)

    def scores(self) -> pd.DataFrame:
        """One row per step and model; see `evaluation.scores.score_table`."""
        return self._scores.copy()

    def verdict(self, step: int = 1) -> str:
        """Say in words what the scores of the served forecast allow to say."""
        return verdict(self._scores, step)


def backtest(
    history: History,
    recipe: Recipe,
    folds: int = 2,
    test_sessions: int = 504,
    models: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Backtest:
    """Refit every model `folds` times over the last `test_sessions` sessions and score it between.

    Parameters
    ----------
    models : sequence of str, optional
        Names in `models.KINDS`; default: the classical ones and the recipe's cells. The last price
        is always among them. Where all cells of the recipe are, their pool is scored as "served".

    Raises
    ------
    TooLittleHistory
        If the history is too short to hold that many sessions back.
    """
    asked = models if models is not None else [*CLASSICAL, *recipe.cells]
    names = list(dict.fromkeys([LAST_PRICE, *asked]))
    chosen = history.only(recipe.universe) if recipe.universe else history
    windows = Windows(assemble(chosen, recipe.groups), recipe.lookback, recipe.horizon)
    plan = walk_forward(windows, folds, test_sessions)
    steps = sorted({step for step in STEPS if step <= recipe.horizon} | {recipe.horizon})
    total = sum(kind(name, recipe).steps for name in names) * folds
    tables = []
    with progress("Backtest", total) as advance:
        for fold in plan:
            outcome = windows.labels(fold.cutoffs)[:, [step - 1 for step in steps]].ravel()
            made = {
                name: kind(name, recipe).fit(windows, fold.refit, advance).forecast(windows, fold.cutoffs)
                for name in names
            }
            if all(cell in made for cell in recipe.cells):
                made[SERVED] = pool([made[cell] for cell in recipe.cells])
            for name, distribution in made.items():
                table = tabulate(windows, fold.cutoffs, distribution, name, steps)
                tables.append(with_scores(table, outcome))
    return Backtest(
        pd.concat(tables, ignore_index=True),
        recipe,
        chosen.fingerprint,
    )
