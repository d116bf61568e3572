"""What whoever looks at the pages may change. Each action refuses by itself where `access` does."""

from collections.abc import Sequence
from contextlib import suppress

from forecaster import jobs
from forecaster.dashboard import access, reads
from forecaster.errors import Denied, UsageError


def start(*words: str) -> str:
    """Start a command as a job and return its id.

    Raises
    ------
    Denied
        As every function here.
    """
    _require_allowed()
    return jobs.start(reads.settings().home, list(words))


def cancel(job_id: str) -> None:
    """End a job; one that has just ended by itself is as good."""
    _require_allowed()
    with suppress(UsageError):
        jobs.cancel(reads.settings().home, job_id)


def unwatch(symbols: Sequence[str]) -> None:
    """Take symbols off the watchlist; their prices and forecasts stay stored."""
    _require_allowed()
    # Late: it brings the registry's rules, which no page needs to start.
    from forecaster.workspace import Workspace

    Workspace(settings=reads.settings()).watch(symbols, watched=False)


def _require_allowed() -> None:
    reason = access.denied()
    if reason is not None:
        raise Denied(reason)
