"""Exogenous: what was known from outside the series: market, volatility index, rates, sector.

Factors reach a row only if they were known at its cutoff (backward merge on ``known_at``), so that what
comes out after the symbol's own market has closed counts a session later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from forecaster.errors import UsageError
from forecaster.features import sectors, volatility
from forecaster.features.bars import Bars, before
from forecaster.features.sectors import STALE_AFTER, Sectors, log_change

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
                f"No volatility index is known at {pd.Timestamp(shock.moment):%Y-%m-%d %H:%M} UTC: it "
                f"comes with prices from Yahoo alone; leave it out of the scenario"
            )
        level = known["value"].item()
        if not 0 < level + shock.volatility_index < np.inf:
            raise UsageError(
                f"The volatility index stands at {level:g}; {shock.volatility_index:+g} points leave nothing "
                f"of it, so name a smaller fall"
            )


Track = Mapping[str, np.ndarray]
"""Columns of one length, ``known_at`` (UTC, naive, ascending) among them."""


@dataclass(frozen=True)
class Surroundings:
    """Market-wide series, each with the moment at which a value was known.

    Attributes
    ----------
    moment : ndarray of datetime64[ns], (m,)
        UTC, ascending: when a bar of the universe, or the market index, was known.
    total, count : ndarray of float64, (m, 2)
        Sum and number of the universe's bars known at each moment: log return, and the log trading-hours
        range relative to a symbol's volatility before.
    market_index : ndarray of float64, (m,)
        Log return of the stored market index; NaN where there is none.
    volatility_index : Track
        level (annual volatility in per cent), change (of its logarithm); may be empty.
    rates : tuple of three Tracks
        change (in units of the volatility before) of the ten-year yield, and of that yield less
        the one of three months, and less the one of two years; each may be empty.
    sectors : Sectors
    members : int
        Symbols of the universe.
    shock : Shock or None
    """

    moment: np.ndarray
    total: np.ndarray
    count: np.ndarray
    market_index: np.ndarray
    volatility_index: Track
    rates: tuple[Track, Track, Track]
    sectors: Sectors
    members: int
    shock: Shock | None = None

    def seen_by(self, cutoffs: np.ndarray, without: Bars | None) -> dict[str, np.ndarray]:
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
        dict of ndarray, (n,)
            log_return of the market, return (the same in units of the volatility before), its
            volatility and long_volatility, and mean range; NaN where there is none of the last few days.
        """
        total, count, market = self.total, self.count, None
        if without is not None:
            place, own = np.searchsorted(self.moment, without.known_at), _moves(without)
            total, count = total.copy(), count.copy()
            total[place] -= _filled(own, 0.0)
            count[place] -= ~np.isnan(own)
            if (np.isnan(self.market_index[place]) & ~np.isnan(own[:, 0])).any():
                market = self._market(total, count)
        spread = _mean(total, count)[:, 1]
        known = ~np.isnan(spread)
        return {
            **_as_known(self._whole_market if market is None else market, cutoffs),
            **_as_known({"known_at": self.moment[known], "range": spread[known]}, cutoffs),
        }

    @cached_property
    def _whole_market(self) -> Track:
        return self._market(self.total, self.count)

    def _market(self, total: np.ndarray, count: np.ndarray) -> Track:
        log_return = _filled(self.market_index, _mean(total, count)[:, 0])
        if self.shock is not None:
            at = np.searchsorted(self.moment, self.shock.moment)
            log_return[at] = _filled(log_return[at], 0.0) + np.log1p(self.shock.market)
        known = ~np.isnan(log_return)
        moment, log_return = self.moment[known], log_return[known]
        sigma = volatility.ewma(log_return)
        return {
            "known_at": moment,
            "log_return": log_return,
            "return": log_return / before(sigma),
            "volatility": sigma,
            "long_volatility": volatility.ewma(log_return, volatility.LONG_DECAY),
        }


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
    index = _factor(factors, "market_index")
    beside = index["known_at"].to_numpy()
    place, moment = pd.factorize(np.concatenate([*(bars.known_at for bars in universe), beside]), sort=True)
    none = np.full((len(beside), 2), np.nan)
    moves = pd.DataFrame(np.vstack([*map(_moves, universe), none])).groupby(place)
    market_index = np.full(len(moment), np.nan)
    market_index[np.searchsorted(moment, index["known_at"])] = log_change(index["value"].to_numpy())
    ten = _yield(factors, "rate_10y")
    is_sector = factors["name"].str.startswith(sectors.PREFIX).to_numpy(dtype=bool)
    around = Surroundings(
        moment=moment,
        total=moves.sum().to_numpy(),
        count=moves.count().to_numpy(dtype=float),
        market_index=market_index,
        volatility_index=_track(_volatility_index(factors)),
        rates=(
            _change(ten),
            _change(ten - _yield(factors, "rate_3m")),
            _change(ten - _yield(factors, "rate_2y")),
        ),
        sectors=Sectors.of(
            {name: _factor(factors, name) for name in factors.loc[is_sector, "name"].unique()}
        ),
        members=len(universe),
    )
    return around if shock is None else shocked(around, factors, shock)


def shocked(around: Surroundings, factors: pd.DataFrame, shock: Shock) -> Surroundings:
    """Return the market-wide series as a shock leaves them.

    Parameters
    ----------
    around : Surroundings
        Built from the same factors.

    Raises
    ------
    UsageError
        If the shock has nothing to move; see `require_shockable`.
    """
    require_shockable(factors, shock)
    moved = around
    if shock.volatility_index:
        moved = replace(moved, volatility_index=_moved_index(_volatility_index(factors), shock))
    if not shock.market:
        return moved
    if around.members == 1 and _factor(factors, "market_index").empty:
        raise UsageError("One symbol alone has no market to move; bring others, or a market index")
    at = int(np.searchsorted(around.moment, shock.moment))
    if shock.moment not in around.moment:
        # No bar and no index was known just then: a moment of its own.
        moved = replace(
            moved,
            moment=np.insert(around.moment, at, shock.moment),
            total=np.insert(around.total, at, 0.0, axis=0),
            count=np.insert(around.count, at, 0.0, axis=0),
            market_index=np.insert(around.market_index, at, np.nan),
        )
    return replace(moved, shock=shock)


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
        _as_known(known, bars.known_at) for known in (around.volatility_index, *around.rates)
    )
    slope_change = _filled(slope["change"], other_slope["change"])
    rates_known = np.isfinite(ten["change"]) & np.isfinite(slope_change)
    known = np.isfinite(fear["change"])
    daily = fear["level"] / 100 / np.sqrt(252)
    own = bars.sigma_before
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(daily / own)
    drop, five = -market["return"], pd.Series(market["range"]).rolling(5, min_periods=5).mean()
    return np.column_stack(
        [
            _filled(market["return"], 0.0),
            np.where(drop >= 0, drop, 0.0),
            np.log(_filled(market["volatility"], own) / own),
            np.log(_filled(market["long_volatility"], own) / own),
            _filled(market["range"], 0.0),
            _filled(five.to_numpy(), 0.0),
            np.where(known, relative, 0.0),
            np.where(known, fear["change"], 0.0),
            known.astype(float),
            np.where(rates_known, ten["change"], 0.0),
            np.where(rates_known, slope_change, 0.0),
            rates_known.astype(float),
            around.sectors.columns(bars, market["log_return"]),
        ]
    )


def _moves(bars: Bars) -> np.ndarray:
    """Return and relative range of one symbol, (n, 2)."""
    return np.column_stack([bars.log_return, np.log(bars.spread / bars.sigma_before)])


def _filled(values: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    return np.where(np.isnan(values), other, values)


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _volatility_index(factors: pd.DataFrame) -> pd.DataFrame:
    rows = _factor(factors, "volatility_index")
    return pd.DataFrame(
        {"known_at": rows["known_at"], "level": rows["value"], "change": log_change(rows["value"].to_numpy())}
    )


def _moved_index(index: pd.DataFrame, shock: Shock) -> Track:
    last = _last_known(index, shock.moment)
    level = last["level"] + shock.volatility_index
    moved = last.assign(
        known_at=pd.Timestamp(shock.moment).as_unit("ns"),
        level=level,
        change=last["change"] + np.log(level / last["level"]),
    )
    return _track(pd.concat([index, moved]).sort_values("known_at", kind="stable"))


def _track(rows: pd.DataFrame) -> Track:
    return {str(name): column.to_numpy() for name, column in rows.items()}


def _yield(factors: pd.DataFrame, name: str) -> pd.Series:
    return _factor(factors, name).set_index("known_at")["value"]


def _change(levels: pd.Series) -> Track:
    """Change of a yield, or of a difference of two, in units of its volatility before."""
    known = levels.dropna()
    step = np.diff(known.to_numpy(), prepend=np.nan)
    return {"known_at": known.index.to_numpy(), "change": step / before(volatility.ewma(step))}


def _as_known(series: Track, cutoffs: np.ndarray) -> dict[str, np.ndarray]:
    """Give each column but ``known_at`` as last known at some moments; NaN if that was too long before."""
    known_at = series["known_at"]
    last = np.searchsorted(known_at, cutoffs, side="right")
    # The entry before the first stands for "none yet".
    age = cutoffs - np.append(np.datetime64("NaT", "ns"), known_at)[last]
    fresh = age <= STALE_AFTER.to_timedelta64()
    return {
        name: np.where(fresh, np.append(np.nan, column)[last], np.nan)
        for name, column in series.items()
        if name != "known_at"
    }


def _last_known(rows: pd.DataFrame, moment: np.datetime64) -> pd.DataFrame:
    """Return the last row known at a moment, or none if that was too long before."""
    age = pd.Timestamp(moment) - rows["known_at"]
    return rows[(age >= pd.Timedelta(0)) & (age <= STALE_AFTER)].tail(1)


def _factor(factors: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = factors[factors["name"] == name].sort_values(["known_at", "session"], ignore_index=True)
    moments = rows["known_at"].dt.tz_convert(None).astype("datetime64[ns]")
    return pd.DataFrame({"known_at": moments, "value": rows["value"].to_numpy(dtype=float)})
