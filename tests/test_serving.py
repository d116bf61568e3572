"""What is served is what was trained: the exported networks, their files, and the process that runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper
from sklearn.preprocessing import StandardScaler

from forecaster.config import Recipe
from forecaster.errors import ModelError
from forecaster.history import History
from forecaster.models.export import TOLERANCE, graph_of, require_same_forecast
from forecaster.models.network import build
from forecaster.models.serving import reader
from forecaster.models.surprise import with_surprise
from forecaster.models.trained import Model
from forecaster.windows import REACH
from forecaster.workflow import train
from forecaster.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("trend.return_5", "previous_day.range", "exogenous.market_return", "surprise")
SMALL = Recipe(lookback=16, units=5, horizon=4)
PARTS = ("mean", "sigma", "df")


def network_of(cell: str, recipe: Recipe = SMALL, ahead: int = 3) -> keras.Model:
    """A reader whose weights, those that start at zero included, are drawn."""
    draw = np.random.default_rng(3)
    scaler = StandardScaler().fit(draw.normal(2.0, 3.0, (50, len(NAMES))))
    _, network = build(recipe, cell, scaler, NAMES, ahead)
    network.set_weights([draw.normal(0, 0.4, weight.shape) for weight in network.get_weights()])
    return network


def inputs_of(recipe: Recipe = SMALL, ahead: int = 3, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Windows with outliers and unknown values, and what is known ahead of them."""
    draw = np.random.default_rng(5)
    window = draw.standard_t(3, (count, recipe.lookback, len(NAMES))) * 4 + 2
    window[draw.random(window.shape) < 0.05] = np.nan
    return window.astype(np.float32), draw.normal(size=(count, recipe.horizon, ahead)).astype(np.float32)


@pytest.fixture(scope="module")
def past(history: History) -> History:
    return history.until("2016-03-01")


@pytest.fixture(scope="module")
def model(past: History, tiny: Recipe) -> Model:
    return train(past, tiny.but(cells=("rnn", "gru"), epochs=1, response=True))


@pytest.mark.parametrize("own_memory", [True, False])
@pytest.mark.parametrize("linear_part", [True, False])
@pytest.mark.parametrize("response", [True, False])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_an_exported_network_forecasts_what_it_did(
    cell: str, response: bool, linear_part: bool, own_memory: bool
) -> None:
    recipe = SMALL.but(response=response, linear_part=linear_part, own_memory=own_memory)
    network, inputs = network_of(cell, recipe), inputs_of(recipe)
    expected = network.predict(list(inputs), verbose=0)
    assert np.ptp(expected, axis=0).min() > 0.01, "every part of the forecast depends on the inputs"
    came = reader(graph_of(network).SerializeToString())(*inputs)
    np.testing.assert_allclose(came, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert 0 <= require_same_forecast(network, graph_of(network), inputs) <= TOLERANCE


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_it_may_know_nothing_ahead_and_forecast_one_step(cell: str) -> None:
    recipe = SMALL.but(horizon=1)
    network, inputs = network_of(cell, recipe, ahead=0), inputs_of(recipe, ahead=0)
    require_same_forecast(network, graph_of(network), inputs)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_graph_with_one_other_weight_is_refused(cell: str) -> None:
    network, inputs = network_of(cell), inputs_of()
    graph = graph_of(network)
    for place, constant in enumerate(graph.graph.initializer):
        values = numpy_helper.to_array(constant).copy()
        if values.dtype != np.float32 or values.size < 2:
            continue
        tampered = onnx.ModelProto()
        tampered.CopyFrom(graph)
        values.flat[-1] += 0.01
        tampered.graph.initializer[place].CopyFrom(numpy_helper.from_array(values, constant.name))
        with pytest.raises(ModelError, match=r"differs from the trained one by .*e-0.*train again"):
            require_same_forecast(network, tampered, inputs)


def test_a_model_whose_export_differs_is_not_made(
    past: History, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecaster.models import export

    monkeypatch.setattr(export, "LARGEST", 5.9)
    with pytest.raises(ModelError, match="at most 1e-05 was expected"):
        train(past, tiny.but(cells=("gru",), epochs=1))


def test_the_card_tells_the_difference(model: Model) -> None:
    assert 0 < model.card["onnx_difference"] <= TOLERANCE
    assert {"onnx", "onnxruntime"} <= set(model.card["packages"])


def test_both_forms_of_a_saved_model_forecast_alike(model: Model, past: History, tmp_path: Path) -> None:
    model.save(tmp_path)
    trained = model.forecast(past)
    pd.testing.assert_frame_equal(Model.load(tmp_path, keras=True).forecast(past), trained)
    served = Model.load(tmp_path).forecast(past)
    words = ["symbol", "cutoff", "step", "session", "doubt"]
    pd.testing.assert_frame_equal(served[words], trained[words])
    for part in PARTS:
        np.testing.assert_allclose(served[part], trained[part], rtol=1e-5, atol=1e-7)
    again = tmp_path / "again"
    Model.load(tmp_path).save(again)
    assert {file.name for file in again.iterdir()} == {
        file.name for file in tmp_path.iterdir() if file != again
    }
    pd.testing.assert_frame_equal(Model.load(again).forecast(past), served)


@pytest.mark.parametrize("content", [None, b"", b"no graph", 0.5])
@pytest.mark.parametrize("suffix", ["onnx", "keras"])
def test_a_damaged_file_is_refused(
    model: Model, tmp_path: Path, suffix: str, content: bytes | float | None
) -> None:
    model.save(tmp_path)
    file = tmp_path / f"gru-0.{suffix}"
    if content is None:
        file.unlink()
    else:
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * content)] if isinstance(content, float) else content)
    with pytest.raises(ModelError, match=r"no sound model .*; train again"):
        Model.load(tmp_path, keras=suffix == "keras")


def test_networks_read_the_reach_of_a_window_and_no_more(model: Model, history: History) -> None:
    """Of the rows before it some fade below the rounding of what is read."""
    windows = model.windows(history)
    ends = np.array([windows.last_end(symbol) for symbol in history.symbols])
    cut, places = windows.reaching(ends)
    np.testing.assert_array_equal(cut.panel.session[places], windows.panel.session[ends])
    np.testing.assert_array_equal(cut.inputs(places), windows.inputs(ends))
    np.testing.assert_array_equal(cut.ahead(places), windows.ahead(ends))
    linear = model.ensemble.networks[0].linear
    whole = windows.inputs(ends[:1]).shape[2]
    told, faded = (
        with_surprise(one, linear).inputs(rows)[..., whole] for one, rows in ((windows, ends), (cut, places))
    )
    assert len(cut.panel.code) == len(ends) * (REACH + windows.lookback) < len(windows.panel.code)
    np.testing.assert_allclose(faded, told, atol=1e-6)


@pytest.mark.parametrize("step", [1, 7, 20])
def test_means_of_what_is_known_ahead_agree_step_by_step(model: Model, past: History, step: int) -> None:
    windows = model.windows(past)
    ends = windows.ends[::97]
    found, expected = windows.means_ahead(ends)[:, step - 1], windows.mean_ahead(ends, step)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_a_version_from_before_is_refused(trained_workspace: Workspace) -> None:
    store, registry = trained_workspace.store, trained_workspace.registry
    row = store.rows("decisions").iloc[[0]]
    card = json.loads(row["card"].iloc[0])
    del card["run"]
    store.append("decisions", row.assign(version="7", card=json.dumps(card)))
    with pytest.raises(ModelError, match=r"Version 7 .*train again"):
        registry.load("7")


def test_serving_leaves_no_identifier_of_the_machine_behind(tmp_path: Path) -> None:
    """ONNX Runtime would write one, and an inbox of reports, when it is imported."""
    words = [sys.executable, "-c", "import forecaster; import forecaster.models.serving"]
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    folders = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(words, env=kept | folders | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def test_the_serving_process_imports_neither_tensorflow_nor_mlflow(trained_workspace: Workspace) -> None:
    code = (
        "import sys, forecaster as fc\n"
        f"ws = fc.Workspace({str(trained_workspace.home)!r})\n"
        "day = str(ws.history().as_of.date())\n"
        "assert len(ws.forecast('AAPL', as_of=day)) == 20\n"
        "assert len(ws.paths('AAPL', 100)) == 2000\n"
        "assert len(ws.what_if('AAPL', ['market=-3%']).forecasts) == 40\n"
        "assert len(ws.explain('AAPL').half_lives) == 4\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'onnx', 'arch', 'statsmodels'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
