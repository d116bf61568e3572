"""GARCH and GJR-GARCH against the package arch, and the constant width against a plain loop."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from arch.univariate import GARCH, StudentsT, ZeroMean
from arch.univariate.base import ARCHModelFixedResult
from perturb import close_of, perturb
from scipy import stats

from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models.constant import Constant
from forecaster.models.distribution import StudentT
from forecaster.models.garch import Garch, Process
from forecaster.windows import Windows

REFIT = np.datetime64("2016-03-01T21:00")
"""The close of that session in UTC."""

MAKERS = {
    "constant": Constant,
    "garch_t": lambda: Garch("garch_t", asymmetric=False),
    "gjr_t": lambda: Garch("gjr_t", asymmetric=True),
}
GARCHES = ["garch_t", "gjr_t"]


def fit(name: str, windows: Windows, known_by: np.datetime64 = REFIT) -> Constant | Garch:
    return MAKERS[name]().fit(windows, known_by, lambda note: None)


@pytest.fixture(scope="module")
def windows(history: History, tiny: Recipe) -> Windows:
    return Windows(assemble(history), tiny.lookback, tiny.horizon)


@pytest.fixture(scope="module")
def later(windows: Windows) -> np.ndarray:
    """Cutoffs after the refit."""
    return windows.ends[windows.panel.known_at[windows.ends] > REFIT]


@pytest.fixture(scope="module")
def fitted(windows: Windows) -> dict[str, Constant | Garch]:
    return {name: fit(name, windows) for name in MAKERS}


def percent(windows: Windows, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a return of a symbol, and those returns in percent."""
    panel = windows.panel
    mine = panel.code == panel.symbols.index(symbol)
    rows = np.flatnonzero(mine & np.isfinite(panel.log_return))
    return rows, 100 * panel.log_return[rows]


def arch_of(returns: np.ndarray, name: str) -> ZeroMean:
    variance = GARCH(p=1, o=int(name == "gjr_t"), q=1)
    return ZeroMean(returns, volatility=variance, distribution=StudentsT(seed=1), rescale=False)


def parameters(windows: Windows, symbol: str, name: str, since: str = "1900-01-01") -> pd.Series:
    """What arch fits to the returns known at the refit."""
    rows, returns = percent(windows, symbol)
    known_at = windows.panel.known_at[rows]
    known = (known_at <= REFIT) & (known_at >= np.datetime64(since))
    return arch_of(returns[known], name).fit(disp="off").params


def as_of(windows: Windows, symbol: str, name: str, end: int) -> ARCHModelFixedResult:
    """What arch makes of a symbol's returns up to a row, with the parameters of the refit."""
    rows, returns = percent(windows, symbol)
    return arch_of(returns[rows <= end], name).fix(parameters(windows, symbol, name))


@pytest.mark.parametrize("name", MAKERS)
def test_contract(windows: Windows, tiny: Recipe, fitted: dict, name: str) -> None:
    notes: list[str] = []
    model = MAKERS[name]().fit(windows, REFIT, notes.append)
    assert model.name == name
    assert len(notes) == model.steps
    forecast = model.forecast(windows, windows.ends)
    assert isinstance(forecast, StudentT)
    shape = (len(windows.ends), tiny.horizon)
    assert forecast.mean.shape == forecast.sigma.shape == forecast.df.shape == shape
    assert np.isfinite(forecast.sigma).all()
    assert np.isfinite(forecast.df).all()
    assert (forecast.df > 2).all()
    assert (np.diff(forecast.sigma, axis=1) > 0).all(), "the fan widens with every step"
    assert not forecast.mean.any(), "the median forecast is the last price"
    again = fitted[name].forecast(windows, windows.ends)
    for parameter in ("sigma", "df"):
        np.testing.assert_array_equal(getattr(forecast, parameter), getattr(again, parameter))
    for row in (0, 1234, len(windows.ends) - 1):
        alone = model.forecast(windows, windows.ends[row : row + 1])
        np.testing.assert_array_equal(alone.sigma[0], forecast.sigma[row])
        np.testing.assert_array_equal(alone.df[0], forecast.df[row])


@pytest.mark.parametrize("name", GARCHES)
@pytest.mark.parametrize("symbol", ["AAPL", "NFLX"])
def test_one_step_ahead_is_the_forecast_of_arch(
    windows: Windows, later: np.ndarray, fitted: dict, name: str, symbol: str
) -> None:
    panel = windows.panel
    ends = later[panel.code[later] == panel.symbols.index(symbol)]
    forecast = fitted[name].forecast(windows, ends)
    for row in (0, 1, 250, len(ends) - 1):
        theirs = as_of(windows, symbol, name, ends[row])
        variance = theirs.forecast(horizon=1).variance.iloc[-1, 0]
        assert (100 * forecast.sigma[row, 0]) ** 2 == pytest.approx(variance, rel=1e-9)
        assert forecast.df[row, 0] == pytest.approx(theirs.params["nu"], rel=1e-12)
    rows, _ = percent(windows, symbol)
    filtered = theirs.conditional_volatility[np.searchsorted(rows, ends[:-1]) + 1]
    np.testing.assert_allclose(100 * forecast.sigma[:-1, 0], filtered, rtol=1e-9)


@pytest.mark.parametrize("name", GARCHES)
@pytest.mark.parametrize(("symbol", "tolerance"), [("AAPL", 0.03), ("NFLX", 0.06)])
def test_further_ahead_equals_the_simulation_of_arch(
    windows: Windows, later: np.ndarray, tiny: Recipe, fitted: dict, name: str, symbol: str, tolerance: float
) -> None:
    """Shocks of NFLX have three degrees of freedom: sums of them are less like a Student-t."""
    panel = windows.panel
    ends = later[panel.code[later] == panel.symbols.index(symbol)]
    calm_to_wild = ends[np.argsort(fitted[name].forecast(windows, ends).sigma[:, 0])]
    for end in calm_to_wild[[10, len(ends) // 2, -10]]:
        forecast = fitted[name].forecast(windows, np.array([end]))[0]
        theirs = as_of(windows, symbol, name, end)
        expected = theirs.forecast(horizon=tiny.horizon).variance.iloc[-1].cumsum()
        np.testing.assert_allclose((100 * forecast.sigma) ** 2, expected, rtol=1e-9)
        made = theirs.forecast(horizon=tiny.horizon, method="simulation", simulations=30_000)
        paths = made.simulations.values[-1].cumsum(axis=1) / 100
        np.testing.assert_allclose(forecast.sigma, paths.std(axis=0), rtol=2 * tolerance)
        tails = np.quantile(paths, [0.05, 0.95], axis=0) / np.stack(
            [forecast.quantile(0.05), forecast.quantile(0.95)]
        )
        np.testing.assert_allclose(tails.mean(axis=0), 1.0, atol=tolerance)
        # GJR paths lean to the left, the more so the longer they are; a Student-t does not.
        np.testing.assert_allclose(tails, 1.0, atol=0.01 + tolerance if name == "garch_t" else 0.12)
        for step in (2, 5, 20):
            one = forecast[step - 1 : step]
            absolute = stats.t.expect(abs, args=(one.df[0],), scale=one.scale[0])
            assert absolute == pytest.approx(np.abs(paths[:, step - 1]).mean(), rel=tolerance / 2)
            df, _, scale = stats.t.fit(paths[:, step - 1], floc=0)
            best = -stats.t.logpdf(paths[:, step - 1], df, scale=scale).mean()
            assert one.log_score(paths[:, step - 1]).mean() == pytest.approx(best, abs=0.003)


@pytest.mark.parametrize("name", GARCHES)
def test_a_session_without_a_return_leaves_the_variance_as_it_was(windows: Windows, name: str) -> None:
    params = parameters(windows, "AAPL", name)
    _, returns = percent(windows, "AAPL")
    model = arch_of(returns, name)
    gamma = params.get("gamma[1]", 0.0)
    process = Process(
        *params[["omega", "alpha[1]"]],
        gamma,
        *params[["beta[1]", "nu"]],
        start=model.volatility.backcast(returns),
    )
    holed = np.insert(returns, [0, 300, 300, 900], np.nan)
    variance = process.tomorrow(holed)
    known = np.isfinite(holed)
    theirs = model.fix(params).conditional_volatility ** 2
    np.testing.assert_allclose(variance[known][:-1], theirs[1:], rtol=1e-8)
    assert variance[0] == pytest.approx(theirs[0], rel=1e-8)
    np.testing.assert_array_equal(variance[1:][~known[1:]], variance[:-1][~known[1:]])


def test_a_rolling_training_fits_from_its_start_on(windows: Windows, later: np.ndarray) -> None:
    rolling = replace(windows, since=np.datetime64("2014-06-01"))
    forecast = fit("gjr_t", rolling).forecast(rolling, later)
    for symbol in ("AAPL", "NFLX"):
        mine = windows.panel.code[later] == windows.panel.symbols.index(symbol)
        df = parameters(windows, symbol, "gjr_t", since="2014-06-01")["nu"]
        np.testing.assert_allclose(forecast.df[mine, 0], df, rtol=1e-12)
    assert np.isfinite(fit("gjr_t", rolling).forecast(rolling, windows.ends).sigma).all()


@pytest.fixture(scope="module")
def uneven(history: History, tiny: Recipe) -> Windows:
    """AAPL as it is, NFLX listed some months before the refit, NVDA after it."""
    listed = history.traded["symbol"].map({"AAPL": "2000-01-01", "NFLX": "2015-09-01", "NVDA": "2016-04-01"})
    traded = history.traded[history.traded["session"] >= pd.to_datetime(listed)].reset_index(drop=True)
    return Windows(assemble(replace(history, traded=traded)), tiny.lookback, tiny.horizon)


def follows(model: Constant | Garch, windows: Windows, symbol: str, params: pd.Series, level: float) -> None:
    """Check forecasts of a symbol against a plain loop of the recursion around a level."""
    alpha, beta, gamma = params["alpha[1]"], params["beta[1]"], params.get("gamma[1]", 0.0)
    omega = level * (1 - alpha - gamma / 2 - beta)
    variance = level
    tomorrow = {}
    for row, value in zip(*percent(windows, symbol), strict=True):
        variance = omega + (alpha + gamma * (value < 0)) * value**2 + beta * variance
        tomorrow[row] = variance
    ends = windows.ends[windows.panel.code[windows.ends] == windows.panel.symbols.index(symbol)]
    forecast = model.forecast(windows, ends)
    np.testing.assert_allclose((100 * forecast.sigma[:, 0]) ** 2, [tomorrow[end] for end in ends], rtol=1e-9)
    np.testing.assert_allclose(forecast.df[:, 0], params["nu"], rtol=1e-12)
    assert np.isfinite(forecast.df).all()
    assert (np.diff(forecast.sigma, axis=1) > 0).all()


def level_of(windows: Windows, symbol: str) -> float:
    """Mean squared return of a symbol up to the refit."""
    rows, returns = percent(windows, symbol)
    return float(np.mean(returns[windows.panel.known_at[rows] <= REFIT] ** 2))


@pytest.mark.parametrize("name", GARCHES)
def test_a_symbol_too_short_to_fit_follows_the_others_at_its_own_level(uneven: Windows, name: str) -> None:
    model, params = fit(name, uneven), parameters(uneven, "AAPL", name)
    follows(model, uneven, "NFLX", params, level_of(uneven, "NFLX"))
    follows(model, uneven, "NVDA", params, level_of(uneven, "AAPL"))


@pytest.mark.parametrize("name", GARCHES)
def test_a_fit_whose_shocks_never_die_out_is_replaced_by_the_median(
    windows: Windows, fitted: dict, name: str
) -> None:
    integrated = parameters(windows, "NVDA", name)
    assert integrated[["alpha[1]", "beta[1]"]].sum() + integrated.get("gamma[1]", 0) / 2 > 0.9999
    # Of two, the median is the mean.
    others = (parameters(windows, "AAPL", name) + parameters(windows, "NFLX", name)) / 2
    follows(fitted[name], windows, "NVDA", others, level_of(windows, "NVDA"))


@pytest.mark.parametrize("name", MAKERS)
def test_a_symbol_that_the_fit_has_not_seen_is_forecast(
    history: History, windows: Windows, later: np.ndarray, tiny: Recipe, name: str
) -> None:
    two = Windows(assemble(history.only(("AAPL", "NVDA"))), tiny.lookback, tiny.horizon)
    model = fit(name, two)
    forecast = model.forecast(windows, later)
    assert np.isfinite(forecast.sigma).all()
    assert (np.diff(forecast.sigma, axis=1) > 0).all()
    mine = windows.panel.code[later] == windows.panel.symbols.index("NVDA")
    ends = two.ends[two.panel.known_at[two.ends] > REFIT]
    ends = ends[two.panel.code[ends] == two.panel.symbols.index("NVDA")]
    np.testing.assert_array_equal(forecast.sigma[mine], model.forecast(two, ends).sigma)


@pytest.mark.parametrize("name", MAKERS)
def test_too_short_a_history_to_fit_any_symbol_gets_round_figures(windows: Windows, name: str) -> None:
    early = np.datetime64("2013-06-15")
    if name == "constant":
        with pytest.raises(TooLittleHistory, match="bring"):
            fit(name, windows, np.datetime64("2013-04-15"))
        return
    ends = windows.ends[windows.panel.known_at[windows.ends] > early][:40]
    forecast = fit(name, windows, early).forecast(windows, ends)
    assert np.isfinite(forecast.df).all()
    returns = windows.panel.log_return[np.isfinite(windows.panel.log_return)]
    assert (forecast.sigma[:, 0] > 0.3 * returns.std()).all()
    assert (forecast.sigma[:, 0] < 3 * returns.std()).all()


@pytest.mark.parametrize("name", GARCHES)
def test_a_fit_is_silent(windows: Windows, capfd: pytest.CaptureFixture, name: str) -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(name, windows, np.datetime64("2014-04-01"))
    assert capfd.readouterr() == ("", "")
    assert warnings.filters == before


@pytest.mark.parametrize("name", MAKERS)
def test_what_comes_later_does_not_move_a_bit(history: History, tiny: Recipe, name: str) -> None:
    refit, cut = pd.Timestamp("2016-03-01"), pd.Timestamp("2016-09-01")
    moments = [close_of(day).tz_localize(None).to_datetime64() for day in (refit, cut)]
    listed = pd.Timestamp("2016-03-15")
    traded = history.traded
    late = traded[(traded["symbol"] != "NVDA") | (traded["session"] >= listed)].reset_index(drop=True)
    true = replace(history, traded=late)
    for moment, after in zip(moments, (refit, cut), strict=True):
        forecasts = []
        for one in (true, perturb(true, after)):
            windows = Windows(assemble(one), tiny.lookback, tiny.horizon)
            ends = windows.ends[windows.panel.known_at[windows.ends] <= moment]
            assert len(np.unique(windows.panel.code[ends])) == (2 if after == refit else 3)
            forecasts.append(fit(name, windows, moments[0]).forecast(windows, ends))
        for parameter in ("mean", "sigma", "df"):
            np.testing.assert_array_equal(getattr(forecasts[0], parameter), getattr(forecasts[1], parameter))


def test_constant_width_equals_a_plain_loop(uneven: Windows) -> None:
    panel = uneven.panel
    forecast = fit("constant", uneven).forecast(uneven, uneven.ends)
    for step in (1, 20):
        squares: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for end in uneven.ends:
            row = uneven.label_rows[end, step - 1]
            if row >= 0 and panel.known_at[row] <= REFIT:
                squares[panel.code[end]].append((panel.log_price[row] - panel.log_price[end]) ** 2)
        assert len(squares[0]) > 66 > len(squares[1]) > 0 == len(squares[2])
        own, pooled = np.sqrt(np.mean(squares[0])), np.sqrt(np.mean(squares[0] + squares[1]))
        for code, expected in ((0, own), (1, pooled), (2, pooled)):
            sigma = forecast.sigma[panel.code[uneven.ends] == code, step - 1]
            np.testing.assert_allclose(sigma, expected, rtol=1e-12)
    for level in (0.01, 0.25, 0.9):
        normal = stats.norm.ppf(level, scale=forecast.sigma[0])
        assert (np.abs(forecast.quantile(level)[0] - normal) < 0.01 * forecast.sigma[0]).all()


def test_constant_width_grows_even_where_the_sample_says_that_it_shrinks(windows: Windows) -> None:
    """A price that jumps to and fro: the return over two sessions is zero."""
    panel = windows.panel
    first = np.searchsorted(panel.code, panel.code)
    toggling = 0.01 * ((np.arange(len(panel.code)) - first) % 2)
    odd = replace(windows, panel=replace(panel, log_price=toggling))
    sigma = fit("constant", odd).forecast(odd, odd.ends[:1]).sigma[0]
    assert (np.diff(sigma) > 0).all()
    np.testing.assert_allclose(sigma, 0.01, rtol=0.01)
