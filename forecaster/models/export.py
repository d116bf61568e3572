"""The serving form of a network: an ONNX graph, laid out from the layers' weights.

Written down directly and not traced, so that it is the same whatever backend Keras runs on, and the
recurrent layers are ONNX's own operators, which read a window in one call.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

from forecaster.errors import ModelError
from forecaster.models.serving import reader
from forecaster.models.weights import LARGEST, LEAST_DF, MEAN_STEP

OPSET = 17
IR_VERSION = 8
"""Versions of the operators and of the file format; any onnxruntime of the last years reads them."""

TOLERANCE = 1e-5
"""Largest difference from Keras that is served, of values above 1 relative to them."""


class _Graph:
    """Nodes and constants of a graph in the making; each method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray | float | Iterable[int], dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name


def graph_of(network: keras.Model) -> onnx.ModelProto:
    """Lay a trained reader out as an ONNX graph.

    Parameters
    ----------
    network : keras.Model
        The reader of `models.network.build`.

    Returns
    -------
    ModelProto
        Inputs ``window`` (n, lookback, features) and ``window_ahead`` (n, horizon, ahead features), output
        ``forecast`` (n, horizon, 3), all float32; n is free.
    """
    window, ahead = (tensor.shape for tensor in network.inputs)
    head, graph = network.get_layer("head"), _Graph()
    scaled = _standardised(graph, network.get_layer("standardise"))
    own = graph.node("Gather", scaled, graph.constant(network.get_layer("select").columns, np.int64), axis=2)
    state = _state(graph, own, next(one for one in network.layers if type(one).__name__ in OPERATORS))
    last = graph.node("Gather", scaled, graph.constant(window[1] - 1, np.int64), axis=1)
    _forecast(graph, head, state, last, ahead[-1])
    floats = onnx.TensorProto.FLOAT
    made = helper.make_graph(
        graph.nodes,
        "reader",
        [
            helper.make_tensor_value_info("window", floats, ["n", *window[1:]]),
            helper.make_tensor_value_info("window_ahead", floats, ["n", *ahead[1:]]),
        ],
        [helper.make_tensor_value_info("forecast", floats, ["n", head.horizon, 3])],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def require_same_forecast(
    network: keras.Model, graph: onnx.ModelProto, inputs: Sequence[np.ndarray]
) -> float:
    """Check that a graph forecasts what its network does.

    Parameters
    ----------
    inputs : sequence of ndarray
        Real windows (n, lookback, features), and what was known ahead of each (n, horizon, ahead features).

    Returns
    -------
    float
        Largest difference of a mean, a standard deviation or degrees of freedom, of values above 1 relative
        to them.

    Raises
    ------
    ModelError
        If it exceeds `TOLERANCE`.
    """
    expected = keras.ops.convert_to_numpy(network(list(inputs), training=False))
    came = reader(graph.SerializeToString())(*inputs)
    found = float(np.max(np.abs(came - expected) / np.maximum(1.0, np.abs(expected))))
    if not found <= TOLERANCE:
        raise ModelError(
            f"The exported network differs from the trained one by {found:.1e}, at most {TOLERANCE:g} was "
            f"expected; train again, and if it comes back install the versions of requirements.txt"
        )
    return found


def _standardised(graph: _Graph, layer: keras.Layer) -> str:
    centred = graph.node("Sub", "window", graph.constant(layer.mean))
    scaled = graph.node("Div", centred, graph.constant(layer.spread))
    known = graph.node("Where", graph.node("IsNaN", "window"), graph.constant(0.0), scaled)
    return graph.node("Clip", known, graph.constant(-layer.limit), graph.constant(layer.limit))


def _state(graph: _Graph, inputs: str, layer: keras.Layer) -> str:
    """Read the inputs (n, lookback, features) and return the last state (n, units)."""
    kernel, recurrent, bias = OPERATORS[type(layer).__name__](*layer.get_weights())
    operator = type(layer).__name__.removeprefix("Simple")
    name = f"{operator.lower()}_state"
    attributes: dict[str, Any] = {"linear_before_reset": 1} if operator == "GRU" else {}
    weights = [graph.constant(one[None]) for one in (kernel.T, recurrent.T, bias)]
    steps_first = graph.node("Transpose", inputs, perm=[1, 0, 2])
    # The first output, the states of all steps, is not asked for.
    graph.nodes.append(
        helper.make_node(operator, [steps_first, *weights], ["", name], hidden_size=layer.units, **attributes)
    )
    return graph.node("Squeeze", name, graph.constant([0], np.int64))


def _simple(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    return kernel, recurrent, np.append(bias, np.zeros_like(bias))


def _gated(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Keras and ONNX order the gates of a GRU alike; both add one bias inside the reset."""
    return kernel, recurrent, bias.ravel()


def _with_cell(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Keras orders the gates input, forget, cell, output; ONNX input, output, forget, cell."""
    kernel, recurrent, bias = (
        np.concatenate([np.split(one, 4, axis=-1)[gate] for gate in (0, 3, 1, 2)], axis=-1)
        for one in (kernel, recurrent, bias)
    )
    return _simple(kernel, recurrent, bias)


OPERATORS = {"SimpleRNN": _simple, "LSTM": _with_cell, "GRU": _gated}
"""Recurrent layers of Keras, and how their weights are laid out for the operator of the same name."""


def _forecast(graph: _Graph, head: keras.Layer, state: str, inputs: str, ahead_features: int) -> None:
    """Follow `models.network.StudentTHead`."""

    def dense(inputs: str, layer: keras.Layer) -> str:
        kernel, *bias = layer.get_weights()
        product = graph.node("MatMul", inputs, graph.constant(kernel))
        return graph.node("Add", product, graph.constant(bias[0])) if bias else product

    def told(weights: str) -> str:
        return graph.node(
            "ReduceSum", graph.node("Mul", "window_ahead", weights), graph.constant([2], np.int64), keepdims=0
        )

    def summed(values: str) -> str:
        return graph.node("CumSum", values, graph.constant(1, np.int64))

    fading = graph.node("MatMul", dense(state, head.growth_of_state), graph.constant(head.fading))
    growth = graph.node("Add", fading, dense(inputs, head.growth_of_inputs))
    if ahead_features:
        weights = keras.ops.convert_to_numpy(head.growth_ahead).T
        growth = graph.node("Add", growth, told(graph.constant(weights)))
    if head.responds:
        weights = graph.node("Unsqueeze", dense(state, head.response), graph.constant([1], np.int64))
        growth = graph.node("Add", growth, told(weights))
    largest = graph.constant(LARGEST)
    bounded = graph.node("Mul", largest, graph.node("Tanh", graph.node("Div", growth, largest)))
    sigma = graph.node("Sqrt", summed(graph.node("Exp", bounded)))
    mean = summed(graph.node("Mul", dense(state, head.drift), graph.constant(MEAN_STEP)))
    tail = graph.node("Softplus", dense(state, head.tail))
    df = graph.node("Add", tail, graph.constant(LEAST_DF))
    last_axis = graph.constant([2], np.int64)
    parts = [graph.node("Unsqueeze", one, last_axis) for one in (mean, sigma, df)]
    graph.node("Concat", *parts, output="forecast", axis=2)
