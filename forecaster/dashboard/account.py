"""Signing in and out, and what that allows."""

import streamlit as st

from forecaster.dashboard import access
from forecaster.dashboard.texts import plain


def title() -> str:
    """Return how the link to this page is called: who is signed in and as what."""
    who = access.visitor()
    return "Sign in" if who is None else f"{access.name(who)}, {access.role() or 'no role'}"


def page() -> None:
    """Draw the page."""
    who = access.visitor()
    if who is None:
        sign_in(access.denied())
        return
    st.title("Signed in", anchor=False)
    reason = access.barred() or access.denied()
    st.markdown(plain(reason or f"{access.name(who)} may look and change."))
    if st.button("Sign out", icon=":material/logout:", type="primary"):
        st.logout()


def sign_in(reason: str | None) -> None:
    """Draw the way in."""
    st.title("Sign in", anchor=False)
    if reason:
        st.markdown(plain(reason))
    if st.button("Sign in", icon=":material/login:", type="primary"):
        st.login()
