"""Figures of company events: where they lie on the price, and what prices did around them.

Kinds and tones differ in the shape of their marks, so that colour is never the only sign.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.event_study import ALL
from forecaster.events import KINDS, RELEASED, SCHEDULED
from forecaster.plots import BLUE, SLATE, VERMILLION, days_off, finish, plain

LOOKS = {
    "bad": (VERMILLION, "triangle-down", "dash"),
    "neutral": (SLATE, "circle", "dot"),
    "good": (BLUE, "triangle-up", "solid"),
    ALL: (BLUE, "circle", "solid"),
}
"""Tone -> colour, symbol and dash of its line."""

MARKS = {
    "results": (BLUE, "circle"),
    "profit": ("#009e73", "triangle-up"),
    "leadership": (VERMILLION, "square"),
    "policy": ("#b35f93", "diamond"),
    "restructuring": ("#b07a00", "cross"),
    "other": (SLATE, "x"),
    "results_scheduled": (BLUE, "circle-open"),
    "dividend_scheduled": ("#009e73", "star-open"),
}
"""Kind of event -> colour and symbol; open symbols are announced dates."""

WORDS_A_LINE = 44

SHADE = 0.18

MEASURED = {
    "average": (100.0, "abnormal return of the session, %", "Abnormal return, %"),
    "cumulative": (100.0, "abnormal return since the session before, %", "Cumulative abnormal return, %"),
    "volatility": (1.0, "absolute abnormal return, times the usual", "Times the usual"),
}
"""Measure -> factor, words of the title and of the axis."""


def plot_timeline(
    line: pd.DataFrame, events: pd.DataFrame, title: str, axis: str, exchanges: Sequence[str]
) -> go.Figure:
    """Draw a price and the events on it, each kind with its own mark; no weekend gaps.

    Parameters
    ----------
    line : DataFrame
        session, value; ascending. Announced dates after its end stand on its last value.
    events : DataFrame
        symbol, kind, known_at, tone, title, and ``session``, on which the event is drawn.
    title, axis : str
        Of the figure, and of the price's axis with its unit.
    exchanges : sequence of str
        Days on which none of them has a session are left out.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=line["session"], y=line["value"], mode="lines", name="Close", showlegend=False,
        line={"color": SLATE, "width": 1.5}, hovertemplate="%{x|%Y-%m-%d}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    place = np.searchsorted(line["session"].to_numpy(), events["session"].to_numpy(), side="right") - 1
    drawn = events.assign(value=line["value"].to_numpy()[np.maximum(place, 0)])
    for kind, (colour, symbol) in MARKS.items():
        mine = drawn[drawn["kind"] == kind]
        if mine.empty:
            continue
        is_plan = kind in SCHEDULED
        figure.add_scatter(
            x=mine["session"], y=mine["value"], mode="markers", name=KINDS[kind],
            marker={"color": colour, "symbol": symbol, "size": 11,
                    "line": {"color": colour if is_plan else "#ffffff", "width": 2 if is_plan else 1}},
            text=[_told(row) for row in mine.to_dict("records")], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    first, last = line["session"].iloc[0], max([line["session"].iloc[-1], *drawn["session"]])
    off = set.intersection(*(set(days_off(one, first, last)) for one in exchanges))
    figure.update_xaxes(rangebreaks=[{"values": sorted(off)}], title="Session", tickangle=0, showgrid=False)
    figure.update_yaxes(title=axis)
    return finish(figure, title, 480).update_layout(hovermode="closest")


def _told(event: dict[Any, Any]) -> str:
    """Say of an event what a hovering reader wants to know."""
    tone = "" if np.isnan(event["tone"]) else f", tone {event['tone']:+.2f}"
    title = "<br>".join(wrap(plain(event["title"]), WORDS_A_LINE))
    return (
        f"<b>{plain(event['symbol'])}, {event['session']:%Y-%m-%d}</b><br>{KINDS[event['kind']]}{tone}<br>"
        f"known {event['known_at']:%Y-%m-%d %H:%M} UTC<br>{title}"
    )


def plot_event_path(paths: pd.DataFrame, kind: str, measure: str = "average") -> go.Figure:
    """Draw the mean path around one kind of event, by tone where tones are known, with 95 % bands.

    Parameters
    ----------
    paths : DataFrame
        `EventStudy.paths`.
    kind : str
        A kind that stands there.
    measure : {"average", "cumulative", "volatility"}
        Returns are drawn in per cent (log returns times 100).
    """
    factor, words, axis = MEASURED[measure]
    rows = paths[(paths["kind"] == kind) & (paths["measure"] == measure)]
    told = [tone for tone in ("bad", "neutral", "good") if tone in set(rows["tone"])]
    figure = go.Figure()
    for tone in told or [ALL]:
        mine = rows[rows["tone"] == tone].sort_values("offset")
        colour, symbol, dash = LOOKS[tone]
        red, green, blue = bytes.fromhex(colour[1:])
        band: dict[str, Any] = {
            "x": mine["offset"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip",
            "showlegend": False, "legendgroup": tone,
        }  # fmt: skip
        figure.add_scatter(y=factor * mine["low"], **band)
        shade = f"rgba({red}, {green}, {blue}, {SHADE})"
        figure.add_scatter(y=factor * mine["high"], fill="tonexty", fillcolor=shade, **band)
        figure.add_scatter(
            x=mine["offset"], y=factor * mine["value"], mode="lines+markers", legendgroup=tone,
            name=f"{tone} tone" if told else "every event", line={"color": colour, "width": 2, "dash": dash},
            marker={"color": colour, "symbol": symbol, "size": 8},
            customdata=mine[["events"]].to_numpy(), hovertemplate="%{y:.2f}, %{customdata[0]} events",
        )  # fmt: skip
    usual = {"color": SLATE, "width": 1, "dash": "dash"}
    figure.add_hline(y=1.0 if measure == "volatility" else 0.0, line=usual)
    figure.update_xaxes(title="Sessions after the one that the event moved", zeroline=False, tickangle=0)
    figure.update_yaxes(title=axis, zeroline=False)
    return finish(figure, f"{RELEASED[kind]}: {words}", 360)
