"""Which model won and by how much, in words that never say more than the tests allow."""

import numpy as np
import pandas as pd

from forecaster.dashboard.texts import count, listed, plain
from forecaster.evaluation.ranking import Ranking
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability
from forecaster.models import LAST_PRICE, SERVED, TITLES
from forecaster.score_plots import family

UNITS = {"log_score": (1.0, "nats", 4), "crps": (100.0, "%", 4)}
"""Score -> factor, words and digits of its unit."""

NAMES = {"log_score": "log score", "crps": "CRPS"}


def told(ranking: Ranking, where: str) -> list[str]:
    """Say which model won and by how much, and how the best network stands to the best classical model.

    Parameters
    ----------
    ranking : Ranking
        Of two models or more.
    where : str
        Of what: ``1 session ahead, 2022, AAPL``.

    Returns
    -------
    list of str
        Sentences in Markdown.
    """
    order, where = [str(model) for model in ranking.models["model"]], plain(where)
    first, second = (plain(called(model)) for model in order[:2])
    test = ranking.test(order[1], order[0])
    lead, p = f"{written(test.difference, ranking.score)} a forecast", probability(test.p_value)
    lowest = f"{capital(first)} has the lowest {NAMES[ranking.score]}"
    is_in = ranking.models["included"].fillna(False).astype(bool)
    beside = [
        called(model) for model, inside in zip(order, is_in, strict=True) if inside and model != order[0]
    ]
    if ranking.winner:
        what = (
            f"**{capital(first)} won {where}**, by {lead} over {second} ({p}); it is alone in the 90 % model "
            f"confidence set."
        )
    elif beside:
        what = (
            f"**No model won {where}.** {lowest}, {lead} below {second} ({p}), but {plain(listed(beside))} "
            f"{'is' if len(beside) == 1 else 'are'} not distinguishable from it: the 90 % model confidence "
            f"set holds {count(len(beside) + 1, 'model')}."
        )
    elif is_in.any():
        what = (
            f"**No model won {where}.** {lowest} and is alone in the 90 % model confidence set, but its lead "
            f"of {lead} over {second} ({p}) is not sure enough to call it best."
        )
    else:
        what = (
            f"**No winner is named {where}:** {count(ranking.dates, 'date')} are too few for a model "
            f"confidence set. {lowest}, {lead} below {second} ({p})."
        )
    return [what, *_families(ranking)]


def most_often(table: pd.DataFrame, by: str) -> str:
    """Say which model comes first in most groups, and in how many its lead is more than luck.

    Parameters
    ----------
    table : DataFrame
        `evaluation.ranking.leads`, not empty.
    by : str
        What a group is, in the singular.
    """
    wins = table["first"].value_counts()
    best = [called(str(model)) for model in wins.index[wins == wins.iloc[0]]]
    verb = "has" if len(best) == 1 else "each have"
    said = (
        f"{plain(capital(listed(best)))} {verb} the lowest loss in {wins.iloc[0]} of {count(len(table), by)}"
    )
    tested = int(table["q_value"].notna().sum())
    if not tested:
        return f"{said}; no lead could be tested."
    sure = int((table["q_value"] < LEVEL).sum())
    of = f" of the {tested} tested" if tested < len(table) else ""
    return f"{said}; the lead over the next is significant in {sure or 'none'}{of} (q < .05)."


def called(model: str) -> str:
    """Name a model within a sentence, without a comma."""
    if model == SERVED:
        return "the served forecast"
    if model == LAST_PRICE:
        return "the last price"
    base, comma, rest = TITLES[model].partition(", ")
    return f"the last price with {rest}" if comma else base


def written(loss: float, score: str) -> str:
    """Write a difference of losses with its unit."""
    factor, unit, digits = UNITS[score]
    return f"{factor * loss:.{digits}f} {unit}"


def capital(words: str) -> str:
    """Begin a sentence with words."""
    return words[0].upper() + words[1:]


def _families(ranking: Ranking) -> list[str]:
    bests = {family(str(model)): str(model) for model in ranking.models["model"][::-1]}
    if not {"network", "classical"} <= set(bests):
        return []
    test = ranking.test(bests["network"], bests["classical"])
    facts = f"({written(abs(test.difference), ranking.score)} a forecast, {probability(test.p_value)})"
    if np.isnan(test.p_value):
        verb = "could not be tested against"
    elif test.p_value >= LEVEL:
        verb = "is not distinguishable from"
    else:
        verb = "beats" if test.difference < 0 else "loses to"
    return [
        f"Of the networks {plain(called(bests['network']))} is the best here; it {verb} "
        f"{plain(called(bests['classical']))}, the best classical model here {facts}."
    ]
