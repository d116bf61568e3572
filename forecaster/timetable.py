"""Which run of the service is owed, and when the next one will be.

What has been done is told by the table ``retrains`` and by nothing else, so that a run that was killed is
owed again, one that is done is not, and a restart or a clock that was set changes nothing.
"""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from forecaster.decisions import CHAMPION, holder, trained_until
from forecaster.instruments import described
from forecaster.sessions import all_sessions, calendar, last_complete
from forecaster.store import Span
from forecaster.workspace import Workspace

Mode = Literal["full", "light"]
Status = Literal["running", "done", "partly", "failed", "cancelled"]

ENDED = ("sample", "files")
"""Sources that bring no new session by themselves."""


class Stored(NamedTuple):
    """Where a symbol is traded, and how far its prices reach."""

    exchange: str
    span: Span


def owed(workspace: Workspace) -> Mode | None:
    """Tell which run is owed: none, a light one, or a full one, which trains.

    A run is owed from `Settings.run_delay_minutes` after the close of a session until one is done. It is
    full without a champion, and where `Settings.full_every` sessions have passed since the last full run
    and since the champion's training.
    """
    sessions = due(workspace)
    runs = past_runs(workspace)
    if not sessions or (covering(workspace, sessions)["status"] == "done").any():
        return None
    version = holder(workspace.store, CHAMPION)
    if version is None:
        return "full"
    trained = runs.loc[(runs["mode"] == "full") & runs["status"].isin(["done", "partly"]), "session"]
    last = max([*trained, trained_until(workspace.store, version)])
    exchange, now = max(sessions.items(), key=lambda one: one[1])
    days = pd.DatetimeIndex(all_sessions(exchange))
    passed = days.searchsorted(now, side="right") - days.searchsorted(last, side="right")
    return "full" if passed >= workspace.settings.full_every else "light"


def next_due(workspace: Workspace) -> pd.Timestamp | None:
    """Return when the run of the next session will be owed, UTC; None if nothing brings new sessions."""
    delay = pd.Timedelta(minutes=_delay(workspace))
    moments = []
    for exchange in set(followed(workspace).values()):
        closes = calendar(exchange).closes + delay
        moments += list(closes[closes > workspace.clock()][:1])
    return min(moments, default=None)


def due(workspace: Workspace) -> dict[str, pd.Timestamp]:
    """Return the last session that there should be a run for by now, by exchange of the watchlist.

    Where no source brings new sessions it is the last one stored.
    """
    held = stored(workspace)
    kept = {place.exchange for place in held.values() if place.span.source not in ENDED}
    return {
        exchange: last_complete(exchange, workspace.clock(), _delay(workspace))
        if exchange in kept
        else max(place.span.last for place in held.values() if place.exchange == exchange)
        for exchange in sorted({place.exchange for place in held.values()})
    }


def followed(workspace: Workspace) -> dict[str, str]:
    """Return the exchange of every symbol of the watchlist whose source may bring new sessions."""
    held = stored(workspace).items()
    return {symbol: place.exchange for symbol, place in held if place.span.source not in ENDED}


def stored(workspace: Workspace) -> dict[str, Stored]:
    """Return the symbols of the watchlist that have prices."""
    spans = workspace.store.spans()
    stored = [symbol for symbol in workspace.watchlist if symbol in spans]
    known = described(workspace.store.current("instruments", where={"symbol": stored}))
    return {symbol: Stored(known[symbol].exchange, spans[symbol]) for symbol in stored}


def past_runs(workspace: Workspace) -> pd.DataFrame:
    """Return every run as it stands, oldest first."""
    return workspace.store.current("retrains")


def covering(workspace: Workspace, sessions: dict[str, pd.Timestamp]) -> pd.DataFrame:
    """Return the ended runs of these sessions, or later ones, and of every symbol that has prices now.

    Later ones, because a clock may be set back; every symbol, because some may have joined since.
    """
    runs, symbols = past_runs(workspace), set(stored(workspace))

    def covers(told: str, followed_then: str) -> bool:
        reached = _sessions(told)
        is_there = all(
            exchange in reached and reached[exchange] >= last for exchange, last in sessions.items()
        )
        return is_there and symbols <= set(followed_then.split())

    pairs = zip(runs["sessions"], runs["symbols"], strict=True)
    is_covering = np.array([covers(*pair) for pair in pairs], dtype=bool)
    return runs[is_covering & runs["status"].isin(["done", "partly"]).to_numpy()]


def text(sessions: dict[str, pd.Timestamp]) -> str:
    """Write sessions as messages and the table of runs name them: ``XNAS 2026-11-27, XNYS 2026-11-27``."""
    return ", ".join(f"{exchange} {session.date()}" for exchange, session in sessions.items())


def _sessions(told: str) -> dict[str, pd.Timestamp]:
    """Read what `text` has written."""
    pairs = [one.split() for one in told.split(", ") if one]
    return {exchange: pd.Timestamp(session) for exchange, session in pairs}


def _delay(workspace: Workspace) -> int:
    return max(workspace.settings.run_delay_minutes, workspace.settings.bar_delay_minutes)
