"""What the inputs of a model are called where a reader meets them."""

from forecaster.features import ahead, company
from forecaster.features.trend import SPANS

_IN_VOLATILITIES = "(in units of the volatility before)"

TITLES: dict[str, str] = {
    **{f"trend.return_{span}": f"the return over {span} sessions {_IN_VOLATILITIES}" for span in SPANS},
    **{f"trend.range_{span}": f"the log trading range over {span} sessions" for span in SPANS},
    **{f"trend.volatility_{span}": f"the log volatility over {span} sessions" for span in SPANS},
    "trend.volatility_level": "the log volatility relative to that of some months",
    "trend.volatility_history": "the log volatility relative to that of some years",
    "trend.volume_trend": "the log volume of a week relative to that of a quarter",
    "previous_day.return": f"the last return {_IN_VOLATILITIES}",
    "previous_day.magnitude": f"the log size of the last return {_IN_VOLATILITIES}",
    "previous_day.gap": f"the last overnight gap {_IN_VOLATILITIES}",
    "previous_day.body": f"the last move from open to close {_IN_VOLATILITIES}",
    "previous_day.range": f"the log trading range of the last session {_IN_VOLATILITIES}",
    "previous_day.volume": "the log volume of the last session relative to the month before",
    "previous_day.volatility_change": "the log change of the volatility",
    "exogenous.market_return": "the market's return (in units of its volatility)",
    "exogenous.market_drop": "the market's fall (in units of its volatility)",
    "exogenous.market_volatility": "the market's log volatility relative to the symbol's",
    "exogenous.market_volatility_long": "the market's log volatility of some months relative to the symbol's",
    "exogenous.market_range": "the log trading range of the market's symbols",
    "exogenous.market_range_5": "the log trading range of the market's symbols over a week",
    "exogenous.volatility_index": "the log volatility index relative to the symbol's volatility",
    "exogenous.volatility_index_change": "the change of the volatility index",
    "exogenous.volatility_index_known": "whether a volatility index is known",
    "exogenous.rate_change": "the change of the ten-year yield",
    "exogenous.term_slope_change": "the change of the term slope of yields",
    "exogenous.rates_known": "whether yields are known",
    "exogenous.sector_return": "the return of the symbol's sector",
    "exogenous.sector_volatility": "the volatility of the symbol's sector",
    "exogenous.sector_known": "whether a sector is known",
    "exogenous.results_known": "whether results of the last quarter are known",
    "exogenous.results_today": "whether results moved the last session",
    "exogenous.results_recent": "the trace of recent results",
    "exogenous.results_tone": "the tone of recent results",
    "exogenous.results_surprise": "the surprise of recent results",
    "exogenous.results_plan_known": "whether dates of results are announced",
    "exogenous.dividend_plan_known": "whether ex-dividend dates are announced",
    **{f"exogenous.{kind}_known": f"whether news of {kind} is known" for kind in company.OTHERS},
    **{f"exogenous.{kind}_recent": f"the trace of recent news of {kind}" for kind in company.OTHERS},
    **{f"exogenous.{kind}_tone": f"the tone of recent news of {kind}" for kind in company.OTHERS},
    **{name: f"what the calendar says of {name.replace('_', ' ')}" for name in ahead.NAMES},
    "results_due": "the probability of announced results",
    "results_size": "the size of moves on results",
    "results_passed": "the trace of results before a session",
    "results_expected": "the probability of results without an announced date",
    "dividend_due": "the probability of an ex-dividend date",
}
"""Input -> title."""

_NEVER = {
    **dict.fromkeys(("results_due", "results_size", "results_passed"), "an announced date of results"),
    "results_expected": "results that were due without an announced date",
    "dividend_due": "an announced ex-dividend date",
    **dict.fromkeys(
        [f"exogenous.volatility_index{end}" for end in ("", "_change", "_known")], "a volatility index"
    ),
}
"""Input -> what training has never seen where the input was always 0."""


def unlike_training(name: str, value: float, low: float, high: float) -> str:
    """Say of an input what its value is, and where it lay in training.

    Parameters
    ----------
    low, high : float
        The range in training.
    """
    if low == high == 0 and name in _NEVER:
        return f"In its training the model has never seen {_NEVER[name]}."
    title = TITLES.get(name)
    what = name if title is None else f"{title[0].upper()}{title[1:]}"
    return f"{what} is {value:.3g}; in training it lay between {low:.3g} and {high:.3g}."
