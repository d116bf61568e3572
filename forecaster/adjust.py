"""Splits and dividends: stored prices stay as they were traded, and are made comparable at read.

A price as traded never changes, whatever happens to the share later; a split or a dividend is a
fact of its own, with its session. Adjusted prices are computed from both for a given moment, so
that any earlier state can be had again, and nothing is rewritten when a share is split.
"""

import numpy as np
import pandas as pd

PRICES = ("open", "high", "low", "close")


def split_factor(sessions: np.ndarray, actions: pd.DataFrame) -> np.ndarray:
    """Shares of today for one share at the close of each session.

    Parameters
    ----------
    sessions : ndarray of datetime64[ns], (n,)
    actions : DataFrame
        Columns session, kind, value of one symbol.

    Returns
    -------
    ndarray of float64, (n,)
        Product of the ratios of all splits that take effect after each session.
    """
    splits = actions[actions["kind"] == "split"].sort_values("session")
    ratios = splits["value"].to_numpy(dtype=float)
    still_to_come = np.append(np.cumprod(ratios[::-1])[::-1], 1.0)
    return still_to_come[np.searchsorted(splits["session"].to_numpy(), sessions, side="right")]


def as_traded(bars: pd.DataFrame, actions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the splits back out of bars and dividends that were adjusted for them.

    Parameters
    ----------
    bars : DataFrame
        session, open, high, low, close, volume and others, of one symbol.
    actions : DataFrame
        session, kind, value: every split from the first bar up to now, dividends likewise.

    Returns
    -------
    bars, actions : DataFrame
        Prices, volume and dividends as they were on the day; ``adj_close`` as it came.
    """
    factor = split_factor(bars["session"].to_numpy(), actions)
    traded = bars.assign(**{name: bars[name] * factor for name in PRICES}, volume=bars["volume"] / factor)
    shares = split_factor(actions["session"].to_numpy(), actions)
    paid = actions["value"] * np.where(actions["kind"] == "dividend", shares, 1.0)
    return traded, actions.assign(value=paid)


def with_actions(prices: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """Put beside each stored bar what separates it from the bar before it.

    Parameters
    ----------
    prices : DataFrame
        Rows of the prices table, sorted by symbol and session.
    actions : DataFrame
        Rows of the actions table.

    Returns
    -------
    DataFrame
        The rows without ``adj_close`` and ``tells_actions``, and two columns more: ``split``, new
        shares per old one since the symbol's bar before, and ``dividend``, paid per share on the
        scale of this row. A row depends on itself and the one before it only.

    Notes
    -----
    Of a symbol whose source tells no actions, ``adj_close`` as delivered tells the dividends.
    """
    real = actions[actions["value"] != 0]
    session, value = real["session"].to_numpy(), real["value"].to_numpy(dtype=float)
    is_split, known = (real["kind"] == "split").to_numpy(), real.groupby("symbol").indices
    told = prices["tells_actions"].fillna(False).to_numpy(dtype=bool)
    days, close, adj_close = (prices[name].to_numpy() for name in ("session", "close", "adj_close"))
    splits, dividends, none = np.ones(len(prices)), np.zeros(len(prices)), np.empty(0, dtype=int)
    for symbol, places in prices.groupby("symbol", sort=False).indices.items():
        if told[places[0]]:
            mine = known.get(symbol, none)
            between = _between(days[places], session[mine], value[mine], is_split[mine])
            splits[places], dividends[places] = between
        else:
            dividends[places] = _implied(close[places], adj_close[places])
    return prices.drop(columns=["adj_close", "tells_actions"]).assign(split=splits, dividend=dividends)


def _between(
    sessions: np.ndarray, moments: np.ndarray, value: np.ndarray, is_split: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put each action on the first bar from its session on; one before the first bar has no effect."""
    ratio, paid = np.ones(len(sessions)), np.zeros(len(sessions))
    row = np.searchsorted(sessions, moments)
    effective = (row > 0) & (row < len(sessions))
    moments, value, is_split, row = (each[effective] for each in (moments, value, is_split, row))
    np.multiply.at(ratio, row[is_split], value[is_split])
    # A dividend before a split of the same gap is paid on fewer, larger shares than the row's.
    same_gap = row[~is_split][:, None] == row[is_split]
    after = moments[~is_split][:, None] < moments[is_split]
    shares = np.where(same_gap & after, value[is_split], 1.0).prod(axis=1)
    np.add.at(paid, row[~is_split], value[~is_split] / shares)
    return ratio, paid


def _implied(close: np.ndarray, adj_close: np.ndarray) -> np.ndarray:
    share = adj_close / close
    return np.append(0.0, close[:-1] * (1 - share[:-1] / share[1:]))


def adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Bring each symbol's rows to the scale of its last one.

    Parameters
    ----------
    rows : DataFrame
        As `with_actions` returns them, sorted by symbol and session.

    Returns
    -------
    DataFrame
        Prices and volume adjusted for splits; ``adj_close``, the close adjusted for dividends too:
        before each one times 1 - dividend / close before (Center for Research in Security Prices,
        Calculations), in place of the columns split and dividend.
    """
    if rows.empty:
        return rows.drop(columns=["split", "dividend"]).assign(adj_close=pd.Series(dtype=float))
    symbol = rows["symbol"]
    before = rows.groupby("symbol", sort=False)["close"].shift() / rows["split"]
    kept = (1 - rows["dividend"] / before).where(before.notna(), 1.0)
    shares, income = (_after(step, symbol) for step in (rows["split"], kept))
    scaled = rows.assign(**{name: rows[name] / shares for name in PRICES}, volume=rows["volume"] * shares)
    return scaled.assign(adj_close=scaled["close"] * income).drop(columns=["split", "dividend"])


def _after(steps: pd.Series, symbol: pd.Series) -> pd.Series:
    """Product of the steps of all later rows of the same symbol."""
    later = steps.groupby(symbol, sort=False).shift(-1).fillna(1.0)
    return later[::-1].groupby(symbol[::-1], sort=False).cumprod()[::-1]
