"""Figures: what is drawn is what was forecast, at the sessions it was forecast for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from forecaster.event_marks import marks
from forecaster.events import no_events
from forecaster.fan_plots import plot_forecast
from forecaster.history import History
from forecaster.plots import BOUNDS, RANGES, plot_scores
from forecaster.sessions import next_sessions
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES

STEPS = 20
BASE = 250.0


@pytest.fixture
def forecast(history: History) -> pd.DataFrame:
    """A forecast of AAPL made up of round numbers."""
    sigma = 0.02 * np.sqrt(np.arange(1, STEPS + 1))
    quantiles = {
        name: sigma * (level - 0.5) * 4 for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    }
    return pd.DataFrame(
        {
            "symbol": "AAPL",
            "cutoff": history.as_of,
            "step": np.arange(1, STEPS + 1),
            "session": next_sessions("XNAS", history.as_of, STEPS),
            "base_price": BASE,
            "family": "student_t",
            "mean": 0.0,
            "sigma": sigma,
            "df": 6.0,
            "prob_up": 0.5,
            **quantiles,
        }
    )


@pytest.fixture
def figure(history: History, forecast: pd.DataFrame) -> go.Figure:
    return plot_forecast(history, forecast, "AAPL", sessions=60, mark=5)


def trace(figure: go.Figure, name: str) -> go.Scatter:
    (found,) = [one for one in figure.data if one.name == name]
    return found


def test_the_fan_is_the_last_price_times_the_exponential_of_each_quantile(figure, forecast):
    for drawn, bound in zip(figure.data, BOUNDS, strict=False):
        np.testing.assert_allclose(drawn.y, [BASE, *BASE * np.exp(forecast[bound])])
    np.testing.assert_allclose(trace(figure, "Median").y, [BASE, *BASE * np.exp(forecast["q50"])])


def test_each_band_lies_within_the_range_that_its_legend_names(figure):
    level = dict(zip(QUANTILE_COLUMNS, QUANTILES, strict=True))
    for low, high, share in zip(BOUNDS, BOUNDS[1:], RANGES, strict=False):
        outermost = max(abs(level[low] - 0.5), abs(level[high] - 0.5))
        assert round(200 * outermost) == share
    assert [one.name for one in figure.data[: len(BOUNDS)] if one.showlegend] == [
        "50 % range", "80 % range", "90 % range", "98 % range",
    ]  # fmt: skip


def test_the_fan_starts_at_the_cutoff_and_goes_on_over_the_sessions_after_it(figure, history):
    expected = [history.as_of, *next_sessions("XNAS", history.as_of, STEPS)]
    for name in ("Median", "Last price"):
        assert list(pd.to_datetime(trace(figure, name).x)) == [pd.Timestamp(day) for day in expected]


def test_the_last_price_is_a_level_line(figure):
    assert set(trace(figure, "Last price").y) == {BASE}


def test_the_close_is_the_stored_one_of_the_last_sessions(figure, history):
    bars = history.bars("AAPL").tail(60)
    close = trace(figure, "Close")
    np.testing.assert_array_equal(close.y, bars["close"])
    np.testing.assert_array_equal(pd.to_datetime(close.x), bars["session"])


def test_the_mark_spans_the_90_per_cent_range_of_its_session(figure, forecast):
    row = forecast[forecast["step"] == 5].iloc[0]
    mark = trace(figure, "90 % at session 5")
    assert {pd.Timestamp(day) for day in mark.x} == {row["session"]}
    np.testing.assert_allclose(mark.y, BASE * np.exp([row["q05"], row["q95"]]))


def test_no_mark_is_drawn_unless_asked_for(history, forecast):
    names = [one.name for one in plot_forecast(history, forecast, "AAPL").data]
    assert not any("at session" in (name or "") for name in names)


def test_the_axis_leaves_out_days_without_a_session_and_no_other(figure, history):
    weekend, single = figure.layout.xaxis.rangebreaks
    drawn = {pd.Timestamp(day) for one in figure.data for day in one.x}
    assert tuple(weekend["bounds"]) == ("sat", "mon")
    assert max(day.day_of_week for day in drawn) == 4
    left_out = {pd.Timestamp(day) for day in single["values"]}
    assert not left_out & drawn
    assert max(day.day_of_week for day in left_out) <= 4
    assert pd.Timestamp("2023-09-04") in left_out, "Labor Day"
    weekdays = pd.bdate_range(min(drawn), max(drawn))
    assert set(weekdays) - drawn == left_out


def test_candles_are_the_bars_and_volume_stands_below(history, forecast):
    figure = plot_forecast(history, forecast, "AAPL", sessions=60, candles=True)
    (candles,) = [one for one in figure.data if one.type == "candlestick"]
    bars = history.bars("AAPL").tail(60)
    for part in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(candles, part), bars[part])
    assert candles.increasing.fillcolor != candles.decreasing.fillcolor, "told apart by more than a hue"
    volume = trace(figure, "Volume")
    np.testing.assert_array_equal(volume.y, bars["volume"])
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]
    assert not [one for one in figure.data if one.name == "Close"]


def test_per_cent_are_of_the_last_price(history, forecast):
    figure = plot_forecast(history, forecast, "AAPL", sessions=60, mark=5, percent=True)
    np.testing.assert_allclose(trace(figure, "Median").y, [0, *100 * np.expm1(forecast["q50"])], atol=1e-12)
    np.testing.assert_allclose(trace(figure, "Last price").y, 0)
    close = history.bars("AAPL")["close"].tail(60)
    np.testing.assert_allclose(trace(figure, "Close").y, 100 * (close / BASE - 1))
    assert figure.layout.yaxis.title.text == "From the last price, %"


def test_ranges_to_compare_with_are_lines_of_their_own_dash(history, forecast):
    beside = pd.concat([forecast.assign(model=name) for name in ("rolling_t", "gjr_t")])
    figure = plot_forecast(history, forecast, "AAPL", beside=beside)
    dashes = set()
    for name in ("Last price: 90 % range", "GJR-GARCH: 90 % range"):
        edge = trace(figure, name)
        np.testing.assert_allclose(edge.y, [BASE, *BASE * np.exp(forecast["q95"])])
        np.testing.assert_allclose(edge.customdata, [BASE, *BASE * np.exp(forecast["q05"])])
        dashes.add(edge.line.dash)
    assert len(dashes) == 2


def event(kind: str, happened: str, known: str, title: str = "") -> dict:
    moments = {"happened_at": pd.Timestamp(happened, tz="UTC"), "known_at": pd.Timestamp(known, tz="UTC")}
    row = {"symbol": "AAPL", "kind": kind, "tone": -0.5, "magnitude": np.nan, "title": title, "url": ""}
    return row | moments | {"source": "files"}


@pytest.fixture
def told(history: History) -> History:
    """The history with results after a Thursday's close, a plan, and the plan that replaced it."""
    rows = [
        event("results", "2023-08-03 20:30", "2023-08-03 20:30", "Sales <fell>"),
        event("results_scheduled", "2023-10-02 20:30", "2023-09-01 12:00"),
        event("results_scheduled", "2023-10-05 12:00", "2023-09-15 12:00"),
    ]
    events = pd.DataFrame(rows).astype(no_events().dtypes.to_dict())
    bars = history.traded.assign(dividend=0.0)
    paid = (bars["symbol"] == "AAPL") & (bars["session"] == "2023-08-11")
    return replace(history, events=events, traded=bars.assign(dividend=np.where(paid, 0.24, 0.0)))


def test_events_stand_at_the_session_they_move_and_plans_ahead_are_the_last_ones(told):
    found = marks(told, "AAPL")
    late = found[found["session"] >= "2023-08-01"]
    assert list(zip(late["session"].dt.strftime("%Y-%m-%d"), late["kind"], strict=True)) == [
        ("2023-08-04", "results"),
        ("2023-08-11", "dividend"),
        ("2023-10-05", "results_scheduled"),
    ]
    assert late["words"].tolist()[:2] == ["Sales <fell>", "0.24 USD per share"]
    assert marks(told, "NVDA").query("kind == 'results'").empty


def test_events_are_told_apart_by_shape_and_say_what_they_are(told, forecast):
    figure = plot_forecast(told, forecast, "AAPL", marks=marks(told, "AAPL"))
    shapes = {one.name: one.marker.symbol for one in figure.data if one.yaxis == "y3"}
    assert {"Results", "Dividend", "Results due"} <= set(shapes)
    assert len(set(shapes.values())) == len(shapes)
    assert trace(figure, "Results").text[0] == "Results, tone -0.5: Sales &lt;fell&gt;"
    assert [pd.Timestamp(line.x0) for line in figure.layout.shapes] == [pd.Timestamp("2023-10-05")]


def test_axes_carry_units(figure):
    assert figure.layout.yaxis.title.text == "Price per share, USD"
    assert figure.layout.xaxis.title.text == "Session"
    assert figure.layout.title.text == "AAPL<br><sub>forecast from 2023-09-21</sub>"


def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": [1, 1, 1, 5],
            "model": ["rolling_t", "served", "ewma_t", "served"],
            "log_score_gain": [0.0, 0.06, 0.04, -0.1],
            "log_score_error": [np.nan, 0.01, 0.02, 0.1],
            "dates": 512,
        }
    )


def test_the_gain_over_the_last_price_is_drawn_with_its_interval():
    figure = plot_scores(scores(), step=1)
    (points,) = figure.data
    assert list(points.x) == [0.04, 0.06], "the baseline itself has no gain to draw"
    assert list(points.y) == ["Last price,<br>EWMA Student-t", "Served:<br>pool,<br>calibrated"]
    np.testing.assert_allclose(points.error_x.array, [0.0392, 0.0196], rtol=0.01)
    assert figure.layout.xaxis.title.text == "Gain in log score, nats a forecast"
    assert figure.layout.title.text == "Gain at 1 session, with 95 % intervals"


def test_the_gain_is_drawn_for_the_step_asked_for():
    figure = plot_scores(scores(), step=5)
    assert list(figure.data[0].x) == [-0.1]
    # Student-t, 16 degrees of freedom: twice the cube root of 512, from a table.
    np.testing.assert_allclose(figure.data[0].error_x.array, [0.2120], rtol=1e-3)
    assert "5 sessions" in figure.layout.title.text
