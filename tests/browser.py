"""A real browser for the tests of the page: Debian's Chromium, driven by Playwright, with what it complains of."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "build" / "screenshots"
DESKTOP, PHONE = (1280, 900), (390, 844)
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
]


def executable() -> str:
    """Chromium's program; the test is skipped without one, unless `VISNET_REQUIRE_BROWSER` is set."""
    found = os.environ.get("VISNET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("VISNET_REQUIRE_BROWSER"):
        pytest.fail("there is no Chromium: apt-get install chromium, or set VISNET_CHROMIUM")
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or set VISNET_CHROMIUM")
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, headless."""
    program = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


TIMEOUT_MS = 30_000
"""Of what a page is expected to show: tests share their machine."""
expect.set_options(timeout=TIMEOUT_MS)

NOTE_FORMS = """{
    const send = window.fetch;
    window.sent = [];
    window.fetch = (url, request) => {
        if (request?.body instanceof FormData) {
            const fields = {};
            for (const [name, value] of request.body)
                if (typeof value === "string") (fields[name] ??= []).push(value);
            window.sent.push(fields);
        }
        return send(url, request);
    };
}"""
"""Keeps the fields of forms that are sent: the browser does not show bodies that hold files."""


class Tab:
    """A page that is open, with what it complained of: console errors and warnings, and exceptions."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.page: Page = context.new_page()
        self.page.add_init_script(NOTE_FORMS)
        self.page.set_default_timeout(TIMEOUT_MS)
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """Parts of complaints that a test brings about, such as an answer of 401."""
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def open(self, route: str = "") -> Page:
        """Show a view, such as `operate`."""
        self.page.goto(f"{self.url}/#/{route}")
        return self.page

    def unexpected(self) -> list[str]:
        return [one for one in self.complaints if not any(part in one for part in self.expected)]

    def screenshot(self, name: str, *, full: bool = False) -> None:
        """Keep a picture of what is seen, to be looked at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


@contextlib.contextmanager
def tab(
    browser: Browser, url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, touch: bool = False
) -> Iterator[Tab]:
    """A tab of a browser profile of its own; ends in a failure if the page complained of anything unexpected."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        has_touch=touch,
        reduced_motion="reduce",
    )
    opened = Tab(context, url)
    try:
        yield opened
    finally:
        context.close()
    if complaints := opened.unexpected():
        pytest.fail("the page complained: " + "; ".join(complaints))
