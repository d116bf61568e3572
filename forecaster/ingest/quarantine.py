"""Refused rows: kept with the reason, seen to go when a source mends them, or released by a person."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.errors import DataError
from forecaster.ingest.checks import NUMBERS
from forecaster.sessions import positions
from forecaster.store import Store

HELD, RELEASED, RESOLVED = "held", "released", "resolved"


def held(store: Store, symbols: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of the quarantine table that stand in quarantine now."""
    rows = store.current("quarantine", where=None if symbols is None else {"symbol": symbols})
    # Rows from before there was a status are held.
    return rows[rows["status"].fillna(HELD) == HELD].reset_index(drop=True)


def asked_for_again(store: Store, moment: pd.Timestamp, within: pd.Timedelta) -> pd.DataFrame:
    """Return the symbol and session of rows lately held or released.

    A source may have mended the former; with the latter come splits and dividends held back with them.
    """
    rows = store.current("quarantine")
    open_ = rows["status"].fillna(HELD).isin([HELD, RELEASED]) & (moment - rows["fetched_at"] <= within)
    return rows.loc[open_, ["symbol", "session"]]


def keep(
    store: Store,
    refused: pd.DataFrame,
    judged: dict[str, pd.Index],
    source: str,
    moment: pd.Timestamp,
) -> None:
    """Write down refused rows, once while the reason stays, and that the others are resolved.

    Parameters
    ----------
    refused : DataFrame
        symbol, session, prices, volume, reason.
    judged : dict
        Symbol -> sessions on which a reply had a say.
    """
    standing = held(store, list(judged))
    key = ["symbol", "session"]
    if len(refused):
        refused = refused.drop_duplicates(key, keep="last")
        known = store.current("quarantine", where={"symbol": list(judged)})
        # What a person has released is not held again for the same reason.
        known = known[known["status"].fillna(HELD) != RESOLVED]
        before = refused[key].merge(known[[*key, "reason"]], on=key, how="left")["reason"]
        new = refused[before.to_numpy() != refused["reason"].to_numpy()]
        store.append("quarantine", new.assign(source=source, fetched_at=moment, status=HELD))
    again = standing[key].merge(refused, on=key, how="left")["reason"].notna() if len(refused) else False
    said = [row["session"] in judged[row["symbol"]] for row in standing.to_dict("records")]
    mended = standing[np.array(said, dtype=bool) & ~np.asarray(again, dtype=bool)]
    store.append("quarantine", mended.assign(source=source, fetched_at=moment, status=RESOLVED))


def release(
    store: Store, symbol: str, sessions: Sequence[pd.Timestamp] | None, moment: pd.Timestamp
) -> pd.DataFrame:
    """Take rows out of quarantine into the prices, on the word of a person.

    Parameters
    ----------
    sessions : sequence of Timestamp, optional
        Default: every session of the symbol that is held.

    Returns
    -------
    DataFrame
        The released rows.

    Raises
    ------
    DataError
        If there is no such row, or if it has no price to be stored.
    """
    rows = held(store, [symbol])
    if sessions is not None:
        absent = [str(day.date()) for day in sessions if day not in set(rows["session"])]
        if absent:
            raise DataError(f"{symbol}: {', '.join(absent)} not in quarantine; see quarantine list {symbol}")
        rows = rows[rows["session"].isin(sessions)]
    if rows.empty:
        raise DataError(f"{symbol}: nothing in quarantine; see quarantine list")
    instrument = store.current("instruments", where={"symbol": [symbol]})
    values = rows[NUMBERS].to_numpy(dtype=float)
    usable = np.isfinite(values).all(axis=1) & (values[:, :-1] > 0).all(axis=1) & (values[:, -1] >= 0)
    for exchange in instrument["exchange"]:
        usable &= positions(exchange, rows["session"].to_numpy()) >= 0
    for row in rows[~usable | instrument.empty].head(1).itertuples():
        raise DataError(
            f"{symbol} {row.session.date()} cannot be released: {row.reason}. It is asked for again with "
            f"each update for a month"
        )
    key = ["symbol", "session"]
    stored = store.current("prices", where={"symbol": [symbol], "session": rows["session"].dt.date})
    before = rows[key].merge(stored[[*key, *NUMBERS]], on=key, how="left")[NUMBERS].to_numpy(dtype=float)
    new = rows[(before != values).any(axis=1)]
    currency = instrument["currency"].iloc[0]
    prices = new[[*key, *NUMBERS, "source", "tells_actions"]].assign(currency=currency, fetched_at=moment)
    store.append("prices", prices)
    store.append("quarantine", rows.assign(fetched_at=moment, status=RELEASED))
    return rows
