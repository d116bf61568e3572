"""The retraining service: after each complete session update, train, decide, forecast, write it down."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from forecaster import ledger
from forecaster.config import Recipe
from forecaster.decisions import CHAMPION, holder
from forecaster.doctor import FIRST, examine
from forecaster.errors import DataError, NotYet, RateLimited, SourceError, StoreError, TooLittleHistory
from forecaster.health import health
from forecaster.ingest.overlap import Change
from forecaster.live import live
from forecaster.locks import exclusive
from forecaster.progress import Progress, silent
from forecaster.sources import Outcome, Source
from forecaster.timetable import Mode, Status, covering, due, followed, owed, stored, text
from forecaster.workspace import Workspace


@dataclass(frozen=True)
class Report:
    """What a run has done.

    Attributes
    ----------
    status : {"nothing", "done", "partly"}
        "partly" if some symbols are late: the next run goes on with them.
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
        Symbol -> why its prices do not reach the session that is due.
    left_out : dict
        Symbol -> why there is no forecast of it, and will be none by trying again.
    live : str
        Live scores beside those of the backtest, in words.
    detail : str
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
        A light run does not train, unless no champion can be used. Default: what is owed.
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
        If there is nothing to forecast, or the disk or a table has a fault.
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
            detail="; ".join(f"{symbol}: {why}" for symbol, why in without.items()),
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

    store, registry = workspace.store, workspace.registry
    late, gone = _update(workspace, sessions, source, progress)
    # Every day what keeps a run from working; with the training all the rest.
    checks = FIRST if mode == "light" else None
    findings = examine(workspace, workspace.clock(), checks)
    faults = [finding for finding in findings if finding.level == "fault"]
    for fault in faults:
        if fault.check in FIRST:
            raise DataError(f"The check of the data found a fault: {fault.what}; {fault.remedy}")
    notes = [f"{fault.what}; {fault.remedy}." for fault in faults]
    notes += [f"Gone, and not asked for any more: {', '.join(sorted(gone))}." if gone else ""]
    spans, decision = store.spans(), ""
    symbols = [symbol for symbol in workspace.watchlist if symbol in spans and symbol not in gone]
    if not symbols:
        raise DataError(f"No symbol is left to forecast. {' '.join(notes)}")
    left_out: dict[str, str] = {}
    has_champion = holder(store, CHAMPION) is not None and not unusable(store, registry)
    # First what is there: a training that takes long, or fails, keeps nobody from today's forecasts.
    if has_champion:
        left_out = issue_each(workspace, symbols, progress)
    if mode == "full" or not has_champion:
        mode, history = "full", workspace.history(symbols=symbols)
        trial = workspace.settings.trial_sessions
        outcome = challenge(store, registry, history, recipe, trial, progress=progress, jobs=jobs)
        decision = outcome.words
        if outcome.promoted:
            left_out = issue_each(workspace, symbols, progress)
    version = holder(store, CHAMPION) or ""
    left_out = {symbol: why for symbol, why in left_out.items() if symbol not in late}
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


def _update(
    workspace: Workspace, sessions: dict[str, pd.Timestamp], source: str | Source | None, progress: Progress
) -> tuple[dict[str, str], set[str]]:
    """Bring what is new; returns which symbols lack the session that is due, with why, and those gone."""
    kept = followed(workspace)
    if not kept and source is None:
        return {}, set()
    outcomes = workspace.update(None if source is None else workspace.watchlist, source, progress)
    outcomes = outcomes[outcomes["symbol"].isin(workspace.watchlist)].set_index("symbol")
    known = (outcomes["outcome"] == Outcome.GONE) & (outcomes["change"] == Change.NOT_ASKED)
    gone, asked = set(outcomes.index[known]), outcomes[~known]
    if len(asked) and not (asked["outcome"] == Outcome.OK).any():
        error = RateLimited if (asked["outcome"] == Outcome.RATE_LIMITED).any() else SourceError
        first = asked.iloc[0]
        raise error(
            f"No symbol arrived; {asked.index[0]}: {first['outcome']}, {first['detail']}; try again later"
        )
    spans, late = workspace.store.spans(), {}
    for symbol, row in asked.iterrows():
        told = "" if row["outcome"] == Outcome.OK else f"; {row['outcome']}, {row['detail']}"
        if symbol not in spans:
            late[str(symbol)] = f"it has no prices{told}"
        elif symbol in kept and spans[symbol].last < sessions[kept[symbol]]:
            late[str(symbol)] = f"its prices end on {spans[symbol].last.date()}{told}"
    if late and not set(kept) & set(asked.index) - set(late):
        raise NotYet(f"No bar of {text(sessions)} has arrived; try again later")
    return late, gone


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
    # A clock that was set back must not make this the older word.
    moment, last = workspace.clock(), workspace.store.latest("retrains")
    row["recorded_at"] = moment if last is None else max(moment, last + pd.Timedelta(microseconds=1))
    workspace.store.append("retrains", pd.DataFrame([row | {"symbols": followed_now}]))
