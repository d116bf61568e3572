"""From one page to another."""

from collections.abc import Mapping
from typing import NoReturn

import streamlit as st
from streamlit.navigation.page import Page

KEY = "pages"


def remember(pages: Mapping[str, Page]) -> None:
    """Keep the pages of this run by their paths, for `open_page`."""
    st.session_state[KEY] = dict(pages)


def open_page(path: str, **query: str) -> NoReturn:
    """Leave this page for another, whose state the query gives."""
    st.switch_page(st.session_state[KEY][path], query_params=query)


def link(path: str, label: str, **query: str) -> None:
    """Draw a link to another page, whose state the query gives; nothing where that page is not there."""
    page = st.session_state.get(KEY, {}).get(path)
    if page is not None:
        st.page_link(page, label=label, icon=":material/arrow_forward:", query_params=query)
