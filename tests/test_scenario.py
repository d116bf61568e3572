"""What if: a scenario moves its own sessions and none before, by what was learned or measured."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from forecaster.config import Recipe
from forecaster.errors import ModelError, UsageError
from forecaster.evaluation.event_study import effects
from forecaster.events import no_events, with_backfill
from forecaster.explain.effects import Effect
from forecaster.explain.scenario import (
    AS_IT_STANDS,
    KINDS,
    LABEL,
    WHAT_IF,
    Scenario,
    SupposedEvent,
    WhatIf,
    what_if,
)
from forecaster.fan_plots import plot_forecast
from forecaster.features import bars_of, company, exogenous
from forecaster.history import History
from forecaster.models.trained import Model
from forecaster.sessions import next_sessions
from forecaster.workflow import train

TRAINED_UNTIL = "2021-03-01"
SYMBOL = "AAPL"


def event(symbol: str, kind: str, moment: str | pd.Timestamp, tone: float = np.nan) -> dict:
    at = pd.Timestamp(moment, tz="UTC")
    row = {"symbol": symbol, "kind": kind, "happened_at": at, "known_at": at, "tone": tone, "magnitude": 1.0}
    return row | {"title": "", "url": "", "source": "files"}


def made_up() -> list[dict]:
    """Results of each quarter after the close, and a dozen changes of leadership of one company."""
    random = np.random.default_rng(5)
    quarters = pd.date_range("2017-02-01 21:30", "2023-08-20", freq="91D")
    changes = pd.date_range("2018-01-08 12:00", periods=12, freq="100D")
    return [
        *(
            event(symbol, "results", day + pd.Timedelta(7 * week, "D"), random.uniform(-1, 1))
            for week, symbol in enumerate(("AAPL", "NFLX", "NVDA"))
            for day in quarters
        ),
        *(event(SYMBOL, "leadership", day, random.uniform(-1, 1)) for day in changes),
    ]


def with_events(history: History, rows: list[dict]) -> History:
    events = pd.DataFrame(rows).astype(no_events().dtypes.to_dict())
    known = with_backfill(events, history.instruments)
    cutoff = pd.Timestamp("2023-09-21 20:00", tz="UTC")
    return replace(
        history,
        traded=history.traded[history.traded["session"] >= "2017"].reset_index(drop=True),
        events=known[known["known_at"] <= cutoff].reset_index(drop=True),
    )


@pytest.fixture(scope="module")
def told(history: History) -> History:
    return with_events(history, made_up())


@pytest.fixture(scope="module")
def model(told: History, tiny: Recipe) -> Model:
    return train(told.until(TRAINED_UNTIL), tiny)


@pytest.fixture(scope="module")
def ahead(told: History) -> list[dt.date]:
    return [pd.Timestamp(day).date() for day in next_sessions("XNAS", told.as_of, 20)]


def both(answer: WhatIf) -> tuple[pd.DataFrame, pd.DataFrame]:
    standing, supposed = (rows for _, rows in answer.forecasts.groupby("scenario", sort=False))
    assert set(standing["scenario"]) == {AS_IT_STANDS}
    assert set(supposed["scenario"]) == {WHAT_IF}
    return standing.drop(columns="scenario"), supposed.drop(columns="scenario").set_axis(standing.index)


@pytest.mark.parametrize("step", [1, 8, 20])
@pytest.mark.parametrize(("kind", "tone"), [("results", None), ("results", -0.8), ("leadership", 0.5)])
def test_an_event_moves_the_fan_from_its_day_on_and_not_before(told, model, ahead, kind, tone, step):
    scenario = Scenario(events=(SupposedEvent(kind=kind, date=ahead[step - 1], tone=tone),))
    standing, supposed = both(what_if(model, told, SYMBOL, scenario))
    before = standing["step"] < step
    pd.testing.assert_frame_equal(supposed[before], standing[before], check_exact=True)
    later = ~before
    moved = supposed.loc[later, "sigma"] != standing.loc[later, "sigma"]
    # A measured width below that of an ordinary session narrows nothing.
    assert moved.all() or (kind == "leadership" and not moved.any())
    assert ((supposed.loc[later, "mean"] != standing.loc[later, "mean"]) == (tone is not None)).all()
    np.testing.assert_array_equal(supposed["df"], standing["df"])


def test_the_forecast_as_it_stands_is_the_model_s(told, model, ahead):
    answer = what_if(model, told, SYMBOL, Scenario.parse([f"results@{ahead[4]}", "market=-3%"]))
    standing, supposed = both(answer)
    pd.testing.assert_frame_equal(standing, model.forecast(told, (SYMBOL,)), check_exact=True)
    same = ["symbol", "cutoff", "step", "session", "base_price", "family", "model"]
    pd.testing.assert_frame_equal(standing[same], supposed[same])
    again = what_if(model, told, SYMBOL, answer.scenario)
    pd.testing.assert_frame_equal(again.forecasts, answer.forecasts, check_exact=True)


def test_supposed_results_are_laid_out_as_announced_ones(told, model, ahead):
    """By hand: due on the day, fading after it, and how far results move this symbol."""
    step = 8
    _, supposed = both(what_if(model, told, SYMBOL, Scenario.parse([f"results@{ahead[step - 1]}"])))
    windows = model.windows(told)
    end, panel = windows.last_end(SYMBOL), windows.panel
    row = panel.announced[[end]].toarray().reshape(company.LONGEST, -1)
    names = list(company.AHEAD_NAMES)
    assert not row[:30, names.index("results_due")].any(), "none is announced yet"
    bars = told.bars(SYMBOL).reset_index(drop=True)
    moved = [bars["session"].searchsorted(day.tz_localize(None)) for day in results_of(told)]
    sigma = panel.base_sigma[panel.code == 0]
    returns = panel.log_return[panel.code == 0]
    moves = [abs(returns[at]) / sigma[at - 1] for at in moved if np.isfinite(returns[at] / sigma[at - 1])]
    usual = (sum(moves) + 4 * 2.0) / (len(moves) + 4)
    for at in range(step - 1, company.LONGEST):
        row[at] = 0.0
        row[at, names.index("results_passed")] = np.exp(-(at - step + 1) / 5) if at >= step else 0.0
    row[step - 1, names.index("results_due")] = 1.0
    row[step - 1, names.index("results_size")] = np.log(usual / 2)
    parts = [panel.announced[:end], sparse.csr_array(row.reshape(1, -1)), panel.announced[end + 1 :]]
    by_hand = replace(windows, panel=replace(panel, announced=sparse.vstack(parts, format="csr")))
    expected = model.served(by_hand, np.array([end]))
    np.testing.assert_allclose(supposed["sigma"], expected.sigma[0], rtol=1e-6)


def results_of(history: History) -> pd.Series:
    rows = history.events[(history.events["symbol"] == SYMBOL) & (history.events["kind"] == "results")]
    # After the close of their day, so the session after it.
    return rows["happened_at"].dt.normalize() + pd.Timedelta(1, "D")


def test_other_kinds_widen_and_shift_by_what_was_measured(told, model, ahead):
    step, tone = 5, -1.0
    answer = what_if(model, told, SYMBOL, Scenario.parse([f"leadership@{ahead[step - 1]}:{tone}"]))
    standing, supposed = both(answer)
    effect = effects(told, SYMBOL).loc["leadership"]
    panel = model.windows(told).panel
    base = panel.base_sigma[panel.code == 0][-1]
    variance = [*(standing["sigma"] ** 2)]
    # What the tone moves is part of the measured width.
    width = np.sqrt(max(effect["width"] ** 2 - (effect["shift"] * tone) ** 2, 1.0))
    extra = (width**2 - 1) * (variance[step - 1] - variance[step - 2])
    for at, row in enumerate(supposed.to_dict("records")):
        since = at >= step - 1
        assert row["sigma"] ** 2 == pytest.approx(variance[at] + (extra if since else 0.0))
        shift = effect["shift"] * tone * base if since else 0.0
        assert row["mean"] == pytest.approx(standing["mean"].iloc[at] + shift)
    assert width < 1.005, "the tone accounts for nearly all of it"
    measured = f"unchanged (factor 1.00); measured {effect['width']:.2f} times"
    assert any(measured in note for note in answer.notes)
    assert any("past events: 12, companies: 1" in note for note in answer.notes)


def test_an_interval_that_includes_no_effect_is_said(told, model, ahead):
    measured = effects(told, SYMBOL).loc["results"]
    (note,) = (
        one
        for one in what_if(model, told, SYMBOL, Scenario.parse([f"results@{ahead[0]}:1"])).notes
        if "tone +1" in one
    )
    no_effect = measured["shift_low"] <= 0 <= measured["shift_high"]
    assert ("which includes no effect" in note) == no_effect


class Watched(Model):
    """A model that keeps what was known ahead in the forecasts asked of it; the scenario asks first."""

    def served(self, windows, cutoffs):
        self.card.setdefault("asked", []).append(windows.ahead(cutoffs)[0])
        return super().served(windows, cutoffs)


def due_of(model: Model, history: History, word: str) -> tuple[np.ndarray, WhatIf]:
    """Sessions ahead on which results are due under a scenario, and the answer to it."""
    watched = Watched(**vars(model) | {"card": dict(model.card)})
    answer = what_if(watched, history, SYMBOL, Scenario.parse([word]))
    supposed = watched.card["asked"][0]
    column = list(model.card["ahead"]).index("results_due")
    return np.flatnonzero(supposed[:, column]) + 1, answer


def test_results_announced_for_later_give_way_and_those_before_stay(told, model, ahead):
    announced = event(SYMBOL, "results_scheduled", f"{ahead[9]} 16:00") | {
        "known_at": pd.Timestamp("2023-09-11 12:00", tz="UTC")
    }
    known = replace(
        told,
        events=pd.concat([told.events, pd.DataFrame([announced]).astype(no_events().dtypes.to_dict())]),
    )
    due, earlier = due_of(model, known, f"results@{ahead[4]}")
    assert list(due) == [5]
    assert not any("stays" in note for note in earlier.notes)
    due, later = due_of(model, known, f"results@{ahead[14]}")
    assert list(due) == [10, 15]
    assert any("before the supposed date already" in note for note in later.notes)
    standing, supposed = both(later)
    np.testing.assert_array_equal(standing["sigma"][:14], supposed["sigma"][:14])


def test_supposing_what_is_announced_changes_nothing(told, model, ahead):
    announced = event(SYMBOL, "results_scheduled", f"{ahead[9]} 14:30") | {
        "known_at": pd.Timestamp("2023-09-11 12:00", tz="UTC")
    }
    row = pd.DataFrame([announced]).astype(no_events().dtypes.to_dict())
    known = replace(told, events=pd.concat([told.events, row]))
    standing, supposed = both(what_if(model, known, SYMBOL, Scenario.parse([f"results@{ahead[9]}"])))
    pd.testing.assert_frame_equal(standing, supposed, check_exact=True)


def test_results_on_the_cutoff_session_are_not_due_again_at_once(history, model, ahead):
    came = with_events(history, [*made_up(), event(SYMBOL, "results", "2023-09-21 13:00", 0.5)])
    with pytest.raises(UsageError, match="came on the cutoff session"):
        what_if(model, came, SYMBOL, Scenario.parse([f"results@{ahead[2]}"]))


def test_a_market_that_does_not_move_changes_nothing(told, model):
    standing, supposed = both(what_if(model, told, SYMBOL, Scenario(market=0.0)))
    pd.testing.assert_frame_equal(standing, supposed, check_exact=True)


def test_a_market_that_falls_moves_the_fan_from_the_first_session_on(told, model):
    answer = what_if(model, told, SYMBOL, Scenario(market=-3.0))
    standing, supposed = both(answer)
    assert (standing["sigma"] != supposed["sigma"]).all()
    assert any("stays as it was" in note for note in answer.notes)
    assert any(note.startswith("Market -3 % at the cutoff: ") for note in answer.notes)


@pytest.mark.parametrize("shock", [{"market": -0.03}, {"market": 0.02, "volatility_index": 5.0}])
def test_what_is_computed_anew_is_what_the_whole_computation_gives(told, model, shock):
    """The market of all symbols under the shock, every input of every symbol, and a forecast from there."""
    days = told.bars(SYMBOL)["session"].tail(300)
    level = pd.DataFrame({"name": "volatility_index", "symbol": "^VIX", "session": days, "value": 15.0})
    level = level.assign(known_at=(days + pd.Timedelta(20, "h")).dt.tz_localize("UTC"))
    known = replace(told, factors=level.reset_index(drop=True))
    words = {"market": 100 * shock["market"], "volatility_index": shock.get("volatility_index")}
    standing, supposed = both(what_if(model, known, SYMBOL, Scenario(**words)))
    moment = model.windows(known).panel.known_at.max()
    bars = list(bars_of(known).values())
    around = exogenous.surroundings(bars, known.factors, exogenous.Shock(moment, **shock))
    windows = model.windows(known, around)
    expected = model.served(windows, np.array([windows.last_end(SYMBOL)]))
    for part in ("mean", "sigma", "df"):
        np.testing.assert_array_equal(supposed[part], getattr(expected, part)[0])
    assert (supposed["sigma"] != standing["sigma"]).all()


def test_a_volatility_index_that_training_never_saw_moves_nothing_and_is_warned_of(told, model):
    with pytest.raises(UsageError, match="No volatility index is known at 2023-09-21 20:00 UTC"):
        what_if(model, told, SYMBOL, Scenario(volatility_index=10))
    days = told.bars(SYMBOL)["session"].tail(300)
    level = 15 + np.random.default_rng(1).normal(0, 1, len(days))
    factors = pd.DataFrame(
        {"name": "volatility_index", "symbol": "^VIX", "session": days, "value": level}
    ).assign(known_at=(days + pd.Timedelta(20, "h")).dt.tz_localize("UTC"))
    known = replace(told, factors=factors.reset_index(drop=True))
    answer = what_if(model, known, SYMBOL, Scenario(volatility_index=10))
    standing, supposed = both(answer)
    assert (standing["sigma"].to_numpy() == supposed["sigma"].to_numpy()).all()
    assert any("has never seen a volatility index" in one for one in answer.warnings)


def test_what_training_has_not_seen_is_warned_of(told, model, ahead):
    warned = what_if(model, told, SYMBOL, Scenario(market=-40.0)).warnings
    lowest, highest = model.card["inputs"]["exogenous.market_return"]
    assert any(
        one.startswith("The market's return (in units of its volatility) is -")
        and f"between {lowest:.3g} and {highest:.3g}" in one
        for one in warned
    )
    assert what_if(model, told, SYMBOL, Scenario(market=-0.1)).warnings == ()
    dividend = what_if(model, told, SYMBOL, Scenario.parse([f"dividend@{ahead[3]}"])).warnings
    assert "In its training the model has never seen an announced ex-dividend date." in dividend
    assert any("holds 0 announced dividends" in one for one in dividend)


def test_what_rounds_to_no_change_and_what_was_not_measured_is_said(told: History) -> None:
    interval = {"width": 1.001, "width_low": 0.8, "width_high": 1.2}
    row = pd.Series(interval | {"shift": np.nan, "events": 11, "companies": 1})
    effect = Effect("leadership", dt.date(2023, 10, 2), None, False, row)
    assert "own range is unchanged (factor 1.00); measured 1.00 times" in effect.told(False)[0]
    (few,) = effect.rare(told)
    assert "holds 12 events of the kind leadership, of which 11 could be measured; fewer than 30" in few


def test_few_past_events_are_warned_of(told, model, ahead):
    def warnings(kind: str) -> tuple[str, ...]:
        return what_if(model, told, SYMBOL, Scenario.parse([f"{kind}@{ahead[3]}"])).warnings

    assert warnings("results") == ()
    (few,) = warnings("leadership")
    assert few.startswith("The history of the model's symbols holds 12 events of the kind leadership")
    (none,) = warnings("policy")
    assert "holds 0 events of the kind policy" in none


def test_a_kind_without_a_past_moves_nothing_and_says_so(told, model, ahead):
    answer = what_if(model, told, SYMBOL, Scenario.parse([f"policy@{ahead[3]}:-1"]))
    standing, supposed = both(answer)
    pd.testing.assert_frame_equal(standing, supposed, check_exact=True)
    assert any("no such event stands in the history" in note for note in answer.notes)


def test_the_answer_is_labelled(told, model, ahead):
    for words in (["market=-1"], [f"leadership@{ahead[0]}"], [f"dividend@{ahead[0]}"]):
        assert what_if(model, told, SYMBOL, Scenario.parse(words)).notes[-1] == LABEL
    assert LABEL.startswith("Not causal: ")


def test_prices_hold_both_fans(told, model):
    answer = what_if(model, told, SYMBOL, Scenario(market=-3.0))
    rows = answer.forecasts
    np.testing.assert_allclose(answer.prices["q05"], rows["base_price"] * np.exp(rows["q05"]))
    assert list(answer.prices["scenario"]) == list(rows["scenario"])


def test_the_figure_draws_the_scenario_over_the_fan(told, model):
    standing, supposed = both(what_if(model, told, SYMBOL, Scenario(market=-3.0)))
    figure = plot_forecast(told, standing, SYMBOL, supposed=supposed)
    drawn = {trace.name: trace for trace in figure.data}
    base = standing["base_price"].iloc[0]
    np.testing.assert_allclose(drawn["Median"].y, [base, *base * np.exp(standing["q50"])])
    for part, name in {"q50": "median, 50 and 90 %", "q05": "q05", "q75": "q75", "q95": "q95"}.items():
        line = drawn[f"What if: {name}"]
        np.testing.assert_allclose(line.y, [base, *base * np.exp(supposed[part])])
        assert line.line.dash in ("dash", "dot", "dashdot"), "told apart by more than colour"


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        ("2023-09-23", "is no session of XNAS"),
        ("2023-09-21", "is not after the cutoff 2023-09-21"),
        ("2020-01-02", "is not after the cutoff 2023-09-21"),
        ("2023-10-20", "lies beyond the horizon of 20 sessions"),
    ],
)
def test_a_date_that_cannot_be_is_refused_with_the_next_sessions(told, model, day, reason):
    with pytest.raises(UsageError, match=reason) as refused:
        what_if(model, told, SYMBOL, Scenario.parse([f"leadership@{day}"]))
    assert "the next sessions are 2023-09-22, 2023-09-25" in str(refused.value)
    assert "up to 2023-10-19" in str(refused.value)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "nothing is supposed"),
        (["strike@2023-10-03"], "'results', 'dividend', 'leadership', 'policy', 'restructuring' or 'profit'"),
        (["results@soon"], "'soon' is no date"),
        (["results@2023-10-03:bad"], "'bad' is no number"),
        (["results@2023-10-03:-1.5"], "tone: expected a number greater than or equal to -1"),
        (["results@2023-10-03:nan"], "tone: expected a finite number"),
        (["dividend@2023-10-03:1"], "a dividend has no tone"),
        (["policy@2023-10-03:1", "policy@2023-10-03"], "stands twice"),
        (["vix=high"], "'high' is no number"),
        (["vix=1", "vix=2"], "given twice"),
        (["market=-100%"], "market: expected a number greater than -100"),
        (["oil=+10"], "expected KIND@DATE"),
        (["results"], "expected KIND@DATE"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(words, named):
    with pytest.raises(UsageError) as refused:
        Scenario.parse(words)
    assert named in str(refused.value)


def test_words_and_scenario_say_the_same():
    words = ("results@2023-10-03:-0.8", "dividend@2023-10-04", "vix=+10", "market=-3%")
    scenario = Scenario.parse(words)
    assert scenario.words == words
    assert Scenario.parse(scenario.words) == scenario
    assert scenario.events[0] == SupposedEvent(kind="results", date=dt.date(2023, 10, 3), tone=-0.8)
    assert (scenario.volatility_index, scenario.market) == (10, -3)
    assert Scenario(**scenario.model_dump(mode="json")) == scenario


def test_every_kind_can_be_supposed_but_the_announcements():
    assert set(KINDS) == {"results", "dividend", *company.OTHERS}


def test_the_card_knows_what_the_model_reads(told, model):
    panel = model.windows(told.until(TRAINED_UNTIL)).panel
    assert tuple(model.card["inputs"]) == panel.names
    assert tuple(model.card["ahead"]) == panel.ahead_names
    windows = model.windows(told.until(TRAINED_UNTIL))
    for at, name in enumerate(panel.names):
        column = [float(panel.values[row, at]) for row in windows.ends]
        assert model.card["inputs"][name] == [min(column), max(column)]
    known = windows.ahead(windows.ends)
    for at, name in enumerate(panel.ahead_names):
        assert model.card["ahead"][name] == [float(known[..., at].min()), float(known[..., at].max())]


def test_a_model_of_other_inputs_is_refused(told, model):
    renamed = {f"{name}_old" if name.endswith("market_drop") else name: both for name, both in
               model.card["inputs"].items()}  # fmt: skip
    other = replace(model, card=model.card | {"inputs": renamed})
    with pytest.raises(ModelError, match=r"other inputs \(exogenous.market_drop_old is gone, .*train again"):
        other.forecast(told)
    turned = replace(model, card=model.card | {"inputs": dict(reversed(model.card["inputs"].items()))})
    with pytest.raises(ModelError, match="another order"):
        turned.forecast(told)


def test_a_model_that_reads_nothing_from_outside_cannot_be_asked(told, tiny, ahead):
    recipe = tiny.but(groups=("trend", "previous_day"), cells=("gru",), epochs=1)
    blind = train(told.until(TRAINED_UNTIL), recipe)
    for words in (["market=-3%"], [f"results@{ahead[0]}"]):
        with pytest.raises(ModelError, match="with the group exogenous"):
            what_if(blind, told, SYMBOL, Scenario.parse(words))
    standing, supposed = both(what_if(blind, told, SYMBOL, Scenario.parse([f"leadership@{ahead[6]}:0.5"])))
    assert (standing["mean"][6:] != supposed["mean"][6:]).all()


def measured(tone: float | None) -> Effect:
    row = {"events": 40, "companies": 5, "width": 9.0, "width_low": 7.0, "width_high": 11.0}
    row |= {"shift": 9.5, "shift_low": 8.0, "shift_high": 11.0}
    return Effect("results", dt.date(2023, 9, 22), tone, learned=False, measured=pd.Series(row))


def test_that_a_tone_takes_from_the_width_is_said_and_that_the_sample_is_chosen():
    plain, toned, small = (" ".join(measured(tone).told(True)) for tone in (None, 1.0, 0.5))
    assert "remembered because prices moved" in plain
    assert "A tone says" not in plain
    assert "remembered because prices moved" not in " ".join(measured(None).told(False))
    assert measured(1.0).width == 1
    assert "narrower than without a tone. Of this event nothing is left to widen it." in toned
    assert 1 < measured(0.5).width < measured(None).width
    assert "narrower than without a tone." in small
    assert "nothing is left" not in small
