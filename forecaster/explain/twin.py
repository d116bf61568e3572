"""A trained network in NumPy, float64: its forecast, and the gradient of any part of it by every input.

So a process that serves can show gates and attributions without Keras. The equations are those of
`models.network`; tests hold both to each other.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from forecaster.explain.backward import inputs_gradient
from forecaster.explain.gates import States, gates
from forecaster.models.weights import FADES, LARGEST, LEAST_DF, MEAN_STEP, Weights


@dataclass(frozen=True)
class Reading:
    """What a network makes of some windows.

    Attributes
    ----------
    weights : Weights
    scaled : ndarray, (n, lookback, features)
        Inputs, standardised.
    ahead : ndarray, (n, horizon, ahead features)
    states : States
        Of the recurrent layer, (n, lookback, units) each.
    forecast : ndarray, (n, horizon, 3)
        Mean, sigma and degrees of freedom, the first two in base volatilities.
    """

    weights: Weights
    scaled: np.ndarray
    ahead: np.ndarray
    states: States
    forecast: np.ndarray

    def back(self, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Carry a gradient by the forecast back to the inputs.

        Parameters
        ----------
        gradient : ndarray, (n, horizon, 3)
            Of one value per window.

        Returns
        -------
        scaled : ndarray, (n, lookback, features)
            Gradient by the standardised inputs, on every way.
        ahead : ndarray, (n, horizon, ahead features)
        layer : ndarray, (n, lookback, own features)
            Gradient by the inputs of the recurrent layer, through that layer only.
        """
        weights, state = self.weights, self.states["hidden"][:, -1]
        mean, sigma, df = np.moveaxis(gradient, -1, 0)
        variance = _remaining(sigma / (2 * self.forecast[..., 1]))
        bounded = np.tanh(_growth(weights, state, self.scaled[:, -1], self.ahead) / LARGEST)
        growth = variance * np.exp(LARGEST * bounded) * (1 - bounded**2)
        tail = df * expit(state @ weights.tail + weights.tail_constant)
        by_state = (
            growth @ _fading(growth.shape[1]).T @ weights.growth_of_state.T
            + MEAN_STEP * _remaining(mean) @ weights.drift.T
            + tail @ weights.tail.T
            + np.einsum("nh,nha->na", growth, self.ahead) @ weights.response.T
        )
        layer = inputs_gradient(weights.cell, self.states, by_state)
        scaled = np.zeros_like(self.scaled)
        scaled[..., weights.columns] = layer
        scaled[:, -1] += growth @ weights.growth_of_inputs.T
        told = weights.growth_ahead.T + (state @ weights.response)[:, None]
        return scaled, growth[..., None] * told, layer


def standardised(weights: Weights, windows: np.ndarray) -> np.ndarray:
    """Shift, scale and cut windows (n, lookback, features) as the network does; unknown inputs are 0."""
    scaled = (np.asarray(windows, dtype=np.float64) - weights.mean) / weights.spread
    return np.clip(np.where(np.isnan(windows), 0.0, scaled), -weights.limit, weights.limit)


def read(weights: Weights, scaled: np.ndarray, ahead: np.ndarray) -> Reading:
    """Read standardised windows (n, lookback, features), and what is known ahead of each."""
    states = gates(weights.cell, scaled[..., weights.columns])
    state = states["hidden"][:, -1]
    increments = np.exp(LARGEST * np.tanh(_growth(weights, state, scaled[:, -1], ahead) / LARGEST))
    forecast = np.stack(
        [
            np.cumsum(MEAN_STEP * state @ weights.drift, axis=-1),
            np.sqrt(np.cumsum(increments, axis=-1)),
            LEAST_DF + np.logaddexp(0.0, state @ weights.tail + weights.tail_constant),
        ],
        axis=-1,
    )
    return Reading(weights, scaled, ahead, states, forecast)


def _growth(weights: Weights, state: np.ndarray, inputs: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Log variance of each session ahead before it is bounded: (n, horizon)."""
    told = np.einsum("nha,ah->nh", ahead, weights.growth_ahead)
    told += np.einsum("nha,na->nh", ahead, state @ weights.response)
    faded = state @ weights.growth_of_state @ _fading(ahead.shape[1])
    return faded + inputs @ weights.growth_of_inputs + weights.growth + told


def _fading(horizon: int) -> np.ndarray:
    return np.exp(-np.arange(horizon) / np.array(FADES)[:, None])


def _remaining(gradient: np.ndarray) -> np.ndarray:
    """Sum what follows, each step itself included: back through a cumulative sum."""
    return np.cumsum(gradient[:, ::-1], axis=1)[:, ::-1]
