"""From an empty folder to stored forecasts: what ``make run`` does before it opens the dashboard."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from forecaster.config import Recipe, SourceName
from forecaster.decisions import CHAMPION, holder, verdict_on
from forecaster.errors import DataError
from forecaster.locks import exclusive
from forecaster.progress import Progress, silent
from forecaster.remedies import LIVE, SAMPLE
from forecaster.report import DEMONSTRATION
from forecaster.retrain import issue_each
from forecaster.sources import SOURCES, Fetched, Outcome, Source, source
from forecaster.timetable import stored
from forecaster.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True)
class Summary:
    """What a quickstart left behind.

    Attributes
    ----------
    trained : bool
        False if the workspace was ready and nothing was done.
    version : str
        The champion.
    scores : DataFrame
        Its backtest's score table.
    verdict : str
    """

    trained: bool
    version: str
    scores: pd.DataFrame
    verdict: str


def quickstart(
    workspace: Workspace,
    recipe: Recipe,
    choice: SourceName | None = None,
    progress: Progress = silent,
    say: Say = lambda line: None,
) -> Summary:
    """Bring data, train, score on unseen sessions, register, forecast; each step only if it is missing.

    Parameters
    ----------
    choice : {"auto", "yahoo", "sample"}, optional
        Default: the setting ``source``. "auto" takes Yahoo if it answers within the setting
        ``probe_seconds``, else the sample, and says which and why.
    say : callable, optional
        Takes one line for the user.

    Raises
    ------
    DataError
        If no symbol arrived.
    Locked
        If a retraining of this workspace is going on.
    """
    if not workspace.watchlist:
        _bring_data(workspace, choice or workspace.settings.source, progress, say)
    registry = workspace.registry
    trained = holder(workspace.store, CHAMPION) is None
    if not trained and not workspace.forecasts().empty:
        wanted, origin = choice or workspace.settings.source, workspace.origin
        if wanted not in ("auto", origin):
            say(f"{wanted.title()} was not asked: this workspace keeps to its source of prices, {origin}.")
        if origin == SAMPLE:
            say(DEMONSTRATION)
        return _summary(workspace, trained)
    # Late: a workspace that is ready does not need TensorFlow.
    from forecaster.evaluation.backtest import backtest
    from forecaster.workflow import train

    with exclusive(workspace.home, "retrain"):
        if trained:
            history = workspace.history()
            evidence = backtest(history, recipe, progress=progress)
            version = registry.add(train(history, recipe, progress, evidence), evidence)
            say(f"Model registered: {registry.promote(version)}.")
        for symbol, why in issue_each(workspace, list(stored(workspace)), progress, False).items():
            say(f"{symbol}: no forecast, {why}.")
    return _summary(workspace, trained)


def _summary(workspace: Workspace, trained: bool) -> Summary:
    version = holder(workspace.store, CHAMPION) or ""
    words = verdict_on(workspace.store, version)
    return Summary(trained, version, workspace.registry.scores(version), words)


def _bring_data(workspace: Workspace, choice: SourceName, progress: Progress, say: Say) -> None:
    name, why = choice, "you asked for it"
    begun = set(workspace.store.rows("prices")["source"]) & set(SOURCES)
    if begun:
        name, why = begun.pop(), "an earlier run began with them"
    elif choice == "auto":
        yahoo = source("yahoo", workspace.settings)
        answer = _within(workspace.settings.probe_seconds, yahoo, workspace.settings.watchlist[0])
        if answer is not None and answer.outcome is Outcome.OK:
            name, why = "yahoo", "Yahoo answered"
        else:
            seconds = workspace.settings.probe_seconds
            slow = f"Yahoo did not answer within {seconds:g} s"
            name, why = SAMPLE, slow if answer is None else answer.detail
    if name == SAMPLE:
        say(f"Prices: the bundled sample, 2013 to 2023 ({why}). This workspace keeps to it from now on.")
        say(f"For live prices, now or later: {LIVE}")
    else:
        say(f"Prices: live, from {name.title()} ({why}).")
    chosen = source(name, workspace.settings)
    symbols = chosen.symbols() or workspace.settings.watchlist
    events = workspace.event_sources(name)
    outcomes = workspace.update(symbols, chosen, progress, events=events)
    for (outcome, detail), rows in outcomes[outcomes["outcome"] != Outcome.OK].groupby(["outcome", "detail"]):
        say(f"{', '.join(rows['symbol'])}: {outcome}, {detail}")
    if not (outcomes["outcome"] == Outcome.OK).any():
        raise DataError(
            "No symbol arrived; try again later, or: python -m forecaster quickstart --source sample"
        )
    if events:
        say(_on_events(workspace, events))


def _on_events(workspace: Workspace, sources: Sequence[str]) -> str:
    """Say in one line what events arrived, and which sources failed."""
    told = workspace.event_outcomes()
    failed = told[~told["outcome"].isin([Outcome.OK, Outcome.GONE])].drop_duplicates("source")
    remarks = [f"; {row.source}: {row.outcome}, {row.detail}" for row in failed.itertuples()]
    what = "notable ones of the sample" if sources == ("sample",) else f"from {', '.join(sources)}"
    return f"Events: {told['rows'].sum()} {what}{''.join(remarks)}."


def _within(seconds: float, source: Source, symbol: str) -> Fetched | None:
    answers: list[Fetched] = []
    # A daemon: a request that hangs must not hold the program up, not even at its end.
    asking = threading.Thread(target=lambda: answers.append(source.fetch(symbol)), daemon=True)
    asking.start()
    asking.join(seconds)
    return answers[0] if answers else None
