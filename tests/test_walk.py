"""The walk-forward engine: folds, what is kept, what a pool may read, one process or several."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from perturb import perturb
from test_windows import SESSIONS, panel_of

from forecaster.config import Recipe
from forecaster.errors import StoreError, TooLittleHistory, UsageError
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.kept import InFolder, InMemory, Part
from forecaster.evaluation.walk import walk, with_members
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import CLASSICAL
from forecaster.windows import Windows

STEPS = [1, 5, 20]
CHEAP = ("constant", "rolling_t", "ewma_t", "gjr_t", "harx", "pool_classical")

plans = st.builds(
    Plan,
    test_start=st.none() | st.integers(20, 99).map(lambda day: pd.Timestamp(SESSIONS[day])),
    test_end=st.none() | st.integers(20, 119).map(lambda day: pd.Timestamp(SESSIONS[day])),
    refit=st.sampled_from(["1m", "2m", "12m", "5", "13", "40"]),
    rolling=st.none() | st.integers(1, 80),
    test_sessions=st.integers(1, 60),
    folds=st.none() | st.integers(1, 5),
)


@settings(max_examples=150, deadline=None)
@given(plans, st.integers(2, 8), st.integers(1, 6), st.integers(0, 40), st.integers(0, 30))
def test_folds_cover_the_test_once_and_see_nothing_later(
    plan: Plan, lookback: int, horizon: int, gap: int, late: int
) -> None:
    quiet = np.concatenate([np.arange(60 - gap), np.arange(60, 100)])
    windows = Windows(
        panel_of([np.delete(np.arange(100), np.arange(50, 50 + gap // 2)), quiet[late:]]), lookback, horizon
    )
    try:
        folds = plan.cut(windows)
    except (UsageError, TooLittleHistory):
        assume(False)
    session, known_at, position = windows.panel.session, windows.panel.known_at, windows.panel.position
    tested = np.concatenate([fold.cutoffs for fold in folds])
    assert len(np.unique(tested)) == len(tested)
    last = session[windows.ends].max() if plan.test_end is None else plan.test_end.to_datetime64()
    expected = {row for row in windows.ends if folds[0].session <= session[row] <= last}
    assert set(tested) == expected
    if plan.test_start is not None:
        assert folds[0].session >= plan.test_start.to_datetime64()
    for fold, following in zip(folds, [*folds[1:], None], strict=True):
        assert len(fold.cutoffs), "no fold is empty"
        assert session[fold.cutoffs].min() == fold.session
        assert (known_at[fold.cutoffs] >= fold.refit).all()
        if following is not None:
            assert (known_at[fold.cutoffs] < following.refit).all()
        training = windows if fold.since is None else windows.but_since(fold.since)
        used = training.ends[known_at[training.ends] <= fold.refit]
        if plan.rolling is not None:
            days = np.unique(session[windows.ends])
            assert len(np.unique(session[used])) == min(plan.rolling, (days <= fold.session).sum())
        labels = training.labels(used, known_by=fold.refit)
        for row, steps in zip(used, labels, strict=True):
            mine = windows.panel.code == windows.panel.code[row]
            for step, label in enumerate(steps, start=1):
                due = position[row] + step
                stored = due in position[mine]
                assert np.isfinite(label) == (stored and SESSIONS[due] <= fold.refit)


def test_refits_by_months_and_by_sessions() -> None:
    windows = Windows(panel_of([np.arange(110)]), 4, 2)
    by_month = Plan(pd.Timestamp("2015-03-02"), pd.Timestamp("2015-05-20"), "1m").cut(windows)
    assert [str(fold.session)[:10] for fold in by_month] == ["2015-03-02", "2015-04-02", "2015-05-04"]
    by_session = Plan(pd.Timestamp("2015-03-02"), pd.Timestamp("2015-05-20"), "10").cut(windows)
    assert [len(fold.cutoffs) for fold in by_session] == [10] * 5 + [7]


@pytest.mark.parametrize("refit", ["", "m", "0", "-3", "1.5m", "year"])
def test_a_span_that_is_none_is_refused(refit: str) -> None:
    windows = Windows(panel_of([np.arange(110)]), 4, 2)
    with pytest.raises(UsageError, match="refit: expected months such as 12m"):
        Plan(test_sessions=20, refit=refit).cut(windows)


def test_a_test_outside_the_history_is_refused() -> None:
    windows = Windows(panel_of([np.arange(110)]), 4, 2)
    with pytest.raises(UsageError, match="No session to test on"):
        Plan(pd.Timestamp("2030-01-01")).cut(windows)
    with pytest.raises(TooLittleHistory, match="expected at least 8"):
        Plan(pd.Timestamp("2015-01-01")).cut(windows)
    with pytest.raises(TooLittleHistory, match="too few to hold 200 back"):
        Plan(test_sessions=200).cut(windows)
    with pytest.raises(UsageError, match="folds: expected 1 to 10"):
        Plan(test_sessions=10, folds=11).cut(windows)
    with pytest.raises(UsageError, match="rolling"):
        Plan(test_sessions=20, rolling=0).cut(windows)


def test_pools_bring_their_members_and_the_last_price_is_always_there() -> None:
    recipe = Recipe(cells=("gru",))
    assert with_members(["pool"], recipe) == ["rolling_t", "ewma_t", "gjr_t", "harx", "gru", "pool"]
    assert with_members([], recipe) == ["rolling_t"]
    with pytest.raises(UsageError, match=r"No model 'arima'.*constant.*pool_classical"):
        with_members(["arima"], recipe)


@pytest.fixture(scope="module")
def windows(history: History) -> Windows:
    return Windows(assemble(history.until("2017-12-29")), 16, 20)


@pytest.fixture(scope="module")
def walked(windows: Windows, tiny: Recipe) -> InMemory:
    kept = InMemory()
    walk(windows, Plan(test_sessions=360, folds=3).cut(windows), CHEAP, tiny, STEPS, kept)
    return kept


def equal(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True)


def test_every_model_forecasts_the_same_stock_days(walked: InMemory) -> None:
    keys = ["symbol", "cutoff", "step", "session", "outcome"]
    for fold in range(3):
        first = walked.get(Part(CHEAP[0], fold))[keys]
        assert len(first)
        for name in CHEAP[1:]:
            equal(walked.get(Part(name, fold))[keys], first)


def test_several_processes_find_the_same(windows: Windows, walked: InMemory, tiny: Recipe) -> None:
    kept = InMemory()
    names = ("rolling_t", "ewma_t", "gjr_t", "harx")
    walk(windows, Plan(test_sessions=360, folds=3).cut(windows), names, tiny, STEPS, kept, jobs=2)
    for name in names:
        for fold in range(3):
            one, other = (where.get(Part(name, fold)) for where in (kept, walked))
            # Another number of threads adds in another order, and an optimiser ends elsewhere by as much.
            np.testing.assert_allclose(
                one[["mean", "sigma", "df"]], other[["mean", "sigma", "df"]], rtol=5e-3
            )
            equal(
                one[["symbol", "cutoff", "step", "outcome"]], other[["symbol", "cutoff", "step", "outcome"]]
            )


def test_a_pool_learns_from_outcomes_known_at_its_refit_only(
    windows: Windows, walked: InMemory, tiny: Recipe
) -> None:
    """Rewriting what was known later moves neither weights nor forecasts; rewriting the past does."""
    folds = Plan(test_sessions=360, folds=3).cut(windows)
    moved, past = InMemory(), InMemory()
    for part, table in walked.items():
        if part.model == "pool_classical":
            continue
        late = table["session"] > folds[1].session
        made_up = np.random.default_rng(0).normal(0, 0.5, len(table))
        moved.put(part, table.assign(outcome=table["outcome"].mask(late, made_up)))
        past.put(part, table.assign(outcome=table["outcome"].where(late, made_up)))
    for kept in (moved, past):
        walk(windows, folds, ["pool_classical"], tiny, STEPS, kept)
    columns = ["mean", "sigma", "df", "q05"]
    true, late, early = (kept.get(Part("pool_classical", 1))[columns] for kept in (walked, moved, past))
    equal(true, late)
    assert not np.allclose(true["sigma"], early["sigma"])


def test_a_pool_first_weighs_all_the_same(walked: InMemory) -> None:
    pooled = walked.get(Part("pool_classical", 0))
    degrees = [walked.get(Part(name, 0))["df"].to_numpy() for name in ("ewma_t", "gjr_t", "harx")]
    np.testing.assert_allclose(pooled["df"], np.mean(degrees, axis=0))


def test_rolling_training_forgets_what_lies_before(history: History, tiny: Recipe) -> None:
    short = history.until("2017-12-29")
    plan = Plan(test_sessions=100, folds=1, rolling=300)
    tables = []
    for seed in (None, 1):
        windows = Windows(assemble(short), tiny.lookback, tiny.horizon)
        (fold,) = plan.cut(windows)
        if seed is not None:
            early = windows.panel.known_at < fold.since - np.timedelta64(40, "D")
            noise = np.random.default_rng(seed).normal(size=early.sum())
            panel = replace(
                windows.panel, log_price=windows.panel.log_price.copy(), values=windows.panel.values.copy()
            )
            panel.log_price[early] += noise
            panel.values[early] += noise[:, None]
            windows = Windows(panel, tiny.lookback, tiny.horizon)
        kept = InMemory()
        walk(windows, [fold], ["ewma_t", "harx"], tiny, STEPS, kept)
        tables.append(pd.concat([kept.get(Part(name, 0)) for name in ("ewma_t", "harx")]))
    equal(*tables)


@pytest.mark.slow
def test_the_walk_does_not_see_rows_after_each_cutoff(history: History, tiny: Recipe) -> None:
    short, after = history.until("2017-12-29"), pd.Timestamp("2017-06-01")
    tables = []
    for one in (short, perturb(short, after)):
        windows = Windows(assemble(one), tiny.lookback, tiny.horizon)
        folds, kept = Plan(test_sessions=300, folds=2).cut(windows), InMemory()
        names, recipe = with_members([*CLASSICAL, "pool"], tiny.but(cells=("gru",))), tiny.but(cells=("gru",))
        walk(windows, folds, names, recipe, STEPS, kept)
        table = pd.concat([kept.get(Part(name, fold)) for name in names for fold in range(2)])
        columns = ["model", "symbol", "cutoff", "step", "base_price", "mean", "sigma", "df", "q05", "q99"]
        tables.append(table.loc[table["cutoff"] <= after, columns])
    assert len(tables[0]) > 5000
    equal(*tables)


def test_a_folder_goes_on_where_it_was_stopped(
    windows: Windows, walked: InMemory, tiny: Recipe, tmp_path: Path
) -> None:
    folds = Plan(test_sessions=360, folds=3).cut(windows)
    kept = InFolder(tmp_path / "out", {"run": 1})
    walk(windows, folds[:1], CHEAP[:2], tiny, STEPS, kept)
    (tmp_path / "out" / "forecasts" / "model=rolling_t" / ".fold-000.parquet").write_text("half")
    fitted = []
    again = InFolder(tmp_path / "out", {"run": 1})

    class Watched:
        def __contains__(self, part: Part) -> bool:
            return part in again

        def put(self, part: Part, table: pd.DataFrame) -> None:
            fitted.append(part)
            again.put(part, table)

        get = again.get

    walk(windows, folds, CHEAP, tiny, STEPS, Watched())
    assert Part("constant", 0) not in fitted
    assert Part("constant", 1) in fitted
    for name in CHEAP:
        for fold in range(3):
            numbers = ["mean", "sigma", "q05", "crps", "outcome", "pit"]
            np.testing.assert_allclose(
                again.get(Part(name, fold))[numbers],
                walked.get(Part(name, fold))[numbers],
                rtol=2e-3,
                atol=1e-6,
            )
    read = pd.read_parquet(tmp_path / "out" / "forecasts")
    assert set(read["model"]) == set(CHEAP)
    assert read["sigma"].dtype == np.float32
    with pytest.raises(UsageError, match="another run"):
        InFolder(tmp_path / "out", {"run": 2})
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(StoreError, match="choose another --out"):
        InFolder(tmp_path / "out", {"run": 1})


def test_each_random_start_is_kept_and_their_pool_is_the_model(windows: Windows, tiny: Recipe) -> None:
    recipe = tiny.but(seeds=2, cells=("gru",), linear_part=False, beside=(), calibrated=False)
    kept = InMemory()
    walk(
        windows,
        Plan(test_sessions=100, folds=1).cut(windows),
        ["rolling_t", "gru", "served"],
        recipe,
        STEPS,
        kept,
    )
    seeds = [kept.get(Part("gru", 0, seed)) for seed in range(2)]
    assert not np.allclose(seeds[0]["sigma"], seeds[1]["sigma"])
    expected = np.sqrt(seeds[0]["sigma"] * seeds[1]["sigma"])
    np.testing.assert_allclose(kept.get(Part("gru", 0))["sigma"], expected)
    np.testing.assert_allclose(kept.get(Part("served", 0))["sigma"], expected, rtol=1e-6)
