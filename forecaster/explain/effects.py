"""What a supposed event does to a forecast beyond the inputs known ahead, and what is said of it."""

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from forecaster.history import History
from forecaster.models.distribution import StudentT

ANNOUNCED = {"results": "results_scheduled", "dividend": "dividend_scheduled"}
"""Kinds whose date companies announce -> kind of the announcement. A network that saw announced dates has
learned what they mean; what others did is measured, see `evaluation.event_study.effects`."""

FEW = 30
"""Events of a kind in the history of the training universe below which the answer warns."""


def told_of_market(market: float | None, volatility_index: float | None, symbol: str) -> str:
    """Say what a moved market does to a forecast: its return in per cent, the points of the index."""
    moves = [] if market is None else [f"Market {market:+g} %"]
    moves += [] if volatility_index is None else [f"Volatility index {volatility_index:+g} points"]
    return (
        f"{', '.join(moves)} at the cutoff: the bar of {symbol} on that session stays as it was. Mostly the "
        f"width of the range reacts; the forecast has hardly an opinion on direction."
    )


@dataclass(frozen=True)
class Effect:
    """What is known of one supposed event.

    Attributes
    ----------
    kind : str
    date : date
    tone : float or None
    learned : bool
        Whether the networks saw announced dates of the kind in training.
    measured : Series or None
        Row of `evaluation.event_study.effects`; None where no such event stands in the history.
    """

    kind: str
    date: dt.date
    tone: float | None
    learned: bool
    measured: pd.Series | None

    @property
    def width(self) -> float:
        """Factor on the spread of the session's own return: as measured, less what a tone explains.

        The measured width is of whole returns, so the part that the tone moves is taken out of it. At
        least 1: nothing is narrowed.
        """
        if self.learned or self.measured is None or np.isnan(self.measured["width"]):
            return 1.0
        return float(np.sqrt(max(self.measured["width"] ** 2 - self.shift**2, 1.0)))

    @property
    def shift(self) -> float:
        """Move of the mean in daily volatilities."""
        if self.measured is None or not self.tone:
            return 0.0
        return float(np.nan_to_num(self.measured["shift"] * self.tone))

    def on(self, served: StudentT, step: int, base_sigma: float) -> StudentT:
        """Apply it to a forecast from its session on, which lies `step` sessions ahead."""
        variance = served.sigma**2
        own = np.diff(variance, axis=-1, prepend=0.0)[:, [step - 1]]
        from_then_on = np.arange(1, variance.shape[-1] + 1) >= step
        wider = np.sqrt(variance + (self.width**2 - 1) * own)
        return StudentT(
            mean=np.where(from_then_on, served.mean + self.shift * base_sigma, served.mean),
            sigma=np.where(from_then_on, wider, served.sigma) if self.width > 1 else served.sigma,
            df=served.df,
        )

    def told(self, is_demonstration: bool) -> list[str]:
        """Say what was applied, and on what it rests."""
        title = f"{self.kind.capitalize()} on {self.date}"
        if self.learned:
            said = [f"{title}: as the model has learned announced dates."]
        elif self.kind in ANNOUNCED:
            said = [
                f"{title}: the model has seen no announced date of this kind, and has learned nothing of it."
            ]
        else:
            said = []
        if self.kind == "dividend":
            return said
        if self.measured is None:
            return [*said, f"{title}: no such event stands in the history, so no effect of it is known."]
        if not self.learned:
            factor = f"{self.width:.2f}"
            change = "unchanged (factor 1.00)" if factor == "1.00" else f"wider by the factor {factor}"
            applied = f"{change}; measured {{:.2f}} times an ordinary session"
            said.append(f"{title}: that session's own range is " + self._measured("width", 1.0, applied))
            if self.width < replace(self, tone=None).width:
                left = " Of this event nothing is left to widen it." if self.width == 1 else ""
                said.append(
                    "A tone says which way the price goes: the part of the measured width that it accounts "
                    f"for moves the mean instead, so that the range is narrower than without a tone.{left}"
                )
            if is_demonstration and self.width > 1:
                said.append(
                    "The sample holds events that are remembered because prices moved, so the measured width "
                    "is larger here than around an ordinary event."
                )
        if self.tone:
            words = f"mean moved by {self.shift:+.2f} daily volatilities, {{:+.2f}} for a tone of 1"
            said.append(f"{title}, tone {self.tone:+g}: " + self._measured("shift", 0.0, words))
            if is_demonstration:
                said.append(
                    "The tones of the sample's events were judged after the price had moved, so the "
                    "effect of a tone is too large here."
                )
        return said

    def rare(self, learned: History) -> list[str]:
        """Warn where the past holds few events of the kind; of dividends the announced dates count."""
        if self.kind == "dividend":
            dates = learned.events[learned.events["kind"] == ANNOUNCED["dividend"]]
            seen = len(dates[["symbol", "happened_at"]].drop_duplicates())
            counted = f"holds {seen} announced dividends"
        else:
            told = learned.events[learned.events["kind"] == self.kind]
            seen = 0 if self.measured is None else int(self.measured["events"])
            held = int(told["symbol"].isin(learned.symbols).sum())
            counted = f"holds {held} events of the kind {self.kind}"
            counted += f", of which {seen} could be measured" if seen < held else ""
        if seen >= FEW:
            return []
        return [f"The history of the model's symbols {counted}; fewer than {FEW} tell little."]

    def _measured(self, name: str, none: float, words: str) -> str:
        row = self.measured
        if row is None or np.isnan(row[name]):
            return f"left as it is: too few past events tell of the {name}."
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        known = low <= high
        interval = f"95 % interval {low:.2f} to {high:.2f}" if known else "no interval is known"
        no_effect = ", which includes no effect" if known and low <= none <= high else ""
        counted = f"past events: {row['events']:.0f}, companies: {row['companies']:.0f}"
        return f"{words.format(row[name])} ({interval}{no_effect}; {counted})."
