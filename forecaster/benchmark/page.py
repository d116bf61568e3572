"""The report of a benchmark: what was run, what came of it, how sure that is, and how to read it."""

from pathlib import Path
from typing import Any

import pandas as pd

from forecaster.benchmark.document import bullets, document, more, paragraph, preformatted, terms
from forecaster.benchmark.event_sections import WithoutDates, beside, company_events
from forecaster.benchmark.pairs import best
from forecaster.benchmark.sections import (
    calibration,
    direction,
    fans,
    further,
    in_short,
    inputs,
    scores_at,
    stocks,
    years,
)
from forecaster.benchmark.words import GLOSSARY, LIMITS, QUICK, RECOMPUTE, ahead, count, lasted, listed
from forecaster.evaluation.ablation import Ablation
from forecaster.evaluation.event_study import EventStudy
from forecaster.evaluation.scores import Scores

FIRST_FAULTS = 5


def write_page(
    path: Path,
    about: dict[str, Any],
    scores: Scores,
    examples: pd.DataFrame,
    ablation: Ablation | None = None,
    seeds: pd.DataFrame | None = None,
    without_dates: WithoutDates | None = None,
    study: EventStudy | None = None,
) -> None:
    """Write the report as one HTML file that no request leaves.

    Parameters
    ----------
    path : Path
    about : dict
        What was run: date, fingerprint, packages (name -> version), python, symbols (list), sessions
        (first, last), test_start, test_end (either may be None), refit, folds (list of dict with first
        and last cutoff), models, seeds (random starts a network), recipe_hash, command, quick, inputs
        (what the files were used for, in sentences), announced_dates (which of them were made up, in a
        sentence, or empty), left_out (symbol, row and reason of each faulty row), seconds.
    scores : Scores
    examples : DataFrame
        Rows of the long table, each model, symbol and cutoff with all its kept steps; each becomes a fan.
    ablation : Ablation, optional
    seeds : DataFrame, optional
        model, seed, step, log_score and crps of each random start by itself.
    without_dates : WithoutDates, optional
        HARX without announced dates of results, to stand beside the scores.
    study : EventStudy, optional
        Of the company events.
    """
    steps = sorted(int(step) for step in scores.overall["step"].unique())
    first = steps[0]
    dates = ""
    if without_dates is not None:
        dates = beside(without_dates, scores.overall, steps, about["models"], ablation is not None)
    sections = {
        "short": ("In short", in_short(scores, steps)),
        "scores": (f"Scores, {ahead(first)}", dates + scores_at(scores, first, seeds)),
        "steps": ("Further ahead", further(scores, steps)),
        "years": ("Year by year", years(scores, first)),
        "calibration": ("Calibration", calibration(scores, first)),
        "examples": ("Examples", fans(examples)),
        "stocks": ("Stock by stock", stocks(scores, first)),
        "direction": ("Price and direction", direction(scores, first)),
        "best": ("Which models could be best", best(scores, steps)),
    }
    if ablation is not None:
        sections["inputs"] = ("What each group of inputs carries", inputs(ablation.changes, first))
    if study is not None and len(study.paths):
        sections["events"] = ("Company events", company_events(study, ablation))
    sections |= {
        "reading": ("How to read it", terms(GLOSSARY, "words")),
        "limits": ("Limits", bullets(LIMITS)),
        "repeat": ("Repeat it", _repeat(about)),
    }
    title = f"How good are the forecasts? {about['folds'][0]['first']} to {about['folds'][-1]['last']}"
    path.write_text(document(title, _lead(about, steps), sections), encoding="utf-8")


def _lead(about: dict[str, Any], steps: list[int]) -> str:
    folds, symbols, faults = about["folds"], about["symbols"], about["left_out"]
    refits = f"{len(folds)} times" if len(folds) > 1 else "once"
    what = (
        f"{len(about['models'])} models forecast the price of {count(len(symbols), 'stock')} "
        f"{listed([str(step) for step in steps])} sessions ahead, on every session from "
        f"{folds[0]['first']} to {folds[-1]['last']}. They were refitted {refits}, each time on nothing "
        f"but what was known by then, and each forecast was scored against what then happened."
    )
    facts = {
        "Run": f"{about['date']}, {lasted(about['seconds'])}",
        "Data": f"{about['fingerprint']}: sessions {about['sessions'][0]} to {about['sessions'][1]}",
        "Recipe": f"{about['recipe_hash']}, {count(about['seeds'], 'random start')} a network",
        "Versions": ", ".join(
            f"{name} {version}" for name, version in {"Python": about["python"], **about["packages"]}.items()
        ),
    }
    parts = [
        paragraph(QUICK, "banner") if about["quick"] else "",
        paragraph(what),
        terms(facts, "facts"),
        bullets(about["inputs"]) if about["inputs"] else "",
        paragraph(about["announced_dates"], "note") if about["announced_dates"] else "",
    ]
    if faults:
        shown = [f"{one['symbol']}, row {one['row']}: {one['reason']}" for one in faults[:FIRST_FAULTS]]
        rest = len(faults) - len(shown)
        shown += [f"and {rest} more"] if rest else []
        parts.append(more(f"{count(len(faults), 'row')} of the price file left out", bullets(shown)))
    parts.append(more(f"The {count(len(symbols), 'stock')}", paragraph(", ".join(map(str, symbols)))))
    return "".join(parts)


def _repeat(about: dict[str, Any]) -> str:
    lead = f"With the same files; the same data show the fingerprint {about['fingerprint']}."
    after = "Every score here can be computed again from the long table of forecasts beside this page:"
    command = f"python -m forecaster {about['command']}"
    return "".join([paragraph(lead), preformatted(command), paragraph(after), preformatted(RECOMPUTE)])
