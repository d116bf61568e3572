"""Gates and states equal those of Keras, and what is worked out by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from forecaster.explain.gates import GATES, KEEPING, SHARES, gates, kept_share
from forecaster.explain.memory import half_life, kept
from forecaster.models.weights import Cell

LAYERS = {
    "rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
}
FORMS = [
    ("rnn", {}),
    ("rnn", {"activation": "relu"}),
    ("lstm", {}),
    ("gru", {}),
    ("gru", {"reset_after": False}),
]
STEPS, FEATURES = 3, 2


def constant(kind: str, units: int = 2, after: bool = True, weight: float = 0.0, bias: float = 0.0) -> Cell:
    """A layer all of whose weights are one number, and all of whose biases another."""
    columns = {"rnn": 1, "lstm": 4, "gru": 3}[kind] * units
    shape = (2, columns) if kind == "gru" and after else (columns,)
    return Cell(
        kind,
        np.full((FEATURES, columns), weight),
        np.full((units, columns), weight),
        np.full(shape, bias),
    )


ONES = np.ones((1, STEPS, FEATURES))


def test_a_simple_rnn_of_constant_weights() -> None:
    """h1 = tanh(.1 * 2), h2 = tanh(.2 + .1 * 2 h1): worked out by hand."""
    hidden = gates(constant("rnn", weight=0.1), ONES)["hidden"]
    np.testing.assert_allclose(hidden[0, :, 0], [0.197375, 0.235000, 0.242097], atol=1e-6)


def test_an_lstm_of_constant_weights() -> None:
    """All gates logistic(.2) = .549834 at first, the candidate tanh(.2) = .197375."""
    states = gates(constant("lstm", weight=0.1), ONES)
    assert tuple(states) == GATES["lstm"]
    for name in ("forget", "input", "output"):
        assert states[name][0, 0, 0] == pytest.approx(0.549834, abs=1e-6)
    assert states["candidate"][0, 0, 0] == pytest.approx(0.197375, abs=1e-6)
    assert states["cell"][0, 0, 0] == pytest.approx(0.549834 * 0.197375, abs=1e-6)
    first = 0.549834 * np.tanh(0.108524)
    assert states["hidden"][0, 0, 0] == pytest.approx(first, abs=1e-6)
    pushed = 0.2 + 0.2 * first
    second = expit(pushed) * 0.108524 + expit(pushed) * np.tanh(pushed)
    assert states["cell"][0, 1, 1] == pytest.approx(second, abs=1e-6)


@pytest.mark.parametrize("after", [True, False])
def test_a_gru_of_constant_weights(after: bool) -> None:
    """The update gate keeps: h1 = (1 - z) n from a zero state."""
    states = gates(constant("gru", after=after, weight=0.1), ONES)
    assert tuple(states) == GATES["gru"]
    assert states["update"][0, 0, 0] == pytest.approx(0.549834, abs=1e-6)
    assert states["hidden"][0, 0, 0] == pytest.approx((1 - 0.549834) * 0.197375, abs=1e-6)


def test_both_forms_of_a_gru_differ() -> None:
    """Only one of them resets what it has added a bias to."""
    after, first = (gates(constant("gru", after=form, weight=0.5, bias=0.3), ONES) for form in (True, False))
    assert np.abs(after["hidden"] - first["hidden"]).max() > 0.05


@settings(deadline=None, max_examples=6)
@given(
    units=st.integers(1, 9),
    features=st.integers(1, 6),
    steps=st.integers(1, 12),
    count=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_gates_are_those_of_keras(
    kind: str, form: dict, units: int, features: int, steps: int, count: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    layer = LAYERS[kind](units, return_sequences=True, return_state=True, dtype="float64", **form)
    layer.build((count, steps, features))
    layer.set_weights([draw.normal(0, 0.7, one.shape) for one in layer.get_weights()])
    inputs = draw.normal(0, 2, (count, steps, features))
    hidden, *last = (keras.ops.convert_to_numpy(one) for one in layer(inputs))
    cell = Cell.of(layer)
    assert cell.units == units
    assert cell.resets_after == (kind == "gru" and form.get("reset_after", True))
    states = gates(cell, inputs)
    assert {one.shape for one in states.values()} == {(count, steps, units)}
    np.testing.assert_allclose(states["hidden"], hidden, rtol=1e-5, atol=1e-9)
    if kind == "lstm":
        np.testing.assert_allclose(states["cell"][:, -1], last[1], rtol=1e-5, atol=1e-9)
    for name in SHARES & set(states):
        assert ((states[name] >= 0) & (states[name] <= 1)).all()


def test_a_constant_gate_has_its_half_life() -> None:
    """What keeps 90 % a session keeps a half after 6.58 (log .5 / log .9)."""
    gate = np.full((5, 2), 0.9) ** [1, 2]
    np.testing.assert_allclose(half_life(gate), [6.5788, 3.2894], atol=1e-4)
    np.testing.assert_allclose(kept(gate)[:, 0], [1, 0.9, 0.81, 0.729, 0.6561])
    assert half_life(np.ones((5, 1))) == np.inf


def test_memory_is_read_from_the_cutoff_back() -> None:
    """The last gate shut: nothing is left of what was held before it, whatever the earlier ones did."""
    np.testing.assert_array_equal(kept(np.array([[1.0], [0.5], [0.0]]))[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(kept(np.array([[0.0], [0.5], [1.0]]))[:, 0], [1, 1, 0.5])


@pytest.mark.parametrize(("kind", "bias", "share"), [("lstm", 20.0, 0.5), ("gru", 20.0, 1.0)])
def test_what_is_kept_is_told_from_what_is_written(kind: str, bias: float, share: float) -> None:
    """Open gates: an LSTM adds 1 to what it holds at each step; a GRU writes nothing."""
    states = gates(constant(kind, bias=bias), ONES)
    found = kept_share(kind, states)
    assert kind in KEEPING
    assert found is not None
    np.testing.assert_allclose(found[0, 0], 0)
    if kind == "lstm":
        np.testing.assert_allclose(found[0, 1:, 0], [1 / 2, 2 / 3], atol=1e-6)
    else:
        np.testing.assert_allclose(states["update"], share, atol=1e-6)
    assert kept_share("rnn", gates(constant("rnn"), ONES)) is None
