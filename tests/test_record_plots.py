"""Figures of the track record and of models against each other: what is drawn is what the rows say."""

import numpy as np
import pandas as pd
import pytest
from test_ranking import SYMBOLS, forecasts

from forecaster.evaluation.ranking import leads, only, rank, stock_day_losses
from forecaster.instruments import Instrument
from forecaster.record_plots import (
    WINDOW,
    plot_coverage,
    plot_groups,
    plot_issued,
    plot_pairs,
    plot_pits,
    plot_skill,
    plot_spread,
)

APPLE = Instrument("AAPL", "Apple", "XNAS", "America/New_York", "USD", "EQUITY")


@pytest.fixture
def rows() -> pd.DataFrame:
    """Four ranges over Labor Day of 2023: within, above, below, awaited."""
    outcome = [0.01, 0.06, -0.06, np.nan]
    sessions = pd.DatetimeIndex(["2023-08-31", "2023-09-01", "2023-09-05", "2023-09-06"])
    quantiles = {"q05": -0.05, "q50": 0.0, "q95": 0.05}
    return pd.DataFrame({"session": sessions, "step": 1, "base_price": 200.0, "outcome": outcome} | quantiles)


def test_a_miss_is_drawn_in_another_shape(rows: pd.DataFrame) -> None:
    ranges, within, missed, awaited = plot_issued(rows, "AAPL", APPLE).data
    np.testing.assert_allclose(np.reshape(ranges.y, (4, 3))[:, 0], 200 * np.exp(-0.05))
    np.testing.assert_allclose(np.reshape(ranges.y, (4, 3))[:, 1], 200 * np.exp(0.05))
    np.testing.assert_allclose(within.y, [200 * np.exp(0.01)])
    np.testing.assert_allclose(missed.y, [200 * np.exp(0.06), 200 * np.exp(-0.06)])
    np.testing.assert_allclose(awaited.y, [200])
    assert len({within.marker.symbol, missed.marker.symbol, awaited.marker.symbol}) == 3


def test_days_without_a_session_are_left_out(rows: pd.DataFrame) -> None:
    axis = plot_issued(rows, "AAPL", APPLE).layout.xaxis
    assert set(axis.rangebreaks[0]["values"]) == {"2023-09-02", "2023-09-03", "2023-09-04"}


def test_coverage_is_the_mean_of_the_last_dates() -> None:
    days = np.repeat(pd.bdate_range("2023-01-02", periods=100), 2)
    inside = pd.Series(np.random.default_rng(1).random(200) < 0.9, index=days)
    (line,) = plot_coverage({"backtest": inside}).data
    assert len(line.y) == 100 - 19, "from 20 dates on"
    for at, value in zip(line.x, line.y, strict=True):
        daily = [inside[inside.index == day].mean() for day in sorted(set(days[days <= pd.Timestamp(at)]))]
        assert value == pytest.approx(100 * np.mean(daily[-WINDOW:]))


def test_issued_and_backtest_differ_in_more_than_colour() -> None:
    pit = pd.Series(np.linspace(0.001, 0.999, 400))
    bars, line = plot_pits({"backtest": pit, "issued": pit}).data
    assert (bars.type, line.type) == ("bar", "scatter")
    np.testing.assert_allclose(bars.y, 1, atol=0.06)
    np.testing.assert_allclose(line.y[:-1], bars.y)
    gains = pd.DataFrame({"record": ["backtest", "issued"], "baseline": "harx", "gain": 0.1, "half": 0.05})
    assert len({one.marker.symbol for one in plot_skill(gains).data}) == 2


def test_signs_of_the_matrix_follow_the_tests() -> None:
    tests = pd.DataFrame(
        [("lstm", "harx", -0.1, 0.0004), ("lstm", "gru", -0.1, 0.03), ("harx", "gru", 0.1, 0.2)],
        columns=["model", "baseline", "difference", "p_value"],
    )
    mirrored = tests.assign(model=tests["baseline"], baseline=tests["model"], difference=-tests["difference"])
    both = pd.concat([tests, mirrored]).assign(loss="log_score")
    (matrix,) = plot_pairs(both, ["lstm", "gru", "harx"]).data
    assert [list(row) for row in matrix.text] == [
        ["", "+", "+++"], ["\u2212", "", "\u00b7"], ["\u2212\u2212\u2212", "\u00b7", ""],
    ]  # fmt: skip
    np.testing.assert_allclose(matrix.z[0][1:], [1 / 3, 1])
    assert np.isnan([matrix.z[at][at] for at in range(3)]).all()
    assert matrix.customdata[0][2] == "+0.1000, log score, nats, over HARX; p < .001"


def test_groups_are_drawn_with_their_gains() -> None:
    every = stock_day_losses(forecasts(lstm=0.0, harx=0.05, rolling_t=0.2), "log_score")
    table = leads([(name, 1, only(every, None, name)) for name in SYMBOLS], "rolling_t")
    order = list(rank(every, 1, "log_score").models["model"])
    (cells,) = plot_groups(table, order, "log_score", "Symbol").data
    assert list(cells.x) == list(SYMBOLS)
    np.testing.assert_allclose(cells.z, table[["lstm", "harx"]].to_numpy().T)
    marks, median, *_ = plot_spread(table, order, "log_score").data
    np.testing.assert_allclose(marks.x, table["lstm"])
    np.testing.assert_allclose(median.x, table["lstm"].median())
