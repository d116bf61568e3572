"""Decisions about model versions: who holds which alias, with the verdict that it was given.

The table alone answers; nothing here opens the registry.
"""

import pandas as pd

from forecaster.store import Store

CHAMPION, CHALLENGER = "champion", "challenger"


def holder(store: Store, alias: str) -> str | None:
    """Return the version that holds an alias, or None."""
    rows = store.rows("decisions", where={"alias": [alias]})
    return None if rows.empty else str(rows.sort_values("decided_at")["version"].iloc[-1])


def verdict_on(store: Store, version: str) -> str:
    """Return the verdict that was written down when a version was last decided upon."""
    mine = store.rows("decisions", where={"version": [version]}).sort_values("decided_at")
    return str(mine["verdict"].iloc[-1])


def decisions(store: Store) -> pd.DataFrame:
    """Return every decision, oldest first."""
    return store.rows("decisions").sort_values("decided_at", ignore_index=True)
