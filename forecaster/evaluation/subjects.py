"""What a leak check compares: tables of the cells that a recipe, a model or a function computes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.errors import DataError
from forecaster.evaluation.invariance import Leak
from forecaster.evaluation.perturbation import known_at
from forecaster.features import Panel, assemble
from forecaster.history import History
from forecaster.instruments import Instrument
from forecaster.models import Forecaster
from forecaster.models.tabulate import tabulate
from forecaster.sessions import all_sessions, closes
from forecaster.windows import Windows

FeatureFunction = Callable[[History], pd.DataFrame]
"""From a history to columns symbol, session and one per feature; or to forecasts, with a cutoff each."""

OUTCOMES = ("outcome", "pit", "crps", "log_score")
"""Columns of a table of forecasts that are known at the close of `session`, not of the cutoff."""

NEWEST = 2
"""Windows of each symbol, up to a moment, whose inputs are gathered and compared."""


def windows_of(recipe: Recipe, history: History) -> Windows:
    """Lay a history out as the windows of a recipe."""
    panel = assemble(history, recipe.groups, recipe.universe)
    return Windows(panel, recipe.lookback, recipe.horizon)


def ends_around(windows: Windows, moment: np.datetime64, before: int, after: int = 0) -> np.ndarray:
    """Rows of each symbol's last `before` windows known at a moment, and of its next `after` ones."""
    panel, found = windows.panel, []
    for code in range(len(panel.symbols)):
        own = windows.ends[panel.code[windows.ends] == code]
        place = int(np.searchsorted(panel.known_at[own], moment, side="right"))
        found.append(own[max(0, place - before) : place + after])
    return np.concatenate(found)


def input_cells(windows: Windows, moment: np.datetime64) -> pd.DataFrame:
    """Every row of a panel: inputs, base volatility, returns, and what is known ahead.

    The calendar's inputs are those of the row's own session. What was announced for the sessions after
    it is folded into one number per input: the sum over all steps, each weighted by its root, so that a
    date that moves shows as well as one that is new.
    """
    panel = windows.panel
    computed = {name: getattr(panel, name) for name in ("base_sigma", "log_price", "log_return", "close")}
    by_calendar = panel.ahead.shape[1]
    announced = panel.ahead_names[by_calendar:]
    steps = panel.announced.shape[1] // max(len(announced), 1)
    weights = np.kron(np.sqrt(np.arange(1.0, steps + 1))[:, None], np.eye(len(announced)))
    parts = [
        pd.DataFrame(panel.values, columns=list(panel.names)),
        pd.DataFrame(computed),
        pd.DataFrame(panel.ahead[panel.position], columns=list(panel.ahead_names[:by_calendar])),
        pd.DataFrame(panel.announced @ weights, columns=[f"{name}, any step" for name in announced]),
    ]
    return pd.concat(parts, axis=1).set_index(_keys(panel, np.arange(len(panel.code))))


def window_cells(windows: Windows, moment: np.datetime64) -> pd.DataFrame:
    """Read the newest windows known at a moment, session by session, and what is known ahead of them."""
    panel, ends = windows.panel, ends_around(windows, moment, NEWEST)
    if not len(ends):
        return pd.DataFrame(columns=list(panel.names), index=_keys(panel, ends, offset=ends))
    inputs, ahead = windows.inputs(ends), windows.ahead(ends)
    parts = [
        pd.DataFrame(np.concatenate(inputs), columns=list(panel.names)),
        pd.DataFrame(np.concatenate(ahead), columns=list(panel.ahead_names)),
    ]
    offsets = (np.arange(1 - windows.lookback, 1), np.arange(1, windows.horizon + 1))
    keyed = [
        part.set_index(_keys(panel, np.repeat(ends, len(steps)), offset=np.tile(steps, len(ends))))
        for part, steps in zip(parts, offsets, strict=True)
    ]
    return pd.concat(keyed)


def label_cells(windows: Windows, moment: np.datetime64) -> pd.DataFrame:
    """Labels of every row, step by step, as far as they were known at a moment."""
    rows = np.arange(len(windows.panel.code))
    steps = [f"step {step}" for step in range(1, windows.horizon + 1)]
    return pd.DataFrame(windows.labels(rows, known_by=moment), _keys(windows.panel, rows), steps)


def wrong_label(windows: Windows, history: History, moments: np.ndarray) -> Leak | None:
    """Find a label that is told too soon, or is not the return from its own row over exactly its step.

    The returns are computed anew from the adjusted closes, on the calendar.
    """
    panel = windows.panel
    rows = np.arange(len(panel.code))
    returns, known = _plain_returns(history, windows.horizon)
    for moment in (*moments, panel.known_at.max()):
        labels = windows.labels(rows, known_by=moment)
        plain = np.where(known <= moment, returns, np.nan)
        wrong = ~np.isnan(labels) & ~np.isclose(labels, plain, rtol=1e-6, atol=1e-9)
        if wrong.any():
            place = np.flatnonzero(wrong.any(axis=1))
            row = place[np.lexsort((panel.code[place], panel.session[place]))[0]]
            step = int(np.argmax(wrong[row]))
            cutoff = pd.Timestamp(moment, tz="UTC")
            reason = (
                f"at {cutoff:%Y-%m-%d %H:%M} UTC, before the session it ends on has closed; give a label "
                f"only once it is known"
                if np.isnan(plain[row, step])
                else f"is the log return over exactly {step + 1} sessions from there, dividends in; count "
                f"sessions from the cutoff's own row"
            )
            return Leak(
                what="labels",
                feature=f"step {step + 1}",
                symbol=panel.symbols[panel.code[row]],
                session=pd.Timestamp(panel.session[row]),
                cutoff=cutoff,
                before=labels[row, step],
                after=plain[row, step],
                reason=reason,
            )
    return None


def forecast_cells(model: Forecaster, windows: Windows, ends: np.ndarray) -> pd.DataFrame:
    """Every step of a fitted model's forecasts."""
    table = tabulate(windows, ends, model.forecast(windows, ends), model.name)
    return table.drop(columns="model").set_index(["symbol", "cutoff", "step"])


def function_cells(function: FeatureFunction, what: str, history: History) -> pd.DataFrame:
    """Table of a user's function, by symbol and session, or by symbol, cutoff and what else names a forecast.

    Raises
    ------
    DataError
        If the function fails, or its table is not as `FeatureFunction` says.
    """
    # A copy: what a function writes into its argument must not reach the next run.
    copied = replace(
        history,
        traded=history.traded.copy(),
        factors=history.factors.copy(),
        events=history.events.copy(),
    )
    try:
        table = function(copied)
    except Exception as error:
        raise DataError(f"{what} failed: {type(error).__name__}: {error}") from error
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"{what}: expected a DataFrame, got {type(table).__name__}")
    table = table.set_axis([str(name) for name in table.columns], axis="columns")
    dated = "cutoff" if "cutoff" in table else "session"
    keys = ["symbol", dated, *(name for name in ("model", "step") if dated == "cutoff" and name in table)]
    if not {"symbol", "session"} <= set(table.columns) or len(table.columns) == len(keys):
        raise DataError(
            f"{what}: expected columns symbol, session and one per feature, got "
            f"{', '.join(map(str, table.columns)) or 'none'}; put the index into columns with reset_index()"
        )
    for name in table.columns[table.columns.duplicated()][:1]:
        raise DataError(f"{what}: two columns are named {name}; rename one")
    _require_rows_of_sessions(table, dated, what, history.instruments)
    keyed = table.assign(**{dated: _days(table[dated])}).set_index(keys)
    for key in keyed.index[keyed.index.duplicated()][:1]:
        raise DataError(f"{what}: two rows for {key[0]} at {key[1].date()}; give one per symbol and {dated}")
    return keyed


def without_outcomes(history: History, table: pd.DataFrame, moment: np.datetime64) -> pd.DataFrame:
    """Blank what a table of forecasts tells of sessions that close after a moment."""
    told = [name for name in OUTCOMES if name in table]
    symbols = table.index.get_level_values("symbol").to_series()
    later = known_at(symbols, _days(table["session"]), history.instruments) > moment
    return table.assign(**{name: table[name].where(~later) for name in told})


def _keys(panel: Panel, rows: np.ndarray, **more: np.ndarray) -> pd.MultiIndex:
    symbol = np.asarray(panel.symbols, dtype=object)[panel.code[rows]]
    names = ["symbol", "session", *more]
    return pd.MultiIndex.from_arrays([symbol, panel.session[rows], *more.values()], names=names)


def _plain_returns(history: History, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Log return of the adjusted close over each step, and when it was known; (rows, horizon) each."""
    returns, known = [], []
    for symbol, rows in history.prices.groupby("symbol", sort=True):
        exchange = history.instruments[str(symbol)].exchange
        sessions = all_sessions(exchange)
        held = pd.Series(np.log(rows["adj_close"].to_numpy()), rows["session"].to_numpy())
        on_calendar = held.reindex(sessions)
        closed = pd.Series(closes(exchange, sessions), sessions)
        steps = range(1, horizon + 1)
        returns.append(np.column_stack([on_calendar.shift(-step)[held.index] - held for step in steps]))
        known.append(np.column_stack([closed.shift(-step)[held.index] for step in steps]))
    return np.concatenate(returns), np.concatenate(known)


def _days(sessions: pd.Series) -> pd.Series:
    return pd.to_datetime(sessions).dt.tz_localize(None).dt.normalize().astype("datetime64[ns]")


def _require_rows_of_sessions(
    table: pd.DataFrame, dated: str, what: str, instruments: Mapping[str, Instrument]
) -> None:
    unknown = sorted(set(table["symbol"].astype(str)) - set(instruments))
    if unknown:
        raise DataError(f"{what}: no symbol {unknown[0]!r} in this history; it has {', '.join(instruments)}")
    try:
        days = _days(table[dated])
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{what}: column {dated} holds no dates ({error}); take them from the history"
        ) from error
    strange = np.isnat(known_at(table["symbol"], days, instruments))
    if strange.any():
        raise DataError(f"{what}: {days[strange].iloc[0].date()} is no session of any exchange here")
