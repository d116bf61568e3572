"""The chart of one symbol: its price, volume and events, and the fan of its forecast ahead."""

from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from forecaster.adjust import PRICES
from forecaster.event_marks import TITLES as EVENTS
from forecaster.event_marks import no_marks
from forecaster.events import SCHEDULED
from forecaster.history import History
from forecaster.models import GJR, LAST_PRICE
from forecaster.models.tabulate import as_prices
from forecaster.plots import (
    BLUE,
    BOUNDS,
    GREEN,
    OPACITY,
    PURPLE,
    RANGES,
    SLATE,
    VERMILLION,
    days_off,
    finish,
    plain,
    tint,
)

COMPARED = {LAST_PRICE: ("Last price: 90 % range", VERMILLION, "longdash"),
            GJR: ("GJR-GARCH: 90 % range", GREEN, "dot")}  # fmt: skip
"""Model to compare with -> name, colour and dash of its range's edges."""

SYMBOLS = {
    "results": "diamond", "profit": "star", "leadership": "square", "policy": "x", "restructuring": "hexagon",
    "other": "circle", "dividend": "triangle-up", "split": "bowtie", "results_scheduled": "diamond-open",
    "dividend_scheduled": "triangle-up-open",
}  # fmt: skip
"""Kind of event -> shape of its mark."""

VOLUME, LANE, PRICE = (0.0, 0.16), (0.18, 0.25), (0.27, 1.0)
"""Share of the height that each part of the chart takes, from below."""

LONGEST_WORDS = 90
WEEKEND = ("sat", "mon")


def plot_forecast(
    history: History,
    forecast: pd.DataFrame,
    symbol: str,
    sessions: int = 120,
    mark: int | None = None,
    *,
    candles: bool = False,
    percent: bool = False,
    beside: pd.DataFrame | None = None,
    marks: pd.DataFrame | None = None,
    supposed: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw a symbol's price and the fan of its forecast over the coming sessions.

    Parameters
    ----------
    history : History
    forecast : DataFrame
        Rows of `Model.forecast` or of the forecasts table, of any symbols, of one model.
    symbol : str
    sessions : int
        Past sessions to show.
    mark : int, optional
        Step ahead whose 90 % range is marked.
    candles : bool
        Whether sessions are drawn as candles, hollow where the close lies above the open; default: the
        close as a line.
    percent : bool
        Whether prices are drawn as their distance from the last price in per cent.
    beside : DataFrame, optional
        Rows of the forecasts table of the models to compare with; their 90 % ranges are drawn.
    marks : DataFrame, optional
        Events, as `event_marks.marks` lists them.
    supposed : DataFrame, optional
        Rows like those of `forecast`, given a scenario; drawn in dashes over the fan.

    Returns
    -------
    plotly.graph_objects.Figure
        Price, fan (50, 80, 90 and 98 %), median, and the last price as a line; below it events and
        volume; no weekend gaps.
    """
    ahead = as_prices(forecast[forecast["symbol"] == symbol])
    cutoff, base = ahead["cutoff"].iloc[0], ahead["base_price"].iloc[0]
    past = _on_the_scale_of(cutoff, history, symbol).tail(sessions)
    days = np.append(np.datetime64(cutoff, "ns"), ahead["session"].to_numpy())
    first, last = min(past["session"].iloc[0], cutoff), ahead["session"].iloc[-1]
    pen = _Pen(base, percent)
    traces = [*_fan(ahead, days, pen), _last_price(days, pen)]
    for model, rows in () if beside is None else beside.groupby("model", sort=False):
        traces += _edges(as_prices(rows), days, pen, *COMPARED[str(model)])
    traces.append(_candles(past, pen) if candles else _close(past, pen))
    traces += [_mark(row, pen) for _, row in ahead[ahead["step"] == mark].iterrows()]
    if supposed is not None:
        traces += _what_if(as_prices(supposed[supposed["symbol"] == symbol]), days, pen)
    traces.append(_volume(past))
    seen = marks[marks["session"].between(first, last)] if marks is not None else no_marks()
    height = seen.groupby("session").cumcount()
    traces += [_events(str(kind), rows, height) for kind, rows in seen.groupby("kind", sort=False)]

    share = history.instruments[symbol]
    thin = {"color": SLATE, "width": 1, "dash": "dot"}
    upright = {"type": "line", "y0": LANE[1], "y1": PRICE[1], "yref": "paper", "layer": "below", "line": thin}
    layout = {
        "xaxis": {
            "rangebreaks": _breaks(share.exchange, first, last), "title": "Session", "tickangle": 0,
            "nticks": 6, "tickformat": "%d %b\n%Y", "showgrid": False, "anchor": "y2",
            "rangeslider": {"visible": False},
        },
        "yaxis": {
            "domain": PRICE, "zeroline": False,
            "title": "From the last price, %" if percent else f"Price per share, {share.currency}",
        },
        "yaxis2": {"domain": VOLUME, "title": "Shares", "nticks": 3, "tickformat": "~s", "showgrid": False},
        "yaxis3": {"domain": LANE, "visible": False, "fixedrange": True,
                   "range": [-0.7, max(height.max(), 1) + 0.7] if len(height) else [0, 1]},
        "shapes": [
            upright | {"x0": day, "x1": day} for day in seen.loc[seen["kind"].isin(SCHEDULED), "session"]
        ],
        "legend": {"font": {"size": 11}},
    }  # fmt: skip
    # At once: trace by trace a figure takes three times as long to make.
    figure = go.Figure({"data": traces, "layout": layout})
    finish(figure, f"{symbol}<br><sub>forecast from {cutoff:%Y-%m-%d}</sub>", 620)
    return figure.update_layout(margin={"t": 72})


Trace = dict[str, Any]


class _Pen:
    """How a price is drawn: as it is, or as its distance from the last price in per cent."""

    def __init__(self, base: float, percent: bool) -> None:
        self.base, self.percent = base, percent
        self.format = "%{{{}:+.2f}} %" if percent else "%{{{}:.2f}}"

    def of(self, prices: Any) -> np.ndarray:
        values = np.asarray(prices, dtype=float)
        return 100 * (values / self.base - 1) if self.percent else values

    def ahead(self, rows: pd.DataFrame, column: str) -> np.ndarray:
        """Return a column of a forecast in prices, the last price before it."""
        return self.of([self.base, *rows[column]])

    def written(self, *places: str) -> list[str]:
        """Name values as a hover text does, such as ``%{y:.2f}``."""
        return [self.format.format(place) for place in places]


def _line(days: np.ndarray, **more: Any) -> Trace:
    return {"type": "scatter", "mode": "lines", "x": days} | more


def _fan(ahead: pd.DataFrame, days: np.ndarray, pen: _Pen) -> list[Trace]:
    edge = {"line": {"width": 0}, "hoverinfo": "skip"}
    traces = [_line(days, y=pen.ahead(ahead, BOUNDS[0]), showlegend=False, **edge)]
    for bound, share in zip(BOUNDS[1:], RANGES, strict=True):
        traces.append(
            _line(
                days, y=pen.ahead(ahead, bound), fill="tonexty", fillcolor=tint(OPACITY[share]),
                name=f"{share} % range", legendgroup=str(share), showlegend=bound in BOUNDS[4:], **edge,
            )
        )  # fmt: skip
    return [*traces, _median(ahead, days, pen, "Median", "median") | {"line": {"color": BLUE, "width": 2}}]


def _median(rows: pd.DataFrame, days: np.ndarray, pen: _Pen, name: str, word: str) -> Trace:
    """Draw the middle of a fan, which tells the 90 % range where the pointer is."""
    middle, low, high = pen.written("y", "customdata[0]", "customdata[1]")
    return _line(
        days, y=pen.ahead(rows, "q50"), name=name, legendrank=3,
        customdata=np.column_stack([pen.ahead(rows, "q05"), pen.ahead(rows, "q95")]),
        hovertemplate=f"{word} {middle}, 90 %: {low} to {high}<extra></extra>",
    )  # fmt: skip


def _last_price(days: np.ndarray, pen: _Pen) -> Trace:
    stroke = {"color": VERMILLION, "width": 2, "dash": "dash"}
    level = pen.of(np.full(len(days), pen.base))
    return _line(days, y=level, name="Last price", legendrank=2, line=stroke, hoverinfo="skip")


def _edges(rows: pd.DataFrame, days: np.ndarray, pen: _Pen, name: str, colour: str, dash: str) -> list[Trace]:
    """Draw the lower and the upper edge of a 90 % range."""
    low, high = pen.written("customdata", "y")
    edge = {"legendgroup": name, "line": {"color": colour, "width": 1.5, "dash": dash}}
    words = f"{name.split(':', maxsplit=1)[0]}, 90 %: {low} to {high}<extra></extra>"
    below = pen.ahead(rows, "q05")
    return [
        _line(days, y=below, showlegend=False, hoverinfo="skip", **edge),
        _line(days, y=pen.ahead(rows, "q95"), name=name, customdata=below, hovertemplate=words, **edge),
    ]


def _what_if(rows: pd.DataFrame, days: np.ndarray, pen: _Pen) -> list[Trace]:
    group = {"legendgroup": "what if"}
    edges = [
        _line(
            days, y=pen.ahead(rows, column), name=f"What if: {column}", showlegend=False, hoverinfo="skip",
            line={"color": PURPLE, "width": 2, "dash": dash}, **group,
        )
        for column, dash in (("q05", "dash"), ("q25", "dot"), ("q75", "dot"), ("q95", "dash"))
    ]  # fmt: skip
    stroke = {"color": PURPLE, "width": 2.5, "dash": "dashdot"}
    middle = _median(rows, days, pen, "What if: median, 50 and 90 %", "what if: median")
    return [*edges, middle | group | {"line": stroke}]


def _close(past: pd.DataFrame, pen: _Pen) -> Trace:
    (close,) = pen.written("y")
    return _line(
        past["session"].to_numpy(), y=pen.of(past["close"]), name="Close", legendrank=1,
        line={"color": SLATE, "width": 2}, hovertemplate=f"close {close}<extra></extra>",
    )  # fmt: skip


def _candles(past: pd.DataFrame, pen: _Pen) -> Trace:
    stroke, clear = {"color": SLATE, "width": 1.2}, "rgba(0, 0, 0, 0)"
    return {
        "type": "candlestick", "x": past["session"].to_numpy(), "name": "Candle, hollow if up",
        **{name: pen.of(past[name]) for name in PRICES}, "legendrank": 1,
        "increasing": {"line": stroke, "fillcolor": clear},
        "decreasing": {"line": stroke, "fillcolor": SLATE},
    }  # fmt: skip


def _volume(past: pd.DataFrame) -> Trace:
    return {
        "type": "bar", "x": past["session"].to_numpy(), "y": past["volume"].to_numpy(), "name": "Volume",
        "yaxis": "y2", "showlegend": False, "marker": {"color": SLATE, "line": {"width": 0}},
        "hovertemplate": "volume %{y:.4~s} shares<extra></extra>",
    }  # fmt: skip


def _mark(row: pd.Series, pen: _Pen) -> Trace:
    stroke = {"color": BLUE, "width": 2}
    return {
        "type": "scatter", "mode": "lines+markers", "x": [row["session"]] * 2,
        "y": pen.of(row[["q05", "q95"]]), "line": stroke,
        "marker": {"symbol": "line-ew", "size": 11, "line": stroke},
        "name": f"90 % at session {row['step']}", "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _events(kind: str, rows: pd.DataFrame, height: pd.Series) -> Trace:
    """Put events of a kind on a lane of their own; those of one session stand above each other."""
    stroke = {"width": 1.5, "color": SLATE}
    return {
        "type": "scatter", "mode": "markers", "x": rows["session"].to_numpy(),
        "y": height[rows.index].to_numpy(), "yaxis": "y3", "name": EVENTS[kind],
        "marker": {"symbol": SYMBOLS[kind], "size": 9, "color": SLATE, "line": stroke},
        "text": [hover_text(kind, *told) for told in zip(rows["tone"], rows["words"], strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def hover_text(kind: str, tone: float, words: str) -> str:
    """Write an event as a hover text does."""
    said = "" if np.isnan(tone) else f", tone {tone:+.1f}"
    words = plain(shorten(words, LONGEST_WORDS, placeholder="..."))
    return f"{EVENTS[kind]}{said}{': ' + words if words else ''}"


def _breaks(exchange: str, first: pd.Timestamp, last: pd.Timestamp) -> list[dict[str, Any]]:
    """Tell the axis which days hold no session: the weekend as a rule where it is one, and the others."""
    off = pd.DatetimeIndex(days_off(exchange, first, last))
    every = pd.date_range(first, last, freq="D")
    weekend = every[every.day_of_week >= 5].isin(off).all()
    single = off[off.day_of_week < 5] if weekend else off
    values = [{"values": [str(day.date()) for day in single]}] if len(single) else []
    return [{"bounds": WEEKEND}, *values] if weekend else values


def _on_the_scale_of(session: pd.Timestamp, history: History, symbol: str) -> pd.DataFrame:
    """Return a symbol's bars adjusted for the splits up to a session, not for those since."""
    traded, bars = history.traded, history.bars(symbol)
    later = (traded["symbol"] == symbol) & (traded["session"] > session)
    since = float(np.prod(traded.loc[later, "split"]))
    return bars.assign(**{name: bars[name] * since for name in PRICES}, volume=bars["volume"] / since)
