"""Factors as inputs: what a row sees of them, when, and what a made-up move of the market changes."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.benchmark.inputs import read_inputs
from forecaster.errors import UsageError
from forecaster.features import Panel, ahead, assemble, exogenous
from forecaster.features.bars import Bars
from forecaster.features.exogenous import Shock, require_shockable, surroundings
from forecaster.history import History, history_of
from forecaster.instruments import Instrument
from forecaster.sessions import calendar, closes

NEW_YORK = "XNYS"
LATE = {"market_index": "0min", "volatility_index": "15min", "rate_10y": "2h", "rate_3m": "2h"}
SECTORS = ("sector_energy", "sector_utilities")


def days_of(exchange: str, first: str, last: str) -> np.ndarray:
    return calendar(exchange).sessions_in_range(first, last).to_numpy(dtype="datetime64[ns]")


def factor(name: str, days: np.ndarray, values: np.ndarray, late: str | None = None) -> pd.DataFrame:
    known_at = pd.DatetimeIndex(closes(NEW_YORK, days), tz="UTC") + pd.Timedelta(
        late or LATE.get(name, "0min")
    )
    return pd.DataFrame({"name": name, "symbol": "", "session": days, "value": values, "known_at": known_at})


def walk(seed: int, size: int, scale: float = 0.01) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, scale, size).cumsum())


def all_factors(days: np.ndarray) -> pd.DataFrame:
    """One of each, yields among them that fall below zero."""
    random, size = np.random.default_rng(7), len(days)
    values = {
        "market_index": 4000 * walk(1, size),
        "volatility_index": 20 * walk(2, size, 0.05),
        "rate_10y": 2 + random.normal(0, 0.05, size).cumsum(),
        "rate_3m": random.normal(0, 0.05, size).cumsum(),
        **{name: 50 * walk(3 + at, size) for at, name in enumerate(SECTORS)},
    }
    return pd.concat([factor(name, days, level) for name, level in values.items()], ignore_index=True)


def shares(exchange_of: dict[str, str], first: str, last: str) -> tuple[pd.DataFrame, dict[str, Instrument]]:
    frames = []
    for seed, (symbol, exchange) in enumerate(exchange_of.items(), start=20):
        days = days_of(exchange, first, last)
        close = 100 * walk(seed, len(days), 0.015)
        opened = close * walk(seed + 50, len(days), 0.001) ** 0.1
        frames.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "session": days,
                    "open": opened,
                    "high": np.maximum(opened, close) * 1.004,
                    "low": np.minimum(opened, close) / 1.004,
                    "close": close,
                    "adj_close": close,
                    "volume": 1e6,
                    "source": "made up",
                }
            )
        )
    zones = {exchange: str(calendar(exchange).tz) for exchange in exchange_of.values()}
    instruments = {
        symbol: Instrument(symbol, symbol, exchange, zones[exchange], "USD")
        for symbol, exchange in exchange_of.items()
    }
    return pd.concat(frames, ignore_index=True), instruments


@pytest.fixture(scope="module")
def told() -> History:
    """Two shares in New York and one in London over two years, and one factor of each kind."""
    exchange_of = {"AAA": NEW_YORK, "BBB": NEW_YORK, "LLL": "XLON"}
    bars, instruments = shares(exchange_of, "2022-01-03", "2023-12-29")
    return history_of(bars, instruments, all_factors(days_of(NEW_YORK, "2022-01-03", "2023-12-29")))


@pytest.fixture(scope="module")
def panel(told: History) -> Panel:
    return assemble(told)


def column(panel: Panel, name: str, symbol: str) -> np.ndarray:
    mine = panel.code == panel.symbols.index(symbol)
    return panel.values[mine, panel.names.index(f"exogenous.{name}")]


def cutoffs(panel: Panel, symbol: str) -> np.ndarray:
    return panel.known_at[panel.code == panel.symbols.index(symbol)]


def scaled(changes: list[float], floor: float = 1e-4) -> list[float]:
    """Each change over the exponentially weighted root mean square of those before it, written out."""
    out, squares, weights = [], 0.0, 0.0
    for count, change in enumerate(changes):
        out.append(change / max(np.sqrt(squares / weights), floor) if count >= 22 else np.nan)
        squares, weights = 0.94 * squares + 0.06 * change**2, 0.94 * weights + 0.06
    return out


def seen(rows: list[tuple[pd.Timestamp, float]], cutoff: np.datetime64) -> float:
    """The last of some values known by a moment, unless it is older than five days; by going through them."""
    value, moment = np.nan, pd.Timestamp(cutoff, tz="UTC")
    for known_at, one in rows:
        if known_at <= moment and moment - known_at <= pd.Timedelta(days=5):
            value = one
    return value


@pytest.mark.parametrize("symbol", ["AAA", "LLL"])
def test_rates_equal_a_plain_loop(told: History, panel: Panel, symbol: str) -> None:
    by_name = dict(list(told.factors.groupby("name")))
    ten, short = by_name["rate_10y"]["value"].to_numpy(), by_name["rate_3m"]["value"].to_numpy()
    known_at = list(by_name["rate_10y"]["known_at"])[1:]
    expected = {
        "rate_change": list(zip(known_at, scaled(list(np.diff(ten))), strict=True)),
        "term_slope_change": list(zip(known_at, scaled(list(np.diff(ten - short))), strict=True)),
    }
    for name, rows in expected.items():
        want = np.nan_to_num([seen(rows, cutoff) for cutoff in cutoffs(panel, symbol)])
        np.testing.assert_allclose(column(panel, name, symbol), want, rtol=1e-4, atol=1e-5)
    assert column(panel, "rates_known", symbol)[:20].sum() == 0
    assert column(panel, "rates_known", symbol)[26:].all()


@pytest.mark.parametrize("symbol", ["AAA", "LLL"])
def test_the_volatility_index_equals_a_plain_loop(told: History, panel: Panel, symbol: str) -> None:
    rows = told.factors[told.factors["name"] == "volatility_index"]
    changes = list(zip(rows["known_at"].iloc[1:], np.diff(np.log(rows["value"])), strict=True))
    want = np.nan_to_num([seen(changes, cutoff) for cutoff in cutoffs(panel, symbol)])
    np.testing.assert_allclose(column(panel, "volatility_index_change", symbol), want, rtol=1e-5, atol=1e-7)


def test_the_two_year_yield_stands_in_where_there_is_none_of_three_months(told: History) -> None:
    renamed = told.factors.assign(name=told.factors["name"].replace("rate_3m", "rate_2y"))
    other, first = assemble(replace(told, factors=renamed)), assemble(told)
    np.testing.assert_array_equal(other.values, first.values)


@pytest.mark.parametrize(
    "missing", [*LATE, *SECTORS, "rate_", "sector_", ""], ids=lambda name: name or "every one"
)
def test_a_factor_that_is_missing_leaves_zeros_and_a_flag(told: History, missing: str) -> None:
    kept = ~told.factors["name"].str.startswith(missing)
    panel = assemble(replace(told, factors=told.factors[kept].reset_index(drop=True)))
    outside = [place for place, name in enumerate(panel.names) if name.startswith("exogenous.")]
    ready = np.isfinite(panel.base_sigma) & np.isfinite(panel.values).all(axis=1)
    assert np.isfinite(panel.values[ready][:, outside]).all()
    assert ready.sum() > 1000
    unknown = {
        "volatility_index_known": missing in ("volatility_index", ""),
        "rates_known": missing in ("rate_10y", "rate_3m", "rate_", ""),
        "sector_known": missing in ("sector_", ""),
    }
    values = {
        "volatility_index_known": ("volatility_index", "volatility_index_change"),
        "rates_known": ("rate_change", "term_slope_change"),
        "sector_known": ("sector_return", "sector_volatility"),
    }
    for flag, is_unknown in unknown.items():
        assert (column(panel, flag, "AAA")[-100:] == (not is_unknown)).all(), flag
        for name in values[flag]:
            assert (column(panel, name, "AAA")[-100:] == 0).all() == is_unknown, name


@pytest.mark.parametrize("names", ["market_index", "volatility_index", "rate_", "sector_"])
def test_a_value_known_a_second_after_the_cutoff_changes_nothing(told: History, names: str) -> None:
    """And one that is known at the cutoff itself does."""
    cutoff = pd.Timestamp("2023-06-14 20:00", tz="UTC")
    before = told.factors["session"] < "2023-06-14"
    last = told.factors["name"].str.startswith(names) & (told.factors["session"] == "2023-06-14")
    panels = []
    for moment in (cutoff + pd.Timedelta(seconds=1), cutoff):
        pair = []
        for times in (1.0, 1.3):
            rows = told.factors.assign(
                known_at=told.factors["known_at"].mask(last, moment),
                value=told.factors["value"].mask(last, told.factors["value"] * times),
            )
            pair.append(assemble(replace(told, factors=rows[before | last].reset_index(drop=True))))
        panels.append(pair)
    past = panels[0][0].known_at <= cutoff.tz_localize(None).to_datetime64()
    late, in_time = ([one.values[past] for one in pair] for pair in panels)
    np.testing.assert_array_equal(*late)
    assert not np.array_equal(*in_time, equal_nan=True)
    earlier = panels[0][0].known_at[past] < cutoff.tz_localize(None).to_datetime64()
    np.testing.assert_array_equal(in_time[0][earlier], in_time[1][earlier])


SPAN = ("2021-06-01", "2024-06-28")


@cache
def new_york_closes() -> list[pd.Timestamp]:
    """The calendar's own closes, by New York's clock."""
    moments = (calendar(NEW_YORK).session_close(day) for day in pd.DatetimeIndex(days_of(NEW_YORK, *SPAN)))
    return [moment.tz_convert("America/New_York") for moment in moments]


@cache
def steps_seen(exchange: str, late: str) -> np.ndarray:
    """Changes of a term slope that is the square of its session's number, as a share there sees them."""
    days = days_of(NEW_YORK, *SPAN)
    squares = np.arange(len(days)) ** 2.0
    ten, short = factor("rate_10y", days, squares, late), factor("rate_3m", days, 0 * squares, late)
    bars, _ = shares({"AAA": exchange}, *SPAN)
    one = Bars.of(bars.assign(split=1.0, dividend=0.0), exchange)
    around = surroundings([one], pd.concat([ten, short]))
    return exogenous.columns(one, around, True)[:, exogenous.NAMES.index("term_slope_change")]


@settings(deadline=None, max_examples=60)
@given(
    exchange=st.sampled_from(["XNYS", "XLON", "XTKS", "XASX", "XBOM"]),
    row=st.integers(100, 700),
    late=st.sampled_from(["0min", "1s", "15min", "2h"]),
)
def test_a_row_sees_the_last_session_that_new_york_had_closed(exchange: str, row: int, late: str) -> None:
    """Through early closes and changes of the clocks: by the local times of both markets, from outside."""
    day = pd.Timestamp(days_of(exchange, *SPAN)[row])
    cutoff = calendar(exchange).session_close(day).tz_convert("America/New_York")
    closed = sum(moment + pd.Timedelta(late) <= cutoff for moment in new_york_closes())
    want = scaled([float(2 * number - 1) for number in range(1, closed)])[-1]
    assert steps_seen(exchange, late)[row] == pytest.approx(want, rel=1e-6)


def test_a_share_that_closes_earlier_sees_the_session_before(told: History, panel: Panel) -> None:
    """London closes at 16:30 there, in summer at 11:30 in New York, before any factor of the day."""
    rows = told.factors[told.factors["name"] == "volatility_index"].set_index("session")["value"]
    change = np.log(rows / rows.shift())
    day = pd.Timestamp("2023-06-14")
    london = panel.session[panel.code == panel.symbols.index("LLL")] == day.to_datetime64()
    assert column(panel, "volatility_index_change", "LLL")[london].item() == pytest.approx(
        change[pd.Timestamp("2023-06-13")], rel=1e-5
    )
    new_york = panel.session[panel.code == panel.symbols.index("AAA")] == day.to_datetime64()
    assert column(panel, "volatility_index_change", "AAA")[new_york].item() == pytest.approx(
        change[pd.Timestamp("2023-06-13")], rel=1e-5
    ), "it is settled a quarter of an hour after New York's close, too"


def test_the_market_index_is_seen_at_its_own_close(told: History) -> None:
    alone = assemble(told.only(["AAA"]))
    index = told.factors[told.factors["name"] == "market_index"].set_index("session")["value"]
    want = np.append(np.nan, scaled(list(np.diff(np.log(index)))))
    np.testing.assert_allclose(column(alone, "market_return", "AAA"), np.nan_to_num(want), rtol=1e-4)


def test_the_sessions_after_are_known_ahead() -> None:
    table = pd.DataFrame(
        ahead.columns(NEW_YORK), columns=list(ahead.NAMES), index=calendar(NEW_YORK).sessions
    )
    after = np.exp(table["days_closed_after"])
    assert after["2024-03-28"] == pytest.approx(4), "Easter from Thursday to Monday"
    assert after["2024-07-03"] == pytest.approx(2), "a holiday within the week"
    assert after["2012-10-26"] == pytest.approx(3), "the storm that closed that Monday was not planned"
    regular = table.loc["2013-01-02":"2018-11-30"]
    np.testing.assert_allclose(regular["days_closed_after"].iloc[:-1], regular["days_closed"].iloc[1:])
    days = pd.Series(regular.index)
    np.testing.assert_allclose(after[regular.index][:-1], (days.shift(-1) - days).dt.days[:-1], rtol=1e-6)
    assert np.isfinite(table).all(axis=None)


def parts(told: History, shock: Shock | None) -> dict[str, pd.DataFrame]:
    """Inputs of the group by symbol, with a shock."""
    frames = {str(symbol): rows for symbol, rows in told.traded.groupby("symbol")}
    bars = {symbol: Bars.of(rows, told.instruments[symbol].exchange) for symbol, rows in frames.items()}
    around = surroundings(list(bars.values()), told.factors, shock)
    return {
        symbol: pd.DataFrame(exogenous.columns(one, around, True), one.known_at, list(exogenous.NAMES))
        for symbol, one in bars.items()
    }


@pytest.mark.parametrize("kept", ["", "market_index", "volatility_index"])
@pytest.mark.parametrize("day", ["2023-12-29", "2023-07-03"])
def test_a_shock_moves_its_cutoff_and_nothing_before(told: History, kept: str, day: str) -> None:
    """With and without a market index; on a full session and on one that closes early."""
    told = replace(told, factors=told.factors[told.factors["name"].str.contains(kept)].reset_index(drop=True))
    moment = closes(NEW_YORK, np.array([day], dtype="datetime64[ns]"))[0]
    points = 10.0 if kept != "market_index" else 0.0
    calm, hit = parts(told, None), parts(told, Shock(moment, -0.03, points))
    for symbol in ("AAA", "BBB", "LLL"):
        before = calm[symbol].index < moment
        pd.testing.assert_frame_equal(calm[symbol][before], hit[symbol][before], check_exact=True)
    was, now = calm["AAA"].loc[moment], hit["AAA"].loc[moment]
    moved = set(was.index[was != now])
    assert {"market_return", "market_volatility", "market_volatility_long"} <= moved
    assert now["market_return"] < was["market_return"]
    volatility = {"volatility_index", "volatility_index_change"} if points else set()
    market = {"market_return", "market_drop", "market_volatility", "market_volatility_long"}
    assert moved - {"market_drop"} == (market | volatility) - {"market_drop"}


def test_a_shock_adds_to_what_was_known(told: History) -> None:
    day = pd.Timestamp("2023-12-29")
    moment = closes(NEW_YORK, np.array([day], dtype="datetime64[ns]"))[0]
    told = told.only(["AAA", "BBB"])
    calm, hit = parts(told, None)["AAA"], parts(told, Shock(moment, -0.03, 10.0))["AAA"]
    was, now = calm.loc[moment], hit.loc[moment]
    market = told.factors[told.factors["name"] == "market_index"].set_index("session")["value"]
    steps = np.log(market / market.shift()).iloc[1:]
    shocked = steps.where(steps.index != day, steps + np.log(0.97))
    assert now["market_return"] == pytest.approx(scaled(list(shocked))[-1], rel=1e-6)
    assert now["market_drop"] == -now["market_return"]
    fear = told.factors[told.factors["name"] == "volatility_index"].set_index("session")["value"]
    assert fear.index[-1] < day, "that of the day itself is not known yet"
    before, known = fear.iloc[-2:]
    assert now["volatility_index_change"] == pytest.approx(np.log((known + 10) / before))
    assert now["volatility_index"] - was["volatility_index"] == pytest.approx(np.log((known + 10) / known))


def test_a_shock_on_a_day_without_a_new_index_moves_nothing_earlier(told: History) -> None:
    """The last known value was seen at the cutoff before as well; only this one's changes."""
    gap = (told.factors["name"] == "volatility_index") & (told.factors["session"] >= "2023-12-27")
    without = replace(told, factors=told.factors[~gap].reset_index(drop=True))
    moment = closes(NEW_YORK, np.array(["2023-12-29"], dtype="datetime64[ns]"))[0]
    calm, hit = parts(without, None)["AAA"], parts(without, Shock(moment, 0.0, 10.0))["AAA"]
    same = (calm == hit).all(axis=1) | calm.isna().any(axis=1)
    assert list(same.index[~same]) == [pd.Timestamp(moment)]
    assert (calm.iloc[-1] != hit.iloc[-1]).sum() == 2


def test_a_shock_of_nothing_moves_nothing(told: History) -> None:
    moment = closes(NEW_YORK, np.array(["2023-12-29"], dtype="datetime64[ns]"))[0]
    calm, hit = parts(told, None), parts(told, Shock(moment))
    for symbol, rows in calm.items():
        pd.testing.assert_frame_equal(rows, hit[symbol], check_exact=True)


@pytest.mark.parametrize(
    ("shock", "words"),
    [
        ({"market": -1.0}, "above -1"),
        ({"market": float("nan")}, "above -1"),
        ({"volatility_index": -500.0}, "stands at .*; -500 points"),
        ({"volatility_index": 10.0, "moment": np.datetime64("2020-01-02T21:00")}, "No volatility index"),
        ({"volatility_index": 10.0, "moment": np.datetime64("2024-02-01T21:00")}, "No volatility index"),
    ],
)
def test_a_shock_that_has_nothing_to_move_is_refused(told: History, shock: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_shockable(told.factors, Shock(**{"moment": np.datetime64("2023-12-29T21:00"), **shock}))


def test_one_share_alone_has_no_market_to_move(told: History) -> None:
    alone = told.only(["AAA"])
    alone = replace(alone, factors=alone.factors[alone.factors["name"] == "rate_10y"])
    with pytest.raises(UsageError, match="alone has no market"):
        parts(alone, Shock(np.datetime64("2023-12-29T21:00"), -0.03))
    with pytest.raises(UsageError, match="No volatility index is known"):
        parts(alone, Shock(np.datetime64("2023-12-29T21:00"), volatility_index=5.0))


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shares as a long file."""
    bars, _ = shares({"AAA": NEW_YORK, "BBB": NEW_YORK}, "2022-01-03", "2023-12-29")
    path = tmp_path_factory.mktemp("files") / "panel.parquet"
    bars.drop(columns="source").rename(columns={"session": "date"}).to_parquet(path, index=False)
    return path


def test_yields_of_a_file_are_known_at_the_close_of_the_session_after(prices: Path, tmp_path: Path) -> None:
    """Through Thanksgiving, with its early close, and a value that is missing."""
    macro = tmp_path / "macro.csv"
    macro.write_text(
        "date,DGS10,DTB3,DGS2,WTI\n"
        "2023-11-21,4.41,5.26,4.86,77\n2023-11-22,4.42,,4.88,77\n2023-11-23,4.0,4.0,4.0,77\n"
        "2023-11-24,4.47,-0.01,4.92,75\n"
    )
    inputs = read_inputs(prices, macro=macro)
    rows = inputs.history.factors.set_index(["name", "session"])
    for name, day, value, known in [
        ("rate_10y", "2023-11-21", 4.41, "2023-11-22 16:00"),
        ("rate_10y", "2023-11-22", 4.42, "2023-11-24 13:00"),
        ("rate_10y", "2023-11-24", 4.47, "2023-11-27 16:00"),
        ("rate_3m", "2023-11-24", -0.01, "2023-11-27 16:00"),
        ("rate_2y", "2023-11-22", 4.88, "2023-11-24 13:00"),
    ]:
        row = rows.loc[(name, pd.Timestamp(day))]
        assert row["value"] == value
        assert row["known_at"] == pd.Timestamp(known, tz="America/New_York")
    assert ("rate_3m", pd.Timestamp("2023-11-22")) not in rows.index
    assert len(rows) == 8, "on Thanksgiving there is no session"
    assert "Rates: columns DGS10, DTB3, DGS2 of macro.csv, one session late." in inputs.notes
    assert "Not used of macro.csv: WTI." in inputs.notes


@pytest.mark.parametrize(
    ("header", "used"),
    [
        ("DGS10,DGS3MO,DGS30", ["rate_10y", "rate_3m"]),
        ("rate_10y,rate_3m,x", ["rate_10y", "rate_3m"]),
        ("T10Y2Y,DGS10,x", ["rate_10y", "rate_2y"]),
        ("T10Y2Y,DGS10,DGS2", ["rate_10y", "rate_2y"]),
        ("DGS2,DGS3MO,T10Y2Y", []),
        ("DGS10,x,y", []),
    ],
)
def test_a_slope_needs_a_long_and_a_short_yield(
    prices: Path, tmp_path: Path, header: str, used: list[str]
) -> None:
    macro = tmp_path / "macro.csv"
    macro.write_text(f"date,{header}\n2023-06-01,1.5,4.0,2.5\n")
    factors = read_inputs(prices, macro=macro).history.factors.set_index("name")["value"]
    assert sorted(factors.index) == used
    if header == "T10Y2Y,DGS10,x":
        assert factors["rate_2y"] == 2.5


def test_sectors_of_a_file_are_returns_or_levels_by_their_names(prices: Path, tmp_path: Path) -> None:
    days = days_of(NEW_YORK, "2023-01-03", "2023-12-29")
    moves = np.random.default_rng(3).normal(0, 0.01, (3, len(days)))
    market = tmp_path / "market.parquet"
    level = 30 * (1 + moves[1]).cumprod()
    table = {"date": days, "sector_energy_ret": moves[0], "Sector_Utilities": level, "mkt_ret": moves[2]}
    pd.DataFrame(table).to_parquet(market)
    inputs = read_inputs(prices, market)
    rows = inputs.history.factors
    values = {name: part["value"].to_numpy() for name, part in rows.groupby("name")}
    assert set(values) == {"market_index", "sector_energy_ret", "sector_utilities"}
    np.testing.assert_allclose(
        values["sector_energy_ret"][1:] / values["sector_energy_ret"][:-1] - 1, moves[0, 1:]
    )
    np.testing.assert_allclose(values["sector_utilities"], level)
    np.testing.assert_allclose(values["market_index"][1:] / values["market_index"][:-1] - 1, moves[2, 1:])
    energy = rows[rows["name"] == "sector_energy_ret"]
    at_close = pd.DatetimeIndex(closes(NEW_YORK, days), tz="UTC")
    np.testing.assert_array_equal(pd.DatetimeIndex(energy["known_at"]), at_close)
    assert inputs.notes[0] == "Market: column mkt_ret of market.parquet."
    assert inputs.notes[1] == "Sectors: columns sector_energy_ret, Sector_Utilities of market.parquet."
    pd.DataFrame({name: table[name] for name in ("date", "Sector_Utilities")}).to_parquet(market)
    assert "No market in market.parquet: it is the mean" in read_inputs(prices, market).notes[0]


RESULTS = """symbol,kind,happened_at,known_at,tone,magnitude
AAA,results,2023-02-01T21:30:00Z,2023-02-01T21:30:00Z,0.2,3
AAA,results,2023-05-03T20:30:00Z,2023-05-03T20:30:00Z,-0.2,4
AAA,results,2023-08-02T20:30:00Z,2023-08-02T20:30:00Z,0.1,1
ZZZ,results,2023-08-02T20:30:00Z,2023-08-02T20:30:00Z,0.1,1
"""
LEADERS = """symbol,kind,happened_at,known_at
BBB,leadership,2023-04-03T12:00:00Z,2023-04-03T12:00:00Z
AAA,policy,2024-04-03T12:00:00Z,2024-04-03T12:00:00Z
"""
PLANNED = """symbol,kind,happened_at,known_at,magnitude
AAA,results_scheduled,2023-08-02T20:30:00Z,2023-07-10T12:00:00Z,1
"""


def test_events_of_several_files_are_told_and_those_of_others_left_out(prices: Path, tmp_path: Path) -> None:
    paths = []
    for name, content in (("results.csv", RESULTS), ("leaders.csv", LEADERS), ("planned.csv", PLANNED)):
        paths.append(tmp_path / name)
        paths[-1].write_text(content)
    inputs = read_inputs(prices, events=paths[:2])
    told = inputs.history.events
    assert set(told["symbol"]) == {"AAA", "BBB"}
    assert (told["known_at"] <= pd.Timestamp("2023-12-29 21:00", tz="UTC")).all()
    assert inputs.notes[-1] == (
        "Company events: 5 (3 results, 1 leadership, 1 policy) of 2 of 2 companies, from results.csv, "
        "leaders.csv; those of 1 other symbols are left out. Dates of results are taken as known 10 sessions "
        "ahead from the results that followed."
    )
    planned = read_inputs(prices, events=paths)
    assert "Dates of results before 2023-07-10 are taken as known" in planned.notes[-1]
    alone = read_inputs(prices, events=paths[1:2])
    assert alone.notes[-1] == (
        "Company events: 2 (1 leadership, 1 policy) of 2 of 2 companies, from leaders.csv."
    )
    assert not any("Company events" in note for note in read_inputs(prices).notes)


@pytest.mark.slow
def test_the_commands_take_several_files_of_events(prices: Path, tmp_path: Path) -> None:
    for name, content in (("a.csv", RESULTS), ("b.csv", LEADERS)):
        (tmp_path / name).write_text(content)
    files = ("--prices", prices, "--events", tmp_path / "a.csv", "--events", tmp_path / "b.csv")
    run = Run(tmp_path)
    dates = ("--test-start", "2023-06-01", "--test-end", "2023-06-30")
    run("benchmark", *files, *dates, "--models", "ewma_t", "--out", tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "5 (3 results, 1 leadership, 1 policy)" in report
    (tmp_path / "c.csv").write_text("date,what\n2023-01-03,1\n")
    for command in ("benchmark", "leakcheck"):
        out = ("--out", tmp_path / "other") if command == "benchmark" else ()
        assert "c.csv: columns date, what" in run.refused(
            command, *files, "--events", tmp_path / "c.csv", *out
        )
