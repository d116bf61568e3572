"""The doctor finds each kind of damage, done for real, and names its remedy."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from command_line import Run
from deltalake import write_deltalake
from exchange_calendars import get_calendar

from forecaster import doctor
from forecaster.config import Settings
from forecaster.doctor import Finding, examine
from forecaster.events import checked, no_events
from forecaster.ingest import quarantine, update
from forecaster.ingest.company_events import import_events, update_events
from forecaster.ingest.pace import Pace
from forecaster.instruments import Instrument, described
from forecaster.sessions import last_complete
from forecaster.sources import Fetched, Outcome, Told
from forecaster.store import now
from forecaster.workspace import Workspace


def found(workspace: Workspace, check: str) -> list[Finding]:
    """Findings of one check; every other is silent about them."""
    return [finding for finding in examine(workspace) if finding.check == check]


def only(workspace: Workspace, check: str) -> Finding:
    """The one finding there is."""
    (finding,) = examine(workspace)
    assert finding.check == check
    assert finding.remedy
    return finding


class Share:
    """A source with one share that is up to date as of 2023-09-21."""

    name = "elsewhere"
    remote = True

    def __init__(self, bars: pd.DataFrame, outcome: Outcome = Outcome.OK) -> None:
        self.bars, self.outcome = bars, outcome

    def symbols(self) -> tuple[str, ...]:
        return ()

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        if self.outcome is not Outcome.OK:
            return Fetched(symbol, self.outcome, detail="no luck")
        instrument = Instrument(symbol, symbol, "XNYS", "America/New_York", "USD")
        return Fetched(symbol, Outcome.OK, self.bars, None, instrument)


@pytest.fixture
def bars(sample_workspace: Workspace) -> pd.DataFrame:
    rows = sample_workspace.store.current("prices", where={"symbol": ["AAPL"]}).tail(60)
    return rows[["session", "open", "high", "low", "close", "adj_close", "volume"]].reset_index(drop=True)


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "new", Settings(home=tmp_path / "new"))


def test_a_sound_workspace_and_an_empty_one(sample_workspace: Workspace, empty: Workspace) -> None:
    assert examine(sample_workspace) == []
    (nothing,) = examine(empty)
    assert (nothing.level, nothing.what) == ("fault", f"there is no workspace at {empty.home}")
    assert "quickstart" in nothing.remedy
    assert not empty.home.exists()


@pytest.mark.parametrize("damage", ["no log", "no file", "cut"])
def test_a_damaged_table(sample_workspace: Workspace, damage: str) -> None:
    table = sample_workspace.store.folder / "prices"
    if damage == "no log":
        shutil.rmtree(table / "_delta_log")
    else:
        file = next(table.glob("*.parquet"))
        data = file.read_bytes()
        file.unlink()
        if damage == "cut":
            file.write_bytes(data[: len(data) // 2])
    finding = found(sample_workspace, "tables")[0]
    assert finding.level == "fault"
    assert str(table) in finding.what
    assert "backup" in finding.remedy


def test_what_is_no_table(sample_workspace: Workspace) -> None:
    (sample_workspace.store.folder / "notes").mkdir()
    assert "notes" in only(sample_workspace, "tables").what


def test_columns_of_another_version(sample_workspace: Workspace) -> None:
    folder = sample_workspace.store.folder
    shutil.rmtree(folder / "gaps", ignore_errors=True)
    rows = pd.DataFrame({"symbol": ["AAPL"], "session": [pd.Timestamp("2023-01-03").date()], "colour": "red"})
    rows["found_at"] = now()
    write_deltalake(str(folder / "gaps"), rows.assign(found_at=rows["found_at"].dt.as_unit("us")))
    shutil.rmtree(folder / "updates")
    rows = pd.DataFrame({"symbol": ["AAPL"], "source": "sample", "outcome": "ok", "rows": 5, "detail": ""})
    rows["recorded_at"] = now()
    write_deltalake(str(folder / "updates"), rows.assign(recorded_at=rows["recorded_at"].dt.as_unit("us")))
    said = [finding.what for finding in found(sample_workspace, "schema")]
    assert any("does not know: colour" in words for words in said)
    assert any("without change, started_at" in words for words in said)


def test_a_column_of_another_type(sample_workspace: Workspace) -> None:
    folder = sample_workspace.store.folder
    shutil.rmtree(folder / "gaps", ignore_errors=True)
    rows = pd.DataFrame({"symbol": ["AAPL"], "session": ["2023-01-03"], "found_at": [now()]})
    write_deltalake(str(folder / "gaps"), rows.assign(found_at=rows["found_at"].dt.as_unit("us")))
    finding = found(sample_workspace, "schema")[0]
    assert (finding.level, finding.what[:12]) == ("fault", "gaps.session")


def test_prices_without_an_exchange(sample_workspace: Workspace) -> None:
    shutil.rmtree(sample_workspace.store.folder / "instruments")
    finding = found(sample_workspace, "instruments")[0]
    assert finding.level == "fault"
    assert finding.remedy == "python -m forecaster update AAPL NFLX NVDA"
    sample_workspace.update(["AAPL", "NFLX", "NVDA"])
    assert examine(sample_workspace) == []


def test_a_watched_symbol_without_prices(sample_workspace: Workspace) -> None:
    sample_workspace.watch(["MSFT"])
    assert "MSFT is watched and has no prices" in only(sample_workspace, "symbols").what


def test_a_symbol_that_fell_behind(empty: Workspace, bars: pd.DataFrame) -> None:
    empty.update(["AAA"], Share(bars))
    moment = pd.Timestamp("2023-09-25 20:15", tz="UTC")
    early = [finding for finding in examine(empty, moment) if finding.check == "symbols"]
    assert [finding.what for finding in early] == ["AAA ends on 2023-09-21, 1 sessions behind XNYS"]
    late = [finding.what for finding in examine(empty, moment + pd.Timedelta(minutes=30))]
    assert "AAA ends on 2023-09-21, 2 sessions behind XNYS" in late


def test_a_symbol_that_is_gone(empty: Workspace, bars: pd.DataFrame) -> None:
    empty.update(["AAA"], Share(bars))
    empty.update(["AAA"], Share(bars, Outcome.GONE))
    assert "watchlist remove AAA" in found(empty, "gone")[0].remedy


def test_gaps_and_quarantine(empty: Workspace, bars: pd.DataFrame) -> None:
    spoilt = bars.drop(index=30)
    spoilt.loc[40, "high"] = spoilt.loc[40, "low"] / 2
    empty.update(["AAA"], Share(spoilt))
    (gap,) = found(empty, "gaps")
    assert f"2 sessions missing, first {bars.loc[30, 'session'].date()}; 2 of them" in gap.what
    (held,) = found(empty, "quarantine")
    assert "1 rows in quarantine, first: high below low" in held.what
    later = now() + pd.Timedelta(days=31)
    (old,) = [finding for finding in examine(empty, later) if finding.check == "gaps"]
    assert "0 of them" in old.what
    assert "update --replace AAA" in old.remedy
    assert len(quarantine.held(empty.store)) == 1


def test_a_run_that_broke_off(empty: Workspace, bars: pd.DataFrame) -> None:
    update(empty.store, Share(bars, Outcome.RATE_LIMITED), ["AAA"], pace=Pace())
    (finding,) = found(empty, "runs")
    assert "is not complete: no luck" in finding.what


def test_rows_from_the_future(sample_workspace: Workspace) -> None:
    earlier = now() - pd.Timedelta(days=2)
    check = {finding.check for finding in examine(sample_workspace, earlier)}
    assert check == {"clock"}


def test_little_room(sample_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, level in (("LITTLE_SPACE", "warning"), ("NO_SPACE", "fault")):
        monkeypatch.setattr(doctor, limit, 2**60)
        finding = only(sample_workspace, "disk")
        assert (finding.level, finding.remedy) == (level, "make room")


def test_a_broken_table_is_told_and_what_needs_it_is_not_asked(sample_workspace: Workspace) -> None:
    sample_workspace.watch(["MSFT"])
    log = sample_workspace.store.folder / "watchlist" / "_delta_log"
    next(log.glob("*.json")).write_text("{")
    assert {finding.check for finding in examine(sample_workspace)} == {"tables"}


def test_on_the_command_line(tmp_path: Path, sample_workspace: Workspace) -> None:
    run = Run(tmp_path)
    home = ["--home", sample_workspace.home]
    assert run("doctor", *home).stdout.startswith("Nothing to mend: disk, tables, schema, ")
    assert json.loads(run("doctor", "--json", *home).stdout) == []
    sample_workspace.watch(["MSFT"])
    (finding,) = json.loads(run("doctor", "--json", *home).stdout)
    assert finding["what"] == "MSFT is watched and has no prices"
    assert (
        "for live prices: python -m forecaster quickstart --home mydata --source yahoo" in finding["remedy"]
    )
    assert f"python -m forecaster watchlist remove --home {sample_workspace.home} MSFT" in finding["remedy"]
    assert "there is no workspace at" in run("doctor", "--home", tmp_path / "nowhere", code=1).stdout
    assert not (tmp_path / "nowhere").exists()
    shutil.rmtree(sample_workspace.store.folder / "instruments")
    rows = json.loads(run("doctor", "--json", *home, code=1).stdout)
    assert {"check", "level", "what", "remedy"} == set(rows[0])
    assert replace(Finding(**rows[0]), what="").level == "fault"


class Teller:
    """A source of events that tells given rows, or fails."""

    def __init__(self, name: str, rows: pd.DataFrame | None = None, outcome: Outcome = Outcome.OK) -> None:
        self.name, self.rows, self.outcome = name, no_events() if rows is None else rows, outcome
        self.remote, self.host, self.requests = True, name, 1

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        return Told(
            instrument.symbol, self.outcome, self.rows, "no luck" if self.outcome != Outcome.OK else ""
        )


@pytest.fixture
def live(tmp_path: Path, bars: pd.DataFrame) -> Workspace:
    """A workspace whose prices come from a share that goes by the name of Yahoo, without events."""
    home = tmp_path / "live"
    settings = Settings(home=home, event_sources=("yahoo", "filings"), contact="", requests_per_second=1000)
    workspace, share = Workspace(home, settings), Share(bars)
    share.name = "yahoo"
    assert update(workspace.store, share, ["AAA"])["outcome"].tolist() == ["ok"]
    workspace.watch(["AAA"])
    return workspace


def test_market_factors_that_stay_behind(live: Workspace) -> None:
    moment = live.clock()
    complete = last_complete("XNYS", moment - pd.Timedelta(hours=2), live.settings.bar_delay_minutes)
    days = get_calendar("XNYS", start="2020-01-01").sessions
    ends = {
        "market_index": complete,
        "rate_10y": days[days < complete][-1],
        "volatility_index": days[days < complete][-2],
    }
    rows = [
        {
            "name": name,
            "symbol": "",
            "session": day,
            "value": 1.0,
            "known_at": moment,
            "source": "yahoo",
            "fetched_at": moment,
        }
        for name, day in ends.items()
    ]
    live.store.append("factors", pd.DataFrame(rows[:2]))
    assert found(live, "factors") == []
    live.store.append("factors", pd.DataFrame(rows[2:]))
    (behind,) = found(live, "factors")
    assert behind.level == "warning"
    assert behind.what == (
        f"1 of 3 market factors are behind; volatility_index ends on {ends['volatility_index'].date()}"
    )


def test_events_that_never_came(live: Workspace) -> None:
    asked, contact = found(live, "events")
    assert (asked.level, asked.what) == ("hint", "yahoo was never asked for events")
    assert (contact.level, "FORECASTER_CONTACT" in contact.remedy) == ("hint", True)
    live.settings.event_sources = ()
    assert found(live, "events") == []


def test_a_source_of_events_that_failed(live: Workspace) -> None:
    live.settings.contact = "someone@example.org"
    companies = list(described(live.store.current("instruments")).values())
    update_events(live.store, [Teller("yahoo", outcome=Outcome.RATE_LIMITED)], companies)
    update_events(live.store, [Teller("filings", outcome=Outcome.GONE)], companies)
    (failed,) = found(live, "events")
    assert failed.remedy.endswith("update --events yahoo")
    assert "yahoo failed on 1 of 1 symbols when it was last asked for events" in failed.what
    assert "AAA: rate_limited, no luck" in failed.what
    assert failed.level == "warning"
    update_events(live.store, [Teller("yahoo")], companies)
    assert found(live, "events") == []


def test_announced_dates_that_nobody_renewed(live: Workspace) -> None:
    live.settings.event_sources = ()
    moment = now()
    row = {
        "symbol": "AAA",
        "kind": "results_scheduled",
        "tone": None,
        "magnitude": 1.0,
        "title": "",
        "url": "",
    }
    planned = moment + pd.Timedelta(days=30)
    plan = checked(
        pd.DataFrame([row | {"happened_at": planned, "known_at": moment, "source": "wire"}]), "plan"
    )
    import_events(live.store, plan)
    at = {
        days: [one for one in examine(live, moment + pd.Timedelta(days=days)) if one.check == "events"]
        for days in (20, 74, 76)
    }
    assert at[20] == at[74] == []
    (stale,) = at[76]
    assert stale.what.startswith(f"AAA: the last announced date of results, {planned.date()}, is long past")
    assert stale.remedy == "python -m forecaster update AAA"
    far = plan.assign(known_at=moment + pd.Timedelta(hours=1), happened_at=moment + pd.Timedelta(days=180))
    import_events(live.store, far)
    assert not [one for one in examine(live, moment + pd.Timedelta(days=200)) if one.check == "events"]
