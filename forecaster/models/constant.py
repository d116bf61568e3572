"""Last price with a width that never changes: the unconditional baseline."""

from typing import Self

import numpy as np
import pandas as pd

from forecaster.errors import TooLittleHistory
from forecaster.features.volatility import LOWEST
from forecaster.models.distribution import StudentT
from forecaster.models.rolling_t import FEWEST
from forecaster.progress import Advance
from forecaster.windows import Windows

GAUSSIAN = 200.0
"""Degrees of freedom that stand for a normal distribution: their quantiles differ by under 1 % of sigma
up to the 1 % tail, and the standard deviation is exact."""


class Constant:
    """Normal distribution around the last price, as wide as the symbol's training returns.

    For each step the standard deviation is the root mean square of the symbol's training returns
    over that many sessions; symbols with fewer than `rolling_t.FEWEST` of them at the last step, and
    those that the training did not see, get that of all symbols together. Each step adds a variance
    of at least one squared basis point, should a short sample say that the fan narrows.
    """

    name = "constant"
    steps = 1

    def fit(self, windows: Windows, known_by: np.datetime64, advance: Advance) -> Self:
        """Measure the widths.

        Raises
        ------
        TooLittleHistory
            If no label of the last step is known.
        """
        panel = windows.panel
        cutoffs = windows.ends[panel.known_at[windows.ends] <= known_by]
        squares = pd.DataFrame(windows.labels(cutoffs, known_by=known_by) ** 2)
        if not squares.count().all():
            raise TooLittleHistory(
                f"No return over {windows.horizon} sessions is known by "
                f"{np.datetime_as_string(known_by, 'D')}; bring earlier prices or a shorter horizon"
            )
        own = squares.groupby(panel.code[cutoffs])
        enough = own.count().iloc[:, -1] >= FEWEST
        known = own.mean()[enough].reindex(range(len(panel.symbols))).fillna(squares.mean())
        least = LOWEST**2 * np.arange(windows.horizon)
        variance = np.maximum(np.vstack([known, squares.mean()]), LOWEST**2)
        self._sigma = np.sqrt(np.maximum.accumulate(variance - least, axis=1) + least)
        self._symbols = panel.symbols
        advance(self.name)
        return self

    def forecast(self, windows: Windows, ends: np.ndarray) -> StudentT:
        # -1, of a symbol unknown at the fit, is the last row: all symbols together.
        row = pd.Index(self._symbols).get_indexer(pd.Index(windows.panel.symbols))
        sigma = self._sigma[row[windows.panel.code[ends]]]
        return StudentT(np.zeros_like(sigma), sigma, np.full_like(sigma, GAUSSIAN))
