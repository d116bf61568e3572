"""The overlap of a source that tells no splits or dividends, only prices adjusted for them.

Such a source, a file for one, is adjusted up to the day when it was made: a later one may show the
whole past on another scale.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from forecaster.ingest.overlap import SAME_WITHIN, Change, Overlap, compare

NO_ACTIONS = pd.DataFrame(
    {
        "session": pd.Series(dtype="datetime64[ns]"),
        "kind": pd.Series(dtype=str),
        "value": pd.Series(dtype=float),
    }
)


def continued(held: pd.DataFrame, delivered: pd.DataFrame) -> pd.DataFrame:
    """Bring delivered adjusted closes to the base of the stored ones.

    Only their ratios mean anything. They are made to agree at the first session that both have, or
    else, no dividend being known, across the step from or to the nearest stored one.
    """
    both = held.index.intersection(delivered.index)
    before = held.index[held.index < delivered.index[0]]
    if len(both):
        theirs = ours = both[0]
    elif len(before):
        theirs, ours = delivered.index[0], before[-1]
    elif len(held):
        theirs, ours = delivered.index[-1], held.index[0]
    else:
        return delivered
    was, came = held.loc[ours], delivered.loc[theirs]
    base = (was["adj_close"] / was["close"]) / (came["adj_close"] / came["close"])
    return delivered.assign(adj_close=delivered["adj_close"] * base)


def compare_unreported(
    held: pd.DataFrame, delivered: pd.DataFrame, last: pd.Timestamp | None, whole: bool
) -> Overlap:
    """Compare as `overlap.compare` does, and tell another scale or adjustment from a revision.

    Parameters
    ----------
    whole : bool
        Whether the delivery covers all that is stored. Only then may it bring another scale.
    """
    overlap = compare(held, delivered, NO_ACTIONS, NO_ACTIONS, last)
    both = held.index.intersection(delivered.index)
    old, new = held.loc[both].astype(float), delivered.loc[both].astype(float)
    scale = new["close"] / old["close"]
    if (
        whole
        and len(both) > 1
        and np.isclose(scale, scale.iloc[0], rtol=SAME_WITHIN).all()
        and overlap.revised.any()
    ):
        none = overlap.revised.iloc[:0]
        return replace(overlap, change=Change.RESPLIT, fits=True, fresh=delivered.index, revised=none)
    moved = ~np.isclose(new["adj_close"] / new["close"], old["adj_close"] / old["close"], rtol=SAME_WITHIN)
    moved &= ~both.isin(overlap.revised.index)
    if not overlap.fits or not moved.any():
        return overlap
    change = Change.REDIVIDEND if overlap.change is Change.SAME else overlap.change
    return replace(overlap, change=change, fresh=overlap.fresh.union(both[moved]))
