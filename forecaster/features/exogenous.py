"""Exogenous: what was known from outside the series: market, volatility index, rates, sector, calendar.

Factors reach a row only if they were known at its cutoff (backward merge on ``known_at``), so that what
comes out after the symbol's own market has closed counts a session later. The calendar is known ahead:
it describes the sessions to be forecast.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from forecaster.errors import UsageError
from forecaster.features import sectors, volatility
from forecaster.features.bars import Bars, before
from forecaster.features.sectors import STALE_AFTER, Sectors, log_change
from forecaster.sessions import all_sessions, calendar

FACTORS = ("market_index", "volatility_index", "rate_10y", "rate_3m", "rate_2y")
"""Market-wide factors that are read, beside those that begin with `sectors.PREFIX`. The first two are
levels; rates are yields in per cent, that of two years stands in where there is none of three months.

The term slope counts by its changes: as a level it follows the business cycle, of which a few years of
training see too little. On 31 large US shares, 2005-2014, it cost HARX .0010 nats at one session ahead."""

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
    "rate_change",
    "term_slope_change",
    "rates_known",
    *sectors.NAMES,
)

AHEAD_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "days_closed", "days_closed_after",
               "early_close", "month_end", "options_expiry")  # fmt: skip
"""Calendar inputs known ahead, one row per session of an exchange."""

BEYOND = pd.Timedelta(days=15)
"""How far holidays are listed beyond a calendar's last session, for the session that follows it."""


@dataclass(frozen=True)
class Shock:
    """A made-up move of the market at one cutoff, for a scenario.

    Attributes
    ----------
    moment : datetime64
        UTC: the close of the cutoff session.
    market : float
        Simple return that comes on top of the market's own, such as -0.03.
    volatility_index : float
        Points that come on top of the volatility index as it was known, such as 10.
    """

    moment: np.datetime64
    market: float = 0.0
    volatility_index: float = 0.0


def require_shockable(factors: pd.DataFrame, shock: Shock) -> None:
    """Check that a shock has something to move.

    Raises
    ------
    UsageError
        If the market would lose all its worth, or the volatility index is unknown at that moment or
        would fall to zero.
    """
    if not -1 < shock.market < np.inf:
        raise UsageError(f"A market's return lies above -1, such as -0.03 for -3 %; got {shock.market:g}")
    if shock.volatility_index:
        known = _last_known(_factor(factors, "volatility_index"), shock.moment)
        if known.empty:
            raise UsageError(
                f"No volatility index is known at {pd.Timestamp(shock.moment):%Y-%m-%d %H:%M} UTC; bring it "
                f"with: python -m forecaster update, or leave it out of the scenario"
            )
        level = known["value"].item()
        if not 0 < level + shock.volatility_index < np.inf:
            raise UsageError(
                f"The volatility index stands at {level:g}; {shock.volatility_index:+g} points leave nothing "
                f"of it, so name a smaller fall"
            )


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
    rates : tuple of three DataFrames
        known_at, change (in units of the volatility before) of the ten-year yield, and of that yield less
        the one of three months, and less the one of two years; each may be empty.
    sectors : Sectors
    shock : Shock or None
    """

    total: pd.DataFrame
    count: pd.DataFrame
    market_index: pd.Series
    volatility_index: pd.DataFrame
    rates: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
    sectors: Sectors
    shock: Shock | None

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
            log_return of the market, return (the same in units of the volatility before), its
            volatility and long_volatility, and mean range; NaN where there is none of the last few days.
        """
        total, count = self.total, self.count
        if without is not None:
            own = _moves(without)
            total = total.sub(own.fillna(0.0), fill_value=0.0)
            count = count.sub(own.notna().astype(float), fill_value=0.0)
        mean = total / count.where(count > 0)
        log_return = self.market_index.combine_first(mean["log_return"]).dropna()
        if self.shock is not None:
            moment = pd.DatetimeIndex([self.shock.moment]).as_unit("ns")
            log_return = log_return.add(pd.Series(np.log1p(self.shock.market), moment), fill_value=0.0)
        sigma = volatility.ewma(log_return.to_numpy())
        market = pd.DataFrame(
            {
                "known_at": log_return.index,
                "log_return": log_return.to_numpy(),
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


def surroundings(universe: list[Bars], factors: pd.DataFrame, shock: Shock | None = None) -> Surroundings:
    """Build the market-wide series from the universe's own bars and the stored factors.

    Parameters
    ----------
    shock : Shock, optional
        Moves what is known at its moment; what was known before stays, to the bit.

    Raises
    ------
    UsageError
        If a shock has nothing to move; see `require_shockable`.
    """
    moves = pd.concat([_moves(bars) for bars in universe]).groupby(level=0, sort=True)
    market_index = _factor(factors, "market_index").set_index("known_at")["value"]
    if shock is not None:
        require_shockable(factors, shock)
        if shock.market and market_index.empty and len(universe) == 1:
            raise UsageError("One symbol alone has no market to move; bring others, or a market index")
    ten = _yield(factors, "rate_10y")
    is_sector = factors["name"].str.startswith(sectors.PREFIX).to_numpy(dtype=bool)
    return Surroundings(
        total=moves.sum(),
        count=moves.count(),
        market_index=pd.Series(log_change(market_index.to_numpy()), index=market_index.index),
        volatility_index=_volatility_index(factors, shock),
        rates=(
            _change(ten),
            _change(ten - _yield(factors, "rate_3m")),
            _change(ten - _yield(factors, "rate_2y")),
        ),
        sectors=Sectors.of(
            {name: _factor(factors, name) for name in factors.loc[is_sector, "name"].unique()}
        ),
        shock=shock if shock is not None and shock.market else None,
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
        beside zeros in its two columns; the changes of the ten-year yield and of the term slope (that
        yield less a short one), each in units of its volatility before, and 1 where both are known,
        else zeros; the symbol's sector, see `sectors.Sectors.columns`. Where there is no market, because
        the symbol is alone in the universe, its columns are 0: no move, and a volatility like its own.
    """
    market = around.seen_by(bars.known_at, bars if inside else None)
    fear, ten, slope, other_slope = (
        pd.merge_asof(market[["known_at"]], known, on="known_at", tolerance=STALE_AFTER)
        for known in (around.volatility_index, *around.rates)
    )
    slope_change = slope["change"].fillna(other_slope["change"])
    rates_known = np.isfinite(ten["change"]) & np.isfinite(slope_change)
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
            np.where(rates_known, ten["change"], 0.0),
            np.where(rates_known, slope_change, 0.0),
            rates_known.astype(float),
            around.sectors.columns(bars, market["log_return"].to_numpy()),
        ]
    )


@lru_cache(maxsize=32)
def ahead(exchange: str) -> np.ndarray:
    """Describe every session of an exchange's calendar by what is known long before it.

    Returns
    -------
    ndarray of shape (sessions, len(AHEAD_NAMES)), float32
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


def _moves(bars: Bars) -> pd.DataFrame:
    """Return and relative range of one symbol by the moment at which they were known."""
    spread = volatility.garman_klass(bars.open, bars.high, bars.low, bars.close)
    return pd.DataFrame(
        {"log_return": bars.log_return, "range": np.log(spread / bars.sigma_before)},
        index=pd.DatetimeIndex(bars.known_at, name="known_at"),
    )


def _volatility_index(factors: pd.DataFrame, shock: Shock | None) -> pd.DataFrame:
    rows = _factor(factors, "volatility_index")
    index = pd.DataFrame(
        {"known_at": rows["known_at"], "level": rows["value"], "change": log_change(rows["value"].to_numpy())}
    )
    if shock is None or not shock.volatility_index:
        return index
    last = _last_known(index, shock.moment)
    level = last["level"] + shock.volatility_index
    moved = last.assign(
        known_at=pd.Timestamp(shock.moment).as_unit("ns"),
        level=level,
        change=last["change"] + np.log(level / last["level"]),
    )
    return pd.concat([index, moved]).sort_values("known_at", kind="stable", ignore_index=True)


def _yield(factors: pd.DataFrame, name: str) -> pd.Series:
    return _factor(factors, name).set_index("known_at")["value"]


def _change(levels: pd.Series) -> pd.DataFrame:
    """Change of a yield, or of a difference of two, in units of its volatility before."""
    known = levels.dropna()
    step = np.diff(known.to_numpy(), prepend=np.nan)
    return pd.DataFrame({"known_at": known.index, "change": step / before(volatility.ewma(step))})


def _last_known(rows: pd.DataFrame, moment: np.datetime64) -> pd.DataFrame:
    """Return the last row known at a moment, or none if that was too long before."""
    age = pd.Timestamp(moment) - rows["known_at"]
    return rows[(age >= pd.Timedelta(0)) & (age <= STALE_AFTER)].tail(1)


def _factor(factors: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = factors[factors["name"] == name].sort_values(["known_at", "session"], ignore_index=True)
    moments = rows["known_at"].dt.tz_convert(None).astype("datetime64[ns]")
    return pd.DataFrame({"known_at": moments, "value": rows["value"].to_numpy(dtype=float)})
