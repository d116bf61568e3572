"""Step through a window: the gates over its sessions, and one unit's conveyor belt at one of them."""

import pandas as pd
import streamlit as st

from forecaster.dashboard import access
from forecaster.dashboard.charts import chart, ink
from forecaster.dashboard.controls import pill
from forecaster.explain.belt import Belt, belt
from forecaster.explain.gates import SHARES
from forecaster.explain.inside import Inside
from forecaster.inside_plots import ALL_GATES, plot_belt, plot_gates, rows_of, signed


@access.fragment()
def walk(found: Inside, closes: pd.Series, currency: str) -> None:
    """Draw both, and draw them anew by themselves while the step moves.

    Parameters
    ----------
    closes : Series
        Close by session.
    currency : str
    """
    heat = st.container()
    st.subheader("One unit, one session: the conveyor belt", anchor=False)
    st.markdown(
        "A unit carries one number from session to session. Choose a unit and walk through the window; the "
        "dotted line in the map above stands at the same session."
    )
    seed, unit, step = _place(found)
    session = found.sessions["session"].iloc[step - 1]
    with heat:
        _map(found, closes, currency, seed, session)
    shown = belt(found, seed, unit, session)
    row = found.sessions.iloc[step - 1]
    what = f"{session:%a %Y-%m-%d}, session {step} of {len(found.sessions)}"
    left, right = st.columns([3, 2], gap="large")
    with left:
        figure = plot_belt(shown).update_annotations(font={"color": ink(), "size": 12})
        said = f"Conveyor belt of unit {unit + 1} on {what}: {told(shown)}"
        st.plotly_chart(figure, width="stretch", config={"staticPlot": True}, key="belt", alt=said)
    with right:
        st.markdown(
            f"**{what}**: log return {100 * row['log_return']:+.2f} %, a move of {row['move']:+.1f} "
            f"volatilities."
        )
        st.markdown(told(shown))
        if step == 1:
            st.caption("The window starts here from an empty state: there is nothing to forget yet.")


def told(shown: Belt) -> str:
    """Say in words what a unit did."""
    gate, before, after = shown.values, signed(shown.before), signed(shown.after)
    kept, added = signed(shown.kept), signed(shown.added)
    if shown.cell == "lstm":
        return (
            f"**Forgotten:** of the cell state {before} the forget gate lets {100 * gate['forget']:.0f} % "
            f"through, which is {kept}. **Added:** the input gate lets {100 * gate['input']:.0f} % "
            f"of the candidate {signed(gate['candidate'])} in, which is {added}. Together {after} is "
            f"carried on. **Shown:** the output gate lets {100 * gate['output']:.0f} % of its squashed value "
            f"out: {signed(shown.shown)}."
        )
    if shown.cell == "gru":
        return (
            f"**Forgotten:** of the state {before} the update gate keeps {100 * gate['update']:.0f} %, which "
            f"is {kept}. **Added:** the rest of the room, {100 * (1 - gate['update']):.0f} %, is "
            f"filled from the candidate {signed(gate['candidate'])}, for which the reset gate let "
            f"{100 * gate['reset']:.0f} % of what the states before say through; that is {added}. "
            f"**Shown:** all of it, {after}."
        )
    return (
        f"A simple RNN has no gate: it holds {before}, mixes it with the inputs of the session and of its "
        f"other units, and overwrites it with {after}. Nothing says what to keep, and nothing is held back."
    )


def _place(found: Inside) -> tuple[int, int, int]:
    """Let random start, unit and step be chosen; the first two from 0 on."""
    units, last = int(found.units["unit"].max()) + 1, len(found.sessions)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        start = pill("Random start", "start", list(range(1, found.seeds + 1)), 1)
        unit = st.number_input("Unit", 1, units, 1, key="unit", bind="query-params", width=140)
    step = st.slider(
        "Session of the window, 1 the oldest", 1, last, last, key="step", bind="query-params",
        help="The arrow keys move it too",
    )  # fmt: skip
    with st.container(horizontal=True):
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", on_click=_move, args=(step - 1,),
            disabled=step == 1,
        )  # fmt: skip
        st.button(
            "Next", key="next", icon=":material/chevron_right:", on_click=_move, args=(step + 1,),
            disabled=step == last,
        )  # fmt: skip
    return start - 1, unit - 1, step


def _move(step: int) -> None:
    st.session_state["step"] = step


def _map(found: Inside, closes: pd.Series, currency: str, seed: int, session: pd.Timestamp) -> None:
    rows = rows_of(found.cell)
    gate = pill("Rows of the map", "rows", rows, rows[0]) if len(rows) > 1 else rows[0]
    figure = plot_gates(found, closes, currency, gate, seed, session)
    what = "each gate, mean over its units" if gate == ALL_GATES else f"the units of {gate}"
    words = f"Map of {what}, over {len(found.sessions)} sessions, above the close and the events"
    chart(figure, "gates", words, f"{found.symbol}-{found.cell}-{gate}")
    if gate == ALL_GATES:
        st.caption(
            "Each row is a gate, each column a session: the mean over all units of all random starts. "
            "Bright: the gates stand open. The row kept is no gate: it is the share of the state that was "
            "kept and not written anew. Marks on the price are company events at the session that they moved."
        )
    elif gate in SHARES:
        st.caption("Each row is a unit of the chosen random start. Bright: its gate stands open.")
    else:
        st.caption("Each row is a unit of the chosen random start. Blue is above zero, red below it.")
