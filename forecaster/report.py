"""What a person or a program reads of a forecast: prices, probabilities, caveats, scores."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability, verdict
from forecaster.history import History
from forecaster.models import SERVED, TITLES
from forecaster.models.tabulate import as_prices
from forecaster.remedies import LIVE
from forecaster.tables import QUANTILE_COLUMNS

if TYPE_CHECKING:
    from forecaster.health import Health

LOSS = 0.05
"""Fraction of the last price; the report tells the probability of losing more."""

DEMONSTRATION = (
    "Demonstration on the bundled sample: it ends in the past, and so do its forecasts. This workspace keeps "
    f"to it; for live prices begin another: `{LIVE}`, then `python -m forecaster dashboard --home mydata`."
)


def forecast_report(
    table: pd.DataFrame, history: History, scores: pd.DataFrame, state: "Health | None" = None
) -> dict[str, Any]:
    """Express one symbol's forecast as JSON-ready values.

    Parameters
    ----------
    table : DataFrame
        The symbol's rows of the forecasts table.
    history : History
        Where the symbol's currency stands.
    scores : DataFrame
        Score table of the model version.
    state : Health, optional
        How far the forecast can be relied on today, where it is today's.

    Returns
    -------
    dict
        symbol, currency, cutoff, base_price, version, verdict (in words, by sessions ahead),
        beats_last_price (at one session ahead: true, false if it loses to it, null where the test cannot
        tell), state ("good", "low confidence", "stale"; null for a session of the past) with its reasons,
        data_age and model_age (sessions), demonstration, low_confidence (why the inputs are unlike the
        training, or empty), note, and ``rows``, one per session ahead: step,
        session, price quantiles (q01 ... q99), prob_up and prob_loss (of losing more than 5 %).
    """
    prices = as_prices(table, LOSS)
    first = prices.iloc[0]
    words = {int(step): verdict(scores, step) for step in sorted(scores["step"].unique())}
    shown = sorted({min(words), max(words)}) if words else []
    ends = [f"At {step} session{'s' if step > 1 else ''} ahead: {words[step]}" for step in shown]
    rows = [
        {"step": row["step"], "session": str(row["session"].date())}
        | {name: round(row[name], 4) for name in (*QUANTILE_COLUMNS, "prob_up", "prob_loss")}
        for row in prices.to_dict("records")
    ]
    return {
        "symbol": str(first["symbol"]),
        "currency": history.instruments[first["symbol"]].currency,
        "cutoff": str(first["cutoff"].date()),
        "base_price": round(float(first["base_price"]), 4),
        "version": str(table["version"].iloc[0]),
        "verdict": words,
        "beats_last_price": beats_last_price(scores),
        "state": None if state is None else state.level,
        "reasons": [] if state is None else list(state.reasons),
        "data_age": None if state is None else state.data_age,
        "model_age": None if state is None else state.model_age,
        "demonstration": history.is_demonstration,
        "low_confidence": doubt_of(table),
        "note": " ".join([*([DEMONSTRATION] if history.is_demonstration else []), *ends]),
        "rows": rows,
    }


def beats_last_price(scores: pd.DataFrame, step: int = 1) -> bool | None:
    """Whether the served forecast beats the last price in log score; None where the test cannot tell."""
    mine = scores[(scores["step"] == step) & (scores["model"] == SERVED)]
    if mine.empty or not mine["log_score_p"].iloc[0] < LEVEL:
        return None
    return bool(mine["log_score_gain"].iloc[0] > 0)


def doubt_of(table: pd.DataFrame) -> str:
    """Say why a symbol's forecast is of low confidence; empty if nothing speaks against it, or ever did."""
    told = table["doubt"].iloc[0]
    return "" if pd.isna(told) else str(told)


def score_rows(scores: pd.DataFrame, step: int = 1) -> pd.DataFrame:
    """Prepare the score table of one step for reading, best log score first.

    Returns
    -------
    DataFrame
        One row per model, text columns with units in their headings.
    """
    rows = scores[scores["step"] == step].sort_values("log_score", ignore_index=True)
    inside = rows.get("in_confidence_set", pd.Series(None, rows.index, dtype=object)).astype(object)
    direction_p = rows.get("direction_p", pd.Series(np.nan, rows.index)).astype(float)
    return pd.DataFrame(
        {
            "Model": rows["model"].map(TITLES) + rows["is_best"].map({True: " (best)", False: ""}),
            "Log score, nats": _signed(rows["log_score"], 4),
            "Gain on last price, nats": _signed(rows["log_score_gain"], 4),
            "Test": [probability(p) for p in rows["log_score_p"]],
            "In 90 % set": inside.map({True: "yes", False: "no"}).fillna("not tested"),
            "CRPS, %": _plain(100 * rows["crps"], 3),
            "CRPS skill, %": _signed(rows["crps_skill"], 2),
            "Pinball 1/5/95/99 %, bp": [
                " / ".join(f"{row[f'pinball_{level:02d}']:.1f}" for level in (1, 5, 95, 99))
                for row in rows.to_dict("records")
            ],
            "Coverage 50/80/90/98 %": [
                " / ".join(f"{row[f'coverage_{level}']:.1f}" for level in (50, 80, 90, 98))
                for row in rows.to_dict("records")
            ],
            "Direction, %": [
                "none" if np.isnan(hits) else f"{hits:.1f} ({probability(p)})"
                for hits, p in zip(rows["direction"], direction_p, strict=True)
            ],
            "Price error, %": _plain(rows["mae"], 3),
            "Error test": [probability(p) for p in rows["mae_p"]],
        }
    )  # fmt: skip


def _plain(values: pd.Series, digits: int) -> list[str]:
    return ["none" if np.isnan(value) else f"{value:.{digits}f}" for value in values]


def _signed(values: pd.Series, digits: int) -> list[str]:
    return ["none" if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "\u2212") for value in values]
