"""Train a challenger and let the evidence decide between it and the champion."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from forecaster import promotion, workflow
from forecaster.config import Recipe
from forecaster.decisions import CHALLENGER, CHAMPION, card_of, decisions, evidence_of, holder
from forecaster.errors import ModelError, NotEarned, UsageError
from forecaster.evaluation.backtest import Backtest, backtest
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.scores import with_scores
from forecaster.history import History, read_history
from forecaster.models.calibrate import adjustments, widened
from forecaster.models.distribution import StudentT
from forecaster.models.tabulate import tabulate
from forecaster.models.trained import Model
from forecaster.progress import Progress, silent
from forecaster.registry import Registry
from forecaster.store import Store
from forecaster.windows import Windows

PLAN = Plan(folds=2, test_sessions=504)

PARAMETERS = ["mean", "sigma", "df"]


@dataclass(frozen=True)
class Outcome:
    """How a challenge ended.

    Attributes
    ----------
    promoted : bool
    words : str
        The decision with its figures.
    """

    promoted: bool
    words: str


def champion_recipe(store: Store) -> Recipe | None:
    """Return the champion's recipe; None without a champion, or if this program no longer knows it."""
    version = holder(store, CHAMPION)
    try:
        return None if version is None else Recipe(**json.loads(card_of(store, version))["recipe"])
    except UsageError:
        return None


def was_rolled_back(store: Store) -> bool:
    """Whether the champion was brought back by hand."""
    rows = decisions(store)
    crowned = rows.loc[rows["alias"] == CHAMPION, "evidence"]
    return len(crowned) > 0 and evidence_of(crowned.iloc[-1]).get("rule") == promotion.ROLLBACK


def unusable(store: Store, registry: Registry) -> str:
    """Say why the champion cannot forecast at all; empty if it can, or there is none."""
    if holder(store, CHAMPION) is None:
        return ""
    try:
        registry.load()[1].require_inputs()
    except ModelError as damage:
        return str(damage)
    return ""


def challenge(
    store: Store,
    registry: Registry,
    history: History,
    recipe: Recipe,
    trial_sessions: int,
    damage: str = "",
    plan: Plan = PLAN,
    progress: Progress = silent,
    jobs: int = 1,
) -> Outcome:
    """Train a challenger, compare it with the champion and the classical models, promote it or not.

    Without a usable champion it takes the place. Of another recipe than the champion's, it learns from all
    sessions, and both recipes are refitted over the same folds. Of the same recipe, it leaves the last
    `trial_sessions` out and is judged on those of them that the champion has not seen either.

    Parameters
    ----------
    damage : str
        Why the champion cannot be used, see `unusable`, or may not be; empty if it can.
    plan : Plan
        Folds of the backtests.
    jobs : int
        Processes at work in a backtest.

    Raises
    ------
    TooLittleHistory
        If there are too few sessions to train or test on.
    """
    rival = champion_recipe(store)
    if rival is None or damage:
        version = _add(registry, history, recipe, plan, progress, jobs)
        return _promoted(version, registry.promote(version, unusable=damage))
    if rival.hash != recipe.hash:
        theirs = backtest(history, rival, plan=plan, progress=progress, jobs=jobs)
        version = _add(registry, history, recipe, plan, progress, jobs)
        return _judged(registry, version, rival=theirs)
    if was_rolled_back(store):
        return Outcome(
            False,
            "no training: the champion was brought back by hand, and stands until another is promoted or a "
            "changed recipe beats it",
        )
    _, champion = registry.load()
    sessions = np.unique(history.traded["session"])
    known = history.until(pd.Timestamp(sessions[-min(trial_sessions + 1, len(sessions))]))
    if known.as_of <= champion.trained_until:
        return Outcome(
            False,
            f"no training: newer weights are judged on the last {trial_sessions} sessions, and the champion "
            f"has seen those up to {champion.trained_until.date()}",
        )
    version = _add(registry, known, recipe, plan, progress, jobs)
    _, challenger = registry.load(version)
    wide = sorted({*history.symbols, *champion.universe, *challenger.universe})
    judged = trial(challenger, champion, read_history(store, wide, history.as_of), history.symbols)
    return _judged(registry, version, trial=judged)


def repeat(
    store: Store, registry: Registry, version: str, progress: Progress = silent, jobs: int = 1
) -> float:
    """Train a version again from its card, and compare what the two forecast.

    The card names the recipe with its seeds, the folds of the backtest that the pool's weights were learned
    from, and the moment up to which the store is to be read.

    Returns
    -------
    float
        Largest difference between the forecasts from the last session of the training: of mean and
        standard deviation in standard deviations, of the degrees of freedom as a share; 0 if they are the
        same to the last bit, as they are on the same machine with the same packages.

    Raises
    ------
    ModelError
        If the version was not trained on the store, or the store no longer gives the same history.
    """
    _, model = registry.load(version)
    card = json.loads(card_of(store, version))
    if card["recorded_by"] is None:
        raise ModelError(f"Version {version} was not trained on this store, so nothing here can repeat it")
    moment = pd.Timestamp(card["recorded_by"])
    history = read_history(store, model.universe, card["trained_until"], moment)
    if history.fingerprint != card["fingerprint"]:
        raise ModelError(
            f"The store gives history {history.fingerprint}, and version {version} was trained on "
            f"{card['fingerprint']}: rows that it has read are no longer there, so restore the store; or an "
            f"earlier program counted in events outside the universe, and it cannot be repeated"
        )
    evidence = backtest(
        history, model.recipe, plan=Plan.from_json(card["plan"]), progress=progress, jobs=jobs
    )
    with TemporaryDirectory() as folder:
        workflow.train(history, model.recipe, progress, evidence).save(Path(folder))
        again = Model.load(Path(folder)).forecast(history)
    first = model.forecast(history)
    apart = (again[PARAMETERS] - first[PARAMETERS]).abs()
    apart["df"] /= first["df"]
    apart[["mean", "sigma"]] = apart[["mean", "sigma"]].div(first["sigma"], axis=0)
    return float(apart.to_numpy().max())


def trial(challenger: Model, champion: Model, history: History, symbols: Sequence[str]) -> pd.DataFrame:
    """Forecast with both, one session ahead, the sessions that neither has seen.

    Each is calibrated as it would have been had it been served since its training.

    Parameters
    ----------
    history : History
        Of the symbols to judge on, and of both universes, which cross-section means are taken over.

    Returns
    -------
    DataFrame
        Long table with outcomes, of the models "challenger" and "champion".
    """
    since = max(challenger.trained_until, champion.trained_until)
    tables = []
    for name, model in ((CHALLENGER, challenger), (CHAMPION, champion)):
        windows = model.windows(history)
        panel = windows.panel
        judged = np.isin(panel.code[windows.ends], [panel.symbols.index(one) for one in symbols])
        unseen = panel.session[windows.ends] >= model.trained_until.to_datetime64()
        ends = windows.ends[judged & unseen]
        outcome = windows.labels(ends)[:, 0]
        table = tabulate(windows, ends, _served(model, windows, ends, outcome), name, [1])
        table = with_scores(table, outcome)
        tables.append(table[table["cutoff"] >= since])
    return pd.concat(tables, ignore_index=True)


def _served(model: Model, windows: Windows, ends: np.ndarray, outcome: np.ndarray) -> StudentT:
    """Forecast one session ahead from some rows, the width following what was settled by each cutoff."""
    first = model.served(windows, ends)[:, :1]
    if not model.recipe.calibrated:
        return first
    fixed = model.ensemble.adjustment(windows, ends)[:, 0]
    panel, start = windows.panel, model.ensemble.adjustments
    rows = pd.DataFrame(
        {
            "symbol": np.asarray(panel.symbols, dtype=object)[panel.code[ends]],
            "cutoff": panel.session[ends],
            "session": panel.calendar[panel.position[ends] + 1],
            "mean": first.mean[:, 0],
            "sigma": first.sigma[:, 0] * np.exp(-fixed),
            "df": first.df[:, 0],
            "outcome": outcome,
        }
    )
    known = pd.Series({symbol: steps[0] for symbol, steps in start.items()}, dtype=float)
    moved = adjustments(rows, rows[:0], step=1, start=known)
    return widened(first, (moved - fixed)[:, None])


def _add(
    registry: Registry, history: History, recipe: Recipe, plan: Plan, progress: Progress, jobs: int
) -> str:
    evidence = backtest(history, recipe, plan=plan, progress=progress, jobs=jobs)
    return registry.add(workflow.train(history, recipe, progress, evidence), evidence)


def _judged(
    registry: Registry, version: str, rival: Backtest | None = None, trial: pd.DataFrame | None = None
) -> Outcome:
    try:
        return _promoted(version, registry.promote(version, rival, trial))
    except NotEarned as refusal:
        return Outcome(False, f"kept: {refusal}")


def _promoted(version: str, reason: str) -> Outcome:
    return Outcome(True, f"promoted version {version}: {reason}")
