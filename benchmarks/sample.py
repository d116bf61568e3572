"""The README's results table: the default recipe on the bundled sample.

Run ``python benchmarks/sample.py``; it takes about two minutes, writes
``benchmarks/results/sample.json`` and puts the table into the README.
"""

import datetime
import json
import tempfile
from pathlib import Path

import forecaster as fc
from forecaster.models.trained import card
from forecaster.progress import for_terminal
from forecaster.report import score_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "sample.json"
README = ROOT / "README.md"
START, END = "<!-- sample results: start -->", "<!-- sample results: end -->"


def table(results: dict) -> str:
    """Write results as the README's Markdown."""
    rows = results["rows"]
    headings = list(rows[0])
    lines = [f"| {' | '.join(headings)} |", f"|{'|'.join([' --- '] * len(headings))}|"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    about = (
        f"{results['dates']} dates, {results['forecasts']} forecasts a model, "
        f"cutoffs {results['first_cutoff']} to {results['last_cutoff']}; "
        f"run on {results['date']}, data {results['fingerprint']}, recipe {results['recipe_hash']}, "
        f"keras {results['packages']['keras']}."
    )
    return "\n".join([*lines, "", about, "", f"Verdict: {results['verdict']}"])


def insert(text: str, results: dict) -> str:
    """Put the table between the README's marks."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table(results)}\n{END}{after}"


def main() -> None:
    """Run the backtest, keep its figures and show them."""
    recipe = fc.Recipe()
    with tempfile.TemporaryDirectory() as home:
        workspace = fc.Workspace(home, fc.Settings(source="sample"))
        workspace.update(["AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"], "sample")
        history = workspace.history()
        evidence = fc.backtest(history, recipe, progress=for_terminal())
        about = card(recipe, history, history.symbols)
    scores = evidence.scores()
    first = scores[scores["step"] == 1].iloc[0]
    results = {
        "date": str(datetime.datetime.now(tz=datetime.UTC).date()),
        "fingerprint": history.fingerprint,
        "recipe_hash": recipe.hash,
        "packages": about["packages"],
        "dates": int(first["dates"]),
        "forecasts": int(first["forecasts"]),
        "first_cutoff": str(first["first_cutoff"].date()),
        "last_cutoff": str(first["last_cutoff"].date()),
        "verdict": evidence.verdict(),
        "rows": score_rows(scores).to_dict("records"),
        "scores": json.loads(scores.to_json(orient="records", date_format="iso", double_precision=15)),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    README.write_text(insert(README.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
