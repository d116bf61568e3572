"""Figures that reports, the dashboard and notebooks share.

Colours are from Okabe and Ito's palette, which people with a colour-vision deficiency can tell
apart, and backgrounds are left to the page, so that a figure fits a light and a dark one.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.history import History
from forecaster.models import LAST_PRICE, TITLES
from forecaster.models.tabulate import as_prices
from forecaster.sessions import all_sessions

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#808080"
FAN = {98: ("q01", "q99"), 90: ("q05", "q95"), 80: ("q10", "q90"), 50: ("q25", "q75")}
FAN_OPACITY = {98: 0.10, 90: 0.14, 80: 0.18, 50: 0.26}


def plot_forecast(
    history: History, forecast: pd.DataFrame, symbol: str, sessions: int = 120, steps: int | None = None
) -> go.Figure:
    """Draw a symbol's price and the fan of its forecast over the coming sessions.

    Parameters
    ----------
    history : History
    forecast : DataFrame
        Rows of `Model.forecast` or of the forecasts table, of any symbols.
    symbol : str
    sessions : int
        Past sessions to show.
    steps : int, optional
        Sessions ahead to show; default: all.

    Returns
    -------
    plotly.graph_objects.Figure
        Close, fan (50, 80, 90 and 98 %), median, and the last price as a line; no weekend gaps.
    """
    past = history.bars(symbol).tail(sessions)
    ahead = as_prices(forecast[forecast["symbol"] == symbol])
    ahead = ahead[ahead["step"] <= (steps or ahead["step"].max())]
    cutoff, last = ahead["cutoff"].iloc[0], ahead["base_price"].iloc[0]
    days = pd.concat([pd.Series([cutoff]), ahead["session"]], ignore_index=True)
    instrument = history.instruments[symbol]

    def line(column: str) -> np.ndarray:
        return np.concatenate([[last], ahead[column]])

    figure = go.Figure()
    for share, (low, high) in FAN.items():
        figure.add_scatter(
            x=days, y=line(low), mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip"
        )
        figure.add_scatter(
            x=days,
            y=line(high),
            mode="lines",
            line={"width": 0},
            fill="tonexty",
            fillcolor=f"rgba(0, 114, 178, {FAN_OPACITY[share]})",
            name=f"{share} % range",
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=days, y=line("q50"), mode="lines", line={"color": BLUE, "width": 2}, name="Median forecast",
        customdata=np.column_stack([line("q05"), line("q95")]),
        hovertemplate="median %{y:.2f}, 90 %: %{customdata[0]:.2f} to %{customdata[1]:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=days, y=np.full(len(days), last), mode="lines", name="Last price",
        line={"color": VERMILLION, "width": 1.5, "dash": "dash"}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=past["session"], y=past["close"], mode="lines", name="Close",
        line={"color": GREY, "width": 2}, hovertemplate="close %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(
        rangebreaks=[{"values": _days_off(instrument.exchange, past["session"].iloc[0], days.iloc[-1])}],
        title="Session",
        showgrid=False,
    )
    figure.update_yaxes(title=f"Price per share, {instrument.currency}")
    return _finish(figure, f"{symbol}: close and forecast from {cutoff.date()}")


def plot_scores(scores: pd.DataFrame, step: int = 1) -> go.Figure:
    """Draw each model's gain in log score over the last price with its 95 % interval.

    Parameters
    ----------
    scores : DataFrame
        Output of `Backtest.scores`.
    step : int
        Sessions ahead.
    """
    rows = scores[(scores["step"] == step) & (scores["model"] != LAST_PRICE)].sort_values("log_score_gain")
    figure = go.Figure(
        go.Scatter(
            x=rows["log_score_gain"],
            y=rows["model"].map(TITLES),
            mode="markers",
            marker={"size": 10, "color": BLUE},
            error_x={"type": "data", "array": 1.96 * rows["log_score_error"], "thickness": 2},
            hovertemplate="%{y}: %{x:+.4f} nats<extra></extra>",
        )
    )
    figure.add_vline(
        x=0, line={"color": VERMILLION, "width": 1.5, "dash": "dash"}, annotation_text="last price"
    )
    figure.update_xaxes(
        title="Gain in log score over the last price, nats a forecast (95 % interval)", zeroline=False
    )
    return _finish(figure, f"Skill at {step} session{'s' if step > 1 else ''} ahead").update_layout(
        height=280
    )


def _days_off(exchange: str, first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    open_days = all_sessions(exchange)
    off = pd.date_range(first, last, freq="D")
    return [str(day.date()) for day in off[~off.isin(open_days)]]


def _finish(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(
        title={"text": title},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified" if len(figure.data) > 1 else "closest",
        legend={"orientation": "h", "y": -0.2},
        margin={"l": 60, "r": 20, "t": 50, "b": 60},
        height=460,
    )
