"""Inputs in three groups; row t is computed from what was known at the close of session t.

``trend`` looks at the sessions before the last one, ``previous_day`` at the last one,
``exogenous`` at everything outside the series. Each group is one file with its names and one
function; this room puts them side by side in one float32 matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from forecaster.config import GROUPS, Group
from forecaster.errors import TooLittleHistory
from forecaster.events import by_exchange
from forecaster.features import ahead, company, exogenous, previous_day, trend
from forecaster.features.bars import Bars, before
from forecaster.history import History
from forecaster.sessions import all_sessions

NAMES: dict[Group, tuple[str, ...]] = {
    "trend": trend.NAMES,
    "previous_day": previous_day.NAMES,
    "exogenous": (*exogenous.NAMES, *company.NAMES),
}

SHARED = frozenset(f"exogenous.{name}" for name in exogenous.NAMES)
"""Inputs that tell of the market, the rates or a sector and not of the stock itself."""

COMPANY = frozenset(f"exogenous.{name}" for name in company.NAMES)
"""Inputs that tell of company events."""


@dataclass(frozen=True)
class Panel:
    """Rows of all symbols under each other, sorted by symbol, then session.

    Attributes
    ----------
    symbols : tuple of str
    code : ndarray of int32, (rows,)
        Index into `symbols`.
    session, known_at : ndarray of datetime64[ns], (rows,)
    position : ndarray of int64, (rows,)
        Index into `ahead` of the row's own session; the session h later stands h entries on.
    close : ndarray of float64, (rows,)
        Close as traded: the base price of a forecast.
    log_price, log_return : ndarray of float64, (rows,)
        Dividends in; see `features.bars.Bars`.
    base_sigma : ndarray of float64, (rows,)
        Past-only volatility that targets are measured in.
    values : ndarray of float32, (rows, features)
        The inputs, unscaled; NaN in a symbol's first rows.
    names : tuple of str
        Of the columns of `values`, as ``group.name``.
    ahead : ndarray of float32, (sessions, calendar features)
        What the calendar says, per session of each exchange.
    announced : csr_array of float32, (rows, company.LONGEST * announced features)
        What was announced for each symbol at each row, step by step; see `features.company.Known`.
    ahead_names : tuple of str
        Of the inputs known ahead: the calendar's, then the announced ones.
    calendar : ndarray of datetime64[ns], (sessions,)
        The sessions that the rows of `ahead` describe.
    """

    symbols: tuple[str, ...]
    code: np.ndarray
    session: np.ndarray
    known_at: np.ndarray
    position: np.ndarray
    close: np.ndarray
    log_price: np.ndarray
    log_return: np.ndarray
    base_sigma: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    ahead: np.ndarray
    announced: sparse.csr_array
    ahead_names: tuple[str, ...]
    calendar: np.ndarray

    def rows(self, kept: np.ndarray) -> "Panel":
        """Return the panel of some rows, in ascending order; symbols and calendar stay."""
        by_row = ("code", "session", "known_at", "position", "close", "log_price", "log_return",
                  "base_sigma", "values", "announced")  # fmt: skip
        return replace(self, **{name: getattr(self, name)[kept] for name in by_row})


def assemble(
    history: History,
    groups: Sequence[Group] = GROUPS,
    universe: Sequence[str] = (),
    around: exogenous.Surroundings | None = None,
) -> Panel:
    """Compute the inputs of every row of a history.

    Parameters
    ----------
    groups : sequence of str
        Groups to include. Without ``previous_day`` the base volatility leaves the last session
        out as well.
    universe : sequence of str
        Symbols over which cross-section means are taken, each leaving itself out; empty: all.
    around : Surroundings, optional
        The market-wide series, where they are known already; default: built from the universe's own bars.

    Raises
    ------
    TooLittleHistory
        If no symbol of the universe is among the history's.
    """
    bars = bars_of(history)
    if around is None:
        around = _around(bars, history, universe)
    told = _told(history, bars) if "exogenous" in groups else {}
    names, ahead_names = names_of(groups)
    values = np.empty((len(history.traded), len(names)), dtype=np.float32)
    row = 0
    for symbol, one in bars.items():
        mine, at = values[row : row + len(one.session)], 0
        for group in groups:
            for columns in _columns(group, one, around, is_member(symbol, universe), told.get(symbol)):
                mine[:, at : at + columns.shape[1]] = columns
                at += columns.shape[1]
        row += len(mine)
    exchanges = sorted({history.instruments[symbol].exchange for symbol in bars})
    told_ahead = [ahead.columns(exchange) for exchange in exchanges]
    offsets = dict(zip(exchanges, np.cumsum([0, *(len(part) for part in told_ahead[:-1])]), strict=True))
    position = np.concatenate(
        [offsets[history.instruments[symbol].exchange] + one.position for symbol, one in bars.items()]
    )
    together = {
        name: np.concatenate([getattr(one, name) for one in bars.values()])
        for name in ("session", "known_at", "close", "log_price", "log_return")
    }
    sigma = [one.sigma if "previous_day" in groups else before(one.sigma) for one in bars.values()]
    return Panel(
        symbols=tuple(bars),
        code=np.repeat(np.arange(len(bars), dtype=np.int32), [len(one.session) for one in bars.values()]),
        position=position,
        **together,
        base_sigma=np.concatenate(sigma),
        values=values,
        names=names,
        ahead=np.vstack(told_ahead) if told else np.zeros((sum(map(len, told_ahead)), 0), np.float32),
        announced=_stacked([one.ahead for one in told.values()], len(values)),
        ahead_names=ahead_names,
        calendar=np.concatenate([all_sessions(exchange) for exchange in exchanges]),
    )


def surroundings(history: History, universe: Sequence[str] = ()) -> exogenous.Surroundings:
    """Build the market-wide series that `assemble` reads of a history, whichever symbol asks.

    Raises
    ------
    TooLittleHistory
        If no symbol of the universe is among the history's.
    """
    return _around(bars_of(history), history, universe)


def bars_of(history: History) -> dict[str, Bars]:
    """Build the bars of every symbol of a history."""
    frames = {str(symbol): rows for symbol, rows in history.traded.groupby("symbol", sort=True)}
    return {symbol: Bars.of(rows, history.instruments[symbol].exchange) for symbol, rows in frames.items()}


def is_member(symbol: str, universe: Sequence[str]) -> bool:
    """Whether cross-section means are taken over a symbol, and so have to leave it out for itself."""
    return not universe or symbol in universe


def _around(bars: dict[str, Bars], history: History, universe: Sequence[str]) -> exogenous.Surroundings:
    members = [one for symbol, one in bars.items() if is_member(symbol, universe)]
    if not members:
        raise TooLittleHistory(
            f"None of the universe ({', '.join(universe)}) has any session in this history"
        )
    return exogenous.surroundings(members, history.factors)


def names_of(groups: Sequence[Group]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the inputs of some groups: those of a row, and those known ahead of a session."""
    names = tuple(f"{group}.{name}" for group in groups for name in NAMES[group])
    return names, (*ahead.NAMES, *company.AHEAD_NAMES) if "exogenous" in groups else ()


def _told(history: History, bars: dict[str, Bars]) -> dict[str, company.Known]:
    told: dict[str, company.Told] = {}
    for exchange, rows in by_exchange(history.events, history.instruments):
        told |= company.placed(rows, exchange)
    return {symbol: company.known(one, told.get(symbol, company.Told())) for symbol, one in bars.items()}


def _stacked(parts: list[sparse.csr_array], rows: int) -> sparse.csr_array:
    empty = sparse.csr_array((rows, 0), dtype=np.float32)
    return sparse.vstack(parts, format="csr") if parts else empty


def _columns(
    group: Group, bars: Bars, around: exogenous.Surroundings, inside: bool, told: company.Known | None
) -> Iterator[np.ndarray]:
    """Give a group's inputs, side by side."""
    if group == "trend":
        yield trend.columns(bars)
    elif group == "previous_day":
        yield previous_day.columns(bars)
    else:
        yield exogenous.columns(bars, around, inside)
        if told is not None:
            yield told.past
