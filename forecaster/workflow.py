"""The verbs: train a model, issue forecasts, ask what if, look inside, draw paths."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.features import assemble
from forecaster.health import observe
from forecaster.history import History, read_history
from forecaster.models import LAST_PRICE
from forecaster.models.ensemble import Ensemble, classical
from forecaster.models.trained import Model, drift, novelty
from forecaster.progress import Progress, silent
from forecaster.registry import Registry, require_same
from forecaster.store import Clock, Store, now
from forecaster.windows import Windows

if TYPE_CHECKING:
    from forecaster.evaluation.backtest import Backtest
    from forecaster.explain.inside import Inside
    from forecaster.explain.scenario import Scenario, WhatIf


def train(
    history: History, recipe: Recipe, progress: Progress = silent, evidence: "Backtest | None" = None
) -> Model:
    """Train every kind of network that a recipe names on all that a history knows.

    Parameters
    ----------
    evidence : Backtest, optional
        Of the same recipe and history: the weights of the pool and the calibration are learned from its
        forecasts. Without it all weights are equal and nothing is calibrated.

    Returns
    -------
    Model
        Ready to forecast from the history's last session on, for any symbol.

    Raises
    ------
    TooLittleHistory
        If there are too few sessions to train on.
    ModelError
        If a network's serving form does not forecast what the network does.
    """
    # Late: they bring TensorFlow, which only training needs.
    from forecaster.models.card import card
    from forecaster.models.recurrent import BACKEND, Recurrent

    chosen = history.only(recipe.universe) if recipe.universe else history
    windows = Windows(assemble(chosen, recipe.groups), recipe.lookback, recipe.horizon)
    if not len(windows.ends):
        raise TooLittleHistory(f"No symbol of {', '.join(chosen.symbols)} has enough sessions for one window")
    if evidence is not None:
        require_same(evidence, recipe, chosen.fingerprint)
    networks = [Recurrent(recipe, cell) for cell in recipe.cells]
    beside = [classical(name, recipe) for name in recipe.beside]
    last_price = classical(LAST_PRICE, recipe)
    every = (*networks, *beside, last_price)
    with progress("Training", sum(one.steps for one in every)) as advance:
        for one in every:
            one.fit(windows, windows.panel.known_at.max(), advance)
    difference = max(network.require_same_forecast(windows) for network in networks)
    table = None if evidence is None else evidence.forecasts
    return Model(
        recipe,
        Ensemble.of(recipe, beside, networks, last_price, table),
        novelty(windows) if recipe.abstain else None,
        drift(windows),
        chosen.symbols,
        history.as_of,
        card(recipe, chosen, windows, BACKEND, difference),
    )


def forecast(
    store: Store,
    registry: Registry,
    symbols: Sequence[str],
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
    clock: Clock = now,
) -> pd.DataFrame:
    """Forecast symbols from what was known at a session's close, with the champion or a named version.

    Parameters
    ----------
    clock : callable
        Tells the moment of issue, in UTC.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, one row per symbol and step.

    Raises
    ------
    ModelError
        If there is no such version, or it was trained on sessions after `as_of`.
    UnknownSymbol, TooLittleHistory
        If a symbol cannot be forecast.
    """
    chosen, model, history = _loaded(store, registry, symbols, as_of, version)
    return _dated(model.forecast(history, tuple(symbols)), chosen, model, history, clock())


def what_if(
    store: Store,
    registry: Registry,
    symbol: str,
    scenario: "Scenario",
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
) -> "WhatIf":
    """Forecast a symbol as it stands and given a scenario, with the champion or a named version.

    Neither forecast is issued.

    Returns
    -------
    WhatIf
        Its forecasts carry the model's ``version``.

    Raises
    ------
    UsageError
        If the scenario does not fit the symbol's next sessions or what is known of the market.
    ModelError
        If there is no such version, or it was trained on sessions after `as_of`.
    UnknownSymbol, TooLittleHistory
        If the symbol cannot be forecast.
    """
    # Late: it brings the event study, which a forecast does not need.
    from forecaster.explain import scenario as explain

    chosen, model, history = _loaded(store, registry, [symbol], as_of, version)
    answered = explain.what_if(model, history, symbol, scenario)
    return replace(answered, forecasts=answered.forecasts.assign(version=chosen))


def explain(
    store: Store,
    registry: Registry,
    symbol: str,
    cell: str | None = None,
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
) -> "Inside":
    """Look inside the champion or a named version over a window of a symbol; see `explain.inside.inside`."""
    # Late: a forecast does not need it.
    from forecaster.explain.inside import inside

    # All that is stored: the window is cut to `as_of` there, where it may lie before the training cutoff.
    chosen, model, history = _loaded(store, registry, [symbol], None, version)
    return replace(inside(model, history, symbol, cell, as_of), version=chosen)


def paths(
    store: Store,
    registry: Registry,
    symbol: str,
    count: int = 1000,
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
) -> pd.DataFrame:
    """Draw joint paths of a symbol over the sessions ahead; see `Model.paths`."""
    _, model, history = _loaded(store, registry, [symbol], as_of, version)
    return model.paths(history, symbol, count)


def _loaded(
    store: Store,
    registry: Registry,
    symbols: Sequence[str],
    as_of: str | pd.Timestamp | None,
    version: str | None,
) -> tuple[str, Model, History]:
    """Load a version, what it reads, and its calibration as it stands by then."""
    chosen, model = registry.load(version)
    history = history_for(store, model, symbols, as_of)
    return chosen, calibrated(store, model, symbols, history), history


def history_for(
    store: Store, model: Model, symbols: Sequence[str], as_of: str | pd.Timestamp | None = None
) -> History:
    """Read what a model reads to forecast symbols: their history, and that of its universe.

    Raises
    ------
    UnknownSymbol, DataError
        See `history.read_history`.
    """
    return read_history(store, sorted({*symbols, *model.universe}), as_of)


def calibrated(store: Store, model: Model, symbols: Sequence[str], history: History) -> Model:
    """Carry a model's calibration of symbols on to the last session of a history."""
    if not model.recipe.calibrated:
        return model
    return model.calibrated(ledger.carried(store, model.recipe.hash, symbols, history))


def issue(
    store: Store, registry: Registry, symbols: Sequence[str], clock: Clock = now, observed: bool = False
) -> pd.DataFrame:
    """Forecast symbols from their last stored session and write the ledger, `models.COMPARED` beside.

    Parameters
    ----------
    clock : callable
        Tells the moment of issue, in UTC.
    observed : bool
        Whether drift and live coverage are written down as well; see `health.observe`.

    Returns
    -------
    DataFrame
        The rows that were new to the ledger.
    """
    version, model, history = _loaded(store, registry, symbols, None, None)
    windows = model.windows(history)
    table = model.read(windows, symbols, with_compared=True)
    issued = ledger.issue(store, _dated(table, version, model, history, clock()))
    if observed:
        observe(store, model, version, windows, clock())
    return issued


def _dated(
    table: pd.DataFrame, version: str, model: Model, history: History, moment: pd.Timestamp
) -> pd.DataFrame:
    """Say of forecasts where and when they come from."""
    return table.assign(
        version=version,
        recipe_hash=model.recipe.hash,
        store_version=history.store_version,
        issued_at=moment,
    )
