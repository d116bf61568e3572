"""Leak check: nothing that was known later may reach what is computed for an earlier cutoff.

Everything that became known after a moment is made up, thinned out or cut off (`perturbation`), all
is computed again, and the first cell of the past that moved is named (`invariance`).

Notes
-----
What such a check cannot see:

- what stands in the rows of the past already: prices that their source adjusted for later
  dividends, corrected figures stored under their old ``known_at``, symbols chosen because they did well;
- data that a function reads from elsewhere than the history it is given. Columns that no rewriting
  moves are therefore told, and a function of nothing but such columns is refused;
- choices made by a person, or a search, that has seen the scores;
- a leak of single sessions between two cutoffs tried; more cutoffs find more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import DataError, TooLittleHistory, UsageError
from forecaster.evaluation import subjects
from forecaster.evaluation.backtest import backtest
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.invariance import Check, Leak, Subject, compare
from forecaster.evaluation.perturbation import known_at, telling_moments, with_events, with_factors
from forecaster.evaluation.subjects import FeatureFunction
from forecaster.evaluation.walk import with_members
from forecaster.events import KINDS
from forecaster.features.exogenous import FACTORS
from forecaster.features.sectors import PREFIX
from forecaster.history import History
from forecaster.models import CLASSICAL, NETWORKS, Forecaster, kind
from forecaster.models.pool import FEWEST_DATES, POOL_NAMES, scheme
from forecaster.progress import Progress, silent
from forecaster.windows import Windows

REFITS = (250, 500)
"""Sessions with full windows after which a model kind is fitted: early, because a leak needs no skill."""

AROUND = 3
"""Windows of each symbol, on either side of a moment, that a model forecasts."""

FEW_UNITS = 4
"""Width of the networks that are checked."""

SECTORS = (f"{PREFIX}one", f"{PREFIX}two")
"""Sector indices that are made up where none is held."""


@dataclass(frozen=True)
class LeakReport:
    """What was compared, subject by subject.

    Attributes
    ----------
    checks : tuple of Check
    """

    checks: tuple[Check, ...]

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """First leak of each subject that has one."""
        return tuple(check.leak for check in self.checks if check.leak is not None)

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.leaks

    def table(self) -> pd.DataFrame:
        """One row per subject: what was compared, the first leak, and what limits the check."""
        return pd.DataFrame(
            {
                "subject": [check.what for check in self.checks],
                "features": [check.features for check in self.checks],
                "cutoffs": [check.cutoffs for check in self.checks],
                "cells": [check.cells for check in self.checks],
                "found": ["nothing" if check.leak is None else check.leak.feature for check in self.checks],
                "note": [check.note for check in self.checks],
            }
        )


def leakcheck(
    history: History,
    subject: Recipe | str | FeatureFunction | None = None,
    models: Sequence[str] | None = None,
    cutoffs: int = 16,
    seed: int = 0,
    progress: Progress = silent,
) -> LeakReport:
    """Look for leaks in a recipe, a model or a function of your own.

    Parameters
    ----------
    subject : Recipe, str or callable, optional
        A recipe: its inputs, windows and labels, and models. A name in `models.KINDS` or
        `models.pool.POOL_NAMES`: that model alone. Factors and kinds of events that are read but not held are
        made up, so that each of them is judged. A function from a `History` to a table: columns symbol,
        session and one per feature, where the row of a session may use what was known at its close; or
        forecasts, with a column ``cutoff`` beside (such as ``Backtest.forecasts``). Levels of
        `History.prices` are told as a leak, being scaled by later splits and dividends; ratios of
        them, and `History.traded`, are not. Default: ``Recipe()``.
    models : sequence of str, optional
        Names to check with a recipe; default: the classical kinds and its cells. Networks are small and
        trained for one epoch only: a leak needs no skill. A pool is judged by its forecasts in a short
        walk-forward backtest, where the weights of the second fold are learned on the first.
    cutoffs : int
        Moments whose future is rewritten, for inputs, labels and functions of sessions; for models
        and forecasts, which take longer, a quarter of them, and three at least.
    seed : int
        Of the rewriting and the choice of moments.

    Raises
    ------
    UsageError
        If a function's table is not as above, gives two answers on one history, or does not depend on the
        history at all; or for an unknown model.
    TooLittleHistory
        If a subject has no value to compare.
    """
    if callable(subject):
        return LeakReport((_check_function(history, subject, cutoffs, seed),))
    recipe = subject if isinstance(subject, Recipe) else Recipe()
    quick = recipe.but(epochs=1, seeds=1, units=min(recipe.units, FEW_UNITS))
    wanted = models if models is not None else (*CLASSICAL, *recipe.cells)
    names = (subject,) if isinstance(subject, str) else wanted
    with_members(names, quick)  # Refuses an unknown name before anything is computed.
    chosen = history.only(recipe.universe) if recipe.universe else history
    told, made_up = _complete(chosen, recipe, seed)
    windows = subjects.windows_of(recipe, told)
    checks: list[Check] = []
    with progress("Leak check", len(names) + 1) as advance:
        if not isinstance(subject, str):
            own = windows if told is chosen else subjects.windows_of(recipe, chosen)
            checks += _check_recipe(chosen, recipe, own, cutoffs, seed)
            checks += _check_made_up(told, recipe, windows, made_up, _fewer(cutoffs), seed)
        advance("inputs, windows, labels")
        for name in names:
            check = _check_pool if name in POOL_NAMES else _check_kind
            checks += check(told, quick, windows, name, _fewer(cutoffs), seed)
            advance(checks[-1].what)
    return LeakReport(tuple(checks))


def _complete(history: History, recipe: Recipe, seed: int) -> tuple[History, tuple[str, ...]]:
    """Make up the factors and kinds of events that a recipe reads and a history lacks; name them."""
    if "exogenous" not in recipe.groups:
        return history, ()
    held = set(history.factors["name"])
    factors = [name for name in FACTORS if name not in held]
    if not any(name.startswith(PREFIX) for name in held):
        factors += SECTORS
    kinds = [kind for kind in KINDS if kind not in set(history.events["kind"])]
    told = with_factors(history, factors, seed) if factors else history
    return with_events(told, kinds, seed) if kinds else told, (*factors, *kinds)


def _check_recipe(history: History, recipe: Recipe, windows: Windows, cutoffs: int, seed: int) -> list[Check]:
    views = (
        Subject("inputs", subjects.input_cells),
        Subject("windows", subjects.window_cells),
        Subject("labels", subjects.label_cells),
    )
    prepare = partial(subjects.windows_of, recipe)
    moments = telling_moments(history, cutoffs, seed)
    *checks, labels = compare(views, prepare, history, windows, moments, seed=seed)
    wrong = subjects.wrong_label(windows, history, moments)
    return [*checks, replace(labels, leak=wrong or labels.leak)]


def _check_made_up(
    history: History, recipe: Recipe, windows: Windows, made_up: Sequence[str], cutoffs: int, seed: int
) -> list[Check]:
    """Check the inputs again where factors or events had to be made up."""
    if not made_up:
        return []
    views = (
        Subject("inputs with factors and events", subjects.input_cells),
        Subject("windows with factors and events", subjects.window_cells),
    )
    prepare = partial(subjects.windows_of, recipe)
    checks = compare(views, prepare, history, windows, telling_moments(history, cutoffs, seed), seed=seed)
    note = f"made up, as none is held: {', '.join(made_up)}"
    return [replace(check, note=_joined(note, check.note)) for check in checks]


def _check_kind(
    history: History, recipe: Recipe, windows: Windows, name: str, cutoffs: int, seed: int
) -> list[Check]:
    """Check what a kind learns at a refit, and what it makes of later windows once it is fitted."""
    days = np.unique(windows.panel.known_at[windows.ends])
    if len(days) < 4:
        raise TooLittleHistory(
            f"{name}: {len(days)} sessions have full windows; bring a longer history to check a fit on"
        )
    first, second = min(REFITS[0], 3 * len(days) // 4), min(REFITS[1], len(days) - 2)
    # A network's fit takes long, and another would read nothing that the first does not.
    is_network = name in NETWORKS
    refits = days[[first]] if is_network else days[[first, second]]
    rewritings = ("made up",) if is_network else ("made up", "cut off")

    def learn(windows: Windows, moment: np.datetime64) -> Forecaster:
        return kind(name, recipe).fit(windows, moment, lambda note: None)

    model = learn(windows, refits[0])

    def learned(other: Windows, moment: np.datetime64) -> pd.DataFrame:
        fitted = model if other is windows and moment == refits[0] else learn(other, moment)
        return subjects.forecast_cells(fitted, other, subjects.ends_around(other, moment, AROUND))

    def forecast(other: Windows, moment: np.datetime64) -> pd.DataFrame:
        ends = subjects.ends_around(other, moment, AROUND, AROUND)
        return subjects.forecast_cells(model, other, ends)

    prepare = partial(subjects.windows_of, recipe)
    fit = Subject(f"fit of {name}", learned, "cutoff", exact=False)
    use = Subject(f"forecasts of {name}", forecast, "cutoff", exact=False)
    later = _spread(days[first + 1 : -1], cutoffs)
    checks = [
        *compare([fit], prepare, history, windows, refits, rewritings, seed),
        *compare([use], prepare, history, windows, later, ("made up",), seed),
    ]
    note = f"trained for one epoch, {recipe.units} units" if is_network else ""
    return [replace(check, note=_joined(check.note, note)) for check in checks]


def _check_pool(
    history: History, recipe: Recipe, windows: Windows, name: str, cutoffs: int, seed: int
) -> list[Check]:
    """Check a pool's forecasts in a walk of two folds, over as little of the history as that takes."""
    fold = FEWEST_DATES + recipe.horizon
    plan = Plan(folds=2, test_sessions=2 * fold)
    plan.cut(windows)
    sessions = np.unique(windows.panel.session[windows.ends])
    short = history.until(sessions[: REFITS[0] + recipe.lookback + 2 * fold][-1])
    bare = recipe.but(universe=())

    def forecasts(history: History) -> pd.DataFrame:
        table = backtest(history, bare, models=[name], plan=plan).forecasts
        return table[table["model"] == name]

    what = f"forecasts of {name}"
    prepare = partial(subjects.function_cells, forecasts, what)
    refits = np.array([one.refit for one in plan.cut(subjects.windows_of(bare, short))])
    truth = prepare(short)
    later = _cutoffs_known_at(truth, short)
    moments = np.union1d(refits, _spread(later[later > refits[0]][:-1], cutoffs - len(refits)))
    (check,) = _compare_forecasts(what, prepare, short, truth, moments, seed)
    quick = f"networks trained for one epoch, {recipe.units} units" if scheme(name, recipe).networks else ""
    return [replace(check, note=_joined(check.note, f"walk of two folds up to {short.as_of.date()}", quick))]


def _check_function(history: History, function: FeatureFunction, cutoffs: int, seed: int) -> Check:
    what = f"function {getattr(function, '__name__', type(function).__name__)}"
    prepare = partial(subjects.function_cells, function, what)
    try:
        truth = prepare(history)
    except DataError as error:
        raise UsageError(str(error)) from error
    if "cutoff" in truth.index.names:
        moments = _spread(_cutoffs_known_at(truth, history)[:-1], _fewer(cutoffs))
        (check,) = _compare_forecasts(what, prepare, history, truth, moments, seed)
    else:
        moments = telling_moments(history, cutoffs, seed)
        features = Subject(what, lambda table, moment: table, exact=False)
        (check,) = compare([features], prepare, history, truth, moments, seed=seed)
    if len(check.still) == check.features:
        raise UsageError(
            f"{what}: whatever the future, none of its columns moves anywhere; it does not read the "
            f"history that it is given, so there is nothing to check"
        )
    unjudged = f"not judged, as no rewriting moves them: {', '.join(check.still)}" if check.still else ""
    return replace(check, note=_joined(unjudged, check.note))


def _cutoffs_known_at(forecasts: pd.DataFrame, history: History) -> np.ndarray:
    """Moments at which the cutoffs of a table of forecasts were known, ascending."""
    keys = forecasts.index.to_frame(index=False)
    return np.unique(known_at(keys["symbol"], keys["cutoff"], history.instruments))


def _compare_forecasts(
    what: str,
    prepare: Callable[[History], pd.DataFrame],
    history: History,
    truth: pd.DataFrame,
    moments: np.ndarray,
    seed: int,
) -> list[Check]:
    forecasts = Subject(what, partial(subjects.without_outcomes, history), "cutoff", exact=False)
    # Made up only: without its last sessions a backtest lays its folds elsewhere, which is no leak.
    return compare([forecasts], prepare, history, truth, moments, ("made up",), seed)


def _fewer(cutoffs: int) -> int:
    return max(3, cutoffs // 4)


def _spread(moments: np.ndarray, count: int) -> np.ndarray:
    """Take at most `count` moments, evenly, the first and the last among them."""
    return np.unique(moments[np.linspace(0, len(moments) - 1, min(count, len(moments))).astype(int)])


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
