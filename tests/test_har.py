"""HAR and HARX against a written-out likelihood, boosting against quantiles, the market against a loop."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from perturb import perturb
from scipy import optimize, stats

from forecaster.config import GROUPS, Group
from forecaster.errors import TooLittleHistory
from forecaster.evaluation.perturbation import with_events
from forecaster.features import Panel, assemble
from forecaster.features.exogenous import NAMES
from forecaster.history import History
from forecaster.models.boosting import Boosting
from forecaster.models.har import Har, widening
from forecaster.sessions import calendar
from forecaster.tables import QUANTILES
from forecaster.windows import Windows

REFIT = np.datetime64("2016-03-01T21:00")
"""The close of that session in UTC."""

HORIZON = 5
KINDS = {"har": lambda: Har("har"), "harx": lambda: Har("harx"), "boosting": Boosting}


def windows_of(panel: Panel) -> Windows:
    return Windows(panel, 16, HORIZON)


def fitted(name: str, windows: Windows) -> Har | Boosting:
    return KINDS[name]().fit(windows, REFIT, lambda note: None)


@pytest.fixture(scope="module")
def windows(history: History) -> Windows:
    """With made-up events of results and their announced dates; nothing is known of other kinds."""
    return windows_of(assemble(with_events(history, ["results", "results_scheduled"])))


def training(windows: Windows, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Cutoffs whose label of a step was known at the refit, and their standardised returns."""
    panel = windows.panel
    ends = windows.ends[panel.known_at[windows.ends] <= REFIT]
    labels = windows.labels(ends, known_by=REFIT)[:, step - 1]
    known = np.isfinite(labels)
    return ends[known], labels[known] / panel.base_sigma[ends[known]] / np.sqrt(step)


def best(design: np.ndarray, outcome: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Coefficients and log degrees of freedom by a general optimiser on the written-out likelihood."""

    def loss(point: np.ndarray) -> float:
        log_scale = design @ point[:-1]
        density = stats.t.logpdf(outcome / np.exp(log_scale), np.exp(point[-1])) - log_scale
        return np.sum(penalty * point[1:-1] ** 2) / 2 - density.sum()

    start = np.append(np.zeros(design.shape[1]), np.log(4.0))
    return optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-2}).x


@pytest.mark.parametrize("name", ["har", "harx"])
def test_widths_equal_an_explicit_likelihood(windows: Windows, name: str) -> None:
    panel = windows.panel
    later = windows.ends[panel.known_at[windows.ends] > REFIT][::97]
    everything = windows.ends[panel.known_at[windows.ends] <= REFIT]
    own = [
        i
        for i, column in enumerate(panel.names)
        if name == "harx"
        or (".range" in column and "exogenous" not in column)
        or column == "previous_day.volatility_change"
    ]
    inputs = panel.values[:, own].astype(float)
    varying = inputs[everything].std(axis=0) > 0
    inputs = inputs[:, varying]
    mean, deviation = inputs[everything].mean(axis=0), inputs[everything].std(axis=0)

    def design(ends: np.ndarray, step: int) -> np.ndarray:
        scaled = np.clip((inputs[ends] - mean) / deviation, -5, 5)
        known, learned = (windows.ahead(rows)[:, :step].mean(axis=1) for rows in (ends, everything))
        ahead = known / np.maximum(learned.std(axis=0), 0.05 / np.sqrt(step))
        return np.hstack([np.ones((len(ends), 1)), scaled, *([ahead] if name == "harx" else [])])

    # The calendar, ten inputs of each session, is charged by the session: three stocks share it.
    stocks = len(everything) / len(np.unique(panel.session[everything]))
    penalty = np.full(inputs.shape[1], 200.0)
    if name == "harx":
        penalty = np.concatenate([penalty, np.full(10, 200.0 * stocks), np.full(5, 200.0)])
    forecast = fitted(name, windows).forecast(windows, later)
    assert (forecast.mean == 0.0).all()
    variance = []
    for step in range(1, HORIZON + 1):
        ends, outcome = training(windows, step)
        point = best(design(ends, step), outcome, step * penalty)
        df = np.exp(point[-1])
        np.testing.assert_allclose(forecast.df[:, step - 1], df, rtol=5e-3)
        scale = panel.base_sigma[later] * np.sqrt(step) * np.exp(design(later, step) @ point[:-1])
        variance.append(scale**2 * df / (df - 2))
        if step > 1:
            variance[-1] = np.maximum(variance[-1], variance[-2] + 1e-3 * variance[0])
    np.testing.assert_allclose(forecast.sigma, np.sqrt(np.transpose(variance)), rtol=1e-3)


def test_without_ranges_har_is_a_student_t_of_constant_shape(history: History) -> None:
    windows = windows_of(assemble(history, ("exogenous",)))
    forecast = fitted("har", windows).forecast(windows, windows.ends[-9:])
    for step in range(1, HORIZON + 1):
        df, _, scale = stats.t.fit(training(windows, step)[1], floc=0.0)
        np.testing.assert_allclose(forecast.df[:, step - 1], df, rtol=5e-3)
        expected = scale * windows.panel.base_sigma[windows.ends[-9:]] * np.sqrt(step)
        np.testing.assert_allclose(forecast.scale[:, step - 1], expected, rtol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_a_forecast_does_not_depend_on_its_neighbours(windows: Windows, name: str) -> None:
    model = fitted(name, windows)
    ends = windows.ends[-40:]
    together = model.forecast(windows, ends)
    for i in (0, 17, 39):
        alone = model.forecast(windows, ends[i : i + 1])
        np.testing.assert_allclose(alone.sigma[0], together.sigma[i], rtol=1e-5)
    assert (np.diff(together.sigma, axis=1) > 0).all()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("groups", [GROUPS, ("trend",), ("previous_day",), ("exogenous",)])
def test_neither_fit_nor_forecast_sees_later_rows(
    history: History, name: str, groups: tuple[Group, ...]
) -> None:
    after = pd.Timestamp("2016-03-01")
    forecasts = []
    for one in (history, perturb(history, after)):
        windows = windows_of(assemble(one, groups))
        ends = windows.ends[windows.panel.known_at[windows.ends] <= REFIT][-50:]
        forecasts.append(fitted(name, windows).forecast(windows, ends))
    for level in (0.05, 0.99):
        np.testing.assert_array_equal(forecasts[0].quantile(level), forecasts[1].quantile(level))


@pytest.mark.parametrize("name", KINDS)
def test_one_symbol_is_enough(history: History, name: str) -> None:
    panel = assemble(history.only(["AAPL"]))
    market = [i for i, column in enumerate(panel.names) if "market" in column]
    windows = windows_of(panel)
    assert (panel.values[windows.ends][:, market] == 0.0).all(), "nobody else is there"
    forecast = fitted(name, windows).forecast(windows, windows.ends)
    assert np.isfinite(forecast.sigma).all()


@pytest.mark.parametrize("name", KINDS)
def test_too_little_history_is_refused(windows: Windows, name: str) -> None:
    first = windows.panel.known_at[windows.ends].min()
    with pytest.raises(TooLittleHistory, match="longer history"):
        KINDS[name]().fit(windows, first, lambda note: None)


def test_a_width_that_would_shrink_is_raised() -> None:
    np.testing.assert_allclose(
        widening(np.array([[2.0, 3.0, 1.0, 3.0, 5.0]])) ** 2, [[4.0, 9.0, 9.004, 9.008, 25.0]]
    )


def test_boosting_has_the_quantiles_of_its_residuals(windows: Windows) -> None:
    model = fitted("boosting", windows)
    ends = windows.ends
    forecast = model.forecast(windows, ends)
    assert forecast.values.shape == (len(ends), HORIZON, len(QUANTILES))
    assert (np.diff(forecast.values, axis=2) >= 0).all()
    median = QUANTILES.index(0.5)
    for step in range(1, HORIZON + 1):
        rows, _ = training(windows, step)
        scale = model.forecast(windows, rows).values[:, 0, -1]
        residuals = windows.labels(rows, known_by=REFIT)[:, step - 1] / scale
        expected = np.quantile(residuals, QUANTILES)
        ratio = forecast.values[:, step - 1] / forecast.values[:, 0, -1:]
        np.testing.assert_allclose(ratio, np.tile(expected, (len(ends), 1)), rtol=1e-6)
    assert (forecast.values[:, :, median] != 0).any(), "location and skewness are the residuals'"
    again = fitted("boosting", windows).forecast(windows, ends)
    np.testing.assert_array_equal(forecast.values, again.values)


def test_boosting_learns_what_widens_returns(history: History) -> None:
    """A made-up input that doubles the next session's return is found."""
    panel = assemble(history)
    random = np.random.default_rng(5)
    rows = len(panel.code)
    wild = random.integers(0, 2, rows)
    moves = 0.01 * (1 + wild[:-1]) * random.standard_normal(rows - 1)
    made_up = replace(
        panel,
        log_price=np.append(0.0, np.cumsum(moves)),
        base_sigma=np.full(rows, 0.01),
        values=np.column_stack([panel.values, wild]).astype(np.float32),
        names=(*panel.names, "exogenous.wild"),
    )
    windows = windows_of(made_up)
    forecast = fitted("boosting", windows).forecast(windows, windows.ends)
    flag = wild[windows.ends] == 1
    ratio = forecast.sigma[flag, 0].mean() / forecast.sigma[~flag, 0].mean()
    assert ratio == pytest.approx(2.0, rel=0.1)


def ranges_of(history: History) -> dict[str, pd.DataFrame]:
    """Each symbol's return and relative log range by session, with plain pandas."""
    found = {}
    for symbol, bars in history.traded.groupby("symbol"):
        rows = bars.set_index("session")
        close = rows["close"]
        returns = np.log(close / (close.shift() / rows["split"] - rows["dividend"]))
        sigma = np.sqrt((returns**2).ewm(alpha=0.06, min_periods=22, ignore_na=True).mean())
        variance = 0.5 * np.log(rows["high"] / rows["low"]) ** 2
        variance -= (2 * np.log(2) - 1) * np.log(close / rows["open"]) ** 2
        found[str(symbol)] = pd.DataFrame(
            {"return": returns, "range": 0.5 * np.log(variance) - np.log(sigma.shift())}
        )
    return found


@pytest.mark.parametrize("universe", [(), ("AAPL", "NFLX")])
def test_market_means_leave_the_symbol_itself_out(history: History, universe: tuple[str, ...]) -> None:
    panel = assemble(history, GROUPS, universe)
    moves = ranges_of(history)
    members = universe or history.symbols
    for symbol in history.symbols:
        others = [one for one in members if one != symbol]
        mean_range = pd.concat([moves[one]["range"] for one in others], axis=1).mean(axis=1)
        market = pd.concat([moves[one]["return"] for one in others], axis=1).mean(axis=1).dropna()
        squares = market**2
        fast = np.sqrt(squares.ewm(alpha=0.06, min_periods=22).mean())
        slow = np.sqrt(squares.ewm(alpha=0.015, min_periods=22).mean())
        own = moves[symbol]["return"] ** 2
        before = np.sqrt(own.ewm(alpha=0.06, min_periods=22, ignore_na=True).mean()).shift()
        expected = pd.DataFrame(
            {
                "market_return": market / fast.shift(),
                "market_drop": -np.minimum(market / fast.shift(), 0.0),
                "market_volatility": np.log(fast / before),
                "market_volatility_long": np.log(slow / before),
                "market_range": mean_range,
                "market_range_5": mean_range.rolling(5).mean(),
            }
        )
        mine = np.flatnonzero(panel.code == panel.symbols.index(symbol))[70:]
        for name in expected.columns:
            got = panel.values[mine, panel.names.index(f"exogenous.{name}")]
            wanted = expected[name].loc[panel.session[mine]].to_numpy()
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=f"{symbol} {name}")


def test_a_symbol_does_not_move_its_own_surroundings(history: History) -> None:
    day = pd.Timestamp("2018-05-10")
    changed = history.traded.copy()
    rows = (changed["symbol"] == "AAPL") & (changed["session"] == day)
    changed.loc[rows, ["high", "close"]] *= 1.3
    panel, other = assemble(history), assemble(replace(history, traded=changed))
    on_day = panel.session == day.to_datetime64()
    mine = panel.code == panel.symbols.index("AAPL")
    outside = [panel.names.index(f"exogenous.{name}") for name in NAMES]
    np.testing.assert_allclose(
        panel.values[on_day & mine][:, outside], other.values[on_day & mine][:, outside], rtol=1e-5
    )
    theirs = panel.names.index("exogenous.market_return")
    assert np.abs(panel.values[on_day & ~mine, theirs] - other.values[on_day & ~mine, theirs]).min() > 0.1, (
        "the others do see it"
    )


def test_alone_on_its_exchange_a_symbol_sees_the_last_known_market(history: History) -> None:
    """London closes before New York: what it knows of the market is New York's session before."""
    year = history.until("2014-12-31")
    london = {**year.instruments, "AAPL": replace(year.instruments["AAPL"], exchange="XLON")}
    kept = (year.traded["symbol"] != "AAPL") | year.traded["session"].isin(calendar("XLON").sessions)
    mixed = replace(year, traded=year.traded[kept].reset_index(drop=True), instruments=london)
    panel, plain = assemble(mixed), assemble(replace(mixed, instruments=year.instruments))
    column = panel.names.index("exogenous.market_range")
    mine = panel.code == panel.symbols.index("AAPL")
    day = np.datetime64("2014-10-15")
    at = np.flatnonzero(mine & (panel.session == day))[0]
    earlier = np.flatnonzero(mine & (plain.session == day - np.timedelta64(1, "D")))[0]
    assert panel.values[at, column] == pytest.approx(plain.values[earlier, column], rel=1e-5)
