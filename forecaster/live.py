"""What issued forecasts were worth, beside what the backtest had promised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from forecaster import ledger
from forecaster.decisions import recipe_hash
from forecaster.evaluation.scores import score
from forecaster.evaluation.significance import LEVEL, PairedTest, daily_losses, freedom, paired_test
from forecaster.evaluation.verdict import probability
from forecaster.models import LAST_PRICE, SERVED, TITLES
from forecaster.store import Store

STEPS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Live:
    """Settled forecasts of a version's recipe, with the version's backtest.

    Attributes
    ----------
    version : str
    forecasts : DataFrame
        Long table of the served forecasts and of the last price's, as `ledger.settled` returns it.
    backtest : DataFrame
        The same models' rows of the version's backtest.
    """

    version: str
    forecasts: pd.DataFrame
    backtest: pd.DataFrame

    def scores(self) -> pd.DataFrame:
        """One row per step and model; see `evaluation.scores.Scores.overall`; empty before any is settled."""
        if self.forecasts.empty:
            return pd.DataFrame(columns=["step", "model"])
        return score(rows for _, rows in self.forecasts.groupby("model", sort=False)).overall

    def comparison(self, step: int = 1) -> "Comparison":
        """Compare the gain over the last price with the one in the backtest."""
        return Comparison(step, *(_gain(rows, step) for rows in (self.forecasts, self.backtest)))


@dataclass(frozen=True)
class Comparison:
    """Gains in log score over the last price, live and in the backtest.

    How well a price can be forecast depends on how calm the market is; the gain over the last price on
    the same dates depends on that much less than the score itself.

    Attributes
    ----------
    step : int
    live, backtest : PairedTest
        Differences of mean losses, served minus last price: below 0 is a gain.
    """

    step: int
    live: PairedTest
    backtest: PairedTest

    @property
    def p_value(self) -> float:
        """Two-sided, for equal gains on dates that the two do not share; NaN on too few dates.

        After Welch (1947), Biometrika 34, 28-35, with each one's own error over dates and the degrees of
        freedom of the test on the shorter series.
        """
        error = np.hypot(self.live.error, self.backtest.error)
        if not error > 0:
            return np.nan
        statistic = abs(self.live.difference - self.backtest.difference) / error
        shorter = min(self.live.dates, self.backtest.dates)
        return float(2 * special.stdtr(freedom(shorter, self.step), -statistic))

    @property
    def words(self) -> str:
        """Say what the comparison allows to say."""
        if not self.live.dates:
            return "No forecast has been settled yet."
        facts = (
            f"Live {-self.live.difference:+.4f} nats over the last price on {self.live.dates} dates, "
            f"{-self.backtest.difference:+.4f} in the backtest on {self.backtest.dates}"
        )
        if np.isnan(self.p_value):
            return f"{facts}: too few dates to test the difference."
        if self.p_value >= LEVEL:
            return f"{facts}: not distinguishable ({probability(self.p_value)})."
        compared = "better" if self.live.difference < self.backtest.difference else "worse"
        return f"{facts}: {compared} than the backtest had it ({probability(self.p_value)})."


def live(store: Store, version: str, steps: Sequence[int] = STEPS) -> Live:
    """Settle what a version and the earlier ones of its recipe have issued, and read its backtest."""
    where = {"version": [version], "step": steps, "model": [SERVED, LAST_PRICE]}
    settled = ledger.settled(store, recipe_hash(store, version), steps)
    return Live(version, settled, store.rows("backtests", where=where))


def issued(store: Store, version: str, step: int) -> pd.DataFrame:
    """Read every served forecast of a version's recipe that stood at one step, with what came of it.

    Returns
    -------
    DataFrame
        Columns of the forecasts table with pit, crps, log_score and outcome, which are NaN where it is not
        settled; late: whether it was issued when the close had come, so that it never counts; awaited:
        whether the outcome may still come, because no price of that session or of a later one is stored
        of the symbol, and none of a later one of any other. Sorted by symbol and cutoff.
    """
    recipe = recipe_hash(store, version)
    key, found = ["symbol", "cutoff"], ["pit", "crps", "log_score", "outcome"]
    settled = ledger.settled(store, recipe, [step], [SERVED])
    rows = ledger.stood(store, recipe, [step]).merge(settled[[*key, *found]], on=key, how="left")
    last = pd.Series({symbol: span.last for symbol, span in store.spans().items()}, dtype="datetime64[ns]")
    to_come = (rows["session"] > rows["symbol"].map(last)) & (rows["session"] >= last.max())
    return rows.assign(awaited=rows["outcome"].isna() & ~rows["late"] & to_come)


def skill(store: Store, version: str, step: int) -> dict[str, PairedTest]:
    """Test the settled forecasts of a version's recipe against each model that was issued beside them.

    Returns
    -------
    dict
        Baseline -> differences of mean log scores, served minus baseline: below 0 is a gain.
    """
    rows = ledger.settled(store, recipe_hash(store, version), [step], list(TITLES))
    baselines = [str(model) for model in rows["model"].unique() if model != SERVED]
    return {one: _gain(rows[rows["model"].isin([SERVED, one])], step, one) for one in baselines}


def _gain(rows: pd.DataFrame, step: int, baseline: str = LAST_PRICE) -> PairedTest:
    at_step = rows[rows["step"] == step]
    if at_step["model"].nunique() < 2:
        return PairedTest(np.nan, np.nan, np.nan, 0)
    losses = daily_losses(at_step, "log_score")
    return paired_test(losses[SERVED].to_numpy(), losses[baseline].to_numpy(), step)
