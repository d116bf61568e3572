"""The dashboard: one file per page. It reads Delta tables; it never downloads or trains."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from forecaster.dashboard import data, forecast
from forecaster.dashboard.texts import plain
from forecaster.errors import ForecasterError

PAGES: dict[str, tuple[str, str, Callable[[], None]]] = {
    "forecast": ("Forecast", ":material/show_chart:", forecast.page),
    "data": ("Data", ":material/database:", data.page),
}
"""Path in the URL -> title, icon, and the function that draws the page."""

# From a file: an icon named by its Material name would be fetched from the internet.
ICON = Path(__file__).resolve().parents[2] / "static" / "icon.svg"


def run() -> None:
    """Set the page up and draw the one that the URL names."""
    st.set_page_config(page_title="forecaster", page_icon=str(ICON), layout="wide")
    st.logo(str(ICON), size="large")
    pages = [
        st.Page(guarded(draw), title=title, icon=icon, url_path=path, default=path == "forecast")
        for path, (title, icon, draw) in PAGES.items()
    ]
    st.navigation(pages, position="top").run()


def guarded(draw: Callable[[], None]) -> Callable[[], None]:
    """Make a page tell an error of this package as one text instead of a traceback."""

    def page() -> None:
        try:
            draw()
        except ForecasterError as error:
            st.error(plain(str(error)), icon=":material/error:")

    return page
