"""The page in a real browser: how light it is, what everybody can use of it, and what it does when things are amiss."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, Route, expect
from playwright.sync_api import Error as PlaywrightError

from tests.browser import DESKTOP, PHONE, Tab, tab
from tests.page import give_key, photo, said, upload
from tests.served_shop import Service, picture
from visnet.platform.client import Client, ProductWrite, ServiceError
from visnet.platform.keys import KEYS, create_key
from visnet.platform.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")]

FIRST_VIEW_BYTES = 100_000
ROUTES = ["", "product/p0021", "catalogue", "operate", "compare"]
POLICY = "default-src 'none'"


def settled(page: Page, route: str) -> None:
    """Wait until a view has what it shows."""
    if route == "search":
        upload(page, 7)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".skeleton:visible, .spinner:visible")).to_have_count(0, timeout=60_000)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everybody_can_use_it(browser: Browser, shop: Service, size: tuple[int, int], dark: bool) -> None:
    with tab(browser, shop.url, size=size, dark=dark, touch=size == PHONE) as opened:
        for route in [*ROUTES, "search"]:
            page = opened.open("" if route == "search" else route)
            settled(page, route)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], route
            look = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
            opened.screenshot(f"{look}-{route.partition('/')[0] or 'welcome'}", full=True)
            found = Axe().run(page)
            assert found.violations_count == 0, f"{route}: {found.generate_report()}"


def test_the_first_view_is_light_and_comes_from_the_service_alone(browser: Browser, shop: Service) -> None:
    with tab(browser, shop.url) as opened:
        answers: list[Response] = []
        opened.page.on("response", lambda answer: answers.append(answer))
        page = opened.open()
        expect(page.locator(".example img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert all(answer.url.startswith(shop.url) for answer in answers)
        own = [answer for answer in answers if "/image" not in answer.url]
        files = [answer.headers for answer in own if "/v1/" not in answer.url]
        assert all(headers["content-security-policy"].startswith(POLICY) for headers in files)
        assert any(headers.get("content-encoding") == "gzip" for headers in files)
        sent = sum(len(answer.body()) for answer in own)
        print(f"the first view is {sent} bytes uncompressed, in {len(own)} answers")
        assert sent < FIRST_VIEW_BYTES


PICTURE_BYTES = """(urls) => performance.getEntriesByType("resource").filter((one) => urls.includes(one.name))
    .reduce((sum, one) => sum + one.transferSize, 0)"""


def test_pictures_are_small_late_and_kept(browser: Browser, shop: Service) -> None:
    with tab(browser, shop.url) as opened:
        pictures: list[Response] = []
        opened.page.on("response", lambda answer: pictures.append(answer) if "/image" in answer.url else None)
        page = opened.open()
        upload(page, 7)
        expect(page.locator("[data-product] img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert pictures
        assert all("size=" in answer.url and answer.headers["content-type"] == "image/webp" for answer in pictures)
        assert all("immutable" in answer.headers["cache-control"] and answer.headers["etag"] for answer in pictures)
        lazy = page.locator("[data-product] img").evaluate_all("all => all.every((one) => one.loading === 'lazy')")
        assert lazy
        shown = page.locator("[data-product] img").evaluate_all("all => all.map((one) => one.currentSrc)")
        loaded = [url for url in shown if url in {answer.url for answer in pictures}]
        assert loaded
        first = page.evaluate(PICTURE_BYTES, loaded)
        page.reload()
        upload(page, 7)
        expect(page.locator("[data-product] img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        again = page.evaluate(PICTURE_BYTES, loaded)
        print(f"pictures of {len(loaded)} results: {first} bytes, after a reload {again}")
        assert again < first / 3
        address = pictures[0].url
    etag = httpx.get(address).headers["etag"]
    assert httpx.get(address, headers={"If-None-Match": etag}).status_code == 304


def test_what_a_product_says_is_never_markup(page: Tab, client: Client) -> None:
    name = "<img src=x onerror=alert(1)>"
    written = client.put([ProductWrite(product_id=name, category="<b>bags", pictures=[picture(90_001)])])
    client.wait_until_found(written.sequence)
    shown = page.open()
    upload(shown, 90_001)
    expect(shown.locator("[data-product]").first).to_contain_text("<b>bags")
    assert shown.locator("img[src=x]").count() == 0
    expect(shown.locator("[data-product] img").first).not_to_have_js_property("naturalWidth", 0)
    page.page.close()  # what is still to load would be gone
    client.wait_until_found(client.delete([name]).sequence)


def test_without_a_connection_it_says_so_keeps_what_it_has_and_goes_on_by_itself(page: Tab) -> None:
    page.expected.append("ERR_INTERNET_DISCONNECTED")
    shown = page.open()
    upload(shown, 7)
    page.context.set_offline(True)
    expect(shown.get_by_text("No connection to the service")).to_be_visible()
    shown.get_by_role("button", name="coats").first.click()
    expect(shown.get_by_role("alert")).to_contain_text("The service can't be reached")
    expect(shown.locator("[data-product]").first).to_have_attribute("data-product", "p0007")
    page.screenshot("offline")
    page.context.set_offline(False)
    expect(shown.locator("[data-product]").first.locator("strong")).to_have_text("coats")
    expect(shown.get_by_text("No connection to the service")).to_have_count(0)


def test_answers_that_take_their_time_and_come_too_late(page: Tab) -> None:
    shown = page.open()
    held: list[Route] = []
    shown.route("**/v1/search", lambda route: route.continue_() if held else held.append(route))
    shown.get_by_label("Choose a photo").set_input_files(photo(7))
    expect(said(shown)).to_contain_text("Searching")
    expect(shown.locator(".results .skeleton").first).to_be_visible()
    page.screenshot("loading")
    shown.get_by_label("Other photo").set_input_files(photo(12))
    expect(shown.locator("[data-product]").first).to_have_attribute("data-product", "p0012")
    with contextlib.suppress(PlaywrightError):  # the page has given it up
        held[0].continue_()
    shown.wait_for_timeout(1_000)
    expect(shown.locator("[data-product]").first).to_have_attribute("data-product", "p0012")


def test_a_view_that_does_not_load_can_be_tried_again(page: Tab) -> None:
    page.expected += ["operate.js", "ERR_FAILED"]
    page.page.route("**/page/operate.js*", lambda route: route.abort())
    shown = page.open("operate")
    again = shown.get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    shown.unroute("**/page/operate.js*")
    again.click()
    expect(shown.get_by_role("heading", name="Operate")).to_be_visible()


def test_an_answer_without_a_shard_says_that_a_part_is_missing(page: Tab, shop: Service, client: Client) -> None:
    page.expected.append("503")
    shown = page.open()
    upload(shown, 7)
    for pid in shop.processes("shard-1"):
        os.kill(pid, signal.SIGKILL)
    shown.get_by_role("button", name="Start over").click()
    shown.get_by_label("Choose a photo").set_input_files(photo(8))
    expect(shown.get_by_text("Part of the catalogue is missing.").first).to_be_visible(timeout=60_000)
    page.screenshot("partial")
    over = time.monotonic() + 120
    while time.monotonic() < over:
        try:
            client.ready()
            break
        except ServiceError:
            time.sleep(0.5)
    assert not client.search_product("p0001").partial


def test_where_reading_needs_a_key_it_is_asked_for_once_and_pictures_come_with_it(
    browser: Browser, shop: Service, releases: tuple[Store, str, str]
) -> None:
    store = releases[0]
    before = store.read(KEYS)
    reader = create_key(store, name="page-reader", scope="read")
    try:
        until(lambda: httpx.get(f"{shop.url}/v1/catalog").status_code == 401)
        with tab(browser, shop.url) as opened:
            opened.expected.append("401")
            page = opened.open()
            expect(page.get_by_role("heading", name="This needs a key")).to_be_visible()
            opened.screenshot("key-wanted")
            give_key(page, "wrong")
            expect(page.get_by_role("alert")).to_contain_text("unknown API key")
            give_key(page, reader.presented)
            expect(page.locator(".example img").first).to_be_visible()
            expect(page.locator(".example img").first).to_have_attribute("src", re.compile("^blob:"))
            page.reload()
            expect(page.locator(".example img").first).to_be_visible()  # the tab remembers it
            upload(page, 7)
    finally:
        store.write(KEYS, before)  # a service that was closed does not open when the key is revoked
        until(lambda: httpx.get(f"{shop.url}/v1/catalog").status_code == 200)


def until(holds: Any) -> None:
    over = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < over
        time.sleep(0.3)
