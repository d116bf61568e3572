"""Models ranked on any choice of stock-days, against plain loops and other libraries."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from arch.bootstrap import MCS
from scipy import stats
from statsmodels.stats.multitest import multipletests

from forecaster.evaluation.confidence import REPLICATIONS, SEED
from forecaster.evaluation.ranking import leads, only, rank, stock_day_losses

DATES = pd.bdate_range("2021-09-01", periods=300)
SYMBOLS = ("AAA", "BBB", "CCC")


def forecasts(dates: pd.DatetimeIndex = DATES, **worse: float) -> pd.DataFrame:
    """A long table in which each model's score is the common one, noise and what it is worse by."""
    random = np.random.default_rng(5)
    common = {(day, symbol): random.normal(2, 0.5) for day in dates for symbol in SYMBOLS}
    return pd.DataFrame(
        [
            {
                "model": model,
                "cutoff": day,
                "symbol": symbol,
                "log_score": value + by + random.normal(0, 0.05),
            }
            for model, by in worse.items()
            for (day, symbol), value in common.items()
        ]
    )


def losses(**worse: float) -> pd.DataFrame:
    return stock_day_losses(forecasts(**worse), "log_score")


def loop(table: pd.DataFrame, model: str, year: int | None = None, symbol: str | None = None) -> list[float]:
    """Mean loss of each date, looked up row by row."""
    by_date: dict[pd.Timestamp, list[float]] = {}
    for row in table.to_dict("records"):
        fits = (year is None or row["cutoff"].year == year) and symbol in (None, row["symbol"])
        if row["model"] == model and fits:
            by_date.setdefault(row["cutoff"], []).append(row["log_score"])
    return [sum(by_date[day]) / len(by_date[day]) for day in sorted(by_date)]


def regression(difference: np.ndarray) -> float:
    """Two-sided p-value of a mean by a regression with HAC errors, with the small-sample correction."""
    count = len(difference)
    lags = int(np.ceil(count ** (1 / 3)))
    fit = sm.OLS(difference, np.ones(count)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    return float(2 * stats.t.cdf(-abs(fit.tvalues[0] * np.sqrt((count - 1) / count)), count - 1))


@pytest.mark.parametrize(("year", "symbol"), [(None, None), (2022, None), (None, "BBB"), (2022, "CCC")])
def test_a_ranking_is_of_the_chosen_stock_days(year: int | None, symbol: str | None) -> None:
    table = forecasts(lstm=0.0, harx=0.004, rolling_t=0.1)
    chosen = only(stock_day_losses(table, "log_score"), year and str(year), symbol)
    found = rank(chosen, 1, "log_score")
    daily = {model: np.array(loop(table, model, year, symbol)) for model in ("lstm", "harx", "rolling_t")}
    assert found.dates == len(daily["lstm"])
    assert found.forecasts == found.dates * (1 if symbol else 3)
    assert list(found.models["model"]) == sorted(daily, key=lambda model: daily[model].mean())
    for row in found.models.to_dict("records"):
        assert row["loss"] == pytest.approx(daily[row["model"]].mean())
        assert row["behind"] == pytest.approx(row["loss"] - found.models["loss"].iloc[0])
    for row in found.tests.to_dict("records"):
        difference = daily[row["model"]] - daily[row["baseline"]]
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["p_value"] == pytest.approx(regression(difference))
    assert len(found.tests) == 6


def test_the_confidence_set_is_that_of_another_library() -> None:
    found = rank(losses(lstm=0.0, harx=0.001, rolling_t=0.1), 1, "log_score")
    table = forecasts(lstm=0.0, harx=0.001, rolling_t=0.1)
    order = list(found.models["model"])
    columns = np.column_stack([loop(table, model) for model in order])
    other = MCS(columns, 0.1, reps=REPLICATIONS, block_size=10, bootstrap="moving block", seed=SEED)
    other.compute()
    np.testing.assert_allclose(found.models["set_p"], other.pvalues["Pvalue"].sort_index())
    assert {order[at] for at in other.included} == set(found.models.loc[found.models["included"], "model"])


def test_a_winner_is_named_only_where_every_test_names_it() -> None:
    assert rank(losses(lstm=0.0, harx=0.05, gru=0.06), 1, "log_score").winner == "lstm"
    assert rank(losses(lstm=0.0, harx=0.0, gru=0.06), 1, "log_score").winner is None
    few = losses(lstm=0.0, harx=0.05).loc[DATES[:60]]
    found = rank(few, 1, "log_score")
    assert found.winner is None, "60 dates make no confidence set"
    assert found.models["included"].isna().all()
    assert found.models["p_value"].iloc[1] < 0.001


def test_only_stock_days_of_every_model_count_and_a_model_without_the_score_is_left_out() -> None:
    table = forecasts(lstm=0.0, harx=0.01, boosting=0.0)
    table.loc[table["model"] == "boosting", "log_score"] = np.nan
    gone = (table["model"] == "harx") & (table["symbol"] == "AAA") & (table["cutoff"] == DATES[7])
    wide = stock_day_losses(table[~gone], "log_score")
    assert list(wide.columns) == ["harx", "lstm"]
    assert len(wide) == len(DATES) * len(SYMBOLS) - 1
    assert (DATES[7], "AAA") not in wide.index


def test_leads_are_those_of_each_group_with_q_values_over_them() -> None:
    table = forecasts(lstm=0.0, harx=0.003, rolling_t=0.1)
    every = stock_day_losses(table, "log_score")
    found = leads([(name, 1, only(every, None, name)) for name in SYMBOLS], "rolling_t")
    p_values = []
    for row in found.to_dict("records"):
        daily = {model: np.array(loop(table, model, None, row["group"])) for model in every.columns}
        first, second, _ = sorted(daily, key=lambda model: daily[model].mean())
        assert (row["first"], row["second"]) == (first, second)
        assert row["lead"] == pytest.approx(daily[second].mean() - daily[first].mean())
        p_values.append(regression(daily[first] - daily[second]))
        assert row["lstm"] == pytest.approx(daily["rolling_t"].mean() - daily["lstm"].mean())
        assert row["rolling_t"] == 0
    np.testing.assert_allclose(found["p_value"], p_values)
    np.testing.assert_allclose(found["q_value"], multipletests(p_values, method="fdr_bh")[1])


def test_a_group_without_two_models_is_left_out() -> None:
    every = losses(lstm=0.0, harx=0.003)
    assert list(leads([("2019", 1, only(every, "2019", None)), ("all", 1, every)], "lstm")["group"]) == [
        "all"
    ]
    assert leads([("2019", 1, only(every, "2019", None))], "lstm").empty
