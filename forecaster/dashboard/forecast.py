"""Forecast of one symbol: price, fan, quantiles, and the evidence for and against them."""

import numpy as np
import pandas as pd
import streamlit as st

from forecaster.dashboard import data
from forecaster.evaluation.verdict import verdict
from forecaster.history import History
from forecaster.models.tabulate import as_prices
from forecaster.plots import plot_forecast, plot_scores
from forecaster.report import DEMONSTRATION, score_rows
from forecaster.sessions import last_complete, positions
from forecaster.store import now
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES

HORIZONS = (1, 5, 10, 20)
PAST_SESSIONS = {"3 months": 63, "6 months": 126, "1 year": 252, "5 years": 1260}
METRIC_HELP = "Read off the forecast distribution; see the verdict below for how far to trust it."


def page() -> None:
    """Draw the page."""
    known = data.symbols()
    if not known:
        _empty()
        return
    with st.sidebar:
        symbol, horizon, span = _controls(known)
    history, table = data.history(symbol), data.forecasts(symbol)
    instrument = history.instruments[symbol]
    st.title(f"{instrument.name} ({symbol})")
    _notices(history, table)
    prices = as_prices(table)
    _figures(prices[prices["step"] == horizon].iloc[0], instrument.currency)
    figure = plot_forecast(history, table, symbol, PAST_SESSIONS[span], max(horizon, 2))
    st.plotly_chart(figure, width="stretch", config={"displaylogo": False}, key="fan")
    _quantiles(prices, instrument.currency)
    _evidence(str(table["version"].iloc[0]), horizon)
    _freshness(history, table)
    st.caption("Not investment advice. Forecasts are probabilities of prices, not promises.")


def _empty() -> None:
    st.title("No forecast yet")
    st.info(
        "This workspace holds no forecast. Make the first one on the command line, then reload this page:",
        icon=":material/info:",
    )
    st.code("python -m forecaster quickstart", language="bash")


def _controls(known: list[str]) -> tuple[str, int, str]:
    asked = st.query_params.get("symbol", "").upper()
    if asked and asked not in known:
        st.warning(f"There is no forecast of {asked}; choose one of the list.", icon=":material/search_off:")
    symbol = st.selectbox("Symbol", known, index=known.index(asked) if asked in known else 0)
    wanted = st.query_params.get("horizon", "20")
    default = int(wanted) if wanted.isdigit() and int(wanted) in HORIZONS else HORIZONS[-1]
    horizon = st.pills("Sessions ahead", HORIZONS, default=default, required=True)
    span = st.pills("Past", list(PAST_SESSIONS), default="6 months", required=True)
    st.query_params.update(symbol=symbol, horizon=str(horizon))
    return symbol, horizon, span


def _notices(history: History, table: pd.DataFrame) -> None:
    if history.is_demonstration:
        st.info(DEMONSTRATION, icon=":material/science:")
        return
    behind = _sessions_behind(history)
    if behind > 0:
        st.warning(
            f"The data are {behind} session{'s' if behind > 1 else ''} behind the exchange. "
            f"Bring them up to date: python -m forecaster update",
            icon=":material/schedule:",
        )
    if table["cutoff"].iloc[0] < history.as_of:
        st.warning(
            f"This forecast was made at {table['cutoff'].iloc[0].date()}; there are prices up to "
            f"{history.as_of.date()}. Renew it: python -m forecaster forecast {history.symbols[0]}",
            icon=":material/update:",
        )


def _sessions_behind(history: History) -> int:
    exchange = history.instruments[history.symbols[0]].exchange
    complete = last_complete(exchange, now(), data.settings().bar_delay_minutes)
    days = np.array([history.as_of, complete], dtype="datetime64[ns]")
    return int(np.diff(positions(exchange, days))[0])


def _figures(row: pd.Series, currency: str) -> None:
    day = f"{row['session']:%d %b %Y}"
    columns = st.columns(4)
    columns[0].metric(
        f"Close on {row['cutoff']:%d %b %Y}", f"{row['base_price']:.2f} {currency}", border=True
    )
    columns[1].metric(
        f"90 % range on {day}", f"{row['q05']:.2f} to {row['q95']:.2f}", border=True, help=METRIC_HELP
    )
    columns[2].metric("Probability of a rise", f"{100 * row['prob_up']:.1f} %", border=True, help=METRIC_HELP)
    columns[3].metric(
        "Probability of a loss beyond 5 %", f"{100 * row['prob_loss']:.1f} %", border=True, help=METRIC_HELP
    )


def _quantiles(prices: pd.DataFrame, currency: str) -> None:
    st.subheader("Quantiles of the price")
    st.caption(
        f"Each column is the price in {currency} that is not exceeded with that probability, "
        f"at the close of the session."
    )
    headings = {name: f"{100 * level:g} %" for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)}
    shown = prices[["step", "session", *QUANTILE_COLUMNS]].assign(
        rise=100 * prices["prob_up"], loss=100 * prices["prob_loss"]
    )
    st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        column_config={
            "step": st.column_config.NumberColumn("Step", help="Sessions ahead", pinned=True),
            "session": st.column_config.DateColumn("Session", format="YYYY-MM-DD", pinned=True),
            **{name: st.column_config.NumberColumn(text, format="%.2f") for name, text in headings.items()},
            "rise": st.column_config.NumberColumn("Rise, %", format="%.1f", help="Probability of a rise"),
            "loss": st.column_config.NumberColumn(
                "Loss > 5 %, %", format="%.1f", help="Probability of losing more than 5 per cent"
            ),
        },
    )


def _evidence(version: str, horizon: int) -> None:
    scores = data.scores(version)
    steps = sorted(scores["step"].unique())
    step = max(one for one in steps if one <= horizon)
    st.subheader("Is it any good?")
    st.markdown(f"**At {step} session{'s' if step > 1 else ''} ahead:** {verdict(scores, step)}")
    first, last = scores["first_cutoff"].min(), scores["last_cutoff"].max()
    st.caption(
        f"Every model was refitted as time went on and forecast sessions that it had never seen: "
        f"cutoffs from {first.date()} to {last.date()}. Lower log score, CRPS and pinball are better. "
        f"The universe is today's survivors."
    )
    st.dataframe(score_rows(scores, step), hide_index=True, width="stretch")
    st.plotly_chart(plot_scores(scores, step), width="stretch", config={"displaylogo": False}, key="skill")


def _freshness(history: History, table: pd.DataFrame) -> None:
    rows = history.prices
    first = table.iloc[0]
    st.subheader("Where this comes from")
    facts = {
        "Last stored session": str(history.as_of.date()),
        "Sessions behind the exchange": (
            "not counted for the sample" if history.is_demonstration else str(_sessions_behind(history))
        ),
        "Source": ", ".join(sorted(rows["source"].unique())),
        "Fetched": f"{rows['fetched_at'].max():%Y-%m-%d %H:%M} UTC",
        "Forecast issued": f"{first['issued_at']:%Y-%m-%d %H:%M} UTC",
        "Model version": f"{first['version']} (recipe {first['recipe_hash']})",
        "Store version": str(first["store_version"]),
    }
    st.dataframe(
        pd.DataFrame({"What": facts.keys(), "Value": facts.values()}), hide_index=True, width="stretch"
    )
