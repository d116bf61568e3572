"""The parts of the report that speak of company events."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecaster.benchmark.document import figure, more, number, paragraph, table
from forecaster.benchmark.words import ahead, count, listed
from forecaster.evaluation.ablation import EVENT_DAYS, EVERY_DAY, Ablation
from forecaster.evaluation.event_study import ALL, EventStudy
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability
from forecaster.event_plots import MEASURED, plot_event_path
from forecaster.events import KNOWN_AHEAD, RELEASED
from forecaster.models import NETWORKS, TITLES
from forecaster.report import score_rows

HARX = "harx"
FEWEST_DRAWN = 10
"""Events from which on a kind's paths are drawn; fewer stand in the table alone."""


@dataclass(frozen=True)
class WithoutDates:
    """HARX refitted without announced dates of results.

    Attributes
    ----------
    overall : DataFrame
        Its rows of `Scores.overall`.
    changes : DataFrame
        `Ablation.changes` of that variant.
    """

    overall: pd.DataFrame
    changes: pd.DataFrame

    def words(self, overall: pd.DataFrame, step: int) -> str:
        """Say in a sentence what the dates are worth, and that they were made up.

        Parameters
        ----------
        overall : DataFrame
            `Scores.overall` of the run.
        """
        known, unknown = (
            number(rows.loc[(rows["model"] == HARX) & (rows["step"] == step), "log_score"].item(), 4)
            for rows in (overall, self.overall)
        )
        rows = {row["days"]: row for row in self.changes[self.changes["step"] == step].to_dict("records")}
        words = (
            f"Announced dates of results are in part made up here from the results that followed. "
            f"{TITLES[HARX]} knowing dates {KNOWN_AHEAD} sessions ahead: log score {known} nats; knowing "
            f"none: {unknown}, {_compared(rows[EVERY_DAY])}"
        )
        if EVENT_DAYS in rows:
            words += f", and on days with results {_compared(rows[EVENT_DAYS])}"
        return f"{words}."


def _compared(row: dict[Hashable, Any]) -> str:
    change, p = row["log_score_change"], row["p_value"]
    if np.isnan(p):
        return f"a difference of {number(change, 4, signed=True)} nats, on too few dates for a test"
    facts = f"{number(abs(change), 4)} nats, {probability(p)}"
    if p >= LEVEL:
        return f"not distinguishable ({facts})"
    return f"{'worse' if change > 0 else 'better'} ({facts})"


def beside(
    dates: WithoutDates, overall: pd.DataFrame, steps: list[int], models: list[str], ablated: bool
) -> str:
    """Show HARX with and without announced dates, and say where networks are compared.

    Parameters
    ----------
    ablated : bool
        Whether the run has an ablation.
    """
    parts = [f"<h3>Without announced dates</h3>{paragraph(dates.words(overall, steps[0]), 'note')}"]
    networks = [TITLES[name] for name in NETWORKS if name in models]
    if networks:
        where = (
            "stands under \u201cWhat each group of inputs carries\u201d"
            if ablated
            else "comes with the option --ablation"
        )
        parts.append(paragraph(f"The same comparison of {listed(networks)} {where}.", "hint"))
    first, *others = [_both(dates, overall, step) for step in steps]
    return "".join([*parts, first, more("Further ahead", *others) if others else ""])


def _both(dates: WithoutDates, overall: pd.DataFrame, step: int) -> str:
    rows = [
        score_rows(frame[frame["model"] == HARX], step).assign(Model=f"{TITLES[HARX]}, {what}")
        for frame, what in ((overall, "dates known"), (dates.overall, "no date known"))
    ]
    return table(pd.concat(rows).drop(columns="In 90 % set"), ahead(step).capitalize())


def company_events(study: EventStudy, ablation: Ablation | None) -> str:
    """Show what prices did around events, how far each kind moves them, and what knowing it is worth."""
    paths = study.paths
    words = (
        "What prices did around company events, over the whole history. Session 0 is the one that an event "
        "moved: the first that closes after it was known. An abnormal return is the stock\u2019s less the "
        "market\u2019s; the usual is its mean absolute size over the 66 sessions that ended ten before the "
        "event. Bands hold the true mean with 95 % at each session by itself, and count the events of one "
        "session as one. Nothing here says that the event was the cause."
    )
    parts = [paragraph(words, "hint"), _counted(paths), _sized(study.effects)]
    for kind, rows in paths[(paths["tone"] == ALL) & (paths["offset"] == 0)].groupby("kind", sort=False):
        if rows["events"].max() < FEWEST_DRAWN:
            continue
        drawn = [
            figure(
                f"event-{kind}-{measure}",
                plot_event_path(paths, str(kind), measure),
                f"{RELEASED[str(kind)]}, mean over events: {MEASURED[measure][1]}, with 95 % bands.",
            )
            for measure in MEASURED
        ]
        parts.append(f'<h3>{RELEASED[str(kind)]}</h3><div class="grid wide">{"".join(drawn)}</div>')
    if ablation is not None:
        parts.append(_worth(ablation))
    return "".join(parts)


def _counted(paths: pd.DataFrame) -> str:
    days = int(paths["offset"].max())

    def cells(measure: str, offset: int, factor: float) -> list[str]:
        rows = paths[(paths["measure"] == measure) & (paths["offset"] == offset)]
        return [_with_interval(row, 2) for row in factor * rows[["value", "low", "high"]].to_numpy(float)]

    # Kinds and tones stand in the same order for every measure and offset.
    first = paths[(paths["measure"] == "average") & (paths["offset"] == 0)]
    frame = pd.DataFrame(
        {
            "Events": [
                f"{RELEASED[kind]}, {'every tone' if tone == ALL else tone}"
                for kind, tone in zip(first["kind"], first["tone"], strict=True)
            ],
            "Number": first["events"].to_list(),
            "Companies": first["companies"].to_list(),
            "Sessions": first["dates"].to_list(),
            "Abnormal return on session 0, %": cells("average", 0, 100),
            f"And over sessions 0 to {days}, %": cells("cumulative", days, 100),
            "Absolute abnormal return on session 0, times the usual": cells("volatility", 0, 1),
        }
    )
    return table(frame, "Means with 95 % intervals; tone below \u22120.1 is bad, above 0.1 good")


def _sized(effects: pd.DataFrame) -> str:
    frame = pd.DataFrame(
        {
            "Kind": [RELEASED[str(kind)] for kind in effects.index],
            "Events": effects["events"].to_list(),
            "Companies": effects["companies"].to_list(),
            "Spread, times that of an ordinary session": _intervals(effects, "width"),
            "Move with tone, volatilities": _intervals(effects, "shift"),
        }
    )
    caption = (
        "How far each kind goes with a wider session (root mean square return, pooled over companies), and "
        "by how many daily volatilities the return is higher where the tone is higher by 1; 95 % intervals"
    )
    return table(frame, caption)


def _intervals(effects: pd.DataFrame, name: str) -> list[str]:
    columns = effects[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
    return [_with_interval(row, 2) for row in columns]


def _with_interval(figures: np.ndarray, digits: int) -> str:
    """Write a value with its interval, from value, low and high."""
    value, low, high = figures
    if np.isnan(low):
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def _worth(ablation: Ablation) -> str:
    """Show what models lose without each kind, on all days and on those with an event."""
    changes = ablation.changes
    rows = changes[changes["variant"].isin(changes.loc[changes["days"] == EVENT_DAYS, "variant"])]
    if rows.empty:
        return ""
    first, *others = [
        table(_losses(part), f"{ahead(step).capitalize()}: loss against the same model with all")
        for step, part in ((int(one), rows[rows["step"] == one]) for one in sorted(rows["step"].unique()))
    ]
    words = (
        "What a model loses without each kind of event; positive is worse. Event days are the stock-days "
        "with such an event among the sessions ahead."
    )
    return "".join(
        [
            f"<h3>What knowing them is worth</h3>{paragraph(words, 'hint')}{first}",
            more("Further ahead", *others) if others else "",
            _by_symbol(ablation.symbols),
        ]
    )


def _losses(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": rows["model"].map(TITLES) + ", " + rows["variant"],
            "Days": [days if days == EVENT_DAYS else "all days" for days in rows["days"]],
            "Folds": rows["folds"],
            "Dates": rows["dates"],
            "Events": rows["events"],
            "Log score, nats": [
                f"{number(change, 4, signed=True)} ({probability(p)})"
                for change, p in zip(rows["log_score_change"], rows["p_value"], strict=True)
            ],
            "CRPS, %": [number(one, 2, signed=True) for one in rows["crps_change"]],
        }
    )


def _by_symbol(symbols: pd.DataFrame) -> str:
    parts = []
    for variant, rows in symbols[symbols["days"] == EVERY_DAY].groupby("variant", sort=False):
        ordered = rows.sort_values("shrunk", ascending=False)
        frame = pd.DataFrame(
            {
                "Stock": ordered["symbol"],
                "Dates": ordered["dates"],
                "Loss, nats": [number(one, 4, signed=True) for one in ordered["log_score_change"]],
                "Shrunk, with its 95 % interval": [
                    _with_interval(row, 4) for row in ordered[["shrunk", "low", "high"]].to_numpy(dtype=float)
                ],
            }
        )
        caption = (
            f"{TITLES[HARX]} {variant}, one session ahead: loss of log score by stock, and the same drawn "
            f"towards the mean of all as far as it is uncertain (empirical Bayes)"
        )
        parts.append(more(f"{str(variant).capitalize()}, {count(len(rows), 'stock')}", table(frame, caption)))
    return "".join(parts)
