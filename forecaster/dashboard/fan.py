"""The chart of a symbol with its figures, and the controls that they follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from forecaster.dashboard import access, what_if
from forecaster.dashboard.charts import chart
from forecaster.dashboard.controls import pill
from forecaster.dashboard.texts import count
from forecaster.explain.scenario import WHAT_IF
from forecaster.fan_plots import plot_forecast
from forecaster.history import History
from forecaster.models import GJR, LAST_PRICE
from forecaster.models.tabulate import as_prices

HORIZONS = (1, 5, 10, 20)
PAST_SESSIONS = {"3 months": 63, "6 months": 126, "1 year": 252, "5 years": 1260}
FORMS = ("line", "candles")
PRICE, PERCENT = "price", "per cent"
COMPARED = {LAST_PRICE: "last price", GJR: "GJR-GARCH"}
"""Model whose 90 % range can be drawn beside the fan -> what it is called."""

METRIC_HELP = "Read off the forecast distribution. The verdict below says how far to trust it."


@dataclass(frozen=True)
class View:
    """How the forecast is looked at.

    Attributes
    ----------
    horizon : int
        Sessions ahead.
    past : int
        Past sessions to show.
    candles, percent : bool
    compared : tuple of str
        Models whose ranges are drawn.
    loss : int
        Per cent of the last price; how likely it is to lose more.
    what_if : bool
    """

    horizon: int
    past: int
    candles: bool
    percent: bool
    compared: tuple[str, ...]
    loss: int
    what_if: bool


def view(longest: int, known: Sequence[str]) -> View:
    """Draw the controls of the view, all of which stand in the URL.

    Parameters
    ----------
    longest : int
        Sessions ahead that the forecast reaches.
    known : sequence of str
        Models to compare with that the ledger holds.
    """
    offered = [horizon for horizon in HORIZONS if horizon <= longest]
    horizon = pill("Sessions ahead", "horizon", offered, offered[-1])
    past = pill("Past", "past", list(PAST_SESSIONS), "3 months")
    with st.expander("View", key="view", bind="query-params", on_change="rerun"):
        form = pill("Price drawn as", "form", list(FORMS), "line")
        unit = pill("Units", "units", [PRICE, PERCENT], PRICE)
        shown = st.pills(
            "90 % range of", [COMPARED[model] for model in COMPARED if model in known],
            selection_mode="multi", default=[COMPARED[GJR]] if GJR in known else [], key="compare",
            bind="query-params",
        )  # fmt: skip
        if GJR not in known:
            st.caption(
                "GJR-GARCH was not written down with this forecast: its model version holds "
                "none, or was issued before that was done."
            )
        loss = st.slider("Loss beyond, per cent", 1, 50, 5, key="loss", bind="query-params")
    return View(
        horizon, PAST_SESSIONS[past], form == "candles", unit == PERCENT,
        tuple(model for model, name in COMPARED.items() if name in shown), loss,
        st.toggle("What if", key="what-if", bind="query-params", help="Suppose an event, or move the market"),
    )  # fmt: skip


@access.fragment()
def draw(
    history: History, table: pd.DataFrame, beside: pd.DataFrame, marks: pd.DataFrame, shown: View,
    box: DeltaGenerator,
) -> None:  # fmt: skip
    """Draw the chart and its figures, and draw them anew by themselves while a scenario is moved.

    Parameters
    ----------
    box : DeltaGenerator
        Where the controls of the scenario go.
    """
    found = controls = None
    if shown.what_if:
        with box:
            controls, sliders, place = what_if.Controls.of(history, table), st.container(), st.empty()
        found = what_if.answer(table, controls, place)
    supposed = None
    if found is not None:
        supposed = found.forecasts[found.forecasts["scenario"] == WHAT_IF]
    symbol = str(table["symbol"].iloc[0])
    figure = plot_forecast(
        history, table, symbol, shown.past, shown.horizon, candles=shown.candles, percent=shown.percent,
        beside=beside[beside["model"].isin(shown.compared)], marks=marks, supposed=supposed,
    )  # fmt: skip
    currency = history.instruments[symbol].currency
    prices = as_prices(table, shown.loss / 100)
    row = prices[prices["step"] == shown.horizon].iloc[0]
    alt = (
        f"{symbol}: {'candles' if shown.candles else 'close'} of the last {count(shown.past, 'session')}, "
        f"volume and events, and the fan of the forecast; at session {shown.horizon} ahead the 90 % range is "
        f"{row['q05']:.2f} to {row['q95']:.2f} {currency}. Its figures follow as a table"
    )
    chart(figure, "fan", alt, f"{symbol}-{table['cutoff'].iloc[0]:%Y-%m-%d}", zoom=True)
    then = None
    if supposed is not None:
        given = as_prices(supposed, shown.loss / 100)
        then = given[given["step"] == shown.horizon].iloc[0]
    _figures(row, then, shown, currency)
    if found is not None:
        what_if.words(found)
    if controls is not None:
        with sliders:
            controls.draw()


def _figures(row: pd.Series, then: pd.Series | None, shown: View, currency: str) -> None:
    """Show the figures of one session, and under them what a scenario makes of them."""
    st.subheader(f"{count(row['step'], 'session')} ahead: {row['session']:%d %b %Y}", anchor=False)
    first, second = st.columns(2)
    first.metric(
        f"Close on {row['cutoff']:%d %b %Y}, {currency}", f"{row['base_price']:.2f}", border=True,
        height="stretch",
    )  # fmt: skip
    rise, loss = st.columns(2)
    figures = (
        (second, f"90 % range, {'%' if shown.percent else currency}", partial(_range, percent=shown.percent)),
        (rise, "Probability of a rise", lambda one: f"{100 * one['prob_up']:.1f} %"),
        (loss, f"Probability of a loss over {shown.loss} %", lambda one: f"{100 * one['prob_loss']:.1f} %"),
    )
    for place, label, write in figures:
        place.metric(
            label, write(row), delta=None if then is None else f"what if: {write(then)}", delta_color="off",
            delta_arrow="off", border=True, help=METRIC_HELP,
        )  # fmt: skip


def _range(row: pd.Series, percent: bool) -> str:
    ends = row["q05"], row["q95"]
    if percent:
        return " to ".join(f"{100 * (end / row['base_price'] - 1):+.1f}" for end in ends)
    return " to ".join(f"{end:.2f}" for end in ends)
