"""Sectors: which index a symbol goes with, and what is known of it, against plain loops."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.features import sectors
from forecaster.features.bars import Bars, before
from forecaster.features.sectors import FEWEST, SPAN, Sectors
from forecaster.features.volatility import ewma
from forecaster.sessions import all_sessions, closes

ROWS = 420
RETURN, VOLATILITY, KNOWN = range(len(sectors.NAMES))


def days(count: int = ROWS, exchange: str = "XNYS") -> np.ndarray:
    sessions = all_sessions(exchange)
    first = np.searchsorted(sessions, np.datetime64("2022-01-03"))
    return sessions[first : first + count]


def share(log_return: np.ndarray, exchange: str = "XNYS") -> Bars:
    session = days(len(log_return), exchange)
    close = 100 * np.exp(np.nancumsum(log_return))
    return Bars.of(
        pd.DataFrame(
            {"session": session, "open": close, "high": close, "low": close, "close": close, "volume": 1.0,
             "split": 1.0, "dividend": 0.0}
        ),
        exchange,
    )  # fmt: skip


def index(log_return: np.ndarray, late: str = "0min") -> pd.DataFrame:
    """Levels by when they are known, an hour and more after New York's close where that is asked for."""
    known_at = pd.DatetimeIndex(closes("XNYS", days(len(log_return)))) + pd.Timedelta(late)
    return pd.DataFrame({"known_at": known_at, "value": 50 * np.exp(np.cumsum(log_return))})


def world(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A share that goes with the first sector for 250 rows, then with the second, beyond the market."""
    random = np.random.default_rng(seed)
    market, own = random.normal(0, 0.01, rows), random.normal(0, 0.004, rows)
    beyond = {name: random.normal(0, 0.006, rows) for name in ("sector_a", "sector_b", "sector_c")}
    follows = np.where(np.arange(rows) < 250, beyond["sector_a"], beyond["sector_b"])
    return market + follows + own, market, {name: market + part for name, part in beyond.items()}


def chosen(share_return: np.ndarray, market: np.ndarray, sector: dict[str, np.ndarray], row: int) -> str:
    """The sector that went most with the share over the rows before, by numpy's correlation."""
    span = slice(max(1, row - SPAN), row)
    likeness = {
        name: np.corrcoef((share_return - market)[span], (one - market)[span])[0, 1]
        for name, one in sector.items()
    }
    return max(likeness, key=lambda name: likeness[name])


def test_each_row_takes_the_sector_of_the_rows_before_it() -> None:
    share_return, market, sector = world()
    one = share(share_return)
    got = Sectors.of({name: index(path) for name, path in sector.items()}).columns(one, market)
    names = [chosen(share_return, market, sector, row) for row in range(FEWEST + 1, ROWS)]
    assert set(names) == {"sector_a", "sector_b"}
    for row, name in enumerate(names, start=FEWEST + 1):
        path = np.append(np.nan, sector[name][1:])
        sigma = ewma(path)
        assert got[row, RETURN] == pytest.approx(path[row] / before(sigma)[row], rel=1e-9)
        assert got[row, VOLATILITY] == pytest.approx(np.log(sigma[row] / one.sigma_before[row]), rel=1e-9)
    assert (got[FEWEST + 1 :, KNOWN] == 1).all()
    assert not got[: FEWEST + 1].any()


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(150, ROWS - 1), seed=st.integers(0, 5), late=st.sampled_from(["0min", "1s", "15min"]))
def test_nothing_depends_on_what_is_known_later(cut: int, seed: int, late: str) -> None:
    """Neither on later values, nor on whether there are any, nor on a sector that begins later."""
    share_return, market, sector = world(seed)
    one = share(share_return)
    levels = {name: index(path, late) for name, path in sector.items()}
    whole = Sectors.of(levels).columns(one, market)
    moment = one.known_at[cut]
    random = np.random.default_rng(seed)
    for kept_alike in (True, False):
        other = {}
        for name, rows in levels.items():
            known = rows["known_at"] <= moment
            wild = rows["value"].where(known, random.lognormal(3, 2, len(rows)))
            other[name] = rows.assign(value=wild) if kept_alike else rows[known]
        later = share_return.copy()
        later[cut + 1 :] *= 3
        other["sector_0"] = index(share_return)[lambda rows: rows["known_at"] > moment]
        got = Sectors.of(other).columns(share(later), market)
        np.testing.assert_array_equal(got[: cut + 1], whole[: cut + 1])


@pytest.mark.parametrize(("late", "lag"), [("0min", 0), ("1s", 1), ("2h", 1)])
def test_what_is_known_a_second_after_the_close_counts_a_session_later(late: str, lag: int) -> None:
    share_return, market, sector = world()
    got = Sectors.of({"sector_a": index(sector["sector_a"], late)}).columns(share(share_return), market)
    path = np.append(np.nan, sector["sector_a"][1:])
    scaled = path / before(ewma(path))
    known = np.flatnonzero(got[:, KNOWN])
    np.testing.assert_allclose(got[known, RETURN], scaled[known - lag])


def test_london_sees_new_york_s_session_before() -> None:
    share_return, _, sector = world()
    one = share(share_return, "XLON")
    # Lagged as London sees them, so that the sector is one that the share went with.
    london, new_york = pd.DatetimeIndex(one.session), pd.DatetimeIndex(days())
    last = new_york.searchsorted(london, side="left") - 1
    path = np.append(np.nan, sector["sector_a"][1:])
    follows = np.where(last > 0, path[np.maximum(last, 0)], 0.0)
    one = share(np.nan_to_num(follows) + share_return * 0.1, "XLON")
    got = Sectors.of({"sector_a": index(sector["sector_a"])}).columns(one, np.zeros(ROWS))
    known = np.flatnonzero(got[:, KNOWN])
    assert len(known) > 200
    np.testing.assert_allclose(got[known, RETURN], (path / before(ewma(path)))[last[known]])


def test_a_sector_that_stops_is_unknown_after_five_days() -> None:
    share_return, market, sector = world()
    one, stop = share(share_return), 300
    levels = index(sector["sector_a"])[: stop + 1]
    got = Sectors.of({"sector_a": levels}).columns(one, market)
    age = one.known_at - one.known_at[stop]
    still = (np.arange(ROWS) > FEWEST) & (age <= np.timedelta64(5, "D"))
    np.testing.assert_array_equal(got[:, KNOWN] == 1, still)
    assert not got[~still].any()


def test_without_sectors_or_likeness_nothing_is_known() -> None:
    share_return, market, sector = world()
    one = share(share_return)
    assert not Sectors.of({}).columns(one, market).any()
    assert not Sectors.of({"sector_a": index(sector["sector_a"])[:0]}).columns(one, market).any()
    against = {"sector_a": index(2 * market - share_return)}
    assert not Sectors.of(against).columns(one, market).any(), "it always went the other way"
    flat = {"sector_a": index(np.zeros(ROWS))}
    assert np.isfinite(Sectors.of(flat).columns(one, np.zeros(ROWS))).all()


def test_gaps_in_a_share_or_a_sector_are_left_out_of_the_comparison() -> None:
    share_return, market, sector = world()
    log_return = np.where(np.arange(ROWS) % 7 == 3, np.nan, share_return)
    one = replace(share(share_return), log_return=log_return)
    got = Sectors.of({name: index(path) for name, path in sector.items()}).columns(one, market)
    for row in range(300, ROWS, 13):
        span = np.arange(row - SPAN, row)
        span = span[np.isfinite(log_return[span])]
        likeness = {
            name: np.corrcoef((share_return - market)[span], (path - market)[span])[0, 1]
            for name, path in sector.items()
        }
        name = max(likeness, key=lambda name: likeness[name])
        path = np.append(np.nan, sector[name][1:])
        assert got[row, RETURN] == pytest.approx((path / before(ewma(path)))[row])
