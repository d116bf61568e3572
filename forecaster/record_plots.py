"""Figures of the track record and of models against each other.

What colour says, shape or a sign says as well.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.losses import PIT_BINS
from forecaster.evaluation.verdict import probability
from forecaster.instruments import Instrument
from forecaster.models import LAST_PRICE
from forecaster.plots import BLUE, SLATE, VERMILLION, finish, label, over_sessions, tint
from forecaster.score_plots import FAMILIES, GAIN_COLOURS, UNITS, called, family

LEVELS = (0.05, 0.01, 0.001)
"""p-values below each of which a cell of the matrix of pairs gets one more sign."""

ISSUED, BACKTEST = "issued", "backtest"
LOOKS = {ISSUED: (BLUE, "circle", "solid"), BACKTEST: (SLATE, "square", "dash")}
"""Record -> colour, symbol and dash of its marks."""

WINDOW, FEWEST = 60, 20
"""Dates over which coverage is averaged, and how many it takes."""


def plot_issued(rows: pd.DataFrame, symbol: str, instrument: Instrument) -> go.Figure:
    """Draw each forecast's 90 % range over its session, and the close that came.

    Parameters
    ----------
    rows : DataFrame
        One symbol's forecasts at one step, with outcome, NaN where it is awaited.

    Returns
    -------
    plotly.graph_objects.Figure
        A stroke per range, a dot in it for a close that came within, a cross for a miss. Prices are on the
        scale of the price that was issued, dividends in; no weekend gaps.
    """
    rows = rows.sort_values("session")
    low, high, median, came = (
        (rows["base_price"] * np.exp(rows[name])).to_numpy() for name in ("q05", "q95", "q50", "outcome")
    )
    days = rows["session"]
    figure = go.Figure()
    ends = np.column_stack([low, high, np.full(len(rows), np.nan)])
    figure.add_scatter(
        x=np.repeat(days.to_numpy(), 3), y=ends.ravel(), mode="lines", name="90 % range",
        line={"color": tint(0.45), "width": 4}, hoverinfo="skip",
    )  # fmt: skip
    settled, within = np.isfinite(came), (low <= came) & (came <= high)
    words = "%{x|%Y-%m-%d}: %{customdata[2]:.2f}, 90 %: %{customdata[0]:.2f} to %{customdata[1]:.2f}"
    for name, chosen, colour, mark in (
        ("Came within", settled & within, SLATE, "circle"),
        ("Missed", settled & ~within, VERMILLION, "x"),
        ("Awaited: median", ~settled, BLUE, "diamond-open"),
    ):
        value = median if name.startswith("Awaited") else came
        figure.add_scatter(
            x=days[chosen], y=value[chosen], mode="markers", name=name, showlegend=bool(chosen.any()),
            marker={"color": colour, "symbol": mark, "size": 6 if mark == "circle" else 9},
            customdata=np.column_stack([low, high, value])[chosen],
            hovertemplate=f"{words}<extra>{name}</extra>",
        )  # fmt: skip
    over_sessions(figure, instrument, days.iloc[0], days.iloc[-1])
    return finish(figure, f"{symbol}: 90 % ranges, and what came", 420).update_layout(hovermode="closest")


def plot_coverage(inside: Mapping[str, pd.Series], share: int = 90) -> go.Figure:
    """Draw the coverage of a range over time.

    Parameters
    ----------
    inside : mapping
        "issued" and "backtest" -> whether each outcome fell within, by session; several a session.
    share : int
        Nominal coverage in per cent.

    Returns
    -------
    plotly.graph_objects.Figure
        Mean of the last 60 dates' coverages, from 20 dates on.
    """
    figure = go.Figure()
    figure.add_hline(y=share, line={"color": VERMILLION, "width": 2, "dash": "dot"})
    for record, one in inside.items():
        daily = 100 * one.astype(float).groupby(level=0).mean()
        colour, _, dash = LOOKS[record]
        smooth = daily.rolling(WINDOW, min_periods=FEWEST).mean().dropna()
        figure.add_scatter(
            x=smooth.index, y=smooth, name=record.capitalize(), mode="lines",
            line={"color": colour, "width": 2.5, "dash": dash}, showlegend=True,
            hovertemplate="%{x|%Y-%m-%d}: %{y:.1f} %",
        )  # fmt: skip
    figure.update_xaxes(
        title="Session", tickangle=0, showgrid=False, rangebreaks=[{"bounds": ["sat", "mon"]}], nticks=6
    )
    figure.update_yaxes(title=f"Within the {share} % range, %", nticks=6)
    title = f"{share} % range: coverage over {WINDOW} dates"
    return finish(figure, title, 340)


def plot_pits(pits: Mapping[str, pd.Series]) -> go.Figure:
    """Draw histograms of the probability integral transform; level at one is ideal.

    Parameters
    ----------
    pits : mapping
        "issued" and "backtest" -> one value a forecast: bars for the backtest, a stepped line for what was
        issued.
    """
    edges = np.linspace(0, 1, PIT_BINS + 1)
    figure = go.Figure()
    for record, values in pits.items():
        density = np.histogram(values, edges, density=True)[0]
        colour = LOOKS[record][0]
        hover = {"name": record.capitalize(), "hovertemplate": "%{y:.2f}", "showlegend": True}
        if record == BACKTEST:
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2, y=density, width=1 / PIT_BINS,
                marker={"color": colour, "opacity": 0.5}, **hover,
            )  # fmt: skip
        else:
            figure.add_scatter(
                x=edges, y=[*density, density[-1]], mode="lines",
                line={"shape": "hv", "color": colour, "width": 2.5}, **hover,
            )  # fmt: skip
    figure.add_hline(y=1, line={"color": VERMILLION, "width": 2, "dash": "dot"})
    figure.update_xaxes(title="PIT", range=[0, 1], tickvals=[0, 0.25, 0.5, 0.75, 1], showgrid=False)
    figure.update_yaxes(title="Density", rangemode="tozero", nticks=5)
    return finish(figure, "Probability integral transform", 320)


def plot_skill(gains: pd.DataFrame) -> go.Figure:
    """Draw the gain of the served forecast over each baseline, issued beside backtest.

    Parameters
    ----------
    gains : DataFrame
        record ("issued" or "backtest"), baseline, gain and half (half the 95 % interval) in nats; the
        first row is drawn on top.
    """
    figure = go.Figure()
    for record, (colour, mark, _) in reversed(LOOKS.items()):
        mine = gains[gains["record"] == record]
        figure.add_scatter(
            x=mine["gain"], y=mine["baseline"].map(label), mode="markers", name=record.capitalize(),
            marker={"color": colour, "symbol": mark, "size": 10}, orientation="h",
            error_x={"type": "data", "array": mine["half"], "thickness": 2, "color": colour},
            hovertemplate="%{x:+.4f} nats<extra>%{y}</extra>", visible=True if len(mine) else "legendonly",
        )  # fmt: skip
    baselines = list(gains["baseline"].drop_duplicates().map(label))
    figure.add_vline(x=0, line={"color": VERMILLION, "width": 2, "dash": "dot"})
    figure.update_xaxes(title="Gain in log score, nats a forecast", zeroline=False, nticks=5)
    figure.update_yaxes(categoryorder="array", categoryarray=baselines[::-1])
    title = "Gain over each baseline, 95 % intervals"
    return finish(figure, title, 170 + 44 * len(baselines)).update_layout(
        hovermode="closest", scattermode="group"
    )


def plot_pairs(tests: pd.DataFrame, models: list[str]) -> go.Figure:
    """Draw which model beats which: the row's over the column's.

    Parameters
    ----------
    tests : DataFrame
        `Ranking.tests`.
    models : list of str
        In the order of rows and columns, which are numbered.

    Returns
    -------
    plotly.graph_objects.Figure
        A plus per level that the test passes (p < .05, .01, .001) where the row's model is better, a minus
        where it is worse, a dot where the two are not distinguishable; nothing on the diagonal.
    """
    factor, unit = UNITS[str(tests["loss"].iloc[0])]
    shape, place = (len(models), len(models)), {model: at for at, model in enumerate(models)}
    shades, signs, words = np.full(shape, np.nan), np.full(shape, "", object), np.full(shape, "", object)
    for model, baseline, difference, p in zip(
        *(tests[name] for name in ("model", "baseline", "difference", "p_value")), strict=True
    ):
        at, passed = (place[model], place[baseline]), sum(p < level for level in LEVELS)
        shades[at] = -np.sign(difference) * passed / len(LEVELS)
        signs[at] = ("+" if difference < 0 else "\u2212") * passed or "\u00b7"
        words[at] = f"{-factor * difference:+.4f}, {unit}, over {called(baseline)}; {probability(p)}"
    numbers = [str(at) for at in range(1, len(models) + 1)]
    figure = go.Figure(
        go.Heatmap(
            x=numbers, y=[f"{at}. {label(model)}" for at, model in zip(numbers, models, strict=True)],
            z=shades, text=signs, texttemplate="%{text}", customdata=words,
            xgap=2, ygap=2, zmin=-1, zmax=1, showscale=False,
            colorscale=GAIN_COLOURS, textfont={"color": "white"},
            hovertemplate="%{customdata}<extra>%{y}</extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="Model of the column", type="category", showgrid=False, tickangle=0)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finish(figure, "Row against column: paired tests", 130 + 40 * len(models))


def plot_groups(table: pd.DataFrame, models: list[str], score: str, title: str) -> go.Figure:
    """Draw each model's gain over the last price by group, as a map of models and groups.

    Parameters
    ----------
    table : DataFrame
        `evaluation.ranking.leads` with the last price as the baseline.
    models : list of str
        Best first.
    score : str
        "log_score" or "crps".
    title : str
        What the groups are.
    """
    factor, unit = UNITS[score]
    values = factor * table.set_index("group")[_drawn(table, models)].T.astype(float)
    widest = float(np.nanmax(np.abs(values.to_numpy()))) if values.size else 1.0
    written = values.map(lambda one: "" if np.isnan(one) else f"{one:+.3f}".replace("-", "\u2212"))
    figure = go.Figure(
        go.Heatmap(
            x=list(values.columns), y=[label(model) for model in values.index], z=values.to_numpy(),
            text=written.to_numpy(), texttemplate="%{text}", xgap=2, ygap=2, zmin=-widest, zmax=widest,
            showscale=False,
            colorscale=GAIN_COLOURS, textfont={"color": "white"},
            hovertemplate=f"%{{x}}: %{{text}}, {unit}<extra>%{{y}}</extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title=title, type="category", showgrid=False, tickangle=0)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finish(figure, f"Gain over the last price in {unit}", 130 + 40 * len(values))


def plot_spread(table: pd.DataFrame, models: list[str], score: str) -> go.Figure:
    """Draw each model's gain over the last price, a mark for every group: for many of them.

    Takes the table of `plot_groups`.
    """
    factor, unit = UNITS[score]
    figure = go.Figure()
    for model in _drawn(table, models):
        colour, mark = FAMILIES[family(model)]
        gains = factor * table[model].astype(float)
        name = label(model)
        figure.add_scatter(
            x=gains, y=[name] * len(table), mode="markers", showlegend=False, customdata=table["group"],
            marker={"color": colour, "symbol": f"{mark}-open", "size": 8, "opacity": 0.6},
            hovertemplate="%{customdata}: %{x:+.4g}<extra>%{y}</extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[gains.median()], y=[name], mode="markers", showlegend=False,
            marker={"color": colour, "symbol": "line-ns", "size": 22, "line": {"color": colour, "width": 4}},
            hovertemplate="median %{x:+.4g}<extra>%{y}</extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": VERMILLION, "width": 2, "dash": "dot"})
    figure.update_xaxes(title=f"Gain in {unit}", zeroline=False, nticks=6)
    figure.update_yaxes(autorange="reversed")
    title = "Gain over the last price; strokes: medians"
    return finish(figure, title, 150 + 42 * len(_drawn(table, models))).update_layout(hovermode="closest")


def _drawn(table: pd.DataFrame, models: list[str]) -> list[str]:
    return [model for model in models if model in table and model != LAST_PRICE]
