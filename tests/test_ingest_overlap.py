"""Ingest: a reply is compared with what is stored, and only what continues it is taken."""

import numpy as np
import pandas as pd
import pytest
from ingest_desk import DAYS, OHLC, Desk, at_row, desk, scaled, text, without
from yahoo_stub import MemorySource, StubSymbol, traded

from forecaster.history import read_history
from forecaster.ingest import quarantine

__all__ = ["desk"]


def test_a_revision_is_held_and_the_stored_row_stands(desk: Desk) -> None:
    desk.run()
    day = DAYS[-5]
    was = desk.rows().loc[day]
    desk.source.edits["AAA"] = lambda bars: bars.loc.__setitem__((day, "close"), was["close"] + 0.1)
    report = desk.run().loc["AAA"]
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "revision", 0)
    reason = f"close revised from {was['close']:.6g} to {was['close'] + 0.1:.6g}"
    assert desk.quarantined() == {("AAA", text(day)): reason}
    assert reason in report["detail"]
    assert desk.store.current("quarantine")["close"].item() == was["close"] + 0.1
    assert len(desk.store.rows("prices")) == len(DAYS)

    seen = desk.clock()
    released = quarantine.release(desk.store, "AAA", [day], desk.clock())
    assert released["session"].tolist() == [day]
    assert desk.rows().loc[day, "close"] == was["close"] + 0.1
    assert desk.rows(recorded_by=seen).loc[day, "close"] == was["close"]
    assert desk.run().loc["AAA", ["change", "rows", "detail"]].tolist() == ["same", 0, ""]
    assert set(desk.quarantined("released")) == {("AAA", text(day))}


def test_a_revision_that_is_taken_back_is_resolved(desk: Desk) -> None:
    desk.run()
    desk.source.edits["AAA"] = at_row(-5, "open", 1.002)
    desk.run()
    del desk.source.edits["AAA"]
    assert desk.run().loc["AAA", "change"] == "same"
    assert desk.quarantined() == {}
    assert len(desk.quarantined("resolved")) == 1


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_row_that_vanishes_stays_stored(desk: Desk, spoilt: bool) -> None:
    desk.run()
    day = DAYS[-4]
    desk.source.edits["AAA"] = at_row(-4, "close", np.nan) if spoilt else without(-4)
    report = desk.run().loc["AAA"]
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "vanished", 0)
    reason = "stored, but now delivered with close: missing" if spoilt else "stored, but no longer delivered"
    assert desk.quarantined() == {("AAA", text(day)): reason}
    assert day in desk.rows().index
    assert desk.gaps() == []
    del desk.source.edits["AAA"]
    desk.run()
    assert desk.quarantined() == {}


def test_the_last_bar_may_settle(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.source.edits["AAA"] = at_row(40, "close", 1.001)
    desk.bring(share, DAYS[40])
    first = desk.clock()
    del desk.source.edits["AAA"]
    report = desk.bring(share, DAYS[41])
    assert (report["change"], report["rows"], report["detail"]) == ("same", 2, "")
    close = traded(DAYS)["close"].iloc[40]
    assert desk.rows().loc[DAYS[40], "close"] == close
    assert desk.rows(recorded_by=first).loc[DAYS[40], "close"] == close * 1.001
    # Once a later session is stored, it is settled.
    desk.source.edits["AAA"] = at_row(40, "close", 1.001)
    assert desk.bring(share, DAYS[41])["change"] == "revision"


def test_another_company_s_prices_are_refused_whole(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars * 0.37
    report = desk.bring(share, DAYS[44])
    assert (report["outcome"], report["change"], report["rows"]) == ("invalid", "revision", 0)
    assert "python -m forecaster update AAA --replace" in report["detail"]
    assert desk.rows().index[-1] == DAYS[40]
    held = desk.quarantined()
    assert {day for _, day in held} == {text(day) for day in DAYS[26:45]}
    assert held["AAA", text(DAYS[44])] == "does not continue what is stored"

    assert desk.bring(share, DAYS[44], in_place=True)["rows"] == 45
    np.testing.assert_allclose(desk.rows()["close"], traded(DAYS)["close"].iloc[:45] * 0.37)
    assert desk.quarantined() == {}
    assert desk.bring(share, DAYS[45])[["change", "rows"]].tolist() == ["same", 1]


def test_replace_asks_for_everything_and_changes_only_what_differs(desk: Desk) -> None:
    desk.run()
    desk.source.edits["AAA"] = scaled(10, 1.002)
    assert desk.run(in_place=True).loc["AAA", "rows"] == 1
    assert desk.source.asked[-1] == ("AAA", None)
    assert desk.run(in_place=True).loc["AAA", "rows"] == 0


def test_nothing_is_rewritten_by_a_split_or_a_dividend(desk: Desk) -> None:
    share = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.3, text(DAYS[42]): 0.5}, {text(DAYS[46]): 4.0})
    reports = [desk.bring(share, DAYS[at]) for at in (40, 44, 48, 52)]
    assert [report["rows"] for report in reports] == [41, 4, 4, 4]
    assert [report["change"] for report in reports] == ["new", "redividend", "resplit", "same"]
    assert reports[1]["detail"] == f"dividend of 0.5 on {text(DAYS[42])}"
    assert reports[2]["detail"] == f"split of 4 on {text(DAYS[46])}"
    assert len(desk.store.rows("prices")) == 53
    assert len(desk.store.rows("actions")) == 3


def test_every_earlier_state_can_be_read_again(desk: Desk) -> None:
    """By what the store knew, and by what was known on the day."""
    share = StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.3, text(DAYS[42]): 0.5}, {text(DAYS[46]): 4.0})
    desk.source.edits["AAA"] = at_row(52, "close", 1.001)
    moments, states = [], []
    for last in (40, 44, 48, 52):
        desk.bring(share, DAYS[last])
        moments.append(desk.clock())
        states.append(read_history(desk.store))
        shown = share.as_of(DAYS[last]).quoted()
        got = states[-1].prices
        for name in [*OHLC, "volume", "adj_close"]:
            kept = slice(None, -1) if last == 52 else slice(None)
            np.testing.assert_allclose(got[name][kept], shown[name][kept], rtol=1e-3 if last == 52 else 1e-9)
    del desk.source.edits["AAA"]
    desk.bring(share, DAYS[56])
    desk.source.edits["AAA"] = at_row(50, "close", 1.01)
    desk.bring(share, DAYS[56])
    quarantine.release(desk.store, "AAA", None, desk.clock())
    for moment, state in zip(moments, states, strict=True):
        again = read_history(desk.store, recorded_by=moment)
        pd.testing.assert_frame_equal(again.prices, state.prices, check_exact=True)
        pd.testing.assert_frame_equal(again.traded, state.traded, check_exact=True)
        assert again.fingerprint == state.fingerprint
        # On that day: as it is known now, a bar that settled later included.
        since = read_history(desk.store, as_of=state.as_of)
        settled = slice(None, -1) if state is states[-1] else slice(None)
        for name in ("open", "high", "low", "volume", "adj_close"):
            np.testing.assert_allclose(since.prices[name][settled], state.prices[name][settled], rtol=2e-3)
        assert since.prices["session"].tolist() == state.prices["session"].tolist()


@pytest.mark.parametrize(("was", "now"), [(20, 21), (21, 20), (20, None), (None, 20)])
def test_a_dividend_is_moved_withdrawn_or_brought_later(desk: Desk, was: int | None, now: int | None) -> None:
    def share(row: int | None) -> StubSymbol:
        paid = {} if row is None else {text(DAYS[row]): 0.5}
        return StubSymbol("AAA", DAYS[:30], {text(DAYS[3]): 0.2} | paid)

    desk.bring(share(was), DAYS[29])
    assert desk.bring(share(now), DAYS[29])["change"] == "redividend"
    dividends = [(text(DAYS[3]), "dividend", 0.2)]
    assert desk.actions() == dividends + ([] if now is None else [(text(DAYS[now]), "dividend", 0.5)])
    np.testing.assert_allclose(
        read_history(desk.store).prices["adj_close"], share(now).quoted()["adj_close"], rtol=1e-9
    )


@pytest.mark.parametrize("ratio", [4.0, 0.1])
@pytest.mark.parametrize("upto", [0, 38])
def test_a_split_that_is_not_applied_to_the_latest_sessions_is_refused_whole(
    desk: Desk, ratio: float, upto: int
) -> None:
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[41]): ratio})
    desk.bring(share, DAYS[40])
    before = desk.rows()

    def edit(bars: pd.DataFrame) -> None:
        # As a source hands it on that multiplies what has never been divided.
        late = (bars.index >= DAYS[upto]) & (bars.index < DAYS[41])
        bars.loc[late, [*OHLC, "adj_close"]] *= ratio

    desk.source.edits["AAA"] = edit
    report = desk.bring(share, DAYS[43])
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert desk.rows().equals(before)
    assert desk.actions() == []
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[43])[["outcome", "change", "rows"]].tolist() == ["ok", "resplit", 3]
    assert desk.quarantined() == {}
    np.testing.assert_allclose(
        read_history(desk.store).prices["close"], share.as_of(DAYS[43]).quoted()["close"], rtol=1e-9
    )


@pytest.mark.parametrize("ratio", [4.0, 0.1])
def test_a_split_that_is_not_applied_to_the_last_stored_session_changes_it_not(
    desk: Desk, ratio: float
) -> None:
    """A bar settles by a little, not by a split."""
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[41]): ratio})
    desk.bring(share, DAYS[40])

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[DAYS[40], [*OHLC, "adj_close"]] *= ratio

    desk.source.edits["AAA"] = edit
    desk.bring(share, DAYS[43])
    assert desk.rows().loc[DAYS[40], "close"] == share.as_traded().loc[DAYS[40], "close"]
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[44])["outcome"] == "ok"


@pytest.mark.parametrize("ratio", [4.0, 0.1])
def test_a_split_that_is_told_first_and_applied_later(desk: Desk, ratio: float) -> None:
    """Rows from the split on are held, and its action with them; once applied, both come."""
    day = text(DAYS[41])
    share = StubSymbol("AAA", DAYS, {}, {day: ratio})

    def edit(bars: pd.DataFrame) -> None:
        after = bars.index >= day
        bars.loc[after, [*OHLC, "adj_close"]] /= ratio

    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = edit
    report = desk.bring(share, DAYS[43])
    assert report["rows"] == 0
    assert set(desk.quarantined()) == {("AAA", text(at)) for at in DAYS[41:44]}
    assert desk.actions() == []
    del desk.source.edits["AAA"]
    assert desk.bring(share, DAYS[44])[["outcome", "change", "rows"]].tolist() == ["ok", "resplit", 4]
    assert desk.actions() == [(day, "split", ratio)]
    assert desk.quarantined() == {}


def test_actions_are_stored_once_and_corrected(desk: Desk) -> None:
    day = text(DAYS[30])
    share = StubSymbol("AAA", DAYS[:35], {day: 0.5}, {day: 4.0})
    for _ in range(2):
        desk.bring(share, DAYS[34])
    assert len(desk.store.rows("actions")) == 2
    share.dividends[day] = 0.25
    desk.bring(share, DAYS[34])
    assert len(desk.store.rows("actions")) == 3
    assert desk.actions() == [(day, "dividend", 0.25), (day, "split", 4.0)]


# Sources that tell no actions


def test_a_file_on_a_new_scale_replaces_what_is_stored(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {text(DAYS[20]): 0.5}, {text(DAYS[43]): 4.0})
    desk.bring(share, DAYS[40])
    first, state = desk.clock(), read_history(desk.store)
    report = desk.bring(share, DAYS[50])
    assert (report["outcome"], report["change"], report["rows"]) == ("ok", "resplit", 51)
    got = read_history(desk.store).prices
    shown = share.as_of(DAYS[50]).quoted()
    for name in [*OHLC, "volume"]:
        np.testing.assert_allclose(got[name], shown[name])
    np.testing.assert_allclose(got["adj_close"], shown["adj_close"])
    assert read_history(desk.store, recorded_by=first).fingerprint == state.fingerprint


def test_a_part_of_a_file_on_a_new_scale_is_refused(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {}, {text(DAYS[43]): 4.0})
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[30:]
    report = desk.bring(share, DAYS[50])
    assert (report["outcome"], report["rows"]) == ("invalid", 0)
    assert desk.rows().index[-1] == DAYS[40]


@pytest.mark.parametrize("first", [0, 25, 41])
def test_adjusted_closes_are_continued_from_file_to_file(desk: Desk, first: int) -> None:
    """Each file is adjusted for what its own makers knew."""
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS, {text(DAYS[at]): 0.5 for at in (20, 35, 45, 55)})
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[first:]
    for last in (50, 60):
        assert desk.bring(share, DAYS[last])["rows"] == 10
    np.testing.assert_allclose(
        read_history(desk.store).prices["adj_close"], share.as_of(DAYS[60]).quoted()["adj_close"], rtol=1e-9
    )


def test_a_gap_between_two_files_is_noticed(desk: Desk) -> None:
    desk.source = MemorySource(tells_actions=False, remote=False)
    share = StubSymbol("AAA", DAYS)
    desk.bring(share, DAYS[40])
    desk.source.edits["AAA"] = lambda bars: bars.iloc[43:]
    assert "2 sessions missing" in desk.bring(share, DAYS[50])["detail"]
    assert desk.gaps() == [text(DAYS[41]), text(DAYS[42])]
