"""Joint paths against plain loops, scipy and direct simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perturb import perturb
from planted import DAYS, history_from, planted
from scipy import sparse, stats

from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features import Panel, assemble
from forecaster.models.distribution import Distribution, QuantileTable, StudentT
from forecaster.models.paths import FEWEST, rescaled, shuffle, templates
from forecaster.windows import Windows

HORIZON = 20
STEPS = np.arange(1.0, HORIZON + 1)


def panel_of(
    kept: list[np.ndarray], returns: np.ndarray | None = None, sigma: float | np.ndarray = 1.0
) -> Panel:
    """A panel of random walks; `kept` names each symbol's sessions. Symbol i closes at 16 + i hours."""
    code = np.repeat(np.arange(len(kept), dtype=np.int32), [len(one) for one in kept])
    position = np.concatenate(kept)
    rows = len(code)
    if returns is None:
        returns = np.random.default_rng(7).normal(size=rows)
    session = np.datetime64("1950-01-01", "ns") + position * np.timedelta64(1, "D")
    return Panel(
        symbols=tuple(f"S{i}" for i in range(len(kept))),
        code=code,
        session=session,
        known_at=session + (16 + code) * np.timedelta64(1, "h"),
        position=position,
        close=np.ones(rows),
        log_price=np.cumsum(returns),
        log_return=returns,
        base_sigma=np.broadcast_to(sigma, rows).astype(float),
        values=np.zeros((rows, 1), np.float32),
        names=("trend.a",),
        ahead=np.zeros((position.max() + 1, 0), np.float32),
        announced=sparse.csr_array((rows, 0), dtype=np.float32),
        ahead_names=(),
        calendar=session,
    )


def student_t(horizon: int = HORIZON) -> StudentT:
    random = np.random.default_rng(horizon)
    sigma = 0.01 * np.sqrt(np.cumsum(random.uniform(0.5, 4, horizon)))
    return StudentT(random.normal(0, 0.002, horizon), sigma, random.uniform(3, 30, horizon))


def quantile_table(horizon: int = HORIZON) -> QuantileTable:
    return QuantileTable(np.sort(np.random.default_rng(horizon).standard_t(4, (horizon, 11))) * 0.01)


MARGINALS = [student_t, quantile_table]

# Whole numbers of a narrow range, so that many are equal.
some_templates = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10_000)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(-4, 5, drawn[:2]).astype(float)
)


@pytest.mark.parametrize("marginals", MARGINALS)
@settings(max_examples=40, deadline=None)
@given(given_templates=some_templates)
def test_a_path_has_at_each_step_the_quantile_of_its_templates_rank(marginals, given_templates) -> None:
    count, horizon = given_templates.shape
    forecast: Distribution = marginals(horizon)
    paths = shuffle(forecast, given_templates)
    assert paths.shape == (count, horizon)
    for step in range(horizon):
        column = given_templates[:, step]
        for i, value in enumerate(column):
            rank = sum(other < value for other in column) + sum(other == value for other in column[:i])
            expected = forecast.quantile((rank + 0.5) / count)[step]
            assert paths[i, step] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_each_steps_values_are_the_quantiles_of_scipy() -> None:
    forecast = student_t()
    drawn = np.random.default_rng(1).normal(size=(500, HORIZON))
    paths = np.sort(shuffle(forecast, drawn), axis=0)
    for step in range(HORIZON):
        scale = forecast.sigma[step] * np.sqrt((forecast.df[step] - 2) / forecast.df[step])
        marginal = stats.t(forecast.df[step], loc=forecast.mean[step], scale=scale)
        np.testing.assert_allclose(paths[:, step], marginal.ppf((np.arange(500) + 0.5) / 500), rtol=1e-9)


@pytest.mark.parametrize("marginals", MARGINALS)
def test_the_rank_dependence_between_steps_is_the_templates(marginals) -> None:
    drawn = np.random.default_rng(2).normal(size=(300, HORIZON)).cumsum(axis=1)
    paths = shuffle(marginals(), drawn)
    np.testing.assert_array_equal(stats.rankdata(paths, axis=0), stats.rankdata(drawn, axis=0))
    np.testing.assert_allclose(stats.spearmanr(paths).statistic, stats.spearmanr(drawn).statistic, rtol=1e-12)


def test_templates_of_another_horizon_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(20,\) and the templates 5 steps"):
        shuffle(student_t(), np.zeros((10, 5)))
    several = StudentT(np.zeros((3, 5)), np.ones((3, 5)), np.full((3, 5), 5.0))
    with pytest.raises(ModelError, match="forecast of one cutoff"):
        shuffle(several, np.zeros((10, 5)))


kept_sessions = st.lists(
    st.lists(st.integers(0, 59), min_size=1, max_size=60, unique=True).map(
        lambda days: np.array(sorted(days))
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=80, deadline=None)
@given(kept_sessions, st.integers(1, 5), st.integers(1, 120), st.data())
def test_templates_equal_a_plain_loop(kept, horizon, count, data) -> None:
    panel = panel_of(kept)
    rows = len(panel.code)
    sigma = np.random.default_rng(3).uniform(0.5, 2, rows)
    sigma[:: data.draw(st.integers(2, 9))] = np.nan
    panel = replace(panel, base_sigma=sigma)
    end = data.draw(st.integers(0, rows - 1))
    now = panel.known_at[end]
    row_of = {(panel.code[row], panel.position[row]): row for row in range(rows)}
    expected = []
    for start in range(rows):
        later = [
            row_of.get((panel.code[start], panel.position[start] + step)) for step in range(1, horizon + 1)
        ]
        if np.isnan(sigma[start]) or None in later or panel.known_at[later[-1]] > now:
            continue
        order = (panel.code[start] != panel.code[end], now - panel.known_at[start], panel.code[start])
        expected.append((order, (panel.log_price[later] - panel.log_price[start]) / sigma[start]))
    expected.sort(key=lambda one: one[0])
    if len(expected) < min(count, FEWEST):
        with pytest.raises(TooLittleHistory, match=f"{len(expected)} past stretches of {horizon} sessions"):
            templates(Windows(panel, 2, horizon), end, count)
        return
    found = templates(Windows(panel, 2, horizon), end, count)
    np.testing.assert_array_equal(found, [stretch for _, stretch in expected[:count]])


def test_too_little_history_names_the_symbol_and_what_is_needed() -> None:
    windows = Windows(panel_of([np.arange(90), np.arange(20)]), 2, HORIZON)
    with pytest.raises(TooLittleHistory, match=rf"S0: 70 past stretches .* at least {FEWEST}: bring"):
        templates(windows, 89, 1000)
    assert templates(windows, 89, 50).shape == (50, HORIZON)
    longer = Windows(panel_of([np.arange(90), np.arange(60)]), 2, HORIZON)
    assert templates(longer, 89, 1000).shape == (70 + 40, HORIZON)


def test_what_windows_leave_out_is_a_template_all_the_same() -> None:
    windows = Windows(panel_of([np.arange(200)]), 2, HORIZON)
    rolling = windows.but_since(windows.panel.known_at[150]).but_among(np.array([199]))
    np.testing.assert_array_equal(templates(rolling, 199, 150), templates(windows, 199, 150))


@pytest.mark.parametrize("end", [150, 450])
def test_templates_do_not_see_what_is_known_later(end: int) -> None:
    panel = panel_of([np.arange(300), np.arange(40, 300), np.arange(20, 300, 2)])
    now = panel.known_at[end]
    true = templates(Windows(panel, 2, 10), end, 250)
    later = panel.known_at > now
    assert later.sum() > 200
    random = np.random.default_rng(4)
    false = replace(
        panel,
        log_price=np.where(later, random.normal(size=len(later)), panel.log_price),
        base_sigma=np.where(later, random.uniform(size=len(later)), panel.base_sigma),
    )
    np.testing.assert_array_equal(templates(Windows(false, 2, 10), end, 250), true)
    rows = (
        "code",
        "session",
        "known_at",
        "position",
        "close",
        "log_price",
        "log_return",
        "base_sigma",
        "values",
    )
    cut = replace(panel, **{name: getattr(panel, name)[~later] for name in rows})
    np.testing.assert_array_equal(templates(Windows(cut, 2, 10), int((~later)[:end].sum()), 250), true)
    # The cut is where it should be: one session earlier, the last stretch was not over.
    assert not np.array_equal(templates(Windows(panel, 2, 10), end - 1, 250), true)


def test_paths_of_a_history_do_not_see_its_future() -> None:
    history = history_from(*planted())
    after = pd.Timestamp(DAYS[700])
    found = []
    for one in (history, perturb(history, after), history.until(after)):
        windows = Windows(assemble(one, ("trend", "previous_day")), 16, HORIZON)
        end = int(np.flatnonzero(windows.panel.session == after.to_datetime64())[1])
        found.append(shuffle(student_t(), templates(windows, end, 1000)))
    assert len(found[0]) == 1000
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def simulated(draw: np.ndarray) -> np.ndarray:
    """Templates of a panel whose returns are these times a volatility that changes every 500 sessions."""
    sigma = np.repeat(np.random.default_rng(5).uniform(0.5, 3, len(draw) // 500), 500)
    # The base volatility at a start is that of the sessions that follow it.
    panel = panel_of([np.arange(len(draw))], np.append(0.0, (sigma * draw)[:-1]), sigma)
    return templates(Windows(panel, 2, HORIZON), len(draw) - 1, len(draw) - HORIZON)


@pytest.mark.parametrize("df", [5.0, 1e6])
def test_the_probability_of_touching_a_level_is_that_of_a_simulation(df: float) -> None:
    """Independent returns of unit variance; tolerance .015, three standard errors of the templates."""
    random = np.random.default_rng(6)
    unit = np.sqrt((df - 2) / df)
    truth = (random.standard_t(df, (100_000, HORIZON)) * unit).cumsum(axis=1)
    # The Student-t with the variance and the kurtosis of the sum, 3 + 6 / (df - 4) / step.
    marginals = StudentT(np.zeros(HORIZON), np.sqrt(STEPS), 4 + (df - 4) * STEPS)
    paths = shuffle(marginals, simulated(random.standard_t(df, 20_000) * unit))
    for level in (2.0, 4.0, 7.0, 10.0):
        direct = (truth.max(axis=1) >= level).mean()
        assert (paths.max(axis=1) >= level).mean() == pytest.approx(direct, abs=0.015)
        assert (paths.min(axis=1) <= -level).mean() == pytest.approx(direct, abs=0.015)
        assert direct > (truth[:, -1] >= level).mean() + 0.005, "touching must differ from ending there"


def test_the_variances_of_an_average_and_of_each_session_are_those_of_a_random_walk() -> None:
    marginals = StudentT(np.zeros(HORIZON), np.sqrt(STEPS), np.full(HORIZON, 1e6))
    paths = shuffle(marginals, simulated(np.random.default_rng(8).normal(size=20_000)))
    expected = np.minimum(STEPS[:, None], STEPS).sum() / HORIZON**2
    assert paths.mean(axis=1).var() == pytest.approx(expected, rel=0.03)
    np.testing.assert_allclose(np.diff(paths, axis=1, prepend=0.0).var(axis=0), 1.0, atol=0.06)


@settings(max_examples=40, deadline=None)
@given(some_templates)
def test_rescaled_sessions_have_the_variance_that_the_forecast_expects(given_templates) -> None:
    count, horizon = given_templates.shape
    sigma = student_t(horizon).sigma
    found = rescaled(given_templates, sigma)
    before, total = np.zeros(count), np.zeros(count)
    for step in range(horizon):
        session = given_templates[:, step] - before
        seen = np.sqrt(sum(session**2) / count)
        expected = np.sqrt(sigma[step] ** 2 - (sigma[step - 1] ** 2 if step else 0.0))
        total = total + (session * expected / seen if seen > 0 else 0.0)
        np.testing.assert_allclose(found[:, step], total, rtol=1e-9, atol=1e-15)
        before = given_templates[:, step]


def test_a_step_whose_variance_does_not_grow_adds_nothing() -> None:
    drawn = np.random.default_rng(9).normal(size=(50, 3)).cumsum(axis=1)
    found = rescaled(drawn, np.array([0.02, 0.02, 0.01]))
    np.testing.assert_array_equal(found, found[:, :1].repeat(3, axis=1))


def test_the_days_before_an_announced_event_do_not_know_how_it_goes() -> None:
    """Session 5 is six times as wide as the others, in the forecast but not in the templates."""
    random = np.random.default_rng(10)
    wide = np.where(STEPS == 5, 6.0, 1.0)
    truth = (random.normal(size=(100_000, HORIZON)) * wide).cumsum(axis=1)
    marginals = StudentT(np.zeros(HORIZON), np.sqrt(np.cumsum(wide**2)), np.full(HORIZON, 1e6))
    plain = simulated(random.normal(size=20_000))
    paths = shuffle(marginals, rescaled(plain, marginals.sigma))
    for level in (3.0, 6.0, 9.0, 12.0):
        direct = (truth.max(axis=1) >= level).mean()
        assert (paths.max(axis=1) >= level).mean() == pytest.approx(direct, abs=0.015)
    assert stats.spearmanr(paths[:, 3], paths[:, 4] - paths[:, 3]).statistic == pytest.approx(0, abs=0.05)
    unfiltered = shuffle(marginals, plain)
    assert stats.spearmanr(unfiltered[:, 3], unfiltered[:, 4] - unfiltered[:, 3]).statistic > 0.7
