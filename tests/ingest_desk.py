"""A store, a source and a clock for the tests of ingest.

Whoever imports a fixture names it in `__all__`, with those that it asks for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from yahoo_stub import MemorySource, StubSymbol, YahooStub, add_factors, reset_yfinance, sessions

from forecaster.config import Settings
from forecaster.history import read_history
from forecaster.ingest import gaps, update
from forecaster.ingest.pace import Pace
from forecaster.sources.yahoo import YahooSource
from forecaster.store import Store
from forecaster.workspace import Workspace

DAYS = sessions("2023-11-01", "2024-03-28")
OHLC = ["open", "high", "low", "close"]
NUMBERS = [*OHLC, "adj_close", "volume"]
OVERLAP = 15


@dataclass
class Clock:
    """Tells a second more each time it is asked."""

    moment: pd.Timestamp = field(default_factory=lambda: evening("2023-10-31"))

    def __call__(self) -> pd.Timestamp:
        self.moment += pd.Timedelta(seconds=1)
        return self.moment


def evening(day: str | pd.Timestamp) -> pd.Timestamp:
    """Two hours after New York's close in winter."""
    return pd.Timestamp(day).tz_localize("UTC") + pd.Timedelta(hours=23)


@dataclass
class Desk:
    """A store, a source and a clock."""

    store: Store
    source: Any
    clock: Clock = field(default_factory=Clock)

    def run(self, *symbols: str, at: str | pd.Timestamp | None = None, **options: Any) -> pd.DataFrame:
        """Update, on the evening of a day or at a moment; return the report by symbol."""
        at = DAYS[-1] if at is None and self.clock.moment < evening(DAYS[0]) else at
        if at is not None:
            moment = pd.Timestamp(at)
            # Time never goes back.
            self.clock.moment = max(self.clock.moment, moment if moment.tzinfo else evening(moment))
        options.setdefault("pace", Pace(sleep=lambda seconds: None))
        report = update(self.store, self.source, symbols or ("AAA",), self.clock, **options)
        return report.set_index("symbol")

    def bring(self, share: StubSymbol, last: str | pd.Timestamp, **options: Any) -> pd.Series:
        """Update one share as it was on the evening of a session."""
        self.source.add(share.as_of(last))
        return self.run(share.symbol, at=last, **options).loc[share.symbol]

    def rows(self, symbol: str = "AAA", **conditions: Any) -> pd.DataFrame:
        """What holds of one symbol, by session."""
        return self.store.current("prices", where={"symbol": [symbol]}, **conditions).set_index("session")

    def quarantined(self, status: str = "held") -> dict[tuple[str, str], str]:
        """Symbol and day -> reason."""
        rows = self.store.current("quarantine")
        rows = rows[rows["status"] == status]
        return {(row.symbol, str(row.session.date())): row.reason for row in rows.itertuples()}

    def gaps(self) -> list[str]:
        """Days of AAA that are noticed as missing."""
        return [str(day.date()) for day in gaps.standing(self.store)["session"]]

    def actions(self) -> list[tuple[str, str, float]]:
        """What holds, withdrawn ones left out."""
        rows = self.store.current("actions")
        return [(str(row.session.date()), row.kind, row.value) for row in rows.itertuples() if row.value != 0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Store(tmp_path / "store"), MemorySource({"AAA": StubSymbol("AAA", DAYS)}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, Settings(home=tmp_path, requests_per_second=1000))


def text(day: pd.Timestamp) -> str:
    return str(day.date())


def at_row(row: int, name: str, factor: float) -> Callable[[pd.DataFrame], None]:
    """Multiply one value of a reply."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index == DAYS[row], name] *= factor

    return edit


def scaled(row: int, factor: float) -> Callable[[pd.DataFrame], None]:
    """Multiply all prices of one session."""

    def edit(bars: pd.DataFrame) -> None:
        bars.loc[bars.index == DAYS[row], [*OHLC, "adj_close"]] *= factor

    return edit


def without(*rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Leave sessions out of a reply."""
    return lambda bars: bars.drop(index=DAYS[list(rows)], errors="ignore")


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[YahooStub]:
    """A share with a dividend and a split, and the factors of the market."""
    reset_yfinance(tmp_path / "yahoo")
    with YahooStub() as stub:
        stub.add(StubSymbol("AAA", DAYS, {text(DAYS[10]): 0.4}, {text(DAYS[25]): 2.0}))
        add_factors(stub, text(DAYS[0]), text(DAYS[-1]))
        yield stub
    reset_yfinance(tmp_path / "yahoo")


@dataclass
class Live(Desk):
    """A desk whose source is the real client."""

    yahoo: YahooStub = field(default_factory=YahooStub)

    def bring(self, share: StubSymbol, last: str | pd.Timestamp, **options: Any) -> pd.Series:
        self.yahoo.add(share.as_of(last))
        return self.run(share.symbol, at=last, **options).loc[share.symbol]

    def assert_true_to(self, share: StubSymbol, last: pd.Timestamp, held: Any = ()) -> None:
        """Check that what is read is what Yahoo shows, without a fault, on that day."""
        shown, got = share.as_of(last).quoted(), read_history(self.store, ["AAA"]).prices
        assert got["session"].tolist() == list(shown.index)
        for name in NUMBERS:
            within = 1e-4 if name == "volume" else 1e-6
            np.testing.assert_allclose(got[name], shown[name], rtol=within, err_msg=name)
        assert set(self.quarantined()) == {("AAA", text(day)) for day in held}


@pytest.fixture
def live(tmp_path: Path, yahoo: YahooStub) -> Live:
    source = YahooSource(DAYS[0], timeout=5.0, session=yahoo.session())
    return Live(Store(tmp_path / "store"), source, yahoo=yahoo)
