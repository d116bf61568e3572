"""The verbs: train a model, issue forecasts, ask what if, draw paths."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.evaluation.backtest import Backtest
from forecaster.explain.scenario import Scenario, WhatIf
from forecaster.explain.scenario import what_if as answer
from forecaster.features import assemble
from forecaster.history import History, read_history
from forecaster.models.ensemble import Ensemble, classical
from forecaster.models.recurrent import Recurrent
from forecaster.models.trained import Model, card, novelty
from forecaster.progress import Progress, silent
from forecaster.registry import Registry, require_same
from forecaster.store import Store, now
from forecaster.windows import Windows


def train(
    history: History, recipe: Recipe, progress: Progress = silent, evidence: Backtest | None = None
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
    """
    chosen = history.only(recipe.universe) if recipe.universe else history
    windows = Windows(assemble(chosen, recipe.groups), recipe.lookback, recipe.horizon)
    if not len(windows.ends):
        raise TooLittleHistory(f"No symbol of {', '.join(chosen.symbols)} has enough sessions for one window")
    if evidence is not None:
        require_same(evidence, recipe, chosen.fingerprint)
    networks = [Recurrent(recipe, cell) for cell in recipe.cells]
    beside = [classical(name, recipe) for name in recipe.beside]
    with progress("Training", sum(one.steps for one in (*networks, *beside))) as advance:
        for one in (*networks, *beside):
            one.fit(windows, windows.panel.known_at.max(), advance)
    table = None if evidence is None else evidence.forecasts
    return Model(
        recipe,
        Ensemble.of(recipe, beside, networks, table),
        novelty(windows) if recipe.abstain else None,
        chosen.symbols,
        history.as_of,
        card(recipe, chosen, chosen.symbols, windows),
    )


def forecast(
    store: Store,
    registry: Registry,
    symbols: Sequence[str],
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
) -> pd.DataFrame:
    """Forecast symbols from what was known at a session's close, with the champion or a named version.

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
    return model.forecast(history, tuple(symbols)).assign(
        version=chosen,
        recipe_hash=model.recipe.hash,
        store_version=history.store_version,
        issued_at=now(),
    )


def what_if(
    store: Store,
    registry: Registry,
    symbol: str,
    scenario: Scenario,
    as_of: str | pd.Timestamp | None = None,
    version: str | None = None,
) -> WhatIf:
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
    chosen, model, history = _loaded(store, registry, [symbol], as_of, version)
    answered = answer(model, history, symbol, scenario)
    return replace(answered, forecasts=answered.forecasts.assign(version=chosen))


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
    history = read_history(store, sorted({*symbols, *model.universe}), as_of)
    if model.recipe.calibrated:
        model = model.calibrated(ledger.carried(store, chosen, symbols, history))
    return chosen, model, history


def issue(store: Store, registry: Registry, symbols: Sequence[str]) -> pd.DataFrame:
    """Forecast symbols from their last stored session and write the ledger.

    Returns
    -------
    DataFrame
        The rows that were new to the ledger.
    """
    return ledger.issue(store, forecast(store, registry, symbols))
