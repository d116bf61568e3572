"""The quantiles of a forecast as a table, and the events of a chart as another."""

import numpy as np
import pandas as pd
import streamlit as st

from forecaster.dashboard.fan import View
from forecaster.event_marks import TITLES
from forecaster.models.tabulate import as_prices
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES


def section(table: pd.DataFrame, shown: View, currency: str) -> None:
    """Draw the quantiles of every session ahead, in prices or in per cent of the last price."""
    prices = as_prices(table, shown.loss / 100)
    if shown.percent:
        prices[list(QUANTILE_COLUMNS)] = 100 * np.expm1(table[list(QUANTILE_COLUMNS)])
    unit = "Distance from the last price in per cent" if shown.percent else f"Price in {currency}"
    st.subheader("Quantiles of the price", anchor=False)
    st.caption(
        f"{unit} that the close of each session does not exceed with the probability at the column's head; "
        f"then the probability of a close above the last price, and of one over {shown.loss} % below it."
    )
    number = st.column_config.NumberColumn
    headings = {name: f"{100 * level:g} %" for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)}
    st.dataframe(
        prices[["step", "session", *QUANTILE_COLUMNS]].assign(
            rise=100 * prices["prob_up"], loss=100 * prices["prob_loss"]
        ),
        hide_index=True,
        width="stretch",
        height="content",
        alt=f"{unit}: quantiles by session ahead",
        column_config={
            "step": number("Step", help="Sessions ahead", pinned=True),
            "session": st.column_config.DateColumn("Session", format="YYYY-MM-DD", pinned=True),
            **{
                name: number(heading, format="%+.2f" if shown.percent else "%.2f")
                for name, heading in headings.items()
            },
            "rise": number("Rise, %", format="%.1f"),
            "loss": number("Loss, %", format="%.1f"),
        },
    )


def events(marks: pd.DataFrame, since: pd.Timestamp) -> None:
    """List the events that stand in the chart, newest first."""
    rows = marks[marks["session"] >= since][::-1]
    with st.expander(f"Events in the chart: {len(rows)}"):
        if rows.empty:
            st.caption("No event of these sessions is stored, and none is announced.")
            return
        st.dataframe(
            rows.assign(kind=rows["kind"].map(TITLES)),
            hide_index=True,
            width="stretch",
            placeholder="–",
            alt="Events with the session that each moved, or is due to move",
            column_config={
                "session": st.column_config.DateColumn("Session", format="YYYY-MM-DD", pinned=True),
                "kind": st.column_config.TextColumn("Event"),
                "tone": st.column_config.NumberColumn(
                    "Tone", format="%+.1f", help="From -1, bad, to 1, good"
                ),
                "words": st.column_config.TextColumn("What was said", width="large"),
            },
        )
