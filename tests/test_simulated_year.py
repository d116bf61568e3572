"""A year of sessions and a run after each: outages, late data, a split, a dividend, a revision, a drift, a
week off."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from market import BEGIN, DAYS, SMALL, SYMBOLS, Market, evening

from forecaster import ledger
from forecaster.decisions import decisions
from forecaster.errors import Expired, NotYet, SourceError
from forecaster.sources import Outcome
from forecaster.timetable import owed, past_runs

YEAR = DAYS[DAYS >= BEGIN]
FULL_EVERY, TRIAL = 70, 42

DOWN = YEAR[60:62]
"""The source answers nothing."""

LATE = YEAR[100]
"""One share's bar comes hours later than the others'."""

ASLEEP, AWAKE = YEAR[140:145], YEAR[145]
"""The machine is off; when it is on again, the data are too old to forecast from."""

SPLIT, PAID, REVISED, DRIFT = YEAR[80], YEAR[110], YEAR[120], YEAR[170]

DIVIDEND = 2.0

TRAININGS = 4
"""Full runs that know enough more than the champion."""


@pytest.mark.slow
def test_a_year(tmp_path: Path) -> None:
    settings = {"full_every": FULL_EVERY, "trial_sessions": TRIAL, "most_data": 3}
    market = Market(tmp_path / "home", settings=settings)
    market.shares["BBB"].splits[str(SPLIT.date())] = 4.0
    market.shares["CCC"].dividends[str(PAID.date())] = DIVIDEND
    for share in market.shares.values():
        share.wilder_from = str(DRIFT.date())
    market.at(BEGIN).workspace.update(SYMBOLS, market.source)
    alarmed, earlier = [], pd.Series(dtype=float)
    for day in YEAR:
        if day in ASLEEP:
            continue
        if day == REVISED:
            _revise(market)
        market.at(day, but=("AAA",) if day == LATE else ())
        market.source.outcomes = dict.fromkeys(SYMBOLS, Outcome.INVALID) if day in DOWN else {}
        mode = owed(market.workspace)
        assert mode is not None, day
        if day == AWAKE:
            with pytest.raises(Expired, match="6 complete sessions ago"):
                market.workspace.forecast("AAA")
        if day == PAID:
            earlier = _adjusted(market)
        if day in DOWN:
            with pytest.raises((SourceError, NotYet)):
                market.run()
            continue
        report = market.run(recipe=SMALL if day == YEAR[0] else None)
        assert report.mode == mode
        if day == LATE:
            assert report.late == {"AAA": f"its prices end on {YEAR[99].date()}"}
            report = market.at(day).run()
        assert report.status == "done", report
        assert owed(market.workspace) is None
        assert market.run().status == "nothing"
        if day == PAID:
            _assert_adjusted_anew(market, earlier)
        if any("inputs are spread" in reason for reason in market.workspace.health("CCC").reasons):
            alarmed.append(day)
    _assert_runs(market)
    _assert_promotions(market)
    _assert_ledger(market)
    assert not [day for day in alarmed if day < DRIFT], "no alarm before the drift"
    assert alarmed, "the drift is seen"
    assert market.workspace.health("AAA").data_age == 0


def _revise(market: Market) -> None:
    """The source corrects a bar of three days before."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[YEAR[117], ["open", "high", "low", "close", "adj_close"]] *= 1.001

    market.source.edits["AAA"] = edit


def _adjusted(market: Market) -> pd.Series:
    return market.workspace.history(symbols=["CCC"]).bars("CCC").set_index("session")["adj_close"]


def _assert_adjusted_anew(market: Market, earlier: pd.Series) -> None:
    """A dividend takes its share of the close before off every price before."""
    later = _adjusted(market)
    share = 1 - DIVIDEND / earlier.iloc[-1]
    np.testing.assert_allclose(later[earlier.index], share * earlier, rtol=1e-9)
    assert list(later.index.difference(earlier.index)) == [PAID]


def _assert_runs(market: Market) -> None:
    """One run a session that the machine was on; one more where data was late or the source was down."""
    runs = past_runs(market.workspace)
    awake = YEAR.difference(ASLEEP)
    counted = runs["status"].value_counts().to_dict()
    assert counted == {"done": len(awake) - len(DOWN), "failed": len(DOWN), "partly": 1}
    done = runs[runs["status"] == "done"]
    assert list(done["session"]) == list(awake.difference(DOWN))
    # Counted here session by session: a full run at first, then whenever enough sessions have passed.
    expected, since = [], FULL_EVERY
    for day in YEAR:
        since += 1
        if day in ASLEEP or day in DOWN:
            continue
        if since >= FULL_EVERY:
            expected.append(day)
            since = 0
    trained = runs[(runs["mode"] == "full") & runs["status"].isin(["done", "partly"])]
    assert list(trained["session"]) == expected


def _assert_promotions(market: Market) -> None:
    """Each full run trained a version, and each version was decided upon."""
    made = decisions(market.workspace.store)
    trained, decided = made[made["alias"] == "challenger"], made[made["alias"] != "challenger"]
    assert list(trained["version"]) == list(decided["version"])
    assert len(decided) == TRAININGS
    # After the drift coverage stands at its limit, where one outcome more or less decides.
    assert list(decided["alias"][:2]) == ["champion", "champion"]
    assert set(decided["alias"][2:]) <= {"champion", "refused"}
    first, *others = decided["reason"]
    assert first == "first champion: there was none"
    assert all("newer weights" in reason for reason in others)


def _assert_ledger(market: Market) -> None:
    """Every session's forecasts stand there as issued, and those whose day has come are settled."""
    store = market.workspace.store
    rows = store.rows("forecasts")
    served = rows[rows["model"] == "served"]
    issued_on = YEAR.difference(ASLEEP).difference(DOWN)
    first = served[served["step"] == 1].sort_values("issued_at").drop_duplicates(["symbol", "cutoff"])
    assert set(first["cutoff"]) == set(issued_on)
    assert len(first) == len(SYMBOLS) * len(issued_on)
    assert (first["issued_at"] >= pd.DatetimeIndex([evening(day) for day in first["cutoff"]])).all()
    stood = (
        served[served["step"] == 1]
        .sort_values("issued_at")
        .drop_duplicates(["symbol", "cutoff"], keep="last")
    )
    settled = ledger.settled(store, SMALL.hash, models=["served"])
    assert len(settled) == (stood["session"] <= YEAR[-1]).sum()
    traded = {name: share.as_of(YEAR[-1]).quoted()["adj_close"] for name, share in market.shares.items()}
    for symbol, mine in settled.groupby("symbol"):
        came = np.log(traded[symbol][mine["session"]].to_numpy() / traded[symbol][mine["cutoff"]].to_numpy())
        away = np.abs(mine["outcome"].to_numpy() - came)
        assert (away < 1e-9).sum() >= len(mine) - (2 if symbol == "AAA" else 0), "but from the revised bar"
    base = served[(served["symbol"] == "BBB") & (served["step"] == 1)].set_index("cutoff")["base_price"]
    shown = market.shares["BBB"].as_traded()["close"]
    np.testing.assert_allclose(base.groupby(level=0).first(), shown[base.index.unique().sort_values()])
