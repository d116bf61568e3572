"""Scores against plain loops and other libraries."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecaster.errors import UsageError
from forecaster.evaluation.losses import LOSSES
from forecaster.evaluation.scores import Scores, score, scores_json, with_scores
from forecaster.evaluation.significance import paired_test
from forecaster.models.distribution import QuantileTable
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES, TABLES


def long_table(
    models: dict[str, tuple[float | np.ndarray, float | np.ndarray]], outcome: np.ndarray, step: int = 1
) -> pd.DataFrame:
    """The long table of Student-t forecasts; mean and sigma by model, all of shape (dates, symbols)."""
    dates, symbols = outcome.shape
    day = np.repeat(pd.bdate_range("2020-01-01", periods=dates), symbols)
    parts = []
    for model, (mean, sigma) in models.items():
        centre, width = (np.broadcast_to(one, outcome.shape).ravel() for one in (mean, sigma))
        scale = width * np.sqrt(3 / 5)
        forecast = pd.DataFrame(
            {
                "symbol": np.tile([f"S{one}" for one in range(symbols)], dates),
                "cutoff": day,
                "step": step,
                "model": model,
                "family": "student_t",
                "mean": centre,
                "sigma": width,
                "df": 5.0,
                "scale": scale,
                "prob_up": 1 - stats.t.cdf(-centre / scale, 5),
                **{
                    name: centre + scale * stats.t.ppf(level, 5)
                    for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
                },
            }
        )
        parts.append(with_scores(forecast, outcome.ravel()))
    return pd.concat(parts, ignore_index=True)


def by_model(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows for _, rows in table.groupby("model", sort=False)]


def noise(dates: int, symbols: int, seed: int = 11) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of changing volatility, and that volatility."""
    random = np.random.default_rng(seed)
    sigma = random.choice([0.01, 0.02, 0.04], (dates, symbols))
    return stats.t.rvs(5, size=(dates, symbols), random_state=random) * sigma * np.sqrt(3 / 5), sigma


def forecasts(dates: int = 120, symbols: int = 3) -> pd.DataFrame:
    """Two models on the same stock-days: one knows the volatility, the other does not."""
    outcome, sigma = noise(dates, symbols)
    lean = 0.001 * np.random.default_rng(5).choice([-1, 1], outcome.shape)
    return long_table({"rolling_t": (0.0, 0.03), "served": (lean, sigma)}, outcome)


def uneven() -> pd.DataFrame:
    """The same with fewer symbols on later dates."""
    table = forecasts(dates=400)
    days = sorted(table["cutoff"].unique())
    return table[(table["symbol"] != "S2") | (table["cutoff"] < days[150])]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return uneven()


@pytest.fixture(scope="module")
def scores(table: pd.DataFrame) -> Scores:
    return score(by_model(table))


def of(table: pd.DataFrame, model: str) -> list[dict]:
    return table[table["model"] == model].to_dict("records")


def by_date(rows: list[dict], loss) -> list[float]:
    """Average over the symbols of each date, in plain loops."""
    days: dict = {}
    for row in rows:
        days.setdefault(row["cutoff"], []).append(loss(row))
    return [sum(days[day]) / len(days[day]) for day in sorted(days)]


def over_dates(rows: list[dict], loss) -> float:
    losses = by_date(rows, loss)
    return sum(losses) / len(losses)


def pinball(level: float, name: str):
    def loss(row: dict) -> float:
        if row["outcome"] > row[name]:
            return 1e4 * level * (row["outcome"] - row[name])
        return 1e4 * (1 - level) * (row[name] - row["outcome"])

    return loss


def price_error(row: dict) -> float:
    return 100 * (np.exp(row["q50"]) - np.exp(row["outcome"]))


LOOPS = {
    "crps": lambda row: row["crps"],
    "log_score": lambda row: -stats.t.logpdf(row["outcome"], 5, row["mean"], row["sigma"] * np.sqrt(3 / 5)),
    "qlike": lambda row: np.log(row["sigma"] ** 2) + row["outcome"] ** 2 / row["sigma"] ** 2,
    "pinball_01": pinball(0.01, "q01"),
    "pinball_05": pinball(0.05, "q05"),
    "pinball_95": pinball(0.95, "q95"),
    "pinball_99": pinball(0.99, "q99"),
    "absolute_error": lambda row: abs(price_error(row)),
    "squared_error": lambda row: price_error(row) ** 2,
}


@pytest.mark.parametrize(
    "metric", ["crps", "log_score", "qlike", *(f"pinball_{n}" for n in ("01", "05", "95", "99"))]
)
def test_losses_are_means_over_dates_of_means_over_symbols(
    scores: Scores, table: pd.DataFrame, metric: str
) -> None:
    row = scores.overall.set_index("model").loc["served"]
    assert row[metric] == pytest.approx(over_dates(of(table, "served"), LOOPS[metric]))


def test_errors_of_the_median_price_and_skills_against_the_last_price(
    scores: Scores, table: pd.DataFrame
) -> None:
    row = scores.overall.set_index("model").loc["served"]
    found = {
        (model, loss): over_dates(of(table, model), LOOPS[loss])
        for model in ("served", "rolling_t")
        for loss in ("crps", "log_score", "absolute_error", "squared_error")
    }

    def skill(loss: str, root: float = 1) -> float:
        return 100 * (1 - (found["served", loss] / found["rolling_t", loss]) ** root)

    assert row["mae"] == pytest.approx(found["served", "absolute_error"])
    assert row["rmse"] == pytest.approx(np.sqrt(found["served", "squared_error"]))
    assert row["mae_skill"] == pytest.approx(skill("absolute_error"))
    assert row["rmse_skill"] == pytest.approx(skill("squared_error", 0.5))
    assert row["crps_skill"] == pytest.approx(skill("crps"))
    gain = found["rolling_t", "log_score"] - found["served", "log_score"]
    assert row["log_score_gain"] == pytest.approx(gain)
    base = scores.overall.set_index("model").loc["rolling_t"]
    assert not base[["crps_skill", "mae_skill", "rmse_skill", "log_score_gain"]].any()
    assert base[["crps_p", "log_score_p", "mae_p", "log_score_error"]].isna().all()


def test_coverages_widths_and_counts_are_over_all_forecasts(scores: Scores, table: pd.DataFrame) -> None:
    row = scores.overall.set_index("model").loc["served"]
    mine = of(table, "served")
    for level, low, high in ((50, "q25", "q75"), (80, "q10", "q90"), (90, "q05", "q95"), (98, "q01", "q99")):
        inside = [one[low] <= one["outcome"] <= one[high] for one in mine]
        assert row[f"coverage_{level}"] == pytest.approx(100 * sum(inside) / len(mine))
        width = [one[high] - one[low] for one in mine]
        assert row[f"width_{level}"] == pytest.approx(100 * sum(width) / len(mine))
    assert row["share_up"] == pytest.approx(100 * sum(one["outcome"] > 0 for one in mine) / len(mine))
    assert row["forecasts"] == len(mine) == 950
    assert row["dates"] == 400
    assert row["first_cutoff"] == table["cutoff"].min()
    assert row["last_cutoff"] == table["cutoff"].max()


def test_the_score_table_has_the_columns_that_are_stored(scores: Scores) -> None:
    assert [*scores.overall.columns, "version", "recorded_at"] == TABLES["scores"].schema.names


def test_coverage_over_terciles_of_the_own_sigma(scores: Scores) -> None:
    outcome, _ = noise(300, 2)
    wide = np.random.default_rng(0).lognormal(-4, 0.5, outcome.shape)
    rows = long_table({"rolling_t": (0.0, wide)}, outcome)
    found = score([rows])
    rows["tercile"] = pd.qcut(rows["sigma"], 3, labels=["low", "middle", "high"])
    for level, low, high in ((50, "q25", "q75"), (90, "q05", "q95")):
        inside = (rows[low] <= rows["outcome"]) & (rows["outcome"] <= rows[high])
        expected = 100 * inside.groupby(rows["tercile"], observed=True).mean()
        at_level = found.terciles[found.terciles["level"] == level].set_index("tercile")["coverage"]
        assert list(at_level.index) == list(expected.index) == ["low", "middle", "high"]
        np.testing.assert_allclose(at_level, expected)
    assert found.overall["tercile_spread"].iloc[0] == pytest.approx(expected.max() - expected.min())
    assert np.isnan(scores.overall["tercile_spread"].iloc[0]), "one sigma has no terciles"


def test_the_pit_histogram(scores: Scores, table: pd.DataFrame) -> None:
    mine = scores.pit[scores.pit["model"] == "served"]
    expected, _ = np.histogram(table.loc[table["model"] == "served", "pit"], np.linspace(0, 1, 21))
    np.testing.assert_allclose(mine["share"], expected / expected.sum())
    assert list(mine["bin"]) == list(range(20))


def test_years_and_symbols_are_scored_like_the_whole(scores: Scores, table: pd.DataFrame) -> None:
    in_2021 = table[table["cutoff"].dt.year == 2021]
    only_s1 = table[table["symbol"] == "S1"]
    for part, found in (
        (in_2021, scores.periods[scores.periods["period"] == "2021"]),
        (only_s1, scores.symbols[scores.symbols["symbol"] == "S1"]),
    ):
        expected = score(by_model(part)).overall.set_index("model")
        wide = found.pivot(index="model", columns="metric", values="value")
        assert {"crps_skill", "log_score_gain", "qlike", "coverage_90", "direction", "mae", "rmse"} <= set(
            wide
        )
        for name in wide:
            np.testing.assert_allclose(wide[name], expected.loc[wide.index, name], rtol=1e-12, err_msg=name)


def test_only_stock_days_that_every_model_forecast_count(table: pd.DataFrame) -> None:
    extra = forecasts(dates=400)
    days = sorted(extra["cutoff"].unique())
    served = extra[(extra["model"] == "served") & (extra["cutoff"] > days[9])]
    base = extra[
        (extra["model"] == "rolling_t") & ((extra["symbol"] != "S2") | (extra["cutoff"] < days[150]))
    ]
    found = score([base, served])
    expected = score(by_model(table[table["cutoff"] > days[9]]))
    for name in ("overall", "periods", "symbols", "per_symbol_tests", "directions", "terciles", "pit"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name), obj=name)
    with pytest.raises(UsageError, match="hand them over in a list"):
        score(iter([base, served]))
    with pytest.raises(UsageError, match="No stock-day"):
        score([base[base["symbol"] == "S0"], served[served["symbol"] == "S1"]])


def test_a_step_that_one_model_lacks_is_left_out() -> None:
    outcome, sigma = noise(60, 2)
    both = [long_table({"rolling_t": (0.0, 0.03)}, outcome, step) for step in (1, 5)]
    found = score([pd.concat(both), long_table({"served": (0.0, sigma)}, outcome, 1)])
    assert set(found.overall["step"]) == {1}


def test_tables_one_after_the_other_score_like_tables_at_hand(table: pd.DataFrame) -> None:
    shuffled = table.sample(frac=1, random_state=0).astype({"symbol": "category"})
    streamed = score(shuffled[shuffled["model"] == model] for model in ("rolling_t", "served"))
    at_hand = score(by_model(table))
    for name in ("overall", "tests", "periods", "symbols", "per_symbol_tests", "directions", "pit"):
        pd.testing.assert_frame_equal(getattr(streamed, name), getattr(at_hand, name), obj=name)


def test_single_precision_on_disk_hardly_moves_a_score(table: pd.DataFrame, scores: Scores) -> None:
    single = table.astype(dict.fromkeys(table.select_dtypes("float64"), "float32"))
    found = score(by_model(single)).overall
    for name in (
        "log_score",
        "crps",
        "qlike",
        "pinball_01",
        "coverage_90",
        "mae",
        "log_score_p",
        "direction",
    ):
        np.testing.assert_allclose(found[name], scores.overall[name], rtol=1e-4, err_msg=name)


def test_what_cannot_be_scored_is_refused(table: pd.DataFrame) -> None:
    base, served = by_model(table)
    with pytest.raises(UsageError, match="rolling_t among those to score, got served"):
        score([served])
    with pytest.raises(UsageError, match="one model"):
        score([table])
    with pytest.raises(UsageError, match="one model"):
        score([base, base])
    with pytest.raises(UsageError, match="S0 at 2020-01-01, step 1, stands there 2 times"):
        score([pd.concat([base, base.head(1)])])


def test_every_ordered_pair_is_tested_by_every_loss(table: pd.DataFrame, scores: Scores) -> None:
    assert len(scores.tests) == 2 * len(LOSSES)
    found = scores.tests.set_index(["model", "baseline", "loss"])
    for loss, of_row in LOOPS.items():
        mine, base = (np.array(by_date(of(table, model), of_row)) for model in ("served", "rolling_t"))
        expected = paired_test(mine, base, 1)
        row, mirrored = found.loc[("served", "rolling_t", loss)], found.loc[("rolling_t", "served", loss)]
        assert row["difference"] == pytest.approx(expected.difference)
        assert row["p_value"] == pytest.approx(expected.p_value)
        assert row["error"] == pytest.approx(expected.error)
        assert row["dates"] == 400
        assert mirrored["difference"] == -row["difference"]
        assert mirrored["p_value"] == row["p_value"]
    served = scores.overall.set_index("model").loc["served"]
    for column, loss in (("log_score_p", "log_score"), ("crps_p", "crps"), ("mae_p", "absolute_error")):
        assert served[column] == found.loc[("served", "rolling_t", loss), "p_value"]


def test_stock_days_of_one_date_count_once() -> None:
    """Copying every symbol ten times must not make a difference more significant."""
    table = forecasts(dates=60)
    copies = pd.concat([table.assign(symbol=table["symbol"] + str(copy)) for copy in range(10)])
    few, many = (score(by_model(one)).overall.set_index("model").loc["served"] for one in (table, copies))
    for column in ("log_score_p", "crps_p", "mae_p", "direction_p"):
        assert np.isfinite(few[column])
        assert many[column] == pytest.approx(few[column])


def test_symbols_are_tested_one_by_one_with_false_discoveries_under_control() -> None:
    outcome, sigma = noise(150, 6)
    blurred = sigma * np.exp(np.random.default_rng(1).normal(0, [0, 0.3, 0.6, 0.9, 1.2, 1.5], outcome.shape))
    table = long_table({"rolling_t": (0.0, 0.025), "served": (0.0, blurred), "gjr_t": (0.0, sigma)}, outcome)
    found = score(by_model(table))
    rows = found.per_symbol_tests.set_index(["loss", "model", "baseline", "symbol"]).sort_index()
    expected = []
    for number in range(6):
        one = table[table["symbol"] == f"S{number}"]
        mine, base = (
            one.loc[one["model"] == name, "log_score"].to_numpy() for name in ("served", "rolling_t")
        )
        test = paired_test(mine, base, 1)
        row = rows.loc[("log_score", "served", "rolling_t", f"S{number}")]
        assert row["difference"] == pytest.approx(test.difference, abs=1e-6)
        assert row["p_value"] == pytest.approx(test.p_value, rel=1e-3)
        expected.append(test)
    p_values = np.array([test.p_value for test in expected])
    q_values = rows.loc[("log_score", "served", "rolling_t"), "q_value"].to_numpy()
    order = np.argsort(p_values)
    by_hand = [min(p_values[order[k]] * 6 / (k + 1) for k in range(at, 6)) for at in range(6)]
    np.testing.assert_allclose(q_values[order], by_hand, rtol=1e-3)
    share = found.improvement.set_index(["loss", "model", "baseline"]).loc[
        ("log_score", "served", "rolling_t")
    ]
    better = np.array([test.difference < 0 for test in expected])
    assert share["symbols"] == 6
    assert share["share_improved"] == pytest.approx(100 * better.mean())
    assert share["share_significant"] == pytest.approx(100 * (better & (q_values < 0.05)).mean())
    assert 0 < share["share_significant"] < 100
    assert set(found.per_symbol_tests["baseline"]) == {"rolling_t", "gjr_t"}


def test_models_with_quantiles_only_have_no_log_score_and_are_compared_by_crps() -> None:
    outcome, sigma = noise(200, 2)
    table = long_table({"rolling_t": (0.0, 0.025), "harx": (0.0, sigma), "served": (0.0, 0.05)}, outcome)
    like = table[table["model"] == "harx"].drop(columns=["pit", "crps", "log_score", "outcome"])
    flat = QuantileTable(like[list(QUANTILE_COLUMNS)].to_numpy())
    boosting = like.assign(model="boosting", family=flat.family, sigma=flat.sigma, df=np.nan, scale=np.nan)
    found = score([*by_model(table), with_scores(boosting, outcome.ravel())])
    row = found.overall.set_index("model").loc["boosting"]
    assert row[["log_score", "log_score_gain", "log_score_p", "best_classical_gain"]].isna().all()
    assert row["best_classical"] == "harx"
    assert np.isfinite(row[["crps_p", "qlike", "pinball_01", "best_classical_crps_p"]].astype(float)).all()
    sets = found.confidence_sets
    assert set(sets.loc[sets["loss"] == "log_score", "model"]) == {"rolling_t", "harx", "served"}
    by_crps = sets[sets["loss"] == "crps"].set_index("model")["included"]
    assert row["in_confidence_set"] == by_crps["boosting"]
    served = found.overall.set_index("model").loc["served"]
    tests = found.tests.set_index(["model", "baseline", "loss"])
    assert served["best_classical_gain"] == -tests.loc[("served", "harx", "log_score"), "difference"]
    assert served["best_classical_p"] == tests.loc[("served", "harx", "log_score"), "p_value"]
    assert served["best_classical_crps_p"] == tests.loc[("served", "harx", "crps"), "p_value"]
    crps = found.overall.set_index("model")["crps"]
    assert served["best_classical_crps_skill"] == pytest.approx(100 * (1 - crps["served"] / crps["harx"]))


def test_too_few_dates_give_no_tests_and_no_set() -> None:
    found = score(by_model(forecasts(dates=20)))
    assert found.tests["p_value"].isna().all()
    assert found.per_symbol_tests["p_value"].isna().all()
    assert found.improvement["share_significant"].isna().all()
    assert found.confidence_sets.empty
    assert found.overall["in_confidence_set"].isna().all()
    assert not found.overall["is_best"].any()


def test_scores_as_json(scores: Scores) -> None:
    found = json.loads(json.dumps(scores_json(scores), allow_nan=False))
    rows = {(row["model"], row["step"], row["metric"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 2 * (len(scores.overall.columns) - 2)
    served = scores.overall.set_index("model").loc["served"]
    assert rows["served", 1, "log_score"]["value"] == pytest.approx(served["log_score"])
    (test,) = rows["served", 1, "log_score"]["tests"]
    assert test["baseline"] == "rolling_t"
    assert test["difference"] == pytest.approx(-served["log_score_gain"])
    assert test["p_value"] == pytest.approx(served["log_score_p"])
    assert test["dates"] == 400
    assert "tests" not in rows["served", 1, "coverage_90"]
    assert rows["rolling_t", 1, "direction"]["value"] is None
    by_loss = scores.tests.set_index(["model", "baseline", "loss"])["p_value"]
    for metric, loss in (("mae", "absolute_error"), ("rmse", "squared_error")):
        (test,) = rows["served", 1, metric]["tests"]
        assert test["p_value"] == pytest.approx(by_loss["served", "rolling_t", loss])
    for name in (
        "confidence_sets", "periods", "symbols", "per_symbol_tests", "improvement", "directions", "terciles",
        "pit",
    ):  # fmt: skip
        frame = getattr(scores, name)
        assert len(found[name]) == len(frame)
        assert set(found[name][0]) == set(frame.columns)
