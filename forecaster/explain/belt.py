"""One unit of a network on one session, as a conveyor belt: what it forgot, what it added, what it showed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.errors import UsageError
from forecaster.explain.gates import CARRIED, KEEPING, update
from forecaster.explain.inside import Inside


@dataclass(frozen=True)
class Belt:
    """What one unit did with its state on one session.

    Attributes
    ----------
    cell : str
    values : dict of str to float
        The unit's gates and states of the session, by their names in `gates.GATES`.
    before, after : float
        The state that is carried along.
    kept, added : float
        The parts of it, whose sum is `after`; NaN for a simple RNN, which writes its state anew.
    shown : float
        What the unit puts out: the hidden state.
    """

    cell: str
    values: dict[str, float]
    before: float
    after: float
    kept: float
    added: float
    shown: float


def belt(found: Inside, seed: int, unit: int, session: pd.Timestamp) -> Belt:
    """Follow the state of one unit over one session of a window; the window starts from a zero state.

    Parameters
    ----------
    seed, unit : int
        From 0 on.

    Raises
    ------
    UsageError
        If there is no such random start, unit or session in the window.
    """
    units = found.units
    mine = units[(units["seed"] == seed) & (units["unit"] == unit)]
    table = mine.pivot(index="session", columns="gate", values="value")
    if session not in table.index:
        raise UsageError(
            f"No random start {seed} with a unit {unit} on {session.date()}; there are {found.seeds} with "
            f"{units['unit'].max() + 1} units each, over the sessions "
            f"{found.sessions['session'].iloc[0].date()} to {found.cutoff.date()}"
        )
    (row,) = table.loc[[session]].to_dict("records")
    values = {str(gate): float(value) for gate, value in row.items()}
    carried = CARRIED[found.cell]
    earlier = table.loc[table.index < session, carried].tolist()
    before, after = earlier[-1] if earlier else 0.0, values[carried]
    kept = added = np.nan
    if found.cell in KEEPING:
        kept, added = update(found.cell, values, before)
    return Belt(found.cell, values, before, after, kept, added, values["hidden"])
