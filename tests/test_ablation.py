"""Ablation by kind of event, on prices in which events show as planted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import CLOSES, DAYS, SYMBOLS, event, history_from, planted

from forecaster.config import Recipe
from forecaster.evaluation.ablation import Ablation, ablate
from forecaster.evaluation.folds import Plan
from forecaster.evaluation.kept import InMemory, Part
from forecaster.evaluation.significance import paired_test
from forecaster.evaluation.walk import walk
from forecaster.events import checked
from forecaster.features import assemble
from forecaster.history import History
from forecaster.windows import Windows

RECIPE = Recipe(lookback=4, horizon=2, seeds=1)


@pytest.fixture(scope="module")
def with_dividends() -> History:
    """The same, with ex-dividend dates of one symbol, the third of them moved by a later plan."""
    noon = [pd.Timestamp(DAYS[day], tz="UTC") + pd.Timedelta(hours=17) for day in (900, 960, 1020, 1025)]
    rows = [
        event("BBB", known, "dividend_scheduled", happened_at=moment)
        for known, moment in zip((880, 940, 1000, 1010), noon, strict=True)
    ]
    history = history_from(*planted())
    added = pd.concat([history.events, checked(pd.DataFrame(rows), "plans")], ignore_index=True)
    return replace(history, events=added)


@pytest.fixture(scope="module")
def taken_away(with_dividends: History) -> tuple[Ablation, InMemory, dict[str, InMemory]]:
    windows = Windows(assemble(with_dividends), RECIPE.lookback, RECIPE.horizon)
    folds = Plan(test_sessions=300, folds=2).cut(windows)
    kept: InMemory = InMemory()
    places: dict[str, InMemory] = {}
    walk(windows, folds, ["harx"], RECIPE, [1, 2], kept)
    found = ablate(
        with_dividends,
        RECIPE,
        folds,
        ["harx"],
        [1, 2],
        kept,
        lambda name: places.setdefault(name, InMemory()),
    )
    return found, kept, places


def test_each_kind_is_taken_away_and_what_was_planted_is_missed(
    taken_away: tuple[Ablation, InMemory, dict[str, InMemory]],
) -> None:
    changes = taken_away[0].changes
    of_events = {
        name for name, days in zip(changes["variant"], changes["days"], strict=True) if days != "all"
    }
    kinds = {"without results", "without leadership", "without policy", "without restructuring"}
    assert of_events == kinds | {"without dividends", "without company events", "without announced dates"}
    at_first = changes[changes["step"] == 1].set_index(["variant", "days"])
    storm = at_first.loc[("without leadership", "all")]
    assert storm["log_score_change"] > 0
    assert storm["p_value"] < 0.01
    for variant in ("without results", "without announced dates", "without company events"):
        assert at_first.loc[(variant, "all"), "log_score_change"] > 0
        assert at_first.loc[(variant, "event days"), "log_score_change"] > 0.05
    nothing = at_first.loc[("without policy", "all")]
    assert abs(nothing["log_score_change"]) < 0.3 * storm["log_score_change"]
    assert changes.groupby(["variant", "days"])["step"].agg(list).map(lambda steps: steps == [1, 2]).all()


def test_changes_on_event_days_are_those_of_a_plain_loop(
    with_dividends: History, taken_away: tuple[Ablation, InMemory, dict[str, InMemory]]
) -> None:
    found, kept, places = taken_away
    moved = {
        "without leadership": {
            (row.symbol, int(np.searchsorted(CLOSES, row.known_at, side="right")))
            for row in with_dividends.events.itertuples()
            if row.kind == "leadership"
        },
        "without dividends": {("BBB", 900), ("BBB", 960), ("BBB", 1025)},
    }
    number = {day: place for place, day in enumerate(DAYS)}
    for variant, events in moved.items():
        for step in (1, 2):
            losses: dict[pd.Timestamp, list[tuple[float, float]]] = {}
            seen = set()
            for fold in (0, 1):
                whole = kept.get(Part("harx", fold)).set_index(["symbol", "cutoff", "step"])
                less = places[variant].get(Part("harx", fold)).set_index(["symbol", "cutoff", "step"])
                for key, row in whole.iterrows():
                    symbol, cutoff, ahead = key
                    at = number[cutoff.to_datetime64()]
                    within = {(symbol, at + one) for one in range(1, step + 1)} & events
                    if ahead == step and within:
                        seen |= within
                        pair = (less.loc[key, "log_score"], row["log_score"])
                        losses.setdefault(cutoff, []).append(pair)
            daily = np.array([np.mean(losses[cutoff], axis=0) for cutoff in sorted(losses)])
            rows = found.changes.set_index(["variant", "days", "step"])
            row = rows.loc[(variant, "event days", step)]
            assert row["events"] == rows.loc[(variant, "all", step), "events"] == len(seen)
            assert row["dates"] == len(daily)
            test = paired_test(daily[:, 0], daily[:, 1], step)
            assert row["log_score_change"] == pytest.approx(test.difference)
            np.testing.assert_allclose(row["p_value"], test.p_value)


def test_changes_by_symbol_are_drawn_towards_their_mean(
    taken_away: tuple[Ablation, InMemory, dict[str, InMemory]],
) -> None:
    found, kept, places = taken_away
    rows = found.symbols.query("variant == 'without leadership' and days == 'all'").set_index("symbol")
    assert list(rows.index) == list(SYMBOLS)
    tables = [
        pd.concat(place.get(Part("harx", fold)) for fold in (0, 1))
        for place in (kept, places["without leadership"])
    ]
    for symbol in SYMBOLS:
        whole, less = (
            table[(table["symbol"] == symbol) & (table["step"] == 1)]["log_score"].mean() for table in tables
        )
        assert rows.loc[symbol, "log_score_change"] == pytest.approx(less - whole)
    spread = rows["log_score_change"].max() - rows["log_score_change"].min()
    assert rows["shrunk"].max() - rows["shrunk"].min() < spread
    assert ((rows["low"] < rows["shrunk"]) & (rows["shrunk"] < rows["high"])).all()
