"""Ingest: only what is final, sound and new is stored, and the rest is accounted for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yahoo_stub import Failure, StubSymbol, YahooStub, reset_yfinance, sessions, traded

from forecaster.config import Settings
from forecaster.ingest import MARKET_FACTORS, update, update_factors
from forecaster.instruments import Instrument
from forecaster.sources import Fetched, Outcome
from forecaster.sources.yahoo import YahooSource
from forecaster.store import Store
from forecaster.workspace import Workspace

LATER = pd.Timestamp("2024-06-03 12:00", tz="UTC")
DAY = pd.Timedelta(days=1)
PRICES = ["open", "high", "low", "close", "adj_close"]
NO_ACTIONS = pd.DataFrame(columns=["session", "kind", "value"])


def bars(first: str = "2024-01-02", last: str = "2024-01-12") -> pd.DataFrame:
    """Sound bars, indexed by session; ``adj_close`` is half the close."""
    made = traded(sessions(first, last)).astype(float)
    return made.assign(adj_close=made["close"] / 2).rename_axis("session")


def share(symbol: str, name: str = "") -> Instrument:
    """Describe a share listed in New York."""
    return Instrument(symbol, name or symbol, "XNYS", "America/New_York", "USD")


@dataclass
class Memory:
    """A source in memory; a symbol that it does not hold ends with its failure, or is gone."""

    held: dict[str, pd.DataFrame] = field(default_factory=dict)
    failures: dict[str, Outcome] = field(default_factory=dict)
    actions: pd.DataFrame = field(default_factory=lambda: NO_ACTIONS)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    name: str = "memory"

    def symbols(self) -> tuple[str, ...]:
        return tuple(self.held)

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        self.asked.append(symbol)
        if symbol not in self.held:
            return Fetched(symbol, self.failures.get(symbol, Outcome.GONE), detail="no such thing")
        instrument = self.instruments.get(symbol, share(symbol))
        return Fetched(symbol, Outcome.OK, self.held[symbol].reset_index(), self.actions, instrument)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def stored(store: Store, symbol: str = "AAA", **conditions: object) -> pd.DataFrame:
    """What holds of one symbol, by session."""
    return store.current("prices", where={"symbol": [symbol]}, **conditions).set_index("session")


def test_bars_are_stored_as_they_came(store: Store) -> None:
    report = update(store, Memory({"AAA": bars()}), ["AAA"], LATER)
    assert report.to_dict("records") == [
        {"symbol": "AAA", "source": "memory", "outcome": "ok", "rows": 9, "detail": ""}
    ]
    held = stored(store)
    pd.testing.assert_frame_equal(held[[*PRICES, "volume"]], bars()[[*PRICES, "volume"]], check_freq=False)
    assert set(held["currency"]) == {"USD"}
    assert set(held["source"]) == {"memory"}
    assert set(held["fetched_at"]) == {LATER}
    assert store.rows("instruments")[["symbol", "exchange", "timezone"]].to_numpy().tolist() == [
        ["AAA", "XNYS", "America/New_York"]
    ]
    assert store.rows("updates").drop(columns="recorded_at").equals(report)


def test_only_new_rows_are_appended(store: Store) -> None:
    source = Memory({"AAA": bars()})
    moments = [LATER + step * DAY for step in range(4)]
    rows = [update(store, source, ["AAA"], moments[step])["rows"].item() for step in range(2)]
    source.held["AAA"] = bars(last="2024-01-17")
    rows += [update(store, source, ["AAA"], moment)["rows"].item() for moment in moments[2:]]
    assert rows == [9, 0, 2, 0]
    assert len(store.rows("prices")) == 11
    assert store.version("instruments") == 0


@pytest.mark.parametrize(
    ("factor", "appended"), [(1 + 1.9e-4, 0), (1 - 1.9e-4, 0), (1 + 3e-4, 9), (1 - 3e-4, 9)]
)
@pytest.mark.parametrize("column", ["adj_close", "volume"])
def test_jitter_is_no_change(store: Store, column: str, factor: float, appended: int) -> None:
    source = Memory({"AAA": bars()})
    update(store, source, ["AAA"], LATER)
    source.held["AAA"] = bars().assign(**{column: bars()[column] * factor})
    assert update(store, source, ["AAA"], LATER + DAY)["rows"].item() == appended


def test_jitter_does_not_add_up(store: Store) -> None:
    source, total = Memory({"AAA": bars()}), 0
    for step in range(6):
        source.held["AAA"] = bars().assign(adj_close=bars()["adj_close"] * (1 + step * 1.2e-4))
        total += update(store, source, ["AAA"], LATER + step * DAY)["rows"].item()
    adjusted = stored(store)["adj_close"] / bars()["adj_close"].to_numpy()
    assert total == 9 * 3
    assert adjusted.to_numpy() == pytest.approx(1 + 4 * 1.2e-4)


def test_a_correction_is_appended_and_the_earlier_word_stays_readable(store: Store) -> None:
    source = Memory({"AAA": bars()})
    update(store, source, ["AAA"], LATER)
    source.held["AAA"].loc["2024-01-05", "close"] += 0.1
    assert update(store, source, ["AAA"], LATER + DAY)["rows"].item() == 1
    was = bars().loc["2024-01-05", "close"]
    assert stored(store).loc["2024-01-05", "close"] == was + 0.1
    assert stored(store, recorded_by=LATER).loc["2024-01-05", "close"] == was
    assert len(stored(store)) == 9


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        ("2024-01-12 15:00", "2024-01-11"),
        ("2024-01-12 21:29:59", "2024-01-11"),
        ("2024-01-12 21:30", "2024-01-12"),
        ("2024-01-13 09:00", "2024-01-12"),
    ],
)
def test_the_bar_of_an_unfinished_session_waits(store: Store, moment: str, last: str) -> None:
    update(store, Memory({"AAA": bars()}), ["AAA"], pd.Timestamp(moment, tz="UTC"))
    assert stored(store).index[-1] == pd.Timestamp(last)
    assert store.rows("quarantine").empty


def test_the_delay_is_a_setting(store: Store) -> None:
    at_the_close = pd.Timestamp("2024-01-12 21:00", tz="UTC")
    update(store, Memory({"AAA": bars()}), ["AAA"], at_the_close, delay_minutes=0)
    assert stored(store).index[-1] == pd.Timestamp("2024-01-12")


FAULTS = {
    "close: missing": {"close": np.nan},
    "open: zero or negative": {"open": 0.0},
    "high below low": {"high": 1.0},
    "volume: negative": {"volume": -1.0},
    "volume: missing": {"volume": np.nan},
    "adj_close: not finite": {"adj_close": np.inf},
    "close outside low..high": {"close": 1000.0},
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_faulty_row_goes_to_quarantine_and_the_others_stay(store: Store, reason: str) -> None:
    source = Memory({"AAA": bars()})
    for column, value in FAULTS[reason].items():
        source.held["AAA"].loc["2024-01-05", column] = value
    report = update(store, source, ["AAA"], LATER).iloc[0]
    assert (report["outcome"], report["rows"]) == ("ok", 8)
    assert report["detail"].startswith("1 rows in quarantine, first 2024-01-05: ")
    assert list(stored(store).index) == list(bars().index.drop("2024-01-05"))
    (refused,) = store.rows("quarantine").to_dict("records")
    assert (refused["symbol"], refused["session"]) == ("AAA", pd.Timestamp("2024-01-05"))
    assert reason in refused["reason"].split("; ")
    assert report["detail"].endswith(refused["reason"])
    update(store, source, ["AAA"], LATER + DAY)
    assert len(store.rows("quarantine")) == 1


def test_weekends_and_repetitions_are_refused(store: Store) -> None:
    made = bars()
    weekend = made.iloc[[3]].set_axis(pd.DatetimeIndex(["2024-01-06"], name="session"))
    report = update(store, Memory({"AAA": pd.concat([made, weekend, made.iloc[[2]]])}), ["AAA"], LATER)
    assert report["rows"].item() == 9
    assert report["detail"].item() == "2 rows in quarantine, first 2024-01-06: no session of XNYS"
    assert store.current("quarantine")["reason"].tolist() == ["session stands twice", "no session of XNYS"]


def test_a_row_that_is_repaired_leaves_quarantine_s_word_behind(store: Store) -> None:
    source = Memory({"AAA": bars()})
    source.held["AAA"].loc["2024-01-05", "close"] = np.nan
    update(store, source, ["AAA"], LATER)
    source.held["AAA"] = bars()
    assert update(store, source, ["AAA"], LATER + DAY)["rows"].item() == 1
    assert len(stored(store)) == 9
    assert len(store.rows("quarantine")) == 1


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(0, 8), max_size=8))
def test_stored_and_refused_make_up_what_came(
    tmp_path_factory: pytest.TempPathFactory, faulty: set[int]
) -> None:
    store, source = Store(tmp_path_factory.mktemp("made")), Memory({"AAA": bars()})
    for at in faulty:
        source.held["AAA"].iloc[at, 0] = -1.0
    update(store, source, ["AAA"], LATER)
    sound = [day for at, day in enumerate(bars().index) if at not in faulty]
    assert stored(store).index.tolist() == sound
    assert store.current("quarantine")["session"].tolist() == [bars().index[at] for at in sorted(faulty)]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_a_bad_symbol_does_not_stop_the_others(store: Store, batch: int) -> None:
    rotten, unborn = bars().assign(close=-1.0), bars().iloc[:0]
    source = Memory({"AAA": bars(), "ROT": rotten, "NIL": unborn, "ZZZ": bars()}, {"OFF": Outcome.TRANSIENT})
    report = update(store, source, ["AAA", "NONE", "ROT", "NIL", "OFF", "ZZZ"], LATER, batch=batch)
    assert report["outcome"].tolist() == ["ok", "gone", "invalid", "invalid", "transient", "ok"]
    assert report["rows"].tolist() == [9, 0, 0, 0, 0, 9]
    assert (report["detail"] != "").tolist() == [False, True, True, True, True, False]
    assert set(store.rows("prices")["symbol"]) == {"AAA", "ZZZ"}
    assert set(store.rows("instruments")["symbol"]) == {"AAA", "ZZZ"}
    assert len(store.rows("quarantine")) == 9
    assert store.current("updates")["outcome"].tolist() == [
        "ok",
        "invalid",
        "gone",
        "transient",
        "invalid",
        "ok",
    ]


def test_two_sources_are_not_mixed_in_one_symbol(store: Store) -> None:
    update(store, Memory({"AAA": bars()}), ["AAA"], LATER)
    other = Memory({"AAA": bars(), "BBB": bars()})
    other.name = "elsewhere"
    report = update(store, other, ["AAA", "BBB"], LATER).set_index("symbol")
    assert report["outcome"].to_dict() == {"AAA": "invalid", "BBB": "ok"}
    assert "stored from" in report.loc["AAA", "detail"]
    assert store.current("prices").groupby("symbol")["source"].nunique().eq(1).all()


@pytest.mark.parametrize("batch", [1, 50])
def test_after_a_rate_limit_nothing_more_is_asked(store: Store, batch: int) -> None:
    source = Memory({"AAA": bars(), "ZZZ": bars()}, {"BUSY": Outcome.RATE_LIMITED})
    report = update(store, source, ["AAA", "BUSY", "ZZZ", "MORE"], LATER, batch=batch)
    assert source.asked == ["AAA", "BUSY"]
    assert report["outcome"].tolist() == ["ok", "rate_limited", "rate_limited", "rate_limited"]
    assert len(stored(store, "AAA")) == 9
    assert set(store.rows("updates")["outcome"]) == {"ok", "rate_limited"}


def test_factors_stop_at_a_rate_limit_too(store: Store) -> None:
    source = Memory(failures=dict.fromkeys(MARKET_FACTORS.values(), Outcome.RATE_LIMITED))
    assert update_factors(store, source, LATER)["outcome"].tolist() == ["rate_limited"]
    assert source.asked == ["^GSPC"]


def test_actions_are_stored_once_and_corrected(store: Store) -> None:
    source = Memory({"AAA": bars()})
    paid = pd.Timestamp("2024-01-09")
    source.actions = pd.DataFrame([[paid, "dividend", 0.5], [paid, "split", 4.0]], columns=NO_ACTIONS.columns)
    for step in range(2):
        update(store, source, ["AAA"], LATER + step * DAY)
    assert store.rows("actions").to_numpy().tolist() == [
        ["AAA", paid, "dividend", 0.5, LATER],
        ["AAA", paid, "split", 4.0, LATER],
    ]
    source.actions.loc[0, "value"] = 0.25
    update(store, source, ["AAA"], LATER + 2 * DAY)
    assert len(store.rows("actions")) == 3
    assert store.current("actions")["value"].tolist() == [0.25, 4.0]


def test_a_new_name_of_an_instrument_is_appended(store: Store) -> None:
    source = Memory({"AAA": bars()})
    update(store, source, ["AAA"], LATER)
    source.instruments["AAA"] = share("AAA", "Triple A")
    assert update(store, source, ["AAA"], LATER + DAY)["rows"].item() == 0
    assert sorted(store.rows("instruments")["name"]) == ["AAA", "Triple A"]
    assert store.current("instruments")["name"].tolist() == ["Triple A"]


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStub]:
    """A share, the market index and the volatility index over November and December 2024."""
    reset_yfinance(tmp_path / "yahoo")
    november = ("2024-11-04", "2024-12-31")
    with YahooStub() as stub:
        stub.add(StubSymbol("AAA", sessions(*november)))
        stub.add(
            StubSymbol("^GSPC", sessions(*november), meta={"exchangeName": "SNP", "instrumentType": "INDEX"})
        )
        stub.add(
            StubSymbol(
                "^VIX",
                sessions(*november, "XCBF"),
                meta={"exchangeName": "WCB", "instrumentType": "INDEX"},
                exchange="XCBF",
            )
        )
        yield stub
    reset_yfinance(tmp_path / "yahoo")


@pytest.fixture
def source(yahoo: YahooStub) -> YahooSource:
    return YahooSource(pd.Timestamp("2024-11-04"), timeout=5.0, session=yahoo.session())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home", Settings(home=tmp_path / "home"))


def test_each_factor_is_known_at_its_own_market_s_close(workspace: Workspace, source: YahooSource) -> None:
    outcomes = workspace.update(["AAA"], source)
    assert outcomes[["symbol", "outcome"]].to_numpy().tolist() == [
        ["AAA", "ok"],
        ["^GSPC", "ok"],
        ["^VIX", "ok"],
    ]
    assert workspace.watchlist == ("AAA",)
    factors = workspace.store.current("factors").set_index(["name", "session"])
    for name, session, known in [
        ("market_index", "2024-11-27", "2024-11-27 21:00"),
        ("volatility_index", "2024-11-27", "2024-11-27 21:15"),
        ("market_index", "2024-11-29", "2024-11-29 18:00"),
        ("volatility_index", "2024-11-29", "2024-11-29 18:15"),
    ]:
        row = factors.loc[(name, pd.Timestamp(session))]
        assert row["known_at"] == pd.Timestamp(known, tz="UTC")
        assert row["value"] == traded(sessions(session, session))["close"].item()
    assert workspace.update(["AAA"], source)["rows"].tolist() == [0, 0, 0]


def test_a_factor_that_fails_is_reported_and_its_faulty_rows_are_kept(
    workspace: Workspace, source: YahooSource, yahoo: YahooStub
) -> None:
    yahoo.symbols["^GSPC"].failure = Failure.BAD_GATEWAY
    yahoo.symbols["^VIX"].nulls = {"2024-11-20": ("close",)}
    outcomes = workspace.update(["AAA"], source).set_index("symbol")
    assert outcomes["outcome"].to_dict() == {"AAA": "ok", "^GSPC": "transient", "^VIX": "ok"}
    assert "1 rows in quarantine, first 2024-11-20" in outcomes.loc["^VIX", "detail"]
    assert workspace.store.rows("quarantine")["symbol"].tolist() == ["^VIX"]
    assert set(workspace.store.rows("updates")["symbol"]) == {"AAA", "^GSPC", "^VIX"}


def test_factors_are_not_asked_for_after_a_rate_limit(
    workspace: Workspace, source: YahooSource, yahoo: YahooStub
) -> None:
    yahoo.add(StubSymbol("BUSY", sessions("2024-11-04", "2024-12-31"), failure=Failure.RATE_LIMITED))
    assert workspace.update(["AAA", "BUSY"], source)["outcome"].tolist() == ["ok", "rate_limited"]
    assert set(yahoo.charts()) == {"AAA", "BUSY"}


def test_yahoo_s_new_day_is_one_row(workspace: Workspace, source: YahooSource, yahoo: YahooStub) -> None:
    share = yahoo.symbols["AAA"]
    share.sessions = sessions("2024-11-04", "2024-12-30")

    def appended() -> int:
        return workspace.update(["AAA"], source).set_index("symbol").loc["AAA", "rows"]

    assert [appended(), appended()] == [39, 0]
    share.sessions = sessions("2024-11-04", "2024-12-31")
    assert [appended(), appended()] == [1, 0]
    assert len(workspace.store.rows("prices")) == 40


def test_yahoo_s_new_adjustment_is_appended_and_the_old_state_readable(
    workspace: Workspace, source: YahooSource, yahoo: YahooStub
) -> None:
    workspace.update(["AAA"], source)
    before = workspace.history()
    recorded = before.prices["fetched_at"].max()
    yahoo.symbols["AAA"].splits["2024-12-16"] = 2.0
    assert workspace.update(["AAA"], source)["rows"].iloc[0] == len(sessions("2024-11-04", "2024-12-13"))
    again = workspace.history(recorded_by=recorded)
    assert again.fingerprint == before.fingerprint
    now = workspace.history().bars("AAA").set_index("session")["close"]
    was = again.bars("AAA").set_index("session")["close"]
    np.testing.assert_allclose(now / was, np.where(was.index < "2024-12-16", 0.5, 1.0))
    assert workspace.store.rows("actions")[["kind", "value"]].to_numpy().tolist() == [["split", 2.0]]
