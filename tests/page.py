"""What the tests of the page do again and again: search, point, give a key, and change what the service answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.served_shop import picture


def photo(seed: int) -> dict[str, Any]:
    return {"name": f"photo-{seed}.png", "mimeType": "image/png", "buffer": picture(seed)}


def upload(page: Page, seed: int) -> None:
    """Search with the picture of a product, from the place for a photo."""
    page.get_by_label("Choose a photo").set_input_files(photo(seed))
    expect(said(page)).to_contain_text("products for the whole photo")


def said(page: Page) -> Locator:
    """The line that says how many were found, and for what."""
    return page.locator(".summary [role=status]")


def cards(page: Page, label: str = "Results") -> Locator:
    return page.get_by_role("list", name=label, exact=True).locator("[data-product]")


def ids(found: Locator) -> list[str]:
    listed: list[str] = found.evaluate_all("all => all.map((one) => one.dataset.product)")
    return listed


@contextlib.contextmanager
def searching(page: Page) -> Iterator[dict[str, list[str]]]:
    """What is done inside makes the page search; filled with the fields that it asked with."""
    fields: dict[str, list[str]] = {}
    with page.expect_response("**/v1/search"):
        yield fields
    fields.update(page.evaluate("window.sent.at(-1)"))


def box_of(fields: dict[str, list[str]]) -> list[float]:
    return [float(edge) for edge in fields["box"][0].split(",")]


def answered(page: Page, url: str, change: Any) -> None:
    """Let an answer of the service come changed: a state that this shop's catalogue doesn't bring about by itself."""

    def handle(route: Route) -> None:
        response = route.fetch()
        content = response.json()
        change(content)
        route.fulfill(response=response, body=json.dumps(content))

    page.route(url, handle)


def with_chance(page: Page, chance: float | None) -> None:
    """The encoder was never trained: chance reaches as far as neighbours do, unless it is said to be something else."""
    answered(page, "**/v1/catalog", lambda content: content.update(chance=chance))


def drag(page: Page, place: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    def point(share: tuple[float, float]) -> tuple[float, float]:
        return place["x"] + share[0] * place["width"], place["y"] + share[1] * place["height"]

    page.mouse.move(*point(start))
    page.mouse.down()
    page.mouse.move(*point(end), steps=6)
    page.mouse.up()


def give_key(page: Page, key: str) -> None:
    """Answer the page's question for a key."""
    expect(page.get_by_role("heading", name="This needs a key")).to_be_visible()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()
