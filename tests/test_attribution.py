"""What is told of a trained network is exact: its gradients, its contributions, where a signal lay."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from command_line import Run
from sklearn.preprocessing import StandardScaler
from test_serving import SMALL, inputs_of, network_of

from forecaster.config import GROUPS, Recipe
from forecaster.errors import ModelError, TooLittleHistory, UsageError
from forecaster.explain.attribution import TARGETS, Inputs, attribute
from forecaster.explain.gates import GATES, gates
from forecaster.explain.inside import KEPT, inside, laid_out, look
from forecaster.explain.memory import forecast_gradients, state_gradients
from forecaster.explain.twin import read, standardised
from forecaster.models.distribution import StudentT, pool
from forecaster.models.gradients import by_weights
from forecaster.models.network import build
from forecaster.models.trained import Model
from forecaster.models.weights import Cell, Weights
from forecaster.workspace import Workspace

CELLS = ["rnn", "lstm", "gru"]
RICH = SMALL.but(response=True)
GROUP_OF = ("trend", "previous_day", "exogenous", "trend")
UNIT = 0.02


def weights_of(cell: str, recipe: Recipe = RICH) -> Weights:
    return Weights.of(network_of(cell, recipe))


def inputs_for(weights: Weights, window: int = 0) -> Inputs:
    windows, ahead = inputs_of(RICH)
    scaled = standardised(weights, windows)
    return Inputs(scaled[window], ahead[window].astype(float), ahead.mean(axis=0), GROUP_OF, UNIT)


def narrow(cell: str, after: bool = True) -> Cell:
    """A layer of three units and two inputs with drawn weights."""
    draw, columns = np.random.default_rng(11), {"rnn": 3, "lstm": 12, "gru": 9}[cell]
    bias = (2, columns) if cell == "gru" and after else (columns,)
    return Cell(cell, *(draw.normal(0, 0.6, shape) for shape in ((2, columns), (3, columns), bias)))


class Fed(keras.Model):
    """A network that is no longer trained, fed by inputs that are."""

    def __init__(self, network: keras.Model, inputs: list[np.ndarray]) -> None:
        super().__init__()
        network.trainable = False
        self.network = network
        self.given = [self.add_weight(shape=one.shape) for one in inputs]
        for weight, one in zip(self.given, inputs, strict=True):
            weight.assign(one)

    def call(self, _: Any, training: bool = False) -> Any:
        return self.network(self.given, training=False)


def gradients_by_inputs(
    network: keras.Model, inputs: list[np.ndarray], weights: np.ndarray
) -> list[np.ndarray]:
    """Differentiate a weighted sum of a network's outputs by its inputs, as Keras' backend does."""
    fed, nothing = Fed(network, inputs), np.zeros(1, np.float32)
    fed(nothing)
    run = by_weights(fed, lambda weights, output: keras.ops.sum(weights * output))
    _, found = run(nothing, weights.astype(np.float32))
    return [keras.ops.convert_to_numpy(one) for one in found]


@pytest.mark.parametrize(
    ("cell", "response"), [("rnn", True), ("lstm", True), ("gru", True), ("lstm", False)]
)
def test_the_twin_forecasts_and_differentiates_as_keras_does(
    cell: str, response: bool, tmp_path: Path
) -> None:
    network = network_of(cell, SMALL.but(response=response))
    network.save(tmp_path / "network.keras")
    weights = Weights.read(tmp_path / "network.keras")
    windows, ahead = inputs_of()
    reading = read(weights, standardised(weights, windows), ahead)
    expected = keras.ops.convert_to_numpy(network([windows, ahead]))
    np.testing.assert_allclose(reading.forecast, expected, rtol=1e-5, atol=1e-5)
    # Within the limits, where the cut of the inputs has a slope.
    windows = np.clip(np.nan_to_num(windows), weights.mean - weights.spread, weights.mean + weights.spread)
    reading = read(weights, standardised(weights, windows), ahead)
    some = np.random.default_rng(1).normal(size=expected.shape)
    scaled, told, layer = reading.back(some)
    by_window, by_ahead = gradients_by_inputs(network, [windows, ahead], some)
    np.testing.assert_allclose(scaled / weights.spread, by_window, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told, by_ahead, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer[:, :-1], scaled[:, :-1][..., weights.columns])


@pytest.mark.parametrize(("cell", "after"), [("rnn", True), ("lstm", True), ("gru", True), ("gru", False)])
def test_state_gradients_are_finite_differences(cell: str, after: bool) -> None:
    layer, steps, width = narrow(cell, after), 6, 1e-5
    inputs = np.random.default_rng(2).normal(size=(2, steps, 2))

    def last(inputs: np.ndarray) -> np.ndarray:
        return gates(layer, inputs)["hidden"][:, -1]

    found = state_gradients(layer, inputs)
    for lag in range(steps):
        columns = []
        for feature in range(2):
            moved = np.zeros_like(inputs)
            moved[:, steps - 1 - lag, feature] = width
            columns.append((last(inputs + moved) - last(inputs - moved)) / (2 * width))
        np.testing.assert_allclose(found[:, lag], np.linalg.norm(columns, axis=(0, 2)), rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_forecast_gradients_are_finite_differences(cell: str) -> None:
    """Of all lags but the last session's, whose inputs reach the forecast beside the layer, too."""
    weights, width = weights_of(cell), 1e-5
    windows, ahead = inputs_of(RICH, count=2)
    scaled = standardised(weights, windows)
    found = forecast_gradients(read(weights, scaled, ahead), 3)
    for lag in (1, 4, 9):
        columns = []
        for feature in weights.columns:
            moved = np.zeros_like(scaled)
            moved[:, -1 - lag, feature] = width
            both = [np.log(read(weights, scaled + sign * moved, ahead).forecast[:, 2, 1]) for sign in (1, -1)]
            columns.append((both[0] - both[1]) / (2 * width))
        np.testing.assert_allclose(found[:, lag], np.linalg.norm(columns, axis=0), rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_contributions_add_up_to_the_pooled_forecast(cell: str) -> None:
    """The forecast attributed is the pool of the random starts; every target adds up to within 1 %."""
    first = network_of(cell, RICH)
    second = keras.models.clone_model(first)
    second.set_weights([0.7 * weight for weight in first.get_weights()])
    learned = [Weights.of(one) for one in (first, second)]
    inputs = inputs_for(learned[0])
    windows, ahead = (part[:1] for part in inputs_of(RICH))
    raw = [keras.ops.convert_to_numpy(one([windows, ahead]))[0].astype(float) for one in (first, second)]
    pooled = pool([StudentT(UNIT * one[:, 0], UNIT * one[:, 1], one[:, 2]) for one in raw])
    found = attribute(learned, inputs, TARGETS, (1, 4))
    totals = found.totals.set_index(["target", "step"])
    for step in (1, 4):
        at = pooled[step - 1]
        assert totals.loc[("sigma", step), "forecast"] == pytest.approx(at.sigma, rel=1e-4)
        assert totals.loc[("q05", step), "forecast"] == pytest.approx(at.quantile(0.05), rel=1e-4)
    added = found.contributions.groupby(["target", "step"])["value"].sum()
    difference = totals["forecast"] - totals["usual"]
    np.testing.assert_allclose(added.loc[difference.index], difference, rtol=0.01, atol=1e-9)
    assert totals["gap"].max() < 0.01
    by_group = found.groups.groupby(["target", "step"])["value"].sum()
    np.testing.assert_allclose(by_group.loc[difference.index], difference, rtol=0.01, atol=1e-9)


def test_what_acts_by_itself_contributes_what_its_absence_costs() -> None:
    """One group as usual: it contributes nothing. One group only: all of it, by both measures."""
    weights = weights_of("lstm")
    whole = inputs_for(weights)
    alone = whole.without("trend").without("previous_day")
    groups = attribute([weights], alone, ["sigma"]).groups.set_index("group")
    assert set(groups.index) == set(GROUPS)
    assert groups.loc[["trend", "previous_day"], ["value", "occlusion"]].abs().to_numpy().max() == 0
    row = groups.loc["exogenous"]
    assert row["value"] == pytest.approx(row["occlusion"], rel=1e-6)
    assert abs(row["value"]) > 1e-5


def test_a_session_ahead_tells_of_itself_and_later_ones() -> None:
    weights = weights_of("gru")
    parts = attribute([weights], inputs_for(weights), ["sigma"], (2,)).contributions
    ahead = parts[parts["lag"] < 0].set_index("lag")["value"]
    assert (ahead.loc[[-1, -2]] != 0).all()
    assert (ahead.loc[[-3, -4]] == 0).all()


def test_wrong_questions_are_refused() -> None:
    weights = weights_of("rnn")
    with pytest.raises(UsageError, match="q05"):
        attribute([weights], inputs_for(weights), ["median"])
    with pytest.raises(UsageError, match="choose of 1 to 4"):
        attribute([weights], inputs_for(weights), steps=(5,))


def planted_network(cell: str, lag: int, is_marked: bool) -> tuple[Weights, np.ndarray]:
    """Train on sequences whose spread to come was told `lag` steps back by the second of three inputs.

    The third may mark that step; without a mark the network has to hold each value until its turn comes. The
    spread itself is shown, not a draw from it: what is asked is where the signal is found, not how fast.
    """
    recipe = Recipe(lookback=lag + 6, units=16, horizon=1, linear_part=False, own_memory=False, dropout=0.0)
    draw, count = np.random.default_rng(lag), 20_000
    inputs = draw.normal(size=(count, recipe.lookback, 3)).astype(np.float32)
    if is_marked:
        inputs[..., 2] = np.arange(recipe.lookback) == recipe.lookback - 1 - lag
    log_sigma = 0.5 * inputs[:, [-1 - lag], 1]
    scaler = StandardScaler().fit(inputs.reshape(-1, 3))
    if is_marked:
        # As usual means without a mark: the mean is not one.
        scaler.mean_[2] = 0.0
    keras.utils.set_random_seed(0)
    _, reader = build(recipe, cell, scaler, [f"{group}.x" for group in GROUPS], 0)
    reader.compile(
        keras.optimizers.Adam(5e-3, clipnorm=1.0),
        loss=lambda told, forecast: keras.ops.mean((told - keras.ops.log(forecast[..., 1])) ** 2),
    )
    ahead = np.zeros((count, 1, 0), np.float32)
    reader.fit([inputs, ahead], log_sigma, batch_size=64, epochs=4, verbose=0)
    return Weights.of(reader), inputs[:40]


@pytest.mark.slow
@pytest.mark.parametrize(("lag", "is_marked"), [(3, False), (10, True)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_planted_signal_is_found_where_it_lies(cell: str, lag: int, is_marked: bool) -> None:
    """Of a signal k steps back 80 % or more of the absolute attribution lies within k +- 1."""
    weights, windows = planted_network(cell, lag, is_marked)
    ahead = np.zeros((1, 0))
    told = [
        attribute([weights], Inputs(scaled, ahead, ahead, GROUPS), ["sigma"])
        for scaled in standardised(weights, windows)
    ]
    parts = pd.concat([one.contributions for one in told])
    size = parts["value"].abs()
    assert size[parts["lag"].between(lag - 1, lag + 1)].sum() >= 0.8 * size.sum()
    if is_marked:
        return
    assert size[parts["group"] == "previous_day"].sum() >= 0.8 * size.sum()
    groups = pd.concat([one.groups for one in told])
    missed = groups["occlusion"].abs().groupby(groups["group"]).sum()
    assert missed["previous_day"] >= 0.8 * missed.sum()


@pytest.fixture(scope="module")
def looked_into(trained_home: Path) -> tuple[Model, Workspace]:
    workspace = Workspace(trained_home)
    return workspace.registry.load()[1], workspace


def test_the_same_cell_is_told_by_the_model_the_workspace_and_the_command(
    looked_into: tuple[Model, Workspace], tmp_path: Path
) -> None:
    model, workspace = looked_into
    found = inside(model, workspace.history(), "NFLX", "gru", "2022-04-25")
    said = json.loads(
        Run(tmp_path)(
            "explain", "NFLX", "--cell", "gru", "--as-of", "2022-04-25", "--json", "--units",
            "--home", workspace.home,
        ).stdout
    )  # fmt: skip
    assert (said["symbol"], said["cell"], said["cutoff"], said["version"]) == (
        "NFLX",
        "gru",
        "2022-04-25",
        "1",
    )
    assert said["difference"] == found.difference <= 1e-5
    assert [row["mean"] for row in said["gates"]] == pytest.approx(found.gates["mean"].tolist())
    assert {row["gate"] for row in said["gates"]} == {*GATES["gru"], KEPT}
    assert [row["half_life"] for row in said["half_lives"]] == pytest.approx(
        found.half_lives["half_life"].tolist()
    )
    told = [row["value"] for row in said["attribution"]["contributions"]]
    assert told == pytest.approx(found.attribution.contributions["value"].tolist())
    assert [row["state"] for row in said["gradients"]] == pytest.approx(found.gradients["state"].tolist())
    # Results of 19 April came after the close: they moved the session after it.
    assert ("2022-04-20", "results") in {(row["session"], row["kind"]) for row in said["events"]}
    shock = found.sessions.set_index("session").loc["2022-04-20"]
    assert shock["log_return"] == pytest.approx(np.log(226.19 / 348.61), abs=1e-3)
    assert abs(shock["move"]) > 10
    assert any("learned from sessions after this window" in note for note in said["notes"])
    explained = workspace.explain("NFLX", "gru", "2022-04-25")
    assert explained.gates.equals(found.gates)
    assert laid_out(explained, with_units=True) == said
    units = found.units
    assert [row["value"] for row in said["units"]] == pytest.approx(units["value"].tolist())
    assert set(units["gate"]) == set(GATES["gru"])
    assert "units" not in laid_out(explained)


def test_the_last_window_is_the_one_of_the_forecast(looked_into: tuple[Model, Workspace]) -> None:
    model, workspace = looked_into
    history = workspace.history()
    found = inside(model, history, "AAPL")
    windows = model.windows(history)
    end = np.array([windows.last_end("AAPL")])
    served = pool(model.ensemble.networks[0].members(windows, end))
    totals = found.attribution.totals.set_index(["target", "step"])["forecast"]
    for step in (1, 20):
        assert totals["sigma", step] == pytest.approx(served.sigma[0, step - 1], rel=1e-5)
        assert totals["q95", step] == pytest.approx(served.quantile(0.95)[0, step - 1], rel=1e-5)
    assert found.cell == model.recipe.cells[0]
    assert found.cutoff == history.as_of
    assert len(found.units) == len(GATES[found.cell]) * model.recipe.lookback * model.recipe.units


def test_nothing_after_the_session_moves_it(looked_into: tuple[Model, Workspace]) -> None:
    """Prices and events of later sessions are rewritten; the window that ended before stays as it was."""
    model, workspace = looked_into
    history = workspace.history()
    before = inside(model, history, "NFLX", "lstm", "2022-04-25")
    later = history.traded["session"] > "2022-04-25"
    columns = ["open", "high", "low", "close"]
    rewritten = history.traded.copy()
    rewritten.loc[later, columns] *= 3
    known = history.events["known_at"] < "2022-04-26"
    changed = type(history)(
        rewritten, history.factors, history.events[known], history.instruments, history.as_of
    )
    after = inside(model, changed, "NFLX", "lstm", "2022-04-25")
    for name in ("sessions", "events", "gates", "units", "memory", "gradients"):
        assert getattr(after, name).equals(getattr(before, name)), name
    assert after.attribution.contributions.equals(before.attribution.contributions)


def test_an_unknown_cell_and_too_early_a_session_are_refused(looked_into: tuple[Model, Workspace]) -> None:
    model, workspace = looked_into
    with pytest.raises(UsageError, match="choose one of lstm, gru"):
        inside(model, workspace.history(), "AAPL", "rnn")
    with pytest.raises(TooLittleHistory, match="too few"):
        inside(model, workspace.history(), "AAPL", as_of="2013-02-01")


def test_a_damaged_network_and_one_that_differs_are_refused(
    looked_into: tuple[Model, Workspace], tmp_path: Path
) -> None:
    model, workspace = looked_into
    model.save(tmp_path)
    (tmp_path / "lstm-0.keras").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="cannot be read"):
        inside(Model.load(tmp_path), workspace.history(), "AAPL", "lstm")
    served = Model.load(tmp_path).ensemble.networks[1]
    other = replace(served.weights[0], growth=served.weights[0].growth + 0.01)
    vars(served)["weights"] = [other]
    windows = model.windows(workspace.history())
    with pytest.raises(ModelError, match=r"differ from the served ones by .*train again"):
        look(served, windows, windows.last_end("AAPL"), workspace.history())
