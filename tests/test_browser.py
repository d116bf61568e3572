"""Every page of the dashboard in headless Chromium, and walks through what one can do there."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from browsing import (
    BACKGROUNDS,
    CLIPPED,
    CONTROLS,
    FOCUSED,
    NAMELESS,
    OVERFLOWING,
    PATIENCE,
    SIZES,
    looking,
    wait_until_still,
    watched,
)
from playwright.sync_api import Browser, BrowserContext, Page, expect

from forecaster.dashboard import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOKS = [(theme, size) for theme in BACKGROUNDS for size in SIZES]
STATE = ("symbol=NVDA", "horizon=10", "past=1 year")
FONTS = "() => [...document.fonts].filter(font => font.status == 'loaded').map(font => font.family)"
TOP = """element => element.getBoundingClientRect().top
    + document.querySelector('[data-testid=stMain]').scrollTop"""
STOPS = 40
"""So often is Tab pressed at most on the way to a page's first control."""


@pytest.fixture(scope="module", params=LOOKS, ids="-".join)
def look(browser: Browser, request: pytest.FixtureRequest) -> Iterator[tuple[str, str, BrowserContext]]:
    """A theme, a size, and a browser profile of them that all pages share."""
    theme, size = request.param
    context = looking(browser, theme, size)
    yield theme, size, context
    context.close()


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """The browser profile that the walks share."""
    context = looking(browser, "light", "desktop")
    yield context
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_in_every_look(
    look: tuple[str, str, BrowserContext], path: str, address: str, pictures: Path
) -> None:
    theme, size, context = look
    with watched(context) as page:
        page.goto(f"{address}/{path}")
        title = page.get_by_role("heading", level=1)
        expect(title).to_be_visible(timeout=PATIENCE)
        wait_until_still(page)
        expect(title).to_have_count(1)
        expect(title).not_to_be_empty()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
        assert page.evaluate(NAMELESS) == []
        assert not page.evaluate(OVERFLOWING)
        assert page.evaluate(CLIPPED) == []
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", BACKGROUNDS[theme])
        assert any("Inter" in family for family in page.evaluate(FONTS)), "the bundled font"
        page.screenshot(path=pictures / f"{path}-{theme}-{size}.png")
        if theme == "light":
            walk_by_keyboard(page)


def walk_by_keyboard(page: Page) -> None:
    """Tab leads to the navigation and to the first control of the page, and shows where it is."""
    expected = {"navigation", "control"} if page.locator(CONTROLS).count() else {"navigation"}
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        found = {kind for kind in expected if stop[kind]}
        if found:
            with_focus = page.screenshot(clip=stop["box"], animations="disabled")
            page.evaluate("() => document.activeElement.blur()")
            without = page.screenshot(clip=stop["box"], animations="disabled")
            assert with_focus != without, f"the focus does not show at {stop}"
            expected -= found
        if not expected:
            return
    pytest.fail(f"Tab does not reach a {' and a '.join(expected)}")


def wait_until_drawn(page: Page, title: str) -> None:
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=PATIENCE)
    expect(page.get_by_text("Not investment advice")).to_be_attached(timeout=PATIENCE)
    wait_until_still(page)


def test_a_forecast_s_plots_and_its_choices(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast")
        wait_until_drawn(page, "Apple (AAPL)")
        fan, skill, rests_on = page.locator(".js-plotly-plot").all()
        assert fan.locator(".xy .scatterlayer .trace").count() >= 12, "8 bounds, 3 lines, the mark"
        assert fan.locator(".barlayer .point").count() == 63, "volume"
        assert fan.locator("[data-title='Download plot as a PNG']").count() == 1
        assert fan.locator("path.js-fill").count() >= 7
        assert skill.locator(".scatterlayer .point").count() >= 3
        assert rests_on.locator(".barlayer .point").count() == 3
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


def test_what_if_moves_the_fan_while_a_finger_is_on_its_control(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast?symbol=NVDA&what-if=true")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        slider = page.get_by_role("slider", name="Market at the cutoff")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        height = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, height)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.3 * box["width"], height)
        expect(page.get_by_text("What if the market closed")).to_be_visible(timeout=PATIENCE)
        assert "market=" not in page.url, "the finger is on it still"
        page.mouse.up()
        page.wait_for_url(lambda url: "market=-" in url)
        page.reload()
        wait_until_drawn(page, "NVIDIA (NVDA)")
        expect(page.get_by_text("What if the market closed")).to_be_visible(timeout=PATIENCE)
        slider.press("Home")
        expect(page.get_by_text("What if the market closed 20 % lower")).to_be_visible(timeout=PATIENCE)
        expect(slider).to_have_attribute("aria-valuetext", "\N{MINUS SIGN}20.0 %")


@pytest.mark.parametrize("pause", [0, 30, 150, 400])
def test_keys_move_a_what_if_at_any_pace(desk: BrowserContext, address: str, pause: int) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast?symbol=NVDA&what-if=true&event=policy")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        market = page.get_by_role("slider", name="Market at the cutoff")
        tone = page.get_by_role("slider", name="Tone, from bad to good")
        top = market.evaluate(TOP)
        for slider, key in ((market, "ArrowLeft"), (tone, "ArrowRight")):
            slider.focus()
            for _ in range(8):
                page.keyboard.press(key)
                page.wait_for_timeout(pause)
        page.wait_for_url(lambda url: "market=-4" in url and "tone=0.8" in url)
        expect(page.get_by_text("What if news of policy")).to_contain_text(
            "a tone of +0.8 and the market closed 4 % lower", timeout=PATIENCE
        )
        wait_until_still(page)
        assert "market=-4" in page.url
        assert "tone=0.8" in page.url
        expect(market).to_have_attribute("aria-valuetext", "\N{MINUS SIGN}4.0 %")
        expect(tone).to_have_attribute("aria-valuetext", "+0.8")
        assert market.evaluate(TOP) == top, "it jumps while a finger is on it"


def test_going_back_takes_a_what_if_back(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast?symbol=NVDA&what-if=true")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        slider = page.get_by_role("slider", name="Market at the cutoff")
        for value in ("-0.5", "-1", "-1.5"):
            slider.press("ArrowLeft")
            page.wait_for_url(lambda url, value=value: url.endswith(f"market={value}"))
        for move, value in ((page.go_back, "-1"), (page.go_back, "-0.5"), (page.go_forward, "-1")):
            move()
            expect(page.get_by_text("What if the market closed")).to_have_text(
                f"What if the market closed {value.removeprefix('-')} % lower", timeout=PATIENCE
            )
            expect(slider).to_have_value(value)
            wait_until_still(page)
            assert page.url.endswith(f"market={value}")


def test_the_step_inside_the_network_is_walked_by_keyboard_and_buttons(
    desk: BrowserContext, address: str
) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/inside?symbol=NVDA&step=5")
        expect(page.get_by_text(", session 5 of ")).to_be_visible(timeout=PATIENCE)
        wait_until_still(page)
        page.get_by_role("slider", name="Session of the window").press("ArrowRight")
        expect(page.get_by_text(", session 6 of ")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text(", session 7 of ")).to_be_visible(timeout=PATIENCE)
        page.wait_for_url(lambda url: "step=7" in url)


def test_the_choices_of_the_data_are_in_its_address(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast?symbol=NVDA")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.get_by_role("link", name="Data").click()
        expect(page.get_by_role("heading", name="Past runs")).to_be_visible()
        expect(page.get_by_test_id("stMetric")).to_have_count(6)
        expect(page.get_by_test_id("stDataFrame").first.locator("canvas").first).to_be_visible()
        page.get_by_test_id("stButtonGroup").get_by_text("ok", exact=True).click()
        page.get_by_label("Symbol contains").fill("nv")
        page.get_by_label("Symbol contains").press("Enter")
        page.wait_for_url(lambda url: "/data?" in url and "outcome=ok" in url and "find=nv" in url)
        assert "symbol=" not in page.url, "that is the other page's"
        page.reload()
        expect(page.get_by_label("Symbol contains")).to_have_value("nv")
        wait_until_still(page)


def test_what_models_are_compared_on_can_be_taken_away(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/compare?horizon=5&score=CRPS&year=2022&symbol=NVDA")
        expect(page.get_by_text("5 sessions ahead, 2022, NVDA")).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as taken:
            page.get_by_role("button", name="Forecasts, CSV").click()
        assert taken.value.path().read_text().startswith("symbol,cutoff,step,session,")


def test_links_lead_to_what_they_name(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/forecast?symbol=NVDA&horizon=5")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        expect(page.get_by_role("heading", name="5 sessions ahead")).to_be_visible()
        page.goto(f"{address}/forecast?symbol=nvda")
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.wait_for_url("**symbol=NVDA")
        page.goto(f"{address}/forecast?symbol=ZZZZ&horizon=7")
        wait_until_drawn(page, "Apple (AAPL)")
        expect(page.get_by_text("There is no forecast of ZZZZ here.")).to_be_visible()


def test_today_opens_forecasts_by_mouse_and_by_keyboard(desk: BrowserContext, address: str) -> None:
    with watched(desk) as page:
        page.goto(f"{address}/?holds=nv")
        grid = page.get_by_test_id("stDataFrame").first.locator("canvas").first
        expect(grid).to_be_visible(timeout=PATIENCE)
        wait_until_still(page)
        # The only row: its symbol is a button, painted below the layer that hears the mouse.
        box = grid.bounding_box()
        page.mouse.click(box["x"] + 35, box["y"] + 52)
        wait_until_drawn(page, "NVIDIA (NVDA)")
        page.wait_for_url("**/forecast?symbol=NVDA")
        page.get_by_role("link", name="Today").click()
        page.wait_for_url("**/?holds=nv")
        page.get_by_role("textbox", name="Symbol or name contains").fill("")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "holds" not in url)
        wait_until_still(page)
        choice = page.get_by_role("combobox", name="Open the forecast of")
        choice.press("ArrowDown")
        choice.press_sequentially("META")
        expect(page.get_by_role("option", name="META")).to_be_visible()
        choice.press("Enter")
        wait_until_drawn(page, "Meta Platforms (META)")
