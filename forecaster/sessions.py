"""Exchange sessions: the only unit in which this package counts time.

Calendars come from exchange_calendars. A session is labelled by its local date, as a
``datetime64[ns]`` without time zone; a close is a UTC timestamp.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
from exchange_calendars import ExchangeCalendar, get_calendar
from exchange_calendars.errors import InvalidCalendarName

from forecaster.errors import UsageError

FIRST_SESSION = "1985-01-01"


@lru_cache(maxsize=32)
def calendar(exchange: str) -> ExchangeCalendar:
    """Return the calendar of a market identifier code, from 1985 to a year from today.

    Raises
    ------
    UsageError
        If there is no such calendar.
    """
    try:
        # Made once where that can be: it takes a tenth of a second.
        return get_calendar(exchange, start=FIRST_SESSION)
    except ValueError:
        return get_calendar(exchange, start=max(FIRST_SESSION, _earliest(exchange)))
    except InvalidCalendarName as error:
        raise UsageError(
            f"No calendar for exchange {exchange!r}; expected a market identifier code "
            f"such as XNYS, XNAS, XLON, XETR or XTKS"
        ) from error


def _earliest(exchange: str) -> str:
    bound = get_calendar(exchange).bound_min()
    return FIRST_SESSION if bound is None else str(bound.date())


def all_sessions(exchange: str) -> np.ndarray:
    """Every session of the calendar, ``datetime64[ns]``, ascending."""
    return calendar(exchange).sessions.to_numpy(dtype="datetime64[ns]")


def positions(exchange: str, sessions: np.ndarray) -> np.ndarray:
    """Position of each session in the calendar, or -1 for a date that is none.

    Differences of positions count sessions, across weekends and holidays.
    """
    known = all_sessions(exchange)
    wanted = np.asarray(sessions, dtype="datetime64[ns]")
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[found] == wanted, found, -1)


def closes(exchange: str, sessions: np.ndarray) -> np.ndarray:
    """Official close of each session in UTC, as naive ``datetime64[ns]``: when its bar is known."""
    moments = calendar(exchange).closes.to_numpy(dtype="datetime64[ns]")
    return moments[positions(exchange, sessions)]


def opens(exchange: str, sessions: np.ndarray) -> np.ndarray:
    """Official open of each session in UTC, as naive ``datetime64[ns]``."""
    moments = calendar(exchange).opens.to_numpy(dtype="datetime64[ns]")
    return moments[positions(exchange, sessions)]


def first_closing_after(exchange: str, moments: np.ndarray) -> np.ndarray:
    """Position of the first session whose close is later than each moment (UTC, ``datetime64``).

    The session that a fact known at that moment can move: what is known at the very close, or after
    it, belongs to the next session.
    """
    ends = calendar(exchange).closes.to_numpy(dtype="datetime64[ns]")
    return np.searchsorted(ends, np.asarray(moments, dtype="datetime64[ns]"), side="right")


def next_sessions(exchange: str, after: pd.Timestamp, count: int) -> np.ndarray:
    """Return the `count` sessions that follow `after`.

    Raises
    ------
    UsageError
        If the calendar ends before.
    """
    known = all_sessions(exchange)
    first = int(np.searchsorted(known, np.datetime64(after, "ns"), side="right"))
    if first + count > len(known):
        raise UsageError(
            f"The calendar of {exchange} ends on {pd.Timestamp(known[-1]).date()}, "
            f"less than {count} sessions after {after.date()}"
        )
    return known[first : first + count]


def last_complete(exchange: str, now: pd.Timestamp, delay_minutes: int) -> pd.Timestamp:
    """Return the last session whose close lies at least `delay_minutes` before `now` (UTC)."""
    moments = calendar(exchange).closes.to_numpy(dtype="datetime64[ns]")
    limit = now.tz_convert("UTC").tz_localize(None) - pd.Timedelta(minutes=delay_minutes)
    complete = int(np.searchsorted(moments, limit.to_datetime64(), side="right"))
    if complete == 0:
        raise UsageError(f"{now} lies before the calendar of {exchange} begins; is the clock right?")
    return pd.Timestamp(all_sessions(exchange)[complete - 1])
