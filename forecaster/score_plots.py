"""Figures of what forecasts were worth: gains, years, calibration, past fans, ablation.

Networks, pools and classical models differ in colour and in the shape of their marks, so that colour
is never the only sign.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.evaluation.ablation import EVERY_DAY
from forecaster.evaluation.losses import PIT_BINS, TERCILES
from forecaster.evaluation.significance import half_width
from forecaster.models import LAST_PRICE, NETWORKS, TITLES
from forecaster.models.pool import POOL_NAMES
from forecaster.plots import BLUE, BOUNDS, OPACITY, RANGES, SLATE, VERMILLION, finish, label, plain, tint

GREEN = "#009e73"
FAMILIES = {"network": (BLUE, "circle"), "pool": (GREEN, "diamond"), "classical": (SLATE, "square")}
"""Family -> colour and symbol of its marks."""

NOMINAL = (50, 80, 90, 98)
SYMBOLS = {
    "circle": ("circle", "circle-open", "circle-dot"),
    "diamond": ("diamond", "diamond-open", "diamond-dot"),
    "square": (
        "square", "square-open", "square-dot", "square-cross-open", "square-x-open", "hexagon",
        "hexagon-open", "pentagon", "pentagon-open",
    ),
}  # fmt: skip
"""Shape -> its variants, by which models of one family differ."""

GAIN_COLOURS = [[0, "#b34f00"], [0.5, "#5d6f7c"], [1, "#1a6aa6"]]
"""From a loss over no difference to a gain: dark enough for white text, on a light and on a dark page."""

UNITS = {"log_score": (1.0, "log score, nats"), "crps": (100.0, "CRPS, %")}
"""Loss -> factor and words of the unit in which a gain in it is drawn."""


def family(model: str) -> str:
    """Tell what a model is: network, pool or classical."""
    if model in NETWORKS:
        return "network"
    return "pool" if model in POOL_NAMES else "classical"


def plot_gains(
    tests: pd.DataFrame, step: int = 1, baseline: str = LAST_PRICE, loss: str = "log_score"
) -> go.Figure:
    """Draw each model's gain over a baseline with its 95 % interval, the best on top.

    Parameters
    ----------
    tests : DataFrame
        `Scores.tests`.
    step : int
        Sessions ahead.
    baseline : str
        Model to compare with.
    loss : str
        "log_score" (gain in nats) or "crps" (gain in per cent). Models without it are left out.
    """
    factor, unit = UNITS[loss]
    rows = tests[(tests["step"] == step) & (tests["baseline"] == baseline) & (tests["loss"] == loss)]
    rows = rows.dropna(subset="difference").sort_values("difference", ascending=False)
    rows = rows.assign(
        gain=-factor * rows["difference"],
        half=factor * half_widths(rows, step),
        family=rows["model"].map(family),
    )
    figure = go.Figure()
    for name, (colour, symbol) in FAMILIES.items():
        mine = rows[rows["family"] == name]
        figure.add_scatter(
            x=mine["gain"], y=mine["model"].map(label), mode="markers", name=name,
            marker={"size": 10, "color": colour, "symbol": symbol},
            error_x={"type": "data", "array": mine["half"], "thickness": 2, "color": colour},
            hovertemplate="%{x:+.4g}<extra>%{y}</extra>", visible=True if len(mine) else "legendonly",
        )  # fmt: skip
    _reference_line(figure, 0, called(baseline))
    figure.update_xaxes(title=f"Gain in {unit}", zeroline=False, nticks=6)
    figure.update_yaxes(categoryorder="array", categoryarray=list(rows["model"].map(label)))
    title = f"Gain in {unit}, over {called(baseline)} at {_sessions(step)}, with 95 % intervals"
    return finish(figure, title, 150 + 42 * len(rows)).update_layout(hovermode="closest")


def plot_years(periods: pd.DataFrame, step: int = 1, metric: str = "log_score_gain") -> go.Figure:
    """Draw each model's gain in log score over the last price by calendar year, the best on top.

    Parameters
    ----------
    periods : DataFrame
        `Scores.periods`.
    """
    rows = periods[
        (periods["step"] == step) & (periods["metric"] == metric) & (periods["model"] != LAST_PRICE)
    ]
    values = rows.pivot(index="model", columns="period", values="value").astype(float).dropna(how="all")
    values = values.loc[values.mean(axis=1).sort_values().index]
    widest = float(np.nanmax(np.abs(values.to_numpy()))) if values.size else 1.0
    written = values.map(lambda value: "" if np.isnan(value) else f"{value:+.3f}".replace("-", "\u2212"))
    figure = go.Figure(
        go.Heatmap(
            x=list(values.columns), y=[label(model) for model in values.index], z=values.to_numpy(),
            text=written.to_numpy(), texttemplate="%{text}", xgap=2, ygap=2,
            zmin=-widest, zmax=widest, showscale=False,
            colorscale=GAIN_COLOURS, textfont={"color": "white"},
            hovertemplate="%{x}: %{text} nats<extra>%{y}</extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="Calendar year of the cutoff", type="category", showgrid=False, tickangle=0)
    figure.update_yaxes(showgrid=False)
    title = f"Gain in log score over the last price by year at {_sessions(step)}, nats a forecast"
    return finish(figure, title, 130 + 40 * len(values))


def plot_calibration(overall: pd.DataFrame, step: int = 1) -> go.Figure:
    """Draw by how much the realised coverage of each model's ranges misses the nominal one.

    Parameters
    ----------
    overall : DataFrame
        `Scores.overall`.
    """
    rows = overall[overall["step"] == step]
    figure = go.Figure()
    _reference_line(figure, 0, "as promised", horizontal=True)
    for model in rows["model"]:
        coverage = rows.loc[rows["model"] == model, [f"coverage_{level}" for level in NOMINAL]].to_numpy()[0]
        colour, symbol, dash = _look(model)
        figure.add_scatter(
            x=NOMINAL, y=coverage - NOMINAL, mode="lines+markers", name=TITLES[model], customdata=coverage,
            line={"color": colour, "width": 1.5, "dash": dash},
            marker={"color": colour, "symbol": symbol, "size": 9},
            hovertemplate="%{x} % range holds %{customdata:.1f} %",
        )  # fmt: skip
    figure.update_xaxes(title="Nominal coverage, %", tickvals=NOMINAL, zeroline=False)
    figure.update_yaxes(title="Realised minus nominal, points", zeroline=False)
    title = f"Calibration at {_sessions(step)}: realised against nominal coverage"
    return finish(figure, title, 640).update_layout(hovermode="closest")


def plot_terciles(terciles: pd.DataFrame, step: int = 1, level: int = 90) -> go.Figure:
    """Draw the coverage of a range in calm, middling and stormy times by the model's own forecast.

    Parameters
    ----------
    terciles : DataFrame
        `Scores.terciles`.
    level : int
        50, 80, 90 or 98.
    """
    rows = terciles[(terciles["step"] == step) & (terciles["level"] == level)]
    coverage = rows.pivot(index="model", columns="tercile", values="coverage").astype(float)
    spread = coverage.max(axis=1) - coverage.min(axis=1)
    order = [label(model) for model in spread.sort_values(ascending=False).index]
    figure = go.Figure()
    looks = ((BLUE, "triangle-down"), (SLATE, "circle"), (VERMILLION, "triangle-up"))
    for tercile, (colour, symbol) in zip(TERCILES, looks, strict=True):
        figure.add_scatter(
            x=coverage[tercile], y=[label(model) for model in coverage.index], mode="markers",
            name=f"{tercile} volatility", marker={"size": 11, "color": colour, "symbol": symbol},
            hovertemplate="%{x:.1f} %",
        )  # fmt: skip
    _reference_line(figure, level, f"{level} %")
    figure.update_xaxes(title="Coverage, %", zeroline=False, nticks=8)
    figure.update_yaxes(categoryorder="array", categoryarray=order)
    title = f"Coverage of {level} % ranges over thirds of the forecast volatility at {_sessions(step)}"
    return finish(figure, title, 150 + 40 * len(coverage)).update_layout(hovermode="closest")


def plot_pit(pit: pd.DataFrame, model: str, step: int = 1) -> go.Figure:
    """Draw the histogram of a model's probability integral transform; level at one is ideal.

    Parameters
    ----------
    pit : DataFrame
        `Scores.pit`; all models of a step are drawn to the same height.
    """
    rows = pit[pit["step"] == step]
    mine = rows[rows["model"] == model].sort_values("bin")
    figure = go.Figure(
        go.Bar(
            x=(mine["bin"] + 0.5) / PIT_BINS, y=PIT_BINS * mine["share"], width=1 / PIT_BINS,
            marker={"color": FAMILIES[family(model)][0], "opacity": 0.75},
            hovertemplate="%{y:.2f}<extra></extra>",
        )
    )  # fmt: skip
    _reference_line(figure, 1, None, horizontal=True)
    figure.update_xaxes(title="PIT", range=[0, 1], tickvals=[0, 0.5, 1], showgrid=False)
    top = PIT_BINS * float(rows["share"].max()) if len(rows) else 1.0
    figure.update_yaxes(title="Density", range=[0, max(1.2, 1.05 * top)], nticks=4)
    return finish(figure, TITLES[model], 190).update_layout(margin={"b": 44})


def plot_example(rows: pd.DataFrame) -> go.Figure:
    """Draw one past forecast's fan with what happened, in per cent of the last price.

    Parameters
    ----------
    rows : DataFrame
        Rows of the long table: one model, symbol and cutoff, a row per step. An outcome that is
        unknown (NaN) is left out.
    """
    rows = rows.sort_values("step")
    steps = [0, *rows["step"]]

    def line(column: str) -> np.ndarray:
        return np.concatenate([[0.0], 100 * np.expm1(rows[column].astype(float))])

    figure = go.Figure()
    band: dict[str, Any] = {"x": steps, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(y=line(BOUNDS[0]), **band)
    for bound, share in zip(BOUNDS[1:], RANGES, strict=True):
        figure.add_scatter(y=line(bound), fill="tonexty", fillcolor=tint(OPACITY[share]), **band)
    figure.add_scatter(
        x=steps, y=line("q50"), mode="lines", name="median", line={"color": BLUE, "width": 2},
        customdata=np.column_stack([line("q05"), line("q95")]),
        hovertemplate="%{y:+.2f} %, 90 %: %{customdata[0]:+.2f} to %{customdata[1]:+.2f} %",
    )  # fmt: skip
    figure.add_scatter(
        x=steps, y=line("outcome"), mode="lines+markers", name="outcome", hovertemplate="%{y:+.2f} %",
        line={"color": VERMILLION, "width": 1.5, "dash": "dot"}, marker={"color": VERMILLION, "size": 8},
    )  # fmt: skip
    figure.update_xaxes(
        title="Sessions ahead",
        tickvals=steps[1:] if len(steps) < 8 else None,
        tickangle=0,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title="Change of price, %", zeroline=True)
    first = rows.iloc[0]
    title = f"{plain(first['symbol'])} after {first['cutoff']:%Y-%m-%d}"
    return finish(figure, title, 300).update_layout(showlegend=False, margin={"b": 44})


def plot_ablation(ablation: pd.DataFrame, model: str, step: int = 1) -> go.Figure:
    """Draw what a model loses without some of its inputs, and with each group alone, with 95 % intervals.

    Parameters
    ----------
    ablation : DataFrame
        `evaluation.ablation.Ablation.changes`; drawn are those over all days.
    """
    chosen = (ablation["model"] == model) & (ablation["step"] == step) & (ablation["days"] == EVERY_DAY)
    rows = ablation[chosen]
    figure = go.Figure()
    is_alone = rows["variant"].str.endswith("alone")
    for name, mine, colour, symbol in (
        ("without it", rows[~is_alone], BLUE, "circle"),
        ("the group alone", rows[is_alone], GREEN, "diamond-open"),
    ):
        figure.add_scatter(
            x=mine["log_score_change"], y=mine["variant"], mode="markers", name=name,
            marker={"size": 10, "color": colour, "symbol": symbol},
            error_x={"type": "data", "array": half_widths(mine, step), "thickness": 2, "color": colour},
            hovertemplate="%{x:+.4f} nats<extra>%{y}</extra>",
        )  # fmt: skip
    _reference_line(figure, 0, "all inputs")
    figure.update_xaxes(title="Change, nats (right: worse)", zeroline=False, nticks=6)
    figure.update_yaxes(categoryorder="array", categoryarray=list(rows["variant"])[::-1])
    title = (
        f"{TITLES[model]} with fewer inputs at {_sessions(step)}: change in log score, with 95 % intervals"
    )
    return finish(figure, title, 150 + 34 * len(rows)).update_layout(hovermode="closest")


def called(model: str) -> str:
    """Name a model within a sentence."""
    return "the last price" if model == LAST_PRICE else TITLES[model]


def half_widths(rows: pd.DataFrame, step: int) -> np.ndarray:
    """Return half the 95 % interval of each row's difference, from its error and dates."""
    pairs = zip(rows["error"], rows["dates"], strict=True)
    return np.array([half_width(error, dates, step) for error, dates in pairs])


def _look(model: str) -> tuple[str, str, str]:
    """Colour, symbol and dash that tell a model from the others of its family."""
    kin = [name for name in TITLES if family(name) == family(model)]
    colour, shape = FAMILIES[family(model)]
    variants = SYMBOLS[shape]
    at = kin.index(model)
    return colour, variants[at % len(variants)], ("solid", "dash", "dot")[at % 3]


def _reference_line(figure: go.Figure, at: float, text: str | None, horizontal: bool = False) -> None:
    line = {"color": VERMILLION, "width": 2, "dash": "dash"}
    if horizontal:
        note = {"text": text, "xanchor": "center", "x": 0.3, "yanchor": "bottom"} if text else None
        figure.add_hline(y=at, line=line, annotation=note)
    else:
        note = {"text": text, "yanchor": "bottom", "xanchor": "center", "y": 1}
        figure.add_vline(x=at, line=line, annotation=note)


def _sessions(step: int) -> str:
    return f"{step} session{'' if step == 1 else 's'}"
