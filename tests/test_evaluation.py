"""The backtest as notebooks hold it."""

import numpy as np
import pytest

from forecaster.config import Recipe
from forecaster.evaluation.backtest import BESIDE, Backtest, backtest
from forecaster.history import History


def test_the_last_price_is_always_scored_and_a_pool_needs_its_cells(history: History, tiny: Recipe) -> None:
    table = backtest(history.until("2017-12-29"), tiny, folds=1, test_sessions=100, models=["ewma_t"])
    assert set(table.forecasts["model"]) == {"rolling_t", "ewma_t"}
    assert table.verdict().startswith("Served: pool, calibrated: not scored here.")


@pytest.fixture(scope="module")
def evidence(history: History, tiny: Recipe) -> Backtest:
    return backtest(history.until("2017-12-29"), tiny, folds=2, test_sessions=200)


def test_backtest_scores_every_model_on_the_same_stock_days(evidence: Backtest) -> None:
    table = evidence.forecasts
    assert set(table["model"]) == {*BESIDE, "lstm", "gru", "served"}
    per_model = table.groupby("model").size()
    assert per_model.nunique() == 1
    assert set(table["step"]) == {1, 5, 10, 20}
    assert (table["session"] > table["cutoff"]).all()
    assert table["pit"].between(0, 1).all()
    scores = evidence.scores()
    assert len(scores) == 7 * 4
    assert not scores.loc[scores["model"] == "rolling_t", "log_score_gain"].any()


def test_backtest_outcomes_are_the_returns_that_followed(evidence: Backtest, history: History) -> None:
    adjusted = history.prices.pivot(index="session", columns="symbol", values="adj_close")
    for row in evidence.forecasts.sample(50, random_state=0).itertuples():
        at = adjusted.index.get_loc(row.cutoff)
        assert adjusted.index[at + row.step] == row.session
        expected = np.log(adjusted[row.symbol].iloc[at + row.step] / adjusted[row.symbol].iloc[at])
        assert row.outcome == pytest.approx(expected)


def test_the_served_pool_lies_near_its_members(evidence: Backtest) -> None:
    wide = evidence.forecasts.pivot(index=["symbol", "cutoff", "step"], columns="model", values="sigma")
    members = wide[["harx", "lstm", "gru"]]
    assert wide["served"].between(0.9 * members.min(axis=1), 1.1 * members.max(axis=1)).all()
