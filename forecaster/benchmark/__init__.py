"""The benchmark: walk-forward evaluation of any price panel, kept in a folder and written up.

The folder holds ``forecasts/`` (the long table), ``seeds/`` (each random start of a network),
``ablation/``, ``without-announced-dates/``, ``scores.json`` and ``report.html``; a run that was stopped
goes on from there.
"""

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.benchmark.event_sections import HARX, WithoutDates
from forecaster.benchmark.inputs import Inputs
from forecaster.benchmark.page import write_page
from forecaster.config import Recipe
from forecaster.errors import TooLittleHistory
from forecaster.evaluation.ablation import WITHOUT_DATES, Ablation, ablate, needs
from forecaster.evaluation.backtest import steps_of
from forecaster.evaluation.event_study import EventStudy, event_study
from forecaster.evaluation.folds import Fold, Plan
from forecaster.evaluation.kept import InFolder, Kept, Part
from forecaster.evaluation.scores import Scores, score, scores_json
from forecaster.evaluation.verdict import subject, verdict
from forecaster.evaluation.walk import walk, with_members
from forecaster.events import BACKFILL, KNOWN_AHEAD, RELEASED
from forecaster.features import assemble
from forecaster.history import History
from forecaster.locks import exclusive
from forecaster.models import LAST_PRICE, NETWORKS, TITLES
from forecaster.progress import Progress, silent
from forecaster.windows import Windows

PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "arch", "statsmodels", "scoringrules", "keras")
FORECASTING = ("history.py", "adjust.py", "sessions.py", "events.py", "windows.py", "features/*.py",
               "models/*.py", "evaluation/folds.py", "evaluation/walk.py", "evaluation/scores.py",
               "config.py")  # fmt: skip
"""Source on which forecasts depend: a run kept under another one is not gone on with."""

QUICK_EPOCHS = 3
EXAMPLES = 4

READ_EVENTS = (HARX, "boosting", *NETWORKS)
"""Models whose forecasts depend on company events."""


@dataclass(frozen=True)
class Benchmark:
    """What a run found.

    Attributes
    ----------
    folder : Path
        Where everything lies.
    about : dict
        What was run on what, JSON-ready.
    scores : Scores
    seeds : DataFrame
        model, seed, step, log_score and crps of each random start by itself.
    ablation : Ablation or None
    without_dates : WithoutDates or None
        HARX without announced dates of results, where those are in part made up and a model read them.
    study : EventStudy or None
        Of the company events, where there are any.
    """

    folder: Path
    about: dict[str, Any]
    scores: Scores
    seeds: pd.DataFrame
    ablation: Ablation | None
    without_dates: WithoutDates | None
    study: EventStudy | None

    def verdict(self, step: int = 1) -> str:
        """Say in words what the scores of the served model, else of the best, allow to say."""
        overall = self.scores.overall
        name = subject(overall)
        words = f"{TITLES[name]}. {verdict(overall, step, name)}"
        return words if self.without_dates is None else f"{words} {self.without_dates.words(overall, step)}"


def benchmark(
    inputs: Inputs,
    plan: Plan,
    models: Sequence[str],
    folder: Path,
    recipe: Recipe | None = None,
    ablation: bool = False,
    all_steps: bool = False,
    quick: bool = False,
    progress: Progress = silent,
    jobs: int = 1,
    command: str = "benchmark --prices FILE --out DIR",
) -> Benchmark:
    """Evaluate models walk-forward on a panel, and write scores.json, forecasts/ and report.html.

    Parameters
    ----------
    inputs : Inputs
    plan : Plan
        Test period and refits.
    models : sequence of str
        Names in `models.KINDS` and `models.pool.POOL_NAMES`; the last price and members of pools join them,
        and HARX where one of them reads announced dates of results that are in part made up
        (`History.has_backfill`): it is evaluated without them as well.
    folder : Path
        Made if need be; goes on where an earlier run of the same data, recipe and plan was stopped.
    recipe : Recipe, optional
        Of the networks; default: ``Recipe()``.
    ablation : bool
        Refit harx and the networks with each group of inputs taken away and alone, and without kinds of
        company events.
    all_steps : bool
        Keep every step ahead and not 1, 5, 10 and 20 only.
    quick : bool
        The last year of the test with one refit, one random start and three epochs: to try the road.
    jobs : int
        Processes at work.
    command : str
        What repeats the run, for the report.

    Raises
    ------
    Locked
        If another run works in the folder.
    UsageError
        If the folder holds another run, for an unknown model, or a plan that is none.
    TooLittleHistory
        If too few sessions are left to train on.
    """
    begun = time.monotonic()
    used = recipe or Recipe()
    names = with_members(models, used)
    with exclusive(folder, "benchmark"):
        if quick:
            used = used.but(seeds=1, epochs=QUICK_EPOCHS)
        history = inputs.history
        windows = Windows(assemble(history, used.groups), used.lookback, used.horizon)
        if not len(windows.ends):
            raise TooLittleHistory(
                f"No symbol has enough sessions for one window of {used.lookback} after a warm-up of 67; "
                f"bring longer histories"
            )
        folds = (_last_year(plan, windows) if quick else plan).cut(windows)
        made_up = history.has_backfill and "exogenous" in used.groups and not {*READ_EVENTS}.isdisjoint(names)
        if made_up:
            names = with_members([*names, HARX], used)
        steps = list(range(1, used.horizon + 1)) if all_steps else steps_of(used)
        run = _run(inputs, used, folds, steps, windows)
        kept = InFolder(folder, run)
        walk(windows, folds, names, used, steps, kept, progress, jobs)

        def keep(variant: str) -> InFolder:
            place = folder if variant == WITHOUT_DATES else folder / "ablation"
            return InFolder(place / variant.replace(" ", "-"), run)

        change = None
        if ablation:
            change = ablate(history, used, folds, needs(names), steps, kept, keep, progress, jobs)
        without_dates = None
        if made_up:
            found = ablate(history, used, folds, [HARX], steps, kept, keep, progress, jobs, WITHOUT_DATES)
            tables = [
                *_Tables(kept, [LAST_PRICE], len(folds)),
                *_Tables(keep(WITHOUT_DATES), [HARX], len(folds)),
            ]
            overall = score(tables).overall
            without_dates = WithoutDates(overall[overall["model"] == HARX], found.changes)
        study = event_study(history) if history.events["kind"].isin(RELEASED).any() else None
        scores = score(_Tables(kept, names, len(folds)))
        about = run | {
            "date": str(datetime.now(tz=UTC).date()),
            "command": command,
            "quick": quick,
            "test_start": run["folds"][0]["first"],
            "test_end": run["folds"][-1]["last"],
            "refit": plan.refit,
            "rolling": plan.rolling,
            "models": names,
            "inputs": inputs.notes,
            "left_out": json.loads(inputs.dropped.to_json(orient="records")),
            "symbols": list(windows.panel.symbols),
            "sessions": [_day(windows.panel.session.min()), _day(windows.panel.session.max())],
            "seeds": used.seeds,
            "recipe_hash": used.hash,
            "announced_dates": _made_up(history) if made_up else "",
            "python": platform.python_version(),
            "seconds": round(time.monotonic() - begun),
        }
        seeds = _by_seed(kept, names, used, len(folds))
        result = Benchmark(folder, about, scores, seeds, change, without_dates, study)
        _write(result)
        examples = _examples(kept, names, len(folds))
        page = folder / "report.html"
        write_page(page, about, scores, examples, change, seeds, without_dates, study)
        return result


def _last_year(plan: Plan, windows: Windows) -> Plan:
    newest = pd.Timestamp(windows.panel.session[windows.ends].max())
    last = newest if plan.test_end is None else min(plan.test_end, newest)
    year = last - pd.DateOffset(years=1)
    return replace(plan, test_start=max(year, plan.test_start or year), folds=1)


def _made_up(history: History) -> str:
    """Say which announced dates were made up."""
    rows = history.events[history.events["source"] == BACKFILL]
    return (
        f"{len(rows)} announced dates of results, from {rows['happened_at'].min():%Y-%m-%d} to "
        f"{rows['happened_at'].max():%Y-%m-%d}, are taken from the results that followed, as if known "
        f"{KNOWN_AHEAD} sessions ahead: nobody kept what was announced then. HARX without any announced "
        f"date stands beside."
    )


def _run(
    inputs: Inputs, recipe: Recipe, folds: Sequence[Fold], steps: Sequence[int], windows: Windows
) -> dict[str, Any]:
    """Name everything that the kept tables depend on."""
    session = windows.panel.session
    return {
        "fingerprint": inputs.history.fingerprint,
        "recipe": recipe.model_dump(mode="json"),
        "folds": [
            {
                "refit": str(fold.refit),
                "trained_since": None if fold.since is None else str(fold.since),
                "cutoffs": len(fold.cutoffs),
                "first": _day(session[fold.cutoffs].min()),
                "last": _day(session[fold.cutoffs].max()),
            }
            for fold in folds
        ],
        "steps": list(steps),
        "packages": {name: version(name) for name in PACKAGES},
        "code": _code(),
    }


def _code() -> str:
    """Twelve hexadecimal digits that name the source that makes the forecasts."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for file in sorted(file for pattern in FORECASTING for file in package.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _day(moment: np.datetime64) -> str:
    return str(np.datetime_as_string(moment, "D"))


@dataclass(frozen=True)
class _Tables:
    """The long table of each model, read when it is asked for, as often as it is."""

    kept: Kept
    names: Sequence[str]
    folds: int

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for name in self.names:
            parts = [self.kept.get(Part(name, fold)) for fold in range(self.folds)]
            yield pd.concat(parts, ignore_index=True)


def _by_seed(kept: Kept, names: Sequence[str], recipe: Recipe, folds: int) -> pd.DataFrame:
    """Score each random start by itself: a lucky one must not speak for all."""
    records = []
    for name in names:
        for seed in range(recipe.seeds) if name in NETWORKS else ():
            rows = pd.concat([kept.get(Part(name, fold, seed)) for fold in range(folds)])
            daily = rows.groupby(["step", "cutoff"])[["log_score", "crps"]].mean()
            means = daily.groupby("step").mean()
            records += [
                {"model": name, "seed": seed, "step": int(step), **row}
                for step, row in zip(means.index, means.to_dict("records"), strict=True)
            ]
    return pd.DataFrame(records)


def _examples(kept: Kept, names: Sequence[str], folds: int) -> pd.DataFrame:
    """Take forecasts for the report's fans: of the last model, at its calmest and wildest cutoffs."""
    (rows,) = _Tables(kept, names[-1:], folds)
    first = rows[rows["step"] == rows["step"].min()].sort_values("sigma")
    places = np.linspace(0.02, 0.98, EXAMPLES) * (len(first) - 1)
    keys = first.iloc[places.astype(int)][["symbol", "cutoff"]]
    return rows.merge(keys, on=["symbol", "cutoff"])


def _write(result: Benchmark) -> None:
    content = {"about": result.about} | scores_json(result.scores)
    steps = result.scores.overall["step"].unique()
    content["verdicts"] = {str(step): result.verdict(int(step)) for step in steps}
    content["seeds"] = _records(result.seeds)
    if result.ablation is not None:
        content["ablation"] = _records(result.ablation.changes)
        content["ablation_by_symbol"] = _records(result.ablation.symbols)
    if result.without_dates is not None:
        content["without_announced_dates"] = {
            "words": {
                str(step): result.without_dates.words(result.scores.overall, int(step)) for step in steps
            },
            "scores": _records(result.without_dates.overall),
            "changes": _records(result.without_dates.changes),
        }
    if result.study is not None:
        content["event_study"] = {
            "paths": _records(result.study.paths),
            "effects": _records(result.study.effects.reset_index()),
        }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # Whole or not at all, as the forecasts.
    unfinished = result.folder / ".scores.json"
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(result.folder / "scores.json")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", date_format="iso"))
