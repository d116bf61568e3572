"""What the page Today tells of each symbol of the watchlist, as one table."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from forecaster import ledger
from forecaster.adjust import adjusted, with_actions
from forecaster.dashboard import reads
from forecaster.events import by_exchange, moved_session
from forecaster.health import Health
from forecaster.instruments import Instrument, described
from forecaster.models.tabulate import as_prices
from forecaster.report import beats_last_price
from forecaster.sessions import all_sessions
from forecaster.store import Span, Store

PAST = 63
"""Sessions that a sparkline shows."""

DAYS = pd.Timedelta(days=100)
"""Calendar days that surely hold them."""

NOT_GIVEN = ["next_session", "median", "low", "high", "prob_up"]
"""What is not told of a forecast that is too old."""

WORDS = {
    True: "range: better than the last price's",
    None: "range: no better than the last price's",
    False: "range: worse than the last price's",
}
"""What the test says of the range, which the last price has too, with as much spread as it had before."""
NOT_TESTED = "not tested"


def watched() -> pd.DataFrame:
    """Return one row per symbol of the watchlist.

    Returns
    -------
    DataFrame
        Sorted by symbol: symbol, name, currency, source; closes (the last `PAST` ones, adjusted, a list),
        last (price) and last_session; next_session, median, low and high (90 % range, prices), prob_up
        (per cent) of the forecast that stands, one session after its cutoff, issued by version; results_in
        (sessions from the last price to the next announced results); confidence, why, and verdict. Where
        something is not known it is missing.
    """
    table = _watched(
        *reads.cache_key("watchlist", "instruments", "prices", "actions", "forecasts", "decisions", "events")
    )
    has_prices = table["last"].notna()
    states = reads.states(tuple(table.loc[has_prices, "symbol"]))
    told = [_confidence(row, states.get(row["symbol"])) for row in table.to_dict("records")]
    table["confidence"], table["why"] = (list(part) for part in zip(*told, strict=True)) if told else ([], [])
    table.loc[table["confidence"] == "expired", NOT_GIVEN] = None
    verdicts = {version: _verdict(version) for version in table["version"].dropna().unique()}
    table["verdict"] = table["version"].map(verdicts)
    return table


def _confidence(row: Mapping[Hashable, Any], state: Health | None) -> tuple[str, str]:
    if state is None:
        return "no prices", "None have arrived yet: python -m forecaster update"
    if pd.isna(row["version"]):
        return "no forecast", "None was issued yet, or its history is too short"
    reasons = [*state.reasons, *([row["doubt"]] if row["doubt"] else [])]
    cutoff, last = row["cutoff"], row["last_session"]
    if cutoff < last:
        reasons.append(f"Forecast from {cutoff:%Y-%m-%d}, with prices up to {last:%Y-%m-%d}")
    level = "low confidence" if state.level == "good" and reasons else state.level
    return level, ". ".join(reasons)


def _verdict(version: str) -> str:
    scores = reads.scores(version)
    return NOT_TESTED if scores.empty else WORDS[beats_last_price(scores)]


@st.cache_data(show_spinner=False, max_entries=4)
def _watched(folder: str, versions: tuple[int, ...]) -> pd.DataFrame:
    store = reads.opened(folder)
    rows = store.current("watchlist")
    symbols = list(rows.loc[rows["watched"], "symbol"])
    known = described(store.current("instruments", where={"symbol": symbols}))
    spans = {symbol: span for symbol, span in store.spans().items() if symbol in known}
    parts = [_prices(store, [one for one in symbols if one in spans], spans), _forecasts(store)]
    facts: dict[str, dict[str, Any]] = {
        "name": {symbol: one.name for symbol, one in known.items()},
        "currency": {symbol: one.currency for symbol, one in known.items()},
        "source": {symbol: span.source for symbol, span in spans.items()},
        "results_in": _results_in(store, known, spans),
    }
    table = pd.concat([pd.DataFrame(index=symbols), *(part.reindex(symbols) for part in parts)], axis=1)
    table = table.assign(**{name: table.index.map(values) for name, values in facts.items()})
    return table.rename_axis("symbol").reset_index()


def _prices(store: Store, symbols: list[str], spans: Mapping[str, Span]) -> pd.DataFrame:
    """Read the last closes; of a symbol that ended earlier than the others, all that it has."""
    since = max((spans[symbol].last for symbol in symbols), default=pd.Timestamp(0)) - DAYS
    recent = [symbol for symbol in symbols if spans[symbol].last > since]
    ended = [symbol for symbol in symbols if symbol not in set(recent)]
    bars = pd.concat([
        store.current("prices", where={"symbol": recent}, since=since),
        store.current("prices", where={"symbol": ended}),
    ])  # fmt: skip
    actions = store.current("actions", where={"symbol": symbols})
    closes = adjusted(with_actions(bars.reset_index(drop=True), actions)).groupby("symbol")
    return pd.DataFrame(
        {
            "closes": closes["close"].agg(lambda one: one.tail(PAST).tolist()),
            "last": closes["close"].last(),
            "last_session": closes["session"].last(),
        }
    )


def _forecasts(store: Store) -> pd.DataFrame:
    rows = ledger.latest(store)
    first = rows[rows["step"] == 1].set_index("symbol")
    prices = as_prices(first.reset_index()).set_index("symbol")
    return pd.DataFrame(
        {
            "cutoff": first["cutoff"],
            "next_session": first["session"],
            "median": prices["q50"],
            "low": prices["q05"],
            "high": prices["q95"],
            "prob_up": 100 * prices["prob_up"],
            "version": first["version"],
            "doubt": first["doubt"].fillna(""),
        }
    )


def _results_in(
    store: Store, instruments: Mapping[str, Instrument], spans: Mapping[str, Span]
) -> dict[str, int]:
    """Count the sessions from each last price to the next announced results, by the plan told last."""
    where = {"symbol": list(spans), "kind": ["results_scheduled"]}
    plans = store.current("events", where=where)
    newest = plans[plans["known_at"] == plans.groupby("symbol")["known_at"].transform("max")]
    found: dict[str, int] = {}
    for exchange, rows in by_exchange(newest, instruments):
        days = all_sessions(exchange)
        last = np.array([spans[symbol].last for symbol in rows["symbol"]], dtype="datetime64[ns]")
        ahead = moved_session(rows, exchange) - (np.searchsorted(days, last, side="right") - 1)
        first = pd.Series(ahead[ahead > 0]).groupby(rows["symbol"].to_numpy()[ahead > 0]).min()
        found |= {str(symbol): int(sessions) for symbol, sessions in first.items()}
    return found
