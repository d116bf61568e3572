"""Company events as inputs: what had happened by the cutoff, and what was announced for the sessions after.

An event counts from the first session that closes after its `known_at`, a plan likewise. What nobody
told (no source, or none that has spoken of late) is unknown: zeros beside a flag of 0.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import signal, sparse

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


def known(bars: Bars, exchange: str, events: pd.DataFrame) -> Known:
    """Compute the inputs of one symbol.

    Parameters
    ----------
    events : DataFrame
        Rows of `History.events` of this symbol.
    """
    position = bars.position
    results = distinct_results(events, exchange)
    came = results["position"].to_numpy()
    last = _last(came, position)
    heard = position - last <= QUARTER
    plans = _plans(events, exchange, "results_scheduled")
    dividends = _plans(events, exchange, "dividend_scheduled")
    planned = _in_force(plans, position)
    past = {
        "results_known": heard,
        "results_today": position == last,
        "results_recent": _fading(came, np.ones(len(came)), position),
        "results_tone": _fading(came, results["tone"].fillna(0.0).to_numpy(), position),
        "results_surprise": _fading(came, np.log1p(results["magnitude"].fillna(0.0).to_numpy()), position),
        "results_plan_known": position - planned <= PLAN_SPEAKS_FOR,
        "dividend_plan_known": position - _in_force(dividends, position) <= PLAN_SPEAKS_FOR,
    }
    for kind in OTHERS:
        rows = events[events["kind"] == kind]
        when = moved_session(rows, exchange, "known_at")
        past[f"{kind}_known"] = position - _last(when, position) <= SPEAKS_FOR
        past[f"{kind}_recent"] = _fading(when, np.ones(len(when)), position)
        past[f"{kind}_tone"] = _fading(when, rows["tone"].fillna(0.0).to_numpy(), position)
    due = _due(plans, came, position)
    size = np.log(_usual_move(bars, position == last) / USUAL_MOVE)
    cells = {
        "results_due": due,
        "results_size": due.assign(mass=due["mass"] * size[due["row"]]),
        "results_passed": _passed(due),
        "results_expected": _expected(came, last, planned, past["results_plan_known"], position),
        "dividend_due": _due(dividends, came[:0], position),
    }
    return Known(
        np.column_stack([past[name] for name in NAMES]).astype(float), _laid_out(cells, len(position))
    )


def _last(came: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Position of the last event up to each session; far in the past where there was none."""
    never = -(10**6)
    return np.append(never, np.sort(came))[np.searchsorted(np.sort(came), position, side="right")]


def _fading(came: np.ndarray, weight: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Sum the weights of all events up to each session, each faded by its age."""
    if not len(came):
        return np.zeros(len(position))
    start = min(came.min(), position[0])
    in_time = came <= position[-1]
    impulse = np.bincount(came[in_time] - start, weight[in_time], minlength=position[-1] - start + 1)
    return signal.lfilter([1.0], [1.0, -np.exp(-1 / FADES)], impulse)[position - start]


def _plans(events: pd.DataFrame, exchange: str, kind: str) -> pd.DataFrame:
    """Lay out plans by the cutoffs at which they hold.

    Returns
    -------
    DataFrame
        position (planned session), mass, since and until (first and last cutoff's position).
    """
    rows = events[events["kind"] == kind].sort_values("known_at", kind="stable")
    since = moved_session(rows, exchange, "known_at")
    replaced = pd.Series(since, rows["known_at"]).groupby(level=0).first()
    until = replaced.shift(-1, fill_value=np.iinfo(np.int64).max).reindex(rows["known_at"]).to_numpy() - 1
    planned = moved_session(rows, exchange)
    plans = pd.DataFrame({"position": planned, "mass": rows["magnitude"], "since": since, "until": until})
    plans["known_at"] = rows["known_at"]
    plans = plans.sort_values(["known_at", "position"], kind="stable")
    # Dates further apart are of other quarters, and each is certain by itself.
    quarter = (plans.groupby("known_at")["position"].diff() > APART).cumsum()
    share = 1 / plans.groupby(["known_at", quarter])["position"].transform("size")
    plans["mass"] = plans["mass"].fillna(share)
    together = plans.groupby(["known_at", "position", "since", "until"], as_index=False)["mass"].sum()
    return together.assign(mass=together["mass"].clip(upper=1.0))


def _in_force(plans: pd.DataFrame, position: np.ndarray) -> np.ndarray:
    """Last planned session of the plan that holds at each cutoff; far in the past where there is none."""
    held = plans[plans["since"] <= plans["until"]].groupby("since", as_index=False)["position"].max()
    never = -(10**6)
    return np.append(never, held["position"])[np.searchsorted(held["since"], position, side="right")]


def _due(plans: pd.DataFrame, came: np.ndarray, position: np.ndarray) -> pd.DataFrame:
    """Cells of planned sessions that lie ahead, unless what was planned has come before its date."""
    planned, since = plans["position"].to_numpy(), plans["since"].to_numpy()
    early = np.append(came, np.iinfo(np.int64).max)
    first = early[np.searchsorted(early, np.maximum(since, planned - EARLY))]
    until = np.minimum.reduce([plans["until"].to_numpy(), planned - 1, first - 1])
    return _cells(planned, plans["mass"].to_numpy(), since, until, position)


def _passed(due: pd.DataFrame) -> pd.DataFrame:
    """Cells of the sessions that follow a planned one."""
    times = LONGEST - due["step"].to_numpy()
    later = due.loc[due.index.repeat(times)]
    after = np.arange(len(later)) - np.repeat(np.cumsum(times) - times, times) + 1
    return later.assign(step=later["step"] + after, mass=later["mass"] * np.exp(-after / FADES))


def _expected(
    came: np.ndarray, last: np.ndarray, planned: np.ndarray, plan_known: np.ndarray, position: np.ndarray
) -> pd.DataFrame:
    """Cells around a year after each results, as far as no plan and no later results speak of them."""
    around = np.arange(-EITHER_WAY, EITHER_WAY + 1)
    centre = np.repeat(came + YEAR, len(around))
    cells = _cells(
        centre + np.tile(around, len(came)),
        np.full(len(centre), 1 / len(around)),
        np.repeat(came, len(around)),
        centre + np.tile(around, len(came)) - 1,
        position,
    )
    row, step = cells["row"].to_numpy(), cells["step"].to_numpy()
    target = position[row] + step
    # Where dates are announced, the next sessions have none unless a plan says so.
    open_ = ~plan_known[row] | (step > KNOWN_AHEAD)
    return cells[open_ & (target > planned[row] + APART) & (target > last[row] + APART)]


def _usual_move(bars: Bars, is_results: np.ndarray) -> np.ndarray:
    """Mean absolute return on results so far, in volatilities before, drawn towards `USUAL_MOVE`."""
    moves = np.abs(bars.log_return) / bars.sigma_before
    counted = is_results & np.isfinite(moves)
    total = np.cumsum(np.where(counted, moves, 0.0))
    return (total + USUAL_EVENTS * USUAL_MOVE) / (np.cumsum(counted) + USUAL_EVENTS)


def _cells(
    planned: np.ndarray, mass: np.ndarray, since: np.ndarray, until: np.ndarray, position: np.ndarray
) -> pd.DataFrame:
    """Spread masses over the cutoffs since..until that lie up to `LONGEST` sessions before.

    Returns
    -------
    DataFrame
        row (of the symbol), step (sessions ahead), mass.
    """
    first = np.searchsorted(position, np.maximum(since, planned - LONGEST))
    times = np.maximum(np.searchsorted(position, until, side="right") - first, 0)
    row = np.repeat(first, times) + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    step = np.repeat(planned, times) - position[row]
    return pd.DataFrame({"row": row, "step": step, "mass": np.repeat(mass, times)})


def _laid_out(cells: dict[str, pd.DataFrame], sessions: int) -> sparse.csr_array:
    column = [(rows["step"] - 1) * len(AHEAD_NAMES) + AHEAD_NAMES.index(name) for name, rows in cells.items()]
    together = pd.concat(list(cells.values()))
    shape = (sessions, LONGEST * len(AHEAD_NAMES))
    entries = together["mass"].to_numpy(dtype=np.float32)
    return sparse.csr_array((entries, (together["row"], np.concatenate(column))), shape=shape)
