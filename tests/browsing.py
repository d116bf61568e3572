"""The dashboard in headless Chromium: a server as a user starts it, and tabs that watch what a page does.

``FORECASTER_SCREENSHOTS=FOLDER`` keeps the pictures; ``FORECASTER_HOME`` then names the workspace to
show. The picture in the README is made so.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"desktop": (1280, 1500), "phone": (390, 844)}
BACKGROUNDS = {"light": "rgb(252, 252, 250)", "dark": "rgb(13, 23, 31)"}

PATIENCE = 60_000
"""Milliseconds; a busy machine draws slowly."""

CLIPPED = """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
    const frame = plot.getBoundingClientRect();
    return [...plot.querySelectorAll('.main-svg text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
    }).map(text => text.textContent);
})"""
OVERFLOWING = """() => [document.documentElement, document.querySelector('[data-testid=stMain]')]
    .some(element => element.scrollWidth > element.clientWidth)"""
NAMELESS = """() => [...document.querySelectorAll('[data-testid=stPlotlyChart], [data-testid=stDataFrame]')]
    .filter(one => !(one.ariaLabel || one.querySelector('[role=region]')?.ariaLabel))
    .map(one => one.closest('[data-testid=stElementContainer]').previousElementSibling?.textContent)"""
"""What stands before each chart or table without a name; a plain HTML table is read as it is."""
FOCUSED = """() => {
    const element = document.activeElement;
    element.scrollIntoView({block: 'center', behavior: 'instant'});
    const box = element.getBoundingClientRect();
    return {
        navigation: element.matches('[data-testid=stTopNavLink], [data-testid=stExpandSidebarButton]'),
        control: element.closest('main') !== null && element.tagName != 'MAIN',
        box: {x: box.x - 6, y: box.y - 6, width: box.width + 12, height: box.height + 12},
    };
}"""
"""What the focus is on; on a phone the navigation opens by a button."""
CONTROLS = "main :is(button, input, a[href], canvas[tabindex]):not([disabled]):not([inert] *)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; it ends with the module, as its event loop would be in the way of others."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"no Chromium: none of {', '.join(NAMES)} is on the PATH"
        if os.environ.get("FORECASTER_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{missing}, and FORECASTER_REQUIRE_BROWSER=1 asks for one")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield running
        running.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the screenshots."""
    kept = os.environ.get("FORECASTER_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address(browser: Browser, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a dashboard without a login on the trained workspace."""
    shown = os.environ.get("FORECASTER_HOME") if "FORECASTER_SCREENSHOTS" in os.environ else None
    home = Path(shown) if shown else request.getfixturevalue("trained_home")
    with served(home, free_port()) as base:
        yield base


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def served(home: Path, port: int, **environment: str) -> AbstractContextManager[str]:
    """Serve a workspace's dashboard as the command line does; give its address."""
    words = ["-m", "forecaster", "dashboard", "--home", str(home), "--port", str(port)]
    return serving([sys.executable, *words], port, **environment)


@contextmanager
def serving(words: list[str], port: int, **environment: str) -> Iterator[str]:
    """Run a server in a process of its own; give its address."""
    server = subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(f"{base}/_stcore/health", server)
        yield base
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(url: str, server: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"the server ended with exit code {server.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"no answer from {url} within {seconds:.0f} s")


@contextmanager
def visit(browser: Browser, theme: str, size: str) -> Iterator[Page]:
    """Open a tab of its own, without cookies and cache, that is watched."""
    context = looking(browser, theme, size)
    try:
        with watched(context) as page:
            yield page
    finally:
        context.close()


def looking(browser: Browser, theme: str, size: str) -> BrowserContext:
    width, height = SIZES[size]
    return browser.new_context(color_scheme=theme, viewport={"width": width, "height": height})


@contextmanager
def watched(context: BrowserContext) -> Iterator[Page]:
    """Open a tab that must neither call another machine nor report an error."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on(
        "console",
        lambda said: errors.append(f"{said.text} {said.location}") if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    elsewhere = [url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)]
    assert not elsewhere, f"requests left the machine: {elsewhere}"
    assert asked
    unexpected = [error for error in errors if not is_probe(error)]
    assert not unexpected, unexpected


def is_probe(error: str) -> bool:
    """Streamlit seeks its root below the path of a page first, and misses."""
    return "/_stcore/" in error and "404" in error


def wait_until_still(page: Page) -> None:
    """Wait until the page's script has ended and all it wrote is drawn."""
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=PATIENCE
    )
    expect(page.locator("[data-testid=stSkeleton], [data-testid=stAppSkeleton]")).to_have_count(
        0, timeout=PATIENCE
    )
