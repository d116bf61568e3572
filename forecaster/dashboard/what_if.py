"""What if: a scenario asked of the command line in a process of its own, drawn over the forecast."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from forecaster.dashboard import reads
from forecaster.dashboard.texts import plain
from forecaster.errors import UsageError
from forecaster.explain.scenario import AS_IT_STANDS, KINDS, WHAT_IF, Scenario, SupposedEvent
from forecaster.features.exogenous import Shock, require_shockable
from forecaster.history import History
from forecaster.plots import plot_what_if
from forecaster.sessions import closes

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 180
"""Seconds after which an answer is given up."""

NO_EVENT = "no event"
SHOWN = (1, 5, 10, 20)


def section(history: History, table: pd.DataFrame) -> None:
    """Draw the controls, and once something is asked the answer.

    Parameters
    ----------
    table : DataFrame
        The forecast that stands: the scenario is asked of the same model version and cutoff.
    """
    first = table.iloc[0]
    symbol = str(first["symbol"])
    asked_of = (symbol, str(first["version"]), f"{first['cutoff']:%Y-%m-%d}")
    with st.expander("What if", key="what-if"):
        scenario = _form(history, table)
        if scenario is not None:
            st.session_state.pop("what-if-answer", None)
            report = _ask(*asked_of, scenario)
            if report is not None:
                st.session_state["what-if-answer"] = (asked_of, scenario.words, report)
        of, words, report = st.session_state.get("what-if-answer", (None, (), {}))
        if of == asked_of:
            _answer(history, symbol, words, report)


def _form(history: History, table: pd.DataFrame) -> Scenario | None:
    """Draw the controls; return the scenario when it is asked for."""
    st.caption(
        "Suppose an event on one of the next sessions, a move of the market or of the volatility index at "
        "the cutoff. The model then forecasts once more; nothing is stored."
    )
    why_not = _unknown_volatility_index(history, table)
    with st.form("what-if-form", border=False):
        (left, middle, right), (below_left, below_middle, _) = st.columns(3), st.columns(3)
        kind = left.selectbox("Event", [NO_EVENT, *KINDS], key="what-if-kind")
        day = middle.selectbox(
            "Session that it moves", list(table["session"].dt.date), key="what-if-date",
            help="What comes after a close moves the next session",
        )  # fmt: skip
        tone = right.slider(
            "Tone", -1.0, 1.0, 0.0, 0.1, key="what-if-tone", help="From bad to good; a dividend has none"
        )
        points = below_left.number_input(
            "Volatility index, points", -50.0, 100.0, 0.0, 1.0, format="%.1f", key="what-if-vix",
            disabled=why_not is not None, help=why_not,
        )  # fmt: skip
        market = below_middle.number_input(
            "Market, per cent", -50.0, 50.0, 0.0, 0.5, format="%.1f", key="what-if-market"
        )
        if why_not is not None:
            st.caption(plain(why_not))
        if not st.form_submit_button("Compute", key="what-if-compute"):
            return None
    said: dict[str, Any] = {}
    if kind != NO_EVENT:
        told: dict[str, Any] = {"tone": tone} if tone and kind != "dividend" else {}
        said["events"] = (SupposedEvent(**{"kind": kind, "date": day, **told}),)
    if points:
        said["volatility_index"] = points
    if market:
        said["market"] = market
    if not said:
        st.info("Nothing is supposed yet: choose an event, or move the market.", icon=":material/info:")
        return None
    return Scenario(**said)


def _unknown_volatility_index(history: History, table: pd.DataFrame) -> str | None:
    """Say why the volatility index cannot be moved, if it cannot."""
    exchange, cutoff = history.instruments[history.symbols[0]].exchange, table["cutoff"].iloc[0]
    moment = closes(exchange, np.array([cutoff], dtype="datetime64[ns]"))[0]
    try:
        require_shockable(history.factors, Shock(moment, volatility_index=1.0))
    except UsageError as error:
        return str(error)
    return None


def _ask(symbol: str, version: str, cutoff: str, scenario: Scenario) -> dict[str, Any] | None:
    """Have the command line answer; tell its error as it is.

    The networks stay out of this process. Whoever leaves the page ends the command: Streamlit stops a
    script where it next draws, which is what the waiting does.
    """
    home = str(reads.settings().home.resolve())
    words = [part for word in scenario.words for part in ("--what-if", word)]
    options = ["--home", home, "--version", version, "--as-of", cutoff, "--json", *words]
    began, place = time.monotonic(), st.empty()
    process = subprocess.Popen(
        [sys.executable, "-m", "forecaster", "forecast", symbol, *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    try:
        with st.spinner("The networks are at work", show_time=True):
            while (passed := time.monotonic() - began) < LONGEST:
                try:
                    output, errors = process.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    place.empty()
            else:
                st.error(f"No answer within {passed:.0f} s; the machine may be busy. Try again later.")
                return None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        said = errors.strip().splitlines() or ["error: the command ended without a word"]
        st.error(plain(said[-1].removeprefix("error: ")), icon=":material/error:")
        return None
    return json.loads(output)


def _answer(history: History, symbol: str, words: tuple[str, ...], report: dict[str, Any]) -> None:
    rows = {AS_IT_STANDS: report["rows"], WHAT_IF: report["what_if"]["rows"]}
    prices = pd.concat([pd.DataFrame(part).assign(scenario=name) for name, part in rows.items()])
    prices = prices.assign(
        session=pd.to_datetime(prices["session"]),
        cutoff=pd.Timestamp(report["cutoff"]),
        base_price=report["base_price"],
    )
    st.markdown(f"**What if {plain(', '.join(words))}**")
    if report["what_if"]["warnings"]:
        st.warning("  \n".join(map(plain, report["what_if"]["warnings"])), icon=":material/warning:")
    _chart(plot_what_if(history, prices, symbol), symbol)
    _table(prices, report)
    st.markdown("\n".join(f"- {plain(note)}" for note in report["what_if"]["notes"]))


def _chart(figure: go.Figure, symbol: str) -> None:
    # As on the rest of the page: dragging scrolls, it does not zoom.
    figure.update_layout(dragmode=False)
    words = f"Fan of the forecast of {symbol} as it stands, and over it the one of the scenario"
    st.plotly_chart(figure, width="stretch", config={"displaylogo": False}, key="what-if-fan", alt=words)


def _table(prices: pd.DataFrame, report: dict[str, Any]) -> None:
    dates = [event["date"] for event in report["what_if"]["scenario"]["events"]]
    shown = prices[prices["step"].isin(SHOWN) | prices["session"].isin(pd.to_datetime(dates))]
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
