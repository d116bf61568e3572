"""Models against each other: networks against HARX, the usual order, every pair, confidence sets."""

from itertools import permutations

import numpy as np
import pandas as pd

from forecaster.benchmark.document import bullets, number, paragraph, table
from forecaster.benchmark.words import ahead
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability, reversals
from forecaster.models import NETWORKS, SERVED, TITLES

RIVAL = "harx"
"""The classical model that networks have to beat."""


def networks(scores: Scores, steps: list[int]) -> str:
    """Say at the first step, and show at all, whether networks and pools with them beat HARX."""
    heading = f"<h3>Networks against {TITLES[RIVAL]}</h3>"
    scored = set(scores.overall["model"])
    mine = [name for name in (*NETWORKS, SERVED, "pool") if name in scored]
    if RIVAL not in scored or not mine:
        missing = "no network was" if RIVAL in scored else f"{TITLES[RIVAL]} was not"
        return heading + paragraph(f"Not compared: {missing} run.")
    sentences = [_against(scores.tests, name, RIVAL, steps[0]) for name in mine]
    cells = {
        ahead(step).capitalize(): [gain(scores.tests, name, RIVAL, step) for name in mine] for step in steps
    }
    frame = pd.DataFrame({"Model": [TITLES[name] for name in mine], **cells})
    caption = f"Gain in log score over {TITLES[RIVAL]}, nats a forecast; positive is better"
    return heading + bullets(sentences) + table(frame, caption)


def out_of_order(scores: Scores, step: int) -> str:
    """Name the classical models that come out in another order than is usual; empty if none does."""
    found = reversals(scores, step)
    if not found:
        return ""
    lead = (
        "On most panels each of these models scores better than the one before it: constant width, "
        "rolling-250, EWMA, GARCH, GJR-GARCH, HARX. Here some pairs come out the other way round:"
    )
    return f"<h3>Out of the usual order</h3>{paragraph(lead)}{bullets(found)}"


def best(scores: Scores, steps: list[int]) -> str:
    """Show model confidence sets, and every pair of models with its test at the first step."""
    sets = scores.confidence_sets
    models = list(scores.overall[scores.overall["step"] == steps[0]].sort_values("log_score")["model"])
    cells = {}
    for loss, name in (("log_score", "Log score"), ("crps", "CRPS")):
        for step in steps:
            rows = sets[(sets["step"] == step) & (sets["loss"] == loss)].set_index("model")
            cells[f"{name}, {ahead(step)}"] = [
                _membership(rows["included"].get(model), rows["p_value"].get(model, np.nan))
                for model in models
            ]
    frame = pd.DataFrame({"Model": [TITLES[model] for model in models], **cells})
    words = (
        "The model confidence set holds every model that cannot be told from the best with 90 % confidence. "
        "A set of one names a winner; a large set says that the data do not decide."
    )
    return "".join(
        [
            paragraph(words, "hint"),
            table(frame, "90 % model confidence sets: whether a model is in, and the p-value of that"),
            "<h3>Every pair</h3>",
            _pairs(scores, models, steps[0]),
        ]
    )


def gain(tests: pd.DataFrame, model: str, rival: str, step: int) -> str:
    """Write the gain in log score of one model over another with its test."""
    nats, p = _test(tests, model, rival, step)
    return "none" if np.isnan(nats) else f"{number(nats, 4, signed=True)} ({probability(p)})"


def _pairs(scores: Scores, models: list[str], step: int) -> str:
    scored = scores.overall.loc[scores.overall["step"] == step].dropna(subset="log_score")["model"]
    known = [name for name in models if name in set(scored)]
    shades = np.zeros((len(known), len(known)))
    written = np.full(shades.shape, "\u00b7", dtype=object)
    for row, column in permutations(range(len(known)), 2):
        nats, p = _test(scores.tests, known[row], known[column], step)
        stars = sum(p < level for level in (0.05, 0.01, 0.001))
        shades[row, column] = np.sign(nats) * stars / 3
        written[row, column] = number(1000 * nats, 1, signed=True) + "*" * stars
    frame = pd.DataFrame(written, columns=[str(place) for place in range(1, len(known) + 1)])
    frame.insert(0, "Row over column", [f"{at}. {TITLES[name]}" for at, name in enumerate(known, 1)])
    caption = (
        f"Gain in log score of the row's model over the column's, thousandths of a nat, {ahead(step)}; "
        f"Diebold-Mariano tests over dates: * p < .05, ** p < .01, *** p < .001"
    )
    return table(frame, caption, shades)


def _membership(included: object, p: float) -> str:
    if included is None or pd.isna(p):
        return "not tested"
    return f"{'in' if included else 'out'} ({probability(p)})"


def _against(tests: pd.DataFrame, model: str, rival: str, step: int) -> str:
    nats, p = _test(tests, model, rival, step)
    if np.isnan(p):
        return f"{TITLES[model]} could not be tested against {TITLES[rival]}."
    facts = f"({number(nats, 4, signed=True)} nats a forecast, {probability(p)})"
    if p >= LEVEL:
        return f"{TITLES[model]} is not distinguishable from {TITLES[rival]} {facts}."
    return f"{TITLES[model]} {'beats' if nats > 0 else 'loses to'} {TITLES[rival]} {facts}."


def _test(tests: pd.DataFrame, model: str, rival: str, step: int) -> tuple[float, float]:
    """Return the gain in log score of one model over another and its p-value."""
    pair = (tests["model"] == model) & (tests["baseline"] == rival)
    rows = tests[pair & (tests["step"] == step) & (tests["loss"] == "log_score")]
    return next(
        ((-one, p) for one, p in zip(rows["difference"], rows["p_value"], strict=True)), (np.nan, np.nan)
    )
