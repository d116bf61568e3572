"""What is known ahead at a cutoff, with supposed dates of announced events in it."""

import numpy as np
import pandas as pd
from scipy import sparse

from forecaster.errors import UsageError
from forecaster.events import COLUMNS, moved_session, no_events
from forecaster.explain.effects import ANNOUNCED
from forecaster.features import Panel, company
from forecaster.features.bars import Bars
from forecaster.sessions import opens


def are_due_before(panel: Panel, end: int, step: int) -> bool:
    """Whether other results of that quarter are told or expected for an earlier session ahead."""
    row = panel.announced[[end]].toarray().reshape(company.LONGEST, -1)
    columns = [company.AHEAD_NAMES.index(name) for name in ("results_due", "results_expected")]
    return bool(row[max(0, step - 1 - company.APART) : step - 1, columns].any())


def supposed_dates(
    panel: Panel, end: int, bars: Bars, events: pd.DataFrame, exchange: str, dates: dict[str, np.ndarray]
) -> sparse.csr_array:
    """Lay out what is known ahead at the cutoff with the supposed dates, each kind from its first on.

    Parameters
    ----------
    panel : Panel
    end : int
        The cutoff's row.
    bars : Bars
        Of the symbol, up to the cutoff.
    events : DataFrame
        Rows of `History.events`, the symbol's own.
    dates : dict
        Kind, of `ANNOUNCED` -> steps ahead, ascending.

    Returns
    -------
    csr_array of shape (1, columns of ``panel.announced``)
        In place of the cutoff's row there.

    Raises
    ------
    UsageError
        If results are supposed right after others came.
    """
    symbol = panel.symbols[panel.code[end]]
    row = panel.announced[[end]].toarray().reshape(company.LONGEST, -1)
    for kind, steps in dates.items():
        plan = _plan(events, kind, symbol, panel, end, panel.calendar[panel.position[end] + steps], exchange)
        alike = events[events["kind"].isin([kind, ANNOUNCED[kind]])]
        told = company.placed(pd.concat([alike, plan]), exchange)[symbol]
        laid = company.known(bars, told).ahead[[-1]].toarray().reshape(row.shape)
        if not laid[steps - 1, company.AHEAD_NAMES.index(f"{kind}_due")].all():
            raise UsageError(
                f"Results of {symbol} came on the cutoff session; the next are not due within "
                f"{company.EARLY} sessions. Suppose a later date"
            )
        columns = [at for at, name in enumerate(company.AHEAD_NAMES) if name.startswith(kind)]
        row[steps[0] - 1 :, columns] = laid[steps[0] - 1 :, columns]
    return sparse.csr_array(row.reshape(1, -1))


def _plan(
    events: pd.DataFrame, kind: str, symbol: str, panel: Panel, end: int, days: np.ndarray, exchange: str
) -> pd.DataFrame:
    """Make the plan that would stand at the cutoff: the supposed days, and what they leave of today's."""
    close = pd.Timestamp(panel.known_at[end], tz="UTC")
    told = events[(events["kind"] == ANNOUNCED[kind]) & (events["known_at"] < close)]
    standing = told[told["known_at"] == told["known_at"].max()]
    standing = standing.assign(magnitude=standing["magnitude"].fillna(1 / max(len(standing), 1)))
    happened_at = pd.DatetimeIndex(opens(exchange, days), tz="UTC")
    supposed = pd.DataFrame(
        {"symbol": symbol, "kind": ANNOUNCED[kind], "happened_at": happened_at, "magnitude": 1.0},
        columns=list(COLUMNS),
    ).astype(no_events().dtypes.to_dict())
    after = moved_session(standing, exchange) - moved_session(supposed, exchange).min()
    kept = standing[(after < 0) | (after > (company.APART if kind == "results" else 0))]
    return pd.concat([kept, supposed]).assign(known_at=close - pd.Timedelta(1, "ns"))
