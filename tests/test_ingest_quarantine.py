"""Ingest: a faulty row is held in quarantine until its source mends it or a person releases it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_desk import DAYS, OHLC, Desk, at_row, desk, text, workspace
from yahoo_stub import MemorySource, StubSymbol, traded

from forecaster.errors import DataError, Locked
from forecaster.ingest import quarantine
from forecaster.locks import exclusive
from forecaster.store import Store
from forecaster.workspace import Workspace

__all__ = ["desk", "workspace"]


# What is not sound

FAULTS = {
    "close: missing": {"close": np.nan},
    "open: zero or negative": {"open": 0.0},
    "high below low": {"high": 1.0},
    "volume: negative": {"volume": -1.0},
    "volume: missing": {"volume": np.nan},
    "adj_close: not finite": {"adj_close": np.inf},
    "close outside low..high": {"close": 1000.0},
    "times the sessions before: another unit?": dict.fromkeys([*OHLC, "adj_close"], 2e4),
    "high or low far from the close: another unit?": {"high": 1e5},
    "adjustment ratio off": {"adj_close": 100.0},
}
AT = [
    *((30, reason) for reason in FAULTS),
    # The last row: one that is faulty by itself stands for all of them.
    (-1, "close: missing"),
    (-1, "times the sessions before: another unit?"),
    (-1, "adjustment ratio off"),
]


@pytest.mark.parametrize(("row", "reason"), AT)
def test_a_faulty_row_is_held_until_it_is_mended(desk: Desk, reason: str, row: int) -> None:
    day = DAYS[row]

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[day, list(FAULTS[reason])] = list(FAULTS[reason].values())

    desk.source.edits["AAA"] = edit
    report = desk.run().loc["AAA"]
    refused = {text(DAYS[at]) for at in (30, 31)} if "ratio off" in reason and row == 30 else {text(day)}
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "new", len(DAYS) - len(refused))
    assert {text(at) for at in DAYS.difference(desk.rows().index)} == refused
    held = desk.quarantined()
    assert set(held) == {("AAA", at) for at in refused}
    assert reason in held["AAA", text(day)]
    assert f"in quarantine, first {text(day)}: {held['AAA', text(day)]}" in report["detail"]
    kept = desk.store.rows("quarantine").set_index("session").loc[day]
    for name, value in FAULTS[reason].items():
        assert kept[name] == value or np.isnan(value)

    del desk.source.edits["AAA"]
    assert desk.run().loc["AAA", ["outcome", "rows", "detail"]].tolist() == ["ok", len(refused), ""]
    assert list(desk.rows().index) == list(DAYS)
    assert desk.quarantined() == {}
    assert set(desk.quarantined("resolved")) == set(held)


@pytest.mark.parametrize(("row", "reason"), [one for one in AT if one[1] in list(FAULTS)[-3:]])
def test_an_odd_row_is_as_odd_when_it_is_asked_for_again(desk: Desk, reason: str, row: int) -> None:
    """A request that begins with it would leave nothing to compare it with."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[DAYS[row], list(FAULTS[reason])] = list(FAULTS[reason].values())

    desk.source.edits["AAA"] = edit
    desk.run()
    held, stored = desk.quarantined(), desk.rows()
    for _ in range(2):
        assert desk.run().loc["AAA", "rows"] == 0
        assert desk.quarantined() == held
        assert desk.rows().equals(stored)
    assert len(desk.store.rows("quarantine")) == len(held), "told once while it stays"


def test_weekends_and_repetitions_are_refused(desk: Desk) -> None:
    def edit(bars: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([bars, bars.iloc[[3]].set_axis(pd.DatetimeIndex(["2023-11-04"])), bars.iloc[[2]]])

    desk.source.edits["AAA"] = edit
    report = desk.run().loc["AAA"]
    assert report["rows"] == len(DAYS)
    assert report["detail"] == "2 rows in quarantine, first 2023-11-03: session stands twice"
    assert desk.quarantined() == {
        ("AAA", "2023-11-03"): "session stands twice",
        ("AAA", "2023-11-04"): "no session of XNYS",
    }


def test_a_reason_that_changes_is_told_again(desk: Desk) -> None:
    desk.source.edits["AAA"] = at_row(-1, "close", 100.0)
    desk.run()
    desk.source.edits["AAA"] = at_row(-1, "close", np.nan)
    desk.run()
    assert len(desk.store.rows("quarantine")) == 2
    assert desk.quarantined() == {("AAA", text(DAYS[-1])): "close: missing"}


@settings(deadline=None, max_examples=5)
@given(st.sets(st.integers(0, 19), max_size=20), st.sampled_from(["close", "volume"]))
def test_stored_and_refused_make_up_what_came(
    tmp_path_factory: pytest.TempPathFactory, faulty: set[int], column: str
) -> None:
    share = StubSymbol("AAA", DAYS[:20])
    desk = Desk(Store(tmp_path_factory.mktemp("made")), MemorySource({"AAA": share}))
    rows = sorted(faulty)
    desk.source.edits["AAA"] = lambda bars: bars.loc.__setitem__((DAYS[rows], column), np.nan)
    desk.run()
    assert list(desk.rows().index) == [day for at, day in enumerate(share.sessions) if at not in faulty]
    assert [day for _, day in desk.quarantined()] == [text(DAYS[at]) for at in rows]


# A person


def test_held_rows_are_listed_and_released(workspace: Workspace) -> None:
    source = MemorySource({"AAA": StubSymbol("AAA", DAYS), "BBB": StubSymbol("BBB", DAYS)})
    leap = [DAYS[40], DAYS[41]]

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[leap, [*OHLC, "adj_close"]] *= 50

    source.edits = {"AAA": edit, "BBB": at_row(50, "high", 100.0)}
    workspace.update(["AAA", "BBB"], source)
    assert workspace.quarantined()["symbol"].tolist() == ["AAA", "AAA", "BBB"]
    assert workspace.quarantined(["aaa"])["session"].tolist() == leap
    assert workspace.quarantined(["ZZZ"]).empty

    released = workspace.release("aaa", [text(DAYS[40])])
    assert released["session"].tolist() == [DAYS[40]]
    assert workspace.quarantined(["AAA"])["session"].tolist() == leap[1:]
    assert workspace.history(symbols=["AAA"]).traded.set_index("session").loc[DAYS[40], "close"] == (
        traded(DAYS)["close"].iloc[40] * 50
    )
    # Released again by its source's own word, now that the row before it stands.
    workspace.update(["AAA", "BBB"], source)
    rows = workspace.store.current("prices", where={"symbol": ["AAA"]})
    assert len(rows) in {len(DAYS), len(DAYS) - 1}
    workspace.release("BBB")
    assert workspace.quarantined(["BBB"]).empty
    assert len(workspace.store.current("prices", where={"symbol": ["BBB"]})) == len(DAYS)
    assert set(workspace.store.current("prices")["currency"]) == {"USD"}


def test_what_cannot_be_released_says_why(workspace: Workspace) -> None:
    source = MemorySource({"AAA": StubSymbol("AAA", DAYS), "ROT": StubSymbol("ROT", DAYS[:3])})

    def edit(bars: pd.DataFrame) -> pd.DataFrame:
        bars.loc[DAYS[40], "close"] = np.nan
        bars.loc[DAYS[41], "high"] = -1.0
        bars.loc[DAYS[42], "high"] *= 90
        return pd.concat([bars, bars.iloc[[3]].set_axis(pd.DatetimeIndex(["2023-11-04"]))])

    source.edits = {"AAA": edit, "ROT": lambda bars: bars.assign(high=bars["high"] * 90)}
    workspace.update(["AAA", "ROT"], source)
    assert len(workspace.quarantined(["AAA"])) == 4
    before = workspace.store.version("prices")
    for day, words in [
        (DAYS[40], "close: missing"),
        (DAYS[41], "high: zero or negative"),
        (pd.Timestamp("2023-11-04"), "no session of XNYS"),
    ]:
        with pytest.raises(DataError, match=f"AAA {text(day)} cannot be released: .*{words}"):
            workspace.release("AAA", [text(day)])
    with pytest.raises(DataError, match="cannot be released"):
        workspace.release("AAA")
    with pytest.raises(DataError, match=f"AAA: {text(DAYS[5])} not in quarantine; see quarantine list AAA"):
        workspace.release("AAA", [text(DAYS[42]), text(DAYS[5])])
    with pytest.raises(DataError, match="ZZZ: nothing in quarantine"):
        workspace.release("ZZZ")
    assert workspace.store.version("prices") == before
    assert len(workspace.quarantined(["AAA"])) == 4
    workspace.release("AAA", [text(DAYS[42])])
    with pytest.raises(DataError, match="not in quarantine"):
        workspace.release("AAA", [text(DAYS[42])])


def test_the_split_of_released_rows_comes_with_them(desk: Desk) -> None:
    """A person knows better: the price rose fourfold on the day of a split, and the rows are right."""
    day = text(DAYS[41])
    share = StubSymbol("AAA", DAYS, {}, {day: 4.0})
    desk.bring(share, DAYS[40])

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index >= day, [*OHLC, "adj_close"]] /= 4

    desk.source.edits["AAA"] = edit
    desk.bring(share, DAYS[60])
    assert len(desk.quarantined()) == 20
    quarantine.release(desk.store, "AAA", None, desk.clock())
    desk.bring(share, DAYS[61])
    assert desk.rows().index[-1] == DAYS[61]
    assert desk.actions() == [(day, "split", 4.0)]


def test_rows_are_not_released_while_an_update_runs(workspace: Workspace) -> None:
    with exclusive(workspace.home, "update"), pytest.raises(Locked):
        workspace.release("AAA")
    with exclusive(workspace.home, "update"), pytest.raises(Locked):
        workspace.update(["AAA"], MemorySource())
