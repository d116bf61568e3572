"""Figures of what prices did around company events.

Tones differ in colour, dash and the shape of their marks, so that colour is never the only sign.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.event_study import ALL
from forecaster.events import RELEASED
from forecaster.plots import BLUE, SLATE, VERMILLION, finish

LOOKS = {
    "bad": (VERMILLION, "triangle-down", "dash"),
    "neutral": (SLATE, "circle", "dot"),
    "good": (BLUE, "triangle-up", "solid"),
    ALL: (BLUE, "circle", "solid"),
}
"""Tone -> colour, symbol and dash of its line."""

SHADE = 0.18

MEASURED = {
    "average": (100.0, "abnormal return of the session, %", "Abnormal return, %"),
    "cumulative": (100.0, "abnormal return since the session before, %", "Cumulative abnormal return, %"),
    "volatility": (1.0, "absolute abnormal return, times the usual", "Times the usual"),
}
"""Measure -> factor, words of the title and of the axis."""


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
