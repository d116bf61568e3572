"""Figures that reports, the dashboard and notebooks share.

Colours follow Okabe and Ito's palette, which people with a colour-vision deficiency can tell apart.
They have a like contrast with a light and with a dark page, and backgrounds are left to the page.
"""

import re
from html import escape

import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.significance import half_width
from forecaster.instruments import Instrument
from forecaster.models import LAST_PRICE, TITLES
from forecaster.sessions import all_sessions

BLUE, VERMILLION, SLATE = "#2a86c8", "#d55e00", "#6b7f8d"
GREEN, PURPLE = "#009e73", "#b4609b"
BOUNDS = ("q01", "q05", "q10", "q25", "q75", "q90", "q95", "q99")
RANGES = (98, 90, 80, 50, 80, 90, 98)
"""Range, in per cent, whose outermost part lies between two bounds that follow each other."""
OPACITY = {98: 0.16, 90: 0.28, 80: 0.42, 50: 0.58}


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


def over_sessions(figure: go.Figure, instrument: Instrument, first: pd.Timestamp, last: pd.Timestamp) -> None:
    """Name the axes of a price over sessions, and leave out the days between them."""
    figure.update_xaxes(
        rangebreaks=[{"values": days_off(instrument.exchange, first, last)}],
        title="Session",
        tickangle=0,
        showgrid=False,
    )
    figure.update_yaxes(title=f"Price per share, {instrument.currency}")


def days_off(exchange: str, first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    """List the days from one to another that are no session of an exchange, as an axis leaves them out."""
    open_days = all_sessions(exchange)
    off = pd.date_range(first, last, freq="D")
    return [str(day.date()) for day in off[~off.isin(open_days)]]


def tint(opacity: float, colour: str = BLUE) -> str:
    """Return the colour of a fan's band."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, {opacity})"


def plain(text: object) -> str:
    """Escape what a figure would read as markup, so that a text shows as it is."""
    return escape(str(text), quote=False)


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
