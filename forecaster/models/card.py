"""The card of a model: where it comes from and what it reads."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from forecaster.config import Recipe
from forecaster.history import History
from forecaster.windows import Windows

PACKAGES = (
    "keras", "tensorflow", "tensorflow-cpu", "onnx", "onnxruntime", "numpy", "pandas", "scipy",
    "scikit-learn", "arch",
)  # fmt: skip
"""What the fitting and the serving of a model may depend on."""


def card(
    recipe: Recipe, history: History, windows: Windows, backend: str, onnx_difference: float
) -> dict[str, Any]:
    """Describe where a model comes from and what it reads, as JSON-ready values.

    Parameters
    ----------
    history, windows : History, Windows
        What it was trained on.
    backend : str
        Of Keras.
    onnx_difference : float
        See `models.export.require_same_forecast`.
    """
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe.hash,
        "universe": list(history.symbols),
        "trained_until": str(history.as_of.date()),
        "fingerprint": history.fingerprint,
        "store_version": history.store_version,
        "recorded_by": None if history.recorded_by is None else history.recorded_by.isoformat(),
        "demonstration": history.is_demonstration,
        "packages": installed,
        "python": platform.python_version(),
        "backend": backend,
        "onnx_difference": onnx_difference,
        **_ranges(windows),
    }


def _ranges(windows: Windows) -> dict[str, dict[str, list[float]]]:
    """Lowest and highest value of every input over the windows' ends."""
    panel, horizon = windows.panel, windows.horizon
    chosen = np.isin(np.arange(len(panel.values)), windows.ends)[:, None]
    low = np.min(panel.values, axis=0, where=chosen, initial=np.inf)
    high = np.max(panel.values, axis=0, where=chosen, initial=-np.inf)
    position = panel.position[windows.ends]
    calendar = panel.ahead[position.min() + 1 : position.max() + horizon + 1]
    names = len(panel.ahead_names) - calendar.shape[1]
    ahead_low, ahead_high = calendar.min(axis=0), calendar.max(axis=0)
    if names:
        told = panel.announced[windows.ends, : horizon * names]
        ahead_low = np.append(ahead_low, told.min(axis=0).toarray().reshape(horizon, names).min(axis=0))
        ahead_high = np.append(ahead_high, told.max(axis=0).toarray().reshape(horizon, names).max(axis=0))
    return {
        "inputs": _by_name(panel.names, low, high),
        "ahead": _by_name(panel.ahead_names, ahead_low, ahead_high),
    }


def _by_name(names: tuple[str, ...], low: np.ndarray, high: np.ndarray) -> dict[str, list[float]]:
    return {name: [float(a), float(b)] for name, a, b in zip(names, low, high, strict=True)}
