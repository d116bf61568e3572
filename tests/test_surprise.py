"""The memory of surprises: the linear model's own scores, faded, as known at each row and no sooner."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import planted
import pytest
from perturb import perturb

from forecaster.features import assemble
from forecaster.models.surprise import FADES, NAME, linear_model, surprise, with_surprise
from forecaster.windows import Windows

UNTIL = np.datetime64(planted.CLOSES[800].tz_localize(None))


def windows_of(returns: np.ndarray) -> Windows:
    events, _ = planted.planted()
    return Windows(assemble(planted.history_from(events[:0], returns)), 16, 5)


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    draw = np.random.default_rng(4)
    return planted.SIGMA * draw.normal(size=(planted.COUNT, len(planted.SYMBOLS)))


@pytest.fixture(scope="module")
def windows(returns: np.ndarray) -> Windows:
    return windows_of(returns)


def test_it_equals_a_plain_loop(windows: Windows) -> None:
    linear = linear_model(windows, UNTIL)
    found = surprise(windows, linear)
    panel, one = windows.panel, replace(windows, horizon=1)
    for code in (0, 3):
        state = 0.0
        rows = np.flatnonzero(panel.code == code)
        for before, row in pairwise(rows):
            told = 0.0
            if windows.ready[before]:
                forecast = linear.forecast(one, np.array([before]))
                squared = (panel.log_return[row] / forecast.scale[0, 0]) ** 2
                df = forecast.df[0, 0]
                told = (df + 1) * squared / (df + squared) - 1
            state = FADES * state + (1 - FADES) * told
            assert found[row] == pytest.approx(state, rel=1e-3, abs=1e-5)


def test_a_stock_wilder_than_its_inputs_say_surprises(returns: np.ndarray) -> None:
    """Alternating calm and wild days: what a mean of the past expects is too little or too much at once."""
    wild = returns.copy()
    wild[820:, 1] *= np.where(np.arange(len(wild) - 820) % 7 == 0, 8.0, 1.0)
    calm, moved = windows_of(returns), windows_of(wild)
    linear = linear_model(calm, UNTIL)
    same, other = surprise(calm, linear), surprise(moved, linear)
    assert np.isfinite(other).all()
    last = np.flatnonzero(calm.panel.code == 1)[-1]
    assert abs(other[last] - same[last]) > 0.01


def test_on_average_a_fitted_model_is_not_surprised(windows: Windows) -> None:
    found = surprise(windows, linear_model(windows, UNTIL))
    known = (windows.panel.known_at <= UNTIL) & windows.ready
    assert abs(found[known].mean()) < 0.03


def test_what_comes_later_moves_nothing(windows: Windows, returns: np.ndarray) -> None:
    events, _ = planted.planted()
    history = planted.history_from(events[:0], returns)
    day = pd.Timestamp(planted.DAYS[900])
    other = Windows(assemble(perturb(history, day)), 16, 5)
    linear = linear_model(windows, UNTIL)
    before, after = surprise(windows, linear), surprise(other, linear_model(other, UNTIL))
    upto = windows.panel.session <= day.to_datetime64()
    np.testing.assert_array_equal(before[upto], after[upto])
    assert (before[~upto] != after[~upto]).any()


def test_it_is_one_more_input(windows: Windows) -> None:
    linear = linear_model(windows, UNTIL)
    wider = with_surprise(windows, linear)
    assert wider.panel.names == (*windows.panel.names, NAME)
    np.testing.assert_array_equal(wider.panel.values[:, :-1], windows.panel.values)
    np.testing.assert_array_equal(wider.panel.values[:, -1], surprise(windows, linear))
    np.testing.assert_array_equal(wider.ends, windows.ends)
