"""One walk through the dashboard in headless Chromium, with a server as a user starts it.

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
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_plus, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"desktop": (1280, 1305), "phone": (390, 844)}
BACKGROUNDS = {"light": "rgb(252, 252, 250)", "dark": "rgb(13, 23, 31)"}
STATE = ("symbol=NVDA", "horizon=10", "past=1 year")
PROBE = "/data/_stcore/"
"""Streamlit seeks its root below the path of a page first, and misses."""

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
FONTS = "() => [...document.fonts].filter(font => font.status == 'loaded').map(font => font.family)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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


@pytest.fixture(scope="module")
def address(browser: Browser, request: pytest.FixtureRequest) -> Iterator[str]:
    """The dashboard's, served by a process of its own."""
    shown = os.environ.get("FORECASTER_HOME") if "FORECASTER_SCREENSHOTS" in os.environ else None
    home = Path(shown) if shown else request.getfixturevalue("trained_home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["dashboard", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "forecaster", *arguments],
        cwd=ROOT,
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
    """Open a page that must neither call another machine nor report an error."""
    width, height = SIZES[size]
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": height})
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
    context.close()
    elsewhere = [url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)]
    assert not elsewhere, "a request left the machine"
    assert asked
    assert not [error for error in errors if PROBE not in error]


def wait_until_drawn(page: Page, title: str) -> None:
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".js-plotly-plot")).to_have_count(2, timeout=PATIENCE)
    expect(page.get_by_text("Not investment advice")).to_be_attached(timeout=PATIENCE)
    wait_until_still(page)


def wait_until_still(page: Page) -> None:
    expect(page.locator("[data-testid=stApp]")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=PATIENCE
    )


def walk_through_looks(browser: Browser, address: str, pictures: Path) -> None:
    for theme, background in BACKGROUNDS.items():
        for size in SIZES:
            with visit(browser, theme, size) as page:
                page.goto(address)
                wait_until_drawn(page, "Apple (AAPL)")
                fan, skill = page.locator(".js-plotly-plot").all()
                assert fan.locator(".scatterlayer .trace").count() == 12, "8 bounds, 3 lines, the mark"
                assert fan.locator("path.js-fill").count() >= 7
                assert skill.locator(".scatterlayer .point").count() >= 3
                assert not page.evaluate(OVERFLOWING)
                assert page.evaluate(CLIPPED) == []
                expect(page.locator("[data-testid=stApp]")).to_have_css("background-color", background)
                assert any("Inter" in family for family in page.evaluate(FONTS)), "the bundled font"
                page.screenshot(path=pictures / f"forecast-{theme}-{size}.png")


def walk_through_choices(browser: Browser, address: str) -> None:
    with visit(browser, "light", "desktop") as page:
        page.goto(address)
        wait_until_drawn(page, "Apple (AAPL)")
        page.get_by_role("combobox").click()
        page.get_by_role("option", name="NVDA").click()
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.get_by_test_id("stButtonGroup").first.get_by_text("10", exact=True).click()
        expect(page.get_by_role("heading", name="10 sessions ahead")).to_be_visible()
        page.get_by_text("1 year", exact=True).click()
        for part in STATE:
            page.wait_for_url(lambda url, part=part: part in unquote_plus(url))
        page.reload()
        wait_until_drawn(page, "NVIDIA (NVDA)")
        expect(page.get_by_role("heading", name="10 sessions ahead")).to_be_visible()
        assert all(part in unquote_plus(page.url) for part in STATE)


def walk_through_data(browser: Browser, address: str, pictures: Path) -> None:
    for theme, background in BACKGROUNDS.items():
        for size in SIZES:
            with visit(browser, theme, size) as page:
                page.goto(f"{address}/data")
                expect(page.get_by_role("heading", name="Past runs")).to_be_visible(timeout=PATIENCE)
                wait_until_still(page)
                expect(page.get_by_test_id("stMetric")).to_have_count(6)
                expect(page.get_by_test_id("stDataFrame").first.locator("canvas").first).to_be_visible()
                assert not page.evaluate(OVERFLOWING)
                expect(page.locator("[data-testid=stApp]")).to_have_css("background-color", background)
                page.screenshot(path=pictures / f"data-{theme}-{size}.png")
    with visit(browser, "light", "desktop") as page:
        page.goto(f"{address}/?symbol=NVDA")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.get_by_role("link", name="Data").click()
        page.get_by_test_id("stButtonGroup").get_by_text("ok", exact=True).click()
        page.get_by_label("Symbol contains").fill("nv")
        page.get_by_label("Symbol contains").press("Enter")
        page.wait_for_url(lambda url: "/data?" in url and "outcome=ok" in url and "find=nv" in url)
        assert "symbol=" not in page.url, "that is the other page's"
        page.reload()
        expect(page.get_by_label("Symbol contains")).to_have_value("nv")
        wait_until_still(page)


def walk_through_links(browser: Browser, address: str) -> None:
    with visit(browser, "light", "desktop") as page:
        page.goto(f"{address}/?symbol=NVDA&horizon=5")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        expect(page.get_by_role("heading", name="5 sessions ahead")).to_be_visible()
        page.goto(f"{address}/?symbol=nvda")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.wait_for_url("**symbol=NVDA")
        page.goto(f"{address}/?symbol=ZZZZ&horizon=7")
        wait_until_drawn(page, "Apple (AAPL)")
        expect(page.get_by_text("There is no forecast of ZZZZ here.")).to_be_visible()


def test_a_walk_through_the_dashboard(browser: Browser, address: str, tmp_path: Path):
    pictures = Path(os.environ.get("FORECASTER_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    walk_through_looks(browser, address, pictures)
    walk_through_choices(browser, address)
    walk_through_data(browser, address, pictures)
    walk_through_links(browser, address)
