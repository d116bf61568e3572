"""Last price with a rolling-250 Student-t: the baseline that every model must beat."""

import numpy as np

from forecaster.features import volatility
from forecaster.models.scaled_t import ScaledT

SESSIONS = 250
FEWEST = 66


class RollingT(ScaledT):
    """Width from the root mean square of the last 250 returns (of fewer, down to 66, at the start)."""

    name = "rolling_t"

    def volatility(self, log_return: np.ndarray) -> np.ndarray:
        return volatility.rolling(log_return, SESSIONS, fewest=FEWEST)
