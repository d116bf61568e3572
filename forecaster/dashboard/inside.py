"""Inside the network: what its gates forget, add and show, how long it remembers, what it rests on."""

import json

import numpy as np
import pandas as pd
import streamlit as st

from forecaster.dashboard import (
    controls,
    conveyor,
    dependencies,
    downloads,
    experiments,
    links,
    loaded,
    reads,
)
from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import NOT_ADVICE, command, count, plain
from forecaster.decisions import CHAMPION
from forecaster.errors import ForecasterError
from forecaster.explain.inside import Inside, laid_out
from forecaster.inside_plots import plot_gradients, plot_half_lives, plot_kept
from forecaster.models import TITLES
from forecaster.network_plots import GATES

INTRODUCTION = """
A recurrent network reads a window of sessions one after the other and carries a memory along, like a
conveyor belt. At each session gates, numbers between 0 (shut) and 1 (open), decide what is **forgotten**,
what is **added** and what is **shown**. Here you see the numbers of the champion's own networks, over the
window that a forecast reads.
"""

STATES = {
    "lstm": {
        "Cell state": "the belt: what a unit carries from session to session",
        "Candidate": "what this session proposes to write, between \N{MINUS SIGN}1 and 1",
        "Hidden state": "what a unit shows to the rest of the network, and to itself at the next session",
    },
    "gru": {
        "Hidden state": "belt and display in one: what a unit carries on is what it shows",
        "Candidate": "what this session proposes to write, between \N{MINUS SIGN}1 and 1",
    },
    "rnn": {
        "Hidden state": "all it has: made anew at each session from the inputs and from the state before",
    },
}
"""Kind of network -> its states, and what each is."""


def page() -> None:
    """Draw the page."""
    st.title("Inside the network", anchor=False)
    st.markdown(INTRODUCTION)
    rows = reads.decisions()
    champions = rows[rows["alias"] == CHAMPION]
    known = reads.symbols()
    if champions.empty or not known:
        _nothing(champions.empty)
        return
    version = str(champions["version"].iloc[-1])
    controls.demonstration()
    kinds = {TITLES[cell]: cell for cell in json.loads(champions["card"].iloc[-1])["recipe"]["cells"]}
    heading = st.container()
    try:
        with st.container(border=True):
            symbol = controls.symbol(known, heading)
            with st.spinner("Loading the model"):
                days = loaded.readable(version, symbol)
            with st.container(horizontal=True, vertical_alignment="bottom"):
                kind = kinds[controls.pill("Kind of network", "cell", list(kinds), next(iter(kinds)))]
                as_of = controls.one_of("Window up to", "as-of", "The last session", days)
        with st.spinner("Looking inside"):
            found = loaded.look(version, symbol, kind, as_of)
            others = {one: loaded.look(version, symbol, one, as_of) for one in kinds.values()}
    except ForecasterError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    _state(symbol)
    _draw(found, others)


def _nothing(no_champion: bool) -> None:
    if no_champion:
        controls.nothing_yet(
            "No model has been made champion here yet, so there is no network to look into. Bring prices, "
            "train and test a model with one command, then reload this page:"
        )
    else:
        controls.nothing_yet(
            "There is a champion, but it has forecast nothing yet. Forecast a symbol that is stored, then "
            "reload this page:",
            "forecast SYMBOL",
        )


def _state(symbol: str) -> None:
    """Say so where what stands of the symbol is too old for a forecast."""
    state = reads.state(symbol)
    if state.level == "expired":
        st.warning(
            f"**Expired.** {plain('; '.join(state.reasons))}. What the network did with its last window can "
            f"still be seen; it says nothing about today.",
            icon=":material/block:",
        )


def _draw(found: Inside, others: dict[str, Inside]) -> None:
    history = reads.history(found.symbol)
    closes = history.bars(found.symbol).set_index("session")["close"]
    st.caption(
        f"{TITLES[found.cell]} of model version {plain(found.version)}: "
        f"{count(found.seeds, 'random start')}, {count(len(found.sessions), 'session')} up to "
        f"{found.cutoff:%Y-%m-%d}. Recomputed from the weights; what they forecast agrees with what is "
        f"served {_agreement(found.difference)}."
    )
    st.caption("\n".join(f"- {plain(note)}" for note in found.notes if note != found.silence))
    st.subheader("The gates over the window", anchor=False)
    _glossary(found.cell)
    if found.silence:
        st.info(plain(found.silence), icon=":material/info:")
    conveyor.walk(found, closes, history.instruments[found.symbol].currency)
    _memory(found)
    _gradients(others)
    st.subheader("What its forecast rests on: the three dependencies", anchor=False)
    steps = [int(step) for step in found.attribution.totals["step"].unique()]
    dependencies.draw(found, controls.pill("Sessions ahead", "horizon", steps, steps[-1]))
    links.link("forecast", "The forecast", symbol=found.symbol)
    experiments.section()
    _downloads(found)
    st.caption(NOT_ADVICE)


def _agreement(difference: float) -> str:
    """Say to how many decimal places forecasts agree that differ by so much."""
    return f"to {int(-np.log10(2 * difference))} decimal places" if difference else "exactly"


def _glossary(cell: str) -> None:
    gates = {f"{name.capitalize()} gate": words for name, words in GATES[cell].items()}
    lines = "\n".join(f"- **{name}**: {words}." for name, words in (gates | STATES[cell]).items())
    st.markdown(lines if gates else f"A simple RNN has no gate, so its map shows its states.\n\n{lines}")


def _memory(found: Inside) -> None:
    st.subheader("How long it remembers", anchor=False)
    if found.half_lives.empty:
        st.markdown(
            "A simple RNN has no gate that keeps, so it has no half-life: every session overwrites its "
            "state. How far back it reacts is told by the gradients below."
        )
        return
    lives = found.half_lives["half_life"]
    low, middle, high = (f"{one:.1f}" for one in np.quantile(lives, [0.1, 0.5, 0.9]))
    st.markdown(
        f"After its **half-life** a unit has lost half of what it held, at the mean rate of this window. The "
        f"median of {count(len(lives), 'unit')} is **{middle} sessions**; the middle 80 % lie from {low} to "
        f"{high}."
    )
    left, right = st.columns(2, gap="large")
    with left:
        figure = plot_half_lives(found)
        chart(
            figure, "half-lives", f"Half-lives of the units: median {middle}, from {low} to {high} sessions"
        )
    with right:
        chart(plot_kept(found), "kept", "Share still kept of what was held so many sessions ago")
    st.caption(
        "Of what the gates keep within a unit. Units also hand on to each other what they show, so a network "
        "may remember for longer than each unit does; what counts for the forecast is the gradient below."
    )


def _gradients(others: dict[str, Inside]) -> None:
    st.subheader("How strongly past sessions still act: the gradients", anchor=False)
    st.markdown(
        "The **gradient** says how far the end moves if a session is moved a little. Where it falls towards "
        "zero with every session back it *vanishes*: what lies there can neither act nor be learned from. "
        "The axis is logarithmic: an equal way down is an equal factor."
    )
    tables = {kind: found.gradients for kind, found in others.items()}
    silent = [TITLES[kind] for kind, rows in tables.items() if not (rows["forecast"] > 0).any()]
    left, right = st.columns(2, gap="large")
    with left:
        figure = plot_gradients(tables, "state", "Last hidden state by each session")
        chart(figure, "state-gradients", "Gradient of the last hidden state by each session, by kind")
    with right:
        if len(silent) == len(tables):
            st.info(
                "The gradient of the forecast is zero everywhere: training kept no correction of these "
                "networks to their linear part, so what they remember changes no forecast.",
                icon=":material/info:",
            )
        else:
            figure = plot_gradients(tables, "forecast", "Width of the forecast by each session")
            chart(figure, "forecast-gradients", "Gradient of the forecast's width by each session, by kind")
            if silent:
                st.caption(f"Zero everywhere for {plain(', '.join(silent))}: no correction was kept there.")
    far = [f"{TITLES[kind]} {_part(_drop(rows))}" for kind, rows in tables.items() if _drop(rows) > 0]
    right_hand = "" if len(silent) == len(tables) else "; on the right, of log sigma one session ahead"
    st.caption(
        f"Of what the cutoff does to the last state, the oldest session of the window still does this share: "
        f"{', '.join(far) or 'nothing'}. Norms of the gradients by the standardised inputs, mean over the "
        f"random starts; on the left, of the state, whatever is made of it{right_hand}."
    )


def _drop(rows: pd.DataFrame) -> float:
    by_lag = rows.set_index("lag")["state"]
    return float(by_lag[by_lag.index.max()] / by_lag[0])


def _part(share: float) -> str:
    """Write a share that may be tiny: ``12 %``, ``1 part in 83,000``."""
    if share < 1e-6:
        return "less than 1 part in a million"
    return f"{100 * share:.0f} %" if share >= 0.01 else f"1 part in {float(f'{1 / share:.1e}'):,.0f}"


def _downloads(found: Inside) -> None:
    st.subheader("To take away", anchor=False)
    at = f"{found.symbol}-{found.cell}-{found.cutoff:%Y-%m-%d}"
    downloads.offer_whole(f"explain-{at}", lambda: laid_out(found), "All of it")
    words = f"explain {found.symbol} --cell {found.cell} --as-of {found.cutoff:%Y-%m-%d} --json"
    st.markdown("The same on the command line:")
    st.code(command(words), language="bash")
    downloads.offer(f"units-{at}", lambda: found.units, "Every unit")
    downloads.offer(f"gradients-{at}", lambda: found.gradients, "Gradients")
    downloads.offer(f"contributions-{at}", lambda: found.attribution.contributions, "Contributions")
