"""A drawing of how a recurrent network reads sessions: what goes in, its gates, what comes out."""

from typing import Any

import plotly.graph_objects as go

from forecaster.models import TITLES
from forecaster.plots import BLUE, SLATE, VERMILLION, tint

GATES: dict[str, dict[str, str]] = {
    "lstm": {
        "forget": "how much of the cell state is kept",
        "input": "how much of this session is written into it",
        "output": "how much of it is put out as the hidden state",
    },
    "gru": {
        "reset": "how much of the past is looked at when something new is proposed",
        "update": "how much of the old is kept; the new takes the place of the rest",
    },
    "rnn": {},
}
"""Kind of network -> its gates, and what each decides."""

CARRIED = {"lstm": "cell state and hidden state", "gru": "hidden state", "rnn": "hidden state"}
INPUTS = {"trend": "the past days", "previous day": "the last session", "exogenous": "from outside"}


def plot_network(cell: str) -> go.Figure:
    """Draw a kind of network as it reads one session.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    """
    figure = go.Figure()
    for place, (name, words) in enumerate(INPUTS.items()):
        middle = 1.5 + 3.25 * place
        _box(figure, (middle - 1.4, 8.0, middle + 1.4, 9.9), SLATE, f"<b>{name}</b><br>{words}")
        _arrow(figure, (middle, 7.95), (middle, 6.65))
    _box(figure, (0.1, 3.5, 9.4, 6.6), BLUE)
    figure.add_annotation(x=4.75, y=6.15, text=f"<b>{TITLES[cell]}</b>, one session", showarrow=False)
    gates = GATES[cell]
    for place, name in enumerate(gates):
        middle = 9.4 / len(gates) * (place + 0.5)
        _box(figure, (middle - 1.3, 3.9, middle + 1.3, 5.5), VERMILLION, f"<b>{name}</b><br>gate, 0 to 1")
    if not gates:
        figure.add_annotation(
            x=4.75, y=4.7, text="no gate: each session overwrites the last", showarrow=False
        )
    _arrow(figure, (0.8, 3.45), (0.8, 2.2))
    figure.add_annotation(
        x=1.1, y=2.85, text=f"{CARRIED[cell]}, to the next session", showarrow=False, xanchor="left"
    )
    _box(figure, (0.1, 0.1, 9.4, 2.15), SLATE, "<b>after the last session: a distribution</b><br>"
         "of the return over each of the sessions ahead")  # fmt: skip
    hidden: dict[str, Any] = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[0, 9.5], **hidden)
    figure.update_yaxes(range=[0, 10], **hidden)
    return figure.update_layout(
        height=400,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )


def _box(figure: go.Figure, corners: tuple[float, float, float, float], colour: str, text: str = "") -> None:
    left, low, right, high = corners
    figure.add_shape(
        type="rect", x0=left, y0=low, x1=right, y1=high,
        line={"color": colour, "width": 2}, fillcolor=tint(0.12, colour),
    )  # fmt: skip
    if text:
        figure.add_annotation(x=(left + right) / 2, y=(low + high) / 2, text=text, showarrow=False)


def _arrow(figure: go.Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    figure.add_annotation(
        x=end[0], y=end[1], ax=start[0], ay=start[1], axref="x", ayref="y", text="",
        showarrow=True, arrowhead=2, arrowwidth=2, arrowcolor=SLATE,
    )  # fmt: skip
