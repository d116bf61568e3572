"""The sign-in through an OpenID provider: what it needs, and what a visitor may once signed in."""

import ipaddress
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from forecaster.config import EVERYONE, SIGNED_IN, Settings
from forecaster.errors import UsageError

Role = Literal["viewer", "editor"]
"""A viewer looks; an editor also starts jobs, promotes versions and edits the watchlist."""

CLIENT_SECRET = "FORECASTER_OIDC_CLIENT_SECRET"
COOKIE_SECRET = "FORECASTER_OIDC_COOKIE_SECRET"
"""Variables, and never settings: a secret belongs into no file that is shared."""

PARTS = ("public_url", "oidc_metadata_url", "oidc_client_id")
"""Settings that a login consists of, beside the client's secret."""

HELP = "docs/login.md shows how"


def is_local(address: str | None) -> bool:
    """Say whether only this machine can reach a server that listens on an address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return False


def wanted(settings: Settings) -> bool:
    """Say whether any part of a login is set."""
    return any(getattr(settings, part) for part in PARTS)


def credentials(settings: Settings) -> dict[str, str] | None:
    """Return the login as Streamlit's section ``[auth]`` has it; None if none is set up.

    The secrets leave the environment, so that no job which the dashboard starts inherits them.

    Raises
    ------
    UsageError
        If a part is missing, or an address is not one to sign in at.
    """
    client_secret = os.environ.pop(CLIENT_SECRET, "")
    cookie_secret = os.environ.pop(COOKIE_SECRET, "")
    if not (wanted(settings) or client_secret):
        return None
    missing = [part for part in PARTS if not getattr(settings, part)]
    missing += [] if client_secret else [f"the variable {CLIENT_SECRET}"]
    if missing:
        raise UsageError(f"The login is incomplete: {', '.join(missing)} not set; {HELP}")
    if cookie_secret and len(cookie_secret) < 32:
        raise UsageError(
            f"{COOKIE_SECRET}: expected at least 32 characters, got {len(cookie_secret)}; leave it out, and "
            "everybody signs in anew after a restart"
        )
    parts = _safe("public_url", settings.public_url)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(
            f"public_url: expected https://HOST and nothing behind it, got {settings.public_url}"
        )
    _safe("oidc_metadata_url", settings.oidc_metadata_url)
    return {
        "redirect_uri": f"{parts.scheme}://{parts.netloc.lower()}/oauth2callback",
        "cookie_secret": cookie_secret or secrets.token_urlsafe(32),
        "client_id": settings.oidc_client_id,
        "client_secret": client_secret,
        "server_metadata_url": settings.oidc_metadata_url,
    }


def _safe(name: str, url: str) -> Any:
    """Split an address over which tokens travel, which must not be readable on the way."""
    parts = urlsplit(url)
    if not parts.hostname or not (
        parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname))
    ):
        raise UsageError(f"{name}: expected an address that begins with https://, got {url!r}; {HELP}")
    return parts


def expired(claims: Mapping[str, Any], settings: Settings, moment: datetime) -> bool:
    """Say whether a sign-in is older than the settings allow, by the time at which its token was issued."""
    return moment.timestamp() - float(claims.get("iat", 0)) > settings.login_hours * 3600


def role(claims: Mapping[str, Any] | None, settings: Settings) -> Role | None:
    """Tell what a visitor may.

    Parameters
    ----------
    claims : mapping or None
        What the provider says of who is signed in, from a token that was checked; None if nobody is.
    settings : Settings
        `editors`, `viewers`, `role_claim`, `editor_role` and `require_verified` decide.

    Returns
    -------
    "viewer", "editor" or None
        None may not even look.
    """
    if claims is not None and (_has_role(claims, settings) or _among(claims, settings, settings.editors)):
        return "editor"
    if EVERYONE in settings.viewers or (claims is not None and _among(claims, settings, settings.viewers)):
        return "viewer"
    return None


def address_of(claims: Mapping[str, Any], settings: Settings) -> str:
    """Return the e-mail address in lower case; empty if there is none or it counts as unverified.

    A provider that does not say decides by itself who has which address, unless `require_verified` is set.
    """
    verified = claims.get("email_verified", not settings.require_verified) in (True, "true")
    return str(claims.get("email") or "").lower() if verified else ""


def _has_role(claims: Mapping[str, Any], settings: Settings) -> bool:
    found = claims.get(settings.role_claim) if settings.role_claim else None
    return settings.editor_role in (found if isinstance(found, list) else [found])


def _among(claims: Mapping[str, Any], settings: Settings, names: tuple[str, ...]) -> bool:
    address = address_of(claims, settings)
    _, at, domain = address.rpartition("@")
    return SIGNED_IN in names or bool(at and (address in names or f"@{domain}" in names))
