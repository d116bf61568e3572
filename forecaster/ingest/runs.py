"""Every run of an update: when it began, how it ended, and where a broken one is to go on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from forecaster.sources import Outcome
from forecaster.store import Store

RUNNING, DONE, STOPPED = "running", "done", "stopped"


@dataclass(frozen=True)
class Run:
    """A run that has begun.

    Attributes
    ----------
    started_at : Timestamp
    begun_at : Timestamp
        Start of the first of the broken runs that this one continues, or its own.
    source, scope : str
        Name of the source; a short name for the set of symbols.
    symbols : int
    """

    started_at: pd.Timestamp
    begun_at: pd.Timestamp
    source: str
    scope: str
    symbols: int

    def close(
        self, store: Store, report: pd.DataFrame, status: str, detail: str, moment: pd.Timestamp
    ) -> None:
        """Write down how it ended."""
        ok = int((report["outcome"] == Outcome.OK).sum())
        rows = int(report["rows"].sum())
        _write(store, self, status, ok, len(report) - ok, rows, detail, moment)


def begin(store: Store, source: str, symbols: Sequence[str], moment: pd.Timestamp) -> Run:
    """Write down that a run begins, and find out whether it continues a broken one.

    A run is broken if it was stopped by its source or if its process ended without a word; the next
    one from the same source for the same symbols goes on with it.
    """
    scope = hashlib.sha256(" ".join(sorted(symbols)).encode()).hexdigest()[:12]
    earlier = store.current("runs")
    earlier = earlier[(earlier["source"] == source) & (earlier["scope"] == scope)]
    broken = len(earlier) > 0 and earlier["status"].iloc[-1] != DONE
    run = Run(moment, earlier["begun_at"].iloc[-1] if broken else moment, source, scope, len(symbols))
    _write(store, run, RUNNING, 0, 0, 0, "", moment)
    return run


def done_before(store: Store, run: Run) -> pd.Series:
    """Say which symbols the broken runs had brought, and when: symbol -> moment."""
    rows = store.rows("updates")
    rows = rows[(rows["started_at"] >= run.begun_at) & (rows["started_at"] < run.started_at)]
    rows = rows[(rows["source"] == run.source) & (rows["outcome"] == Outcome.OK)]
    return rows.groupby("symbol")["recorded_at"].max()


def latest(store: Store) -> pd.DataFrame:
    """Return the runs, newest first."""
    return store.current("runs").iloc[::-1].reset_index(drop=True)


def _write(
    store: Store, run: Run, status: str, ok: int, failed: int, rows: int, detail: str, moment: pd.Timestamp
) -> None:
    store.append(
        "runs",
        pd.DataFrame(
            {
                "started_at": [run.started_at],
                "begun_at": run.begun_at,
                "source": run.source,
                "scope": run.scope,
                "status": status,
                "symbols": run.symbols,
                "ok": ok,
                "failed": failed,
                "rows": rows,
                "detail": detail,
                "recorded_at": moment,
            }
        ),
    )
