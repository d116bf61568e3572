"""Prices of five made-up companies, with events that show in them as planted."""

import numpy as np
import pandas as pd

from forecaster.events import COLUMNS, checked
from forecaster.history import History, history_of
from forecaster.instruments import Instrument
from forecaster.sessions import all_sessions, closes

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
FIRST, COUNT = 7820, 1150
DAYS = all_sessions("XNYS")[FIRST : FIRST + COUNT]
CLOSES = pd.DatetimeIndex(closes("XNYS", DAYS), tz="UTC")
JUMP, WIDE, SIGMA = 0.08, 0.04, 0.01
INSTRUMENTS = {name: Instrument(name, name, "XNYS", "America/New_York", "USD") for name in SYMBOLS}


def event(symbol: str, day: int, kind: str, tone: float = np.nan, **changed: object) -> dict[str, object]:
    """An event that moves the session of that number: known two hours after the close before."""
    moment = CLOSES[day - 1] + pd.Timedelta(hours=2)
    row = dict.fromkeys(COLUMNS, "") | {"symbol": symbol, "kind": kind, "happened_at": moment}
    return row | {"known_at": moment, "tone": tone, "magnitude": np.nan, "source": "wire"} | changed


def planted() -> tuple[pd.DataFrame, np.ndarray]:
    """Events, and log returns in which they show.

    Changes of leadership jump with their tone and are followed by stormy weeks; results are wide, whatever
    their tone; policy does nothing.
    """
    draw = np.random.default_rng(7)
    returns = SIGMA * (0.5 * draw.normal(size=(COUNT, 1)) + draw.normal(size=(COUNT, len(SYMBOLS))))
    jumps, storm = np.zeros_like(returns), np.ones_like(returns)
    rows = []
    for place, symbol in enumerate(SYMBOLS):
        for day in range(150 + 7 * place, COUNT - 15, 63):
            rows.append(event(symbol, day, "results", draw.choice([-0.5, 0.0, 0.5])))
            jumps[day, place] += WIDE * draw.normal()
        for day in np.sort(draw.choice(np.arange(120, COUNT - 15), 24, replace=False)):
            tone = draw.choice([-0.8, 0.0, 0.8, np.nan])
            rows.append(event(symbol, int(day), "leadership", tone))
            storm[day + 1 : day + 9, place] = 2.5
            jumps[day, place] += JUMP * np.nan_to_num(tone)
        quiet = draw.choice(np.arange(120, COUNT - 15), 12, replace=False)
        rows += [event(symbol, int(day), "policy", draw.choice([-0.5, 0.5])) for day in quiet]
    # Everybody's on one day: one draw, not five.
    rows += [event(symbol, 400, "restructuring") for symbol in SYMBOLS]
    return checked(pd.DataFrame(rows), "planted"), storm * returns + jumps


def history_from(events: pd.DataFrame, returns: np.ndarray) -> History:
    price = 100 * np.exp(np.cumsum(returns, axis=0))
    draw = np.random.default_rng(8)
    parts = []
    for place, symbol in enumerate(SYMBOLS):
        close = price[:, place]
        opened = np.append(100.0, close[:-1])
        reach = 1 + 0.004 * draw.random(len(close))
        parts.append(
            pd.DataFrame(
                {
                    "symbol": symbol, "session": DAYS[: len(close)], "open": opened,
                    "high": np.maximum(opened, close) * reach, "low": np.minimum(opened, close) / reach,
                    "close": close, "adj_close": close, "volume": 1e6, "source": "made",
                }
            )
        )  # fmt: skip
    return history_of(pd.concat(parts, ignore_index=True), INSTRUMENTS, events=events)
