"""Which version is served: the rules by which a challenger takes the champion's place.

A changed recipe has to be better; new weights of the champion's own recipe have to be no worse, on
sessions that neither has seen. Gains are asked for one session ahead; further ahead a changed recipe may
not be worse.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from forecaster.decisions import CHALLENGER, CHAMPION, evidence_of
from forecaster.evaluation.confidence import confidence_set
from forecaster.evaluation.significance import PairedTest, daily_losses, paired_test, same_losses
from forecaster.evaluation.verdict import probability
from forecaster.models import SERVED

LEVEL = 0.01
"""One-sided level at which a changed recipe has to beat the champion's."""

FEWEST_DATES = 250
"""Dates that it has to do so on."""

WORSE_LEVEL = 0.05
"""One-sided level at which it may not be worse at any other step that both backtests kept."""

COVERAGE_SLACK = 0.5
"""Points by which the 90 % coverage of a changed recipe may be further off than the champion's."""

MARGIN = 0.01
"""Nats a forecast that a refit may be worse, at most: the one-sided 95 % bound of its loss."""

FEWEST_TRIAL_DATES = 30
"""Dates on which a refit has to show it."""

COVERAGE_LIMIT = 3.0
"""Points that a refit's 90 % coverage may be off, or two standard errors if that is more."""

REFIT, ROLLBACK = "refit", "rollback"
"""Names of two rules, as a decision's evidence tells them: newer weights, and a version brought back."""


@dataclass(frozen=True)
class Ruling:
    """What a rule says of a challenger.

    Attributes
    ----------
    promoted : bool
    reason : str
        In words, with the figures that decided.
    evidence : dict
        The rule's name and its figures, JSON-ready.
    """

    promoted: bool
    reason: str
    evidence: dict[str, Any]


def changed_recipe(challenger: pd.DataFrame, champion: pd.DataFrame) -> Ruling:
    """Judge a recipe against the champion's by backtests over the same folds.

    It is promoted if its served forecast has the lower mean log score, one-sided Diebold-Mariano
    p < .01 on at least 250 dates; if its 90 % coverage is no further off than the champion's by more
    than half a point; if it is in the 90 % model confidence set of all models of its backtest and the
    champion; and if at no other step its log score is worse, one-sided p < .05.

    Parameters
    ----------
    challenger, champion : DataFrame
        Long tables of the two backtests.
    """
    mine, theirs = _first_step(challenger), _first_step(champion)
    own = mine[mine["model"] != SERVED]
    both = [mine[mine["model"] == SERVED].assign(model=CHALLENGER)]
    both.append(theirs[theirs["model"] == SERVED].assign(model=CHAMPION))
    test = _compared(both[0], both[1], horizon=1)
    p_value = _one_sided(test)
    worse = _worse_ahead(challenger, champion)
    off = [abs(_coverage(one) - 90) for one in both]
    rest = own[own["log_score"].notna()]
    members = confidence_set(daily_losses(pd.concat([rest, *both]), "log_score"), step=1)
    included = bool(members.set_index("model")["included"].get(CHALLENGER, False))
    facts = f"{-test.difference:+.4f} nats on {test.dates} common dates"
    facts += "" if np.isnan(p_value) else f", one-sided {probability(p_value)}"
    failed = []
    if test.dates < FEWEST_DATES:
        failed.append(f"{FEWEST_DATES} dates are asked for")
    if not p_value < LEVEL:
        failed.append(f"p < {LEVEL:g} is asked for".replace("0.", "."))
    if off[0] > off[1] + COVERAGE_SLACK:
        failed.append(f"its 90 % coverage is off by {off[0]:.1f} points, the champion's by {off[1]:.1f}")
    if not included:
        failed.append("it is outside the model confidence set")
    if worse:
        failed.append(f"it is worse {', '.join(map(str, worse))} sessions ahead")
    evidence = {
        "rule": "changed recipe",
        "gain_nats": -test.difference,
        "error_nats": test.error,
        "p_value": p_value,
        "dates": test.dates,
        "coverage_off": off[0],
        "champion_coverage_off": off[1],
        "in_confidence_set": included,
        "worse_ahead": ", ".join(map(str, worse)) or "nowhere",
    }
    verb = "does not earn the place" if failed else "beats the champion"
    return Ruling(not failed, f"{verb}: {'; '.join([facts, *failed])}", evidence)


def given_away(decisions: pd.DataFrame) -> float:
    """Add up what refits in a row have lost up to the champion, since a version took the place otherwise.

    A margin that is allowed each time would let many small losses pass one by one. A version that is
    brought back stands where it stood.

    Parameters
    ----------
    decisions : DataFrame
        Rows of the decisions table, oldest first.

    Returns
    -------
    float
        Nats a forecast; 0 if they have gained.
    """
    crowned = decisions[decisions["alias"] == CHAMPION]
    lost: dict[str, float] = {}
    version = ""
    for version, evidence in zip(crowned["version"], map(evidence_of, crowned["evidence"]), strict=True):
        if evidence.get("rule") == REFIT:
            lost[version] = lost.get(evidence["champion"], 0.0) - evidence["gain_nats"]
        elif evidence.get("rule") != ROLLBACK:
            lost[version] = 0.0
    return max(0.0, lost.get(version, 0.0))


def refit(trial: pd.DataFrame, lost: float = 0.0) -> Ruling:
    """Judge newer weights of the champion's recipe on sessions that neither has seen.

    They are promoted if the one-sided 95 % bound of their mean log score lies less than `MARGIN` above the
    champion's, on at least 30 dates; if all refits in a row together have not lost as much; and if their
    90 % coverage is off by no more than `COVERAGE_LIMIT`, two standard errors clustered by date, or the
    champion's.

    Parameters
    ----------
    trial : DataFrame
        Long table at one session ahead with the models "challenger" and "champion".
    lost : float
        What the refits before have lost, in nats a forecast; see `given_away`.
    """
    losses = daily_losses(trial, "log_score").reindex(columns=[CHALLENGER, CHAMPION])
    first, second = (losses[name].to_numpy() for name in (CHALLENGER, CHAMPION))
    test = paired_test(first, second, horizon=1)
    same = len(first) > 0 and same_losses(first, second)
    error = 0.0 if same else test.error
    bound = test.difference + error * special.stdtrit(max(test.dates - 1, 1), 0.95)
    off, clustered = coverage_off(trial[trial["model"] == CHALLENGER])
    theirs, _ = coverage_off(trial[trial["model"] == CHAMPION])
    limit = max(COVERAGE_LIMIT, 2 * clustered, abs(theirs) if len(losses) else 0.0)
    facts = f"{-test.difference:+.4f} nats on {test.dates} dates that neither had seen"
    failed = []
    if test.dates < FEWEST_TRIAL_DATES:
        failed.append(f"{FEWEST_TRIAL_DATES} dates are asked for")
    elif not bound < MARGIN:
        failed.append(f"it may be worse by {bound:.4f} nats, and {MARGIN:g} are allowed")
    elif test.difference > 0 and not lost + test.difference < MARGIN:
        failed.append(
            f"the refits before have lost {lost:.4f} nats, and {MARGIN:g} are allowed to all in a row"
        )
    if abs(off) > limit:
        failed.append(f"its 90 % coverage is off by {off:+.1f} points, and {limit:.1f} are allowed")
    evidence = {
        "rule": REFIT,
        "gain_nats": -test.difference,
        "error_nats": error,
        "worse_by_at_most_nats": bound,
        "margin_nats": MARGIN,
        "lost_before_nats": lost,
        "dates": test.dates,
        "coverage_off": off,
        "coverage_limit": limit,
    }
    verb = "newer weights are not taken" if failed else "newer weights, no worse than the champion's"
    return Ruling(not failed, f"{verb}: {'; '.join([facts, *failed])}", evidence)


def coverage_off(rows: pd.DataFrame) -> tuple[float, float]:
    """Tell how far the 90 % coverage is off, in points, and its standard error clustered by date."""
    miss = _covered(rows) - 90
    by_date = (miss - miss.mean()).groupby(rows["cutoff"]).sum()
    return float(miss.mean()), float(np.sqrt((by_date**2).sum()) / max(len(rows), 1))


def _first_step(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["step"] == 1]


def _compared(challenger: pd.DataFrame, champion: pd.DataFrame, horizon: int) -> PairedTest:
    """Compare two models' rows of one step; the first is better where the difference is below 0."""
    rows = pd.concat([challenger.assign(model=CHALLENGER), champion.assign(model=CHAMPION)])
    losses = daily_losses(rows, "log_score")
    return paired_test(losses[CHALLENGER].to_numpy(), losses[CHAMPION].to_numpy(), horizon)


def _worse_ahead(challenger: pd.DataFrame, champion: pd.DataFrame) -> list[int]:
    """Name the steps after the first at which a challenger's served forecast is worse."""
    mine, theirs = (one[(one["model"] == SERVED) & (one["step"] > 1)] for one in (challenger, champion))
    steps = sorted(set(mine["step"]) & set(theirs["step"]))
    tests = {
        step: _compared(mine[mine["step"] == step], theirs[theirs["step"] == step], step) for step in steps
    }
    return [int(step) for step, test in tests.items() if 1 - _one_sided(test) < WORSE_LEVEL]


def _one_sided(test: PairedTest) -> float:
    return test.p_value / 2 if test.difference < 0 else 1 - test.p_value / 2


def _covered(rows: pd.DataFrame) -> pd.Series:
    return 100.0 * rows["outcome"].between(rows["q05"], rows["q95"])


def _coverage(rows: pd.DataFrame) -> float:
    return float(_covered(rows).mean())
