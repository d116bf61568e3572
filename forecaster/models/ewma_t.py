"""Last price with a Student-t whose width is RiskMetrics' exponentially weighted volatility."""

import numpy as np

from forecaster.features import volatility
from forecaster.models.scaled_t import ScaledT


class EwmaT(ScaledT):
    """Width from the exponentially weighted root mean square return, decay 0.94 a session."""

    name = "ewma_t"

    def volatility(self, log_return: np.ndarray) -> np.ndarray:
        return volatility.ewma(log_return)
