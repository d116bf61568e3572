"""Stock-price forecasts as calibrated distributions, with the evidence for and against their skill.

>>> import forecaster as fc
>>> ws = fc.Workspace("data")
>>> history = ws.history()
>>> model = fc.train(history, fc.Recipe())
>>> fc.plot_forecast(history, model.forecast(history), "AAPL")

Names are imported when they are first used, so that ``import forecaster`` costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# TensorFlow reads these when it is first imported, wherever that happens. Without oneDNN the order
# of floating-point sums is fixed and no notice is printed; these small networks are no slower.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# ONNX Runtime reports its use to its maker unless told not to, from its first import on.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from forecaster.config import Recipe, Settings
    from forecaster.errors import ForecasterError
    from forecaster.evaluation.backtest import Backtest, backtest
    from forecaster.evaluation.event_study import EventStudy, event_study
    from forecaster.evaluation.folds import Plan
    from forecaster.evaluation.leakage import leakcheck
    from forecaster.explain.inside import Inside, inside
    from forecaster.explain.scenario import Scenario, what_if
    from forecaster.fan_plots import plot_forecast
    from forecaster.first_run import quickstart
    from forecaster.history import History
    from forecaster.models.trained import Model
    from forecaster.plots import plot_scores
    from forecaster.workflow import train
    from forecaster.workspace import Workspace

__version__ = "0.1.0"

_ROOMS = {
    "Backtest": "evaluation.backtest",
    "EventStudy": "evaluation.event_study",
    "ForecasterError": "errors",
    "History": "history",
    "Inside": "explain.inside",
    "Model": "models.trained",
    "Plan": "evaluation.folds",
    "Recipe": "config",
    "Scenario": "explain.scenario",
    "Settings": "config",
    "Workspace": "workspace",
    "backtest": "evaluation.backtest",
    "event_study": "evaluation.event_study",
    "inside": "explain.inside",
    "leakcheck": "evaluation.leakage",
    "plot_forecast": "fan_plots",
    "plot_scores": "plots",
    "quickstart": "first_run",
    "train": "workflow",
    "what_if": "explain.scenario",
}

__all__ = [
    "Backtest",
    "EventStudy",
    "ForecasterError",
    "History",
    "Inside",
    "Model",
    "Plan",
    "Recipe",
    "Scenario",
    "Settings",
    "Workspace",
    "backtest",
    "event_study",
    "inside",
    "leakcheck",
    "plot_forecast",
    "plot_scores",
    "quickstart",
    "train",
    "what_if",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
