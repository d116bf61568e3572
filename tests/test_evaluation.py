"""Folds, scores, tests and verdict against plain loops and other libraries."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_windows import SESSIONS, panel_of

from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory, UsageError
from forecaster.evaluation.backtest import Backtest, backtest
from forecaster.evaluation.folds import walk_forward
from forecaster.evaluation.scores import score_table, with_scores
from forecaster.evaluation.significance import daily_losses, paired_test
from forecaster.evaluation.verdict import probability, verdict
from forecaster.history import History
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES
from forecaster.windows import Windows


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(4, 30), st.integers(2, 8), st.integers(1, 6))
def test_folds_cover_the_test_sessions_once_and_labels_are_known_by_the_refit(
    folds: int, test_sessions: int, lookback: int, horizon: int
) -> None:
    windows = Windows(panel_of([np.arange(100), np.arange(20, 90)]), lookback, horizon)
    plan = walk_forward(windows, folds, test_sessions)
    session = windows.panel.session
    last = np.unique(session[windows.ends])[-test_sessions:]
    tested = np.concatenate([fold.cutoffs for fold in plan])
    assert len(np.unique(tested)) == len(tested)
    assert set(tested) == {row for row in windows.ends if session[row] in last}
    for fold in plan:
        assert len(fold.cutoffs)
        assert session[fold.cutoffs].min() == fold.refit
        labels = windows.labels(windows.ends, known_by=fold.refit)
        for row, steps in zip(windows.ends, labels, strict=True):
            for step, label in enumerate(steps, start=1):
                due = windows.panel.position[row] + step
                stored = due in windows.panel.position[windows.panel.code == windows.panel.code[row]]
                assert np.isfinite(label) == (stored and SESSIONS[due] <= fold.refit)


def test_folds_that_do_not_fit_are_refused() -> None:
    windows = Windows(panel_of([np.arange(100)]), 5, 5)
    with pytest.raises(UsageError, match="folds"):
        walk_forward(windows, 11, 10)
    with pytest.raises(TooLittleHistory, match="too few to hold 90 back"):
        walk_forward(windows, 1, 90)


def forecasts(dates: int = 120, symbols: int = 3) -> pd.DataFrame:
    """Two models on the same stock-days: one knows the volatility, the other does not."""
    random = np.random.default_rng(11)
    rows = []
    for day in pd.bdate_range("2020-01-01", periods=dates):
        for symbol in range(symbols):
            sigma = random.choice([0.01, 0.04])
            outcome = float(stats.t.rvs(5, random_state=random)) * sigma * np.sqrt(3 / 5)
            for model, width, mean in (("rolling_t", 0.03, 0.0), ("served", sigma, 0.001)):
                scale = width * np.sqrt(3 / 5)
                rows.append(
                    {
                        "symbol": f"S{symbol}",
                        "cutoff": day,
                        "step": 1,
                        "model": model,
                        "mean": mean,
                        "sigma": width,
                        "df": 5.0,
                        "prob_up": 1 - stats.t.cdf(-mean / scale, 5),
                        "outcome": outcome,
                        **{
                            name: mean + scale * stats.t.ppf(level, 5)
                            for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
                        },
                    }
                )
    frame = pd.DataFrame(rows)
    return with_scores(frame.drop(columns="outcome"), frame["outcome"].to_numpy())


def test_scores_equal_a_plain_loop() -> None:
    table = forecasts()
    row = score_table(table).set_index("model").loc["served"]
    mine = table[table["model"] == "served"].to_dict("records")
    base = table[table["model"] == "rolling_t"].to_dict("records")
    pinball = [max(0.05 * (r["outcome"] - r["q05"]), -0.95 * (r["outcome"] - r["q05"])) for r in mine]
    assert row["pinball_05"] == pytest.approx(1e4 * sum(pinball) / len(pinball))
    inside = [r["q05"] <= r["outcome"] <= r["q95"] for r in mine]
    assert row["coverage_90"] == pytest.approx(100 * sum(inside) / len(inside))
    right = [(r["prob_up"] > 0.5) == (r["outcome"] > 0) for r in mine if abs(r["prob_up"] - 0.5) >= 0.005]
    assert len(right) >= 100
    assert row["direction"] == pytest.approx(100 * sum(right) / len(right))
    error = [abs(np.exp(r["q50"]) - np.exp(r["outcome"])) for r in mine]
    assert row["mae"] == pytest.approx(100 * sum(error) / len(error))
    last_price = [abs(1 - np.exp(r["outcome"])) for r in base]
    assert row["mae_skill"] == pytest.approx(100 * (1 - sum(error) / sum(last_price)))
    density = [-stats.t.logpdf(r["outcome"], 5, r["mean"], r["sigma"] * np.sqrt(3 / 5)) for r in mine]
    assert row["log_score"] == pytest.approx(sum(density) / len(density))
    assert row["forecasts"] == 360
    assert row["dates"] == 120


def test_the_test_is_a_hac_regression_of_daily_mean_differences() -> None:
    table = forecasts()
    losses = daily_losses(table, "log_score")
    by_day = dict(iter(table.groupby("cutoff")))
    expected = [by_day[day].loc[by_day[day]["model"] == "served", "log_score"].mean() for day in losses.index]
    np.testing.assert_allclose(losses["served"], expected)
    difference = (losses["served"] - losses["rolling_t"]).to_numpy()
    lags = int(np.ceil(len(difference) ** (1 / 3)))
    fit = sm.OLS(difference, np.ones(len(difference))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    count = len(difference)
    statistic = fit.tvalues[0] * np.sqrt((count - 1) / count)
    test = paired_test(losses["served"].to_numpy(), losses["rolling_t"].to_numpy(), horizon=1)
    assert test.difference == pytest.approx(difference.mean())
    assert test.error == pytest.approx(abs(difference.mean() / statistic))
    assert test.p_value == pytest.approx(2 * stats.t.cdf(-abs(statistic), count - 1))
    assert test.first_is_better


def test_scores_weigh_dates_not_stock_days() -> None:
    """With uneven symbols per date, the figures and the tests must speak of the same means."""
    table = forecasts()
    days = sorted(table["cutoff"].unique())
    uneven = table[(table["symbol"] == "S0") | (table["cutoff"] < days[30])]
    row = score_table(uneven).set_index("model")
    for score, column in (("log_score", "log_score"), ("crps", "crps")):
        expected = uneven[uneven["model"] == "served"].groupby("cutoff")[score].mean().mean()
        assert row.loc["served", column] == pytest.approx(expected)
    gain = row.loc["rolling_t", "log_score"] - row.loc["served", "log_score"]
    assert row.loc["served", "log_score_gain"] == pytest.approx(gain)


def test_the_test_of_overlapping_outcomes_keeps_its_size() -> None:
    random = np.random.default_rng(3)
    kernel = np.ones(20) / np.sqrt(20)
    found = []
    for _ in range(600):
        difference = np.convolve(random.normal(size=519), kernel, "valid")
        found.append(paired_test(difference, np.zeros(500), horizon=20).p_value < 0.05)
    assert np.mean(found) < 0.085


def test_the_last_price_is_always_scored_and_a_pool_needs_its_cells(history: History, tiny: Recipe) -> None:
    table = backtest(history.until("2017-12-29"), tiny, folds=1, test_sessions=100, models=["ewma_t"])
    assert set(table.forecasts["model"]) == {"rolling_t", "ewma_t"}
    assert table.verdict().startswith("Served: pool of the networks: not scored here.")


def test_stock_days_of_one_date_count_once() -> None:
    """Copying every symbol ten times must not make a difference more significant."""
    table = forecasts(dates=60)
    copies = pd.concat([table.assign(symbol=table["symbol"] + str(copy)) for copy in range(10)])
    few, many = (score_table(one).set_index("model").loc["served", "log_score_p"] for one in (table, copies))
    assert many == pytest.approx(few)


def test_pure_noise_is_rarely_called_better() -> None:
    random = np.random.default_rng(2)
    found = [
        paired_test(random.normal(size=250), random.normal(size=250), horizon=1).p_value < 0.05
        for _ in range(300)
    ]
    assert 0.02 < np.mean(found) < 0.10


def test_a_pool_of_one_is_not_tested_against_its_member() -> None:
    losses = np.random.default_rng(0).normal(size=300)
    test = paired_test(losses * (1 + 1e-16), losses, horizon=1)
    assert np.isnan(test.p_value)
    assert not test.first_is_better


def test_too_few_dates_give_no_verdict_of_skill() -> None:
    scores = score_table(forecasts(dates=20))
    assert np.isnan(scores["log_score_p"]).all()
    assert not scores["is_best"].any()
    assert "20 dates are too few" in verdict(scores)


def table_row(gain: float, p: float, mae_skill: float = 0.1, mae_p: float = 0.5) -> pd.DataFrame:
    common = {"step": 1, "dates": 500, "mae": 1.2, "mae_skill": mae_skill, "mae_p": mae_p, "is_best": False}
    return pd.DataFrame(
        [
            {"model": "rolling_t", "log_score": 0.0, "log_score_gain": 0.0, "log_score_p": np.nan, **common},
            {"model": "served", "log_score": -gain, "log_score_gain": gain, "log_score_p": p, **common},
        ]
    )


@pytest.mark.parametrize(
    ("gain", "p", "words"),
    [
        (
            0.05,
            0.0004,
            "It beats the last price in distribution (+0.050 nats a forecast, p < .001, 500 dates)",
        ),
        (0.05, 0.2, "It is not distinguishable from the last price in distribution"),
        (-0.05, 0.01, "It is worse than the last price in distribution"),
        (-0.05, 0.9, "It is not distinguishable"),
    ],
)
def test_the_verdict_says_no_more_than_the_test(gain: float, p: float, words: str) -> None:
    said = verdict(table_row(gain, p))
    assert words in said
    assert "Best of all" not in said
    assert "not distinguishable from the last price's error" in said


def test_the_verdict_on_the_price() -> None:
    assert "2.0 % more than the last price (p = .010)" in verdict(table_row(0.1, 0.01, -2.0, 0.01))
    assert "the same as the last price to within 0.1 %" in verdict(table_row(0.1, 0.01, -0.02, 0.01))
    assert probability(0.0005) == "p < .001"
    assert probability(0.042) == "p = .042"


@pytest.fixture(scope="module")
def evidence(history: History, tiny: Recipe) -> Backtest:
    return backtest(history.until("2017-12-29"), tiny, folds=2, test_sessions=200)


def test_backtest_scores_every_model_on_the_same_stock_days(evidence: Backtest) -> None:
    table = evidence.forecasts
    assert set(table["model"]) == {"rolling_t", "ewma_t", "lstm", "gru", "served"}
    per_model = table.groupby("model").size()
    assert per_model.nunique() == 1
    assert set(table["step"]) == {1, 5, 10, 20}
    assert (table["session"] > table["cutoff"]).all()
    assert table["pit"].between(0, 1).all()
    scores = evidence.scores()
    assert len(scores) == 5 * 4
    assert not scores.loc[scores["model"] == "rolling_t", "log_score_gain"].any()


def test_backtest_outcomes_are_the_returns_that_followed(evidence: Backtest, history: History) -> None:
    adjusted = history.prices.pivot(index="session", columns="symbol", values="adj_close")
    for row in evidence.forecasts.sample(50, random_state=0).itertuples():
        at = adjusted.index.get_loc(row.cutoff)
        assert adjusted.index[at + row.step] == row.session
        expected = np.log(adjusted[row.symbol].iloc[at + row.step] / adjusted[row.symbol].iloc[at])
        assert row.outcome == pytest.approx(expected)


def test_the_pool_lies_between_its_members(evidence: Backtest) -> None:
    wide = evidence.forecasts.pivot(index=["symbol", "cutoff", "step"], columns="model", values="sigma")
    low, high = wide[["lstm", "gru"]].min(axis=1), wide[["lstm", "gru"]].max(axis=1)
    assert wide["served"].between(low - 1e-12, high + 1e-12).all()
