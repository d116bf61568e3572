"""What if: a scenario answered in this process, through ONNX Runtime, while a control is moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from forecaster import workflow
from forecaster.dashboard import loaded, reads
from forecaster.dashboard.live_slider import LiveSlider
from forecaster.dashboard.texts import listed, plain
from forecaster.errors import ForecasterError, UsageError
from forecaster.explain.scenario import (
    AS_IT_STANDS,
    KINDS,
    WHAT_IF,
    Kind,
    Scenario,
    Situation,
    SupposedEvent,
    WhatIf,
)
from forecaster.features.exogenous import Shock, require_shockable
from forecaster.history import History
from forecaster.sessions import closes

NO_EVENT = "no event"
HAPPENS: dict[Kind, str] = {
    "results": "results are told",
    "dividend": "the shares go ex-dividend",
    "leadership": "news of the leadership comes",
    "policy": "news of policy comes",
    "restructuring": "news of a restructuring comes",
    "profit": "news of profit comes",
}
SHOWN = (1, 5, 10, 20)


@dataclass(frozen=True)
class Controls:
    """What is supposed, as far as the controls say; each stands in the URL."""

    kind: Kind | None
    day: LiveSlider
    tone: LiveSlider
    market: LiveSlider
    index: LiveSlider
    sessions: Sequence[pd.Timestamp]
    why_no_index: str | None

    @classmethod
    def of(cls, history: History, table: pd.DataFrame) -> "Controls":
        """Draw the choice of an event; the sliders are read and not drawn yet."""
        sessions = list(table["session"])
        kind = st.selectbox("Event", [NO_EVENT, *KINDS], key="event", bind="query-params")
        return cls(
            kind=next((one for one in KINDS if one == kind), None),
            day=LiveSlider(
                "day", "Session that it moves", 1, len(sessions), neutral=1,
                words=[f"{session:%a %d %b %Y}" for session in sessions],
            ),
            tone=LiveSlider("tone", "Tone, from bad to good", -1, 1, 0.1),
            market=LiveSlider("market", "Market at the cutoff", -20, 20, 0.5, unit=" %"),
            index=LiveSlider("vix", "Volatility index", -20, 60, unit=" points"),
            sessions=sessions,
            why_no_index=_unknown_volatility_index(history, table),
        )  # fmt: skip

    def draw(self) -> None:
        """Draw the sliders."""
        if self.kind is not None:
            self.day.draw()
            if self.kind != "dividend":
                self.tone.draw()
        self.market.draw()
        self.index.draw(disabled=self.why_no_index is not None)
        if self.why_no_index is not None:
            st.caption(plain(self.why_no_index))
        st.caption("Choose an event, or move the market: the fan follows.")

    @property
    def scenario(self) -> Scenario | None:
        """What is supposed; None where nothing is."""
        said: dict[str, Any] = {}
        if self.kind is not None:
            day = self.sessions[int(self.day.value) - 1].date()
            tone = {"tone": self.tone.value} if self.tone.value and self.kind != "dividend" else {}
            said["events"] = (SupposedEvent(kind=self.kind, date=day, **tone),)
        if self.index.value and self.why_no_index is None:
            said["volatility_index"] = self.index.value
        if self.market.value:
            said["market"] = self.market.value
        return Scenario(**said) if said else None


def answer(table: pd.DataFrame, controls: Controls, place: DeltaGenerator) -> WhatIf | None:
    """Answer what is supposed with the version and the cutoff of a forecast; tell an error as it is.

    Parameters
    ----------
    table : DataFrame
        The forecast that stands, of one symbol.
    place : DeltaGenerator
        Where to say what went wrong.
    """
    first = table.iloc[0]
    version, symbol = str(first["version"]), str(first["symbol"])
    try:
        with place, st.spinner("Loading the model"):
            situation = _situation(*loaded.here(), version, first["cutoff"], symbol)
        scenario = controls.scenario
        if scenario is not None:
            return situation.answer(scenario)
    except ForecasterError as error:
        place.error(plain(str(error)), icon=":material/error:")
        return None
    return None


def supposed(scenario: Scenario) -> str:
    """Say in plain words what a scenario supposes."""
    said = []
    for event in scenario.events:
        tone = "" if event.tone is None else f" with a tone of {event.tone:+g}"
        said.append(f"{HAPPENS[event.kind]} on {event.date:%d %b %Y}{tone}")
    if scenario.volatility_index:
        said.append(_moved("the volatility index stood", scenario.volatility_index, " points"))
    if scenario.market:
        said.append(_moved("the market closed", scenario.market, " %"))
    return listed(said).replace("-", "\N{MINUS SIGN}")


def _moved(what: str, value: float, unit: str) -> str:
    return f"{what} {abs(value):g}{unit} {'higher' if value > 0 else 'lower'}"


def words(found: WhatIf) -> None:
    """Say what was supposed, on what the answer rests, and give its figures."""
    st.markdown(f"**What if {plain(supposed(found.scenario))}**")
    if found.warnings:
        st.warning("  \n".join(map(plain, found.warnings)), icon=":material/warning:")
    st.markdown("\n".join(f"- {plain(note)}" for note in found.notes))
    with st.expander("The scenario in figures"):
        _table(found)


def _table(found: WhatIf) -> None:
    prices = found.prices
    dates = pd.to_datetime([event.date for event in found.scenario.events])
    shown = prices[prices["step"].isin(SHOWN) | prices["session"].isin(dates)]
    parts = {"q05": "5 %", "q50": "median", "q95": "95 %"}
    wide = shown.pivot(index=["step", "session"], columns="scenario", values=list(parts)).reset_index()
    columns = {
        f"{name}: {title}": wide[part, name]
        for name in (AS_IT_STANDS, WHAT_IF)
        for part, title in parts.items()
    }
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame({"step": wide["step"], "session": wide["session"], **columns}),
        hide_index=True,
        width="stretch",
        alt="Prices as the forecast stands and as the scenario gives them",
        column_config={
            "step": number("Step", help="Sessions ahead", pinned=True),
            "session": st.column_config.DateColumn("Session", format="YYYY-MM-DD", pinned=True),
            **{name: number(f"{name[0].upper()}{name[1:]}", format="%.2f") for name in columns},
        },
    )


def _unknown_volatility_index(history: History, table: pd.DataFrame) -> str | None:
    """Say why the volatility index cannot be moved, if it cannot."""
    exchange, cutoff = history.instruments[history.symbols[0]].exchange, table["cutoff"].iloc[0]
    moment = closes(exchange, np.array([cutoff], dtype="datetime64[ns]"))[0]
    try:
        require_shockable(history.factors, Shock(moment, volatility_index=1.0))
    except UsageError as error:
        return str(error)
    return None


@st.cache_resource(show_spinner=False, max_entries=16)
def _situation(
    folder: str, versions: tuple[int, ...], version: str, cutoff: pd.Timestamp, symbol: str
) -> Situation:
    model = loaded.model(folder, version)
    stranger = None if symbol in model.universe else symbol
    history, around = loaded.world(folder, versions, version, cutoff, stranger)
    as_of_then = workflow.calibrated(reads.opened(folder), model, [symbol], history)
    return Situation.of(as_of_then, history, symbol, around)
