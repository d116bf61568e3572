"""The benchmark on files: what is read of them, what comes out, and that it can be recomputed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scoringrules
from command_line import Run
from scipy import stats

from forecaster.benchmark import benchmark
from forecaster.benchmark.inputs import Inputs, read_inputs
from forecaster.benchmark.words import RECOMPUTE
from forecaster.errors import FileFormatError, Locked
from forecaster.evaluation.folds import Plan
from forecaster.history import History
from forecaster.locks import exclusive
from forecaster.sessions import closes

CLASSICAL = [
    "constant",
    "rolling_t",
    "ewma_t",
    "garch_t",
    "gjr_t",
    "har",
    "harx",
    "boosting",
    "pool_classical",
]


@pytest.fixture(scope="module")
def prices(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the sample's symbols, adjusted for splits, as a long file with other names and two faults."""
    bars = history.prices[history.prices["session"] >= "2019-01-01"]
    table = bars[["session", "symbol", "open", "high", "low", "close", "adj_close", "volume"]].rename(
        columns={"session": "date", "symbol": "ticker"}
    )
    table.loc[table.index[100], "high"] = 0.01
    table.loc[table.index[200], "close"] = np.nan
    path = tmp_path_factory.mktemp("files") / "panel.parquet"
    table.to_parquet(path, index=False)
    return path


def series(path: Path, sessions: pd.DatetimeIndex, **columns: np.ndarray) -> Path:
    pd.DataFrame({"date": sessions, **columns}).to_csv(path, index=False)
    return path


def test_faulty_rows_are_left_out_and_told(prices: Path) -> None:
    inputs = read_inputs(prices)
    assert len(inputs.dropped) == 2
    assert "high below low" in inputs.dropped["reason"].iloc[0]
    assert "close: missing" in inputs.dropped["reason"].iloc[1]
    whole = pd.read_parquet(prices)
    assert len(inputs.history.traded) == len(whole) - 2
    expected = whole.drop(index=inputs.dropped["row"] - 1).groupby("ticker")["adj_close"]
    for symbol, adjusted in expected:
        returned = inputs.history.bars(str(symbol))["adj_close"].pct_change().dropna()
        np.testing.assert_allclose(returned, adjusted.pct_change().dropna(), rtol=1e-6)


def test_unsorted_rows_strange_tickers_and_free_days_do_not_stop_it(prices: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(prices)
    strange = table.iloc[[5, 6]].assign(ticker=["not a ticker!", None])
    sunday = table.iloc[[7]].assign(date=pd.Timestamp("2023-01-01"))
    twice = table.iloc[[8]]
    mixed = pd.concat([table.sample(frac=1, random_state=0), strange, sunday, twice])
    mixed.to_parquet(tmp_path / "mixed.parquet", index=False)
    inputs, clean = read_inputs(tmp_path / "mixed.parquet"), read_inputs(prices)
    reasons = inputs.dropped["reason"].value_counts()
    assert reasons["no ticker"] == 2
    assert reasons["no session of XNYS"] == 1
    assert reasons["stands twice"] == 1
    assert inputs.history.fingerprint == clean.history.fingerprint


def test_the_volatility_index_is_known_after_the_close_and_the_market_at_it(
    prices: Path, tmp_path: Path
) -> None:
    sessions = pd.DatetimeIndex(pd.read_parquet(prices)["date"].unique())
    growth = np.random.default_rng(0).normal(0, 0.01, len(sessions))
    market = series(tmp_path / "market.csv", sessions, n=growth, mkt_ret_ew=growth, mkt_ret_dvw=growth / 2)
    macro = series(
        tmp_path / "macro.csv", sessions, VIX_OPEN=growth + 20, VIX_CLOSE=growth + 30, DGS10=growth
    )
    inputs = read_inputs(prices, market, macro)
    factors = inputs.history.factors
    index = factors[factors["name"] == "market_index"].set_index("session")["value"]
    np.testing.assert_allclose(index.pct_change().iloc[1:], growth[1:])
    at_close = pd.DatetimeIndex(closes("XNYS", sessions.to_numpy())).tz_localize("UTC")
    fear = factors[factors["name"] == "volatility_index"].set_index("session")
    assert (fear["known_at"] > pd.Series(at_close, index=sessions).reindex(fear.index)).all()
    assert fear["value"].iloc[0] == pytest.approx(growth[0] + 30)
    assert sessions[-1] not in fear.index, "it was not known at the last close"
    assert any("mkt_ret_ew" in note for note in inputs.notes)
    assert any("Not used of macro.csv: VIX_OPEN, DGS10." in note for note in inputs.notes)


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("market", "date,a,retail\n2020-01-02,1,2\n", "no return"),
        ("market", "date,mkt_ret\n2020-01-02,0.8\n2020-01-03,-1.2\n", "moves by 1.20; expected returns"),
        ("macro", "day,VIX\n2020-01-02,1\n", "no date column"),
        ("macro", "date,VIX\n2020-01-04,1\n", "no row is of a session"),
        ("macro", "date,VIX\n2020-01-02,1\n2020-01-02,2\n", "a date stands twice"),
        ("events", "date,what\n2020-01-02,1\n", "are of no events; expected"),
        ("market", None, "no such file"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    prices: Path, tmp_path: Path, option: str, content: str | None, words: str
) -> None:
    path = tmp_path / "given.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FileFormatError, match=f"given.csv.*{words}"):
        read_inputs(prices, **{option: [path] if option == "events" else path})


def test_dates_with_offsets_a_single_level_and_a_macro_file_without_its_index(
    prices: Path, tmp_path: Path
) -> None:
    """As yfinance writes them to CSV: midnight in New York, whose offset changes in March."""
    market = tmp_path / "index.csv"
    market.write_text("Date,SPX\n2020-03-06 00:00:00-05:00,100\n2020-03-09 00:00:00-04:00,92\n")
    macro = tmp_path / "rates.csv"
    macro.write_text("date,DGS10\n2020-01-02,1.8\n")
    inputs = read_inputs(prices, market, macro)
    factors = inputs.history.factors
    assert list(factors["name"]) == ["market_index", "market_index"]
    assert list(factors["session"]) == [pd.Timestamp("2020-03-06"), pd.Timestamp("2020-03-09")]
    assert list(factors["value"]) == [100.0, 92.0]
    assert any("No volatility index" in note for note in inputs.notes)
    assert "Not used of rates.csv: DGS10." in inputs.notes


def test_sessions_without_a_trade_are_left_out(prices: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(prices)
    halted = table[(table["ticker"] == "NFLX") & table["date"].between("2022-03-01", "2022-08-31")].index
    before = table.loc[halted[0] - 1, "close"]
    table.loc[halted, ["open", "high", "low", "close", "adj_close"]] = before
    table.loc[halted, "volume"] = 0
    table.to_parquet(tmp_path / "halt.parquet", index=False)
    inputs = read_inputs(tmp_path / "halt.parquet")
    no_trade = inputs.dropped[inputs.dropped["reason"].str.startswith("no trade")]
    assert len(no_trade) == len(halted)
    assert set(no_trade["symbol"]) == {"NFLX"}


@pytest.mark.slow
def test_a_share_that_never_moves_spoils_nothing(prices: Path, tmp_path: Path) -> None:
    """At a constant price, with volume, forecasts stay finite and the others are scored."""
    table = pd.read_parquet(prices)
    flat = table["ticker"] == "NFLX"
    table.loc[flat, ["open", "high", "low", "close", "adj_close"]] = 50.0
    history = read_inputs_of(table, tmp_path)
    plan = Plan(pd.Timestamp("2022-06-01"), pd.Timestamp("2022-12-30"), folds=1)
    run = benchmark(history, plan, CLASSICAL, tmp_path / "out")
    kept = pd.read_parquet(tmp_path / "out" / "forecasts")
    assert np.isfinite(kept[["mean", "sigma", "q05", "crps"]]).all(axis=None)
    assert (kept["sigma"] > 0).all()
    assert set(run.scores.overall["model"]) == set(CLASSICAL)


def test_quick_stays_within_the_dates_asked_for(prices: Path, tmp_path: Path) -> None:
    plan = Plan(pd.Timestamp("2023-03-01"), pd.Timestamp("2023-06-30"))
    run = benchmark(read_inputs(prices), plan, ["ewma_t"], tmp_path / "out", quick=True)
    assert run.about["test_start"] == "2023-03-01"
    assert run.about["test_end"] == "2023-06-30"
    assert len(run.about["folds"]) == 1
    with exclusive(tmp_path / "out", "benchmark"), pytest.raises(Locked, match="Another benchmark"):
        benchmark(read_inputs(prices), plan, ["ewma_t"], tmp_path / "out", quick=True)


def test_made_up_dates_are_told_and_the_evaluation_without_them_stands_beside(
    prices: Path, tmp_path: Path
) -> None:
    evenings = pd.date_range("2019-04-25 20:30", "2023-09-01", freq="91D", tz="UTC")
    days = pd.DataFrame({"ticker": np.repeat(["AAPL", "NFLX", "NVDA"], len(evenings))})
    days["announce_utc"] = np.tile(evenings, 3)
    days.assign(surprise_pct=np.tile([5.0, -5.0], len(days))[: len(days)]).to_csv(
        tmp_path / "results.csv", index=False
    )
    inputs = read_inputs(prices, events=[tmp_path / "results.csv"])
    plan = Plan(pd.Timestamp("2022-06-01"), pd.Timestamp("2023-06-30"), folds=1)
    run = benchmark(inputs, plan, ["boosting"], tmp_path / "out")
    assert run.about["models"] == ["rolling_t", "harx", "boosting"]
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    beside = content["without_announced_dates"]
    history = inputs.history
    unplanned = history.but_events(history.events["kind"] == "results")
    other = benchmark(Inputs(unplanned), plan, ["harx"], tmp_path / "other")
    assert other.without_dates is None
    expected = other.scores.overall.set_index(["model", "step"])
    for row in beside["scores"]:
        assert row["crps"] == pytest.approx(expected.loc[("harx", row["step"]), "crps"], rel=1e-5)
    assert len(beside["scores"]) == 4
    overall = run.scores.overall.set_index(["model", "step"])
    for row in beside["changes"]:
        if row["days"] == "all":
            gain = [table.loc[("harx", row["step"]), "log_score"] for table in (expected, overall)]
            assert row["log_score_change"] == pytest.approx(gain[0] - gain[1], abs=1e-5)
    assert {row["days"] for row in beside["changes"]} == {"all", "event days"}
    words = beside["words"]["1"]
    assert "HARX knowing dates 10 sessions ahead: log score" in words
    assert content["verdicts"]["1"].endswith(words)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for part in ("Without announced dates", "Company events", run.about["announced_dates"], "no date known"):
        assert part in page
    assert {row["kind"] for row in content["event_study"]["effects"]} == {"results"}
    classical = benchmark(inputs, plan, ["ewma_t"], tmp_path / "classical")
    assert classical.without_dates is None
    assert classical.about["announced_dates"] == ""


def read_inputs_of(table: pd.DataFrame, folder: Path) -> Inputs:
    table.to_parquet(folder / "changed.parquet", index=False)
    return read_inputs(folder / "changed.parquet")


def test_a_file_of_faults_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("date,ticker,open,high,low,close,volume\n2020-01-02,AAA,1,0.5,2,1,10\n")
    with pytest.raises(FileFormatError, match="every row is faulty"):
        read_inputs(path)


@pytest.fixture(scope="module")
def out(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "out"
    done = Run(folder.parent)(
        "benchmark", "--prices", str(prices), "--out", str(folder), "--models", "classical",
        "--test-start", "2022-01-01", "--test-end", "2023-06-30", "--refit", "6m", "--ablation",
    )  # fmt: skip
    assert "in distribution" in done.stdout
    return folder


def test_the_long_table_holds_every_column_and_model(out: Path) -> None:
    table = pd.read_parquet(out / "forecasts")
    assert set(table["model"]) == set(CLASSICAL)
    described = ["model", "symbol", "cutoff", "step", "session", "base_price", "family", "prob_up"]
    numbers = ["mean", "sigma", "df", "scale", "pit", "crps", "log_score", "outcome"]
    levels = ["01", "025", "05", "10", "25", "50", "75", "90", "95", "975", "99"]
    expected = [*described, *numbers, *(f"q{level}" for level in levels)]
    assert set(expected) == set(table.columns)
    assert set(table["step"]) == {1, 5, 10, 20}
    assert table["cutoff"].min() == pd.Timestamp("2022-01-03")
    assert table["cutoff"].max() == pd.Timestamp("2023-06-30")
    assert table.groupby(["model", "step"], observed=True).size().groupby("step").nunique().eq(1).all()
    assert np.isfinite(table.loc[table["family"] == "student_t", numbers]).all(axis=None)


def test_scores_can_be_recomputed_from_the_long_table(out: Path) -> None:
    table = pd.read_parquet(out / "forecasts").astype({"model": str})
    content = json.loads((out / "scores.json").read_text())
    rows = {(row["model"], row["step"], row["metric"]): row for row in content["rows"]}
    for model in ("gjr_t", "harx", "pool_classical"):
        mine = table[(table["model"] == model) & (table["step"] == 5)].astype({"outcome": float})
        loc, scale, df = (mine[name].to_numpy(dtype=float) for name in ("mean", "scale", "df"))
        y = mine["outcome"].to_numpy()
        np.testing.assert_allclose(mine["crps"], scoringrules.crps_t(y, df, loc, scale), rtol=1e-3, atol=1e-6)
        log_score = -stats.t.logpdf(y, df, loc, scale)
        np.testing.assert_allclose(mine["log_score"], log_score, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(mine["pit"], stats.t.cdf(y, df, loc, scale), atol=1e-4)
        np.testing.assert_allclose(mine["q05"], stats.t.ppf(0.05, df, loc, scale), rtol=1e-4, atol=1e-6)
        daily = mine.assign(loss=log_score).groupby("cutoff")["loss"].mean()
        assert rows[model, 5, "log_score"]["value"] == pytest.approx(daily.mean(), rel=1e-5)
        inside = mine["outcome"].between(mine["q05"], mine["q95"])
        coverage = 100 * inside.groupby(mine["cutoff"]).mean().mean()
        assert rows[model, 5, "coverage_90"]["value"] == pytest.approx(coverage, abs=0.2)
    tests = rows["harx", 1, "log_score"]["tests"]
    baselines = {test["baseline"] for test in tests if test["difference"] is not None}
    assert baselines == set(CLASSICAL) - {"harx", "boosting"}
    assert rows["boosting", 1, "log_score"]["value"] is None


def test_the_snippet_in_the_report_recomputes_the_scores(out: Path) -> None:
    code = RECOMPUTE.replace("DIR", str(out)).replace("print(", "found = (")
    names: dict[str, pd.DataFrame] = {}
    exec(code, names)
    rows = json.loads((out / "scores.json").read_text())["rows"]
    table = names["found"].set_index(["model", "step"])
    for row in rows:
        if row["metric"] in ("log_score", "crps", "coverage_90") and row["value"] is not None:
            assert table.loc[(row["model"], row["step"]), row["metric"]] == pytest.approx(
                row["value"], rel=1e-5
            )


def test_outcomes_are_the_returns_that_followed(out: Path, prices: Path) -> None:
    whole = pd.read_parquet(prices).pivot(index="date", columns="ticker", values="adj_close")
    table = pd.read_parquet(out / "forecasts", filters=[("model", "==", "harx")])
    for row in table.sample(60, random_state=1).itertuples():
        at = whole.index.get_loc(row.cutoff)
        assert whole.index[at + row.step] == row.session
        expected = np.log(whole[row.symbol].iloc[at + row.step] / whole[row.symbol].iloc[at])
        assert row.outcome == pytest.approx(expected, abs=1e-5)


def test_the_run_is_told_and_the_report_written(out: Path) -> None:
    content = json.loads((out / "scores.json").read_text())
    about = content["about"]
    assert len(about["folds"]) == 3
    assert about["left_out"][0]["symbol"] == "AAPL"
    assert about["packages"]["arch"]
    assert content["verdicts"]["1"]
    variants = {row["variant"] for row in content["ablation"]}
    assert variants == {
        "without trend", "without previous_day", "without exogenous",
        "trend alone", "previous_day alone", "exogenous alone",
    }  # fmt: skip
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")


def test_the_same_command_again_goes_on_and_another_run_is_refused(out: Path, prices: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    again = ("benchmark", "--prices", str(prices), "--out", str(out), "--models", "rolling_t,harx")
    dates = ("--test-start", "2022-01-01", "--test-end", "2023-06-30", "--jobs", "1")
    done = Run(out.parent)(*again, *dates, "--refit", "6m", "--json")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before
    assert json.loads(done.stdout)["about"]["models"] == ["rolling_t", "harx"]
    assert "another folds" in Run(out.parent).refused(*again, *dates, "--refit", "12m", code=2)
