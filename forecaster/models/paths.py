"""Joint paths over steps 1..horizon that agree with the forecast of every single step.

A forecast says how far the price may be after each step, not how the steps hang together. The past
does: the values of a forecast are put in the order that past stretches of as many sessions had (the
Schaake shuffle), measured in the volatility at their start, so that calm and wild years compare
(filtered historical simulation). What depends on the whole way, such as the probability of touching
a level, is then a share of the paths.

Notes
-----
Clark, Gangopadhyay, Hay, Rajagopalan and Wilby (2004), "The Schaake Shuffle: A Method for
Reconstructing Space-Time Variability in Forecasted Precipitation and Temperature Fields", Journal of
Hydrometeorology 5, 243-262. Barone-Adesi, Giannopoulos and Vosper (1999), "VaR without Correlations
for Portfolios of Derivative Securities", Journal of Futures Markets 19, 583-602.
"""

import numpy as np

from forecaster.errors import ModelError, TooLittleHistory
from forecaster.models.distribution import Distribution, StudentT
from forecaster.windows import Windows

FEWEST = 100
"""Past stretches without which nothing is said about paths, unless fewer are asked for."""


def templates(windows: Windows, end: int, count: int) -> np.ndarray:
    """Gather the last stretches of `horizon` sessions that were over at a row's close.

    Stretches overlap: one starts at every session whose base volatility is known. Those of the row's
    own symbol come first; if they are too few, the panel's other symbols fill up.

    Parameters
    ----------
    windows : Windows
        Neither its `lookback` nor `since` and `among` matter here.
    end : int
        Row of a cutoff. All prices and volatilities used were known at its close.
    count : int
        Stretches wanted.

    Returns
    -------
    ndarray of float64, (n, horizon)
        Log returns since the start of a stretch, in base volatilities at its start; n is `count`, or
        less if the panel holds no more. Own ones first, then the newest first, then by symbol.
        Stretches with a session that is not stored are left out.

    Raises
    ------
    TooLittleHistory
        If there are fewer than `FEWEST`, and fewer than `count`.
    """
    panel = windows.panel
    known_by = panel.known_at[end]
    own = panel.code == panel.code[end]
    found = _stretches(windows, np.flatnonzero(own), known_by)[:count]
    if len(found) < count:
        others = _stretches(windows, np.flatnonzero(~own), known_by)
        found = np.vstack([found, others])[:count]
    if len(found) < min(count, FEWEST):
        raise TooLittleHistory(
            f"{panel.symbols[panel.code[end]]}: {len(found)} past stretches of {windows.horizon} sessions "
            f"are known by {np.datetime_as_string(known_by, 'D')}; paths need at least "
            f"{min(count, FEWEST)}: bring a longer history or more symbols"
        )
    return found


def _stretches(windows: Windows, starts: np.ndarray, known_by: np.datetime64) -> np.ndarray:
    """Return those of the stretches from some rows on that are complete, newest first, (n, horizon)."""
    panel = windows.panel
    starts = starts[np.argsort(known_by - panel.known_at[starts], kind="stable")]
    scaled = windows.labels(starts, known_by) / panel.base_sigma[starts][:, None]
    return scaled[np.isfinite(scaled).all(axis=1)]


def rescaled(templates: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Give each session of the templates the share in the variance that the forecast expects of it.

    This is the filter of filtered historical simulation. It matters where the sessions ahead differ: the
    returns up to an announced event say nothing about the event's own return, which outweighs them. In
    the order of plain templates, paths that end high after the event would have risen before it.

    Parameters
    ----------
    templates : ndarray, (count, horizon)
        Log returns since the start of a stretch, as of `templates`.
    sigma : ndarray, (horizon,)
        Standard deviations of the forecast from one cutoff. Where they do not grow from step to step, the
        session adds nothing.

    Returns
    -------
    ndarray of float64, (count, horizon)
        Log returns since the start of a stretch; session k has the root mean square
        sqrt(sigma_k^2 - sigma_(k-1)^2).
    """
    returns = np.diff(templates, axis=1, prepend=0.0)
    seen = np.sqrt(np.mean(returns**2, axis=0))
    expected = np.sqrt(np.maximum(np.diff(sigma**2, prepend=0.0), 0.0))
    return np.cumsum(returns * (expected / np.maximum(seen, np.finfo(float).tiny)), axis=1)


def shuffle(marginals: Distribution, templates: np.ndarray) -> np.ndarray:
    """Arrange each step's quantiles in the order that the templates have at that step.

    Parameters
    ----------
    marginals : Distribution
        Shape (horizon,): the forecast from one cutoff.
    templates : ndarray, (count, horizon)
        No NaN; only their ranks matter. Equal values rank in the order in which they stand.

    Returns
    -------
    ndarray of float64, (count, horizon)
        Log returns since the cutoff. At each step they are the marginal's quantiles at the levels
        (rank + 1/2) / count, and path i has the rank of template i.

    Raises
    ------
    ModelError
        If the templates have another number of steps than the forecast.
    """
    count, horizon = templates.shape
    if marginals.mean.shape != (horizon,):
        raise ModelError(
            f"The forecast has shape {marginals.mean.shape} and the templates {horizon} steps; take the "
            f"forecast of one cutoff, shape ({horizon},), and templates of the same horizon"
        )
    ranks = templates.argsort(axis=0, kind="stable").argsort(axis=0)
    return np.take_along_axis(_quantiles(marginals, (np.arange(count) + 0.5) / count), ranks, axis=0)


def _quantiles(marginals: Distribution, levels: np.ndarray) -> np.ndarray:
    """Return the quantiles at some levels, (levels, horizon)."""
    if isinstance(marginals, StudentT):
        return marginals.quantile(levels[:, None])
    return np.array([marginals.quantile(level) for level in levels])
