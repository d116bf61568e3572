"""Losses of one model's forecasts, added up per date and per symbol.

A long table of a wide universe has millions of rows, so of each model only the sums are kept, and the
stock-days' log scores and CRPS for tests symbol by symbol.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.errors import UsageError
from forecaster.evaluation.direction import FEWEST_OPINIONS, OPINION, Directions, directions

COVERAGES = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95"), 98: ("q01", "q99")}
PINBALLS = {1: "q01", 5: "q05", 95: "q95", 99: "q99"}
LOSSES = (
    "log_score", "crps", "qlike", "pinball_01", "pinball_05", "pinball_95", "pinball_99", "absolute_error",
    "squared_error",
)  # fmt: skip
STOCK_DAY_LOSSES = ("log_score", "crps")
TERCILES = ("low", "middle", "high")
PIT_BINS = 20


@dataclass(frozen=True)
class Tally:
    """What is kept of one model's forecasts at one step.

    Attributes
    ----------
    dates : DatetimeIndex
        Cutoffs, sorted.
    symbols : Index
        Sorted.
    losses, symbol_losses : DataFrame
        Mean of each of `LOSSES` by date, over its symbols, and by symbol, over its dates. Units: nats
        for log_score and qlike, log return for crps, basis points of log return for pinball losses,
        per cent of the last price for absolute_error, its square for squared_error.
    totals, symbol_totals : DataFrame
        Sums by date and by symbol: forecasts, opinions, hits, rises (share_up), coverage_50/80/90/98 and
        width_50/80/90/98, all but the first three in per cent.
    stock_days : dict
        Loss -> float32 array of shape (dates, symbols), NaN where nothing was forecast.
    directions : Directions
    terciles : DataFrame
        tercile (low, middle, high: of the model's own sigma, pooled over all rows), level, coverage in
        per cent.
    pit : ndarray of shape (20,)
        Share of the probability integral transforms in each bin.
    """

    dates: pd.DatetimeIndex
    symbols: pd.Index
    losses: pd.DataFrame
    totals: pd.DataFrame
    symbol_losses: pd.DataFrame
    symbol_totals: pd.DataFrame
    stock_days: dict[str, np.ndarray]
    directions: Directions
    terciles: pd.DataFrame
    pit: np.ndarray

    @property
    def present(self) -> pd.DataFrame:
        """Which stock-days were forecast: dates as index, symbols as columns."""
        return pd.DataFrame(np.isfinite(self.stock_days["crps"]), self.dates, self.symbols)

    def overall(self) -> pd.DataFrame:
        """Figures over all dates, one row; see `figures`."""
        return figures(self.losses.mean().to_frame().T, self.totals.sum().to_frame().T).assign(
            dates=len(self.dates)
        )

    def by_period(self) -> pd.DataFrame:
        """Figures by calendar year of the cutoff, the year as text in the index."""
        year = self.dates.strftime("%Y")
        sizes = pd.Series(1, year).groupby(level=0).sum()
        return figures(self.losses.groupby(year).mean(), self.totals.groupby(year).sum()).assign(dates=sizes)

    def by_symbol(self) -> pd.DataFrame:
        """Figures by symbol."""
        return figures(self.symbol_losses, self.symbol_totals)


def tally(table: pd.DataFrame, common: dict[int, pd.DataFrame] | None = None) -> dict[int, Tally]:
    """Add up one model's long table.

    Parameters
    ----------
    table : DataFrame
        Long table with outcomes; rows without an outcome or CRPS are left out.
    common : dict, optional
        Step -> which stock-days to count, as in `Tally.present`; default: all.

    Returns
    -------
    dict
        Step -> Tally.

    Raises
    ------
    UsageError
        If a stock-day stands there twice.
    """
    step = table["step"].to_numpy()
    known = np.isfinite(table["outcome"].to_numpy()) & np.isfinite(table["crps"].to_numpy())
    tallies = {}
    for one in np.unique(step[known]):
        rows = np.flatnonzero(known & (step == one))
        if common is not None:
            rows = rows[_within(table, rows, common[int(one)])] if one in common else rows[:0]
        if len(rows):
            tallies[int(one)] = _of_step(table, rows, int(one))
    return tallies


def figures(losses: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """Turn mean losses and totals of some groups of forecasts into metrics.

    Returns
    -------
    DataFrame
        Index: the groups. forecasts; crps, log_score, qlike and pinball losses as they are; coverage,
        width and share_up as means over the group's forecasts; direction in per cent of the forecasts
        with an opinion (NaN where they are under 100); mae, and rmse as the root of the mean
        squared error, in per cent of the last price.
    """
    pooled = totals.drop(columns=["forecasts", "opinions", "hits"]).div(totals["forecasts"], axis=0)
    hits = 100 * totals["hits"] / totals["opinions"].where(totals["opinions"] >= FEWEST_OPINIONS)
    return losses.drop(columns=["absolute_error", "squared_error"]).assign(
        forecasts=totals["forecasts"].astype(int),
        **pooled,
        direction=hits,
        mae=losses["absolute_error"],
        rmse=np.sqrt(losses["squared_error"]),
    )


def _within(table: pd.DataFrame, rows: np.ndarray, present: pd.DataFrame) -> np.ndarray:
    date = present.index.get_indexer(pd.DatetimeIndex(table["cutoff"].iloc[rows]))
    symbol = present.columns.get_indexer(pd.Index(np.asarray(table["symbol"].iloc[rows])))
    inside = (date >= 0) & (symbol >= 0)
    inside[inside] = present.to_numpy()[date[inside], symbol[inside]]
    return inside


def _of_step(table: pd.DataFrame, rows: np.ndarray, step: int) -> Tally:
    def column(name: str) -> np.ndarray:
        return table[name].to_numpy()[rows].astype(float)

    date, days = pd.factorize(pd.DatetimeIndex(table["cutoff"].iloc[rows]), sort=True)
    symbol, names = pd.factorize(np.asarray(table["symbol"].iloc[rows], dtype=object), sort=True)
    dates, symbols, shape = pd.DatetimeIndex(days), pd.Index(names), (len(days), len(names))
    cells = np.bincount(date * shape[1] + symbol)
    if cells.max() > 1:
        twice = int(cells.argmax())
        raise UsageError(
            f"Expected one forecast a model, symbol, cutoff and step, but {symbols[twice % shape[1]]} at "
            f"{dates[twice // shape[1]]:%Y-%m-%d}, step {step}, stands there {cells.max()} times"
        )
    by_date, by_symbol, stock_days = {}, {}, {}
    for name, values in _quantities(column):
        by_date[name] = np.bincount(date, weights=values)
        by_symbol[name] = np.bincount(symbol, weights=values)
        if name in STOCK_DAY_LOSSES:
            stock_days[name] = np.full(shape, np.nan, dtype=np.float32)
            stock_days[name][date, symbol] = values
    losses, totals = _split(pd.DataFrame(by_date, dates))
    symbol_losses, symbol_totals = _split(pd.DataFrame(by_symbol, symbols))
    pit = column("pit")
    bins = np.clip((pit[np.isfinite(pit)] * PIT_BINS).astype(int), 0, PIT_BINS - 1)
    return Tally(
        dates,
        symbols,
        losses,
        totals,
        symbol_losses,
        symbol_totals,
        stock_days,
        directions(column("prob_up"), column("outcome"), date, symbol, shape, step),
        _terciles(column),
        np.bincount(bins, minlength=PIT_BINS) / max(len(bins), 1),
    )


def _split(sums: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return sums[list(LOSSES)].div(sums["forecasts"], axis=0), sums.drop(columns=list(LOSSES))


def _quantities(column: Callable[[str], np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every loss and count of the rows, one at a time: together they would fill the memory.

    QLIKE is log sigma^2 + outcome^2 / sigma^2, which ranks forecasts of the variance right although the
    squared return is only a noisy proxy of it: Patton (2011), Journal of Econometrics 160, 246-256.
    """
    outcome = column("outcome")
    yield "forecasts", np.ones(len(outcome))
    for name in STOCK_DAY_LOSSES:
        yield name, column(name)
    sigma = column("sigma")
    yield "qlike", 2 * np.log(sigma) + (outcome / sigma) ** 2
    for level, name in PINBALLS.items():
        miss = outcome - column(name)
        yield f"pinball_{level:02d}", 1e4 * np.maximum(level / 100 * miss, (level / 100 - 1) * miss)
    error = 100 * (np.exp(column("q50")) - np.exp(outcome))
    yield "absolute_error", np.abs(error)
    yield "squared_error", error**2
    for level, (low, high) in COVERAGES.items():
        lowest, highest = column(low), column(high)
        yield f"coverage_{level}", 100.0 * ((lowest <= outcome) & (outcome <= highest))
        yield f"width_{level}", 100 * (highest - lowest)
    yield "share_up", 100.0 * (outcome > 0)
    lean = column("prob_up") - 0.5
    opinion = np.abs(lean) >= OPINION
    yield "opinions", opinion.astype(float)
    yield "hits", (opinion & ((lean > 0) == (outcome > 0))).astype(float)


def _terciles(column: Callable[[str], np.ndarray]) -> pd.DataFrame:
    outcome, sigma = column("outcome"), column("sigma")
    tercile = np.searchsorted(np.quantile(sigma, [1 / 3, 2 / 3]), sigma)
    rows = pd.Series(tercile).value_counts().reindex(range(3), fill_value=0).to_numpy()
    parts = []
    for level, (low, high) in COVERAGES.items():
        covered = (column(low) <= outcome) & (outcome <= column(high))
        inside = np.bincount(tercile[covered], minlength=3)
        with np.errstate(invalid="ignore"):
            coverage = 100 * inside / rows
        parts.append(pd.DataFrame({"tercile": TERCILES, "level": level, "coverage": coverage}))
    return pd.concat(parts, ignore_index=True)
