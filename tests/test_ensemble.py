"""What is served: pooled and calibrated as the backtest says, kept in files without a pickle, past only."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.errors import ModelError
from forecaster.evaluation.backtest import Backtest, backtest
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import SERVED
from forecaster.models.distribution import StudentT, log_pool
from forecaster.models.ensemble import Ensemble, classical
from forecaster.models.tabulate import distribution_of
from forecaster.models.trained import Model
from forecaster.store import now
from forecaster.windows import Windows
from forecaster.workflow import train
from forecaster.workspace import Workspace

REFIT = np.datetime64("2016-03-01T21:00")
LEARNED = ("ewma_t", "gjr_t", "harx")


@pytest.fixture(scope="module")
def windows(history: History, tiny: Recipe) -> Windows:
    return Windows(assemble(history), tiny.lookback, tiny.horizon)


@pytest.fixture(scope="module")
def recipe(tiny: Recipe) -> Recipe:
    return tiny.but(cells=("gru",), epochs=1, beside=LEARNED)


@pytest.fixture(scope="module")
def past(history: History) -> History:
    return history.until("2016-03-01")


@pytest.fixture(scope="module")
def evidence(past: History, recipe: Recipe) -> Backtest:
    return backtest(past, recipe, folds=2, test_sessions=160)


@pytest.fixture(scope="module")
def model(past: History, recipe: Recipe, evidence: Backtest) -> Model:
    return train(past, recipe, evidence=evidence)


@pytest.mark.parametrize("name", LEARNED)
def test_a_classical_model_survives_json_to_the_bit(windows: Windows, recipe: Recipe, name: str) -> None:
    fitted = classical(name, recipe).fit(windows, REFIT, lambda note: None)
    again = classical(name, recipe).take(json.loads(json.dumps(fitted.as_json())))
    ends = windows.ends[::91]
    before, after = fitted.forecast(windows, ends), again.forecast(windows, ends)
    for part in ("mean", "sigma", "df"):
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))


def test_a_model_with_all_its_parts_survives_its_files(model: Model, past: History, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".keras", ".onnx", ".json"}
    pd.testing.assert_frame_equal(Model.load(tmp_path, keras=True).forecast(past), model.forecast(past))


def test_what_it_is_compared_with_is_written_beside_and_read_again(
    model: Model, past: History, tmp_path: Path
) -> None:
    rows = model.read(model.windows(past), past.symbols, with_compared=True)
    assert list(rows["model"].unique()) == [SERVED, "rolling_t", "gjr_t"]
    (gjr,) = [one for one in model.ensemble.beside if one.name == "gjr_t"]
    windows = model.windows(past)
    alone = gjr.forecast(windows, np.array([windows.last_end("NVDA")]))
    mine = rows[(rows["symbol"] == "NVDA") & (rows["model"] == "gjr_t")]
    np.testing.assert_array_equal(mine["sigma"], alone.sigma[0])
    store = Workspace(tmp_path).store
    stamp = {"version": "1", "recipe_hash": "r", "store_version": 0, "issued_at": now()}
    ledger.issue(store, rows.assign(**stamp))
    standing = ledger.latest(store, "NVDA")
    assert set(standing["model"]) == {SERVED}
    beside = ledger.beside(store, standing)
    assert list(beside["model"].unique()) == ["gjr_t", "rolling_t"]
    np.testing.assert_array_equal(beside.loc[beside["model"] == "gjr_t", "q05"], mine["q05"])
    assert set(ledger.stood(store, "r")["model"]) == {SERVED}, "what is settled and carried on is the same"


def test_it_is_the_members_pool_widened_by_each_symbol_s_adjustment(model: Model, past: History) -> None:
    windows = model.windows(past)
    ends = np.array([model.current(windows, symbol) for symbol in past.symbols])
    ensemble = model.ensemble
    members = [one.forecast(windows, ends) for one in (*ensemble.beside, *ensemble.networks)]
    served = ensemble.forecast(windows, ends)
    for step in (1, 7, 20):
        pooled = log_pool([one[:, step - 1] for one in members], ensemble.weights[:, step - 1])
        added = [ensemble.adjustments[symbol][step - 1] for symbol in past.symbols]
        np.testing.assert_allclose(served.sigma[:, step - 1], pooled.sigma * np.exp(added), rtol=1e-12)
    np.testing.assert_allclose(ensemble.weights.sum(axis=0), 1.0)
    assert (np.diff(served.sigma, axis=1) > 0).all()


def test_the_calibration_at_the_end_of_training_is_that_of_its_backtest(
    model: Model, evidence: Backtest
) -> None:
    issued = evidence.forecasts[evidence.forecasts["model"] == SERVED]
    for step in (1, 20):
        rows = issued[issued["step"] == step]
        for symbol, own in rows.groupby("symbol"):
            state = 0.0
            for row in own.sort_values("cutoff").itertuples():
                squared = ((row.outcome - row.mean) / row.scale) ** 2
                state = 0.995 * state + 0.004 / step * ((row.df + 1) * squared / (row.df + squared) - 1)
            assert model.ensemble.adjustments[str(symbol)][step - 1] == pytest.approx(state, rel=1e-9)


def test_a_symbol_that_no_backtest_knows_is_not_adjusted(model: Model, past: History) -> None:
    windows = model.windows(past)
    unknown = replace(model.ensemble, adjustments={})
    ends = np.array([model.current(windows, past.symbols[0])])
    np.testing.assert_array_equal(unknown.adjustment(windows, ends), np.zeros((1, windows.horizon)))


def test_without_evidence_weights_are_equal(past: History, model: Model, recipe: Recipe) -> None:
    plain = Ensemble.of(recipe, model.ensemble.beside, model.ensemble.networks, model.ensemble.last_price)
    np.testing.assert_allclose(plain.weights, 0.25)
    assert plain.adjustments == {}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"calibrated": False}, "adjustments"),
        ({"learned_weights": False}, "weights"),
        ({"beside": ()}, "beside"),
    ],
)
def test_each_part_can_be_switched_off(
    model: Model, evidence: Backtest, recipe: Recipe, change: dict[str, object], part: str
) -> None:
    other = recipe.but(**change)
    beside = [] if part == "beside" else model.ensemble.beside
    ensemble = model.ensemble
    made = Ensemble.of(other, beside, ensemble.networks, ensemble.last_price, evidence.forecasts)
    expected: object = {"adjustments": {}, "weights": np.full((4, 20), 0.25), "beside": ()}[part]
    np.testing.assert_equal(getattr(made, part), expected)


def test_evidence_of_another_recipe_is_refused(past: History, recipe: Recipe, evidence: Backtest) -> None:
    with pytest.raises(ModelError, match="run the backtest with the model's own recipe"):
        train(past, recipe.but(units=5), evidence=evidence)


def test_served_forecasts_of_a_walk_are_calibrated_on_what_was_known(evidence: Backtest) -> None:
    """In the first fold, whose weights are equal: the pool of the members, widened by what was settled."""
    table = evidence.forecasts
    at_step = table[table["step"] == 5].sort_values(["cutoff", "symbol"])
    first = at_step[at_step["cutoff"] <= at_step["cutoff"].unique()[70]]
    rows = first[first["model"] == SERVED].reset_index(drop=True)
    members = [
        distribution_of(first[first["model"] == name].reset_index(drop=True)) for name in (*LEARNED, "gru")
    ]
    pooled = log_pool(members, np.full(4, 0.25))
    for at in (2, 100, len(rows) - 1):
        row = rows.loc[at]
        own = rows[rows["symbol"] == row["symbol"]]
        state = 0.0
        for past in own[own["session"] <= row["cutoff"]].itertuples():
            squared = ((past.outcome - past.mean) / past.scale) ** 2
            state = 0.995 * state + 0.004 / 5 * ((past.df + 1) * squared / (past.df + squared) - 1)
        assert (state == 0.0) == (at == 2)
        assert np.log(row["sigma"] / pooled.sigma[at]) == pytest.approx(state, abs=1e-9)


def test_the_ledger_carries_the_calibration_on(trained_workspace: Workspace) -> None:
    """From the adjustments of the last issue on, by what has been settled since, as a plain loop says."""
    store = trained_workspace.store
    history = trained_workspace.history()
    symbol = history.symbols[0]
    sessions = history.bars(symbol)["session"].to_numpy()
    rows = history.traded[history.traded["symbol"] == symbol]
    traded = rows.set_index("session")["close"]
    # Issued on three sessions of the past, as a service that started then would have done.
    issued = trained_workspace.forecasts(symbol)
    parts = []
    for back in (12, 11, 8):
        at = len(sessions) - 1 - back
        ahead = np.append(sessions[at + 1 :], pd.bdate_range(sessions[-1], periods=21)[1:])[:20]
        parts.append(
            issued.assign(
                cutoff=pd.Timestamp(sessions[at]), session=ahead, recipe_hash="9", adjustment=0.01 * back,
                base_price=traded[sessions[at]], issued_at=issued["issued_at"],
            )
        )  # fmt: skip
    store.append("forecasts", pd.concat(parts))
    found = ledger.carried(store, "9", [symbol, "NONE"], history)
    assert list(found) == [symbol]
    close = history.bars(symbol).set_index("session")["adj_close"]
    for step in (1, 2, 5, 20):
        state = 0.08
        of_step = issued[issued["step"] == step].iloc[0]
        scale = of_step["sigma"] * np.sqrt((of_step["df"] - 2) / of_step["df"])
        for back in (12, 11, 8):
            end = len(sessions) - 1 - back + step
            # Settled after the last issue, eight sessions ago, and by now.
            if len(sessions) - 1 - 8 < end <= len(sessions) - 1:
                outcome = np.log(close.iloc[end] / close.iloc[end - step])
                squared = ((outcome - of_step["mean"]) / scale) ** 2
                told = (of_step["df"] + 1) * squared / (of_step["df"] + squared) - 1
                state = 0.995 * state + 0.004 / step * told
        assert found[symbol][step - 1] == pytest.approx(state, rel=1e-9)
    assert ledger.carried(store, "9", [symbol], history.until("2020-01-02")) == {}


def test_issued_forecasts_say_how_they_were_calibrated(trained_workspace: Workspace) -> None:
    issued = trained_workspace.forecasts("AAPL")
    _, model = trained_workspace.registry.load()
    np.testing.assert_allclose(issued["adjustment"], model.ensemble.adjustments["AAPL"])
    assert (issued["doubt"] == "").all()


def test_paths_agree_with_the_forecast_of_every_step(model: Model, past: History) -> None:
    symbol = past.symbols[0]
    paths = model.paths(past, symbol, 400)
    forecast = model.forecast(past, (symbol,))
    assert len(paths) == 400 * 20
    levels = (np.arange(400) + 0.5) / 400
    for step, rows in paths.groupby("step"):
        row = forecast[forecast["step"] == step].iloc[0]
        expected = StudentT(row["mean"], row["sigma"], row["df"]).quantile(levels)
        np.testing.assert_allclose(np.sort(rows["log_return"]), expected, rtol=1e-9)
        assert (rows["session"] == row["session"]).all()
    base = forecast["base_price"].iloc[0]
    np.testing.assert_allclose(paths["price"], base * np.exp(paths["log_return"]))


def test_strange_inputs_are_of_low_confidence_and_the_usual_ones_are_not(model: Model, past: History) -> None:
    assert (model.forecast(past)["doubt"] == "").all()
    windows = model.windows(past)
    end = model.current(windows, past.symbols[0])
    values = windows.panel.values.copy()
    at = windows.panel.names.index("previous_day.range")
    values[end, at] = 9.0
    strange = replace(windows, panel=replace(windows.panel, values=values))
    assert (
        "The log trading range of the last session (in units of the volatility before) is 9"
        in model.doubt(strange, end)
    )
    assert replace(model, novelty=None).doubt(strange, end) == ""
