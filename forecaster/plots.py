"""Figures that reports, the dashboard and notebooks share.

Colours follow Okabe and Ito's palette, which people with a colour-vision deficiency can tell apart.
They have a like contrast with a light and with a dark page, and backgrounds are left to the page.
"""

import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.adjust import PRICES
from forecaster.evaluation.significance import half_width
from forecaster.history import History
from forecaster.instruments import Instrument
from forecaster.models import LAST_PRICE, TITLES
from forecaster.models.tabulate import as_prices
from forecaster.sessions import all_sessions

BLUE, VERMILLION, SLATE = "#2a86c8", "#d55e00", "#6b7f8d"
BOUNDS = ("q01", "q05", "q10", "q25", "q75", "q90", "q95", "q99")
RANGES = (98, 90, 80, 50, 80, 90, 98)
"""Range, in per cent, whose outermost part lies between two bounds that follow each other."""
OPACITY = {98: 0.16, 90: 0.28, 80: 0.42, 50: 0.58}


def plot_forecast(
    history: History, forecast: pd.DataFrame, symbol: str, sessions: int = 120, mark: int | None = None
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
    mark : int, optional
        Step ahead whose 90 % range is marked.

    Returns
    -------
    plotly.graph_objects.Figure
        Close, fan (50, 80, 90 and 98 %), median, and the last price as a line; no weekend gaps.
    """
    ahead = as_prices(forecast[forecast["symbol"] == symbol])
    cutoff, last = ahead["cutoff"].iloc[0], ahead["base_price"].iloc[0]
    past = _on_the_scale_of(cutoff, history, symbol).tail(sessions)
    days = pd.concat([pd.Series([cutoff]), ahead["session"]], ignore_index=True)

    def line(column: str) -> np.ndarray:
        return np.concatenate([[last], ahead[column]])

    figure = go.Figure()
    band = {"x": days, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(y=line(BOUNDS[0]), showlegend=False, **band)
    for bound, share in zip(BOUNDS[1:], RANGES, strict=True):
        figure.add_scatter(
            y=line(bound), fill="tonexty", fillcolor=tint(OPACITY[share]), name=f"{share} % range",
            legendgroup=str(share), showlegend=bound in BOUNDS[4:], **band,
        )  # fmt: skip
    figure.add_scatter(
        x=days, y=line("q50"), mode="lines", line={"color": BLUE, "width": 2}, name="Median", legendrank=3,
        customdata=np.column_stack([line("q05"), line("q95")]),
        hovertemplate="median %{y:.2f}, 90 %: %{customdata[0]:.2f} to %{customdata[1]:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=days, y=np.full(len(days), last), mode="lines", name="Last price", legendrank=2,
        line={"color": VERMILLION, "width": 2, "dash": "dash"}, hoverinfo="skip",
    )  # fmt: skip
    _add_close(figure, past)
    stroke = {"color": BLUE, "width": 2}
    for row in ahead[ahead["step"] == mark].to_dict("records"):
        figure.add_scatter(
            x=[row["session"]] * 2, y=[row["q05"], row["q95"]], mode="lines+markers", line=stroke,
            marker={"symbol": "line-ew", "size": 11, "line": stroke},
            name=f"90 % at session {mark}", hoverinfo="skip",
        )  # fmt: skip
    _over_sessions(figure, history.instruments[symbol], min(past["session"].iloc[0], cutoff), days.iloc[-1])
    return finish(figure, f"{symbol}: close, and forecast from {cutoff:%Y-%m-%d}", 520)


def plot_what_if(history: History, prices: pd.DataFrame, symbol: str, sessions: int = 60) -> go.Figure:
    """Draw the fan of a symbol's forecast as it stands, and over it the one that a scenario gives.

    Parameters
    ----------
    history : History
    prices : DataFrame
        As `explain.scenario.WhatIf.prices`: both forecasts in prices, told apart by ``scenario``.
    symbol : str
    sessions : int
        Past sessions to show.

    Returns
    -------
    plotly.graph_objects.Figure
        Close, and of each forecast the 90 and 50 % range and the median: filled as it stands, in dashed
        lines what if, so that they differ in more than colour.
    """
    cutoff, last = prices["cutoff"].iloc[0], prices["base_price"].iloc[0]
    past = _on_the_scale_of(cutoff, history, symbol).tail(sessions)
    (stands, standing), (supposed, scenario) = prices.groupby("scenario", sort=False)
    days = pd.concat([pd.Series([cutoff]), standing["session"]], ignore_index=True)
    figure = go.Figure()
    for name, rows, colour in ((stands, standing, BLUE), (supposed, scenario, VERMILLION)):
        title, filled = str(name).capitalize(), rows is standing
        lines = {part: np.concatenate([[last], rows[part]]) for part in ("q05", "q25", "q50", "q75", "q95")}
        for low, high, share, dash in (("q05", "q95", 90, "dash"), ("q25", "q75", 50, "dot")):
            edge = {"x": days, "mode": "lines", "hoverinfo": "skip", "legendgroup": f"{title} {share}",
                    "line": {"color": colour, "width": 0 if filled else 1.5, "dash": dash}}  # fmt: skip
            figure.add_scatter(y=lines[low], showlegend=False, **edge)
            figure.add_scatter(
                y=lines[high], name=f"{title}: {share} % range", fill="tonexty" if filled else "none",
                fillcolor=tint(OPACITY[share], colour), **edge,
            )  # fmt: skip
        figure.add_scatter(
            x=days, y=lines["q50"], mode="lines", name=f"{title}: median",
            line={"color": colour, "width": 2.5, "dash": "solid" if filled else "dashdot"},
            customdata=np.column_stack([lines["q05"], lines["q95"]]),
            hovertemplate=f"{name}: median %{{y:.2f}}, 90 %: %{{customdata[0]:.2f}} to "
            "%{customdata[1]:.2f}<extra></extra>",
        )  # fmt: skip
    _add_close(figure, past)
    _over_sessions(figure, history.instruments[symbol], min(past["session"].iloc[0], cutoff), days.iloc[-1])
    return finish(figure, f"{symbol}: as it stands, and what if", 520)


def plot_scores(scores: pd.DataFrame, step: int = 1) -> go.Figure:
    """Draw each model's gain in log score over the last price with its 95 % interval.

    Parameters
    ----------
    scores : DataFrame
        Output of `Backtest.scores`.
    step : int
        Sessions ahead.
    """
    compared = scores[(scores["step"] == step) & (scores["model"] != LAST_PRICE)]
    rows = compared.dropna(subset="log_score_gain").sort_values("log_score_gain")
    pairs = zip(rows["log_score_error"], rows["dates"], strict=True)
    widths = [half_width(error, dates, step) for error, dates in pairs]
    figure = go.Figure(
        go.Scatter(
            x=rows["log_score_gain"],
            y=rows["model"].map(label),
            mode="markers",
            marker={"size": 10, "color": BLUE},
            error_x={"type": "data", "array": widths, "thickness": 2, "color": BLUE},
            hovertemplate="%{x:+.4f} nats<extra>%{y}</extra>",
        )
    )
    figure.add_vline(
        x=0,
        line={"color": VERMILLION, "width": 2, "dash": "dash"},
        annotation={"text": "last price", "yanchor": "bottom", "xanchor": "center", "y": 1},
    )
    figure.update_xaxes(title="Gain in log score, nats a forecast", zeroline=False, nticks=6)
    title = f"Gain at {step} session{'s' if step > 1 else ''}, with 95 % intervals"
    return finish(figure, title, 130 + 46 * len(rows))


def label(model: str) -> str:
    """Return a model's title as an axis has room for it: broken after a comma or a colon."""
    return re.sub("([,:]) ", r"\1<br>", TITLES[model])


def _add_close(figure: go.Figure, past: pd.DataFrame) -> None:
    figure.add_scatter(
        x=past["session"], y=past["close"], mode="lines", name="Close", legendrank=1,
        line={"color": SLATE, "width": 2}, hovertemplate="close %{y:.2f}<extra></extra>",
    )  # fmt: skip


def _over_sessions(
    figure: go.Figure, instrument: Instrument, first: pd.Timestamp, last: pd.Timestamp
) -> None:
    """Name the axes of a price over sessions, and leave out the days between them."""
    figure.update_xaxes(
        rangebreaks=[{"values": _days_off(instrument.exchange, first, last)}],
        title="Session",
        tickangle=0,
        showgrid=False,
    )
    figure.update_yaxes(title=f"Price per share, {instrument.currency}")


def _days_off(exchange: str, first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    open_days = all_sessions(exchange)
    off = pd.date_range(first, last, freq="D")
    return [str(day.date()) for day in off[~off.isin(open_days)]]


def _on_the_scale_of(session: pd.Timestamp, history: History, symbol: str) -> pd.DataFrame:
    """Return a symbol's bars adjusted for the splits up to a session, not for those since."""
    traded, bars = history.traded, history.bars(symbol)
    later = (traded["symbol"] == symbol) & (traded["session"] > session)
    since = float(np.prod(traded.loc[later, "split"]))
    return bars.assign(**{name: bars[name] * since for name in PRICES})


def tint(opacity: float, colour: str = BLUE) -> str:
    """Return the colour of a fan's band."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, {opacity})"


def finish(figure: go.Figure, title: str, height: int) -> go.Figure:
    """Give a figure its title and height in pixels, and leave its background to the page."""
    return figure.update_layout(
        title={"text": title, "font": {"size": 16}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified" if len(figure.data) > 1 else "closest",
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 16, "t": 56, "b": 60},
        height=height,
    )
