"""The ledger of issued forecasts: append-only, never rewritten; what came of them is joined at read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.decisions import CHAMPION, holder
from forecaster.evaluation.scores import with_scores
from forecaster.history import History, read_history
from forecaster.instruments import described
from forecaster.locks import exclusive
from forecaster.models import COMPARED, LAST_PRICE, SERVED
from forecaster.models.calibrate import adjustments
from forecaster.sessions import closes
from forecaster.store import Store
from forecaster.tables import table

PATIENCE = 60.0
"""Seconds to wait for another process that issues forecasts."""


def issue(store: Store, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Write forecasts down, unless the same model version has issued them before.

    Parameters
    ----------
    forecasts : DataFrame
        Columns of the forecasts table.

    Returns
    -------
    DataFrame
        The rows written.
    """
    key = list(table("forecasts").key)
    # What is looked up must still hold when it is written down.
    with exclusive(store.folder, "issue", PATIENCE):
        issued = store.rows("forecasts", where={"symbol": forecasts["symbol"].unique()})
        known = pd.MultiIndex.from_frame(issued[key])
        fresh = forecasts[~pd.MultiIndex.from_frame(forecasts[key]).isin(known)]
        store.append("forecasts", fresh)
    return fresh


def latest(store: Store, symbol: str | None = None) -> pd.DataFrame:
    """Read the forecast that stands for each symbol.

    It is the one from its latest cutoff; of several from there the champion's, of several of the
    champion's the last one issued. A forecast is taken whole, never some steps of one and some of
    another.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, sorted by symbol and step; empty if none was issued.
    """
    where = {"model": [SERVED], **({} if symbol is None else {"symbol": [symbol]})}
    issue_of = ["symbol", "cutoff", "version", "issued_at"]
    # Every forecast has a first step: the others are read of the cutoffs that stand alone.
    issues = store.rows("forecasts", where=where | {"step": [1]})[issue_of].drop_duplicates()
    issues = issues.assign(is_champion=issues["version"] == holder(store, CHAMPION))
    issues = issues.sort_values(["cutoff", "is_champion", "issued_at"])
    standing = issues.drop_duplicates("symbol", keep="last")[issue_of]
    rows = store.rows("forecasts", where=where | {"cutoff": standing["cutoff"].dt.date.unique()})
    return rows.merge(standing, on=issue_of).sort_values(["symbol", "step"], ignore_index=True)


def beside(store: Store, standing: pd.DataFrame) -> pd.DataFrame:
    """Read what the models to compare with said beside forecasts.

    Parameters
    ----------
    standing : DataFrame
        Rows of `latest`.

    Returns
    -------
    DataFrame
        Columns of the forecasts table, sorted by symbol, model and step; without the models that a version
        does not hold, or that were not written down when it was issued.
    """
    issues = standing[["symbol", "cutoff", "version"]].drop_duplicates()
    where = {"model": list(COMPARED), "cutoff": issues["cutoff"].dt.date.unique()}
    where |= {"symbol": issues["symbol"].unique()} if len(issues) == 1 else {}
    rows = store.rows("forecasts", where=where).merge(issues).sort_values("issued_at", kind="stable")
    said = rows.drop_duplicates(["symbol", "model", "step"], keep="first")
    return said.sort_values(["symbol", "model", "step"], ignore_index=True)


def stood(
    store: Store,
    recipe_hash: str,
    steps: Sequence[int] | None = None,
    models: Sequence[str] = (SERVED,),
    symbols: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read the forecasts of a recipe that stood at each cutoff, whichever of its versions issued them.

    Newer weights of a recipe go on where the earlier ones ended. Of one version the first word counts, of
    several versions from one cutoff the last one that was in time.

    Returns
    -------
    DataFrame
        Columns of the forecasts table and late: whether the close that it speaks of had come when it was
        issued.
    """
    where: dict[str, Sequence[str] | Sequence[int]] = {"recipe_hash": [recipe_hash], "model": list(models)}
    where |= {} if steps is None else {"step": list(steps)}
    where |= {} if symbols is None else {"symbol": list(symbols)}
    rows = store.rows("forecasts", where=where).sort_values("issued_at", kind="stable")
    key = ["symbol", "cutoff", "step", "model"]
    first = rows.drop_duplicates([*key, "version"], keep="first")
    first = first.assign(late=_late(store, first)).sort_values("late", ascending=False, kind="stable")
    return first.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def settled(
    store: Store, recipe_hash: str, steps: Sequence[int] = (1,), models: Sequence[str] = (SERVED, LAST_PRICE)
) -> pd.DataFrame:
    """Join the forecasts of a recipe that stood with what happened.

    Nothing of it is stored: the ledger says what was forecast and the prices what came, dividends in,
    adjusted for what has been known of splits since. It counts from the price that was issued, should
    that close have been corrected since.

    Returns
    -------
    DataFrame
        Long table as of a backtest, with pit, crps, log_score and outcome; forecasts of sessions that are
        not stored yet, or never were, are left out, and so are those issued when the close had come.
    """
    rows = stood(store, recipe_hash, steps, models)
    rows = rows[~rows.pop("late")].reset_index(drop=True)
    if rows.empty:
        return with_scores(rows, np.empty(0))
    symbols = list(rows["symbol"].unique())
    return with_scores(rows, _outcome(rows, read_history(store, symbols)))


def carried(
    store: Store, recipe_hash: str, symbols: Sequence[str], history: History
) -> dict[str, np.ndarray]:
    """Carry the calibration of a recipe on from the last forecast of each symbol that stood.

    The adjustment that stood then is moved by the forecasts whose outcome is known since, late ones as
    well; see `models.calibrate`. Newer weights take it over from those before.

    Parameters
    ----------
    history : History
        Prices up to the cutoff of the next forecast; later forecasts of the ledger are not looked at.

    Returns
    -------
    dict
        Symbol -> what is added to the log width of each step, (horizon,); symbols of which the recipe
        has issued nothing are left out.
    """
    rows = stood(store, recipe_hash, symbols=symbols)
    rows = rows[rows["cutoff"] <= history.as_of]
    if rows.empty:
        return {}
    last = rows.groupby("symbol")["cutoff"].transform("max")
    standing = rows[rows["cutoff"] == last]
    known = rows.assign(outcome=_outcome(rows, history))[(rows["session"] > last).to_numpy()]
    found: dict[str, list[float]] = {str(symbol): [] for symbol in standing["symbol"].unique()}
    for step in map(int, sorted(standing["step"].unique())):
        before = standing[standing["step"] == step]
        now = before.assign(cutoff=history.as_of, outcome=np.nan)
        start = before.set_index("symbol")["adjustment"]
        moved = adjustments(now, known[known["step"] == step], step, start)
        for symbol, one in zip(before["symbol"], moved, strict=True):
            found[str(symbol)].append(one)
    return {symbol: np.array(of) for symbol, of in found.items()}


def _late(store: Store, rows: pd.DataFrame) -> np.ndarray:
    """Say which forecasts were issued when the close that they speak of had come."""
    known = described(store.current("instruments", where={"symbol": rows["symbol"].unique()}))
    exchange = rows["symbol"].map({symbol: one.exchange for symbol, one in known.items()})
    late = pd.Series(False, index=rows.index)
    for name, of_exchange in rows.groupby(exchange):
        late[of_exchange.index] = of_exchange["issued_at"] >= pd.DatetimeIndex(
            closes(str(name), of_exchange["session"].to_numpy())
        ).tz_localize("UTC")
    return late.to_numpy()


def _outcome(rows: pd.DataFrame, history: History) -> np.ndarray:
    """Return the log return from each row's issued price to its session; NaN where a close is not known."""
    adjusted = history.prices.set_index(["symbol", "session"])["adj_close"]
    begun, ended = (
        adjusted.reindex(pd.MultiIndex.from_frame(rows[["symbol", day]])).to_numpy()
        for day in ("cutoff", "session")
    )
    traded = history.traded.set_index(["symbol", "session"])["close"]
    known = traded.reindex(pd.MultiIndex.from_frame(rows[["symbol", "cutoff"]])).to_numpy()
    return np.log(ended / begun) + np.log(known / rows["base_price"].to_numpy())
