"""Exogenous: what was known from outside the series: market, volatility index, calendar.

Market numbers reach a row only if they were known at its cutoff (backward merge on
``known_at``). The calendar is known ahead: it describes the sessions to be forecast.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.features import volatility
from forecaster.features.bars import Bars, before
from forecaster.sessions import all_sessions, calendar

NAMES = (
    "market_return",
    "market_drop",
    "market_volatility",
    "market_volatility_long",
    "market_range",
    "market_range_5",
    "volatility_index",
    "volatility_index_change",
    "volatility_index_known",
)

STALE_AFTER = pd.Timedelta(days=5)
"""A market or volatility index older than this counts as unknown."""

AHEAD_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "days_closed", "early_close",
               "month_end", "options_expiry")  # fmt: skip
"""Calendar inputs known ahead, one row per session of an exchange."""


@dataclass(frozen=True)
class Surroundings:
    """Market-wide series, each with the moment at which a value was known.

    Attributes
    ----------
    total, count : DataFrame
        Sum and number of the universe's bars known at a moment (index, UTC, naive, ascending):
        log_return, and range, the log trading-hours range relative to a symbol's volatility before.
    market_index : Series
        Log return of the stored market index by the moment it was known; may be empty.
    volatility_index : DataFrame
        known_at, level (annual volatility in per cent), change (of its logarithm); may be empty.
    """

    total: pd.DataFrame
    count: pd.DataFrame
    market_index: pd.Series
    volatility_index: pd.DataFrame

    def seen_by(self, cutoffs: np.ndarray, without: Bars | None) -> pd.DataFrame:
        """Give what was known of the market at some moments.

        The market's return is that of the factor ``market_index`` at the moments for which it is
        stored, else the mean over the bars known at the same moment (symbols of one exchange).

        Parameters
        ----------
        cutoffs : ndarray of datetime64, (n,)
            Ascending.
        without : Bars, optional
            A symbol of the universe that the means leave out, so that it is no witness of itself.

        Returns
        -------
        DataFrame of n rows
            return (in units of the volatility before), volatility and long_volatility of the
            market's return, and mean range; NaN where there is none of the last few days.
        """
        total, count = self.total, self.count
        if without is not None:
            own = _moves(without)
            total = total.sub(own.fillna(0.0), fill_value=0.0)
            count = count.sub(own.notna(), fill_value=0)
        mean = total / count.where(count > 0)
        log_return = self.market_index.combine_first(mean["log_return"]).dropna()
        sigma = volatility.ewma(log_return.to_numpy())
        market = pd.DataFrame(
            {
                "known_at": log_return.index,
                "return": log_return.to_numpy() / before(sigma),
                "volatility": sigma,
                "long_volatility": volatility.ewma(log_return.to_numpy(), volatility.LONG_DECAY),
            }
        )
        spread = mean["range"].dropna().reset_index()
        asked = pd.DataFrame({"known_at": cutoffs})
        for known in (market, spread):
            asked = pd.merge_asof(asked, known, on="known_at", tolerance=STALE_AFTER)
        return asked


def surroundings(universe: list[Bars], factors: pd.DataFrame) -> Surroundings:
    """Build the market-wide series from the universe's own bars and the stored factors."""
    moves = pd.concat([_moves(bars) for bars in universe]).groupby(level=0, sort=True)
    fear = _factor(factors, "volatility_index")
    return Surroundings(
        total=moves.sum(),
        count=moves.count(),
        market_index=_log_change(_factor(factors, "market_index").set_index("known_at")["value"]),
        volatility_index=pd.DataFrame(
            {"known_at": fear["known_at"], "level": fear["value"], "change": _log_change(fear["value"])}
        ),
    )


def columns(bars: Bars, around: Surroundings, inside: bool) -> np.ndarray:
    """Compute the group's inputs.

    Parameters
    ----------
    inside : bool
        Whether the symbol is one of the universe, and so has to be left out of its means.

    Returns
    -------
    ndarray of shape (n, len(NAMES))
        Market return in units of its volatility, and how far it is below zero; logarithms of market
        volatility, fast and slow, relative to the symbol's own volatility one session before; the
        mean over the universe of the log trading-hours range relative to each symbol's volatility
        before, for the session and over five; the logarithm of the volatility index (as a daily
        figure) relative to the symbol's own volatility, its change, and 1 where it is known, else 0
        beside zeros in its two columns. Where there is no market, because the symbol is alone in
        the universe, its columns are 0: no move, and a volatility like the symbol's own.
    """
    market = around.seen_by(bars.known_at, bars if inside else None)
    fear = pd.merge_asof(market[["known_at"]], around.volatility_index, on="known_at", tolerance=STALE_AFTER)
    known = fear["change"].notna().to_numpy()
    daily = fear["level"].to_numpy(dtype=float) / 100 / np.sqrt(252)
    own = bars.sigma_before
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(daily / own)
    return np.column_stack(
        [
            market["return"].fillna(0.0),
            (-market["return"]).clip(lower=0.0).fillna(0.0),
            np.log(market["volatility"].fillna(pd.Series(own)) / own),
            np.log(market["long_volatility"].fillna(pd.Series(own)) / own),
            market["range"].fillna(0.0),
            market["range"].rolling(5, min_periods=5).mean().fillna(0.0),
            np.where(known, relative, 0.0),
            np.where(known, fear["change"], 0.0),
            known.astype(float),
        ]
    )


@lru_cache(maxsize=32)
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
    flags = np.column_stack(
        [
            *(days.day_of_week == weekday for weekday in range(5)),
            np.log((dates - before).astype(int)),
            early,
            after.astype("datetime64[M]") != dates.astype("datetime64[M]"),
            np.isin(dates, expiry),
        ]
    ).astype(np.float32)
    flags.setflags(write=False)
    return flags


def _moves(bars: Bars) -> pd.DataFrame:
    """Return and relative range of one symbol by the moment at which they were known."""
    spread = volatility.garman_klass(bars.open, bars.high, bars.low, bars.close)
    return pd.DataFrame(
        {"log_return": bars.log_return, "range": np.log(spread / bars.sigma_before)},
        index=pd.DatetimeIndex(bars.known_at, name="known_at"),
    )


def _log_change(levels: pd.Series) -> pd.Series:
    return pd.Series(np.diff(np.log(levels.to_numpy(dtype=float)), prepend=np.nan), index=levels.index)


def _factor(factors: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = factors[factors["name"] == name].sort_values(["known_at", "session"], ignore_index=True)
    moments = rows["known_at"].dt.tz_convert(None).astype("datetime64[ns]")
    return pd.DataFrame({"known_at": moments, "value": rows["value"].to_numpy()})
