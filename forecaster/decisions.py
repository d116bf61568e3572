"""Decisions about model versions: who holds which alias, or was refused it, with verdict and evidence.

The table alone answers; nothing here opens the registry.
"""

import json
from typing import Any

import pandas as pd

from forecaster.errors import UsageError
from forecaster.store import Store

CHAMPION, CHALLENGER, REFUSED = "champion", "challenger", "refused"


def holder(store: Store, alias: str) -> str | None:
    """Return the version that holds an alias, or None."""
    rows = store.rows("decisions", where={"alias": [alias]})
    return None if rows.empty else str(rows.sort_values("decided_at")["version"].iloc[-1])


def predecessor(rows: pd.DataFrame) -> str | None:
    """Return the version that was champion before the present one; None if there was none.

    Parameters
    ----------
    rows : DataFrame
        Every decision, oldest first; see `decisions`.
    """
    champions = rows.loc[rows["alias"] == CHAMPION, "version"].tolist()
    before = champions[: champions.index(champions[-1])] if champions else []
    return str(before[-1]) if before else None


def verdict_on(store: Store, version: str) -> str:
    """Return the verdict that was written down when a version was last decided upon."""
    mine = store.rows("decisions", where={"version": [version]}).sort_values("decided_at")
    return str(mine["verdict"].iloc[-1])


def decisions(store: Store) -> pd.DataFrame:
    """Return every decision, oldest first."""
    return store.rows("decisions").sort_values("decided_at", ignore_index=True)


def evidence_of(told: object) -> dict[str, Any]:
    """Read the evidence of a decision; empty where an earlier program wrote none."""
    return json.loads(told) if isinstance(told, str) else {}


def card_of(store: Store, version: str) -> str:
    """Return a version's card as JSON text.

    Raises
    ------
    UsageError
        For an unknown version; lists the known ones.
    """
    rows = store.rows("decisions")
    mine = rows[rows["version"] == version]
    if mine.empty:
        known = ", ".join(sorted(rows["version"].unique(), key=int)) or "none"
        raise UsageError(f"No model version {version!r}; choose one of: {known}")
    return str(mine["card"].iloc[0])


def trained_until(store: Store, version: str) -> pd.Timestamp:
    """Return the last session whose data a version has seen."""
    return pd.Timestamp(json.loads(card_of(store, version))["trained_until"])


def recipe_hash(store: Store, version: str) -> str:
    """Return the hash of a version's recipe, as its forecasts carry it."""
    return str(json.loads(card_of(store, version))["recipe_hash"])
