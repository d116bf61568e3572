"""Nothing at session t depends on rows after t: not a bit moves when the future is rewritten."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from perturb import close_of, perturb

from forecaster.config import GROUPS, Recipe
from forecaster.evaluation.backtest import backtest
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.perturbation import perturb as rewrite
from forecaster.evaluation.perturbation import with_events
from forecaster.events import KINDS, SCHEDULED
from forecaster.features import ahead, assemble
from forecaster.history import History
from forecaster.models import CLASSICAL, NETWORKS, kind
from forecaster.sessions import calendar
from forecaster.windows import Windows
from forecaster.workflow import train

CUTOFFS = [pd.Timestamp("2014-06-10"), pd.Timestamp("2019-12-24"), pd.Timestamp("2023-09-20")]


@pytest.fixture(scope="module")
def with_factors(history: History) -> History:
    """The history with a market index and a volatility index that is known a quarter hour after the close."""
    sessions = history.traded["session"].unique()
    random = np.random.default_rng(1)
    frames = []
    for name, minutes in (("market_index", 0), ("volatility_index", 15)):
        level = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(sessions))))
        known = [close_of(pd.Timestamp(day)) + pd.Timedelta(minutes=minutes) for day in sessions]
        frames.append(
            pd.DataFrame(
                {
                    "name": name,
                    "symbol": "",
                    "session": sessions,
                    "value": level,
                    "known_at": known,
                    "source": "made up",
                    "fetched_at": pd.Timestamp("2024-01-01", tz="UTC"),
                }
            )
        )
    return replace(history, factors=pd.concat(frames, ignore_index=True))


@pytest.fixture(scope="module")
def told(with_factors: History) -> History:
    """The same, cut short, with company events of every kind known around closes."""
    return with_events(with_factors.until("2016-12-30"), list(KINDS))


@pytest.mark.parametrize("after", CUTOFFS, ids=lambda day: str(day.date()))
@pytest.mark.parametrize("seed", [0, 1])
def test_inputs_do_not_see_later_rows(with_factors: History, after: pd.Timestamp, seed: int) -> None:
    true, false = assemble(with_factors), assemble(perturb(with_factors, after, seed))
    past = true.session <= after.to_datetime64()
    for name in ("values", "base_sigma", "log_price", "log_return", "close", "position"):
        np.testing.assert_array_equal(getattr(true, name)[past], getattr(false, name)[past], err_msg=name)
    np.testing.assert_array_equal(true.ahead, false.ahead)
    np.testing.assert_array_equal(true.announced[past].toarray(), false.announced[past].toarray())
    assert not np.array_equal(true.values[~past], false.values[~past], equal_nan=True)


def test_inputs_do_not_depend_on_whether_there_is_a_future(with_factors: History) -> None:
    after = CUTOFFS[1]
    whole, cut = assemble(with_factors), assemble(with_factors.until(after))
    past = whole.session <= after.to_datetime64()
    np.testing.assert_array_equal(whole.values[past], cut.values)
    np.testing.assert_array_equal(whole.base_sigma[past], cut.base_sigma)


def test_a_factor_known_after_the_cutoff_is_not_used(with_factors: History) -> None:
    panel = assemble(with_factors)
    column = panel.names.index("exogenous.volatility_index")
    factors = with_factors.factors
    index = factors[factors["name"] == "volatility_index"].set_index("session")["value"]
    row = 500
    before, own = panel.session[row - 1], panel.session[row]
    sigma = panel.base_sigma[row - 1]
    expected = np.log(index[before] / 100 / np.sqrt(252) / sigma)
    assert panel.values[row, column] == pytest.approx(expected, rel=1e-5)
    assert index[before] != index[own]
    moved = factors.assign(
        known_at=factors["known_at"].where(
            factors["name"] != "volatility_index", factors["known_at"] - pd.Timedelta(minutes=15)
        )
    )
    told = assemble(replace(with_factors, factors=moved))
    expected_now = np.log(index[own] / 100 / np.sqrt(252) / sigma)
    assert told.values[row, column] == pytest.approx(expected_now, rel=1e-5)
    late = moved.assign(
        known_at=moved["known_at"].where(
            moved["name"] != "volatility_index", moved["known_at"] + pd.Timedelta(seconds=1)
        )
    )
    np.testing.assert_array_equal(assemble(replace(with_factors, factors=late)).values, panel.values)


@pytest.mark.parametrize("seed", [0, 1])
def test_inputs_do_not_see_events_that_are_told_later(told: History, seed: int) -> None:
    after = CUTOFFS[0]
    false = perturb(told, after, seed)
    true, false = assemble(told), assemble(false)
    past = true.session <= after.to_datetime64()
    np.testing.assert_array_equal(true.values[past], false.values[past])
    np.testing.assert_array_equal(true.announced[past].toarray(), false.announced[past].toarray())
    assert (true.announced[~past] != false.announced[~past]).nnz > 1000
    cut = assemble(told.until(after))
    np.testing.assert_array_equal(true.values[past], cut.values)
    np.testing.assert_array_equal(true.announced[past].toarray(), cut.announced.toarray())


def planted(history: History, moment: pd.Timestamp) -> History:
    """The history with events of every kind, and plans for the sessions after, known at one moment."""
    rows = [
        {
            "symbol": symbol,
            "kind": kind,
            "happened_at": moment + pd.Timedelta(days=days) if kind in SCHEDULED else moment,
            "known_at": moment,
            "tone": np.nan if kind in SCHEDULED else -1.0,
            "magnitude": 1.0 if kind in SCHEDULED else 40.0,
            "title": "planted",
            "url": str(days),
            "source": "planted",
        }
        for symbol in history.symbols
        for kind in KINDS
        for days in (2, 5)
    ]
    together = pd.concat([history.events, pd.DataFrame(rows).astype(history.events.dtypes.to_dict())])
    ordered = together.sort_values(["symbol", "known_at"], kind="stable", ignore_index=True)
    return replace(history, events=ordered)


@pytest.mark.parametrize(
    "name",
    [
        "harx",
        "boosting",
        "gru",
        *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name != "gru"),
    ],
)
def test_a_forecast_does_not_see_an_event_that_is_told_a_second_after_the_close(
    told: History, tiny: Recipe, name: str
) -> None:
    recipe = tiny.but(epochs=1)
    windows = Windows(assemble(told), recipe.lookback, recipe.horizon)
    panel = windows.panel
    refit = np.datetime64("2015-03-02T21:00")
    model = kind(name, recipe).fit(windows, refit, lambda note: None)
    later = np.unique(panel.known_at[windows.ends[panel.known_at[windows.ends] > refit]])
    # Among them an early close, and the first session after the clock has changed.
    days = pd.to_datetime(["2015-03-09", "2015-11-27", "2016-07-01"])
    chosen = np.union1d(
        later[np.isin(later.astype("datetime64[D]"), days.to_numpy("datetime64[D]"))], later[40::150]
    )
    assert len(chosen) >= 5
    for close in chosen:
        known = windows.ends[panel.known_at[windows.ends] <= close][-60:]
        next_day = np.flatnonzero(panel.known_at == later[later > close][0])
        true, following = (model.forecast(windows, ends).quantile(0.99) for ends in (known, next_day))
        for seconds in (0, 1):
            moment = pd.Timestamp(close, tz="UTC") + pd.Timedelta(seconds=seconds)
            other = Windows(assemble(planted(told, moment)), recipe.lookback, recipe.horizon)
            np.testing.assert_array_equal(true, model.forecast(other, known).quantile(0.99))
            moved = model.forecast(other, next_day).quantile(0.99)
            counts = (following != moved).all(axis=1)
            # Trees of a few splits need not ask about events.
            assert counts.all() or name == "boosting", "from the next session on they count"


@pytest.mark.parametrize(
    "name", [*CLASSICAL, *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS)]
)
def test_a_fit_does_not_see_later_rows(history: History, tiny: Recipe, name: str) -> None:
    refit = pd.Timestamp("2016-03-01")
    moment = close_of(refit).tz_localize(None).to_datetime64()
    forecasts = []
    for panel in (assemble(history), assemble(perturb(history, refit))):
        windows = Windows(panel, tiny.lookback, tiny.horizon)
        ends = windows.ends[panel.known_at[windows.ends] <= moment]
        model = kind(name, tiny).fit(windows, moment, lambda note: None)
        forecasts.append(model.forecast(windows, ends[-50:]))
    for parameter in ("mean", "sigma", "df"):
        np.testing.assert_array_equal(getattr(forecasts[0], parameter), getattr(forecasts[1], parameter))


def test_a_trained_model_forecasts_the_same_whatever_comes_later(history: History, tiny: Recipe) -> None:
    as_of, recipe = pd.Timestamp("2015-07-01"), tiny.but(cells=("gru",), epochs=1)
    true, false = history, perturb(history, as_of)
    tables = [train(one.until(as_of), recipe).forecast(one.until(as_of)) for one in (true, false)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.slow
def test_a_backtest_does_not_see_rows_after_each_cutoff(history: History, tiny: Recipe) -> None:
    last = pd.Timestamp("2016-12-30")
    short = history.until(last)
    after = pd.Timestamp("2016-06-01")
    recipe = tiny.but(cells=("gru",))
    tables = [
        backtest(one, recipe, folds=2, test_sessions=252).forecasts for one in (short, perturb(short, after))
    ]
    columns = [
        "model",
        "symbol",
        "cutoff",
        "step",
        "session",
        "base_price",
        "mean",
        "sigma",
        "df",
        "q05",
        "q99",
    ]
    known = [table.loc[table["cutoff"] <= after, columns].reset_index(drop=True) for table in tables]
    assert len(known[0]) > 1000
    pd.testing.assert_frame_equal(*known, check_exact=True)


@pytest.mark.parametrize("name", ["ewma_t", pytest.param("gru", marks=pytest.mark.slow)])
def test_a_model_of_two_exchanges_does_not_see_what_closes_after_its_refit(
    history: History, tiny: Recipe, name: str
) -> None:
    """London closes hours before New York: a cutoff there may not learn from New York's same session."""
    both = history.until("2016-12-30")
    london = {**both.instruments, "AAPL": replace(both.instruments["AAPL"], exchange="XLON")}
    sessions = calendar("XLON").sessions
    kept = (both.traded["symbol"] != "AAPL") | both.traded["session"].isin(sessions)
    mixed = replace(both, instruments=london, traded=both.traded[kept].reset_index(drop=True))
    windows = Windows(assemble(mixed), tiny.lookback, tiny.horizon)
    for fold in Plan(folds=3, test_sessions=150).cut(windows):
        assert (windows.panel.known_at[fold.cutoffs] >= fold.refit).all()
    moment = np.datetime64("2016-05-10T15:30")
    other = Windows(assemble(rewrite(mixed, moment)), tiny.lookback, tiny.horizon)
    ends = windows.ends[windows.panel.known_at[windows.ends] <= moment][-40:]
    forecasts = [
        kind(name, tiny.but(epochs=1)).fit(one, moment, lambda note: None).forecast(one, ends)
        for one in (windows, other)
    ]
    np.testing.assert_array_equal(forecasts[0].sigma, forecasts[1].sigma)


def test_a_closure_that_nobody_planned_is_not_known_ahead() -> None:
    flags = pd.DataFrame(ahead.columns("XNYS"), columns=list(ahead.NAMES), index=calendar("XNYS").sessions)
    after_the_storm = flags.loc["2012-10-31"]
    assert after_the_storm["days_closed"] == 0.0
    assert flags.loc["2012-09-04", "days_closed"] == pytest.approx(np.log(4)), "Labour Day is planned"
    assert flags.loc["2024-11-29", "early_close"] == 1.0
    assert (
        list(flags.index[flags["options_expiry"] == 1.0].strftime("%Y-%m-%d")[-400:]).count("2014-04-17") == 1
    )
    assert flags.loc["2014-04-30", "month_end"] == 1.0
    assert flags.loc["2014-04-29", "month_end"] == 0.0


def test_inputs_start_anew_after_a_long_gap(history: History) -> None:
    gap = (history.traded["session"] > "2015-03-01") & (history.traded["session"] < "2015-06-01")
    holed = replace(history, traded=history.traded[~gap].reset_index(drop=True))
    windows = Windows(assemble(holed), 16, 5)
    first = windows.panel.session[windows.ends]
    assert not ((first > np.datetime64("2015-03-01")) & (first < np.datetime64("2015-09-01"))).any()


@pytest.mark.parametrize("left_out", GROUPS)
def test_a_group_left_out_moves_nothing(history: History, left_out: str) -> None:
    """Ablation: what only a removed group reads must not reach the rest by another way."""
    groups = tuple(group for group in GROUPS if group != left_out)
    panel = assemble(history, groups)
    assert not any(name.startswith(left_out) for name in panel.names)
    if left_out == "previous_day":
        day = panel.session == panel.session[700]
        changed = history.traded.copy()
        rows = (changed["symbol"] == "AAPL") & (changed["session"] == panel.session[700])
        changed.loc[rows, ["open", "high", "low", "close"]] *= 1.07
        again = assemble(replace(history, traded=changed), groups)
        own = [i for i, name in enumerate(panel.names) if name.startswith("trend")]
        mine = day & (panel.code == panel.symbols.index("AAPL"))
        np.testing.assert_array_equal(panel.values[mine][:, own], again.values[mine][:, own])
        np.testing.assert_array_equal(panel.base_sigma[mine], again.base_sigma[mine])
    if left_out == "exogenous":
        assert panel.ahead.shape[1] == 0
        assert panel.ahead_names == ()
        assert panel.announced.shape == (len(panel.code), 0)
