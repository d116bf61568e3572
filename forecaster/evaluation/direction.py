"""Whether the direction of the price is forecast any better than by chance.

A forecast has an opinion where its probability of a rise differs from one half; chance is what the
same share of rises would hit among the same share of calls for a rise if the two were independent.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.evaluation.significance import enough_dates, paired_test

OPINION = 0.005
"""Distance of the probability of a rise from one half below which a forecast has no direction."""

FEWEST_OPINIONS = 100
FEWEST_APART = 30
"""Outcomes that do not overlap below which a symbol is not tested."""


@dataclass(frozen=True)
class Directions:
    """What the opinions of one model at one step were worth.

    Attributes
    ----------
    gain : float
        Hit rate minus that of chance, in percentage points; NaN on fewer than 100 opinions.
    p_value : float
        Of that gain, two-sided, with errors clustered by date; NaN where it cannot be tested.
    symbol_hits : ndarray of shape (symbols,)
        Hits in per cent of the symbol's opinions; NaN on fewer than 100.
    symbol_opinions : ndarray of int, (symbols,)
    symbol_p_values : ndarray of shape (symbols,)
        Of Pesaran and Timmermann's test.
    """

    gain: float
    p_value: float
    symbol_hits: np.ndarray
    symbol_opinions: np.ndarray
    symbol_p_values: np.ndarray


def directions(
    prob_up: np.ndarray,
    outcome: np.ndarray,
    date: np.ndarray,
    symbol: np.ndarray,
    shape: tuple[int, int],
    step: int,
) -> Directions:
    """Test the directions that one model has called.

    Parameters
    ----------
    prob_up, outcome : ndarray of shape (rows,)
        Probability of a rise; log return that came.
    date, symbol : ndarray of int, (rows,)
        Places of each row in the sorted dates and symbols.
    shape : tuple of int
        Numbers of dates and symbols.
    step : int
        Sessions ahead.
    """
    asked = np.abs(prob_up - 0.5) >= OPINION
    called, rose = prob_up[asked] > 0.5, outcome[asked] > 0
    date, symbol = date[asked], symbol[asked]
    opinions = np.bincount(symbol, minlength=shape[1])
    hits = np.bincount(symbol, weights=called == rose, minlength=shape[1])
    enough = np.where(opinions >= FEWEST_OPINIONS, opinions, np.nan)
    gain, p_value = pooled_test(called, rose, date, shape[0], step)
    return Directions(
        gain,
        p_value,
        100 * hits / enough,
        opinions,
        _symbol_tests(called, rose, date, symbol, shape[1], step),
    )


def pooled_test(
    called: np.ndarray, rose: np.ndarray, date: np.ndarray, dates: int, step: int
) -> tuple[float, float]:
    """Test the calls of all symbols together for independence of what came.

    Twice the covariance of call and outcome is the hit rate minus that of chance (Pesaran and
    Timmermann 1992). Its terms are added up per date, since the stocks of one date rise and fall
    together, and the mean over dates is tested by `significance.paired_test` with its errors for
    autocorrelation: so outcomes that overlap, at steps above one, are allowed for as in the
    Diebold-Mariano tests.

    Parameters
    ----------
    called, rose : ndarray of bool, (opinions,)
        Whether a rise was called, and came.
    date : ndarray of int, (opinions,)
        Place of the opinion's date among all `dates`; one without any opinion counts as zero.

    Returns
    -------
    gain, p_value : float
        Hit rate minus that of chance in percentage points, and its two-sided p-value.
    """
    if len(called) < FEWEST_OPINIONS:
        return np.nan, np.nan
    terms = 200 * (called - called.mean()) * (rose - rose.mean())
    gain = float(terms.mean())
    if not enough_dates(len(np.unique(date)), step):
        return gain, np.nan
    by_date = np.bincount(date, weights=terms, minlength=dates) * dates / len(called)
    return gain, paired_test(by_date, np.zeros(dates), step).p_value


def _symbol_tests(
    called: np.ndarray, rose: np.ndarray, date: np.ndarray, symbol: np.ndarray, symbols: int, step: int
) -> np.ndarray:
    """Test each symbol after Pesaran and Timmermann (1992), which asks for independent outcomes.

    Of overlapping ones only those of every `step`-th date are taken.
    """
    # Late: it takes a second, and who only reads stored scores does not need it.
    from statsmodels.stats.diagnostic import pesaran_timmermann

    p_values = np.full(symbols, np.nan)
    apart = np.flatnonzero(date % step == 0)
    order = apart[np.argsort(symbol[apart], kind="stable")]
    present, starts = np.unique(symbol[order], return_index=True)
    for one, rows in zip(present, np.split(order, starts)[1:], strict=True):
        signs = called[rows], rose[rows]
        # Without both directions on both sides there is nothing that could be dependent.
        if len(rows) >= FEWEST_APART and all(0 < side.mean() < 1 for side in signs):
            p_values[one] = pesaran_timmermann(signs[1].astype(float), signs[0].astype(float)).pvalue
    return p_values
