"""The page that compares models, run by Streamlit's AppTest; its numbers against loops over the rows."""

from functools import partial
from pathlib import Path

import numpy as np
import pages
import pandas as pd
import pytest
from pages import words
from streamlit.testing.v1 import AppTest
from test_ranking import DATES, forecasts

from forecaster.dashboard.compare import stored_forecasts
from forecaster.dashboard.winners import called, most_often, told
from forecaster.evaluation.ranking import leads, only, rank, stock_day_losses
from forecaster.models import TITLES
from forecaster.store import Store

draw = partial(pages.draw, path="compare")


def means(rows: pd.DataFrame, score: str) -> dict[str, float]:
    """Mean loss of each model over dates, on the stock-days of all, by plain loops."""
    models = set(rows["model"])
    by_day: dict[tuple[pd.Timestamp, str], dict[str, float]] = {}
    for row in rows.to_dict("records"):
        by_day.setdefault((row["cutoff"], row["symbol"]), {})[row["model"]] = row[score]
    dates: dict[pd.Timestamp, list[dict[str, float]]] = {}
    for (day, _), found in by_day.items():
        if set(found) == models:
            dates.setdefault(day, []).append(found)
    return {
        model: float(np.mean([np.mean([one[model] for one in day]) for day in dates.values()]))
        for model in models
    }


def backtest(home: Path, step: int) -> pd.DataFrame:
    return Store(home / "store").rows("backtests", where={"step": [step]})


def scored(app: AppTest) -> pd.DataFrame:
    shown = app.dataframe[0].value
    return shown.assign(model=shown["model"].str.replace(r"^\d+\. ", "", regex=True)).set_index("model")


def test_the_scores_are_those_of_the_rows_and_the_lowest_comes_first(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home)
    shown, expected = scored(app), means(backtest(trained_home, 1), "log_score")
    assert list(shown.index) == [TITLES[model] for model in sorted(expected, key=lambda one: expected[one])]
    for model, loss in expected.items():
        row = shown.loc[TITLES[model]]
        assert row["loss"] == pytest.approx(loss)
        assert row["behind"] == pytest.approx(loss - min(expected.values()))
        if model != "rolling_t":
            assert row["gain"] == pytest.approx(expected["rolling_t"] - loss)
    assert "Not in this backtest: Simple RNN." in words(app)


def test_horizon_score_year_and_symbol_are_chosen_in_the_url(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, horizon="5", score="CRPS", year="2022", symbol="NVDA", by="year")
    rows = backtest(trained_home, 5)
    mine = rows[(rows["symbol"] == "NVDA") & (rows["cutoff"].dt.year == 2022)]
    for model, loss in means(mine, "crps").items():
        assert scored(app).loc[TITLES[model], "loss"] == pytest.approx(100 * loss)
    assert "5 sessions ahead, 2022, NVDA" in words(app)
    years = app.dataframe[2].value
    assert list(years["group"]) == ["2021", "2022", "2023"], "every year, whichever is chosen above"
    only_nvda = rows[rows["symbol"] == "NVDA"]
    for row in years.to_dict("records"):
        expected = means(only_nvda[only_nvda["cutoff"].dt.strftime("%Y") == row["group"]], "crps")
        first, second = sorted(expected, key=lambda model: expected[model])[:2]
        assert (row["first"], row["second"]) == (TITLES[first], TITLES[second])
        assert row["lead"] == pytest.approx(100 * (expected[second] - expected[first]))


def test_every_pair_is_in_the_matrix(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home)
    shown, expected = app.dataframe[1].value, means(backtest(trained_home, 1), "log_score")
    order = sorted(expected, key=lambda model: expected[model])
    for at, model in enumerate(order):
        cells = shown.iloc[at]
        assert cells["Model"] == f"{at + 1}. {TITLES[model]}"
        for place, other in enumerate(order, 1):
            gain = expected[other] - expected[model]
            assert (
                cells[str(place)] == "" if model == other else cells[str(place)].startswith(f"{gain:+.4f} ")
            )


@pytest.mark.parametrize("by", ["horizon", "symbol"])
def test_groups_have_the_gains_of_their_rows(monkeypatch, trained_home, by):
    app = draw(monkeypatch, trained_home, by=by)
    for row in app.dataframe[2].value.to_dict("records")[:2]:
        rows = backtest(trained_home, int(row["group"]) if by == "horizon" else 1)
        expected = means(rows if by == "horizon" else rows[rows["symbol"] == row["group"]], "log_score")
        assert row["harx"] == pytest.approx(expected["rolling_t"] - expected["harx"])
        assert TITLES[min(expected, key=lambda model: expected[model])] == row["first"]


def test_bad_values_in_the_url_fall_back_to_the_default_view(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, horizon="7", score="x", year="1999", symbol="ZZZZ", version="")
    expected = means(backtest(trained_home, 1), "log_score")
    assert scored(app)["loss"].iloc[0] == pytest.approx(min(expected.values()))


def test_the_tests_are_made_of_the_rows_at_the_foot(monkeypatch, trained_home):
    app = draw(monkeypatch, trained_home, year="2022", symbol="AAPL")
    dates = app.dataframe[3].value
    for model in TITLES.keys() & set(dates):
        assert dates[model].mean() == pytest.approx(scored(app).loc[TITLES[model], "loss"])
    monkeypatch.setenv("FORECASTER_HOME", str(trained_home))
    rows = stored_forecasts("1", 1, "2022", "AAPL")
    assert set(rows["symbol"]) == {"AAPL"}
    assert set(rows["cutoff"].dt.year) == {2022}
    assert rows["model"].nunique() == len(scored(app))


def test_a_version_without_a_backtest_is_not_compared(monkeypatch, trained_workspace):
    decisions = trained_workspace.store.rows("decisions").tail(1)
    trained_workspace.store.append("decisions", decisions.assign(version="2", alias="challenger"))
    app = draw(monkeypatch, trained_workspace.home, version="2")
    assert "No backtest of model version 2 is stored" in words(app)
    assert not app.dataframe


def ranked(dates: int = len(DATES), **worse: float):
    losses = stock_day_losses(forecasts(DATES[:dates], **worse), "log_score")
    return rank(losses, 1, "log_score")


def test_a_winner_is_said_with_its_lead() -> None:
    ranking = ranked(lstm=0.0, harx=0.05, served=0.06)
    what, networks = told(ranking, "1 session ahead")
    lead = ranking.models["loss"].iloc[1] - ranking.models["loss"].iloc[0]
    assert what == (
        f"**LSTM won 1 session ahead**, by {lead:.4f} nats a forecast over HARX (p < .001); "
        "it is alone in the 90 % model confidence set."
    )
    assert "LSTM is the best here; it beats HARX, the best classical model here" in networks


def test_nobody_wins_where_models_cannot_be_told_apart() -> None:
    what, networks = told(ranked(lstm=0.0, harx=0.0, served=0.0, rolling_t=0.2), "1 session ahead")
    assert what.startswith("**No model won 1 session ahead.**")
    assert "are not distinguishable from it: the 90 % model confidence set holds 3 models." in what
    assert "won**" not in what
    assert "the last price" not in what
    assert "is not distinguishable from HARX" in networks


def test_few_dates_name_no_winner_however_large_the_lead() -> None:
    (what,) = told(ranked(dates=60, harx=0.0, rolling_t=0.5), "in 2021")
    assert what.startswith("**No winner is named in 2021:** 60 dates are too few for a model confidence set.")


def test_a_network_that_loses_is_said_to_lose() -> None:
    _, networks = told(ranked(gru=0.1, lstm=0.08, harx=0.0), "1 session ahead")
    assert "Of the networks LSTM is the best here; it loses to HARX" in networks


def test_the_leader_of_most_groups_is_named() -> None:
    every = stock_day_losses(forecasts(lstm=0.0, harx=0.05), "log_score")
    table = leads([(name, 1, only(every, None, name)) for name in ("AAA", "BBB", "CCC")], "harx")
    assert most_often(table, "symbol") == (
        "LSTM has the lowest loss in 3 of 3 symbols; the lead over the next is significant in 3 (q < .05)."
    )
    few = leads([("2021", 1, every.loc[DATES[:20]])], "harx")
    assert most_often(few, "year").endswith("in 1 of 1 year; no lead could be tested.")


@pytest.mark.parametrize("model", TITLES)
def test_a_name_within_a_sentence_has_no_comma(model: str) -> None:
    assert "," not in called(model)


def test_what_the_address_asks_for_and_is_not_here_is_told(
    monkeypatch: pytest.MonkeyPatch, trained_home: Path
) -> None:
    app = draw(monkeypatch, trained_home, version="99", year="1999", symbol="ZZZZ")
    said = " ".join(one.value for one in app.toast).replace("\\", "")
    assert "Model version 99 is not here; 1 is shown." in said
    assert "Year 1999 is not here; All years is shown." in said
    assert "Symbol ZZZZ is not here; All symbols is shown." in said
    assert "Demonstration on the bundled sample" in words(app)
    assert not draw(monkeypatch, trained_home, version="1").toast
