"""The dashboard: one file per page. It reads tables and jobs; it never downloads or trains itself."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from forecaster.dashboard import (
    access,
    account,
    compare,
    data,
    events,
    forecast,
    inside,
    links,
    method,
    models,
    record,
    today,
)
from forecaster.dashboard.texts import plain
from forecaster.errors import ForecasterError

PAGES: dict[str, tuple[str, str, Callable[[], None]]] = {
    "today": ("Today", ":material/today:", today.page),
    "forecast": ("Forecast", ":material/show_chart:", forecast.page),
    "record": ("Track record", ":material/fact_check:", record.page),
    "compare": ("Compare", ":material/balance:", compare.page),
    "inside": ("Inside the network", ":material/memory:", inside.page),
    "models": ("Models and retraining", ":material/verified:", models.page),
    "events": ("Events", ":material/event:", events.page),
    "data": ("Data", ":material/database:", data.page),
    "method": ("Method", ":material/school:", method.page),
}
"""Path in the URL -> title, icon, and the function that draws the page; without a path the first one."""

# From a file: an icon named by its Material name would be fetched from the internet.
ICON = Path(__file__).resolve().parents[2] / "static" / "icon.svg"

FRONT = "front"
"""Path that the default page keeps for itself and is never served at."""

STYLE = """<style>
[data-testid=stElementToolbar]:focus-within { opacity: 1 }
[data-testid=stTopNavLink]:focus-visible { outline: 2px solid }
[data-testid=stMainBlockContainer] { padding-top: 4.5rem }
</style>"""
"""Where the keyboard is: Streamlit shows the first to the mouse alone, and the second hardly. And where
the page begins: Streamlit leaves a large blank above the title."""


def run() -> None:
    """Set the page up and draw the one that the URL names."""
    st.set_page_config(page_title="forecaster", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    st.logo(str(ICON), size="large")
    pages = {
        path: st.Page(guarded(draw), title=title, icon=icon, url_path=path)
        for path, (title, icon, draw) in PAGES.items()
    }
    first, (title, icon, draw) = next(iter(PAGES.items()))
    # Streamlit serves its default page without a path only, and a link may name the path all the same.
    named = st.Page(guarded(draw), title=title, url_path=first, visibility="hidden")
    pages[first] = st.Page(guarded(draw), title=title, icon=icon, url_path=FRONT, default=True)
    links.remember(pages)
    shown = [*pages.values(), named]
    if access.has_login():
        shown.append(st.Page(account.page, title="Account", url_path="account", visibility="hidden"))
    page = st.navigation(shown, position="top")
    if access.has_login():
        # The navigation hides in a menu what does not fit.
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.page_link(shown[-1], label=plain(account.title()), icon=":material/account_circle:")
    page.run()


def guarded(draw: Callable[[], None]) -> Callable[[], None]:
    """Show a page to those who may look, and an error of this package as one text instead of a traceback."""

    def page() -> None:
        try:
            reason = access.barred()
            if reason is None:
                draw()
            elif access.has_login() and access.visitor() is None:
                account.sign_in(reason)
            else:
                st.error(plain(reason), icon=":material/lock:")
        except ForecasterError as error:
            st.error(plain(str(error)), icon=":material/error:")

    return page
