"""How far back a network remembers: by its gates, and by what each past step does to the forecast.

The vanishing gradient (Hochreiter 1991; Bengio, Simard and Frasconi 1994) is measured here and not
asserted: how strongly a forecast reacts to a step is the norm of its gradient by that step's inputs.
"""

import numpy as np

from forecaster.explain.backward import inputs_gradient
from forecaster.explain.gates import gates
from forecaster.explain.twin import Reading
from forecaster.models.weights import Cell


def kept(keeping: np.ndarray) -> np.ndarray:
    """Tell what share of a unit's state of k sessions ago is still in it.

    Parameters
    ----------
    keeping : ndarray, (..., steps, units)
        Of a keeping gate (`gates.KEEPING`), in order of time.

    Returns
    -------
    ndarray, (..., steps, units)
        By lag: at 0 all, at k the product of the gates of the last k steps.
    """
    shares = np.cumprod(keeping[..., ::-1, :], axis=-2)
    return np.concatenate([np.ones_like(shares[..., :1, :]), shares[..., :-1, :]], axis=-2)


def half_life(keeping: np.ndarray) -> np.ndarray:
    """Sessions after which half of what a unit holds is left, at the mean rate of a window.

    Parameters
    ----------
    keeping : ndarray, (..., steps, units)
        Of a keeping gate.

    Returns
    -------
    ndarray, (..., units)
        Logarithm of 1/2 over the mean logarithm of the gate: for a gate that stands still exactly when
        `kept` falls to a half. Infinite where nothing is lost.
    """
    with np.errstate(divide="ignore"):
        return np.log(0.5) / np.minimum(np.log(keeping).mean(axis=-2), -0.0)


def forecast_gradients(reading: Reading, step: int = 1) -> np.ndarray:
    """Measure how strongly the width of a forecast reacts to each past step, through the recurrent layer.

    Parameters
    ----------
    step : int
        Sessions ahead.

    Returns
    -------
    ndarray, (n, lookback)
        By lag, 0 for the cutoff: Euclidean norm of the gradient of log sigma by what the layer reads, in
        training standard deviations. Zero where training kept no correction (`Weights.adds_something`).
    """
    gradient = np.zeros_like(reading.forecast)
    gradient[:, step - 1, 1] = 1 / reading.forecast[:, step - 1, 1]
    _, _, layer = reading.back(gradient)
    return np.linalg.norm(layer, axis=-1)[:, ::-1]


def state_gradients(cell: Cell, inputs: np.ndarray) -> np.ndarray:
    """Measure how strongly the last hidden state reacts to each past step, whatever is made of it.

    Parameters
    ----------
    inputs : ndarray, (n, steps, inputs)
        As the layer reads them.

    Returns
    -------
    ndarray, (n, steps)
        By lag, 0 for the last step: Frobenius norm of the Jacobian of the last hidden state by the inputs
        of the step.
    """
    every = np.repeat(np.eye(cell.units)[:, None], len(inputs), axis=1)
    jacobian = inputs_gradient(cell, gates(cell, inputs), every)
    return np.sqrt((jacobian**2).sum(axis=(0, -1)))[:, ::-1]
