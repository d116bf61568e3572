"""Event study, sizes of events and shrinkage, on prices with planted jumps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from planted import CLOSES, COUNT, DAYS, JUMP, SIGMA, SYMBOLS, event, history_from, planted
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from forecaster.errors import UsageError
from forecaster.evaluation.event_study import EventStudy, effects, event_study, occasions
from forecaster.evaluation.shrinkage import group_means, shrink
from forecaster.event_plots import plot_event_path
from forecaster.events import checked
from forecaster.features.volatility import ewma
from forecaster.history import History


@pytest.fixture(scope="module")
def world() -> tuple[History, np.ndarray]:
    events, returns = planted()
    return history_from(events, returns), returns


@pytest.fixture(scope="module")
def study(world: tuple[History, np.ndarray]) -> EventStudy:
    return event_study(world[0])


def path(study: EventStudy, kind: str, tone: str, measure: str) -> pd.DataFrame:
    rows = study.paths
    chosen = (rows["kind"] == kind) & (rows["tone"] == tone) & (rows["measure"] == measure)
    return rows[chosen].set_index("offset")


def told(history: History, kind: str) -> list[tuple[int, int, float]]:
    """Symbol's place, session's number and tone of each event, by a loop."""
    results = {
        (row.symbol, int(np.searchsorted(CLOSES, row.known_at, side="right")))
        for row in history.events.itertuples()
        if row.kind == "results"
    }
    found = []
    for row in history.events.itertuples():
        day = int(np.searchsorted(CLOSES, row.known_at, side="right"))
        if row.kind == kind and (kind == "results" or (row.symbol, day) not in results):
            found.append((SYMBOLS.index(row.symbol), day, row.tone))
    return found


def test_planted_jumps_are_found_on_their_session_with_their_sign(study: EventStudy) -> None:
    for tone, jump in (("bad", -0.8 * JUMP), ("neutral", 0.0), ("good", 0.8 * JUMP)):
        average = path(study, "leadership", tone, "average")
        assert average.loc[0, "low"] < jump < average.loc[0, "high"]
        assert average.loc[0, "high"] - average.loc[0, "low"] < 0.02
        assert (average.drop(index=0)["value"].abs() < 0.02).all()
        cumulative = path(study, "leadership", tone, "cumulative")
        assert cumulative.loc[-1, ["value", "low", "high"]].eq(0).all()
        assert cumulative.loc[0, "value"] == pytest.approx(average.loc[0, "value"])
    nothing = path(study, "policy", "all", "average")
    assert ((nothing["low"] < 0) & (nothing["high"] > 0)).mean() > 0.8
    storm = path(study, "leadership", "all", "volatility")["value"]
    assert storm.loc[1:8].min() > 1.3 * max(storm.loc[-5:-1].max(), storm.loc[9:].max())


def test_paths_and_bands_are_those_of_a_plain_loop(
    world: tuple[History, np.ndarray], study: EventStudy
) -> None:
    history, returns = world
    abnormal = returns.copy()
    for place in range(len(SYMBOLS)):
        abnormal[:, place] -= np.delete(returns, place, axis=1).mean(axis=1)
    # The first row has no return.
    abnormal[0] = np.nan
    chosen = [(place, day) for place, day, tone in told(history, "leadership") if tone > 0.1]
    days = np.array([day for _, day in chosen])
    for offset in (-5, -2, -1, 0, 1, 10):
        one = np.array([abnormal[day + offset, place] for place, day in chosen])
        row = path(study, "leadership", "good", "average").loc[offset]
        fit = sm.OLS(one, np.ones(len(one))).fit(cov_type="cluster", cov_kwds={"groups": days})
        half = fit.bse[0] * stats.t.ppf(0.975, len(set(days)) - 1)
        np.testing.assert_allclose(
            row[["value", "low", "high"]].astype(float), one.mean() + half * np.array([0, -1, 1]), rtol=1e-6
        )
        assert (row["events"], row["dates"]) == (len(one), len(set(days)))
        summed = [
            abnormal[day : day + offset + 1, place].sum()
            if offset >= 0
            else -abnormal[day + offset + 1 : day, place].sum()
            for place, day in chosen
        ]
        value = path(study, "leadership", "good", "cumulative").loc[offset, "value"]
        assert value == pytest.approx(np.mean(summed), abs=1e-12)
        usual = [np.abs(abnormal[day - 75 : day - 9, place]).mean() for place, day in chosen]
        ratio = np.abs(one) / np.array(usual)
        row = path(study, "leadership", "good", "volatility").loc[offset]
        assert row["value"] == pytest.approx(ratio.mean())
        gap = np.abs(days[:, None] - days)
        weight = np.maximum(0, 1 - gap / 16)
        centred = ratio - ratio.mean()
        variance = max(centred @ (gap == 0) @ centred, centred @ weight @ centred) / len(ratio) ** 2
        grown = len(set(days)) / (len(set(days)) - 1)
        half = np.sqrt(grown * variance) * stats.t.ppf(0.975, len(set(days)) - 1)
        assert row["high"] - row["value"] == pytest.approx(half)


def test_events_of_one_day_count_as_one(study: EventStudy) -> None:
    rows = study.paths[study.paths["kind"] == "restructuring"]
    assert rows["events"].eq(5).all()
    assert rows["dates"].eq(1).all()
    assert rows[["low", "high"]].isna().all(axis=None)


def test_the_market_index_is_taken_where_it_is_stored(world: tuple[History, np.ndarray]) -> None:
    history, returns = world
    growth = np.random.default_rng(5).normal(0, 0.01, COUNT)
    level = pd.DataFrame(
        {"name": "market_index", "symbol": "", "session": DAYS, "value": np.exp(np.cumsum(growth))}
    )
    told_of = event_study(replace(history, factors=level.assign(known_at=CLOSES)), 1, 0)
    expected = [returns[day, place] - growth[day] for place, day, _ in told(history, "policy")]
    assert path(told_of, "policy", "all", "average").loc[0, "value"] == pytest.approx(np.mean(expected))


def test_reports_of_one_thing_count_once_and_results_come_first(world: tuple[History, np.ndarray]) -> None:
    history, _ = world
    of_results = history.events[history.events["kind"] == "results"].iloc[:20]
    again = of_results.assign(known_at=of_results["known_at"] + pd.Timedelta(days=1), source="other")
    beside = of_results.assign(kind="leadership")
    policy = history.events[history.events["kind"] == "policy"]
    twice = policy.assign(tone=-policy["tone"], url="b")
    more = replace(history, events=pd.concat([history.events, again, beside, twice], ignore_index=True))
    pd.testing.assert_frame_equal(effects(more).drop(index="policy"), effects(history).drop(index="policy"))
    tones = occasions(more).groupby("kind")["tone"]
    assert tones.count()["policy"] == len(told(history, "policy")) + sum(
        (row.symbol, row.known_at) in set(zip(of_results["symbol"], of_results["known_at"], strict=True))
        for row in policy.itertuples()
    )
    assert tones.max()["policy"] == tones.min()["policy"] == 0.0


def test_sizes_are_those_planted_and_of_a_plain_loop(world: tuple[History, np.ndarray]) -> None:
    history, returns = world
    found = effects(history)
    moves = returns.copy()
    moves[0] = np.nan
    scale = np.column_stack([np.append(np.nan, ewma(column)[:-1]) for column in moves.T])
    standard = moves / scale
    results = told(history, "results")
    for kind in ("results", "policy"):
        squares: dict[int, list[float]] = {place: [] for place in range(len(SYMBOLS))}
        for place, day, _ in told(history, kind):
            unusual = [when for one, when, _ in told(history, kind) + results if one == place]
            ordinary = np.delete(standard[:, place], unusual)
            squares[place].append(standard[day, place] ** 2 / np.mean(ordinary[np.isfinite(ordinary)] ** 2))
        every = [values for values in squares.values() if values]
        within = sum(np.var(values) * len(values) for values in every)
        variance = within / (sum(map(len, every)) - len(every))
        means = np.array([np.mean(values) for values in every])
        meta = combine_effects(
            means, variance / np.array([len(values) for values in every]), method_re="chi2"
        )
        expected = np.sqrt(meta.summary_frame().loc["random effect", "eff"])
        assert found.loc[kind, "width"] == pytest.approx(expected, rel=1e-6)
    toned = [
        (day, tone, standard[day, place])
        for place, day, tone in told(history, "leadership")
        if np.isfinite(tone)
    ]
    days, tones, moved = (np.array(column) for column in zip(*toned, strict=True))
    fit = sm.OLS(moved, sm.add_constant(tones)).fit(cov_type="cluster", cov_kwds={"groups": days})
    half = fit.bse[1] * stats.t.ppf(0.975, len(set(days)) - 1)
    shift = found.loc["leadership", ["shift", "shift_low", "shift_high"]].astype(float)
    np.testing.assert_allclose(shift, fit.params[1] + half * np.array([0, -1, 1]), rtol=1e-6)
    assert shift["shift_low"] > 3
    assert found.loc["policy", "shift_low"] < 0 < found.loc["policy", "shift_high"]
    assert np.isnan(found.loc["restructuring", ["width", "shift"]].astype(float)).all()


def test_a_symbol_has_a_width_of_its_own_drawn_towards_all() -> None:
    """Results go with four times the ordinary spread, those of one symbol with eight times."""
    draw = np.random.default_rng(9)
    returns = SIGMA * draw.normal(size=(COUNT, len(SYMBOLS)))
    rows = []
    for place, symbol in enumerate(SYMBOLS):
        for day in range(100 + 9 * place, COUNT - 5, 25):
            rows.append(event(symbol, day, "results"))
            returns[day, place] *= 8 if symbol == "AAA" else 4
    history = history_from(checked(pd.DataFrame(rows), "wide"), returns)
    pooled = effects(history).loc["results"]
    assert pooled["events"] == len(rows)
    assert pooled["width_low"] < np.sqrt((8**2 + 4 * 4**2) / 5) < pooled["width_high"]
    own = {symbol: effects(history, symbol).loc["results"] for symbol in SYMBOLS}
    assert own["AAA"]["width"] > pooled["width"] + 1
    for symbol in SYMBOLS[1:]:
        assert own[symbol]["width"] < own["AAA"]["width_low"]
        assert own[symbol]["width_low"] < 4 < own[symbol]["width_high"]
    without = history.but_events(history.events["symbol"] != "AAA")
    unseen = effects(without, "AAA").loc["results"]
    assert unseen["width"] == pytest.approx(effects(without).loc["results", "width"])


def test_nothing_later_is_read(world: tuple[History, np.ndarray]) -> None:
    history, returns = world
    cut = 800
    events = history.events[history.events["source"] == "wire"]
    later = events["known_at"] > CLOSES[cut]
    changed = returns.copy()
    changed[cut + 1 :] *= -3
    flipped = events.assign(
        tone=events["tone"].where(~later, -events["tone"]), kind=events["kind"].where(~later, "policy")
    )
    before = history.until(pd.Timestamp(DAYS[cut]))
    other = history_from(flipped, changed).until(pd.Timestamp(DAYS[cut]))
    pd.testing.assert_frame_equal(effects(before), effects(other))
    pd.testing.assert_frame_equal(event_study(before).paths, event_study(other).paths)


def test_an_event_one_second_after_a_close_moves_the_next_session(world: tuple[History, np.ndarray]) -> None:
    history, _ = world
    day = 700
    for seconds, moved in ((-1, day), (0, day + 1), (1, day + 1)):
        moment = CLOSES[day] + pd.Timedelta(seconds=seconds)
        one = event("AAA", day, "profit", 0.9, happened_at=moment, known_at=moment)
        added = pd.concat([history.events, checked(pd.DataFrame([one]), "one")], ignore_index=True)
        longer = replace(history, events=added)
        row = occasions(longer).query("kind == 'profit'").iloc[0]
        assert row["session"] == DAYS[moved]
        assert effects(longer).loc["profit", "events"] == 1
        known = longer.until(pd.Timestamp(DAYS[day]))
        assert ("profit" in effects(known).index) == (moved == day)


def test_no_events_give_an_empty_study_and_wrong_windows_are_refused(
    world: tuple[History, np.ndarray],
) -> None:
    history, _ = world
    empty = event_study(history.but_events(history.events["kind"] == "nothing"))
    assert empty.paths.empty
    assert empty.effects.empty
    for before, after in ((0, 5), (10, 5), (5, -1)):
        with pytest.raises(UsageError, match="1 to 9 sessions before"):
            event_study(history, before, after)


def test_paths_are_drawn_by_tone_with_their_bands(study: EventStudy) -> None:
    figure = plot_event_path(study.paths, "leadership", "cumulative")
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines) == ["bad tone", "neutral tone", "good tone"]
    assert len({trace.marker.symbol for trace in lines.values()}) == 3
    rows = path(study, "leadership", "bad", "cumulative")
    np.testing.assert_allclose(lines["bad tone"].y, 100 * rows["value"])
    np.testing.assert_allclose(figure.data[0].y, 100 * rows["low"])
    np.testing.assert_allclose(figure.data[1].y, 100 * rows["high"])
    untoned = plot_event_path(study.paths, "restructuring", "volatility")
    assert [trace.name for trace in untoned.data if trace.name] == ["every event"]


def test_shrinkage_is_that_of_a_meta_analysis() -> None:
    draw = np.random.default_rng(3)
    errors = draw.uniform(0.2, 2.0, 40)
    estimates = 1.5 + draw.normal(size=40) + errors * draw.normal(size=40)
    found = shrink(estimates, errors)
    other = combine_effects(estimates, errors**2, method_re="chi2")
    assert found.mean == pytest.approx(other.mean_effect_re)
    assert found.error == pytest.approx(other.sd_eff_w_re)
    assert found.variance == pytest.approx(other.tau2)
    share = found.variance / (found.variance + errors**2)
    np.testing.assert_allclose(found.values, share * estimates + (1 - share) * found.mean)
    half = 1.959964 * np.sqrt(found.variance * (1 - share) + (1 - share) ** 2 * found.error**2)
    np.testing.assert_allclose(found.high - found.values, half, rtol=1e-6)
    beside = shrink(np.append(estimates, np.nan), np.append(errors, np.nan))
    np.testing.assert_allclose(beside.values[:-1], found.values)
    assert beside.values[-1] == pytest.approx(found.mean)
    assert np.isnan(shrink(np.ones(3), np.zeros(3)).values).all()


def test_group_means_have_the_errors_of_an_analysis_of_variance() -> None:
    draw = np.random.default_rng(4)
    group = pd.Series(np.repeat(["a", "b", "c"], [4, 9, 20]))
    values = pd.Series(draw.normal(size=33) + (group == "b"))
    fit = sm.OLS(values, pd.get_dummies(group).astype(float)).fit()
    found = group_means(values, group)
    np.testing.assert_allclose(found["mean"], fit.params)
    np.testing.assert_allclose(found["error"], fit.bse)
