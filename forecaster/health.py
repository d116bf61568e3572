"""Whether forecasts can be relied on today: age of the data, age of the model, drift, live coverage.

The two ages are different things. Data is as old as the sessions that the exchange has completed and the
store lacks; a model is as old as the sessions that were stored since its training. The bundled sample
ends in the past on purpose: its data has no age.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from forecaster import ledger
from forecaster.config import Settings
from forecaster.decisions import CHAMPION, holder, trained_until
from forecaster.errors import Expired
from forecaster.instruments import described
from forecaster.models import SERVED
from forecaster.models.drift import SHARE
from forecaster.promotion import coverage_off
from forecaster.remedies import to_bring
from forecaster.sessions import all_sessions, last_complete
from forecaster.store import Span, Store

if TYPE_CHECKING:
    from forecaster.models.trained import Model
    from forecaster.windows import Windows

Level = Literal["good", "low confidence", "stale", "expired"]

LEVELS: tuple[Level, ...] = ("good", "low confidence", "stale", "expired")

FEWEST_DATES, MOST_DATES = 60, 250
"""Settled dates from which live coverage is judged, and how many of the last ones."""

LIMIT, ERRORS = 5.0, 3.0
"""Points by which live 90 % coverage may be off, or so many standard errors if that is more."""

MOST_NAMED = 3


@dataclass(frozen=True)
class Health:
    """How far a symbol's forecasts can be relied on.

    Attributes
    ----------
    level : {"good", "low confidence", "stale", "expired"}
        The worst that was found; "expired" forecasts are not given.
    reasons : tuple of str
        Empty if all is good.
    data_age : int or None
        Complete sessions that the store lacks; None for the sample.
    model_age : int
        Sessions stored since the champion's training.
    """

    level: Level
    reasons: tuple[str, ...]
    data_age: int | None
    model_age: int


def health(
    store: Store,
    settings: Settings,
    symbols: Sequence[str],
    moment: pd.Timestamp,
    version: str | None = None,
) -> dict[str, Health]:
    """Judge a version's forecasts of stored symbols.

    Parameters
    ----------
    moment : Timestamp
        Now, in UTC.
    version : str, optional
        Default: the champion.

    Returns
    -------
    dict
        Symbol -> Health.
    """
    spans, version = store.spans(), version or holder(store, CHAMPION)
    exchanges = described(store.current("instruments", where={"symbol": list(symbols)}))
    trained = None if version is None else trained_until(store, version)
    doubts = [] if version is None else alarms(store, version)
    places = {symbol: exchanges[symbol].exchange for symbol in symbols}
    complete = {
        place: last_complete(place, moment, settings.bar_delay_minutes) for place in set(places.values())
    }
    return {
        symbol: _judged(symbol, spans[symbol], place, complete[place], trained, doubts, settings)
        for symbol, place in places.items()
    }


def _judged(
    symbol: str,
    span: Span,
    exchange: str,
    complete: pd.Timestamp,
    trained: pd.Timestamp | None,
    doubts: Sequence[str],
    settings: Settings,
) -> Health:
    found: list[tuple[Level, str]] = []
    data_age = None if span.source == "sample" else _between(exchange, span.last, complete)
    if data_age is not None and data_age > settings.stale_data:
        level: Level = "expired" if data_age > settings.most_data else "stale"
        said = f"The prices end on {span.last.date()}, {data_age} complete sessions ago"
        found.append((level, f"{said}; {to_bring([symbol], span.source)}"))
    model_age = 0 if trained is None else _between(exchange, trained, span.last)
    if model_age > settings.stale_model:
        level = "expired" if model_age > settings.most_model else "stale"
        said = f"The model was trained {model_age} stored sessions ago"
        found.append((level, f"{said}; train anew: python -m forecaster retrain"))
    found += [("low confidence", reason) for reason in doubts]
    worst = max((level for level, _ in found), key=LEVELS.index, default=LEVELS[0])
    return Health(worst, tuple(reason for _, reason in found), data_age, model_age)


def require_fresh(
    store: Store, settings: Settings, symbol: str, moment: pd.Timestamp, version: str | None = None
) -> None:
    """Refuse to forecast a symbol whose data or model is past the hard limit.

    Raises
    ------
    Expired
    """
    found = health(store, settings, [symbol], moment, version)[symbol]
    if found.level == "expired":
        raise Expired(
            f"{symbol}: no forecast. {' '.join(found.reasons)}. To see what was forecast from an earlier "
            f"session name it with --as-of"
        )


def observe(store: Store, model: "Model", version: str, windows: "Windows", moment: pd.Timestamp) -> None:
    """Write down whether inputs have drifted and how the version's live 90 % coverage stands.

    Parameters
    ----------
    windows : Windows
        As `Model.windows` lays the present history out.
    """
    moved, judged = model.moved(windows)
    named = ", ".join(moved[:MOST_NAMED] or ["none"])
    named += f" and {len(moved) - MOST_NAMED} more" if moved[MOST_NAMED:] else ""
    rows = [
        {
            "kind": "drift",
            "value": len(moved) / judged,
            "limit": SHARE,
            "is_out": len(moved) >= SHARE * judged,
            "reason": f"{len(moved)} of {judged} inputs are spread as never in training: {named}",
        }
    ]
    settled = ledger.settled(store, model.recipe.hash, models=[SERVED])
    dates = np.sort(settled["cutoff"].unique())[-MOST_DATES:]
    if len(dates) >= FEWEST_DATES:
        off, error = coverage_off(settled[settled["cutoff"].isin(dates)])
        limit = max(LIMIT, ERRORS * error)
        said = f"{90 + off:.1f} % of the outcomes of {len(dates)} dates fell within the 90 % range"
        rows.append(
            {"kind": "coverage", "value": off, "limit": limit, "is_out": abs(off) > limit, "reason": said}
        )
    store.append(
        "monitors",
        pd.DataFrame(rows).assign(version=version, session=windows.panel.session.max(), recorded_at=moment),
    )


def alarms(store: Store, version: str) -> list[str]:
    """Return what of a version was last observed to be out of its limits, in words."""
    rows = store.current("monitors", where={"version": [version]})
    last = rows.sort_values("session").drop_duplicates("kind", keep="last")
    return list(last.loc[last["is_out"].astype(bool), "reason"])


def _between(exchange: str, first: pd.Timestamp, last: pd.Timestamp) -> int:
    """Count the sessions of an exchange after one and up to another; 0 if that is the earlier one."""
    days = np.array([first, last], dtype="datetime64[ns]")
    after = all_sessions(exchange).searchsorted(days, side="right")
    return max(0, int(after[1] - after[0]))
