"""Windows, labels and segments against plain loops."""

from dataclasses import replace

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from forecaster.errors import TooLittleHistory
from forecaster.features import Panel
from forecaster.features.company import LONGEST
from forecaster.windows import Segments, Windows

SESSIONS = (
    exchange_calendars.get_calendar("XNYS", start="2015-01-02").sessions[:120].to_numpy("datetime64[ns]")
)


def panel_of(kept: list[np.ndarray], unknown: list[tuple[int, int]] = []) -> Panel:  # noqa: B006
    """A panel of random walks; `kept` names each symbol's sessions, `unknown` rows without inputs."""
    random = np.random.default_rng(7)
    code = np.repeat(np.arange(len(kept), dtype=np.int32), [len(one) for one in kept])
    position = np.concatenate(kept)
    rows = len(code)
    values = random.normal(size=(rows, 3)).astype(np.float32)
    for row, column in unknown:
        values[row % rows, column] = np.nan
    log_price = random.normal(size=rows).cumsum()
    announced = random.normal(size=(rows, 3 * LONGEST)) * (random.random((rows, 3 * LONGEST)) < 0.1)
    return Panel(
        symbols=tuple(f"S{i}" for i in range(len(kept))),
        code=code,
        session=SESSIONS[position],
        known_at=SESSIONS[position],
        position=position,
        close=np.exp(log_price),
        log_price=log_price,
        log_return=np.diff(log_price, prepend=np.nan),
        base_sigma=np.full(rows, 0.01),
        values=values,
        names=("trend.a", "previous_day.b", "exogenous.c"),
        ahead=np.arange(len(SESSIONS) * 2, dtype=np.float32).reshape(-1, 2),
        announced=sparse.csr_array(announced.astype(np.float32)),
        ahead_names=("monday", "early_close", "results_due", "results_passed", "dividend_due"),
        calendar=SESSIONS,
    )


kept_sessions = st.lists(
    st.lists(st.integers(0, 99), min_size=1, max_size=80, unique=True).map(
        lambda days: np.array(sorted(days))
    ),
    min_size=1,
    max_size=3,
)
unknown_cells = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 2)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(kept_sessions, unknown_cells, st.integers(2, 9), st.integers(1, 7))
def test_windows_and_labels_equal_a_plain_loop(kept, unknown, lookback, horizon) -> None:
    panel = panel_of(kept, unknown)
    windows = Windows(panel, lookback, horizon)
    ready = np.isfinite(panel.values).all(axis=1)
    expected = [
        row
        for row in range(len(panel.code))
        if row + 1 >= lookback
        and all(
            panel.code[back] == panel.code[row] and ready[back] for back in range(row - lookback + 1, row + 1)
        )
    ]
    assert windows.ends.tolist() == expected
    if not expected:
        return
    ends = windows.ends
    inputs, labels, ahead = windows.inputs(ends), windows.labels(ends), windows.ahead(ends)
    limit = SESSIONS[60]
    known = windows.labels(ends, known_by=limit)
    row_of = {(panel.code[row], panel.position[row]): row for row in range(len(panel.code))}
    for i, end in enumerate(ends):
        np.testing.assert_array_equal(inputs[i], panel.values[end - lookback + 1 : end + 1])
        for step in range(1, horizon + 1):
            target = row_of.get((panel.code[end], panel.position[end] + step))
            answer = np.nan if target is None else panel.log_price[target] - panel.log_price[end]
            assert labels[i, step - 1] == pytest.approx(answer, nan_ok=True)
            in_time = target is not None and panel.session[target] <= limit
            assert known[i, step - 1] == pytest.approx(answer if in_time else np.nan, nan_ok=True)
            calendar = panel.ahead[panel.position[end] + step]
            announced = [panel.announced[end, 3 * (step - 1) + name] for name in range(3)]
            np.testing.assert_array_equal(ahead[i, step - 1], [*calendar, *announced])


@settings(max_examples=30, deadline=None)
@given(kept_sessions, st.integers(1, 12))
def test_what_is_known_ahead_is_averaged_over_the_sessions_so_far(kept, horizon) -> None:
    windows = Windows(panel_of(kept), 2, horizon)
    rows = np.arange(len(windows.panel.code))
    ahead = windows.ahead(rows)
    assert ahead.shape == (len(rows), horizon, 5)
    assert ahead.dtype == np.float32
    for step in range(1, horizon + 1):
        mean = windows.mean_ahead(rows, step)
        assert mean.dtype == np.float32
        np.testing.assert_allclose(mean, ahead[:, :step].mean(axis=1), rtol=1e-5, atol=1e-6)


def test_what_is_known_ahead_of_rows_of_any_shape() -> None:
    windows = Windows(panel_of([np.arange(100)]), 2, 4)
    rows = np.array([[3, 50], [99, 3], [0, 7]])
    ahead = windows.ahead(rows)
    assert ahead.shape == (3, 2, 4, 5)
    for place, row in np.ndenumerate(rows):
        np.testing.assert_array_equal(ahead[place], windows.ahead(np.array([row]))[0])


def test_without_inputs_from_outside_nothing_is_known_ahead() -> None:
    panel = panel_of([np.arange(100)])
    nothing = replace(
        panel,
        ahead=panel.ahead[:, :0],
        announced=sparse.csr_array((100, 0), dtype=np.float32),
        ahead_names=(),
    )
    windows = Windows(nothing, 2, 4)
    assert windows.ahead(np.array([5, 6])).shape == (2, 4, 0)
    assert windows.mean_ahead(np.array([5, 6]), 3).shape == (2, 0)


def test_inputs_are_a_view_of_the_matrix_until_they_are_gathered() -> None:
    panel = panel_of([np.arange(100)])
    windows = Windows(panel, 10, 5)
    view = np.lib.stride_tricks.sliding_window_view(panel.values, 10, axis=0)
    assert np.shares_memory(view, panel.values)
    np.testing.assert_array_equal(windows.inputs(np.array([9])), view[:1].transpose(0, 2, 1))


@settings(max_examples=60, deadline=None)
@given(kept_sessions, st.integers(2, 9), st.integers(1, 12), st.integers(0, 11))
def test_each_cutoff_stands_in_one_segment_with_its_window_before_it(kept, lookback, stride, offset) -> None:
    windows = Windows(panel_of(kept), lookback, 3)
    if not len(windows.ends):
        return
    lengths = set()
    for start in (offset % stride, 0):
        segments = Segments.cover(windows, windows.ends, stride, start)
        lengths.add(len(segments.rows))
        found = segments.rows[segments.is_cutoff]
        assert sorted(found.tolist()) == windows.ends.tolist()
        for rows, flags in zip(segments.rows, segments.is_cutoff, strict=True):
            for at in np.flatnonzero(flags):
                assert at >= lookback - 1
                expected = np.arange(rows[at] - lookback + 1, rows[at] + 1)
                np.testing.assert_array_equal(rows[at - lookback + 1 : at + 1], expected)
    assert len(lengths) == 1


def test_a_symbol_that_cannot_be_forecast_is_named() -> None:
    windows = Windows(panel_of([np.arange(100), np.arange(50), np.arange(100)], unknown=[(249, 1)]), 10, 5)
    assert windows.last_end("S0") == 99
    with pytest.raises(TooLittleHistory, match=r"S1: 50 sessions are too few.*bring at least 77"):
        windows.last_end("S1")
    with pytest.raises(
        TooLittleHistory, match=r"S2: an input of the 10 sessions up to 2015-05-27 is not known"
    ):
        windows.last_end("S2")


def test_a_missing_session_leaves_a_gap_in_the_labels() -> None:
    days = np.array([0, 1, 2, 4, 5])
    windows = Windows(panel_of([days]), 2, 2)
    labels = windows.labels(np.array([2]))
    assert np.isnan(labels[0, 0])
    assert np.isfinite(labels[0, 1])


def test_sessions_are_counted_across_a_weekend() -> None:
    friday = pd.Timestamp("2015-01-09").to_datetime64()
    at = int(np.searchsorted(SESSIONS, friday))
    assert SESSIONS[at + 1] == pd.Timestamp("2015-01-12").to_datetime64()
    windows = Windows(panel_of([np.arange(at - 3, at + 2)]), 2, 1)
    panel = windows.panel
    end = int(np.flatnonzero(panel.session == friday)[0])
    assert windows.labels(np.array([end]))[0, 0] == pytest.approx(
        panel.log_price[end + 1] - panel.log_price[end]
    )
