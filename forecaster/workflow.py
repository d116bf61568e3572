"""The verbs: train a model, issue forecasts, ask what if."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.explain.scenario import Scenario, WhatIf
from forecaster.explain.scenario import what_if as answer
from forecaster.features import assemble
from forecaster.history import History, read_history
from forecaster.models.recurrent import Recurrent
from forecaster.models.trained import Model, card
from forecaster.progress import Progress, silent
from forecaster.registry import Registry
from forecaster.store import Store, now
from forecaster.windows import Windows


def train(history: History, recipe: Recipe, progress: Progress = silent) -> Model:
    """Train every kind of network that a recipe names on all that a history knows.

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
    members = tuple(Recurrent(recipe, cell) for cell in recipe.cells)
    with progress("Training", sum(member.steps for member in members)) as advance:
        for member in members:
            member.fit(windows, windows.panel.known_at.max(), advance)
    universe = chosen.symbols
    return Model(recipe, members, universe, history.as_of, card(recipe, chosen, universe, windows))


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
    chosen, model = registry.load(version)
    history = read_history(store, sorted({*symbols, *model.universe}), as_of)
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
    chosen, model = registry.load(version)
    history = read_history(store, sorted({symbol, *model.universe}), as_of)
    answered = answer(model, history, symbol, scenario)
    return replace(answered, forecasts=answered.forecasts.assign(version=chosen))


def issue(store: Store, registry: Registry, symbols: Sequence[str]) -> pd.DataFrame:
    """Forecast symbols from their last stored session and write the ledger.

    Returns
    -------
    DataFrame
        The rows that were new to the ledger.
    """
    return ledger.issue(store, forecast(store, registry, symbols))
