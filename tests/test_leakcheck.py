"""The leak check: planted leaks are named, honest code is not accused."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.cli.leaks import _function
from forecaster.config import GROUPS, Recipe
from forecaster.errors import TooLittleHistory, UsageError
from forecaster.evaluation import subjects
from forecaster.evaluation import walk as evaluation_walk
from forecaster.evaluation.backtest import backtest
from forecaster.evaluation.invariance import Leak
from forecaster.evaluation.leakage import leakcheck
from forecaster.evaluation.perturbation import (
    bars_known_at,
    cut,
    perturb,
    telling_moments,
    thin,
    with_events,
    with_factors,
)
from forecaster.events import KINDS as EVENT_KINDS
from forecaster.events import RELEASED, SCHEDULED, moved_session
from forecaster.features import company, exogenous, trend
from forecaster.history import History, history_of
from forecaster.instruments import Instrument
from forecaster.models import CLASSICAL, KINDS, NETWORKS
from forecaster.models.distribution import StudentT
from forecaster.sessions import first_closing_after, next_sessions
from forecaster.windows import Windows

SMALL = Recipe(lookback=8, horizon=4, cells=("gru",))
ZONES = {"XNYS": "America/New_York", "XLON": "Europe/London"}

Feature = Callable[[History], pd.DataFrame]


def market(
    exchanges: Mapping[str, str], sessions: int = 160, without: Mapping[str, Sequence[int]] | None = None
) -> History:
    """Random walks of some symbols, each on its exchange; `without` lists rows that a symbol lacks."""
    frames = []
    for seed, (symbol, exchange) in enumerate(exchanges.items()):
        random = np.random.default_rng(seed)
        close = 100 * np.exp(random.normal(0, 0.02, sessions).cumsum())
        open_ = close * np.exp(random.normal(0, 0.01, sessions))
        bars = pd.DataFrame(
            {
                "symbol": symbol,
                "session": next_sessions(exchange, pd.Timestamp("2020-01-01"), sessions),
                "open": open_,
                "high": np.maximum(open_, close) * 1.01,
                "low": np.minimum(open_, close) * 0.99,
                "close": close,
                "adj_close": close * np.linspace(0.9, 1.0, sessions),
                "volume": random.uniform(1e5, 1e6, sessions),
            }
        )
        frames.append(bars.drop(index=list((without or {}).get(symbol, []))))
    return history_of(
        pd.concat(frames),
        {symbol: Instrument(symbol, symbol, at, ZONES[at], "") for symbol, at in exchanges.items()},
    )


@pytest.fixture(scope="module")
def two() -> History:
    """Two symbols on one exchange; BBB lacks four sessions."""
    return market({"AAA": "XNYS", "BBB": "XNYS"}, without={"BBB": range(50, 54)})


def days(history: History, symbol: str = "AAA") -> pd.Series:
    return history.traded.loc[history.traded["symbol"] == symbol, "session"].reset_index(drop=True)


def table(history: History, **columns: Any) -> pd.DataFrame:
    return history.traded[["symbol", "session"]].assign(**columns)


def by_symbol(values: pd.Series, history: History, change: Callable[[pd.Series], pd.Series]) -> pd.Series:
    return values.groupby(history.traded["symbol"]).transform(change)


def returns(history: History) -> pd.Series:
    return by_symbol(history.prices["adj_close"], history, lambda price: np.log(price).diff())


def only_leak(history: History, function: Feature) -> Leak:
    report = leakcheck(history, function)
    assert not report.clean
    (leak,) = report.leaks
    return leak


def scaler_on_everything(history: History) -> pd.DataFrame:
    move = returns(history)
    return table(history, move=move, leaky=by_symbol(move, history, lambda x: (x - x.mean()) / x.std()))


def largest_ever(history: History) -> pd.DataFrame:
    close = history.traded["close"]
    return table(history, leaky=close / by_symbol(close, history, lambda x: pd.Series(x.max(), x.index)))


def centred_mean(history: History) -> pd.DataFrame:
    smooth = by_symbol(returns(history), history, lambda x: x.rolling(5, center=True, min_periods=1).mean())
    return table(history, move=returns(history), leaky=smooth)


def backward_fill_of_the_first_row(history: History) -> pd.DataFrame:
    symbol = history.traded["symbol"]
    change = history.traded["close"].groupby(symbol).pct_change()
    return table(history, leaky=change.groupby(symbol).bfill())


def backward_fill_of_the_first_rows(history: History) -> pd.DataFrame:
    change = by_symbol(history.traded["close"], history, pd.Series.pct_change)
    return table(history, leaky=by_symbol(change, history, lambda x: x.rolling(5).std().bfill()))


def range_of_the_session_that_is_forecast(history: History) -> pd.DataFrame:
    spread = np.log(history.traded["high"] / history.traded["low"])
    return table(history, spread=spread, leaky=by_symbol(spread, history, lambda x: x.shift(-1)))


def label_among_the_inputs(history: History) -> pd.DataFrame:
    return table(history, leaky=by_symbol(returns(history), history, lambda x: np.sign(x.shift(-1))))


def level_of_adjusted_prices(history: History) -> pd.DataFrame:
    return table(history, leaky=history.prices["adj_close"])


@pytest.mark.parametrize(
    ("function", "row"),
    [
        (scaler_on_everything, 1),
        (largest_ever, 0),
        (centred_mean, 0),
        (backward_fill_of_the_first_row, 0),
        (backward_fill_of_the_first_rows, 0),
        (range_of_the_session_that_is_forecast, 0),
        (level_of_adjusted_prices, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_leak_is_named(two: History, function: Feature, row: int) -> None:
    leak = only_leak(two, function)
    assert (leak.feature, leak.symbol, leak.session) == ("leaky", "AAA", days(two)[row])
    assert leak.also == ()
    for word in (function.__name__, "leaky", "AAA", str(days(two)[row].date()), str(leak.cutoff.date())):
        assert word in leak.message
    assert leak.cutoff >= pd.Timestamp(days(two)[row], tz="UTC")


@pytest.mark.parametrize("function", [backward_fill_of_the_first_row, backward_fill_of_the_first_rows])
def test_a_backward_fill_of_few_rows_is_named_on_the_sample(history: History, function: Feature) -> None:
    leak = only_leak(history, function)
    assert (leak.feature, leak.symbol, leak.session) == ("leaky", "AAPL", pd.Timestamp("2013-01-02"))


@pytest.mark.parametrize("function", [backward_fill_of_the_first_row, backward_fill_of_the_first_rows])
def test_a_backward_fill_where_a_symbol_begins_late_is_named(function: Feature) -> None:
    """The symbol that begins first is filled with nothing, so that only the late one tells."""
    history = market({"AAA": "XNYS", "BBB": "XNYS"}, without={"BBB": range(100)})

    def of_the_late_one(history: History) -> pd.DataFrame:
        filled = function(history)
        return filled.assign(leaky=filled["leaky"].where(filled["symbol"] == "BBB"))

    leak = only_leak(history, of_the_late_one)
    assert (leak.feature, leak.symbol, leak.session) == ("leaky", "BBB", days(history)[100])
    assert leak.cutoff.date() == days(history)[100].date(), "the only row that is filled from later ones"


def test_the_sign_of_the_next_return_is_a_leak(two: History) -> None:
    """What moves with an even chance only shows at one of the cutoffs."""
    leak = only_leak(two, label_among_the_inputs)
    assert leak.feature == "leaky"
    assert leak.session <= days(two)[69]


def test_a_backward_fill_over_a_gap_is_named(two: History) -> None:
    def filled(history: History) -> pd.DataFrame:
        wide = history.traded.pivot(index="session", columns="symbol", values="close").bfill()
        return wide.stack().rename("leaky").reset_index()

    leak = only_leak(two, filled)
    assert (leak.feature, leak.symbol, leak.session) == ("leaky", "BBB", days(two, "AAA")[50])

    def forward(history: History) -> pd.DataFrame:
        wide = history.traded.pivot(index="session", columns="symbol", values="close").ffill()
        return wide.stack().rename("honest").reset_index()

    assert leakcheck(two, forward, cutoffs=4).clean


def test_a_backward_fill_of_one_row_shows_at_the_end_of_a_gap(two: History) -> None:
    def filled(history: History) -> pd.DataFrame:
        wide = history.traded.pivot(index="session", columns="symbol", values="close").bfill(limit=1)
        return wide.stack().rename("leaky").reset_index()

    leak = only_leak(two, filled)
    assert (leak.symbol, leak.session) == ("BBB", days(two, "AAA")[53])


def of_the_same_session(history: History) -> pd.DataFrame:
    level = history.factors.set_index("session")["value"]
    return table(history, close=history.traded["close"], leaky=history.traded["session"].map(level))


def as_known(history: History) -> pd.DataFrame:
    closes = history.traded["session"] + pd.Timedelta(hours=16)
    rows = table(history, close=closes.dt.tz_localize("America/New_York").dt.tz_convert("UTC"))
    level = history.factors[["known_at", "value"]].sort_values("known_at", kind="stable")
    merged = pd.merge_asof(rows.sort_values("close"), level, left_on="close", right_on="known_at")
    return merged[["symbol", "session", "value"]]


def test_a_factor_used_before_it_is_known_is_named(two: History) -> None:
    told = with_factors(two, ["volatility_index"])
    leak = only_leak(told, of_the_same_session)
    assert (leak.feature, leak.symbol) == ("leaky", "AAA")
    assert leak.session == days(two)[0], "every session tells it"
    assert leakcheck(told, as_known, cutoffs=4).clean


def test_a_single_late_factor_is_found(two: History) -> None:
    """Known at the close always but once, when it came three days late."""
    told = with_factors(two, ["volatility_index"])
    known = told.factors["known_at"] - pd.Timedelta(minutes=15)
    known[117] += pd.Timedelta(days=3)
    late = replace(told, factors=told.factors.assign(known_at=known))
    leak = only_leak(late, of_the_same_session)
    assert (leak.feature, leak.symbol, leak.session) == ("leaky", "AAA", days(two)[117])
    assert leakcheck(late, as_known, cutoffs=4).clean


def places(history: History, rows: pd.DataFrame, column: str, side: str = "right") -> np.ndarray:
    """Row of the table, of the symbol that each event is about, that it counts from."""
    found = []
    for symbol, moment in zip(rows["symbol"], rows[column].dt.tz_convert(None), strict=True):
        own = np.flatnonzero(history.traded["symbol"] == symbol)
        closed = bars_known_at(history)[own]
        at = np.searchsorted(closed, moment.to_datetime64(), side=side)
        found.append(own[at] if at < len(own) else -1)
    return np.array(found, dtype=int)


def summed(history: History, rows: pd.DataFrame, at: np.ndarray, values: pd.Series) -> pd.DataFrame:
    """Add values up at the rows that they count from."""
    inside = at >= 0
    sums = np.bincount(at[inside], values.fillna(0.0).to_numpy()[inside], minlength=len(history.traded))
    return table(history, close=history.traded["close"], leaky=sums)


def tone_as_known(history: History) -> pd.DataFrame:
    rows = history.events[history.events["kind"] == "results"]
    return summed(history, rows, places(history, rows, "known_at"), rows["tone"])


def tone_as_it_happened(history: History) -> pd.DataFrame:
    rows = history.events[history.events["kind"] == "results"]
    return summed(history, rows, places(history, rows, "happened_at"), rows["tone"])


def tone_known_at_the_very_close(history: History) -> pd.DataFrame:
    rows = history.events[history.events["kind"] == "results"]
    return summed(history, rows, places(history, rows, "known_at", "left"), rows["tone"])


def tone_one_session_early(history: History) -> pd.DataFrame:
    tone = tone_as_known(history)
    return tone.assign(leaky=by_symbol(tone["leaky"], history, lambda x: x.shift(-1)))


def plan_whenever_it_was_told(history: History) -> pd.DataFrame:
    """Results due next session by any plan that was ever told."""
    rows = history.events[history.events["kind"] == "results_scheduled"]
    due = summed(history, rows, places(history, rows, "happened_at"), rows["magnitude"])
    return due.assign(leaky=by_symbol(due["leaky"], history, lambda x: x.shift(-1)))


def plans_superseded_from_the_start(history: History) -> pd.DataFrame:
    """Plans count from when they are told, but all that a later one replaces never did."""
    rows = history.events[history.events["kind"] == "results_scheduled"]
    newest = rows.groupby("symbol")["known_at"].transform("max") == rows["known_at"]
    last = rows[newest]
    return summed(history, last, places(history, last, "known_at"), last["magnitude"])


def estimate_from_results_to_come(history: History) -> pd.DataFrame:
    """How often results come, from all that ever came."""
    rows = history.events[history.events["kind"] == "results"]
    apart = rows.groupby("symbol")["known_at"].agg(lambda x: x.diff().dt.days.mean())
    return table(history, close=history.traded["close"], leaky=history.traded["symbol"].map(apart))


LEAKS_OF_EVENTS = (
    tone_as_it_happened,
    tone_known_at_the_very_close,
    tone_one_session_early,
    plan_whenever_it_was_told,
    plans_superseded_from_the_start,
    estimate_from_results_to_come,
)


@pytest.fixture(scope="module")
def eventful(two: History) -> History:
    return with_events(two, list(EVENT_KINDS))


@pytest.mark.parametrize("function", LEAKS_OF_EVENTS, ids=lambda one: one.__name__)
def test_an_event_used_before_it_is_known_is_named(eventful: History, function: Feature) -> None:
    leak = only_leak(eventful, function)
    assert (leak.feature, leak.also) == ("leaky", ())
    assert "events whose known_at lies before it" in leak.message


def test_an_event_used_before_it_is_known_is_named_though_none_is_held(two: History) -> None:
    """At the first cutoff already: events known at its close, and a second later, are invented."""
    for function in (tone_known_at_the_very_close, plan_whenever_it_was_told):
        leak = only_leak(two, function)
        assert (leak.feature, leak.symbol, leak.session) == ("leaky", "AAA", days(two)[0])


def test_an_event_used_once_it_is_known_is_no_leak(two: History, eventful: History) -> None:
    for history in (two, eventful):
        report = leakcheck(history, tone_as_known)
        assert [leak.message for leak in report.leaks] == []
        assert report.checks[0].still == ()


def test_a_function_may_write_into_the_events(eventful: History) -> None:
    def writing(history: History) -> pd.DataFrame:
        history.events["tone"] = 2 * history.events["tone"]
        return tone_as_known(history)

    before = eventful.fingerprint
    assert leakcheck(eventful, writing, cutoffs=3).clean
    assert replace(eventful).fingerprint == before


def test_a_row_that_needs_the_future_is_a_leak(two: History) -> None:
    def with_an_outcome(history: History) -> pd.DataFrame:
        rows = table(
            history, move=returns(history), after=by_symbol(returns(history), history, pd.Series.shift)
        )
        known = by_symbol(history.traded["close"], history, lambda x: x.shift(-1)).notna()
        return rows[known]

    leak = only_leak(two, with_an_outcome)
    assert leak.feature == "the row"
    assert "is there, but missing once" in leak.message
    assert leak.session == days(two)[3], "the second cutoff: in the row of the first nothing is known"


def honest(history: History) -> pd.DataFrame:
    move = returns(history)
    scaled = by_symbol(move, history, lambda x: (x - x.expanding().mean()) / x.expanding().std())
    return table(
        history,
        move=move,
        scaled=scaled,
        smooth=by_symbol(move, history, lambda x: x.rolling(20).mean()),
        spread=by_symbol(move, history, lambda x: x.ewm(span=10).std()).astype(np.float32),
        rank=move.groupby(history.traded["session"]).rank(),
        up=move > 0,
        regime=pd.cut(scaled, [-np.inf, -1, 1, np.inf], labels=["down", "calm", "up"]),
        unknown=np.nan,
        weekday=history.traded["session"].dt.day_name(),
    )


def test_honest_features_are_not_accused(two: History) -> None:
    report = leakcheck(two, honest)
    assert report.clean
    (check,) = report.checks
    assert check.features == 9
    assert check.still == ("unknown", "weekday")
    assert "not judged" in check.note
    assert check.cutoffs == 16
    assert check.cells > 16 * 3 * 9 * 2 * 7


def test_what_closes_later_elsewhere_is_the_future() -> None:
    """London closes hours before New York: there, New York's same session is still to come."""
    history = market({"LON": "XLON", "NYC": "XNYS"})

    def other(history: History, asking: str, asked: str) -> pd.DataFrame:
        close = history.traded.set_index("symbol").loc[asked].set_index("session")["close"]
        rows = history.traded[history.traded["symbol"] == asking]
        return rows[["symbol", "session"]].assign(own=rows["close"], leaky=rows["session"].map(close))

    leak = only_leak(history, lambda history: other(history, "LON", "NYC"))
    assert (leak.feature, leak.symbol) == ("leaky", "LON")
    assert leak.session in set(days(history, "NYC"))
    assert leakcheck(history, lambda history: other(history, "NYC", "LON"), cutoffs=4).clean


def test_a_function_with_two_answers_is_told_so(two: History) -> None:
    random = np.random.default_rng(0)
    with pytest.raises(UsageError, match="two runs on one and the same history differ in noise"):
        leakcheck(two, lambda history: table(history, noise=random.normal(size=len(history.traded))))
    fixed = leakcheck(
        two,
        lambda history: table(
            history, close=history.traded["close"], noise=np.random.default_rng(0).normal()
        ),
    )
    assert fixed.clean


def test_a_function_that_reads_something_else_cannot_be_judged(two: History) -> None:
    stored = centred_mean(two)

    def from_elsewhere(history: History) -> pd.DataFrame:
        return table(history).merge(stored, on=["symbol", "session"])

    with pytest.raises(UsageError, match="does not read the history"):
        leakcheck(two, from_elsewhere)


def test_a_function_may_write_into_its_argument(two: History) -> None:
    def writing(history: History) -> pd.DataFrame:
        history.traded["close"] = history.traded["close"] * 2
        return table(history, close=history.traded["close"])

    before = two.fingerprint
    assert leakcheck(two, writing, cutoffs=4).clean
    assert replace(two).fingerprint == before


def test_a_function_that_needs_many_rows_is_judged_on_the_others(two: History) -> None:
    def demanding(history: History) -> pd.DataFrame:
        if len(history.traded) < 60:
            raise ValueError("60 rows at least")
        return table(history, leaky=by_symbol(history.traded["close"], history, lambda x: x.shift(-1)))

    report = leakcheck(two, demanding)
    assert report.leaks[0].session == days(two)[0]
    assert "left out, such as: function demanding failed: ValueError: 60 rows" in report.checks[0].note


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda history: 3, "expected a DataFrame, got int"),
        (lambda history: history.traded[["symbol", "session"]], "one per feature"),
        (lambda history: history.traded.set_index(["symbol", "session"]), "reset_index"),
        (lambda history: pd.concat([history.traded] * 2), "two rows for AAA at 2020-01-02"),
        (lambda history: history.traded.assign(symbol="CCC"), "no symbol 'CCC'"),
        (lambda history: history.traded.assign(session="soon"), "holds no dates"),
        (lambda history: history.traded.assign(session="2020-01-04"), "2020-01-04 is no session"),
        (lambda history: history.nonsense, "AttributeError"),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused(two: History, function: Feature, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        leakcheck(two, function)


def test_nothing_compared_is_not_clean() -> None:
    short = market({"AAA": "XNYS"}, sessions=15)
    with pytest.raises(TooLittleHistory, match="no value to compare"):
        leakcheck(short, lambda history: table(history, late=returns(history).rolling(30).mean()))
    with pytest.raises(TooLittleHistory):
        leakcheck(short, Recipe(), models=())
    with pytest.raises(TooLittleHistory, match="no future"):
        leakcheck(market({"AAA": "XNYS"}, sessions=1), level_of_adjusted_prices)
    with pytest.raises(UsageError, match="cutoffs"):
        leakcheck(short, level_of_adjusted_prices, cutoffs=0)


WEIGHTS = st.lists(st.floats(-2, 2).filter(lambda weight: abs(weight) > 0.01), min_size=1, max_size=3)


@settings(max_examples=12, deadline=None)
@given(past=WEIGHTS, future=WEIGHTS, ahead=st.integers(1, 4), peeks=st.booleans())
def test_a_filter_is_a_leak_exactly_if_it_weighs_a_later_row(
    past: list[float], future: list[float], ahead: int, peeks: bool
) -> None:
    history = market({"AAA": "XNYS", "BBB": "XNYS"}, sessions=40)
    weights = dict(enumerate(past)) | (
        {-ahead - k: weight for k, weight in enumerate(future)} if peeks else {}
    )

    def weighted(history: History) -> pd.DataFrame:
        move = returns(history)
        return table(
            history,
            sum=by_symbol(move, history, lambda x: sum(w * x.shift(k).fillna(0) for k, w in weights.items())),
        )

    assert leakcheck(history, weighted, cutoffs=3).clean != peeks


def random_walk_forecasts(history: History, leaky: bool = False) -> pd.DataFrame:
    """Forecasts one session ahead, with what came of them."""
    move = returns(history)
    after = by_symbol(move, history, lambda x: x.shift(-1))
    spread = by_symbol(move, history, lambda x: x.expanding(20).std() if not leaky else x * 0 + x.std())
    rows = pd.DataFrame(
        {
            "model": "walk",
            "symbol": history.traded["symbol"],
            "cutoff": history.traded["session"],
            "step": 1,
            "session": by_symbol(history.traded["session"], history, lambda x: x.shift(-1)),
            "sigma": spread,
            "outcome": after,
            "log_score": (after / spread) ** 2,
        }
    )
    return rows[after.notna() & spread.notna()]


def test_a_table_of_forecasts_may_hold_what_came_of_them() -> None:
    history = market({"AAA": "XNYS", "BBB": "XNYS"})
    report = leakcheck(history, random_walk_forecasts)
    assert report.clean
    assert report.checks[0].cutoffs == 4
    leak = only_leak(history, lambda history: random_walk_forecasts(history, leaky=True))
    assert (leak.feature, leak.symbol) == ("sigma (model walk, step 1)", "AAA")


def test_a_whole_backtest_is_clean(history: History) -> None:
    short = history.until("2015-06-30").only(["AAPL", "NVDA"])

    def forecasts(history: History) -> pd.DataFrame:
        models = ["rolling_t", "ewma_t"]
        return backtest(history, SMALL, folds=3, test_sessions=150, models=models).forecasts

    (check,) = leakcheck(short, forecasts, cutoffs=3).checks
    assert check.leak is None
    assert check.cutoffs == 3
    assert check.cells > 10_000


@pytest.fixture(scope="module")
def long() -> History:
    """Two symbols with enough sessions for windows and a fit."""
    return market({"AAA": "XNYS", "BBB": "XNYS"}, sessions=240)


def recipe_leaks(history: History, cutoffs: int = 4) -> dict[str, Leak]:
    return {leak.what: leak for leak in leakcheck(history, SMALL, models=(), cutoffs=cutoffs).leaks}


def test_a_centred_mean_among_the_inputs_is_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    true = trend.columns

    def planted(bars: Any) -> np.ndarray:
        columns = true(bars)
        columns[:, 1] = pd.Series(bars.log_return).rolling(3, center=True, min_periods=1).mean()
        return columns

    monkeypatch.setattr(trend, "columns", planted)
    found = recipe_leaks(long)
    leak = found["inputs"]
    assert (leak.feature, leak.symbol, leak.session) == ("trend.return_22", "AAA", days(long)[0])
    assert found["windows"].feature == "trend.return_22 (offset 0)"
    assert "labels" not in found


def test_a_backward_fill_of_the_inputs_is_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    true = trend.columns
    monkeypatch.setattr(trend, "columns", lambda bars: pd.DataFrame(true(bars)).bfill().to_numpy())
    leak = recipe_leaks(long)["inputs"]
    assert (leak.symbol, leak.session) == ("AAA", days(long)[0])
    assert leak.feature == "trend.return_5"
    assert "trend.volume_trend" in leak.also


def test_a_factor_read_at_its_session_is_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the history holds no factor at all."""
    true = exogenous._factor

    def early(factors: pd.DataFrame, name: str) -> pd.DataFrame:
        rows = true(factors, name)
        return rows.assign(known_at=rows["known_at"] - pd.Timedelta(minutes=15))

    assert len(long.factors) == 0
    monkeypatch.setattr(exogenous, "_factor", early)
    found = recipe_leaks(long, cutoffs=1)
    assert list(found) == ["inputs with factors and events", "windows with factors and events"]
    for leak in found.values():
        assert leak.feature.startswith("exogenous.")
        assert leak.symbol == "AAA"


def early_known_at(rows: pd.DataFrame, exchange: str, column: str = "happened_at") -> np.ndarray:
    """Count an event from a session that closes at its very moment."""
    moments = rows[column].dt.tz_convert(None).to_numpy(dtype="datetime64[ns]")
    return first_closing_after(exchange, moments - np.timedelta64(1, "ns"))


def as_they_happened(rows: pd.DataFrame, exchange: str, column: str = "happened_at") -> np.ndarray:
    return moved_session(rows, exchange, "happened_at")


@pytest.mark.parametrize("counted", [early_known_at, as_they_happened])
def test_events_among_the_inputs_before_they_are_known_are_named(
    long: History, monkeypatch: pytest.MonkeyPatch, counted: Any
) -> None:
    """Though the history holds no event at all."""
    assert len(long.events) == 0
    monkeypatch.setattr(company, "moved_session", counted)
    found = recipe_leaks(long, cutoffs=1)
    assert set(found) >= {"inputs", "windows", "inputs with factors and events"}
    for leak in found.values():
        kinds = {name.removeprefix("exogenous.").split("_")[0] for name in (leak.feature, *leak.also)}
        assert kinds >= {"leadership", "policy", "restructuring", "profit"}


def test_a_plan_used_before_it_is_told_is_named_with_its_step(
    long: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = company._plans

    def timeless(events: pd.DataFrame, exchange: str, kind: str) -> pd.DataFrame:
        return true(events, exchange, kind).assign(since=0)

    monkeypatch.setattr(company, "_plans", timeless)
    found = recipe_leaks(long, cutoffs=1)
    assert "results_due, any step" in found["inputs"].also
    leak = found["windows"]
    assert leak.feature.startswith(("results_due (offset ", "exogenous.results_"))
    assert {"results_due", "dividend_due"} <= {leak.feature.split(" (")[0], *leak.also}


def test_a_plan_replaced_before_the_new_one_is_told_is_named(
    long: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = company._plans

    def retroactive(events: pd.DataFrame, exchange: str, kind: str) -> pd.DataFrame:
        plans = true(events, exchange, kind)
        return plans[plans["until"] == plans["until"].max()]

    monkeypatch.setattr(company, "_plans", retroactive)
    assert "results_due, any step" in recipe_leaks(long, cutoffs=1)["inputs with factors and events"].also


def test_a_date_that_moves_by_a_step_shows_though_the_total_stays(long: History) -> None:
    told = with_events(long, ["results_scheduled"])
    column = "results_due, any step"
    cells = []
    for days in (0, 1):
        plans = told.events.assign(happened_at=told.events["happened_at"] + pd.Timedelta(days=days))
        windows = subjects.windows_of(SMALL, replace(told, events=plans))
        cells.append(subjects.input_cells(windows, np.datetime64("2020-06-01"))[column])
    assert (cells[0] != cells[1]).mean() > 0.1


@pytest.mark.parametrize("shift", [-1, 1])
def test_labels_shifted_by_one_are_named(long: History, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    true = Windows.labels

    def shifted(windows: Windows, ends: np.ndarray, known_by: np.datetime64 | None = None) -> np.ndarray:
        return true(windows, np.clip(ends + shift, 0, len(windows.panel.code) - 1), known_by)

    monkeypatch.setattr(Windows, "labels", shifted)
    leak = recipe_leaks(long)["labels"]
    first = max(0, -shift)
    assert (leak.feature, leak.symbol, leak.session) == ("step 1", "AAA", days(long)[first])
    assert "log return over exactly 1 sessions" in leak.message
    close = long.bars("AAA")["adj_close"].to_numpy()
    assert leak.after == pytest.approx(np.log(close[first + 1] / close[first]))
    assert leak.before == pytest.approx(np.log(close[first + 1 + shift] / close[first + shift]))


def test_labels_told_too_soon_are_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Windows.labels
    monkeypatch.setattr(Windows, "labels", lambda windows, ends, known_by=None: true(windows, ends))
    leak = recipe_leaks(long)["labels"]
    assert (leak.feature, leak.session) == ("step 1", days(long)[0])
    assert "before the session it ends on has closed" in leak.message


class Toy:
    """A width learned from returns, in ways that peek or do not."""

    name, steps = "toy", 1

    def __init__(self, way: str) -> None:
        self.way = way

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Callable[[str], None]) -> "Toy":
        known = windows.ends[windows.panel.known_at[windows.ends] <= known_by]
        if self.way == "scaler on everything":
            self.sigma = np.nanstd(windows.panel.log_return)
        elif self.way == "labels known later":
            self.sigma = np.nanstd(windows.labels(known))
        else:
            self.sigma = np.nanstd(windows.labels(known, known_by))
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        base = windows.panel.base_sigma[ends]
        if self.way == "scaled over what is asked":
            base = base / base.mean()
        sigma = self.sigma * base[:, None] * np.ones(windows.horizon)
        return StudentT(0 * sigma, sigma, 0 * sigma + 5)


@pytest.mark.parametrize(
    ("way", "where"),
    [
        ("scaler on everything", "fit of toy"),
        ("labels known later", "fit of toy"),
        ("scaled over what is asked", "forecasts of toy"),
        ("honest", None),
    ],
)
def test_a_model_kind_that_peeks_is_named(
    long: History, monkeypatch: pytest.MonkeyPatch, way: str, where: str | None
) -> None:
    monkeypatch.setitem(KINDS, "toy", lambda recipe, seeds: Toy(way))
    found = {leak.what: leak for leak in leakcheck(long, "toy").leaks}
    assert list(found) == ([] if where is None else [where])
    for leak in found.values():
        assert leak.feature == "sigma (step 1)"
        assert leak.symbol == "AAA"
        assert leak.session in set(days(long))


class Timeless:
    """A kind whose forecasts differ in width, so that weights between them move."""

    steps = 1

    def __init__(self, name: str, width: float) -> None:
        self.name, self.width = name, width

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Callable[[str], None]) -> "Timeless":
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        sigma = self.width * np.ones((len(ends), windows.horizon))
        return StudentT(0 * sigma, sigma, 0 * sigma + 5)


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, width in (("ewma_t", 0.005), ("gjr_t", 0.02), ("harx", 0.1)):
        monkeypatch.setitem(KINDS, name, lambda recipe, seeds, name=name, width=width: Timeless(name, width))


@pytest.mark.slow
@pytest.mark.usefixtures("timeless")
def test_weights_learned_on_later_outcomes_are_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_walk, "_known", lambda forecasts, fold: forecasts)
    (leak,) = leakcheck(long, SMALL, ["pool_classical"], cutoffs=1).leaks
    assert leak.what == "forecasts of pool_classical"
    assert leak.feature.endswith("(model pool_classical, step 4)"), "at step 1 all were known at the refit"
    assert leak.symbol == "AAA"


@pytest.mark.slow
@pytest.mark.usefixtures("timeless")
def test_a_calibration_on_later_outcomes_is_named(long: History, monkeypatch: pytest.MonkeyPatch) -> None:
    def known_too_soon(rows: pd.DataFrame, issued: pd.DataFrame, step: int) -> np.ndarray:
        return 10 * rows["outcome"].abs().to_numpy()

    assert leakcheck(long, SMALL, ["served"], cutoffs=1).clean
    monkeypatch.setattr(evaluation_walk, "adjustments", known_too_soon)
    (leak,) = leakcheck(long, SMALL, ["served"], cutoffs=1).leaks
    assert leak.what == "forecasts of served"


def test_a_history_too_short_for_a_walk_is_told(two: History) -> None:
    with pytest.raises(TooLittleHistory, match="sessions with full windows are too few"):
        leakcheck(two, SMALL, ["pool_classical"], cutoffs=1)


def test_an_unknown_model_is_refused_before_anything_is_computed(two: History) -> None:
    with pytest.raises(UsageError, match="'arima'; choose among constant"):
        leakcheck(two, "arima")


@pytest.mark.parametrize(
    "recipe", [Recipe(), *(Recipe(groups=(group,)) for group in GROUPS)], ids=lambda one: "-".join(one.groups)
)
def test_the_shipped_recipes_are_clean(history: History, recipe: Recipe) -> None:
    report = leakcheck(history.until("2014-03-31"), recipe, models=(), cutoffs=6)
    assert [leak.message for leak in report.leaks] == []
    assert [check.what for check in report.checks][:3] == ["inputs", "windows", "labels"]
    assert all(check.cells > 1000 for check in report.checks)


@pytest.mark.slow
@pytest.mark.parametrize("names", [CLASSICAL, *((name,) for name in NETWORKS)], ids=lambda names: names[0])
def test_the_shipped_model_kinds_are_clean(history: History, names: tuple[str, ...]) -> None:
    assert {*CLASSICAL, *NETWORKS} == set(KINDS)
    report = leakcheck(history.until("2014-06-30"), SMALL, names, cutoffs=1)
    assert [leak.message for leak in report.leaks] == []
    kinds = [check for check in report.checks if check.what.startswith(("fit of", "forecasts of"))]
    assert [check.what for check in kinds] == [
        f"{part} of {name}" for name in names for part in ("fit", "forecasts")
    ]
    assert all(("one epoch" in check.note) == (check.what.split()[-1] in NETWORKS) for check in kinds)
    assert all(check.cells > 100 for check in kinds)


@pytest.mark.parametrize(
    "name", ["pool_classical", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pool", "served"))]
)
def test_the_shipped_pools_are_clean(long: History, name: str) -> None:
    report = leakcheck(long, SMALL, [name], cutoffs=1)
    assert [leak.message for leak in report.leaks] == []
    check = report.checks[-1]
    assert check.what == f"forecasts of {name}"
    assert "walk of two folds" in check.note
    assert ("one epoch" in check.note) == (name != "pool_classical")
    assert check.cells > 1000


def test_another_future_leaves_the_past_alone(two: History) -> None:
    told = with_factors(two, ["volatility_index"])
    moment = np.datetime64("2020-04-01T20:00", "ns")
    past = told.traded["session"] <= pd.Timestamp("2020-04-01")
    known = told.factors["known_at"] <= pd.Timestamp(moment, tz="UTC")
    sessions = told.traded.loc[past, "session"].nunique()
    assert known.sum() == sessions - 1, "that session's own is known a quarter of an hour later"
    made_up = perturb(told, moment)
    pd.testing.assert_frame_equal(made_up.traded[past], told.traded[past], check_dtype=False)
    pd.testing.assert_frame_equal(made_up.factors[known], told.factors[known])
    for name in ("open", "high", "low", "close", "volume"):
        assert (made_up.traded.loc[~past, name] != told.traded.loc[~past, name]).all()
    assert (made_up.factors.loc[~known, "value"] != told.factors.loc[~known, "value"]).all()
    bars = made_up.prices
    assert (bars[["open", "close"]].max(axis=1) <= bars["high"]).all()
    assert (bars[["open", "close"]].min(axis=1) >= bars["low"]).all()
    assert (thin(told, moment).prices["adj_close"] > 0).all()
    assert past.sum() < len(thin(told, moment).traded) < len(told.traded)
    ended = cut(told, moment)
    pd.testing.assert_frame_equal(ended.traded, told.traded[past].reset_index(drop=True))
    assert ended.as_of == pd.Timestamp("2020-04-01")
    assert len(ended.factors) == known.sum()


def test_events_that_were_not_known_are_others(two: History) -> None:
    moment = pd.Timestamp("2020-04-01T20:00", tz="UTC")
    told = with_events(two, list(EVENT_KINDS))
    planted = told.events.assign(
        known_at=told.events["known_at"].where(told.events.index != 40, moment)
    ).sort_values(["symbol", "known_at"], ignore_index=True)
    told = replace(told, events=planted)
    known = told.events["known_at"] < moment
    assert 0 < known.sum() < len(known)
    assert (told.events["known_at"] == moment).any(), "known at the very close, so to come"
    numbers = ["tone", "magnitude"]
    for rewrite in (perturb, thin):
        other = rewrite(told, moment.tz_localize(None).to_datetime64()).events
        assert other.dtypes.equals(told.events.dtypes)
        before = other["known_at"] < moment
        pd.testing.assert_frame_equal(
            other[before].reset_index(drop=True), told.events[known].reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(
            other, other.sort_values(["symbol", "known_at"], kind="stable", ignore_index=True)
        )
        later = other[~before]
        both = later.merge(told.events, on=["symbol", "kind", "known_at", "happened_at", *numbers])
        assert both.empty
        for seconds in (0, 1):
            soon = later[later["known_at"] == moment + pd.Timedelta(seconds=seconds)]
            assert set(zip(soon["symbol"], soon["kind"], strict=True)) >= {
                (symbol, kind) for symbol in two.symbols for kind in EVENT_KINDS
            }
        planned = later[later["kind"].isin(SCHEDULED)]
        ahead = (planned["happened_at"] - planned["known_at"]).dt.days
        assert (ahead >= 0).all()
        assert (ahead <= 5).any()
        released = later[later["kind"].isin(RELEASED)]
        assert (released["happened_at"] < moment).any(), "happened before, but not known"
        assert (released["happened_at"] <= released["known_at"]).all()
    assert len(thin(told, moment.tz_localize(None).to_datetime64()).events) < len(
        perturb(told, moment.tz_localize(None).to_datetime64()).events
    )
    ended = cut(told, moment.tz_localize(None).to_datetime64())
    pd.testing.assert_frame_equal(ended.events, told.events[known].reset_index(drop=True))


def test_made_up_events_lie_around_closes_of_every_sort() -> None:
    history = market({"AAA": "XNYS", "BBB": "XLON"}, sessions=500)
    told = with_events(history, list(EVENT_KINDS))
    assert set(zip(told.events["symbol"], told.events["kind"], strict=True)) == {
        (symbol, kind) for symbol in history.symbols for kind in EVENT_KINDS
    }
    own = told.events[told.events["symbol"] == "AAA"]
    closed = pd.DatetimeIndex(bars_known_at(history.only(["AAA"])), tz="UTC")
    for seconds in (-1, 0, 1):
        assert (own["known_at"] - pd.Timedelta(seconds=seconds)).isin(closed).sum() > 10
    local = own["known_at"].dt.tz_convert(ZONES["XNYS"])
    assert (local.dt.dayofweek >= 5).any(), "a weekend"
    assert local.dt.strftime("%H:%M").isin(["12:59", "13:00"]).any(), "an early close"
    days = pd.DatetimeIndex(local.dt.date.astype(str))
    changed = pd.DatetimeIndex(["2020-03-09", "2020-11-02", "2021-03-15", "2021-11-08"])
    assert days.isin(changed).any(), "the first session after the clock has changed"
    pd.testing.assert_frame_equal(told.events, with_events(history, list(EVENT_KINDS)).events)
    more = with_events(told, ["policy"], seed=1)
    assert len(more.events) > len(told.events)


def test_cutoffs_are_chosen_where_leaks_hide(two: History) -> None:
    session = days(two)
    events = with_events(two, ["policy"]).events.iloc[[0]]
    for seconds in (-1, 0, 1):
        close = pd.Timestamp(np.unique(bars_known_at(two))[117], tz="UTC")
        known = events.assign(symbol="BBB", known_at=close + pd.Timedelta(seconds=seconds))
        chosen = telling_moments(replace(two, events=known), 16)
        either_side = [116, 117] if seconds < 0 else [117, 118]
        assert set(np.unique(bars_known_at(two))[either_side]) <= set(chosen)
    chosen = pd.DatetimeIndex(telling_moments(two, 16)).normalize()
    assert len(chosen) == 16
    told = {0, 3, 9, 21, 69, len(session) - 2, 49, 50, 53}
    assert set(session[list(told)]) <= set(chosen)
    assert session.iloc[-1] not in chosen
    assert len(telling_moments(two, 10_000)) == len(session) - 1
    np.testing.assert_array_equal(telling_moments(two, 16), telling_moments(two, 16))


def test_cutoffs_are_chosen_where_symbols_begin() -> None:
    names = dict.fromkeys(("AAA", "BBB", "CCC", "DDD", "EEE", "FFF"), "XNYS")
    late = {name: range(20 * place) for place, name in enumerate(names) if place}
    history = market(names, without=late)
    session = days(history)
    chosen = set(pd.DatetimeIndex(telling_moments(history, 16)).normalize())
    begun = [name for name, rows in late.items() if session[len(rows)] in chosen]
    assert len(begun) >= 3, "as many as there is room for"
    one = market({"AAA": "XNYS", "BBB": "XNYS"}, without={"BBB": range(60)})
    chosen = set(pd.DatetimeIndex(telling_moments(one, 16)).normalize())
    assert {session[60], session[69], session[129]} <= chosen


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def files(two: History, tmp_path: Path) -> Path:
    two.prices.to_csv(tmp_path / "prices.csv", index=False)
    (tmp_path / "mine.py").write_text(
        "number = 3\n"
        "def clean(history):\n"
        "    return history.traded[['symbol', 'session', 'close']]\n"
        "def leaky(history):\n"
        "    rows = history.traded\n"
        "    return rows[['symbol', 'session']].assign(next=rows.groupby('symbol')['close'].shift(-1))\n"
    )
    return tmp_path


def test_the_command_judges_a_function_on_a_file(run: Run, files: Path, two: History) -> None:
    on = ("leakcheck", "--prices", "prices.csv", "--function")
    done = run(*on, "mine.py:clean")
    assert "prices.csv, 2 symbols" in done.stdout
    assert "No leak found" in done.stdout
    refused = run(*on, "mine.py:leaky", "--json", code=1)
    assert f"next of AAA at {days(two)[0].date()}" in refused.stderr
    report = json.loads(refused.stdout)
    assert report["clean"] is False
    assert report["leaks"][0]["session"] == str(days(two)[0].date())
    assert report["checks"][0]["cells"] > 1000


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("mine.py:nothing", "not there in"),
        ("mine.py:number", "not callable in"),
        ("yours.py:clean", "no file .*yours.py"),
        ("mine.py", "expected FILE.py:NAME"),
        ("prices.csv:clean", "expected FILE.py:NAME"),
        ("broken.py:clean", "fails on import: SyntaxError"),
    ],
)
def test_a_file_without_that_function_is_refused(files: Path, place: str, told: str) -> None:
    (files / "broken.py").write_text("def clean(history:")
    with pytest.raises(UsageError, match=told):
        _function(f"{files}/{place}")


def test_the_command_judges_a_recipe_on_the_sample(run: Run, tmp_path: Path) -> None:
    words = ("leakcheck", "--models", "constant", "--groups", "trend", "--cutoffs", "2")
    done = run(*words)
    for word in ("the bundled sample, 6 symbols", "inputs", "windows", "labels", "fit of constant"):
        assert word in done.stdout
    assert done.stderr.startswith("No prices are stored in data: the bundled sample is checked.")
    absent = "There is no workspace at none; make one: python -m forecaster quickstart"
    assert absent in run.refused(*words, "--home", "none")
    run.environment = {"FORECASTER_HOME": "none"}
    assert absent in run.refused(*words)
    assert not list(tmp_path.iterdir())
