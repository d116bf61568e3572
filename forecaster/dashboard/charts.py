"""Charts as the pages show them."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

ZOOM = ["zoomIn2d", "zoomOut2d", "resetScale2d"]


def ink() -> str:
    """Return the colour of text in the theme that the browser shows: that of a figure's notes is too pale."""
    return st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor")


def chart(figure: go.Figure, key: str, words: str, name: str | None = None, zoom: bool = False) -> None:
    """Draw a figure whose bar offers it as a PNG.

    Parameters
    ----------
    key : str
        Of the chart.
    words : str
        What a screen reader says of it.
    name : str, optional
        Of the PNG; default: the key.
    zoom : bool
        Whether the bar also zooms.
    """
    # A chart that zooms on dragging would keep a finger on a phone from scrolling the page.
    figure.update_layout(dragmode=False)
    theme = st.context.theme.type
    if theme is not None:
        # A saved picture has no page behind it.
        figure.update_layout(paper_bgcolor=st.get_option(f"theme.{theme}.backgroundColor"))
    config: dict[str, Any] = {
        "displaylogo": False,
        "displayModeBar": True,
        "modeBarButtons": [["toImage"], ZOOM] if zoom else [["toImage"]],
        "toImageButtonOptions": {"format": "png", "filename": name or key, "scale": 2},
    }
    st.plotly_chart(figure, width="stretch", config=config, key=key, alt=words)
