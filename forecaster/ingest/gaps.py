"""Sessions that a series lacks: noticed against the exchange's calendar, asked for again for a month."""

import pandas as pd

from forecaster.store import Store

ASKED_FOR = pd.Timedelta(days=30)
"""How long after it was noticed a missing session is asked for again."""

FACTOR = "factor:"
"""Stands before a factor's name where symbols are listed: somebody may follow ^VIX as a symbol, too."""


def note(store: Store, missing: dict[str, pd.Index], moment: pd.Timestamp) -> int:
    """Write down missing sessions that have not been noticed before; return how many."""
    rows = pd.DataFrame(
        [(symbol, session) for symbol, sessions in missing.items() for session in sessions],
        columns=["symbol", "session"],
    )
    if rows.empty:
        return 0
    noticed = store.rows("gaps", where={"symbol": list(missing)})
    new = rows.merge(noticed, on=["symbol", "session"], how="left")["found_at"].isna().to_numpy()
    return store.append("gaps", rows[new].assign(found_at=moment))


def standing(store: Store) -> pd.DataFrame:
    """List the noticed sessions that are still not stored: symbol, session, found_at."""
    noticed = store.current("gaps")
    if noticed.empty:
        return noticed
    key, days = ["symbol", "session"], noticed["session"].dt.date.unique()
    prices = store.rows("prices", where={"symbol": noticed["symbol"].unique(), "session": days})
    factors = store.rows("factors", where={"session": days})
    factors = factors.assign(symbol=FACTOR + factors["name"])
    stored = pd.MultiIndex.from_frame(pd.concat([prices[key], factors[key]]))
    keys = pd.MultiIndex.from_frame(noticed[key])
    return noticed[~keys.isin(stored)].reset_index(drop=True)


def still_asked_for(gaps: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Keep the gaps that are young enough to be asked for again."""
    return gaps[moment - gaps["found_at"] <= ASKED_FOR]
