"""The verdict in words, never stronger than the tests allow."""

import numpy as np
import pandas as pd

from forecaster.evaluation.significance import LEVEL
from forecaster.models import SERVED, TITLES

NEGLIGIBLE = 0.1
"""Per cent of the last price's error below which a difference is not worth a word."""


def verdict(scores: pd.DataFrame, step: int = 1, model: str = SERVED) -> str:
    """Say what the scores of one model at one step allow to say.

    Parameters
    ----------
    scores : DataFrame
        Output of `evaluation.scores.score_table`.
    """
    at_step = scores[scores["step"] == step]
    mine = at_step[at_step["model"] == model]
    if mine.empty:
        return f"{TITLES[model]}: not scored here. {_best(at_step)}"
    row = mine.iloc[0]
    return " ".join([_distribution(row), _price(row), _best(at_step)])


def _distribution(row: pd.Series) -> str:
    gain, p = row["log_score_gain"], row["log_score_p"]
    facts = f"({gain:+.3f} nats a forecast, {probability(p)}, {int(row['dates'])} dates)"
    if np.isnan(p):
        return f"It could not be tested against the last price: {int(row['dates'])} dates are too few."
    if p >= LEVEL:
        return f"It is not distinguishable from the last price in distribution {facts}."
    if gain > 0:
        return f"It beats the last price in distribution {facts}."
    return f"It is worse than the last price in distribution {facts}: do not rely on it."


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
    lowest = at_step.sort_values("log_score").iloc[0]
    title = TITLES[lowest["model"]]
    if lowest["is_best"]:
        return f"Best of all by log score: {title}."
    return f"The lowest log score is that of {title}, but not by enough to call it best."


def probability(p: float) -> str:
    """Write a p-value as a reader expects it: ``p < .001`` or ``p = .042``."""
    if np.isnan(p):
        return "not tested"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
