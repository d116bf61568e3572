"""The retraining service: after each complete session update, train, decide, forecast, write it down."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pandas as pd

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.decisions import CHAMPION, holder
from forecaster.doctor import FIRST, examine
from forecaster.errors import DataError, NotYet, RateLimited, SourceError, StoreError, TooLittleHistory
from forecaster.health import health
from forecaster.ingest.gaps import FACTOR
from forecaster.ingest.overlap import Change
from forecaster.live import live
from forecaster.locks import exclusive
from forecaster.progress import Progress, silent
from forecaster.sources import Outcome, Source
from forecaster.timetable import Mode, Status, covering, due, followed, owed, stored, text
from forecaster.workspace import Workspace

PATIENCE = 300.0
"""Seconds for which a symbol that is being added is waited for."""


@dataclass(frozen=True)
class Report:
    """What a run has done.

    Attributes
    ----------
    status : {"nothing", "done", "partly"}
        "partly" if something is late: the next run goes on with it.
    mode : {"full", "light"} or None
    sessions : str
        Last complete session of each exchange that is followed.
    version : str or None
        The champion, as it stands now.
    decision : str
        What became of the challenger; empty in a light run.
    forecasts : int
        Symbols whose forecasts stand as of their last stored session.
    late : dict
        Symbol, or factor after `gaps.FACTOR`, -> why its values do not reach the session that is due.
    left_out : dict
        Symbol -> why there is no forecast of it, and will be none by trying again soon.
    live : str
        Live scores beside those of the backtest, in words.
    detail : str
        What else is to be known: faults of the workspace, sources that did not answer.
    """

    status: Literal["nothing", "done", "partly"]
    mode: Mode | None
    sessions: str
    version: str | None
    decision: str = ""
    forecasts: int = 0
    late: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    live: str = ""
    detail: str = ""


def retrain(
    workspace: Workspace,
    mode: Mode | None = None,
    recipe: Recipe | None = None,
    source: str | Source | None = None,
    progress: Progress = silent,
    jobs: int = 1,
) -> Report:
    """Update, check the data, train and judge a challenger, forecast every symbol, write it all down.

    Safe to repeat: after the same sessions it does nothing. Whatever fails, the champion and the
    forecasts that were issued stay.

    Parameters
    ----------
    mode : {"full", "light"}, optional
        A light run does not train, unless there is no champion, or one that is damaged or too old to be
        used. Default: what is owed.
    recipe : Recipe, optional
        What to train; default: the champion's recipe, or the default one without a champion.
    source : str or Source, optional
        Default: where the stored prices come from.
    jobs : int
        Processes at work in a backtest.

    Raises
    ------
    Locked
        If another run of this workspace is going on.
    NotYet
        If no bar of a session that is due has arrived.
    SourceError
        If no symbol arrived.
    DataError
        If no symbol can be forecast, or the disk or a table has a fault.
    """
    # Late: it brings what trains.
    from forecaster.challenge import champion_recipe

    with exclusive(workspace.home, "retrain"):
        sessions = due(workspace)
        if not sessions:
            raise DataError(
                "No symbol of the watchlist has prices; bring some: python -m forecaster quickstart"
            )
        chosen = recipe or champion_recipe(workspace.store) or Recipe()
        wanted = _left(covering(workspace, sessions), mode or owed(workspace), chosen)
        if wanted is None:
            said = f"Nothing to do: {text(sessions)} is done."
            return Report("nothing", None, text(sessions), holder(workspace.store, CHAMPION), detail=said)
        run = {
            "started_at": workspace.clock(),
            "mode": wanted,
            "sessions": text(sessions),
            "session": max(sessions.values()),
            "recipe_hash": chosen.hash,
        }
        _record(workspace, run, "running")
        try:
            report = _run(workspace, wanted, sessions, chosen, source, progress, jobs)
        except BaseException as error:
            status: Status = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
            # What went wrong matters more than that it could not be written down.
            with suppress(StoreError):
                _record(workspace, run, status, detail=str(error) or type(error).__name__)
            raise
        without = report.late | report.left_out
        _record(
            workspace,
            run | {"mode": report.mode},
            "partly" if report.late else "done",
            version=report.version,
            decision=report.decision,
            forecasts=report.forecasts,
            detail="; ".join(filter(None, [report.detail, *map(": ".join, without.items())])),
        )
        return report


def _run(
    workspace: Workspace,
    mode: Mode,
    sessions: dict[str, pd.Timestamp],
    recipe: Recipe,
    source: str | Source | None,
    progress: Progress,
    jobs: int,
) -> Report:
    # Late: it brings what trains.
    from forecaster.challenge import challenge, unusable

    store, registry, began_at = workspace.store, workspace.registry, workspace.clock()
    arrived = _update(workspace, sessions, source, progress)
    # Every day what keeps a run from working; with the training all the rest.
    checks = (*FIRST, "factors") if mode == "light" else None
    findings = examine(workspace, workspace.clock(), checks)
    for fault in findings:
        if fault.check in FIRST and fault.level == "fault":
            raise DataError(f"The check of the data found a fault: {fault.what}; {fault.remedy}")
    told = [found for found in findings if found.level == "fault" or found.check == "factors"]
    notes = [f"{found.what}; {found.remedy}." for found in told]
    notes += _unanswered(workspace, began_at)
    notes += [f"Gone, and not asked for any more: {', '.join(arrived.gone)}." if arrived.gone else ""]
    spans, decision = store.spans(), ""
    symbols = [symbol for symbol in workspace.watchlist if symbol in spans and symbol not in arrived.gone]
    if not symbols:
        raise DataError(f"No symbol is left to forecast. {' '.join(notes)}")
    left_out: dict[str, str] = {}
    damage = unusable(store, registry) or _outlived(workspace, symbols)
    has_champion = holder(store, CHAMPION) is not None and not damage
    # First what is there: a training that takes long, or fails, keeps nobody from today's forecasts.
    if has_champion:
        left_out = _forecast(workspace, symbols, progress)
    if mode == "full" or not has_champion:
        mode, history = "full", workspace.history(symbols=symbols)
        trial = workspace.settings.trial_sessions
        outcome = challenge(store, registry, history, recipe, trial, damage, progress=progress, jobs=jobs)
        decision = outcome.words
        if outcome.promoted:
            left_out = _forecast(workspace, symbols, progress)
    version = holder(store, CHAMPION) or ""
    late = arrived.late
    left_out = {symbol: why for symbol, why in left_out.items() if symbol not in late} | arrived.unknown
    return Report(
        status="partly" if late else "done",
        mode=mode,
        sessions=text(sessions),
        version=version,
        decision=decision,
        forecasts=len(set(symbols) - {*late, *left_out}),
        late=dict(sorted(late.items())),
        left_out=dict(sorted(left_out.items())),
        live=live(store, version, steps=(1,)).comparison().words,
        detail=" ".join(filter(None, notes)),
    )


class _Arrived(NamedTuple):
    """How an update went.

    Attributes
    ----------
    late : dict
        As in `Report`.
    unknown : dict
        Symbol without prices -> why its source has none.
    gone : list of str
        Symbols that are not asked for any more.
    """

    late: dict[str, str]
    unknown: dict[str, str]
    gone: list[str]


def _update(
    workspace: Workspace, sessions: dict[str, pd.Timestamp], source: str | Source | None, progress: Progress
) -> _Arrived:
    """Bring what is new."""
    kept = followed(workspace)
    if not kept and source is None:
        return _Arrived({}, {}, [])
    wanted = None if source is None else workspace.watchlist
    outcomes = workspace.update(wanted, source, progress, patience=PATIENCE)
    outcomes["told"] = outcomes["outcome"] + ", " + outcomes["detail"]
    is_factor = outcomes["symbol"].str.startswith(FACTOR)
    to_come = is_factor & outcomes["outcome"].isin([Outcome.TRANSIENT, Outcome.RATE_LIMITED])
    late: dict[str, str] = dict(outcomes.loc[to_come, ["symbol", "told"]].itertuples(index=False))
    outcomes = outcomes[outcomes["symbol"].isin(workspace.watchlist)].set_index("symbol")
    known = (outcomes["outcome"] == Outcome.GONE) & (outcomes["change"] == Change.NOT_ASKED)
    asked = outcomes[~known]
    if len(asked) and not (asked["outcome"] == Outcome.OK).any():
        error = RateLimited if (asked["outcome"] == Outcome.RATE_LIMITED).any() else SourceError
        raise error(f"No symbol arrived; {asked.index[0]}: {asked['told'].iloc[0]}; try again later")
    spans, unknown = workspace.store.spans(), dict[str, str]()
    behind = {symbol for symbol, exchange in kept.items() if spans[symbol].last < sessions[exchange]}
    followed_now = kept.keys() & set(asked.index)
    if followed_now and followed_now <= behind:
        raise NotYet(f"No bar of {text(sessions)} has arrived; try again later")
    ages = health(workspace.store, workspace.settings, sorted(behind), workspace.clock())
    # A share that is halted for so long has no forecast, and keeps no run open.
    silent = {symbol for symbol, one in ages.items() if (one.data_age or 0) > workspace.settings.most_data}
    for symbol, row in asked.iterrows():
        told = "" if row["outcome"] == Outcome.OK else f"; {row['told']}"
        if symbol not in spans:
            where = unknown if row["outcome"] == Outcome.INVALID else late
            where[str(symbol)] = f"it has no prices{told}"
        elif symbol in behind - silent:
            late[str(symbol)] = f"its prices end on {spans[symbol].last.date()}{told}"
    return _Arrived(late, unknown, sorted(outcomes.index[known]))


def _outlived(workspace: Workspace, symbols: Sequence[str]) -> str:
    """Say that the champion is too old to be used for any symbol; empty if it is not."""
    states = health(workspace.store, workspace.settings, symbols, workspace.clock())
    age = min(state.model_age for state in states.values())
    return f"it was trained {age} stored sessions ago" if age > workspace.settings.most_model else ""


def _unanswered(workspace: Workspace, since: pd.Timestamp) -> list[str]:
    """Say which sources of events have failed since a moment, and on what first."""
    told = workspace.event_outcomes()
    failed = told[(told["recorded_at"] >= since) & ~told["outcome"].isin([Outcome.OK, Outcome.GONE])]
    return [
        f"Events from {source} did not come for {len(rows)} symbols; "
        f"{rows['symbol'].iloc[0]}: {rows['outcome'].iloc[0]}, {rows['detail'].iloc[0]}."
        for source, rows in failed.groupby("source")
    ]


def _forecast(workspace: Workspace, symbols: Sequence[str], progress: Progress) -> dict[str, str]:
    """Forecast what can be; returns what cannot, with why.

    Raises
    ------
    DataError
        If that is all of them.
    """
    left_out = issue_each(workspace, symbols, progress)
    if len(left_out) == len(symbols):
        symbol, why = next(iter(left_out.items()))
        raise DataError(f"No symbol can be forecast; {symbol}: {why}")
    return left_out


def issue_each(
    workspace: Workspace, symbols: Sequence[str], progress: Progress = silent, observed: bool = True
) -> dict[str, str]:
    """Forecast with the champion what is neither too old nor too short.

    Parameters
    ----------
    symbols : sequence of str
        Stored ones.
    observed : bool
        See `workflow.issue`.

    Returns
    -------
    dict
        Symbol -> why there is no forecast of it.
    """
    # Late: it brings what forecasts.
    from forecaster.workflow import issue

    store = workspace.store
    states = health(store, workspace.settings, symbols, workspace.clock())
    expired = {symbol: one for symbol, one in states.items() if one.level == "expired"}
    left_out = {symbol: ". ".join(one.reasons) for symbol, one in expired.items()}
    wanted = [symbol for symbol in symbols if symbol not in left_out]
    with progress("Forecasts", 1) as advance:
        # Where none of them has enough history the check below says so of each.
        with suppress(TooLittleHistory):
            if wanted:
                issue(store, workspace.registry, wanted, workspace.clock, observed)
        advance(f"of {len(wanted)} symbols")
    standing = ledger.latest(store)
    cutoffs, spans = dict(zip(standing["symbol"], standing["cutoff"], strict=True)), store.spans()
    for symbol in wanted:
        if cutoffs.get(symbol) != spans[symbol].last:
            left_out[symbol] = "its history is too short, or an input of its last sessions is missing"
    return left_out


def _left(covering: pd.DataFrame, wanted: Mode | None, recipe: Recipe) -> Mode | None:
    """Tell what of a run the earlier ones of its sessions have left to do."""
    is_ended = (covering["status"] == "done").any()
    is_trained = ((covering["mode"] == "full") & (covering["recipe_hash"] == recipe.hash)).any()
    if wanted == "full" and not is_trained:
        return "full"
    return None if wanted is None or is_ended else "light"


def _record(workspace: Workspace, run: dict[str, Any], status: Status, **found: Any) -> None:
    """Write down how a run stands, and for which symbols."""
    followed_now = " ".join(stored(workspace))
    row = {"status": status, "version": None, "decision": "", "forecasts": 0, "detail": "", **run, **found}
    row |= {"symbols": followed_now, "recorded_at": workspace.clock()}
    workspace.store.append("retrains", pd.DataFrame([row]))
