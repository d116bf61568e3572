"""Company events as inputs: what had happened by the cutoff, and what was announced for the sessions after.

An event counts from the first session that closes after its `known_at`, a plan likewise. What nobody
told (no source, or none that has spoken of late) is unknown: zeros beside a flag of 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from forecaster.events import KNOWN_AHEAD, distinct_results, moved_session
from forecaster.features.bars import Bars

OTHERS = ("leadership", "policy", "restructuring", "profit")
"""Kinds that come without announcement."""

NAMES = (
    "results_known",
    "results_today",
    "results_recent",
    "results_tone",
    "results_surprise",
    "results_plan_known",
    "dividend_plan_known",
    *(f"{kind}_{part}" for kind in OTHERS for part in ("known", "recent", "tone")),
)

AHEAD_NAMES = ("results_due", "results_size", "results_passed", "results_expected", "dividend_due")
"""Inputs of one session ahead, as announced or expected at the cutoff."""

LONGEST = 60
"""Sessions ahead that plans are laid out for: the longest horizon of a recipe."""

FADES = 5.0
"""Sessions after which the trace of an event has faded to 1/e."""

QUARTER = 100
"""Sessions after the last results from which nothing is known of any more."""

PLAN_SPEAKS_FOR = 45
"""Sessions past the last planned date from which it is unknown when the next is."""

YEAR = 252
EITHER_WAY = 3
"""Without an announcement results are expected a year after the last ones of that quarter, so many
sessions either way, each as likely."""

APART = 30
"""Results of two quarters lie further apart than so many sessions."""

EARLY = 5
"""Sessions by which results may come before their announced date, and still be the announced ones."""

SPEAKS_FOR = 260
"""Sessions after an event for which its source counts as speaking of that company."""

USUAL_MOVE, USUAL_EVENTS = 2.0, 4.0
"""Prior of a symbol's mean absolute return on results, in volatilities before, and its weight in events."""


@dataclass(frozen=True)
class Known:
    """Inputs of one symbol.

    Attributes
    ----------
    past : ndarray of shape (n, len(NAMES))
        Per session: 1 where results are known of the last `QUARTER` sessions, and on the session they
        moved; their trace, tone and log surprise (per cent), all fading; 1 where their dates, and those
        of dividends, are known; per other kind 1 where it is known, the
        fading number of events and the fading sum of their tones.
    ahead : csr_array of float32, (n, LONGEST * len(AHEAD_NAMES))
        Per session, step by step, what was announced at the cutoff for the session so many ahead:
        probability of results; the same times the logarithm of how far this symbol's results have moved
        it relative to the usual; fading trace of results before it that are still to come; probability
        of results where no date is announced; probability that it is an ex-dividend day.
    """

    past: np.ndarray
    ahead: sparse.csr_array


class Reports(NamedTuple):
    """Events of one symbol and kind: the sessions that they move, tones and magnitudes, 0 where unknown."""

    position: np.ndarray
    tone: np.ndarray
    magnitude: np.ndarray


class Plans(NamedTuple):
    """Planned sessions of one symbol and kind, and the cutoffs, first and last, at which they hold."""

    position: np.ndarray
    mass: np.ndarray
    since: np.ndarray
    until: np.ndarray


class Cells(NamedTuple):
    """Entries of one input known ahead: row of the symbol, sessions ahead, and mass."""

    row: np.ndarray
    step: np.ndarray
    mass: np.ndarray


Form = TypeVar("Form", Reports, Plans)

NO_REPORTS = Reports(np.empty(0, np.int64), np.empty(0), np.empty(0))
NO_PLANS = Plans(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Told:
    """What was told of one symbol.

    Attributes
    ----------
    results : Reports
        Distinct ones.
    others : mapping
        Kind, of `OTHERS` -> Reports.
    results_planned, dividends_planned : Plans
    """

    results: Reports = NO_REPORTS
    others: Mapping[str, Reports] = field(default_factory=lambda: dict.fromkeys(OTHERS, NO_REPORTS))
    results_planned: Plans = NO_PLANS
    dividends_planned: Plans = NO_PLANS


def placed(events: pd.DataFrame, exchange: str) -> dict[str, Told]:
    """Place the events of an exchange's symbols on its sessions, by symbol.

    Parameters
    ----------
    events : DataFrame
        Rows of `History.events`.
    """
    unknown = {"tone": 0.0, "magnitude": 0.0}
    results = _by_symbol(distinct_results(events, exchange).fillna(unknown), Reports)
    others = {}
    for kind in OTHERS:
        rows = events[events["kind"] == kind].fillna(unknown)
        others[kind] = _by_symbol(rows.assign(position=moved_session(rows, exchange, "known_at")), Reports)
    planned, paid = (
        _by_symbol(_plans(events, exchange, kind), Plans)
        for kind in ("results_scheduled", "dividend_scheduled")
    )
    return {
        str(symbol): Told(
            results.get(symbol, NO_REPORTS),
            {kind: rows.get(symbol, NO_REPORTS) for kind, rows in others.items()},
            planned.get(symbol, NO_PLANS),
            paid.get(symbol, NO_PLANS),
        )
        for symbol in events["symbol"].unique()
    }


def known(bars: Bars, told: Told) -> Known:
    """Compute the inputs of one symbol."""
    position = bars.position
    came = told.results.position
    last = _last(came, position)
    planned = _in_force(told.results_planned, position)
    is_results = position == last
    past = {
        "results_known": position - last <= QUARTER,
        "results_today": is_results,
        "results_recent": _fading(came, np.ones(len(came)), position),
        "results_tone": _fading(came, told.results.tone, position),
        "results_surprise": _fading(came, np.log1p(told.results.magnitude), position),
        "results_plan_known": position - planned <= PLAN_SPEAKS_FOR,
        "dividend_plan_known": position - _in_force(told.dividends_planned, position) <= PLAN_SPEAKS_FOR,
    }
    for kind, rows in told.others.items():
        past[f"{kind}_known"] = position - _last(rows.position, position) <= SPEAKS_FOR
        past[f"{kind}_recent"] = _fading(rows.position, np.ones(len(rows.position)), position)
        past[f"{kind}_tone"] = _fading(rows.position, rows.tone, position)
    due = _due(told.results_planned, came, position)
    size = np.log(_usual_move(bars, is_results) / USUAL_MOVE)
    cells = {
        "results_due": due,
        "results_size": due._replace(mass=due.mass * size[due.row]),
        "results_passed": _passed(due),
        "results_expected": _expected(came, last, planned, past["results_plan_known"], position),
        "dividend_due": _due(told.dividends_planned, came[:0], position),
    }
    return Known(
        np.column_stack([past[name] for name in NAMES]).astype(float), _laid_out(cells, len(position))
    )


def _by_symbol(rows: pd.DataFrame, form: type[Form]) -> dict[str, Form]:
    columns = [rows[name].to_numpy() for name in form._fields]
    groups = rows.reset_index(drop=True).groupby("symbol").indices
    return {str(symbol): form(*(column[places] for column in columns)) for symbol, places in groups.items()}


def _last(came: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Position of the last event up to each session; far in the past where there was none."""
    never = -(10**6)
    return np.append(never, np.sort(came))[np.searchsorted(np.sort(came), position, side="right")]


def _fading(came: np.ndarray, weight: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Sum the weights of all events up to each session, each faded by its age."""
    if not len(came):
        return np.zeros(len(position))
    when, place = np.unique(came, return_inverse=True)
    kept = np.exp(-np.diff(when) / FADES).tolist()
    states = [0.0]
    for told, faded in zip(np.bincount(place, weight).tolist(), [0.0, *kept], strict=True):
        states.append(faded * states[-1] + told)
    last = np.searchsorted(when, position, side="right")
    age = position - np.append(0, when)[last]
    return np.array(states)[last] * np.exp(-age / FADES)


def _plans(events: pd.DataFrame, exchange: str, kind: str) -> pd.DataFrame:
    """Lay out plans by the cutoffs at which they hold.

    Returns
    -------
    DataFrame
        symbol, position (planned session), mass, since and until (first and last cutoff's position).
    """
    rows = events[events["kind"] == kind].sort_values(["symbol", "known_at"], kind="stable")
    is_first = ~rows.duplicated(["symbol", "known_at"])
    since = moved_session(rows, exchange, "known_at")
    later = pd.Series(since[is_first]).groupby(rows.loc[is_first, "symbol"].to_numpy())
    until = later.shift(-1, fill_value=np.iinfo(np.int64).max).to_numpy() - 1
    plan = np.cumsum(is_first.to_numpy()) - 1
    plans = pd.DataFrame({"symbol": rows["symbol"], "since": since, "until": until[plan]})
    plans = plans.assign(plan=plan, position=moved_session(rows, exchange), mass=rows["magnitude"])
    plans = plans.sort_values(["plan", "position"], kind="stable")
    # Dates further apart are of other quarters, and each is certain by itself.
    quarter = (plans.groupby("plan")["position"].diff() > APART).cumsum()
    share = 1 / plans.groupby(["plan", quarter])["position"].transform("size")
    plans["mass"] = plans["mass"].fillna(share)
    dates = plans.groupby(["plan", "position"], as_index=False).agg(
        {"symbol": "first", "since": "first", "until": "first", "mass": "sum"}
    )
    return dates.assign(mass=dates["mass"].clip(upper=1.0))


def _in_force(plans: Plans, position: np.ndarray) -> np.ndarray:
    """Last planned session of the plan that holds at each cutoff; far in the past where there is none."""
    held = plans.since <= plans.until
    since, planned = plans.since[held], plans.position[held]
    # Of each plan the dates ascend.
    last = np.append(since[1:] != since[:-1], True)[: len(since)]
    never = -(10**6)
    return np.append(never, planned[last])[np.searchsorted(since[last], position, side="right")]


def _due(plans: Plans, came: np.ndarray, position: np.ndarray) -> Cells:
    """Cells of planned sessions that lie ahead, unless what was planned has come before its date."""
    early = np.append(came, np.iinfo(np.int64).max)
    first = early[np.searchsorted(early, np.maximum(plans.since, plans.position - EARLY))]
    until = np.minimum.reduce([plans.until, plans.position - 1, first - 1])
    return _cells(plans.position, plans.mass, plans.since, until, position)


def _passed(due: Cells) -> Cells:
    """Cells of the sessions that follow a planned one."""
    times = LONGEST - due.step
    place = np.repeat(np.arange(len(times)), times)
    after = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times) + 1
    faded = np.exp(-np.arange(LONGEST + 1) / FADES)[after]
    return Cells(due.row[place], due.step[place] + after, due.mass[place] * faded)


def _expected(
    came: np.ndarray, last: np.ndarray, planned: np.ndarray, plan_known: np.ndarray, position: np.ndarray
) -> Cells:
    """Cells around a year after each results, as far as no plan and no later results speak of them."""
    around = np.arange(-EITHER_WAY, EITHER_WAY + 1)
    dates = (came[:, None] + YEAR + around).ravel()
    cells = _cells(
        dates, np.full(len(dates), 1 / len(around)), np.repeat(came, len(around)), dates - 1, position
    )
    target = position[cells.row] + cells.step
    # Where dates are announced, the next sessions have none unless a plan says so.
    open_ = ~plan_known[cells.row] | (cells.step > KNOWN_AHEAD)
    kept = open_ & (target > planned[cells.row] + APART) & (target > last[cells.row] + APART)
    return Cells(*(each[kept] for each in cells))


def _usual_move(bars: Bars, is_results: np.ndarray) -> np.ndarray:
    """Mean absolute return on results so far, in volatilities before, drawn towards `USUAL_MOVE`."""
    moves = np.abs(bars.log_return) / bars.sigma_before
    counted = is_results & np.isfinite(moves)
    total = np.cumsum(np.where(counted, moves, 0.0))
    return (total + USUAL_EVENTS * USUAL_MOVE) / (np.cumsum(counted) + USUAL_EVENTS)


def _cells(
    planned: np.ndarray, mass: np.ndarray, since: np.ndarray, until: np.ndarray, position: np.ndarray
) -> Cells:
    """Spread masses over the cutoffs since..until that lie up to `LONGEST` sessions before."""
    first = np.searchsorted(position, np.maximum(since, planned - LONGEST))
    times = np.maximum(np.searchsorted(position, until, side="right") - first, 0)
    row = np.repeat(first, times) + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return Cells(row, np.repeat(planned, times) - position[row], np.repeat(mass, times))


def _laid_out(cells: dict[str, Cells], sessions: int) -> sparse.csr_array:
    row, step, mass = (np.concatenate(parts) for parts in zip(*cells.values(), strict=True))
    kind = np.repeat([AHEAD_NAMES.index(name) for name in cells], [len(one.row) for one in cells.values()])
    column = (step - 1) * len(AHEAD_NAMES) + kind
    shape = (sessions, LONGEST * len(AHEAD_NAMES))
    return sparse.csr_array((mass.astype(np.float32), (row, column)), shape=shape)
