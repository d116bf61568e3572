"""Which delivered bars can be trusted: form, calendar, jumps, splits, adjustment.

A bar is judged by itself and by earlier ones only, so that what is refused today does not depend
on what comes later.
"""

import numpy as np
import pandas as pd

from forecaster.adjust import split_factor
from forecaster.sessions import positions
from forecaster.tables import problems

NUMBERS = ["open", "high", "low", "close", "adj_close", "volume"]

JUMP = 20.0
"""Times the prices before, beyond which a bar is taken for one in another unit (pence for pounds)."""

LEAST_SPLIT = 1.5
"""Ratio from which a split that has not been applied can be told from a lively session."""

ADJUSTMENT_WITHIN = 1e-3
"""Difference between the adjustment delivered and the one that the dividend asks for."""


def malformed(bars: pd.DataFrame, exchange: str) -> pd.Series:
    """Name what is wrong with bars by themselves.

    Parameters
    ----------
    bars : DataFrame
        session and `NUMBERS`; any unique index.

    Returns
    -------
    Series of str
        Index of the faulty rows -> reason.
    """
    outside = positions(exchange, bars["session"].to_numpy()) < 0
    faults = [
        problems(bars[NUMBERS].astype(float)),
        pd.Series(f"no session of {exchange}", index=bars.index[outside]),
        pd.Series("session stands twice", index=bars.index[bars["session"].duplicated()]),
    ]
    together = pd.concat([fault for fault in faults if len(fault)] or [pd.Series(dtype=str)])
    return together[~together.index.duplicated()].sort_index()


def suspicious(
    delivered: pd.DataFrame, held: pd.DataFrame, fresh: pd.Index, actions: pd.DataFrame | None
) -> pd.Series:
    """Name what is odd about fresh bars beside those before them.

    Parameters
    ----------
    delivered, held : DataFrame
        Index session, ascending; well-formed bars as traded. Stored ones are trusted.
    fresh : DatetimeIndex
        Delivered sessions to judge.
    actions : DataFrame or None
        session, kind, value, as delivered; None if the source tells none.

    Returns
    -------
    Series of str
        Session -> reason.
    """
    known = pd.DataFrame(columns=["session", "kind", "value"]) if actions is None else actions
    bars = delivered.loc[fresh]
    apart = (bars["high"] >= JUMP * bars["close"]) | (bars["low"] <= bars["close"] / JUMP)
    found = [pd.Series("high or low far from the close: another unit?", index=bars.index[apart])]
    found.append(_jumps(delivered, held, fresh, known))
    if actions is not None:
        off = _adjustment(delivered, actions)
        found.append(off[off.index.isin(fresh)])
    together = pd.concat(found)
    return together[~together.index.duplicated()].sort_index()


def _jumps(delivered: pd.DataFrame, held: pd.DataFrame, fresh: pd.Index, actions: pd.DataFrame) -> pd.Series:
    closes = pd.concat([held["close"][~held.index.isin(fresh)], delivered.loc[fresh, "close"]]).sort_index()
    price = closes / split_factor(closes.index.to_numpy(), actions)
    ratios = _ratios(closes.index.to_numpy(), actions)
    steps = np.exp(np.abs(np.diff(np.log(price.to_numpy(dtype=float)))))
    odd = [
        _looks_unapplied(price.iloc[row] / price.iloc[row - 1], ratio)
        for row, ratio in ratios.items()
        if 0 < row < len(price)
    ]
    if (steps < JUMP).all() and not any(odd):
        return pd.Series(dtype=str)
    is_fresh = price.index.isin(fresh)
    reasons, trusted, pending = {}, price.iloc[0], 1.0
    for row, (session, value) in enumerate(price.items()):
        pending = ratios.get(row, pending)
        jump = value / trusted
        reason = ""
        if not 1 / JUMP < jump < JUMP:
            reason = f"close {jump:.3g} times the sessions before: another unit?"
        elif _looks_unapplied(jump, pending):
            reason = f"split of {pending:g} not applied to the sessions before"
        if reason and is_fresh[row]:
            reasons[session] = reason
        else:
            trusted, pending = value, 1.0
    return pd.Series(reasons, dtype=str)


def _ratios(sessions: np.ndarray, actions: pd.DataFrame) -> dict[int, float]:
    """Name the rows from which splits take effect, with the ratio of all that fall on them."""
    splits = actions[actions["kind"] == "split"]
    row = np.searchsorted(sessions, splits["session"].to_numpy())
    ratios = splits["value"].astype(float).groupby(row).prod()
    large = ratios[~ratios.between(1 / LEAST_SPLIT, LEAST_SPLIT, inclusive="neither")]
    return dict(zip(large.index, large, strict=True))


def _looks_unapplied(jump: float, ratio: float) -> bool:
    """Tell whether a split's ratio explains most of a step; a lively session is smaller, or another way."""
    return bool(abs(np.log(jump * ratio)) < abs(np.log(jump)) / 2)


def _adjustment(delivered: pd.DataFrame, actions: pd.DataFrame) -> pd.Series:
    """Find sessions whose adjusted close does not step by 1 - dividend / close before."""
    sessions = delivered.index.to_numpy()
    shares = split_factor(sessions, actions)
    close = delivered["close"].to_numpy(dtype=float) / shares
    kept = delivered["adj_close"].to_numpy(dtype=float) / close
    dividends = actions[actions["kind"] == "dividend"]
    scaled = dividends["value"].to_numpy(dtype=float) / split_factor(dividends["session"].to_numpy(), actions)
    row = np.searchsorted(sessions, dividends["session"].to_numpy())
    paid = np.zeros(len(sessions) + 1)
    np.add.at(paid, row, scaled)
    asked = 1 - paid[1:-1] / close[:-1]
    came = kept[:-1] / kept[1:]
    # Sources round adjusted prices to six decimals, which counts where they are small.
    rounding = 1e-6 / np.minimum(delivered["adj_close"].to_numpy(dtype=float)[:-1], close[:-1])
    off = np.abs(came - asked) > ADJUSTMENT_WITHIN + rounding
    reasons = [
        f"adjustment ratio off: {came[at]:.4f} where its dividend asks for {asked[at]:.4f}"
        for at in np.flatnonzero(off)
    ]
    return pd.Series(reasons, index=delivered.index[1:][off], dtype=str)
