"""Ablation: the same folds with inputs taken away: each group, each kind of company event."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.config import GROUPS, Group, Recipe
from forecaster.errors import UsageError
from forecaster.evaluation.event_study import occasions
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.kept import Kept, Part
from forecaster.evaluation.shrinkage import group_means, shrink
from forecaster.evaluation.significance import paired_test
from forecaster.evaluation.walk import walk
from forecaster.events import moved_session
from forecaster.features import assemble
from forecaster.features.company import OTHERS
from forecaster.history import History
from forecaster.models import NETWORKS
from forecaster.progress import Progress, silent
from forecaster.sessions import all_sessions
from forecaster.windows import Windows

ALL = "all inputs"
EVERY_DAY, EVENT_DAYS = "all", "event days"
WITHOUT_EVENTS, WITHOUT_DATES = "without company events", "without announced dates"
GROUPS_TAKEN: dict[str, tuple[Group, ...]] = {
    **{f"without {one}": tuple(group for group in GROUPS if group != one) for one in GROUPS},
    **{f"{one} alone": (one,) for one in GROUPS},
}
"""Variant -> groups of inputs that are left to it."""

READ: dict[str, tuple[str, ...]] = {
    "results": ("results", "results_scheduled"),
    "dividends": ("dividend_scheduled",),
    **{kind: (kind,) for kind in OTHERS},
}
"""What models read of company events -> the kinds of its rows."""

LOSSES = ("log_score", "crps")
KEYS = ["symbol", "cutoff", "step", "session"]


@dataclass(frozen=True)
class Ablation:
    """What models lose without some of their inputs.

    Attributes
    ----------
    changes : DataFrame
        One row per model, variant, step and days: folds, dates and events (those that fall on the
        forecast sessions; 0 where the variant is not of events), ``log_score_change`` (nats; positive:
        worse than with all inputs), its standard ``error`` and ``p_value`` (Diebold-Mariano over
        dates), ``crps_change`` in per cent. Days are "all", or "event days": stock-days with an event
        of the kind taken away among the sessions ahead, up to the step.
    symbols : DataFrame
        Of harx one session ahead, one row per variant of events, days and symbol: dates,
        log_score_change and its error, from the spread of its means by calendar month
        (`shrinkage.group_means`); ``shrunk``, the change drawn towards that of all symbols
        (`shrinkage.shrink`), with its 95 % interval ``low`` to ``high``.
    """

    changes: pd.DataFrame
    symbols: pd.DataFrame


@dataclass(frozen=True)
class _Variant:
    """Inputs that are left, and the kinds of event (keys of `READ`) on whose days they are judged."""

    name: str
    history: History
    groups: tuple[Group, ...]
    of: tuple[str, ...] = ()
    for_networks: bool = True


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
    only: str | None = None,
) -> Ablation:
    """Refit models on fewer inputs and compare them with themselves on all.

    Parameters
    ----------
    folds : sequence of Fold
        Of the windows that read all groups; cutoffs stay the same.
    models : sequence of str
        "harx" is refitted at every fold; networks at the first, the middle and the last, with their
        first random start, and of the events without all and without announced dates only.
    kept : Kept
        The tables of the models with all inputs.
    keep : callable
        Variant -> where its tables are kept.
    only : str, optional
        The one variant to try; default: all that the history allows.
    """
    fewer = sorted({0, len(folds) // 2, len(folds) - 1})
    events = _sessions_moved(history)
    changes, symbols = [], [pd.DataFrame()]
    full = Windows(assemble(history, recipe.groups, recipe.universe), recipe.lookback, recipe.horizon)
    for variant in _variants(history, recipe):
        if only is not None and variant.name != only:
            continue
        narrow = recipe.but(groups=variant.groups, seeds=1)
        panel = assemble(variant.history, variant.groups, recipe.universe)
        # Fewer inputs are known earlier, but all variants learn from the same rows.
        windows = Windows(panel, recipe.lookback, recipe.horizon).but_among(full.ends)
        place = keep(variant.name)
        for model in models:
            is_network = model in NETWORKS
            if is_network and not variant.for_networks:
                continue
            chosen = fewer if is_network else range(len(folds))
            walk(windows, [folds[at] for at in chosen], [model], narrow, steps, place, progress, jobs)
            whole = pd.concat(kept.get(Part(model, at, 0 if is_network else None)) for at in chosen)
            less = pd.concat(place.get(Part(model, at)) for at in range(len(chosen)))
            about = {"model": model, "variant": variant.name}
            for step, days, rows, count in _judged(whole, less, events[events["kind"].isin(variant.of)]):
                found = {"folds": len(chosen), "step": step, "days": days} | _change(rows, step)
                changes.append(about | found | {"events": count})
                if variant.of and not is_network and step == 1:
                    symbols.append(_by_symbol(rows).assign(**about, step=step, days=days))
    return Ablation(pd.DataFrame(changes), pd.concat(symbols, ignore_index=True))


def announced_dates(history: History) -> pd.Series:
    """Tell which of the events announce a date of results, stored or made up from those that followed."""
    return history.events["kind"] == "results_scheduled"


def _variants(history: History, recipe: Recipe) -> Iterator[_Variant]:
    for name, groups in GROUPS_TAKEN.items():
        yield _Variant(name, history, groups)
    kinds = history.events["kind"]
    present = [name for name, rows in READ.items() if kinds.isin(rows).any()]
    if not present or "exogenous" not in recipe.groups:
        return
    happened = tuple(name for name in present if name != "dividends")
    yield _Variant(WITHOUT_EVENTS, history.but_events(kinds.isin([])), recipe.groups, happened)
    dates = announced_dates(history)
    if dates.any():
        yield _Variant(WITHOUT_DATES, history.but_events(~dates), recipe.groups, ("results",))
    for name in present:
        left = history.but_events(~kinds.isin(READ[name]))
        yield _Variant(f"without {name}", left, recipe.groups, (name,), for_networks=False)


def _sessions_moved(history: History) -> pd.DataFrame:
    """List symbol, kind (a key of `READ`) and session of the events that models read."""
    parts = [occasions(history)[["symbol", "kind", "session"]]]
    is_plan = (history.events["kind"] == "dividend_scheduled") & history.events["symbol"].isin(
        history.symbols
    )
    for symbol, rows in history.events[is_plan].groupby("symbol"):
        exchange = history.instruments[str(symbol)].exchange
        known_at, planned = (
            rows[name].dt.tz_convert(None).to_numpy() for name in ("known_at", "happened_at")
        )
        # A later plan replaces those before: what counts is the last one known by the day itself.
        moments = np.unique(known_at)
        held = rows[np.searchsorted(moments, known_at) == np.searchsorted(moments, planned, side="right") - 1]
        session = np.unique(all_sessions(exchange)[moved_session(held, exchange)])
        parts.append(pd.DataFrame({"symbol": symbol, "kind": "dividends", "session": session}))
    return pd.concat(parts, ignore_index=True)


def _judged(
    whole: pd.DataFrame, less: pd.DataFrame, events: pd.DataFrame
) -> Iterator[tuple[int, str, pd.DataFrame, int]]:
    """Yield step, days, the forecasts of both on them side by side, and the number of events."""
    both = whole[[*KEYS, *LOSSES]].merge(less[[*KEYS, *LOSSES]], on=KEYS, suffixes=("", "_less"))
    for step in sorted(map(int, both["step"].unique())):
        rows = both[both["step"] == step]
        first, last, count = _events_ahead(rows, events)
        yield step, EVERY_DAY, rows, count
        if len(events):
            yield step, EVENT_DAYS, rows[last > first], count


def _events_ahead(rows: pd.DataFrame, events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, int]:
    """Return each forecast's first event by number, the first after it, and how many all cover."""
    names = pd.Index(rows["symbol"].unique())
    known = events[events["symbol"].isin(names)]

    def key(symbol: pd.Series, session: pd.Series) -> np.ndarray:
        day = session.to_numpy().astype("datetime64[D]").astype(np.int64)
        return names.get_indexer(symbol) * 10**6 + day

    sorted_events = np.unique(key(known["symbol"], known["session"]))
    first, last = (
        np.searchsorted(sorted_events, key(rows["symbol"], rows[name]), side="right")
        for name in ("cutoff", "session")
    )
    covered = np.bincount(first, minlength=len(sorted_events) + 1)
    covered -= np.bincount(last, minlength=len(sorted_events) + 1)
    return first, last, int((np.cumsum(covered)[:-1] > 0).sum())


def _change(rows: pd.DataFrame, step: int) -> dict[str, float | int]:
    """Compare the losses of two models, averaged over the symbols of a date first."""
    daily = rows.groupby("cutoff")[[f"{loss}{end}" for loss in LOSSES for end in ("", "_less")]].mean()
    test = paired_test(daily["log_score_less"].to_numpy(float), daily["log_score"].to_numpy(float), step)
    crps = daily.mean()
    return {
        "dates": test.dates,
        "log_score_change": test.difference,
        "error": test.error,
        "p_value": test.p_value,
        "crps_change": float(100 * (crps["crps_less"] / crps["crps"] - 1)),
    }


def _by_symbol(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare losses symbol by symbol, and shrink the changes."""
    change = rows["log_score_less"] - rows["log_score"]
    found = change.groupby(rows["symbol"], observed=True).agg(["count", "mean"])
    # Neighbouring sessions depend on each other, months hardly.
    month = rows["cutoff"].dt.to_period("M")
    batches = (
        change.groupby([rows["symbol"], month], observed=True).mean().reset_index(level="symbol", name="mean")
    )
    error = group_means(batches["mean"], batches["symbol"])["error"].reindex(found.index)
    shrunk = shrink(found["mean"].to_numpy(), error.to_numpy())
    named = found.reset_index().rename(columns={"count": "dates", "mean": "log_score_change"})
    return named.assign(error=error.to_numpy(), shrunk=shrunk.values, low=shrunk.low, high=shrunk.high)


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
