"""Every model kind keeps the contract; the networks are what their documentation says."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import scoringrules
from scipy import special, stats
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.errors import ModelError, TooLittleHistory, UsageError
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import KINDS, kind
from forecaster.models.loss import LEVELS, crps, log_gamma, negative_log_likelihood, t_quantiles
from forecaster.models.network import CELLS, build
from forecaster.models.recurrent import SegmentBatches
from forecaster.models.surprise import with_surprise
from forecaster.models.trained import Model
from forecaster.windows import Windows
from forecaster.workflow import train

REFIT = np.datetime64("2016-03-01T21:00")
"""The close of that session in UTC."""


@pytest.fixture(scope="module")
def windows(history: History, tiny: Recipe) -> Windows:
    return Windows(assemble(history), tiny.lookback, tiny.horizon)


@pytest.fixture(scope="module")
def model(history: History, tiny: Recipe) -> Model:
    return train(history.until("2016-03-01"), tiny)


@pytest.mark.parametrize("name", KINDS)
def test_contract(windows: Windows, tiny: Recipe, name: str) -> None:
    steps = []
    fitted = kind(name, tiny).fit(windows, REFIT, steps.append)
    assert fitted.name == name
    assert len(steps) == fitted.steps
    later = windows.ends[windows.panel.session[windows.ends] > REFIT][::97]
    forecast = fitted.forecast(windows, later)
    assert forecast.mean.shape == forecast.sigma.shape == forecast.df.shape == (len(later), tiny.horizon)
    assert np.isfinite(forecast.mean).all()
    if forecast.family == "student_t":
        assert (forecast.df > 2).all()
    assert (np.diff(forecast.sigma, axis=1) > 0).all(), "the fan widens with every step"
    alone = fitted.forecast(windows, later[3:4])
    np.testing.assert_allclose(alone.sigma[0], forecast.sigma[3], rtol=1e-5)


def test_an_unknown_kind_lists_the_choices(tiny: Recipe) -> None:
    with pytest.raises(UsageError, match=r"constant, rolling_t, .*harx, boosting, rnn, lstm, gru"):
        kind("transformer", tiny)


@pytest.mark.parametrize("name", ["rolling_t", "ewma_t"])
def test_classical_width_equals_a_plain_loop(windows: Windows, tiny: Recipe, name: str) -> None:
    panel = windows.panel
    ends = windows.ends[panel.session[windows.ends] <= REFIT]

    def volatility(row: int) -> float:
        start = int(np.flatnonzero(panel.code == panel.code[row])[0])
        squares = panel.log_return[start + 1 : row + 1] ** 2
        if name == "rolling_t":
            return float(np.sqrt(squares[-250:].mean()))
        weights = 0.94 ** np.arange(len(squares))[::-1]
        return float(np.sqrt((weights * squares).sum() / weights.sum()))

    step = 5
    rows = [row for row in ends if panel.session[windows.label_rows[row, step - 1]] <= REFIT]
    scaled = [
        (panel.log_price[windows.label_rows[row, step - 1]] - panel.log_price[row])
        / (volatility(row) * np.sqrt(step))
        for row in rows
    ]
    df, _, scale = stats.t.fit(scaled, floc=0)
    row = windows.ends[panel.session[windows.ends] > REFIT][40]
    forecast = kind(name, tiny).fit(windows, REFIT, lambda note: None).forecast(windows, np.array([row]))
    assert forecast.df[0, step - 1] == pytest.approx(df, rel=1e-3)
    expected = scale * np.sqrt(df / (df - 2)) * volatility(row) * np.sqrt(step)
    assert forecast.sigma[0, step - 1] == pytest.approx(expected, rel=1e-3)
    assert not forecast.mean.any(), "the median forecast is the last price"


NAMES = ("trend.return_5", "previous_day.range", "exogenous.market_return", "surprise")


def scaler(features: int) -> StandardScaler:
    return StandardScaler().fit(np.random.default_rng(0).normal(2.0, 3.0, (50, features)))


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_starts_at_the_classical_forecast(tiny: Recipe, cell: str) -> None:
    _, reader = build(tiny, cell, scaler(4), NAMES, 3)
    random = np.random.default_rng(1)
    out = reader.predict(
        [random.normal(size=(5, tiny.lookback, 4)), random.normal(size=(5, tiny.horizon, 3))], verbose=0
    )
    np.testing.assert_allclose(out[..., 0], 0.0)
    np.testing.assert_allclose(
        out[..., 1], np.tile(np.sqrt(np.arange(1, tiny.horizon + 1)), (5, 1)), rtol=1e-6
    )
    np.testing.assert_allclose(out[..., 2], 6.0, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_an_announcement_moves_its_own_session_and_none_before(tiny: Recipe, cell: str) -> None:
    _, reader = build(tiny, cell, scaler(4), NAMES, 3)
    random = np.random.default_rng(2)
    reader.set_weights([random.normal(0, 0.3, weight.shape) for weight in reader.get_weights()])
    inputs = random.normal(size=(1, tiny.lookback, 4))
    ahead = random.normal(size=(1, tiny.horizon, 3))
    moved = ahead.copy()
    moved[0, 7, 1] += 2.0
    before, after = (reader.predict([inputs, one], verbose=0)[0] for one in (ahead, moved))
    np.testing.assert_array_equal(before[:7], after[:7])
    assert (before[7:, 1] != after[7:, 1]).all()
    np.testing.assert_array_equal(before[:, [0, 2]], after[:, [0, 2]])


@pytest.mark.parametrize("cell", CELLS)
def test_both_readings_agree_at_the_first_cutoff_of_a_segment(tiny: Recipe, cell: str) -> None:
    learner, reader = build(tiny, cell, scaler(4), NAMES, 3)
    random = np.random.default_rng(4)
    weights = [random.normal(0, 0.3, weight.shape) for weight in reader.get_weights()]
    reader.set_weights(weights)
    segment = random.normal(size=(2, tiny.lookback - 1 + 8, 4)).astype("float32")
    ahead = random.normal(size=(2, 8, tiny.horizon, 3)).astype("float32")
    learned = learner.predict([segment, ahead], verbose=0)
    read = reader.predict([segment[:, : tiny.lookback], ahead[:, 0]], verbose=0)
    np.testing.assert_allclose(learned[:, 0], read, rtol=2e-5, atol=2e-5)


def test_the_two_readings_of_a_trained_network_stay_close(history: History) -> None:
    """A segment lets later cutoffs remember further back than a window does: bounded, not equal."""
    recipe = Recipe(lookback=32, units=8, seeds=1, epochs=4, cells=("lstm",), stride=32)
    windows = Windows(assemble(history), recipe.lookback, recipe.horizon)
    fitted = kind("lstm", recipe).fit(windows, REFIT, lambda note: None)
    (reader,) = fitted.networks
    reading = with_surprise(windows, fitted.linear)
    panel = reading.panel
    learner, twin = build(recipe, "lstm", scaler(len(panel.names)), panel.names, len(panel.ahead_names))
    twin.get_layer("standardise").mean = reader.get_layer("standardise").mean
    twin.get_layer("standardise").spread = reader.get_layer("standardise").spread
    twin.set_weights(reader.get_weights())
    cutoffs = windows.ends[windows.panel.session[windows.ends] > REFIT][:320]
    batches = SegmentBatches(reading, cutoffs, np.datetime64("2023-01-01"), recipe)
    (inputs, ahead), _ = batches[0]
    flags = batches._is_cutoff[:16, recipe.lookback - 1 :]
    rows = batches._rows[:16, recipe.lookback - 1 :][flags]
    in_segments = learner.predict([inputs, ahead], verbose=0)[flags][..., 1]
    in_windows = fitted.forecast(windows, rows).sigma / windows.panel.base_sigma[rows][:, None]
    difference = np.abs(np.log(in_segments / in_windows))
    assert difference.mean() < 0.02
    assert difference.max() < 0.2


def test_log_gamma_is_that_of_scipy() -> None:
    x = np.linspace(1.0, 60.0, 2000, dtype="float32")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(log_gamma(x)), special.gammaln(x), rtol=2e-6, atol=1e-5
    )


def test_the_loss_is_the_log_density_of_the_known_outcomes_by_overlap() -> None:
    random = np.random.default_rng(5)
    outcome = random.normal(size=(4, 3)).astype("float32")
    mean, sigma, df = (
        random.normal(size=(4, 3)),
        random.uniform(0.5, 2, (4, 3)),
        random.uniform(2.5, 20, (4, 3)),
    )
    density = stats.t.logpdf(outcome, df, mean, sigma * np.sqrt((df - 2) / df))
    outcome[1, 2] = np.nan
    weight = np.isfinite(outcome) / np.array([1, 2, 3])
    loss = negative_log_likelihood(outcome, np.stack([mean, sigma, df], axis=-1).astype("float32"))
    expected = -np.sum(weight * np.nan_to_num(density)) / weight.sum()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_crps_of_the_loss_is_near_the_exact_one() -> None:
    """By ten quantile levels: the tails beyond the outermost count a little less."""
    random = np.random.default_rng(6)
    outcome = random.standard_t(4, size=(400, 3)).astype("float32")
    mean, sigma, df = (
        random.normal(size=(400, 3)),
        random.uniform(0.5, 2, (400, 3)),
        random.uniform(2.2, 20, (400, 3)),
    )
    exact = scoringrules.crps_t(outcome, df, mean, sigma * np.sqrt((df - 2) / df)) / np.sqrt([1, 2, 3])
    outcome[1, 2] = np.nan
    weight = np.isfinite(outcome) / np.array([1, 2, 3])
    found = crps(outcome, np.stack([mean, sigma, df], axis=-1).astype("float32"))
    assert float(found) == pytest.approx(np.sum(weight * exact) / weight.sum(), rel=0.02)


def test_quantiles_of_the_student_t_are_those_of_scipy() -> None:
    df = np.geomspace(2.1, 500, 300).astype("float32")
    found = keras.ops.convert_to_numpy(t_quantiles(df))
    np.testing.assert_allclose(found, stats.t.ppf(LEVELS, df[:, None]), atol=2e-3)


def test_statistics_of_the_inputs_come_from_training_rows_only(windows: Windows, tiny: Recipe) -> None:
    fitted = kind("gru", tiny).fit(windows, REFIT, lambda note: None)
    session = windows.panel.session[windows.ends]
    days = np.unique(session[session <= REFIT])
    last = days[-int(len(days) * tiny.validation) - 1]
    panel = with_surprise(windows, fitted.linear).panel
    rows = panel.values[windows.ends[session <= last]].astype(float)
    layer = fitted.networks[0].get_layer("standardise")
    np.testing.assert_allclose(layer.mean, rows.mean(axis=0), rtol=1e-6)
    never = np.finfo(np.float32).max
    np.testing.assert_allclose(
        layer.spread, np.where(rows.std(axis=0) > 0, rows.std(axis=0), never), rtol=1e-6
    )


@pytest.mark.slow
def test_training_twice_gives_the_same_forecast(history: History, tiny: Recipe, model: Model) -> None:
    again = train(history.until("2016-03-01"), tiny)
    pd.testing.assert_frame_equal(model.forecast(history), again.forecast(history), check_exact=True)


def test_a_model_survives_its_files(tmp_path: Path, history: History, model: Model) -> None:
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".keras", ".onnx"}
    loaded = Model.load(tmp_path, keras=True)
    assert loaded.recipe == model.recipe
    assert loaded.card == model.card
    pd.testing.assert_frame_equal(loaded.forecast(history), model.forecast(history), check_exact=True)


def test_a_model_serves_a_symbol_that_it_never_saw(history: History, tiny: Recipe) -> None:
    known = history.until("2016-03-01")
    model = train(known, tiny.but(universe=("AAPL", "NVDA")))
    assert model.universe == ("AAPL", "NVDA")
    table = model.forecast(known, ("NFLX",))
    assert list(table["symbol"].unique()) == ["NFLX"]
    assert len(table) == tiny.horizon


def test_a_model_is_not_asked_about_its_own_past(history: History, model: Model) -> None:
    with pytest.raises(ModelError, match="has seen data up to 2016-03-01"):
        model.forecast(history.until("2015-12-31"))


def test_a_symbol_that_fell_behind_is_not_forecast_by_a_model_that_saw_its_future(
    history: History, model: Model
) -> None:
    behind = (history.traded["symbol"] == "NFLX") & (history.traded["session"] > "2016-02-25")
    late = replace(history, traded=history.traded[~behind].reset_index(drop=True))
    assert set(model.forecast(late)["symbol"]) == {"AAPL", "NVDA"}
    with pytest.raises(
        TooLittleHistory, match="NFLX: its last session is 2016-02-25, and the model has seen later"
    ):
        model.forecast(late, ("NFLX",))


def test_too_short_a_history_is_refused(history: History, tiny: Recipe) -> None:
    with pytest.raises(TooLittleHistory):
        train(history.until("2013-03-01"), tiny)


def test_forecast_sessions_follow_the_last_stored_one(history: History, model: Model) -> None:
    table = model.forecast(history)
    assert (table["session"] > history.as_of).all()
    assert (table["cutoff"] == history.as_of).all()
    assert table.groupby("symbol")["session"].is_monotonic_increasing.all()
    closes = history.traded[history.traded["session"] == history.as_of].set_index("symbol")["close"]
    np.testing.assert_array_equal(table["base_price"], closes[table["symbol"]])
