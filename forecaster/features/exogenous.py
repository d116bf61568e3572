"""Exogenous: what was known from outside the series: market, volatility index, calendar.

Market numbers reach a row only if they were known at its cutoff (backward merge on
``known_at``). The calendar is known ahead: it describes the sessions to be forecast.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.features import volatility
from forecaster.features.bars import Bars, before
from forecaster.sessions import all_sessions, calendar

NAMES = (
    "market_return",
    "market_volatility",
    "market_range",
    "volatility_index",
    "volatility_index_change",
    "volatility_index_known",
)

STALE_AFTER = pd.Timedelta(days=5)
"""A volatility index older than this counts as unknown."""

AHEAD_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "days_closed", "early_close",
               "month_end", "options_expiry")  # fmt: skip
"""Calendar inputs known ahead, one row per session of an exchange."""


@dataclass(frozen=True)
class Surroundings:
    """Market-wide series, each with the moment at which a value was known.

    Attributes
    ----------
    market : DataFrame
        known_at (UTC, naive, ascending), market_return (in units of its EWMA volatility before),
        market_sigma.
    cross_section : DataFrame
        known_at, market_range: mean over the universe of the log trading-hours range relative to
        each symbol's volatility before.
    volatility_index : DataFrame
        known_at, level (annual volatility in per cent), change (of its logarithm); may be empty.
    """

    market: pd.DataFrame
    cross_section: pd.DataFrame
    volatility_index: pd.DataFrame


def surroundings(universe: list[Bars], factors: pd.DataFrame) -> Surroundings:
    """Build the market-wide series from the universe's own bars and the stored factors.

    The market's return is that of the factor ``market_index`` at the moments for which it is
    stored, else the mean over the bars known at the same moment (symbols of one exchange).
    """
    long = pd.DataFrame(
        {
            "known_at": np.concatenate([bars.known_at for bars in universe]),
            "log_return": np.concatenate([bars.log_return for bars in universe]),
            "range": np.concatenate(
                [
                    np.log(
                        volatility.garman_klass(bars.open, bars.high, bars.low, bars.close)
                        / bars.sigma_before
                    )
                    for bars in universe
                ]
            ),
        }
    )
    cross = long.groupby("known_at", sort=True).mean()
    index = _factor(factors, "market_index").set_index("known_at")["value"]
    log_return = _log_change(index).combine_first(cross["log_return"])
    sigma = volatility.ewma(log_return.to_numpy())
    market = pd.DataFrame(
        {
            "known_at": log_return.index,
            "market_return": log_return.to_numpy() / before(sigma),
            "market_sigma": sigma,
        }
    )
    fear = _factor(factors, "volatility_index")
    return Surroundings(
        market=market,
        cross_section=cross["range"].rename("market_range").reset_index(),
        volatility_index=pd.DataFrame(
            {"known_at": fear["known_at"], "level": fear["value"], "change": _log_change(fear["value"])}
        ),
    )


def columns(bars: Bars, around: Surroundings) -> np.ndarray:
    """Compute the group's inputs.

    Returns
    -------
    ndarray of shape (n, len(NAMES))
        Market return in units of its volatility; logarithms of market volatility, of the
        volatility index (as a daily figure) relative to the symbol's own volatility one session
        before; the index's change; and 1 where the index is known, else 0 beside zeros in its two columns.
    """
    cutoff = pd.DataFrame({"known_at": bars.known_at})
    market = pd.merge_asof(cutoff, around.market, on="known_at")
    cross_section = pd.merge_asof(cutoff, around.cross_section, on="known_at")
    fear = pd.merge_asof(cutoff, around.volatility_index, on="known_at", tolerance=STALE_AFTER)
    known = fear["change"].notna().to_numpy()
    daily = fear["level"].to_numpy(dtype=float) / 100 / np.sqrt(252)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(daily / bars.sigma_before)
    return np.column_stack(
        [
            market["market_return"],
            np.log(market["market_sigma"] / bars.sigma_before),
            cross_section["market_range"],
            np.where(known, relative, 0.0),
            np.where(known, fear["change"], 0.0),
            known.astype(float),
        ]
    )


def ahead(exchange: str) -> np.ndarray:
    """Describe every session of an exchange's calendar by what is known long before it.

    Returns
    -------
    ndarray of shape (sessions, len(AHEAD_NAMES)), float32
        Weekday flags; log of the calendar days since the session before; and flags for an early
        close, the last session of a month and the monthly expiry of options (the third Friday, or
        the session before when it is a holiday).

    Notes
    -----
    All by the regular timetable: a closure that nobody planned (a storm, a mourning) leaves no trace
    in the days closed or the flags, though it moves the sessions after it to later weekdays.
    """
    timetable = calendar(exchange)
    days = pd.DatetimeIndex(all_sessions(exchange))
    regular = np.busdaycalendar(
        timetable.weekmask,
        timetable.regular_holidays.holidays(days[0], days[-1]).to_numpy(dtype="datetime64[D]"),
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
    return np.column_stack(
        [
            *(days.day_of_week == weekday for weekday in range(5)),
            np.log((dates - before).astype(int)),
            early,
            after.astype("datetime64[M]") != dates.astype("datetime64[M]"),
            np.isin(dates, expiry),
        ]
    ).astype(np.float32)


def _log_change(levels: pd.Series) -> pd.Series:
    return pd.Series(np.diff(np.log(levels.to_numpy(dtype=float)), prepend=np.nan), index=levels.index)


def _factor(factors: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = factors[factors["name"] == name].sort_values("known_at", ignore_index=True)
    moments = rows["known_at"].dt.tz_convert(None).astype("datetime64[ns]")
    return pd.DataFrame({"known_at": moments, "value": rows["value"].to_numpy()})
