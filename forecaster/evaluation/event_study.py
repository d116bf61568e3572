"""Event study: how prices moved around company events, and how sure that is.

After MacKinlay (1997), "Event Studies in Economics and Finance", Journal of Economic Literature 35,
13-39. Nothing here says that an event caused what stands beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from forecaster.errors import UsageError
from forecaster.evaluation.shrinkage import group_means, shrink
from forecaster.evaluation.significance import LEVEL
from forecaster.events import RELEASED, distinct_results, moved_session, no_events
from forecaster.features.bars import Bars
from forecaster.history import History
from forecaster.sessions import all_sessions

ALL = "all"
TONES = ("bad", "neutral", "good", "unknown")
TONE_BOUND = 0.1
"""A tone below minus this is bad, above it good."""

MEASURES = ("average", "cumulative", "volatility")

USUAL = 66
"""Sessions over which a symbol's usual absolute abnormal return is taken."""

BEFORE = 10
"""Sessions before an event at which those end, so that the event does not colour them."""


@dataclass(frozen=True)
class EventStudy:
    """What prices did around events; the session that the event moved has the offset 0.

    Attributes
    ----------
    paths : DataFrame
        One row per kind, tone ("all", or one of `TONES`; "unknown" only beside others), measure and
        offset: value with its 95 %
        interval (low, high; NaN where events fall on one date only), and the events, companies and
        dates that it was taken from. The measures are

        - ``average``: abnormal log return of the session, that is the symbol's less the market's
          (the market index where it is stored, else the mean of the other symbols);
        - ``cumulative``: its sum since the close of offset -1; before that, minus what was still to come;
        - ``volatility``: absolute abnormal return relative to its mean over the `USUAL` sessions that
          ended `BEFORE` sessions before the event.
    effects : DataFrame
        See `effects`.
    """

    paths: pd.DataFrame
    effects: pd.DataFrame


def event_study(history: History, before: int = 5, after: int = 10) -> EventStudy:
    """Average the sessions around every kind of event, by tone and together.

    Events of one session are not independent (Kolari and Pynnonen 2010, Review of Financial Studies
    23, 3996-4025), so that errors are clustered by the session moved, with Student-t critical values
    for dates - 1 degrees of freedom. Where paths of different sessions overlap (``cumulative``,
    ``volatility``) the error after Driscoll and Kraay (1998), Review of Economics and Statistics 80,
    549-560, over as many lags as a path is long, is taken where it is larger. Bands are pointwise.

    Parameters
    ----------
    history : History
        Its events are those known by then. Several events of one kind, symbol and session count once,
        reports of the same results too; events of other kinds on a session that results moved are
        left out, since nobody can tell apart what moved the price then.
    before, after : int
        Sessions to show, 1 to 9 before and any number after.

    Raises
    ------
    UsageError
        If `before` or `after` is out of range.
    """
    if not 1 <= before < BEFORE or after < 0:
        raise UsageError(
            f"Expected 1 to {BEFORE - 1} sessions before an event and 0 or more after, "
            f"got {before} and {after}"
        )
    events = _told_apart(occasions(history))
    offsets = np.arange(-before, after + 1)
    returns, usual = _around(events, history, offsets)
    stored = np.isfinite(returns[:, before])
    events, returns, usual = events[stored], returns[stored], usual[stored]
    ahead = np.cumsum(returns[:, before:], axis=1)
    behind = np.cumsum(returns[:, before - 1 : 0 : -1], axis=1)[:, ::-1]
    values = {
        "average": returns,
        "cumulative": np.hstack([-behind, np.zeros((len(events), 1)), ahead]),
        "volatility": np.abs(returns) / usual[:, None],
    }
    records = []
    for kind, tone, chosen in _groups(events):
        of_group = events[chosen]
        for measure, all_values in values.items():
            overlap = 0 if measure == "average" else before + after
            for place, offset in enumerate(offsets):
                value = all_values[chosen, place]
                known = np.isfinite(value)
                records.append(
                    {"kind": kind, "tone": tone, "measure": measure, "offset": int(offset)}
                    | _mean(value[known], of_group["day"].to_numpy()[known], overlap)
                    | {"events": int(known.sum()), "companies": of_group["symbol"][known].nunique()}
                )
    columns = ["kind", "tone", "measure", "offset", "value", "low", "high", "events", "companies", "dates"]
    return EventStudy(pd.DataFrame(records, columns=columns), effects(history))


def effects(history: History, symbol: str | None = None) -> pd.DataFrame:
    """Measure how far, and which way, each kind of event moved prices on the session that it moved.

    Everything is as of the history; nothing later is read. What stands here went along with events, and
    need not have come from them. Which events count is told in `event_study`.

    Parameters
    ----------
    history : History
    symbol : str, optional
        Whose width to give: its own, drawn towards that of all symbols; default: that of all.

    Returns
    -------
    DataFrame
        Index ``kind``: those of `events.RELEASED` that stand in the history. events, companies: what
        was counted. width: root mean square of the standardised return (log return over
        `features.bars.Bars.sigma_before`) on those sessions, relative to the sessions of the same
        symbols that neither results nor that kind moved; 1 is no wider. Mean squares are pooled over
        symbols as in `shrinkage.shrink`. shift: by how much the standardised return rises with a tone
        that is higher by 1 (tone is from -1 to 1): slope of least squares with a constant. Each with
        its 95 % interval, ``_low`` to ``_high``, clustered by session; NaN where fewer than two sessions
        tell of the width, or three with tones that differ of the shift.
    """
    moved = occasions(history)
    returns = _standardised(history)
    apart = _told_apart(moved)
    apart = apart.assign(value=_at(returns, apart)).dropna(subset="value")
    records = []
    for kind in RELEASED:
        rows = apart[apart["kind"] == kind]
        if not len(rows):
            continue
        unusual = moved[moved["kind"].isin(["results", kind])]
        ordinary = {
            name: (
                values.drop(unusual.loc[unusual["symbol"] == name, "position"], errors="ignore") ** 2
            ).mean()
            for name, values in returns.items()
            if name in set(rows["symbol"])
        }
        told = rows.dropna(subset="tone")
        records.append(
            {"kind": kind, "events": len(rows), "companies": rows["symbol"].nunique()}
            | _width(rows.assign(square=rows["value"] ** 2 / rows["symbol"].map(ordinary)), symbol)
            | _slope(told["tone"].to_numpy(), told["value"].to_numpy(), told["day"].to_numpy())
        )
    columns = ["kind", "events", "companies"]
    columns += [f"{name}{end}" for name in ("width", "shift") for end in ("", "_low", "_high")]
    return pd.DataFrame(records, columns=columns).set_index("kind")


def occasions(history: History) -> pd.DataFrame:
    """List the sessions that events moved, each once per symbol and kind.

    Returns
    -------
    DataFrame
        symbol, kind (of `events.RELEASED`), position (of the session in the exchange's calendar), session,
        day (its place among the sessions of the history), tone (mean of those known, else NaN).
    """
    known = set(history.symbols)
    parts = []
    for symbol, rows in history.events.groupby("symbol", sort=True):
        released = rows[rows["kind"].isin(RELEASED)]
        if symbol not in known or released.empty:
            continue
        exchange = history.instruments[str(symbol)].exchange
        others = released[released["kind"] != "results"]
        others = others.assign(position=moved_session(others, exchange, "known_at"))
        both = pd.concat([distinct_results(released, exchange), others])
        once = both.groupby(["kind", "position"], as_index=False)["tone"].mean()
        parts.append(once.assign(symbol=symbol, session=all_sessions(exchange)[once["position"]]))
    if not parts:
        nothing = no_events()[["symbol", "kind", "tone"]]
        parts = [nothing.assign(position=np.empty(0, int), session=np.empty(0, "datetime64[ns]"))]
    together = pd.concat(parts, ignore_index=True)
    days = np.unique(history.traded["session"].to_numpy(dtype="datetime64[ns]"))
    return together.assign(day=np.searchsorted(days, together["session"].to_numpy(dtype="datetime64[ns]")))


def _told_apart(events: pd.DataFrame) -> pd.DataFrame:
    """Leave out what came on a session that results moved."""
    is_results = events["kind"] == "results"
    places = pd.MultiIndex.from_frame(events[["symbol", "position"]])
    return events[is_results | ~places.isin(places[is_results])].reset_index(drop=True)


def _bars(history: History) -> dict[str, Bars]:
    groups = history.traded.groupby("symbol", sort=True)
    return {str(name): Bars.of(rows, history.instruments[str(name)].exchange) for name, rows in groups}


def _standardised(history: History) -> dict[str, pd.Series]:
    """Return each symbol's standardised returns by position."""
    found = {}
    for symbol, bars in _bars(history).items():
        values = pd.Series(bars.log_return / bars.sigma_before, bars.position)
        found[symbol] = values[np.isfinite(values)]
    return found


def _abnormal(history: History) -> dict[str, pd.Series]:
    """Return each symbol's abnormal returns by position; where there is no market, the return as it is."""
    bars = _bars(history)
    own = pd.DataFrame({symbol: pd.Series(one.log_return, one.session) for symbol, one in bars.items()})
    total, count = own.sum(axis=1), own.count(axis=1)
    factors = history.factors[history.factors["name"] == "market_index"]
    level = factors.groupby("session")["value"].last().reindex(own.index).astype(float)
    index = level.transform(np.log).diff()
    found = {}
    for symbol, one in bars.items():
        others = count - own[symbol].notna()
        market = index.fillna((total - own[symbol].fillna(0.0)) / others.where(others > 0)).fillna(0.0)
        found[symbol] = pd.Series(one.log_return - market[one.session].to_numpy(), one.position)
    return found


def _around(events: pd.DataFrame, history: History, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return abnormal returns around each event, (events, offsets), and its symbol's usual absolute one."""
    returns, usual = np.full((len(events), len(offsets)), np.nan), np.full(len(events), np.nan)
    abnormal = _abnormal(history)
    for symbol, places in events.groupby("symbol").indices.items():
        path = abnormal[str(symbol)]
        every = path.reindex(np.arange(path.index[0], path.index[-1] + 1))
        mean = every.abs().rolling(USUAL, min_periods=USUAL // 2).mean()
        position = events["position"].to_numpy()[places]
        around = position[:, None] + offsets
        returns[places] = every.reindex(around.ravel()).to_numpy().reshape(around.shape)
        usual[places] = mean.where(mean > 0).reindex(position - BEFORE)
    return returns, usual


def _groups(events: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield kind, tone and which events are of them, as far as there are any."""
    tone = events["tone"].to_numpy(dtype=float)
    of_tone = {
        "bad": tone < -TONE_BOUND,
        "neutral": np.abs(tone) <= TONE_BOUND,
        "good": tone > TONE_BOUND,
        "unknown": np.isnan(tone),
    }
    for kind in RELEASED:
        of_kind = (events["kind"] == kind).to_numpy()
        if of_kind.any():
            yield kind, ALL, of_kind
        told = of_kind & np.isfinite(tone)
        for name in TONES if told.any() else ():
            if (of_kind & of_tone[name]).any():
                yield kind, name, of_kind & of_tone[name]


def _mean(values: np.ndarray, day: np.ndarray, overlap: int) -> dict[str, float | int]:
    """Average values with their 95 % interval, clustered by day; see `event_study`."""
    dates = len(np.unique(day))
    if dates < 2:
        value = float(values.mean()) if len(values) else np.nan
        return {"value": value, "low": np.nan, "high": np.nan, "dates": dates}
    value = float(values.mean())
    sums = np.bincount(day, values - value)
    alone = sums @ sums
    lags = range(1, min(overlap, len(sums) - 1) + 1)
    shared = sum(2 * (1 - lag / (overlap + 1)) * (sums[lag:] @ sums[:-lag]) for lag in lags)
    error = np.sqrt(max(alone, alone + shared) * _enlarged(day)) / len(values)
    half = float(special.stdtrit(dates - 1, 1 - LEVEL / 2) * error)
    return {"value": value, "low": value - half, "high": value + half, "dates": dates}


def _width(rows: pd.DataFrame, symbol: str | None) -> dict[str, float]:
    """Pool the relative squares of events over symbols, and take roots."""
    names = ("width", "width_low", "width_high")
    rows = rows[np.isfinite(rows["square"])]
    day = rows["day"].to_numpy()
    if len(np.unique(day)) < 2:
        return dict.fromkeys(names, np.nan)
    means = group_means(rows["square"], rows["symbol"])
    shrunk = shrink(means["mean"].to_numpy(), means["error"].to_numpy())
    if symbol is not None:
        if symbol not in means.index:
            means.loc[symbol] = np.nan
        own, at = shrink(means["mean"].to_numpy(), means["error"].to_numpy()), means.index.get_loc(symbol)
        squares = np.array([own.values[at], own.low[at], own.high[at]])
    else:
        weight = 1 / (means["error"] ** 2 + shrunk.variance)
        share = (weight / weight.sum() / means["count"]).reindex(rows["symbol"]).to_numpy()
        sums = np.bincount(day, share * (rows["square"].to_numpy() - shrunk.mean))
        error = max(shrunk.error, float(np.sqrt(_enlarged(day) * (sums @ sums))))
        half = float(special.ndtri(1 - LEVEL / 2)) * error
        squares = np.array([shrunk.mean, shrunk.mean - half, shrunk.mean + half])
    return dict(zip(names, np.sqrt(np.maximum(squares, 0.0)).tolist(), strict=True))


def _slope(tone: np.ndarray, value: np.ndarray, day: np.ndarray) -> dict[str, float]:
    """Regress values on tones, with errors clustered by day."""
    names = ("shift", "shift_low", "shift_high")
    dates = len(np.unique(day))
    centred = tone - tone.mean() if len(tone) else tone
    if dates <= 2 or not centred.any():
        return dict.fromkeys(names, np.nan)
    slope = centred @ value / (centred @ centred)
    residual = value - value.mean() - slope * centred
    sums = np.bincount(day, centred * residual)
    enlarged = _enlarged(day) * (len(value) - 1) / (len(value) - 2)
    half = special.stdtrit(dates - 1, 1 - LEVEL / 2) * np.sqrt(enlarged * (sums @ sums)) / (centred @ centred)
    return dict(zip(names, map(float, (slope, slope - half, slope + half)), strict=True))


def _enlarged(day: np.ndarray) -> float:
    """Factor by which squared errors grow since clusters are few."""
    dates = len(np.unique(day))
    return dates / (dates - 1)


def _at(values: dict[str, pd.Series], events: pd.DataFrame) -> np.ndarray:
    """Look up each event's value on the session that it moved; NaN where there is none."""
    found = np.full(len(events), np.nan)
    for symbol, places in events.groupby("symbol").indices.items():
        found[places] = values[str(symbol)].reindex(events["position"].to_numpy()[places])
    return found
