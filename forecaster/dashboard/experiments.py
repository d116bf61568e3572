"""What the kinds of cell remember in experiments: what ``benchmarks/memory.py`` found, if it is there."""

import json
from pathlib import Path

import pandas as pd
import streamlit as st

from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import count, plain
from forecaster.inside_plots import KINDS, plot_gradients, plot_recall

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "memory.json"


def section() -> None:
    """Draw the published experiments, or say where they would be."""
    st.subheader("The kinds side by side, in experiments", anchor=False)
    if not RESULTS.is_file():
        st.markdown(
            "Their results lie in `benchmarks/results` beside the source, which is not on this machine. "
            "`python benchmarks/memory.py` makes them."
        )
        return
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    about = found["about"]
    st.markdown(
        f"Published results of `benchmarks/memory.py`, not of the champion here: small networks trained side "
        f"by side with Keras {plain(about['keras'])} on the bundled sample "
        f"({plain(', '.join(about['symbols']))}), and on made-up sequences."
    )
    left, right = st.columns(2, gap="large")
    with left:
        _gradients(pd.DataFrame(found["gradients"]))
    with right:
        _recall(pd.DataFrame(found["recall"]), found["reaches"], about["updates"])
    _exploding(pd.DataFrame(found["exploding"]))
    _epochs(pd.DataFrame(found["epochs"]), about["epochs"])


def _gradients(rows: pd.DataFrame) -> None:
    by_kind = {str(kind): part for kind, part in rows.groupby("cell", sort=False)}
    words = "Gradient of the last state by each past session, by kind of network, after training"
    chart(plot_gradients(by_kind, "after", "The vanishing gradient"), "vanishing", words)
    drops = [
        f"{KINDS[kind]} "
        f"{part.set_index('lag')['after'].iloc[0] / part.set_index('lag')['after'].loc[10]:,.0f}"
        for kind, part in by_kind.items()
        if 10 in set(part["lag"])
    ]
    st.caption(
        f"Ten sessions back the reaction of the last state is weaker than at the last one by a factor of: "
        f"{', '.join(drops)}. What reacts to nothing cannot be learned from."
    )


def _recall(rows: pd.DataFrame, reaches: dict[str, int], updates: int) -> None:
    errors = rows.groupby(["cell", "lag"], sort=False)["error"].median().reset_index()
    words = "Share of a planted event's variance that is still known, by how many steps back it lies"
    chart(plot_recall(errors), "recall", words)
    reached = ", ".join(f"{KINDS[kind]} {count(steps, 'step')}" for kind, steps in reaches.items())
    starts = rows["seed"].nunique()
    st.caption(
        f"One number is shown, and asked for so many steps later. Remembered after {updates} updates up to: "
        f"{reached} ({count(starts, 'random start')} each). With tanh the simple RNN is the one of the "
        f"service; with ReLU its state is not squashed, and may grow."
    )


def _exploding(rows: pd.DataFrame) -> None:
    st.markdown("**The exploding gradient**: plain gradient descent from large recurrent weights")
    clipped = rows["clip"].map("at {:g}".format, na_action="ignore").fillna("no")
    table = [
        {
            "kind": KINDS[str(kind)], "clipped": clip,
            "updates": len(part), "largest": part["norm"].max(), "first": f"{part['loss'].iloc[0]:.3g}",
            "last": f"{part['loss'].iloc[-1]:.3g}",
        }
        for (kind, clip), part in rows.groupby(["cell", clipped], sort=False)
    ]  # fmt: skip
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", placeholder="no number",
        alt="Gradient norms and losses with and without clipping",
        column_config={
            "kind": text("Kind", pinned=True), "clipped": text("Clipped"),
            "updates": number("Updates", help="Fewer where the loss was no number any more"),
            "largest": number("Largest norm", format="%.3g", help="Before it is clipped"),
            "first": text("First loss", alignment="right"),
            "last": text("Last loss", alignment="right"),
        },
    )  # fmt: skip


def _epochs(rows: pd.DataFrame, epochs: int) -> None:
    st.markdown(
        f"**Seconds an epoch**: median of {epochs}, on one machine; compare them with each other only"
    )
    base = rows.loc[rows["cell"] == "lstm", "seconds"].iloc[0]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows.assign(kind=rows["cell"].map(KINDS), times=rows["seconds"] / base),
        hide_index=True, width="stretch", alt="Seconds an epoch by kind of network",
        column_order=["kind", "seconds", "times", "cpu_seconds"],
        column_config={
            "kind": st.column_config.TextColumn("Kind", pinned=True),
            "seconds": number("Seconds", format="%.2f"), "times": number("Times the LSTM", format="%.2f"),
            "cpu_seconds": number("CPU seconds", format="%.2f"),
        },
    )  # fmt: skip
