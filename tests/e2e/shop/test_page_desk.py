"""The page in a real browser: products looked at, written and deleted; releases promoted, rolled back and compared."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import Tab
from tests.page import cards, give_key, ids, photo, upload
from tests.served_shop import Service, picture
from visnet.platform.client import Client, ProductWrite
from visnet.platform.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")]


def test_a_product_with_what_looks_similar_and_its_duplicates(page: Tab, client: Client) -> None:
    written = client.put([ProductWrite(product_id="twin/1 #", category="bags", pictures=[picture(21)])])
    client.wait_until_found(written.sequence)
    shown = page.open("product/p0021")
    expect(shown.get_by_role("heading", level=1)).to_have_text("bags p0021")
    expect(cards(shown, "Visually similar")).to_have_count(12)
    duplicate = cards(shown, "Duplicates").first
    expect(duplicate).to_have_attribute("data-product", "twin/1 #")
    expect(duplicate).to_contain_text("The same picture")
    expect(shown.get_by_text("b0")).to_be_visible()
    page.screenshot("product", full=True)
    duplicate.locator("a").click()
    expect(shown.get_by_role("heading", level=1)).to_have_text("bags twin/1 #")
    expect(cards(shown, "Duplicates").first).to_have_attribute("data-product", "p0021")
    shown.get_by_role("button", name="Search with this product").click()
    expect(shown.locator(".summary [role=status]")).to_contain_text("products like bags twin/1 #")
    gone = client.delete(["twin/1 #"])
    client.wait_until_found(gone.sequence)
    page.expected.append("404")
    shown = page.open("product/twin%2F1%20%23")
    expect(shown.get_by_role("alert").first).to_contain_text("there is no product 'twin/1 #'")


def test_a_product_is_written_found_at_once_and_gone_after_it_is_deleted(page: Tab, shop: Service) -> None:
    page.expected += ["401", "new-1/image"]  # until the key is given; a picture that loads late may be gone
    shown = page.open("catalogue")
    form = shown.get_by_role("form")
    form.get_by_label("Product id").fill("new-1")
    form.get_by_label("Category").fill("bags")
    form.get_by_label("brand").fill("b9")
    form.locator("input[type=file]").set_input_files(photo(70_001))
    shown.get_by_role("button", name="Save the product").click()
    give_key(shown, shop.key)
    expect(shown.get_by_text(re.compile(r"Searchable after"))).to_be_visible()
    expect(shown.get_by_role("heading", name="Saved: new-1")).to_be_visible()
    expect(cards(shown, "Nearest products")).not_to_have_count(0)
    page.screenshot("catalogue-saved")

    shown.get_by_role("navigation").get_by_role("link", name="Search").click()
    upload(shown, 70_001)
    expect(shown.locator("[data-product]").first).to_have_attribute("data-product", "new-1")

    shown.get_by_role("navigation").get_by_role("link", name="Catalogue").click()
    shown.get_by_label("Id of the product").fill("new-1")
    shown.get_by_role("button", name="Find", exact=True).click()
    found = shown.get_by_role("article", name="Product new-1")
    expect(found).to_contain_text("b9")
    found.get_by_role("button", name="Edit").click()
    form = shown.get_by_role("form")
    expect(form.get_by_label("Product id")).to_have_value("new-1")
    form.get_by_label("Category").fill("coats")
    shown.get_by_role("button", name="Save the product").click()  # it keeps its picture
    expect(shown.get_by_text("Searchable after")).to_be_visible()
    shown.get_by_role("button", name="Find", exact=True).click()
    expect(found).to_contain_text("coats")
    found.get_by_role("button", name="Delete", exact=True).click()
    found.get_by_role("button", name="Delete it").click()
    expect(shown.get_by_text("Gone from answers after")).to_be_visible()
    page.screenshot("catalogue-deleted")
    shown.get_by_role("navigation").get_by_role("link", name="Search").click()
    shown.get_by_role("button", name="Start over").click()
    upload(shown, 70_001)
    assert "new-1" not in ids(shown.locator("[data-product]"))


def test_a_product_that_is_rejected_says_why_and_the_form_keeps_what_it_holds(page: Tab, shop: Service) -> None:
    page.expected += ["401", "422"]
    shown = page.open("catalogue")
    form = shown.get_by_role("form")
    form.get_by_label("Product id").fill("new-2")
    form.get_by_label("Category").fill("bags")
    shown.get_by_role("button", name="Save the product").click()
    give_key(shown, shop.key)
    expect(shown.get_by_role("alert")).to_contain_text("there is no such product yet whose pictures it keeps")
    expect(form.get_by_label("Product id")).to_have_value("new-2")


def test_how_everything_stands(page: Tab, client: Client, releases: tuple[Store, str, str]) -> None:
    for number in range(12):
        client.search_photo(picture(80_000 + number), k=3)
    shown = page.open("operate")
    expect(shown.get_by_text("All parts are up")).to_be_visible()
    row = shown.locator(f'[data-release="{releases[1]}"]')
    expect(row).to_contain_text("serving")
    expect(row).to_contain_text("0.500")
    for part in ("controller", "ingress", "embedder", "shard-0", "shard-1"):
        expect(shown.locator(f'[data-part^="{part}"]')).to_contain_text("up")
    shown.get_by_role("heading", name="Map of the catalogue").scroll_into_view_if_needed()
    expect(shown.get_by_label("Map of the catalogue", exact=True).last).to_be_visible()
    expect(shown.get_by_text(re.compile(r"of 1,110 images, laid out by t-SNE"))).to_be_visible(timeout=60_000)
    page.screenshot("operate-map")
    expect(shown.get_by_role("rowheader", name="embed", exact=False).first).to_be_visible(timeout=60_000)
    page.screenshot("operate", full=True)


def test_the_map_is_walked_by_keys_and_opens_products(page: Tab) -> None:
    shown = page.open("operate")
    shown.get_by_role("heading", name="Map of the catalogue").scroll_into_view_if_needed()
    expect(shown.get_by_text(re.compile("laid out by t-SNE"))).to_be_visible(timeout=60_000)
    canvas = shown.locator("canvas")
    canvas.focus()
    canvas.press("ArrowRight")
    card = shown.get_by_role("status", name="Product on the map")
    expect(card.locator("img")).to_be_visible()
    product = card.locator(".id").inner_text()
    canvas.press("Enter")
    expect(shown.get_by_role("heading", level=1)).to_contain_text(product)


def test_a_release_is_promoted_and_rolled_back(page: Tab, shop: Service, releases: tuple[Store, str, str]) -> None:
    _, first, second = releases
    page.expected.append("401")
    shown = page.open("operate")
    shown.get_by_role("button", name=f"Promote {second}").click()
    asked = shown.get_by_role("group", name=re.compile("Serve .* in place of"))
    asked.get_by_role("button", name=f"Promote {second}").click()
    give_key(shown, shop.key)
    expect(shown.locator(f'[data-release="{second}"] .mark', has_text="serving")).to_be_visible(timeout=120_000)
    page.screenshot("operate-promoted")
    page.expected.append("409")
    shown.get_by_role("button", name=f"Promote {first}").click()
    asked.get_by_role("button", name=f"Promote {first}").click()  # it is worse
    expect(shown.get_by_role("alert")).to_contain_text("did not pass (not worse: recall@")
    expect(shown.get_by_role("button", name=f"Promote {first} all the same")).to_be_visible()
    page.screenshot("operate-refused")
    shown.get_by_role("navigation").get_by_role("link", name="Search").click()
    upload(shown, 7)
    expect(shown.locator(".summary")).to_contain_text(f"release {second}")
    shown.get_by_role("navigation").get_by_role("link", name="Operate").click()
    shown.get_by_role("button", name="Roll back to the previous release").click()
    shown.get_by_role("button", name=f"Roll back to {first}").click()
    expect(shown.locator(f'[data-release="{first}"] .mark', has_text="serving")).to_be_visible(timeout=120_000)


def test_two_releases_are_compared(page: Tab, shop: Service, releases: tuple[Store, str, str]) -> None:
    _, _, second = releases
    page.expected.append("401")
    shown = page.open("compare")
    shown.get_by_role("button", name=f"Start the preview of {second}").click()
    give_key(shown, shop.key)
    expect(shown.get_by_role("button", name="End the preview")).to_be_visible(timeout=120_000)
    shown.get_by_role("button", name="Compare 8 random products").click()
    expect(shown.locator("[data-query]")).to_have_count(8)
    expect(shown.locator("[data-query]").first.get_by_role("button", name="B is better")).to_be_enabled()
    for number in range(3):
        shown.locator("[data-query]").nth(number).get_by_role("button", name="B is better").click()
    expect(shown.get_by_text(re.compile("overlap", re.IGNORECASE)).first).to_be_visible()
    expect(shown.locator("[data-query] img").nth(8)).to_be_visible()
    page.screenshot("compare", full=True)
    shown.locator("input[type=file]").set_input_files([photo(5), photo(6)])
    expect(shown.locator("[data-query]")).to_have_count(10)
    for verdict in shown.get_by_role("button", name="B is better").all():  # all are answered
        expect(verdict).to_be_enabled()
    shown.get_by_role("button", name="End the preview").click()
    expect(shown.get_by_role("button", name=f"Start the preview of {second}")).to_be_visible(timeout=60_000)
