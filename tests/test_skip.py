"""The linear part of a network: one session ahead it is HARX, and a network that adds nothing is it."""

import numpy as np
import pytest

from forecaster.config import Recipe
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import kind
from forecaster.models.har import Har
from forecaster.models.recurrent import Recurrent
from forecaster.models.skip import fit_skip
from forecaster.windows import Windows

REFIT = np.datetime64("2016-03-01T21:00")


@pytest.fixture(scope="module")
def windows(history: History, tiny: Recipe) -> Windows:
    return Windows(assemble(history), tiny.lookback, tiny.horizon)


def test_one_session_ahead_the_linear_part_is_harx(windows: Windows) -> None:
    panel = windows.panel
    cutoffs = windows.ends[panel.known_at[windows.ends] <= REFIT]
    mean, deviation = panel.values[cutoffs].mean(axis=0), panel.values[cutoffs].std(axis=0)
    deviation = np.where(deviation > 0, deviation, np.inf)
    later = windows.ends[panel.known_at[windows.ends] > REFIT][::97]
    skip = fit_skip(windows, cutoffs, REFIT, np.clip((panel.values[cutoffs] - mean) / deviation, -5, 5))
    scaled = np.clip((panel.values[later] - mean) / deviation, -5, 5)
    growth = scaled @ skip.inputs[:, 0] + skip.bias[0] + windows.ahead(later)[:, 0] @ skip.ahead[:, 0]
    forecast = Har("harx").fit(windows, REFIT, lambda note: None).forecast(windows, later)
    # Where an announced date has less to tell of the next session than of later ones, they have their say.
    found = panel.base_sigma[later] * np.exp(growth / 2)
    np.testing.assert_allclose(found, forecast.sigma[:, 0], rtol=1e-2)
    assert np.median(np.abs(np.log(found / forecast.sigma[:, 0]))) < 1e-3


def test_a_network_that_learned_nothing_is_its_linear_part(windows: Windows, tiny: Recipe) -> None:
    """With no rate of learning every kind of cell gives the same forecast."""
    still = tiny.but(learning_rate=1e-12, epochs=1)
    ends = windows.ends[windows.panel.known_at[windows.ends] > REFIT][::97]
    sigma = {
        cell: kind(cell, still).fit(windows, REFIT, lambda note: None).forecast(windows, ends).sigma
        for cell in ("rnn", "gru")
    }
    np.testing.assert_allclose(sigma["rnn"], sigma["gru"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"surprise": False},
        {"linear_part": False},
        {"own_memory": False},
        {"shrink": False},
        {"response": True, "decay": 0.01},
        {"crps": 1.0},
    ],
)
def test_each_part_of_a_network_can_be_switched(
    windows: Windows, tiny: Recipe, change: dict[str, object]
) -> None:
    """Each gives another forecast, of the same form, and survives its files."""
    recipe = tiny.but(cells=("gru",), **change)
    fitted = kind("gru", recipe).fit(windows, REFIT, lambda note: None)
    assert isinstance(fitted, Recurrent)
    assert (fitted.linear is None) == (change == {"surprise": False})
    ends = windows.ends[windows.panel.known_at[windows.ends] > REFIT][::211]
    forecast = fitted.forecast(windows, ends)
    assert np.isfinite(forecast.sigma).all()
    assert (np.diff(forecast.sigma, axis=1) > 0).all()
