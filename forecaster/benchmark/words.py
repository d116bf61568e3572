"""Words of the report that do not depend on what was run, and small change."""

from collections.abc import Sequence

QUICK = (
    "A quick run: one refit, the last year, barely trained networks. It shows that everything works; "
    "it is no evidence for or against any model."
)

GLOSSARY = {
    "Last price": (
        "The forecast \u201ctomorrow = today\u201d, with the spread of the last 250 returns. Its median is "
        "hard to beat by anybody; its spread is not. A gain over it is a gain in telling how far prices "
        "move."
    ),
    "Log score": (
        "Minus the logarithm of the density that a forecast gave to what happened, in nats; lower is "
        "better. A gain of 0.02 nats means 2 % more probability density on what happened, on average."
    ),
    "CRPS": (
        "Continuous ranked probability score: the distance between the forecast distribution and the "
        "outcome, in per cent of the price; lower is better. For a forecast of one number it is the "
        "absolute error. It moves little: a wrong spread that costs 1 % of it costs about 0.03 nats of log "
        "score."
    ),
    "Pinball loss": (
        "How far a quantile was missed, with the weights that make the true quantile the best answer; at 1 "
        "and 99 % it judges the tails. In basis points (hundredths of a per cent) of the price."
    ),
    "QLIKE": (
        "A loss of the forecast variance alone, in nats; it ranks right although a squared return is a "
        "noisy measure of variance (Patton 2011)."
    ),
    "Coverage": (
        "The share of outcomes inside a range. A range of 90 % should hold 90 %, and in calm as in stormy "
        "times: that is what the coverage over thirds of the forecast volatility tells."
    ),
    "PIT": (
        "Probability integral transform: the probability that the forecast gave to anything below the "
        "outcome. Of calibrated forecasts it is spread evenly between 0 and 1."
    ),
    "Diebold-Mariano test": (
        "Is the mean difference of two models' losses more than luck? Losses are averaged over the stocks "
        "of a date first, since stocks move together, and errors allow for dates that depend on each other."
    ),
    "p-value": (
        "How often a difference as large would show by chance if there were none. Below .05 it is called "
        "significant here; not distinguishable does not mean equal."
    ),
    "95 % interval": "The range of true differences that the data do not speak against.",
    "Model confidence set": (
        "What is left when one model after another that is significantly worse than the rest is taken out: "
        "all that could be the best (Hansen, Lunde and Nason 2011)."
    ),
    "False-discovery control": (
        "Of a hundred useless models five pass a test at .05. With many stocks the bar is raised until no "
        "more than 5 % of those called significant are expected to be false (Benjamini and Hochberg 1995)."
    ),
    "Walk-forward": (
        "Refit at a date on what was known then, forecast up to the next refit, go on. An outcome some "
        "sessions ahead teaches only those refitted after it."
    ),
}

LIMITS = [
    "Not investment advice: these are probabilities, without promise, and no cost of trading is in them.",
    "The stocks are those in the price file. A list of today's companies leaves out those that failed, which "
    "flatters every model; differences between models suffer less than their levels.",
    "One stretch of history is one draw. What held in it may not hold in the next.",
    "Whoever tries many models and shows the best finds luck. Every model that was run stands in the tables.",
    "Returns include dividends where the price file tells them. Prices are those of the file: their terms of "
    "use are its source's, and Yahoo's are for personal use.",
]

RECOMPUTE = """\
import pandas as pd
from forecaster.evaluation.scores import score

table = pd.read_parquet("DIR/forecasts")
print(score([rows for _, rows in table.groupby("model", observed=True)]).overall)"""


def ahead(step: int) -> str:
    """Write how far a forecast looks: ``1 session ahead``."""
    return f"{count(step, 'session')} ahead"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 session``, ``5 sessions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Write words as a list within a sentence: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def lasted(seconds: float) -> str:
    """Write a stretch of time: ``40 s``, ``12 min``, ``1 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
