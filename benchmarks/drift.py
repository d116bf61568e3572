"""How often the drift of inputs would have marked forecasts on a panel of large companies.

Run ``python benchmarks/drift.py prices.parquet [--market FILE] [--macro FILE]``, files as ``benchmark`` reads
them. Each January the spread of the inputs is measured on all that was known by then, and through the year
the last 60 sessions are compared with it every week.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import Recipe
from forecaster.benchmark.inputs import read_inputs
from forecaster.features import COMPANY, assemble
from forecaster.models.drift import SESSIONS, SHARE, Drift
from forecaster.windows import Windows

FIRST, WEEK = 2013, 5


def main() -> None:
    """Print, by year, the share of the inputs that had moved and of the weeks that would have been marked."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("prices", type=Path)
    words.add_argument("--market", type=Path)
    words.add_argument("--macro", type=Path)
    given = words.parse_args()
    recipe = Recipe()
    panel = assemble(read_inputs(given.prices, given.market, given.macro, []).history)
    ends = Windows(panel, recipe.lookback, recipe.horizon).ends
    judged = [at for at, name in enumerate(panel.names) if name not in COMPANY]
    names = [panel.names[at] for at in judged]
    session, values = panel.session[ends], panel.values[ends][:, judged]
    days, rows = np.unique(session), []
    for year in range(FIRST, pd.Timestamp(days[-1]).year + 1):
        begin, end = (np.datetime64(f"{one}-01-01") for one in (year, year + 1))
        drift = Drift.fit(values[session < begin], session[session < begin], names)
        for last in np.flatnonzero((days >= begin) & (days < end))[SESSIONS - 1 :: WEEK]:
            inside = (session > days[last - SESSIONS]) & (session <= days[last])
            rows.append((year, len(drift.moved(values[inside])) / len(names)))
    found = pd.DataFrame(rows, columns=["year", "share"])
    by_year = found.groupby("year")["share"]
    table = pd.DataFrame(
        {
            "weeks": by_year.size(),
            "inputs moved, %": 100 * by_year.mean(),
            "weeks marked, %": 100 * by_year.agg(lambda share: (share >= SHARE).mean()),
        }
    )
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
