"""What if: the forecast given a made-up event or market, beside the forecast as it stands.

The market and the volatility index move what is known at the cutoff; an event moves what is known ahead
of its session, so that the fan changes from that session on. Nothing that has happened is rewritten.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy import sparse

from forecaster.errors import ModelError, UsageError, first_problem
from forecaster.evaluation.event_study import effects
from forecaster.explain.announced import are_due_before, supposed_dates
from forecaster.explain.effects import ANNOUNCED, Effect, told_of_market
from forecaster.features import bars_of, is_member, surroundings
from forecaster.features.bars import Bars
from forecaster.features.exogenous import NAMES, Shock, Surroundings, columns, shocked
from forecaster.history import History
from forecaster.models.distribution import StudentT
from forecaster.models.tabulate import as_prices
from forecaster.sessions import next_sessions
from forecaster.windows import Windows

if TYPE_CHECKING:
    from forecaster.models.trained import Model

Value = TypeVar("Value")
Kind = Literal["results", "dividend", "leadership", "policy", "restructuring", "profit"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of event that can be supposed."""

AS_IT_STANDS, WHAT_IF = "as it stands", "what if"

LABEL = (
    "Not causal: this is what the model gives for other inputs, with what went along with such events in the "
    "past; it does not say what they would bring about."
)

GRAMMAR = "KIND@DATE[:TONE], such as results@2026-01-29:-0.8, or vix=+10 (points), or market=-3%"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(f"Scenario: {first_problem(error)}") from error


class SupposedEvent(_Part):
    """An event that is supposed to move one session ahead.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    date : date
        The session that it moves: what comes after a close belongs to the next one.
    tone : float, optional
        From -1 (bad) to 1 (good); without one the event moves the width of the fan only. A dividend
        has none.
    """

    kind: Kind
    date: dt.date
    tone: float | None = Field(default=None, ge=-1, le=1)

    @model_validator(mode="after")
    def _dividends_have_no_tone(self) -> "SupposedEvent":
        if self.kind == "dividend" and self.tone is not None:
            raise ValueError("a dividend has no tone; leave it out")
        return self


class Scenario(_Part):
    """What is supposed; frozen.

    Attributes
    ----------
    events : tuple of SupposedEvent
    market : float, optional
        Return of the market, per cent, on top of that of the cutoff session, such as -3.
    volatility_index : float, optional
        Points on top of the volatility index as known at the cutoff, such as 10.

    Raises
    ------
    UsageError
        If nothing is supposed, the same event twice, or a value does not fit.
    """

    events: tuple[SupposedEvent, ...] = ()
    market: float | None = Field(default=None, gt=-100, le=100)
    volatility_index: float | None = Field(default=None, gt=-100, le=200)

    @model_validator(mode="after")
    def _something_and_nothing_twice(self) -> "Scenario":
        if not self.events and self.market is None and self.volatility_index is None:
            raise ValueError(f"nothing is supposed; expected {GRAMMAR}")
        if len({(event.kind, event.date) for event in self.events}) < len(self.events):
            raise ValueError("an event of one kind and date stands twice; name it once")
        return self

    @classmethod
    def parse(cls, words: Sequence[str]) -> "Scenario":
        """Read a scenario from words as the command line takes them.

        Each is ``KIND@DATE``, ``KIND@DATE:TONE``, ``vix=+POINTS`` or ``market=PER CENT%``.

        Raises
        ------
        UsageError
            Naming the word that cannot be read and what was expected.
        """
        events, levels = [], {}
        for word in words:
            kind, is_event, rest = word.partition("@")
            if is_event:
                date, _, tone = rest.partition(":")
                day = _read(dt.date.fromisoformat, date, word, "date")
                said: dict[str, Any] = {"kind": kind.strip(), "date": day}
                if tone:
                    said["tone"] = _read(float, tone, word, "number")
                events.append(SupposedEvent(**said))
                continue
            name, _, value = word.partition("=")
            field = {"market": "market", "vix": "volatility_index"}.get(name.strip().lower())
            if field is None:
                raise UsageError(f"What if {word!r}: expected {GRAMMAR}")
            if field in levels:
                raise UsageError(f"What if {word!r}: {name} is given twice; name it once")
            unit = "%" if field == "market" else ""
            levels[field] = _read(float, value.removesuffix(unit), word, "number")
        return cls(events=tuple(events), **levels)

    @property
    def words(self) -> tuple[str, ...]:
        """The scenario as `parse` reads it."""
        said = [
            f"{event.kind}@{event.date}" + ("" if event.tone is None else f":{event.tone:g}")
            for event in self.events
        ]
        if self.volatility_index is not None:
            said.append(f"vix={self.volatility_index:+g}")
        if self.market is not None:
            said.append(f"market={self.market:+g}%")
        return tuple(said)

    def shock(self, moment: np.datetime64) -> Shock | None:
        """Return what moves the market at the cutoff (UTC), if anything does."""
        if self.market is None and self.volatility_index is None:
            return None
        return Shock(moment, (self.market or 0.0) / 100, self.volatility_index or 0.0)


@dataclass(frozen=True)
class WhatIf:
    """Answer to a scenario.

    Attributes
    ----------
    scenario : Scenario
    forecasts : DataFrame
        Columns of `Model.forecast` and ``scenario`` ("as it stands" or "what if"), both on the same steps.
    notes : tuple of str
        What was applied, with how many past events and what uncertainty it rests on; last the label
        that it is not causal.
    warnings : tuple of str
        Where the answer rests on less than the training has seen.
    """

    scenario: Scenario
    forecasts: pd.DataFrame
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def prices(self) -> pd.DataFrame:
        """Both forecasts in prices: `models.tabulate.as_prices`, and ``scenario``."""
        return as_prices(self.forecasts).assign(scenario=self.forecasts["scenario"])


@dataclass(frozen=True)
class Situation:
    """A symbol at its last session: what every scenario that is asked of it shares.

    Attributes
    ----------
    model : Model
    history : History
        With the symbol and the model's universe.
    symbol : str
    bars : Bars
        The symbol's own.
    events : DataFrame
        The symbol's own rows of `History.events`.
    around : Surroundings
        The market-wide series as they stand.
    windows : Windows
        Over the symbol's own rows.
    """

    model: "Model"
    history: History
    symbol: str
    bars: Bars
    events: pd.DataFrame
    around: Surroundings
    windows: Windows

    @classmethod
    def of(
        cls, model: "Model", history: History, symbol: str, around: Surroundings | None = None
    ) -> "Situation":
        """Lay out what a symbol's forecast rests on.

        Parameters
        ----------
        history : History
            With the symbol and the model's universe; must reach at least to the training cutoff.
        around : Surroundings, optional
            `features.surroundings` of the history and the universe, where they are known already.

        Raises
        ------
        ModelError
            If the model was trained on other inputs, or on sessions after the history's last.
        UnknownSymbol, TooLittleHistory
            If the symbol cannot be forecast.
        """
        own = history.only([symbol])
        seen = surroundings(history, model.universe) if around is None else around
        windows = model.windows(own, seen)
        return cls(model, history, symbol, bars_of(own)[symbol], own.events, seen, windows)

    @cached_property
    def end(self) -> int:
        """Row of the windows that the forecast is made from."""
        return self.model.current(self.windows, self.symbol)

    @cached_property
    def standing(self) -> pd.DataFrame:
        """The forecast as it stands: columns of `Model.forecast`."""
        return self._table(self.model.served(self.windows, np.array([self.end])), AS_IT_STANDS)

    @property
    def exchange(self) -> str:
        """The symbol's."""
        return self.history.instruments[self.symbol].exchange

    def answer(self, scenario: Scenario) -> WhatIf:
        """Forecast as it stands and given a scenario; see `what_if`.

        Raises
        ------
        UsageError
            If a date is no session within the horizon, or the market or volatility index is not known.
        ModelError
            If the model has no inputs that the scenario could move.
        """
        model, windows, end, ends = self.model, self.windows, self.end, np.array([self.end])
        panel = windows.panel
        steps = _steps(scenario, self.exchange, pd.Timestamp(panel.session[end]), windows.horizon)
        supposed = list(zip(scenario.events, steps, strict=True))
        shock = scenario.shock(panel.known_at[end])
        dates = {
            kind: np.array(sorted(step for event, step in supposed if event.kind == kind))
            for kind in ANNOUNCED
            if any(event.kind == kind for event in scenario.events)
        }
        if not panel.ahead_names and (shock or dates):
            raise ModelError(
                "This model reads neither the market nor announced dates; train one with the group exogenous"
            )
        moved = replace(panel, values=self._values(shock)) if shock else panel
        if dates:
            moved = replace(moved, announced=self._with_dates(dates))
        given = replace(windows, panel=moved)
        answer = model.served(given, ends)
        notes, warnings = [], model.outside_of_training(windows, given, end)
        if shock:
            notes.append(told_of_market(scenario.market, scenario.volatility_index, self.symbol))
        if "results" in dates and are_due_before(panel, end, dates["results"][0]):
            notes.append(
                "Results are announced or expected for sessions before the supposed date already; what is "
                "known of those sessions stays."
            )
        for event, step in supposed:
            seen = event.kind in ANNOUNCED and model.has_learned(f"{event.kind}_due")
            effect = Effect(event.kind, event.date, event.tone, seen, self._measured.get(event.kind))
            answer = effect.on(answer, step, panel.base_sigma[end])
            notes += effect.told(self.history.is_demonstration)
            warnings += effect.rare(self._learned)
        forecasts = pd.concat([self.standing, self._table(answer, WHAT_IF)], ignore_index=True)
        return WhatIf(scenario, forecasts, (*notes, LABEL), tuple(warnings))

    def _table(self, forecast: StudentT, name: str) -> pd.DataFrame:
        return self.model.table(self.windows, np.array([self.end]), forecast).assign(scenario=name)

    def _with_dates(self, dates: dict[str, np.ndarray]) -> sparse.csr_array:
        """Return what is announced at every row with supposed dates at the last."""
        panel, end = self.windows.panel, self.end
        key = tuple((kind, *steps) for kind, steps in dates.items())
        if key not in self._laid_out:
            self._laid_out[key] = supposed_dates(panel, end, self.bars, self.events, self.exchange, dates)
        rows = [panel.announced[:end], self._laid_out[key], panel.announced[end + 1 :]]
        return sparse.vstack(rows, format="csr")

    @cached_property
    def _laid_out(self) -> dict[tuple[Any, ...], sparse.csr_array]:
        """Supposed dates -> the row that they make: whoever moves a tone asks for the same ones again."""
        return {}

    def _values(self, shock: Shock) -> np.ndarray:
        """Return the inputs of every row as a shock leaves them."""
        panel = self.windows.panel
        around = shocked(self.around, self.history.factors, shock)
        inside = is_member(self.symbol, self.model.universe)
        values = panel.values.copy()
        values[:, [panel.names.index(f"exogenous.{name}") for name in NAMES]] = columns(
            self.bars, around, inside
        )
        return values

    @cached_property
    def _learned(self) -> History:
        """The history of the symbols that the model learned from."""
        return self.history.only([one for one in self.model.universe if one in self.history.symbols])

    @cached_property
    def _measured(self) -> dict[Any, pd.Series]:
        """Kind of event -> what is known of its effect on the symbol."""
        inside = self.symbol in self.model.universe
        return dict(effects(self._learned, self.symbol if inside else None).iterrows())


def what_if(model: "Model", history: History, symbol: str, scenario: Scenario) -> WhatIf:
    """Forecast a symbol from its last session as it stands, and given a scenario.

    The same networks give both. The date of an announced kind (results, dividend) enters what is known
    ahead, as if it had been announced at the cutoff, in place of other dates of the same results that
    lie after it. Of the other kinds nothing can be known ahead (nor of announced ones that training never
    saw): the variance that the forecast grows by on that session is multiplied by the square of their
    measured width. A tone moves the mean, from that
    session on, by the measured shift in units of the base volatility.

    Parameters
    ----------
    history : History
        With the symbol and the model's universe; must reach at least to the training cutoff.

    Raises
    ------
    UsageError
        If a date is no session within the horizon, or the market or volatility index is not known.
    ModelError
        If the model has no inputs that the scenario could move.
    UnknownSymbol, TooLittleHistory
        If the symbol cannot be forecast.
    """
    return Situation.of(model, history, symbol).answer(scenario)


def _read(convert: Callable[[str], Value], text: str, word: str, what: str) -> Value:
    try:
        return convert(text)
    except ValueError as error:
        raise UsageError(f"What if {word!r}: {text!r} is no {what}; expected {GRAMMAR}") from error


def _steps(scenario: Scenario, exchange: str, cutoff: pd.Timestamp, horizon: int) -> list[int]:
    """Count how many sessions ahead the events lie."""
    ahead = [pd.Timestamp(day).date() for day in next_sessions(exchange, cutoff, horizon)]
    for event in scenario.events:
        if event.date in ahead:
            continue
        if event.date <= cutoff.date():
            reason = f"is not after the cutoff {cutoff.date()}"
        elif event.date > ahead[-1]:
            reason = f"lies beyond the horizon of {horizon} sessions"
        else:
            reason = f"is no session of {exchange}"
        first = ", ".join(map(str, ahead[:5]))
        raise UsageError(f"{event.date} {reason}; the next sessions are {first} ... up to {ahead[-1]}")
    return [ahead.index(event.date) + 1 for event in scenario.events]
