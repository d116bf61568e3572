"""Signing in to the dashboard through a real OpenID provider, in a real browser."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest
from browsing import (
    OVERFLOWING,
    PATIENCE,
    ROOT,
    SIZES,
    free_port,
    looking,
    served,
    serving,
    visit,
    wait_until_still,
    watched,
)
from job_desk import ended
from openid_provider import CLIENT, SECRET, OpenIDProvider
from playwright.sync_api import Browser, BrowserContext, Page, expect

from forecaster import jobs
from forecaster.login import CLIENT_SECRET, COOKIE_SECRET
from forecaster.workspace import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ANN, BEN = "ann@example.org", "ben@example.org"
USERS = {
    "ann": {"email": ANN, "email_verified": True},
    "ben": {"email": BEN, "email_verified": True},
    "a role": {"email": "eve@example.net", "roles": ["reader", "forecaster-editor"]},
    "unverified": {"email": ANN, "email_verified": False},
    "forged": {"email": ANN, "email_verified": True, "forged": True},
    "expired": {"email": ANN, "email_verified": True, "exp": 1_700_000_000},
    "another's": {"email": ANN, "email_verified": True, "aud": "another client"},
    "replayed": {"email": ANN, "email_verified": True, "nonce": "of another sign-in"},
    "long ago": {"email": ANN, "email_verified": True, "iat": int(time.time()) - 13 * 3600},
}
RETRAINING = "Light retraining"


@pytest.fixture
def base(browser: Browser, trained_workspace: Workspace) -> Iterator[str]:
    """A dashboard whose visitors sign in; who does not may look."""
    port = free_port()
    with OpenIDProvider(USERS) as provider:
        login = {
            "FORECASTER_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "FORECASTER_OIDC_METADATA_URL": provider.metadata_url,
            "FORECASTER_OIDC_CLIENT_ID": CLIENT,
            CLIENT_SECRET: SECRET,
            COOKIE_SECRET: "of thirty-two characters or more, as is asked",
            "FORECASTER_EDITORS": ANN,
            "FORECASTER_VIEWERS": "everyone",
            "FORECASTER_ROLE_CLAIM": "roles",
            "FORECASTER_EDITOR_ROLE": "forecaster-editor",
        }
        with served(trained_workspace.home, port, **login) as address:
            yield address


@contextmanager
def at_the_jobs(context: BrowserContext, base: str) -> Iterator[Page]:
    with watched(context) as page:
        page.goto(f"{base}/models")
        expect(page.get_by_role("button", name=RETRAINING)).to_be_visible(timeout=PATIENCE)
        wait_until_still(page)
        yield page


def sign_in(page: Page, user: str) -> None:
    """Go through the provider's page, by keyboard as far as it is ours."""
    page.get_by_role("link", name="Sign in").press("Enter")
    page.get_by_role("button", name="Sign in").press("Enter")
    page.get_by_role("link", name=user, exact=True).click()
    expect(page.get_by_test_id("stTopNav")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Models and retraining").click()
    expect(page.get_by_role("button", name=RETRAINING)).to_be_visible(timeout=PATIENCE)
    wait_until_still(page)


def sign_out(page: Page, name: str) -> None:
    page.get_by_role("link", name=f"{name}, ").press("Enter")
    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="Models and retraining").click()


def may_not(page: Page, reason: str) -> None:
    expect(page.get_by_role("button", name=RETRAINING)).to_be_disabled(timeout=PATIENCE)
    expect(page.get_by_text(reason)).to_be_visible()


def test_who_has_signed_in_decides_what_they_may(
    browser: Browser, base: str, trained_workspace: Workspace, pictures: Path
) -> None:
    context = looking(browser, "light", "desktop")
    with at_the_jobs(context, base) as page:
        may_not(page, "Sign in to change anything.")
        sign_in(page, "ben")
        may_not(page, f"{BEN} may look, and change nothing")
        page.get_by_role("link", name=f"{BEN}, viewer").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        for size, (width, height) in reversed(SIZES.items()):
            page.set_viewport_size({"width": width, "height": height})
            expect(page.get_by_role("link", name=f"{BEN}, viewer")).to_be_in_viewport()
            page.screenshot(path=pictures / f"account-{size}.png")
            assert not page.evaluate(OVERFLOWING)
        sign_out(page, BEN)
        may_not(page, "Sign in to change anything.")
        sign_in(page, "a role")
        expect(page.get_by_role("link", name="eve@example.net, editor")).to_be_visible()
        expect(page.get_by_role("button", name=RETRAINING)).to_be_enabled()
        sign_out(page, "eve@example.net")
        sign_in(page, "ann")
        expect(page.get_by_role("link", name=f"{ANN}, editor")).to_be_visible()
        assert jobs.jobs(trained_workspace.home) == []
        page.get_by_role("button", name=RETRAINING).click()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=PATIENCE)
        (job,) = jobs.jobs(trained_workspace.home)
        assert job.command == ("retrain", "--light")
        assert ended(trained_workspace.home, job.id).exit_code == 0
        sign_out(page, ANN)
        may_not(page, "Sign in to change anything.")
    context.close()


def test_who_cannot_be_believed_may_change_nothing(browser: Browser, base: str) -> None:
    context = looking(browser, "light", "desktop")
    with at_the_jobs(context, base) as page:
        for user in ("forged", "expired", "another's", "replayed", "long ago"):
            sign_in(page, user)
            may_not(page, "Sign in to change anything.")
        sign_in(page, "unverified")
        may_not(page, "the provider has not verified this address")
        sign_out(page, ANN)
        sign_in(page, "ann")
        expect(page.get_by_role("button", name=RETRAINING)).to_be_enabled()
    (cookie,) = [one for one in context.cookies() if one["name"] == "_streamlit_user"]
    changed = {**cookie, "value": cookie["value"][:-4] + "AAAA"}
    context.clear_cookies()
    context.add_cookies([changed])
    with at_the_jobs(context, base) as page:
        may_not(page, "Sign in to change anything.")
    context.close()


def test_streamlit_alone_gives_no_rights_at_another_address(
    browser: Browser, trained_workspace: Workspace
) -> None:
    port = free_port()
    options = ["--server.address", "0.0.0.0", "--server.port", str(port)]
    words = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *options]
    with (
        serving(words, port, FORECASTER_HOME=str(trained_workspace.home)) as address,
        visit(browser, "light", "desktop") as page,
    ):
        page.goto(f"{address}/models")
        expect(page.get_by_text("no login is set up")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("button", name=RETRAINING)).to_have_count(0)


@contextmanager
def forwarding(port: int) -> Iterator[str]:
    """Pass connections on to a port, each with a word of whom it comes from; give the address."""

    class Connection(StreamRequestHandler):
        rbufsize = 0

        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(self.rfile.readline() + b"X-Forwarded-For: 203.0.113.9\r\n")
                Thread(target=pump, args=(self.connection, server), daemon=True).start()
                pump(server, self.connection)

    with ThreadingTCPServer(("127.0.0.1", 0), Connection) as proxy:
        proxy.daemon_threads = True
        Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_who_comes_through_a_proxy_sees_nothing_without_a_login(
    browser: Browser, trained_workspace: Workspace
) -> None:
    port = free_port()
    with (
        served(trained_workspace.home, port),
        forwarding(port) as address,
        visit(browser, "light", "desktop") as page,
    ):
        page.goto(f"{address}/models")
        expect(page.get_by_text("no login is set up")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_role("button", name=RETRAINING)).to_have_count(0)
