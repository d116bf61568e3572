"""Does what a source delivers continue what is stored? Sessions that both have tell."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

OHLC = ["open", "high", "low", "close"]

SAME_WITHIN = 2e-4
"""Relative difference below which two fetches of a price are the same: sources jitter by 1e-5."""


SETTLES_WITHIN = 0.1
"""Relative difference up to which the last stored price may settle: corrections are small."""

NEAR = pd.Timedelta(days=7)
"""Distance at which a lost session's dividend may turn up."""


class Change(StrEnum):
    """What a reply says about sessions that are stored already; the gravest word counts."""

    NEW = "new"
    SAME = "same"
    RESPLIT = "resplit"
    REDIVIDEND = "redividend"
    REVISION = "revision"
    VANISHED = "vanished"
    NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Overlap:
    """The answer.

    Attributes
    ----------
    change : Change
    fits : bool
        Whether both are on one footing. If the latest two common sessions lie far apart, or differ
        along with most others, the reply may be on another scale or about another company, and none
        of its bars can be taken.
    fresh : DatetimeIndex
        Delivered sessions to be stored: new ones, and stored ones whose last word has now come.
    revised, vanished : Series of str
        Session -> what is wrong with it.
    actions : DataFrame
        session, kind, value: those to be stored; a value of 0 withdraws one.
    """

    change: Change
    fits: bool
    fresh: pd.Index
    revised: pd.Series
    vanished: pd.Series
    actions: pd.DataFrame


def compare(
    held: pd.DataFrame,
    delivered: pd.DataFrame,
    held_actions: pd.DataFrame,
    actions: pd.DataFrame,
    last: pd.Timestamp | None,
) -> Overlap:
    """Compare bars as traded, and actions, of the sessions that a reply covers.

    Parameters
    ----------
    held, delivered : DataFrame
        Index session, ascending; columns open, high, low, close, adj_close, volume.
    held_actions, actions : DataFrame
        session, kind, value.
    last : Timestamp or None
        Last session that is stored.

    Notes
    -----
    Prices as traded stay the same through splits and dividends: where a reply tells of a split and
    has applied it, taking it out again gives the stored price. One that has applied it by half, or
    not at all, does not fit. The last stored bar may still settle, since sources correct a session
    in the hours after its close; every other difference in a price is a revision.
    """
    both = held.index.intersection(delivered.index)
    old, new = held.loc[both], delivered.loc[both]
    differs = pd.Series(~_close(new[OHLC], old[OHLC]).all(axis=1), index=both)
    volume_differs = ~_close(new["volume"], old["volume"])
    far = np.any(~_close(new[OHLC], old[OHLC], SETTLES_WITHIN), axis=1)
    is_last = both == last
    settles = is_last & ~far
    elsewhere = np.all(far[-2:]) or (differs.tail(2).all() and differs.mean() > 1 / 2)
    fits = held.empty or (len(both) > 0 and not elsewhere)
    revised = differs & ~settles if fits else differs
    # A volume of 0 is how a lost one arrives.
    counted_again = volume_differs & (new["volume"] > 0) & ~differs
    fresh = delivered.index.difference(held.index)
    if fits:
        fresh = fresh.union(both[(differs & settles) | counted_again])
    changed = _changed(held_actions, actions, delivered)
    vanished = held.index.difference(delivered.index)
    return Overlap(
        _name(held, vanished, revised, changed),
        bool(fits),
        fresh,
        _told(old[revised], new[revised]),
        pd.Series("stored, but no longer delivered", index=vanished),
        changed,
    )


def _close(
    new: pd.DataFrame | pd.Series, old: pd.DataFrame | pd.Series, within: float = SAME_WITHIN
) -> np.ndarray:
    return np.isclose(new.to_numpy(dtype=float), old.to_numpy(dtype=float), rtol=within, atol=0.0)


def _name(held: pd.DataFrame, vanished: pd.Index, revised: pd.Series, changed: pd.DataFrame) -> Change:
    if held.empty:
        return Change.NEW
    if len(vanished):
        return Change.VANISHED
    if revised.any():
        return Change.REVISION
    if (changed["kind"] == "split").any():
        return Change.RESPLIT
    return Change.REDIVIDEND if len(changed) else Change.SAME


def _told(old: pd.DataFrame, new: pd.DataFrame) -> pd.Series:
    """Name, for each session, the close if it differs, or else the price that differs most."""
    reasons = {}
    for session in old.index:
        was, came = old.loc[session, OHLC].astype(float), new.loc[session, OHLC].astype(float)
        off = (came / was - 1).abs()
        name = "close" if off["close"] > SAME_WITHIN else off.idxmax()
        reasons[session] = f"{name} revised from {was[name]:.6g} to {came[name]:.6g}"
    return pd.Series(reasons, index=old.index, dtype=str)


def _changed(held: pd.DataFrame, actions: pd.DataFrame, delivered: pd.DataFrame) -> pd.DataFrame:
    """List the actions that are new, of another value, or withdrawn."""
    pairs = actions.merge(held, on=["session", "kind"], how="outer", suffixes=("", "_held"))
    gone = pairs["value"].isna()
    pairs.loc[gone, "value"] = 0.0
    same = np.isclose(pairs["value"], pairs["value_held"].fillna(0.0), rtol=SAME_WITHIN, atol=0.0)
    kept = gone.to_numpy(copy=True)
    kept[kept] = [_still_priced_in(row, delivered) for row in pairs[gone].to_dict("records")]
    moved = [_stands_elsewhere(row, pairs[kept]) for row in pairs.to_dict("records")]
    changed = ~same & ~kept & ~np.array(moved, dtype=bool)
    return pairs.loc[changed, ["session", "kind", "value"]].reset_index(drop=True)


def _stands_elsewhere(action: dict, kept: pd.DataFrame) -> bool:
    """Tell whether an action is one that is stored on a session close by and still priced in there.

    A source that has lost the session of a dividend may put it on the one before.
    """
    near = (kept["session"] - action["session"]).abs() <= NEAR
    alike = np.isclose(kept["value_held"], action["value"], rtol=SAME_WITHIN, atol=0.0)
    return bool((near & alike & (kept["kind"] == action["kind"])).any())


def _still_priced_in(action: dict, delivered: pd.DataFrame) -> bool:
    """Tell whether a dividend that a reply does not list has still moved its adjusted closes."""
    if action["kind"] == "split":
        return False
    before = delivered[delivered.index < action["session"]].tail(1)
    after = delivered[delivered.index >= action["session"]].head(1)
    if before.empty or after.empty:
        return True
    close = before["close"].item()
    step = before["adj_close"].item() / close / (after["adj_close"].item() / after["close"].item())
    return bool(step < 1 - action["value_held"] / close / 2)
