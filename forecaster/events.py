"""Company events: their kinds, the form of their rows, and the session that each of them moves.

An event is a fact about one company with the moment at which the world could know it. An announced
date (of results, of a dividend) is a fact too: what is known is the plan, and `happened_at` lies ahead.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa

from forecaster.errors import DataError
from forecaster.instruments import SYMBOL_PATTERN, Instrument
from forecaster.sessions import all_sessions, first_closing_after, opens

COLUMNS = ("symbol", "kind", "happened_at", "known_at", "tone", "magnitude", "title", "url", "source")

RELEASED: dict[str, str] = {
    "results": "Results",
    "profit": "News of profit",
    "leadership": "Leadership",
    "policy": "Policy",
    "restructuring": "Restructuring",
    "other": "Other news",
}
"""Kinds that happen and are then known -> title. Tone is from -1 (bad) to 1 (good). Magnitude is for
results the surprise, absolute, in per cent of the estimate; for the other kinds it has no unit."""

SCHEDULED: dict[str, str] = {
    "results_scheduled": "Announced date of results",
    "dividend_scheduled": "Announced ex-dividend date",
}
"""Kinds that say at `known_at` what is planned for `happened_at`. Magnitude is the probability of that
date, where the plan names several; the rows of one `known_at` are one plan, and replace the plan before."""

KINDS = RELEASED | SCHEDULED

BACKFILL = "backfill"
"""Source of announced dates that were made up from the results that followed; see `with_backfill`."""

KNOWN_AHEAD = 10
"""Sessions before results at which their date is taken to be known where no plan was stored."""

REGULAR_AFTER, REGULAR_UNTIL = pd.Timedelta(days=60), pd.Timedelta(days=200)
"""Least and longest time since the results before, for results to be regular ones that were announced;
after a longer one some results between are missing."""

PARTIAL = ("sample",)
"""Sources that tell of chosen events only: no date is made up from theirs."""

SAME_WITHIN = 3
"""Sessions within which two reports of results are of the same ones."""

CHECKS = pa.DataFrameSchema(
    {
        "symbol": pa.Column(str, pa.Check.str_matches(SYMBOL_PATTERN, error="no ticker")),
        "kind": pa.Column(
            str, pa.Check.isin(list(KINDS), error=f"no kind; choose one of {', '.join(KINDS)}")
        ),
        "happened_at": pa.Column("datetime64[ns, UTC]"),
        "known_at": pa.Column("datetime64[ns, UTC]"),
        "tone": pa.Column(float, pa.Check.in_range(-1, 1, error="outside -1..1"), nullable=True),
        "magnitude": pa.Column(
            float,
            pa.Check(lambda values: (values >= 0) & (values < float("inf")), error="negative or not finite"),
            nullable=True,
        ),
        "title": pa.Column(str),
        "url": pa.Column(str),
        "source": pa.Column(str),
    },
    checks=pa.Check(
        lambda rows: rows["kind"].isin(SCHEDULED) | ~(rows["known_at"] < rows["happened_at"]),
        error="known before it happened",
    ),
)
"""What the rows of every source satisfy."""


def no_events() -> pd.DataFrame:
    """Return an empty table of events, with the types of a full one."""
    types = dict.fromkeys(("symbol", "kind", "title", "url", "source"), "str")
    types |= dict.fromkeys(("happened_at", "known_at"), "datetime64[ns, UTC]")
    types |= dict.fromkeys(("tone", "magnitude"), "float64")
    return pd.DataFrame(columns=list(COLUMNS)).astype(types)


def checked(rows: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Check rows of events and give them their types.

    Parameters
    ----------
    rows : DataFrame
        `COLUMNS`; times with a zone.
    origin : str
        What to name in an error, such as a file.

    Raises
    ------
    DataError
        Naming the first faulty row, its column and what is wrong.
    """
    if rows.empty:
        return no_events()
    typed = no_events().reindex(range(len(rows)))
    for name, kind in no_events().dtypes.items():
        if name not in rows:
            raise DataError(f"{origin}: column {name} is missing; expected {', '.join(COLUMNS)}")
        try:
            typed[name] = rows[name].astype(kind).reset_index(drop=True)
        except (TypeError, ValueError) as error:
            raise DataError(f"{origin}, column {name}: expected {kind} ({error})") from error
    try:
        CHECKS.validate(typed, lazy=True)
    except pa.errors.SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        place = "" if pd.isna(first["index"]) else f", row {int(first['index']) + 1}"
        column = "" if first["schema_context"] == "DataFrameSchema" else f", column {first['column']}"
        reason = "missing" if str(first["check"]) == "not_nullable" else first["check"]
        raise DataError(f"{origin}{place}{column}: {reason} (got {first['failure_case']})") from error
    return typed


def moved_session(rows: pd.DataFrame, exchange: str, column: str = "happened_at") -> np.ndarray:
    """Position, in the exchange's calendar, of the session that each event moves.

    The first that closes after the moment: what comes at the close or later belongs to the next one.
    """
    moments = rows[column].dt.tz_convert(None).to_numpy(dtype="datetime64[ns]")
    return first_closing_after(exchange, moments)


def distinct_results(rows: pd.DataFrame, exchange: str) -> pd.DataFrame:
    """Keep, of several reports of the same results of a symbol, the one that counts first.

    Each report is judged by those that count no later; of several that count from the same session one
    with a tone is taken.

    Parameters
    ----------
    rows : DataFrame
        Events of symbols of one exchange.

    Returns
    -------
    DataFrame
        Sorted by symbol and ``position``, the session that they move.
    """
    results = rows[rows["kind"] == "results"]
    results = results.assign(
        position=moved_session(results, exchange, "known_at"), silent=results["tone"].isna()
    ).sort_values(["symbol", "position", "silent", "known_at", "source", "url"], ignore_index=True)
    code, _ = pd.factorize(results["symbol"])
    kept, last = [], (-1, 0)
    for place, one in enumerate(zip(code.tolist(), results["position"].tolist(), strict=True)):
        if one > (last[0], last[1] + SAME_WITHIN):
            kept.append(place)
            last = one
    return results.iloc[kept].drop(columns="silent")


def by_exchange(
    events: pd.DataFrame, instruments: Mapping[str, Instrument]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give each exchange with the events of its symbols; those of other symbols are left out."""
    exchanges = {symbol: one.exchange for symbol, one in instruments.items()}
    for exchange, rows in events.groupby(events["symbol"].map(exchanges)):
        yield str(exchange), rows


def with_backfill(events: pd.DataFrame, instruments: Mapping[str, Instrument]) -> pd.DataFrame:
    """Add announced dates of results for the time before plans were stored.

    Companies announce the date of regular results weeks ahead, but nobody kept those announcements.
    So results that come `REGULAR_AFTER` to `REGULAR_UNTIL` after the last ones known by then get a plan
    known from the open of the session `KNOWN_AHEAD` sessions earlier. The others, and the first of a
    symbol, get none: a warning between two quarters is not known ahead, unless it comes so late that
    its date could be that of results. Nothing is added from the first stored plan on.

    Parameters
    ----------
    events : DataFrame
        `COLUMNS`, among them results that lie after any cutoff of interest: the plans made from them
        carry their own `known_at`.
    instruments : mapping
        Symbol -> Instrument; events of other symbols get no plan.

    Returns
    -------
    DataFrame
        The events and the plans, whose source is `BACKFILL`; sorted by symbol and `known_at`.
    """
    plans = [events]
    first_plan = events[events["kind"] == "results_scheduled"].groupby("symbol")["known_at"].min()
    told = events[(events["kind"] == "results") & ~events["source"].isin(PARTIAL)]
    for exchange, rows in by_exchange(told, instruments):
        announced = _announced(distinct_results(rows, exchange), exchange)
        stored = first_plan.reindex(announced["symbol"]).array
        plans.append(announced[~(announced["known_at"].array >= stored)])
    together = pd.concat(plans, ignore_index=True)
    return together.sort_values(["symbol", "known_at", "kind", "happened_at"], ignore_index=True)


def _announced(results: pd.DataFrame, exchange: str) -> pd.DataFrame:
    """Make plans of the regular ones among distinct results."""
    position = np.maximum(results["position"].to_numpy() - KNOWN_AHEAD, 0)
    known_at = opens(exchange, all_sessions(exchange)[position])
    came = results["known_at"].dt.tz_convert(None).to_numpy()
    since = np.empty(len(came), dtype="timedelta64[ns]")
    for places in results.reset_index(drop=True).groupby("symbol").indices.values():
        last = np.searchsorted(came[places], known_at[places]) - 1
        since[places] = np.where(last >= 0, came[places] - came[places][last], np.timedelta64("NaT"))
    regular = pd.Series(since).between(REGULAR_AFTER, REGULAR_UNTIL).to_numpy()
    return results.loc[regular, list(COLUMNS)].assign(
        kind="results_scheduled",
        known_at=pd.DatetimeIndex(known_at[regular], tz="UTC"),
        tone=np.nan,
        magnitude=1.0,
        title="Date of results, taken from the results that followed",
        url="",
        source=BACKFILL,
    )
