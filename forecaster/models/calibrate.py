"""Online calibration: the width of a symbol's forecasts follows how its past ones have turned out.

The logarithm of the width carries an adjustment per symbol and step, moved a little each time that a
forecast is settled: up if the outcome lay further out than the forecast said, down if nearer. What is
compared is the outcome in units of the forecast's own width, so that stormy and calm sessions count
alike, and no forecast is moved by an outcome that was not known at its cutoff.

Notes
-----
The step is the score of the Student-t log density with respect to the log scale, as in Harvey (2013),
"Dynamic Models for Volatility and Heavy Tails", Cambridge University Press (Beta-t-EGARCH), and Creal,
Koopman and Lucas (2013), Journal of Applied Econometrics 28, 777-795. It is bounded: one crash moves the
width by `RATE` times the degrees of freedom at most.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecaster.models.distribution import StudentT

RATE = 0.004
"""Share of a settled forecast's score that enters the adjustment, divided by the step: outcomes over h
sessions overlap h-fold."""

MEMORY = 0.995
"""What is kept of an adjustment with each settled forecast: half of it after some seven months."""


def score(outcome: np.ndarray, forecast: StudentT) -> np.ndarray:
    """Slope of the log density in the logarithm of the scale: above 0 if the forecast was too narrow.

    Zero on average if the forecasts are right; between -1 and df.
    """
    squared = ((outcome - forecast.mean) / forecast.scale) ** 2
    return (forecast.df + 1) * squared / (forecast.df + squared) - 1


def widened(forecast: StudentT, adjustment: np.ndarray) -> StudentT:
    """Multiply the width by exp(adjustment)."""
    return StudentT(forecast.mean, forecast.sigma * np.exp(adjustment), forecast.df)


def adjustments(
    rows: pd.DataFrame, issued: pd.DataFrame, step: int, start: pd.Series | None = None
) -> np.ndarray:
    """Compute the adjustment of some forecasts from what had been settled by each one's cutoff.

    Parameters
    ----------
    rows : DataFrame
        Forecasts of one step, not yet calibrated: symbol, cutoff, session (on whose close the outcome
        is known), mean, sigma, df and outcome (NaN where it is not known).
    issued : DataFrame
        Forecasts of that step that were issued before, as they were issued; the same columns.
    step : int
        Sessions ahead.
    start : Series, optional
        Symbol -> adjustment before all of these; default: 0.

    Returns
    -------
    ndarray of shape (rows,)
        An outcome on the cutoff session itself counts: both are known at its close.
    """
    together = pd.concat([issued.assign(place=-1), rows.assign(place=np.arange(len(rows)))])
    symbol, names = pd.factorize(together["symbol"])
    cutoff, session = (together[name].to_numpy("datetime64[ns]") for name in ("cutoff", "session"))
    outcome, mean, sigma, df = (
        together[name].to_numpy(dtype=float) for name in ("outcome", "mean", "sigma", "df")
    )
    place = together["place"].to_numpy()
    used = np.zeros(len(together))
    state = np.zeros(len(names)) if start is None else start.reindex(names).fillna(0.0).to_numpy(copy=True)
    settled = _settlements(symbol, cutoff, session, np.isfinite(outcome))
    due = next(settled, None)
    for moment in np.unique(cutoff[place >= 0]):
        while due is not None and due[0] <= moment:
            one = due[1]
            told = score(outcome[one], StudentT(mean[one], sigma[one] * np.exp(used[one]), df[one]))
            state[symbol[one]] = MEMORY * state[symbol[one]] + RATE / step * told
            due = next(settled, None)
        now = (cutoff == moment) & (place >= 0)
        used[now] = state[symbol[now]]
    found = np.empty(len(rows))
    found[place[place >= 0]] = used[place >= 0]
    return found


def _settlements(
    symbol: np.ndarray, cutoff: np.ndarray, session: np.ndarray, known: np.ndarray
) -> Iterator[tuple[np.datetime64, np.ndarray]]:
    """Yield the session and the rows whose outcomes are known on it, each symbol once at a time."""
    rows = pd.DataFrame({"session": session, "symbol": symbol, "cutoff": cutoff})[known]
    rows["turn"] = rows.sort_values("cutoff", kind="stable").groupby(["session", "symbol"]).cumcount()
    rows = rows.sort_values(["session", "turn"], kind="stable")
    is_new = (rows[["session", "turn"]] != rows[["session", "turn"]].shift()).any(axis=1).to_numpy()
    for some in np.split(rows.index.to_numpy(), np.flatnonzero(is_new)[1:]):
        if len(some):
            yield session[some[0]], some
