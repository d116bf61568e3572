"""The parts of the report that speak of scores: each takes scores and returns markup."""

import numpy as np
import pandas as pd

from forecaster.benchmark.document import figure, more, number, paragraph, table, terms
from forecaster.benchmark.pairs import gain, networks, out_of_order
from forecaster.benchmark.words import ahead, listed
from forecaster.evaluation.ablation import EVERY_DAY
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability, subject, verdict
from forecaster.models import LAST_PRICE, TITLES
from forecaster.report import score_rows
from forecaster.score_plots import (
    called,
    plot_ablation,
    plot_calibration,
    plot_example,
    plot_gains,
    plot_pit,
    plot_terciles,
    plot_years,
)

BASELINES = (LAST_PRICE, "gjr_t")


def in_short(scores: Scores, steps: list[int]) -> str:
    """Say what the tests allow to say, networks against HARX before all."""
    overall = scores.overall
    model = subject(overall)
    words = {
        f"{TITLES[model]}, {ahead(step)}": verdict(overall, step, model)
        for step in dict.fromkeys((steps[0], steps[-1]))
    }
    return terms(words, "words") + networks(scores, steps) + out_of_order(scores, steps[0])


def scores_at(scores: Scores, step: int, seeds: pd.DataFrame | None) -> str:
    """Show the scores at one step: table, widths, gains with their intervals, random starts."""
    overall = scores.overall
    caption = (
        f"{ahead(step).capitalize()}, best log score first; lower log score, CRPS, pinball and price error "
        f"are better"
    )
    present = [name for name in BASELINES if name in set(overall["model"])]
    figures = [
        figure(
            f"gain-{loss}-{name}",
            plot_gains(scores.tests, step, name, loss),
            f"Gain of each model over {called(name)} with its 95 % interval, as in the table of tests.",
        )
        for loss, name in [*(("log_score", name) for name in present), ("crps", LAST_PRICE)]
    ]
    without = overall.loc[(overall["step"] == step) & overall["log_score"].isna(), "model"]
    note = (
        f"{listed([TITLES[name] for name in without])}: quantiles only, thus no density and no log score; "
        f"see the CRPS."
    )
    parts = [table(score_rows(overall, step), caption), paragraph(note, "hint") if len(without) else ""]
    parts += [_widths(overall, step), *figures]
    if seeds is not None and len(seeds):
        rows = seeds[seeds["step"] == step]
        frame = pd.DataFrame(
            {
                "Model": rows["model"].map(TITLES),
                "Random start": rows["seed"] + 1,
                "Log score, nats": [number(value, 4) for value in rows["log_score"]],
                "CRPS, %": [number(100 * value, 3) for value in rows["crps"]],
            }
        )
        parts.append(table(frame, "Each random start by itself: no lucky one speaks for all"))
    return "".join(parts)


def _widths(overall: pd.DataFrame, step: int) -> str:
    rows = overall[overall["step"] == step].sort_values("qlike")
    frame = pd.DataFrame(
        {
            "Model": rows["model"].map(TITLES),
            "QLIKE, nats": [number(value, 4) for value in rows["qlike"]],
            **{
                f"Width of the {level} % range, % of the price": [
                    number(value, 2) for value in rows[f"width_{level}"]
                ]
                for level in (50, 80, 90, 98)
            },
            "Spread of the 90 % coverage over volatility thirds, points": [
                number(value, 1) for value in rows["tercile_spread"]
            ],
        }
    )
    return table(frame, "Volatility and width, best QLIKE first; narrower is better only if coverage holds")


def further(scores: Scores, steps: list[int]) -> str:
    """Show the gains over the last price at every step, and all scores at the later ones."""
    overall = scores.overall
    models = list(overall.loc[overall["step"] == steps[0]].sort_values("log_score")["model"])
    others = [name for name in models if name != LAST_PRICE]
    cells = {
        ahead(step).capitalize(): [gain(scores.tests, name, LAST_PRICE, step) for name in others]
        for step in steps
    }
    frame = pd.DataFrame({"Model": [TITLES[name] for name in others], **cells})
    caption = "Gain in log score over the last price, nats a forecast; positive is better"
    full = [
        more(f"All scores, {ahead(step)}", table(score_rows(overall, step), ahead(step).capitalize()))
        for step in steps[1:]
    ]
    return "".join([table(frame, caption), *full])


def years(scores: Scores, step: int) -> str:
    """Show the gains by calendar year."""
    hint = (
        "A gain that comes from one year only is luck or a crisis. The last price's width follows "
        "volatility slowly, so every better model gains most where volatility moves."
    )
    drawn = plot_years(scores.periods, step)
    seen = "One row a model, one column a year; blue and positive is better, orange and negative worse."
    return paragraph(hint, "hint") + figure("by-year", drawn, seen, broad=True)


def calibration(scores: Scores, step: int) -> str:
    """Show coverage, coverage over volatility thirds, and PIT histograms."""
    overall, pit = scores.overall, scores.pit
    models = list(overall.loc[overall["step"] == step, "model"])
    histograms = [
        figure(f"pit-{model}", plot_pit(pit, model, step), f"Histogram of the PIT of {TITLES[model]}.")
        for model in models
    ]
    return "".join(
        [
            paragraph(
                "A range of 90 % should hold 90 of 100 outcomes, in calm times as in stormy ones. Above the "
                "line ranges are too wide, below it too narrow.",
                "hint",
            ),
            figure(
                "coverage",
                plot_calibration(overall, step),
                "Realised minus nominal coverage of the ranges of 50, 80, 90 and 98 % of each model.",
            ),
            figure(
                "terciles",
                plot_terciles(scores.terciles, step),
                "Coverage of each model's 90 % range where it foresaw low, middle and high volatility.",
            ),
            "<h3>PIT histograms</h3>",
            paragraph(
                "Where in the forecast distribution did outcomes fall? Level is calibrated; a hump says too "
                "wide, a bowl too narrow, a slope that the centre is off.",
                "hint",
            ),
            f'<div class="grid">{"".join(histograms)}</div>',
        ]
    )


def fans(examples: pd.DataFrame) -> str:
    """Show some past forecasts with what happened."""
    if examples.empty:
        return paragraph("No examples were kept.")
    groups = examples.sort_values("sigma").groupby(["model", "symbol", "cutoff"], sort=False)
    fans = [
        figure(
            f"example-{at}",
            plot_example(rows),
            f"Ranges that {TITLES[str(model)]} gave and what happened, in per cent of the last price.",
        )
        for at, ((model, _, _), rows) in enumerate(groups)
    ]
    titles = listed([TITLES[name] for name in examples["model"].unique()])
    words = (
        f"{titles}: a few forecasts from calm to stormy, chosen by their own spread and not by what came of "
        f"them. From dark to light the shades are to hold 50, 80, 90 and 98 of 100 outcomes; the line is the "
        f"median, the dots are what happened at the sessions that were kept."
    )
    return f'{paragraph(words, "hint")}<div class="grid wide">{"".join(fans)}</div>'


def stocks(scores: Scores, step: int) -> str:
    """Show on how many stocks each model is better than the baselines."""
    words = (
        f"On how many stocks is a model better than a baseline, and on how many is that more than luck? "
        f"Tests of many stocks find something by chance: among those called significant, no more than "
        f"{100 * LEVEL:.0f} % are expected to be false (Benjamini and Hochberg)."
    )
    by_log_score = _improvement(scores, "log_score", f"By log score, {ahead(step)}", step)
    by_crps = _improvement(scores, "crps", f"By CRPS, {ahead(step)}", step)
    return paragraph(words, "hint") + by_log_score + more("The same by CRPS", by_crps)


def direction(scores: Scores, step: int) -> str:
    """Show what the median price and the direction were worth."""
    rows = scores.overall[scores.overall["step"] == step]
    told = rows.dropna(subset="direction_p")
    skilled = told[(told["direction_p"] < LEVEL) & (told["direction_gain"] > 0)]
    if told.empty:
        sentence = "No model calls a direction often enough, and both ways, for a test."
    elif skilled.empty:
        sentence = "Direction is not distinguishable from a coin, or worse, with every model tested here."
    else:
        sentence = (
            f"Direction is better than chance with {listed([TITLES[name] for name in skilled['model']])}; "
            f"with the others it is not."
        )
    by_symbol = scores.directions[scores.directions["step"] == step].groupby("model")
    tested = by_symbol["p_value"].count().reindex(rows["model"], fill_value=0)
    found = (
        by_symbol["q_value"].agg(lambda values: (values < LEVEL).sum()).reindex(rows["model"], fill_value=0)
    )
    frame = pd.DataFrame(
        {
            "Model": rows["model"].map(TITLES),
            "Median price off by, %": [number(value, 3) for value in rows["mae"]],
            "Skill in it, %": [number(value, 2, signed=True) for value in rows["mae_skill"]],
            "Test": [probability(p) for p in rows["mae_p"]],
            "Root mean square error, %": [number(value, 3) for value in rows["rmse"]],
            "Skill in that, %": [number(value, 2, signed=True) for value in rows["rmse_skill"]],
            "Direction right, %": [number(value, 1) for value in rows["direction"]],
            "Outcomes that rose, %": [number(value, 1) for value in rows["share_up"]],
            "Points over chance": [number(value, 2, signed=True) for value in rows["direction_gain"]],
            "Direction test": [probability(p) for p in rows["direction_p"]],
            "Stocks with direction": [
                f"{one} of {all_}" if all_ else "not tested" for one, all_ in zip(found, tested, strict=True)
            ],
        }
    )
    caption = (
        f"Errors in per cent of the last price and skill against it; direction of forecasts with an opinion, "
        f"tested over dates and stock by stock (Pesaran and Timmermann), {ahead(step)}"
    )
    return paragraph(sentence) + table(frame, caption)


def inputs(ablation: pd.DataFrame, step: int) -> str:
    """Show what models lose without each group of inputs."""
    words = (
        "Each model was refitted on the same folds without one of the three groups of inputs, on one group "
        "alone, and without kinds of company events where there are any. To the right of the line it got "
        "worse: the further right without something, the more that carries, and the further right alone, "
        "the less it does by itself."
    )
    ablation = ablation[ablation["days"] == EVERY_DAY]
    models = list(ablation["model"].unique())
    drawn = [
        figure(
            f"ablation-{model}",
            plot_ablation(ablation, model, step),
            f"Change in the log score of {TITLES[model]} with fewer inputs, with 95 % intervals.",
        )
        for model in models
    ]
    steps = sorted(ablation["step"].unique())
    rows = ablation[ablation["step"] == step].set_index(["model", "variant"])
    changes = ablation.assign(
        written=[
            f"{number(change, 4, signed=True)} ({probability(p)})"
            for change, p in zip(ablation["log_score_change"], ablation["p_value"], strict=True)
        ]
    ).pivot(index=["model", "variant"], columns="step", values="written")
    frame = pd.DataFrame(
        {
            "Model": [TITLES[model] for model, _ in rows.index],
            "Inputs": [variant for _, variant in rows.index],
            "Folds": list(rows["folds"]),
            "Dates": list(rows["dates"]),
            **{ahead(int(one)).capitalize(): list(changes[one].reindex(rows.index)) for one in steps},
            f"CRPS, {ahead(step)}, %": [number(one, 2, signed=True) for one in rows["crps_change"]],
        }
    )
    grid = f'<div class="grid wide">{"".join(drawn)}</div>'
    return (
        paragraph(words, "hint")
        + grid
        + table(frame, "Change in log score, nats, against the same model on all inputs; positive is worse")
    )


def _improvement(scores: Scores, loss: str, caption: str, step: int) -> str:
    every = scores.improvement
    rows = every[(every["step"] == step) & (every["loss"] == loss)].set_index(["model", "baseline"])
    models, baselines = (list(rows.index.unique(name)) for name in ("model", "baseline"))
    columns = {
        f"{words} {called(baseline)}, % of stocks": [
            number(rows[share].get((model, baseline), np.nan), 0) for model in models
        ]
        for baseline in baselines
        for words, share in (
            ("Better than", "share_improved"),
            ("Significantly better than", "share_significant"),
        )
    }
    return table(pd.DataFrame({"Model": [TITLES[model] for model in models], **columns}), caption)
