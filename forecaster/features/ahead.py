"""What the calendar says ahead: it describes the sessions to be forecast."""

from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.sessions import all_sessions, calendar

NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "days_closed", "days_closed_after",
         "early_close", "month_end", "options_expiry")  # fmt: skip
"""Calendar inputs known ahead, one row per session of an exchange."""

BEYOND = pd.Timedelta(days=15)
"""How far holidays are listed beyond a calendar's last session, for the session that follows it."""


@lru_cache(maxsize=32)
def columns(exchange: str) -> np.ndarray:
    """Describe every session of an exchange's calendar by what is known long before it.

    Returns
    -------
    ndarray of shape (sessions, len(NAMES)), float32
        Weekday flags; logs of the calendar days since the session before and until the one after;
        and flags for an early close, the last session of a month and the monthly expiry of options
        (the third Friday, or the session before when it is a holiday).

    Notes
    -----
    All by the regular timetable: a closure that nobody planned (a storm, a mourning) leaves no trace
    in the days closed or the flags, though it moves the sessions after it to later weekdays.
    """
    timetable = calendar(exchange)
    days = pd.DatetimeIndex(all_sessions(exchange))
    regular = np.busdaycalendar(
        timetable.weekmask,
        timetable.regular_holidays.holidays(days[0], days[-1] + BEYOND).to_numpy(dtype="datetime64[D]"),
    )
    dates = days.to_numpy(dtype="datetime64[D]")
    before = np.busday_offset(dates, -1, roll="forward", busdaycal=regular)
    after = np.busday_offset(dates, 1, roll="backward", busdaycal=regular)
    unplanned = [day for _, some in timetable.special_closes_adhoc for day in some]
    early = days.isin(timetable.early_closes) & ~days.isin(pd.DatetimeIndex(unplanned))
    expiry = np.busday_offset(
        pd.date_range(days[0], days[-1], freq="WOM-3FRI").to_numpy(dtype="datetime64[D]"),
        0,
        roll="backward",
        busdaycal=regular,
    )
    flags = np.column_stack(
        [
            *(days.day_of_week == weekday for weekday in range(5)),
            np.log((dates - before).astype(int)),
            np.log((after - dates).astype(int)),
            early,
            after.astype("datetime64[M]") != dates.astype("datetime64[M]"),
            np.isin(dates, expiry),
        ]
    ).astype(np.float32)
    flags.setflags(write=False)
    return flags
