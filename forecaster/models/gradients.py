"""Gradients of Keras models: the one place that knows the backend, TensorFlow or JAX.

What is served needs none of it: `explain.twin` computes the same gradients with NumPy, and these check it.
Training that wants to see its gradients (`explain.experiments`) takes them from here, too.
"""

from collections.abc import Callable
from typing import Any

import curl_cffi  # noqa: F401  before TensorFlow, see forecaster/models/recurrent.py
import keras
from keras import ops

Differentiated = Callable[..., tuple[Any, list[Any]]]
"""From the arguments of a function to its value and the gradient by the first, a list of tensors."""


def by_weights(network: keras.Model, loss: Callable[[Any, Any], Any]) -> Differentiated:
    """Return a compiled function from (inputs, outcome) to the loss and its gradient by the weights.

    Parameters
    ----------
    loss : callable
        From outcome and output to a scalar.

    Returns
    -------
    callable
        The gradient is a list of tensors in the order of ``network.trainable_variables``, as Keras'
        optimizers apply it.
    """

    def total(weights: list[Any], inputs: Any, outcome: Any) -> Any:
        fixed = [one.value for one in network.non_trainable_variables]
        return loss(outcome, network.stateless_call(weights, fixed, inputs, training=True)[0])

    run = BACKENDS[keras.backend.backend()](total)

    def at_present(inputs: Any, outcome: Any) -> tuple[Any, list[Any]]:
        weights = [one.value for one in network.trainable_variables]
        return run(weights, ops.convert_to_tensor(inputs), ops.convert_to_tensor(outcome))

    return at_present


def _tensorflow(function: Callable[..., Any]) -> Differentiated:
    import tensorflow

    def run(weights: list[Any], *others: Any) -> tuple[Any, list[Any]]:
        with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            value = function(weights, *others)
        return value, tape.gradient(value, weights, unconnected_gradients="zero")

    return tensorflow.function(run)


def _jax(function: Callable[..., Any]) -> Differentiated:
    import jax

    return jax.jit(jax.value_and_grad(function))


BACKENDS: dict[str, Callable[[Callable[..., Any]], Differentiated]] = {"tensorflow": _tensorflow, "jax": _jax}
