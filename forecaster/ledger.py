"""The ledger of issued forecasts: append-only, never rewritten."""

import pandas as pd

from forecaster.decisions import CHAMPION, holder
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
    """Read the forecast that stands for each symbol.

    It is the one from its latest cutoff; of several from there the champion's, of several of the
    champion's the last one issued. A forecast is taken whole, never some steps of one and some of
    another.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, sorted by symbol and step; empty if none was issued.
    """
    rows = store.rows("forecasts", where=None if symbol is None else {"symbol": [symbol]})
    issue_of = ["symbol", "cutoff", "version", "issued_at"]
    issues = rows[issue_of].drop_duplicates()
    issues = issues.assign(is_champion=issues["version"] == holder(store, CHAMPION))
    issues = issues.sort_values(["cutoff", "is_champion", "issued_at"])
    standing = issues.drop_duplicates("symbol", keep="last")[issue_of]
    return rows.merge(standing, on=issue_of).sort_values(["symbol", "step"], ignore_index=True)
