"""The dashboard: one file per page. It reads Delta tables; it never downloads or trains."""

from collections.abc import Callable

import streamlit as st

from forecaster.dashboard import forecast
from forecaster.errors import ForecasterError

PAGES: dict[str, tuple[str, str, Callable[[], None]]] = {
    "forecast": ("Forecast", ":material/show_chart:", forecast.page),
}
"""Path in the URL -> title, icon, and the function that draws the page."""


def run() -> None:
    """Set the page up and draw the one that the URL names."""
    st.set_page_config(page_title="forecaster", page_icon=":material/show_chart:", layout="wide")
    pages = [
        st.Page(_guarded(draw), title=title, icon=icon, url_path=path, default=path == "forecast")
        for path, (title, icon, draw) in PAGES.items()
    ]
    st.navigation(pages).run()


def _guarded(draw: Callable[[], None]) -> Callable[[], None]:
    def page() -> None:
        try:
            draw()
        except ForecasterError as error:
            st.error(str(error), icon=":material/error:")

    return page
