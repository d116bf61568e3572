"""What leak checks and ablations of a workspace found, kept in its store run by run."""

from typing import TYPE_CHECKING

import pandas as pd

from forecaster.store import Store

if TYPE_CHECKING:
    from forecaster.benchmark import Benchmark
    from forecaster.config import Recipe
    from forecaster.evaluation.leakage import LeakReport
    from forecaster.history import History


def keep_leakcheck(
    store: Store, report: "LeakReport", recipe: "Recipe", history: "History", moment: pd.Timestamp
) -> None:
    """Write down a leak check of a recipe on the stored history.

    Parameters
    ----------
    moment : Timestamp
        Now, in UTC.
    """
    about = {
        "checked_at": moment,
        "networks": ",".join(recipe.cells),
        "groups": ",".join(recipe.groups),
        "fingerprint": history.fingerprint,
        "as_of": history.as_of,
        "symbols": len(history.symbols),
    }
    rows = [
        about
        | {
            "subject": check.what,
            "columns": check.features,
            "cutoffs": check.cutoffs,
            "values": check.cells,
            "passed": check.leak is None,
            "leak": "" if check.leak is None else check.leak.message,
            "note": check.note,
        }
        for check in report.checks
    ]
    store.append("leakchecks", pd.DataFrame(rows))


def last_leakcheck(store: Store) -> pd.DataFrame:
    """Return the last leak check, one row per subject in the order of checking; empty if there was none."""
    return _last(store, "leakchecks", "checked_at")


def keep_ablation(store: Store, result: "Benchmark", moment: pd.Timestamp) -> None:
    """Write down the ablation of a backtest of the stored history, if it has one.

    Parameters
    ----------
    moment : Timestamp
        Now, in UTC.
    """
    if result.ablation is None:
        return
    about = result.about
    rows = result.ablation.changes.assign(
        recorded_at=moment,
        recipe_hash=about["recipe_hash"],
        fingerprint=about["fingerprint"],
        quick=about["quick"],
        symbols=len(about["symbols"]),
        first_cutoff=pd.Timestamp(about["test_start"]),
        last_cutoff=pd.Timestamp(about["test_end"]),
    )
    store.append("ablations", rows)


def last_ablation(store: Store) -> pd.DataFrame:
    """Return the last ablation, rows as `Ablation.changes`; empty if there was none."""
    return _last(store, "ablations", "recorded_at")


def _last(store: Store, table: str, recorded: str) -> pd.DataFrame:
    rows = store.rows(table)
    return rows[rows[recorded] == rows[recorded].max()].reset_index(drop=True)
