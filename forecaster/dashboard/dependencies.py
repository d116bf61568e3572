"""What the width of a forecast rests on: trend, previous day and exogenous in one bar."""

import pandas as pd
import streamlit as st

from forecaster.dashboard import access, links, loaded
from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import count, plain
from forecaster.errors import ForecasterError
from forecaster.explain.inside import Inside
from forecaster.inside_plots import DEPENDENCIES, contributions, plot_dependencies, whole_percents
from forecaster.models import TITLES


# Beside the rest of the page, which does not wait for it.
@access.fragment(parallel=True)
def section(table: pd.DataFrame, step: int) -> None:
    """Draw the bar of a forecast, of the first kind of network in its version.

    Parameters
    ----------
    table : DataFrame
        The forecast, of one symbol.
    step : int
        Sessions ahead.
    """
    st.subheader("What its width rests on", anchor=False)
    first = table.iloc[0]
    symbol, day = str(first["symbol"]), f"{first['cutoff']:%Y-%m-%d}"
    try:
        with st.spinner("Looking inside the network"):
            found = loaded.look(str(first["version"]), symbol, None, day)
    except ForecasterError as error:
        st.info(f"It cannot be shown. {plain(str(error))}", icon=":material/info:")
        return
    draw(found, step)
    links.link("inside", "Inside the network", symbol=symbol)


def draw(found: Inside, step: int) -> None:
    """Draw the bar of one kind of network, and say what it says."""
    parts = contributions(found, step)
    if parts["share"].isna().any():
        st.info("All inputs are as usual, so none of them moves the forecast.", icon=":material/info:")
        return
    totals = found.attribution.totals
    total = totals[(totals["target"] == "sigma") & (totals["step"] == step)].iloc[0]
    pushes = [
        f"**{DEPENDENCIES[group][0].lower()}** {'widens' if value > 0 else 'narrows'} it by "
        f"{100 * abs(value):.3f}"
        for group, value, _ in parts.itertuples(index=False)
    ]
    words = ", ".join(
        f"{DEPENDENCIES[group][0]} {percent} %"
        for group, percent in zip(parts["group"], whole_percents(parts["share"]), strict=True)
    )
    chart(plot_dependencies(parts), "dependencies", f"Shares of the contributions to the width: {words}")
    st.markdown(
        f"Over the {count(step, 'session')} after {found.cutoff:%Y-%m-%d} the "
        f"{TITLES[found.cell]} gives the log return a standard deviation (sigma) of "
        f"{100 * total['forecast']:.3f} %; if every input were as usual it would be "
        f"{100 * total['usual']:.3f} %. Of the difference, {', '.join(pushes)} (per cent of log return). The "
        "bar shows the shares of these three sizes."
    )
    if total["gap"] > 1e-3:
        st.caption(f"The contributions miss {100 * total['gap']:.1f} % of the difference.")
    st.caption(
        "Of the network alone, before it is pooled with the classical models and calibrated. Not causal: it "
        "says what the network makes of its inputs, not what moved the price."
    )
