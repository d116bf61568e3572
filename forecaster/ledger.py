"""The ledger of issued forecasts: append-only, never rewritten."""

import pandas as pd

from forecaster.store import Store
from forecaster.tables import table


def issue(store: Store, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Write forecasts down, unless the same model version has issued them before.

    Parameters
    ----------
    forecasts : DataFrame
        Columns of the forecasts table.

    Returns
    -------
    DataFrame
        The rows written.
    """
    key = list(table("forecasts").key)
    issued = store.rows("forecasts", where={"symbol": forecasts["symbol"].unique()})
    known = pd.MultiIndex.from_frame(issued[key])
    fresh = forecasts[~pd.MultiIndex.from_frame(forecasts[key]).isin(known)]
    store.append("forecasts", fresh)
    return fresh


def latest(store: Store, symbol: str | None = None) -> pd.DataFrame:
    """Read the forecast last issued for each symbol, from its latest cutoff.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, sorted by symbol and step; empty if none was issued.
    """
    rows = store.rows("forecasts", where=None if symbol is None else {"symbol": [symbol]})
    newest = rows.groupby("symbol")["cutoff"].transform("max")
    rows = rows[rows["cutoff"] == newest].sort_values("issued_at", kind="stable")
    return rows.drop_duplicates(["symbol", "step"], keep="last").sort_values(
        ["symbol", "step"], ignore_index=True
    )
