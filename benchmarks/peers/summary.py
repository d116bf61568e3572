"""What is kept of the comparison, and the README's table made of it."""

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import markdown

import forecaster as fc
from forecaster.benchmark.inputs import Inputs
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.verdict import probability
from forecaster.models import NETWORKS, TITLES
from forecaster.windows import Windows

PINS = Path(__file__).resolve().parent / "requirements.txt"
PEERS = {
    "neuralforecast_lstm": "neuralforecast LSTM",
    "neuralforecast_gru": "neuralforecast GRU",
    "darts_lstm": "Darts LSTM",
    "darts_gru": "Darts GRU",
}
BASELINE = "gjr_t"


def results_of(
    scores: Scores, task: dict[str, Any], inputs: Inputs, windows: Windows, seconds: dict[str, float]
) -> dict[str, Any]:
    """Collect what is kept of a comparison: no forecasts, no paths.

    Parameters
    ----------
    scores : Scores
        Of the project's models and the peers together.
    task : dict
        What was compared on what.
    seconds : dict
        Model -> seconds of a fit at the last refit.
    """
    overall, tests = scores.overall, scores.tests[scores.tests["loss"].isin(["log_score", "crps"])]

    def listed(frame: pd.DataFrame) -> list[dict[str, Any]]:
        return json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))

    first = overall[overall["step"] == 1].iloc[0]
    return {
        "about": {name: value for name, value in task.items() if name != "recipe"}
        | {
            "date": str(datetime.now(tz=UTC).date()),
            "inputs": inputs.notes,
            "symbols": list(windows.panel.symbols),
            "recipe_hash": fc.Recipe(**task["recipe"]).hash,
            "packages": dict(line.split("==") for line in PINS.read_text(encoding="utf-8").split())
            | {name: version(name) for name in ("keras", "arch")},
            "dates": int(first["dates"]),
            "forecasts": int(first["forecasts"]),
            "first_cutoff": str(first["first_cutoff"].date()),
            "last_cutoff": str(first["last_cutoff"].date()),
        },
        "seconds_of_a_fit": seconds,
        "scores": listed(overall),
        "tests": listed(tests),
        "confidence_sets": listed(scores.confidence_sets),
    }


def table(results: dict[str, Any]) -> str:
    """Write results as the README's Markdown: one session ahead, best log score first."""
    about, scores = results["about"], {(row["model"], row["step"]): row for row in results["scores"]}
    tests = {
        (row["model"], row["step"]): row
        for row in results["tests"]
        if row["baseline"] == BASELINE and row["loss"] == "log_score"
    }

    def gain(model: str, step: int) -> str:
        if model == BASELINE:
            return "baseline"
        test = tests[model, step]
        p = np.nan if test["p_value"] is None else test["p_value"]
        return f"{-test['difference']:+.4f} ({probability(p)})".replace("-", "\u2212")

    at_first = [row for row in results["scores"] if row["step"] == 1]
    rows = []
    for row in sorted(at_first, key=lambda row: row["log_score"]):
        model, seconds = row["model"], results["seconds_of_a_fit"].get(row["model"])
        skill = 100 * (1 - row["crps"] / scores[BASELINE, 1]["crps"])
        rows.append(
            {
                "Model": PEERS.get(model) or TITLES[model],
                "Log score, nats": f"{row['log_score']:.4f}".replace("-", "\u2212"),
                f"Gain on {TITLES[BASELINE]}, nats": gain(model, 1),
                "Gain at 20 sessions": gain(model, 20),
                "CRPS, %": f"{100 * row['crps']:.3f}",
                "CRPS skill, %": f"{skill:+.2f}".replace("-", "\u2212"),
                "90 % coverage, %": f"{row['coverage_90']:.1f}",
                "A fit, s": "not timed" if seconds is None else f"{seconds:.1f}",
                "Package": _package(model, about["packages"]),
            }
        )
    facts = (
        f"{len(about['symbols'])} stocks, {about['dates']} dates, {about['forecasts']} forecasts a model, "
        f"cutoffs {about['first_cutoff']} to {about['last_cutoff']}, {len(about['refits'])} refits, at most "
        f"{about['max_steps']} gradient steps a peer; torch {about['packages']['torch']}; run on "
        f"{about['date']}, data {about['fingerprint']}, recipe {about['recipe_hash']}."
    )
    return "\n".join([*markdown(rows), "", facts])


def _package(model: str, packages: dict[str, str]) -> str:
    if model in PEERS:
        name = model.split("_", maxsplit=1)[0]
        return f"{name} {packages[name]}"
    below = {"gjr_t": "arch"} | dict.fromkeys((*NETWORKS, "served"), "keras")
    if model not in below:
        return "forecaster"
    return f"forecaster, {below[model]} {packages[below[model]]}"
