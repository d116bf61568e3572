"""Ablation: the same folds with each group of inputs taken away, and with each alone."""

from collections.abc import Callable, Sequence

import pandas as pd

from forecaster.config import GROUPS, Group, Recipe
from forecaster.errors import UsageError
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import Kept, Part
from forecaster.evaluation.significance import daily_losses, paired_test
from forecaster.evaluation.walk import walk
from forecaster.features import assemble
from forecaster.history import History
from forecaster.models import NETWORKS
from forecaster.progress import Progress, silent
from forecaster.windows import Windows

ALL = "all groups"
VARIANTS: dict[str, tuple[Group, ...]] = {
    **{f"without {one}": tuple(group for group in GROUPS if group != one) for one in GROUPS},
    **{f"{one} alone": (one,) for one in GROUPS},
}


def ablate(
    history: History,
    recipe: Recipe,
    folds: Sequence[Fold],
    models: Sequence[str],
    steps: Sequence[int],
    kept: Kept,
    keep: Callable[[str], Kept],
    progress: Progress = silent,
    jobs: int = 1,
) -> pd.DataFrame:
    """Refit models on fewer groups of inputs and compare them with themselves on all.

    Parameters
    ----------
    folds : sequence of Fold
        Of the windows that read all groups; cutoffs stay the same.
    models : sequence of str
        "harx" is refitted at every fold; networks at the first, the middle and the last, with their
        first random start.
    kept : Kept
        The tables of the models with all groups.
    keep : callable
        Variant -> where its tables are kept.

    Returns
    -------
    DataFrame
        One row per model, variant and step: folds, dates, ``log_score_change`` (nats; positive: worse
        than with all groups), its standard ``error`` and ``p_value`` (Diebold-Mariano over dates),
        ``crps_change`` in per cent.
    """
    fewer = sorted({0, len(folds) // 2, len(folds) - 1})
    records = []
    full = Windows(assemble(history, recipe.groups, recipe.universe), recipe.lookback, recipe.horizon)
    for variant, groups in VARIANTS.items():
        narrow = recipe.but(groups=groups, seeds=1)
        panel = assemble(history, groups, recipe.universe)
        # Fewer inputs are known earlier, but all variants learn from the same rows.
        windows = Windows(panel, recipe.lookback, recipe.horizon).but_among(full.ends)
        place = keep(variant)
        for model in models:
            is_network = model in NETWORKS
            chosen = fewer if is_network else range(len(folds))
            walk(windows, [folds[at] for at in chosen], [model], narrow, steps, place, progress, jobs)
            whole = pd.concat(kept.get(Part(model, at, 0 if is_network else None)) for at in chosen)
            less = pd.concat(place.get(Part(model, at)) for at in range(len(chosen)))
            records += _compared(whole, less, {"model": model, "variant": variant, "folds": len(chosen)})
    return pd.DataFrame(records)


def _compared(full: pd.DataFrame, less: pd.DataFrame, about: dict[str, object]) -> list[dict[str, object]]:
    both = pd.concat([full.assign(model=ALL), less.assign(model="fewer")])
    records = []
    for step in sorted(set(both["step"])):
        rows = both[both["step"] == step]
        losses = {loss: daily_losses(rows, loss) for loss in ("log_score", "crps")}
        first, second = (losses["log_score"][name].to_numpy(dtype=float) for name in ("fewer", ALL))
        test = paired_test(first, second, int(step))
        crps = losses["crps"].mean()
        records.append(
            about
            | {
                "step": int(step),
                "dates": test.dates,
                "log_score_change": test.difference,
                "error": test.error,
                "p_value": test.p_value,
                "crps_change": float(100 * (crps["fewer"] / crps[ALL] - 1)),
            }
        )
    return records


def needs(models: Sequence[str]) -> list[str]:
    """Name the models of a list that are tried: harx and the networks.

    Raises
    ------
    UsageError
        If there is none.
    """
    tried = [name for name in models if name == "harx" or name in NETWORKS]
    if not tried:
        raise UsageError("An ablation tries harx and networks; name one of them among the models")
    return tried
