"""Who may look, and who may change something: start jobs, promote versions, edit the watchlist.

Without a login whoever sits at this machine may do all of it, and nobody else anything. With one, the
provider says who a visitor is and the settings what they may, on this machine too: behind a proxy
everybody seems to sit at it.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st

from forecaster import login
from forecaster.dashboard import reads
from forecaster.store import now

Drawn = ParamSpec("Drawn")

PROXIED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""Headers that proxies add: such a visitor sits at another machine, whatever the address says."""

NOT_SET_UP = (
    "This dashboard can be reached from other machines, and no login is set up; docs/login.md shows how."
)
NOT_STARTED = (
    "A login is set up, but serves only a dashboard that was started by python -m forecaster dashboard."
)


def denied() -> str | None:
    """Say why whoever looks at the page may not change anything; None if they may."""
    if role() == "editor":
        return None
    if not has_login():
        return _without_login()
    who = visitor()
    if who is None:
        return "Sign in to change anything."
    if who.get("email") and not login.address_of(who, reads.settings()):
        return f"{name(who)} may change nothing: the provider has not verified this address."
    return f"{name(who)} may look, and change nothing; the setting editors names who may."


def barred() -> str | None:
    """Say why whoever looks at the page may not even look; None if they may."""
    if role() is not None:
        return None
    if not has_login():
        return _without_login()
    who = visitor()
    if who is None:
        return "Sign in to look at this dashboard."
    return f"{name(who)} is not among those who may look at this dashboard; the setting viewers names them."


def fragment(
    run_every: str | None = None, parallel: bool = False
) -> Callable[[Callable[Drawn, None]], Callable[Drawn, None]]:
    """Make a part of a page one that is drawn anew by itself; the arguments are those of `st.fragment`.

    The page is not asked then whether its visitor may look, so that the part asks. Who may not any more has
    the whole page drawn anew, which says why.
    """

    def made(draw: Callable[Drawn, None]) -> Callable[Drawn, None]:
        @wraps(draw)
        def part(*args: Drawn.args, **kwargs: Drawn.kwargs) -> None:
            if barred() is not None:
                st.rerun()
            draw(*args, **kwargs)

        return st.fragment(part, run_every=run_every, parallel=parallel)

    return made


def has_login() -> bool:
    """Say whether this server asks an OpenID provider who its visitors are."""
    return "is_logged_in" in st.user


def visitor() -> Mapping[str, Any] | None:
    """Return what the provider said of who is signed in; None if nobody is, or has been for too long."""
    claims = st.user.to_dict()
    if not claims.get("is_logged_in") or login.expired(claims, reads.settings(), now()):
        return None
    return claims


def role() -> login.Role | None:
    """Tell what whoever looks at the page may; None: not even look."""
    if has_login():
        return login.role(visitor(), reads.settings())
    return "editor" if _without_login() is None else None


def name(who: Mapping[str, Any]) -> str:
    """Return how a visitor is called."""
    return str(who.get("email") or who.get("name") or who["sub"])


def _without_login() -> str | None:
    if login.wanted(reads.settings()):
        return NOT_STARTED
    proxied = any(header in st.context.headers for header in PROXIED)
    return NOT_SET_UP if proxied or not login.is_local(st.get_option("server.address")) else None
