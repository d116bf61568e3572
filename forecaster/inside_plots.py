"""Figures of what a recurrent network forgets and keeps: its gates, one unit's belt, memory, gradients."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from forecaster.config import GROUPS
from forecaster.event_marks import TITLES as EVENTS
from forecaster.explain.belt import Belt
from forecaster.explain.gates import KEEPING, SHARES
from forecaster.explain.inside import KEPT, Inside
from forecaster.fan_plots import SYMBOLS, hover_text
from forecaster.models import TITLES
from forecaster.plots import BLUE, GREEN, PURPLE, SLATE, VERMILLION, finish, tint

SHARE_SCALE, STATE_SCALE = "Cividis", "RdBu"
"""Colours of a share from 0 to 1, even to the eye; of a value of either sign, around 0."""

LOOKS = {
    "rnn": (VERMILLION, "dot"),
    "rnn_relu": (PURPLE, "dashdot"),
    "lstm": (BLUE, "solid"),
    "gru": (GREEN, "dash"),
}
"""Kind of network -> colour and dash of its line."""

KINDS = {"rnn_relu": "Simple RNN with ReLU"} | {kind: TITLES[kind] for kind in ("rnn", "lstm", "gru")}

DEPENDENCIES = {
    "trend": ("Trend", BLUE, ""),
    "previous_day": ("Previous day", VERMILLION, "/"),
    "exogenous": ("Exogenous", GREEN, "x"),
}
"""Group of inputs -> name, colour and pattern of its part."""

ALL_GATES = "gates"
"""In place of a gate: each of them as one row, the mean over its units."""

DATES = 5
LEAST = 1e-12
"""Gradient norm below which a logarithmic axis shows nothing."""


def rows_of(cell: str) -> list[str]:
    """List what `plot_gates` can show of a kind: all gates, where it has some, and each gate and state."""
    names = {
        "lstm": ["forget", "input", "output", "cell", "candidate", "hidden"],
        "gru": ["update", "reset", "hidden", "candidate"],
        "rnn": ["hidden"],
    }[cell]
    return [ALL_GATES, *names] if cell in KEEPING else names


def plot_gates(
    found: Inside,
    closes: pd.Series,
    currency: str,
    gate: str = ALL_GATES,
    seed: int = 0,
    mark: pd.Timestamp | None = None,
) -> go.Figure:
    """Draw gates or units over the sessions of a window, above the price and the events on the same axis.

    Parameters
    ----------
    found : Inside
    closes : Series
        Close by session, of the sessions of the window.
    currency : str
    gate : str
        Of `rows_of`: all gates, each the mean over all units, or the units of one gate or state.
    seed : int
        Random start whose units are drawn.
    mark : Timestamp, optional
        Session to mark.
    """
    sessions = found.sessions
    days = sessions["session"].dt.strftime("%Y-%m-%d").tolist()
    places = list(range(len(days)))
    values, is_share = _rows(found, gate, seed)
    widest = 1.0 if is_share else max(float(np.abs(values.to_numpy()).max()), LEAST)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.05)
    figure.add_heatmap(
        x=places, y=list(values.index), z=values.to_numpy(), row=1, col=1,
        customdata=[days] * len(values), hovertemplate="%{customdata}, %{y}: %{z:.3f}<extra></extra>",
        colorscale=SHARE_SCALE if is_share else STATE_SCALE, zmin=0 if is_share else -widest, zmax=widest,
        colorbar={
            "title": {"text": "share, 0 to 1" if is_share else "value of the state", "side": "top"},
            "orientation": "h", "thickness": 10, "y": 1.0, "yanchor": "bottom", "x": 0.5, "len": 0.9,
        },
    )  # fmt: skip
    close = closes.reindex(sessions["session"]).to_numpy()
    told = np.column_stack([days, 100 * sessions["log_return"], sessions["move"]])
    figure.add_scatter(
        x=places, y=close, mode="lines", line={"color": SLATE, "width": 2}, name="Close", showlegend=False,
        customdata=told, row=2, col=1,
        hovertemplate="%{customdata[0]}: close %{y:.2f}, log return %{customdata[1]:+.2f} %, "
        "%{customdata[2]:+.1f} volatilities<extra></extra>",
    )  # fmt: skip
    last = len(days) - 1
    for kind, rows in found.events.groupby("kind", sort=False):
        at = last - rows["lag"].to_numpy()
        figure.add_scatter(
            x=at, y=close[at], mode="markers", name=EVENTS[str(kind)], row=2, col=1,
            marker={"symbol": SYMBOLS[str(kind)], "size": 11, "color": VERMILLION},
            hovertemplate="%{text}<extra></extra>",
            text=[
                f"{session:%Y-%m-%d}, {hover_text(str(kind), tone, title)}"
                for session, tone, title in zip(rows["session"], rows["tone"], rows["title"], strict=True)
            ],
        )  # fmt: skip
    if mark is not None:
        figure.add_vline(
            x=days.index(f"{mark:%Y-%m-%d}"),
            line={"color": VERMILLION if is_share else GREEN, "width": 2, "dash": "dot"},
        )
    ticks = np.unique(np.linspace(0, last, DATES).round().astype(int))
    figure.update_xaxes(range=[-0.5, last + 0.5], showgrid=False, zeroline=False, tickangle=0)
    figure.update_xaxes(
        tickvals=ticks, ticktext=[f"{sessions['session'][at]:%d %b<br>%Y}" for at in ticks], title="Session",
        row=2, col=1,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, row=1, col=1)
    if gate != ALL_GATES:
        figure.update_yaxes(title=f"Unit of start {seed + 1}", nticks=8, row=1, col=1)
    figure.update_yaxes(title=f"Close, {currency}", zeroline=False, nticks=5, row=2, col=1)
    finish(figure, "", 520)
    return figure.update_layout(hovermode="closest", margin={"t": 64, "b": 96, "l": 64})


def _rows(found: Inside, gate: str, seed: int) -> tuple[pd.DataFrame, bool]:
    """Lay rows out over the sessions, and tell whether they are shares."""
    if gate == ALL_GATES:
        means = found.gates[found.gates["gate"].isin([*SHARES, KEPT])]
        order = means["gate"].unique()
        return means.pivot(index="gate", columns="session", values="mean").loc[order], True
    units = found.units
    mine = units[(units["gate"] == gate) & (units["seed"] == seed)]
    table = mine.pivot(index="unit", columns="session", values="value")
    return table.set_axis(table.index + 1), gate in SHARES


def plot_belt(belt: Belt) -> go.Figure:
    """Draw one unit's step as a conveyor belt: the carried state runs down the right, with its numbers."""
    lines = LINES[belt.cell](belt)
    figure = go.Figure()
    for place, (title, boxes, operators) in enumerate(lines):
        top = -2.6 * place
        figure.add_annotation(
            x=0, y=top, text=f"<b>{title}</b>", showarrow=False, xanchor="left", yanchor="bottom"
        )
        for at, (name, value, colour) in enumerate(boxes):
            left = 3.5 * at
            figure.add_shape(
                type="rect", x0=left, x1=left + 2.8, y0=top - 1.5, y1=top - 0.05,
                line={"color": colour, "width": 2}, fillcolor=tint(0.12, colour),
            )  # fmt: skip
            figure.add_annotation(
                x=left + 1.4, y=top - 0.78, showarrow=False, text=f"{name}<br><b>{signed(value)}</b>"
            )
        for at, operator in enumerate(operators):
            figure.add_annotation(x=3.5 * at + 3.15, y=top - 0.78, text=f"<b>{operator}</b>", showarrow=False)
    hidden: dict[str, Any] = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[-0.1, 9.9], **hidden)
    figure.update_yaxes(range=[-2.6 * len(lines) + 0.9, 0.9], **hidden)
    return figure.update_layout(
        height=30 + 92 * len(lines), margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip


Box = tuple[str, float, str]
Line = tuple[str, list[Box], list[str]]


def _lstm(belt: Belt) -> list[Line]:
    gate, kept, added = belt.values, ("kept", belt.kept, BLUE), ("added", belt.added, BLUE)
    return [
        (
            "What was forgotten",
            [("cell before", belt.before, BLUE), ("forget gate", gate["forget"], VERMILLION), kept],
            ["×", "="],
        ),
        (
            "What was added",
            [("candidate", gate["candidate"], SLATE), ("input gate", gate["input"], VERMILLION), added],
            ["×", "="],
        ),
        ("What is carried on", [kept, added, ("cell after", belt.after, BLUE)], ["+", "="]),
        (
            "What was shown",
            [
                ("tanh of cell", float(np.tanh(belt.after)), BLUE),
                ("output gate", gate["output"], VERMILLION),
                ("hidden state", belt.shown, GREEN),
            ],
            ["×", "="],
        ),
    ]


def _gru(belt: Belt) -> list[Line]:
    gate, kept, added = belt.values, ("kept", belt.kept, BLUE), ("added", belt.added, BLUE)
    return [
        (
            "What was forgotten",
            [("state before", belt.before, BLUE), ("update gate", gate["update"], VERMILLION), kept],
            ["×", "="],
        ),
        (
            "What was proposed, looking back through the reset gate",
            [("reset gate", gate["reset"], VERMILLION), ("candidate", gate["candidate"], SLATE)],
            ["→"],
        ),
        (
            "What was added",
            [
                ("candidate", gate["candidate"], SLATE),
                ("1 − update", 1 - gate["update"], VERMILLION),
                added,
            ],
            ["×", "="],
        ),
        ("What is carried on, and shown", [kept, added, ("state after", belt.shown, GREEN)], ["+", "="]),
    ]


def _rnn(belt: Belt) -> list[Line]:
    boxes = [("state before", belt.before, BLUE), ("state after", belt.shown, GREEN)]
    return [("Written anew, and shown", boxes, ["→"])]


LINES = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
"""Kind -> title, boxes and what stands between them, line by line."""


def signed(value: float) -> str:
    """Write a state or a gate as the belt shows it."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def plot_kept(found: Inside) -> go.Figure:
    """Draw the share still kept of what was held k sessions ago: mean, and 10 to 90 % of the units."""
    rows = found.memory
    figure = go.Figure()
    band: dict[str, Any] = {"x": rows["lag"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(y=100 * rows["low"], showlegend=False, **band)
    figure.add_scatter(
        y=100 * rows["high"], fill="tonexty", fillcolor=tint(0.2), name="10 to 90 % of the units", **band
    )
    figure.add_scatter(
        x=rows["lag"], y=100 * rows["mean"], mode="lines", name="Mean", line={"color": BLUE, "width": 2},
        hovertemplate="%{y:.1f} %",
    )  # fmt: skip
    figure.add_hline(y=50, line={"color": SLATE, "width": 1, "dash": "dash"})
    figure.update_xaxes(title="Sessions back from the cutoff", zeroline=False)
    figure.update_yaxes(title="Still kept, %", range=[0, 102], zeroline=False)
    return finish(figure, "What is left of what was held", 340)


def plot_half_lives(found: Inside) -> go.Figure:
    """Draw how many units have which half-life; those that lose nothing are left out."""
    lives = found.half_lives["half_life"].replace(np.inf, np.nan).dropna()
    low, high = np.log2(lives.min()), np.log2(lives.max())
    edges = 2 ** np.linspace(np.floor(2 * low) / 2, np.ceil(2 * high + 1e-9) / 2 + 0.5, 13)
    counts, _ = np.histogram(lives, edges)
    words = [f"{one:.2g} to {two:.2g}" for one, two in pairwise(edges)]
    figure = go.Figure(
        go.Bar(
            x=list(range(len(counts))), y=counts, marker={"color": BLUE}, customdata=words,
            hovertemplate="%{customdata} sessions: %{y} units<extra></extra>",
        )
    )  # fmt: skip
    ticks = list(range(0, len(edges), 3))
    figure.update_xaxes(
        title="Half-life, sessions (each bar a like factor)", tickvals=[at - 0.5 for at in ticks],
        ticktext=[f"{edges[at]:.2g}" for at in ticks], showgrid=False,
    )  # fmt: skip
    figure.update_yaxes(title="Units", zeroline=False)
    return finish(figure, f"Half-lives of {len(lives)} units", 340).update_layout(bargap=0.08)


def plot_gradients(tables: dict[str, pd.DataFrame], column: str, title: str) -> go.Figure:
    """Draw how strongly each past session still acts, kind by kind, on a logarithmic axis.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Kind -> lag and the column, a gradient norm; zeros are left out.
    """
    figure = go.Figure()
    for kind, table in tables.items():
        colour, dash = LOOKS[kind]
        rows = table[table[column] > LEAST].sort_values("lag")
        figure.add_scatter(
            x=rows["lag"], y=rows[column], mode="lines", name=KINDS[kind],
            line={"color": colour, "width": 2, "dash": dash}, hovertemplate="%{y:.2e}",
        )  # fmt: skip
    figure.update_xaxes(title="Sessions back from the last one", zeroline=False)
    figure.update_yaxes(title="Gradient norm", type="log", exponentformat="power")
    return finish(figure, title, 340)


def plot_recall(errors: pd.DataFrame) -> go.Figure:
    """Draw how much of a planted event a kind still knows, by how far back it lies.

    Parameters
    ----------
    errors : DataFrame
        cell, lag, and error: the share of the event's variance left unexplained.
    """
    figure = go.Figure()
    for kind, rows in errors.groupby("cell", sort=False):
        colour, dash = LOOKS[str(kind)]
        figure.add_scatter(
            x=rows["lag"], y=100 * (1 - rows["error"]).clip(lower=0),
            mode="lines+markers", name=KINDS[str(kind)],
            line={"color": colour, "width": 2, "dash": dash}, hovertemplate="%{y:.0f} %",
        )  # fmt: skip
    lags = sorted(errors["lag"].unique())
    figure.update_xaxes(title="Steps back", type="log", tickvals=lags, ticktext=[f"{lag:g}" for lag in lags])
    figure.update_yaxes(title="Still known, %", range=[0, 102], zeroline=False)
    return finish(figure, "What is left of one number", 340)


def contributions(found: Inside, step: int) -> pd.DataFrame:
    """Return what each group contributes to sigma at a step ahead.

    Returns
    -------
    DataFrame
        group, value (log return) and share: of the absolute values, 0 to 1; NaN where nothing contributes.
    """
    groups = found.attribution.groups
    rows = groups[(groups["target"] == "sigma") & (groups["step"] == step)]
    rows = rows.set_index("group").reindex([name for name in GROUPS if name in set(rows["group"])])
    size = rows["value"].abs()
    return rows.assign(share=size / size.sum() if size.sum() > 0 else np.nan).reset_index()[
        ["group", "value", "share"]
    ]


def whole_percents(shares: pd.Series) -> list[int]:
    """Round shares of 1 to whole per cent that add up to 100; the largest remainders are rounded up."""
    exact = 100 * shares.to_numpy(dtype=float)
    rounded = np.floor(exact).astype(int)
    rounded[np.argsort(rounded - exact, kind="stable")[: 100 - rounded.sum()]] += 1
    return [int(one) for one in rounded]


def plot_dependencies(parts: pd.DataFrame) -> go.Figure:
    """Draw the shares of the three dependencies in a forecast's width as one bar; see `contributions`."""
    figure = go.Figure()
    for percent, (group, value, share) in zip(
        whole_percents(parts["share"]), parts.itertuples(index=False), strict=True
    ):
        name, colour, pattern = DEPENDENCIES[group]
        figure.add_bar(
            x=[100 * share], y=[""], orientation="h", width=0.6, customdata=[100 * value],
            name=f"{name} {percent} %, {'widens' if value > 0 else 'narrows'}",
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "size": 6}},
            hovertemplate=f"{name}: %{{x:.1f}} % of all contributions, %{{customdata:+.3f}} % log return"
            "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(
        title="Share of the absolute contributions, %", range=[0, 100], zeroline=False, nticks=6
    )
    figure.update_yaxes(visible=False, fixedrange=True)
    finish(figure, "", 216)
    return figure.update_layout(
        barmode="stack", hovermode="closest", margin={"t": 36, "b": 100, "l": 8, "r": 16},
        legend={"traceorder": "normal"},
    )  # fmt: skip
