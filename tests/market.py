"""A small market for the retraining service: random walks, a clock, and a workspace that follows them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from exchange_calendars import get_calendar
from yahoo_stub import MemorySource, StubSymbol, sessions

from forecaster.config import Recipe, Settings
from forecaster.retrain import Report, retrain
from forecaster.workspace import Workspace

DAYS = sessions("2021-01-04", "2024-12-31")
CLOSES = get_calendar("XNYS", start="2020-01-01", end="2025-12-31").closes
BEGIN = "2024-01-02"
SYMBOLS = ("AAA", "BBB", "CCC")

SMALL = Recipe(cells=("gru",), lookback=16, units=4, seeds=1, epochs=2, batch=64, horizon=5)


@dataclass
class Walk(StubSymbol):
    """A share whose bars depend on its seed and their date only.

    Attributes
    ----------
    seed : int
    wilder_from : str
        From this day on days range five times as far, and volumes jump.
    """

    seed: int = 0
    wilder_from: str = "2099-01-01"

    def as_traded(self) -> pd.DataFrame:
        draw, count = np.random.default_rng(self.seed), len(DAYS)
        wild = np.where(self.wilder_from <= DAYS, 5.0, 1.0)
        close = 100 * np.exp(np.cumsum(0.01 * draw.standard_t(5, count)))
        opening = close * np.exp(draw.normal(0, 0.004, count))
        reach = np.exp(wild[:, None] * np.abs(draw.normal(0, 0.005, (count, 2))))
        bars = pd.DataFrame(
            {
                "open": opening,
                "high": np.maximum(opening, close) * reach[:, 0],
                "low": np.minimum(opening, close) / reach[:, 1],
                "close": close,
                "volume": np.round(1e6 * np.exp(wild * draw.normal(0, 0.3, count))),
            },
            index=DAYS,
        )
        for day, ratio in self.splits.items():
            bars.loc[day:, ["open", "high", "low", "close"]] /= ratio
            bars.loc[day:, "volume"] *= ratio
        return bars[bars.index.isin(self.sessions)]


@dataclass
class Clock:
    """Stands still but for a millisecond each time that it is asked."""

    moment: pd.Timestamp

    def __call__(self) -> pd.Timestamp:
        self.moment += pd.Timedelta(milliseconds=1)
        return self.moment


@dataclass
class Market:
    """Shares as they were on the evening of a day, and the workspace that follows them."""

    home: Path
    shares: dict[str, Walk] = field(
        default_factory=lambda: {name: Walk(name, DAYS, seed=at) for at, name in enumerate(SYMBOLS)}
    )
    source: MemorySource = field(default_factory=MemorySource)
    clock: Clock = field(default_factory=lambda: Clock(evening(BEGIN)))
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._opened: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        """Opened anew each day."""
        if self._opened is None:
            settings = Settings(home=self.home, requests_per_second=1000, **self.settings)
            self._opened = Workspace(self.home, settings, self.clock)
        return self._opened

    def at(self, day: str | pd.Timestamp, but: tuple[str, ...] = ()) -> "Market":
        """Pass to the evening of a session; the shares `but` stay as they were."""
        for symbol, share in self.shares.items():
            if symbol not in but:
                self.source.add(share.as_of(day))
        self._opened = None
        self.clock.moment = max(self.clock.moment, evening(day))
        return self

    def run(self, mode: str | None = None, recipe: Recipe | None = None) -> Report:
        """Retrain."""
        return retrain(self.workspace, mode, recipe, self.source)  # type: ignore[arg-type]


def evening(day: str | pd.Timestamp) -> pd.Timestamp:
    """Two hours after a session's close."""
    return CLOSES[pd.Timestamp(day)] + pd.Timedelta(hours=2)


def begun(home: Path) -> Market:
    """Make a market whose workspace has a champion and its forecasts."""
    market = Market(home).at(BEGIN)
    market.workspace.update(SYMBOLS, market.source)
    market.run(recipe=SMALL)
    return market


def copied(home: Path, **settings: Any) -> Market:
    """Open a market whose workspace was copied here."""
    return replace(Market(home).at(BEGIN), settings=settings)
