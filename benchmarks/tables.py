"""What the benchmarks share: figures as JSON under ``results/``, and the README's tables made of them."""

import json
from pathlib import Path

import numpy as np

from forecaster.benchmark import Benchmark
from forecaster.evaluation.ablation import EVERY_DAY
from forecaster.evaluation.verdict import probability, reversals
from forecaster.models import TITLES
from forecaster.report import score_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
LEFT_OUT = ("recipe", "command", "seconds")


def results_of(run: Benchmark) -> dict:
    """Collect what is kept of a run: no forecasts, no paths."""
    overall = run.scores.overall

    def listed(frame) -> list[dict]:  # noqa: ANN001
        return json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))

    return {
        "about": {
            name: value for name, value in run.about.items() if name not in ("recipe", "command", "seconds")
        },
        "first_cutoff": str(overall["first_cutoff"].iloc[0].date()),
        "last_cutoff": str(overall["last_cutoff"].iloc[0].date()),
        "dates": int(overall["dates"].iloc[0]),
        "forecasts": int(overall["forecasts"].iloc[0]),
        "verdict": run.verdict(),
        "reversals": reversals(run.scores),
        "rows": score_rows(overall).to_dict("records"),
        "scores": listed(overall),
        "tests": listed(run.scores.tests[run.scores.tests["loss"].isin(["log_score", "crps"])]),
        "improvement": listed(run.scores.improvement),
        "seeds": listed(run.seeds),
        "ablation": [] if run.ablation is None else listed(run.ablation.changes),
        "ablation_by_symbol": [] if run.ablation is None else listed(run.ablation.symbols),
        "without_announced_dates": [] if run.without_dates is None else listed(run.without_dates.overall),
        "event_effects": [] if run.study is None else listed(run.study.effects.reset_index()),
    }


def table(results: dict) -> str:
    """Write results as the README's Markdown."""
    about = results["about"]
    packages = ", ".join(f"{name} {about['packages'][name]}" for name in ("keras", "arch", "scikit-learn"))
    facts = (
        f"{len(about['symbols'])} stocks, {results['dates']} dates, {results['forecasts']} forecasts "
        f"a model, cutoffs {results['first_cutoff']} to {results['last_cutoff']}, "
        f"{len(about['folds'])} refits, "
        f"{about['seeds']} random starts a network; run on {about['date']}, data {about['fingerprint']}, "
        f"recipe {about['recipe_hash']}, {packages}."
    )
    words = [*_ablation(results["ablation"]), facts, f"Verdict. {results['verdict']}"]
    words += [f"Out of the expected order: {' '.join(results['reversals'])}"] if results["reversals"] else []
    return "\n".join([*markdown(results["rows"]), "", "\n\n".join(words)])


def markdown(rows: list[dict[str, str]]) -> list[str]:
    """Lay rows out as the lines of a table."""
    headings = list(rows[0])
    lines = [f"| {' | '.join(headings)} |", f"|{'|'.join([' --- '] * len(headings))}|"]
    return lines + [f"| {' | '.join(row.values())} |" for row in rows]


def _ablation(records: list[dict]) -> list[str]:
    """Write what one session ahead costs without each group of inputs or kind of event, or with one alone."""
    at_first = [row for row in records if row["step"] == 1 and row["log_score_change"] is not None]
    folds = {row["model"]: row["folds"] for row in at_first}
    if not folds:
        return []
    cells = {
        (_title(row), row["model"]): f"{row['log_score_change']:+.4f} ({_tested(row['p_value'])})"
        for row in at_first
    }
    heads = [f"{TITLES[model]}, {refits} refits" for model, refits in folds.items()]
    lines = [f"| Loss of log score, nats | {' | '.join(heads)} |", "| --- " * (1 + len(folds)) + "|"]
    for title in dict.fromkeys(map(_title, at_first)):
        values = [cells.get((title, model), "not run").replace("-", "\u2212") for model in folds]
        lines.append(f"| {title} | {' | '.join(values)} |")
    return ["\n".join(lines)]


def _tested(p: float | None) -> str:
    return probability(np.nan if p is None else p)


def _title(row: dict) -> str:
    if row.get("days", EVERY_DAY) == EVERY_DAY:
        return row["variant"]
    return f"{row['variant']}, on the {row['events']} event days"


def insert(text: str, name: str, results: dict) -> str:
    """Put the table of some results between its marks in the README."""
    return put(text, name, table(results))


def put(text: str, name: str, content: str) -> str:
    """Put Markdown between its marks in the README."""
    start, end = f"<!-- {name} results: start -->", f"<!-- {name} results: end -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def keep(name: str, run: Benchmark) -> None:
    """Write a run's figures and put its table into the README."""
    results = results_of(run)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    README.write_text(insert(README.read_text(encoding="utf-8"), name, results), encoding="utf-8")
    print(table(results))
