"""How a source is asked: at a steady rate, again after a stumble, and not at all once it says stop."""

import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import pandas as pd

from forecaster.sources import Outcome

BURST = 3
"""Requests that may be sent at once after a pause."""

ATTEMPTS = 3
"""Times a symbol is asked for while the source stumbles."""

PATIENCE = 5
"""Symbols in a row that fail before the source counts as down."""


class Reply(Protocol):
    """What a source answered for one symbol."""

    @property
    def outcome(self) -> Outcome:
        """How it ended."""

    @property
    def detail(self) -> str:
        """One line for a person."""


R = TypeVar("R", bound=Reply)
R_co = TypeVar("R_co", bound=Reply, covariant=True)


class Asked(Protocol[R_co]):
    """Whoever is asked for symbols."""

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> R_co:
        """Answer for one symbol."""


class Pace:
    """A token bucket and a circuit breaker for all requests of one run.

    Parameters
    ----------
    per_second : float or None
        Requests a second in the long run; None: as fast as they can be answered.
    first_wait : float
        Seconds to wait at most before asking again after a stumble; doubles with each attempt.
    sleep, clock : callable
        Of the time module, unless a test has its own.
    """

    def __init__(
        self,
        per_second: float | None = None,
        first_wait: float = 2.0,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._first_wait = first_wait
        self._sleep = sleep
        self._clock = clock
        self._tokens = float(BURST)
        self._counted_at = clock()
        self._failed_in_a_row = 0
        self._stopped: tuple[Outcome, str] | None = None

    @property
    def stopped(self) -> tuple[Outcome, str] | None:
        """Why nothing more is asked: an outcome and a line for a person; None while the circuit is closed."""
        return self._stopped

    def fetch(self, source: Asked[R], symbol: str, start: pd.Timestamp | None = None, requests: int = 1) -> R:
        """Ask a source for a symbol when it is due, and again if it stumbles.

        Parameters
        ----------
        requests : int
            What one asking counts for, at most `BURST`.
        """
        for attempt in range(1, ATTEMPTS + 1):
            self._take_turns(requests)
            fetched = source.fetch(symbol, start)
            if fetched.outcome is not Outcome.TRANSIENT or attempt == ATTEMPTS:
                break
            # Full jitter: Brooker (2015), Exponential Backoff and Jitter, AWS Architecture Blog.
            self._sleep(random.uniform(0, self._first_wait * 2 ** (attempt - 1)))
        self._count(fetched)
        return fetched

    def _take_turns(self, count: int) -> None:
        if self._per_second is None:
            return
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._tokens < count:
            self._sleep((count - self._tokens) / self._per_second)
        # The bucket may stand below zero: what the sleep fills in is counted at the next turn.
        self._tokens -= count

    def _count(self, fetched: Reply) -> None:
        if fetched.outcome is Outcome.RATE_LIMITED:
            self._stopped = Outcome.RATE_LIMITED, fetched.detail
        self._failed_in_a_row = self._failed_in_a_row + 1 if fetched.outcome is Outcome.TRANSIENT else 0
        if self._failed_in_a_row == PATIENCE:
            said = f"not asked: {PATIENCE} symbols in a row failed, the last with: {fetched.detail}"
            self._stopped = Outcome.TRANSIENT, said
