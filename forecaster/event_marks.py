"""The events of one symbol, each at the session that it moved, or is due to move."""

import numpy as np
import pandas as pd

from forecaster.events import RELEASED, SCHEDULED, distinct_results, moved_session
from forecaster.history import History
from forecaster.sessions import all_sessions

TITLES = {
    **RELEASED,
    "dividend": "Dividend",
    "split": "Split",
    "results_scheduled": "Results due",
    "dividend_scheduled": "Ex-dividend date due",
}
"""Kind of mark -> what it is called."""

LEAST_PAID = 1e-5
"""Share of the close below which a dividend is the rounding of a source that tells adjusted closes only."""

COLUMNS = ["session", "kind", "tone", "words"]


def marks(history: History, symbol: str) -> pd.DataFrame:
    """List what happened to a symbol, and what is announced for the sessions to come.

    An event stands at the first session that closes after it was known; reports of the same results
    count once. Of announced dates only those of the last plan, and after the history's last session.

    Returns
    -------
    DataFrame
        session, kind (of `TITLES`), tone (-1 to 1, NaN where unknown) and words (a headline or an amount,
        may be empty); sorted by session.
    """
    share = history.instruments[symbol]
    events = history.events[history.events["symbol"] == symbol]
    released = events[events["kind"].isin(RELEASED)]
    others = released[released["kind"] != "results"]
    others = others.assign(position=moved_session(others, share.exchange, "known_at"))
    parts = [distinct_results(released, share.exchange), others]
    for _, rows in events[events["kind"].isin(SCHEDULED)].groupby("kind"):
        plan = rows[rows["known_at"] == rows["known_at"].max()]
        parts.append(plan.assign(position=moved_session(plan, share.exchange)))
    told = pd.concat(parts).rename(columns={"title": "words"})
    sessions = all_sessions(share.exchange)
    told = told[told["position"] < len(sessions)]
    told = told.assign(session=sessions[told["position"].to_numpy(dtype=int)])
    due = told["kind"].isin(SCHEDULED)
    paid = _paid(history.traded[history.traded["symbol"] == symbol], share.currency)
    kept = told.loc[~due | (told["session"] > history.as_of), COLUMNS]
    return pd.concat([kept, paid]).sort_values(["session", "kind"], ignore_index=True)


def no_marks() -> pd.DataFrame:
    """Return an empty list of marks."""
    return pd.DataFrame({"session": pd.DatetimeIndex([]), "kind": [], "tone": [], "words": []})


def _paid(bars: pd.DataFrame, currency: str) -> pd.DataFrame:
    """List dividends and splits."""
    paid, split = bars[bars["dividend"] > LEAST_PAID * bars["close"]], bars[bars["split"] != 1]
    kind = ["dividend"] * len(paid) + ["split"] * len(split)
    words = [f"{value:.4g} {currency} per share" for value in paid["dividend"]]
    words += [f"{value:.6g} new shares for 1" for value in split["split"]]
    session = pd.concat([paid["session"], split["session"]])
    return pd.DataFrame({"session": session, "kind": kind, "tone": np.nan, "words": words}, columns=COLUMNS)
