"""The verdict in words, never stronger than the tests allow.

It is made from a score table alone, as it is stored. Tables of older versions lack some columns: what
they do not tell is left out, or said to be untested.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from forecaster.evaluation.comparisons import CLASSICAL_RIVALS
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.significance import LEVEL, enough_dates
from forecaster.models import LAST_PRICE, SERVED, TITLES, UNDATED

NEGLIGIBLE = 0.1
"""Per cent of the last price's error below which a difference is not worth a word."""

SUSPICIOUS_SKILL, SUSPICIOUS_DIRECTION = 2.0, 54.0
"""Per cent: gain in CRPS over GJR-GARCH-t one session ahead, and hits, above which a leak is likely."""

EXPECTED_ORDER = ("constant", "rolling_t", "ewma_t", "garch_t", "gjr_t", "harx")
"""Classical models, each of which usually has a lower log score than those before it."""

MADE_UP = (
    f"Dates of results from before they were stored count as announced ten sessions ahead; "
    f"{TITLES[UNDATED]} stands beside."
)


def verdict(scores: pd.DataFrame, step: int = 1, model: str = SERVED) -> str:
    """Say what the scores of one model at one step allow to say.

    Parameters
    ----------
    scores : DataFrame
        `Scores.overall`, or the stored table of a model version.
    """
    at_step = scores[scores["step"] == step]
    mine = at_step[at_step["model"] == model]
    if mine.empty:
        return f"{TITLES[model]}: not scored here. {_best(at_step)}".strip()
    row = mine.iloc[0]
    parts = [
        _distribution(row),
        _classical(row),
        _direction(row),
        _price(row),
        _best(at_step),
        _suspicion(row, at_step),
        MADE_UP if UNDATED in set(at_step["model"]) else "",
    ]
    return " ".join(part for part in parts if part)


def subject(scores: pd.DataFrame) -> str:
    """Name the model that a verdict speaks of: the served one, else the best one at the first step."""
    if SERVED in set(scores["model"]):
        return SERVED
    at_first = scores[scores["step"] == scores["step"].min()]
    return str(at_first.sort_values("log_score")["model"].iloc[0])


def summary(scores: pd.DataFrame, step: int = 1, model: str = SERVED) -> str:
    """Say the most important of it in phrases that may follow the model's name.

    Takes the arguments of `verdict`.
    """
    mine = scores[(scores["step"] == step) & (scores["model"] == model)]
    if mine.empty:
        return "is not scored here"
    row = mine.iloc[0]
    phrases = []
    if model != LAST_PRICE:
        phrases.append(_against_last_price(row).phrase("the last price in distribution"))
    if _rival(row):
        phrases.append(_against_classical(row).phrase(TITLES[_rival(row)]))
    return "; ".join([*phrases, _opinion(row)])


def reversals(scores: Scores, step: int = 1) -> list[str]:
    """Name each pair of classical models that comes out in another order than is usual.

    Returns
    -------
    list of str
        One sentence a pair, with the difference in log score and its test; empty if there is none.
    """
    tests = scores.tests[(scores.tests["step"] == step) & (scores.tests["loss"] == "log_score")]
    found = tests.set_index(["model", "baseline"])[["difference", "p_value"]]
    sentences = []
    for earlier, later in combinations(EXPECTED_ORDER, 2):
        difference, p = found.reindex([(later, earlier)]).iloc[0]
        if difference > 0:
            meaning = "a reversal" if p < LEVEL else "not distinguishable"
            sentences.append(
                f"{TITLES[later]} scores worse than {TITLES[earlier]} by {difference:.4f} nats "
                f"({probability(p)}): {meaning}."
            )
    return sentences


def probability(p: float) -> str:
    """Write a p-value as a reader expects it: ``p < .001`` or ``p = .042``."""
    if np.isnan(p):
        return "not tested"
    if p < 0.001:
        return "p < .001"
    # Next to the level one digit more: .050 could be either side of it.
    digits = 4 if f"{p:.3f}" == f"{LEVEL:.3f}" and p != LEVEL else 3
    return f"p = {p:.{digits}f}".replace("0.", ".")


@dataclass(frozen=True)
class _Comparison:
    """Gain over another model, positive is better, in the words of its unit, and its p-value."""

    gain: float
    p: float
    words: str

    @property
    def verb(self) -> str:
        if self.p >= LEVEL:
            return "is not distinguishable from"
        return "beats" if self.gain > 0 else "loses to"

    def phrase(self, other: str) -> str:
        if np.isnan(self.p):
            return f"could not be tested against {other}"
        return f"{self.verb} {other} ({probability(self.p)})"


def _against_last_price(row: pd.Series) -> _Comparison:
    return _compare(row, "log_score_gain", "log_score_p", "crps_skill", "crps_p")


def _against_classical(row: pd.Series) -> _Comparison:
    names = ("gain", "p", "crps_skill", "crps_p")
    return _compare(row, *(f"best_classical_{name}" for name in names))


def _compare(row: pd.Series, gain: str, p: str, crps_skill: str, crps_p: str) -> _Comparison:
    nats = _number(row, gain)
    if np.isfinite(nats):
        return _Comparison(nats, _number(row, p), f"{nats:+.4f} nats a forecast")
    skill = _number(row, crps_skill)
    return _Comparison(skill, _number(row, crps_p), f"{skill:+.2f} % in CRPS")


def _number(row: pd.Series, name: str) -> float:
    value = row.get(name)
    return np.nan if pd.isna(value) else float(value)


def _rival(row: pd.Series) -> str:
    """Name the best classical model, unless it is the last price or not told."""
    name = row.get("best_classical")
    return "" if pd.isna(name) or name == LAST_PRICE else str(name)


def _distribution(row: pd.Series) -> str:
    if row["model"] == LAST_PRICE:
        return "It is the last price itself, which the others are measured by."
    dates, compared = int(row["dates"]), _against_last_price(row)
    if np.isnan(compared.p):
        reason = (
            "their losses are the same"
            if enough_dates(dates, int(row["step"]))
            else f"{dates} dates are too few"
        )
        return f"It could not be tested against the last price: {reason}."
    facts = f"({compared.words}, {probability(compared.p)}, {dates} dates)"
    warning = ": do not rely on it" if compared.verb == "loses to" else ""
    return f"It {compared.verb} the last price in distribution {facts}{warning}."


def _classical(row: pd.Series) -> str:
    if not _rival(row):
        return ""
    which = "best other" if row["model"] in CLASSICAL_RIVALS else "best"
    title, compared = f"{TITLES[_rival(row)]}, the {which} classical model here", _against_classical(row)
    if np.isnan(compared.p):
        return f"It could not be tested against {title}."
    return f"It {compared.verb} {title} ({compared.words}, {probability(compared.p)})."


def _opinion(row: pd.Series) -> str:
    hits, p = _number(row, "direction"), _number(row, "direction_p")
    if np.isnan(hits):
        return "gives no opinion on direction"
    if np.isnan(p):
        return "direction is not tested"
    if p >= LEVEL:
        return "direction is not distinguishable from a coin"
    compared = "better" if _number(row, "direction_gain") > 0 else "worse"
    return f"direction is {compared} than chance ({hits:.1f} % right, {probability(p)})"


def _direction(row: pd.Series) -> str:
    hits, gain, p = (_number(row, name) for name in ("direction", "direction_gain", "direction_p"))
    if np.isnan(hits):
        return "It gives no opinion on direction."
    facts = f"{hits:.1f} % right, while {_number(row, 'share_up'):.1f} % of the outcomes were rises"
    if np.isnan(p):
        return f"Its direction ({facts}) could not be tested."
    if p >= LEVEL:
        return f"Its direction is not distinguishable from a coin ({facts}, {probability(p)})."
    compared = "more" if gain > 0 else "less"
    return (
        f"Its direction is right {abs(gain):.1f} points {compared} often than by chance "
        f"({facts}, {probability(p)})."
    )


def _price(row: pd.Series) -> str:
    off = f"Its median price is off by {row['mae']:.2f} % on average"
    if abs(row["mae_skill"]) < NEGLIGIBLE:
        return f"{off}, the same as the last price to within {NEGLIGIBLE} %."
    if np.isnan(row["mae_p"]):
        return f"{off}; whether that differs from the last price could not be tested."
    if row["mae_p"] >= LEVEL:
        return f"{off}, which is not distinguishable from the last price's error."
    compared = "less" if row["mae_skill"] > 0 else "more"
    return (
        f"{off}, {abs(row['mae_skill']):.1f} % {compared} than the last price ({probability(row['mae_p'])})."
    )


def _best(at_step: pd.DataFrame) -> str:
    rows = at_step.sort_values("log_score")
    if rows.empty:
        return ""
    lowest, scored = rows.iloc[0], rows["log_score"].notna()
    inside = rows.get("in_confidence_set", pd.Series(False, rows.index)).eq(True).fillna(False)
    by_log_score, by_crps = (
        [TITLES[model] for model in rows.loc[inside & chosen, "model"]] for chosen in (scored, ~scored)
    )
    title = TITLES[lowest["model"]]
    if lowest["is_best"]:
        words = f"Best of all by log score: {title}."
    elif len(by_log_score) > 1:
        words = f"Not distinguishable from the best by log score: {', '.join(by_log_score)}."
    elif rows.get("in_confidence_set", pd.Series(dtype=object)).notna().any():
        words = f"The lowest log score is that of {title}, but not by enough to call it best."
    else:
        words = f"The lowest log score is that of {title}; on so few dates none could be tested for best."
    if by_crps:
        words += f" By CRPS, {', '.join(by_crps)} (no log score) is not distinguishable from the best."
    return words


def _suspicion(row: pd.Series, at_step: pd.DataFrame) -> str:
    reasons = []
    gjr = at_step.loc[at_step["model"] == "gjr_t", "crps"]
    if row["step"] == 1 and len(gjr):
        skill = 100 * (1 - _number(row, "crps") / gjr.iloc[0])
        if skill > SUSPICIOUS_SKILL:
            reasons.append(f"a CRPS {skill:.1f} % below that of {TITLES['gjr_t']}")
    hits, rises = _number(row, "direction"), _number(row, "share_up")
    # Far ahead, calling nothing but rises is right that often.
    if hits > np.nanmax([SUSPICIOUS_DIRECTION, rises, 100 - rises]):
        reasons.append(f"{hits:.1f} % of directions right")
    if not reasons:
        return ""
    return f"Check it for a leak first: {' and '.join(reasons)} is more than an honest forecast attains."
