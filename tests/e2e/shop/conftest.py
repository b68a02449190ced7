"""One small shop with two releases, served once for the tests of its page and of its client. Each test leaves it as it
was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import Tab, chromium, tab
from tests.served_shop import Service, make_release, served, shop_catalog, small
from visnet.platform.client import Client
from visnet.platform.store import Store

PRODUCTS = 1_110
QUERIES = {"queries_digest": "the same", "category_precision_at_20": 0.5}


def evaluation(first: float) -> dict[str, Any]:
    """What an evaluation with this recall@1 says."""
    return {**QUERIES, "recall_at_k": {str(k): first + 0.05 * place for place, k in enumerate((1, 5, 10, 20))}}


@pytest.fixture(scope="package")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    """The store; the release that is served, which finds items, and a better one that does not."""
    store = Store(str(tmp_path_factory.mktemp("shop")))
    catalog = shop_catalog(store, PRODUCTS)
    first = make_release(store, catalog, seed=0, shards=2, current=True, with_detector=True, evaluation=evaluation(0.5))
    return store, first, make_release(store, catalog, seed=1, shards=1, evaluation=evaluation(0.6))


@pytest.fixture(scope="package")
def shop(releases: tuple[Store, str, str]) -> Iterator[Service]:
    with served(releases[0], small()) as service:
        yield service


@pytest.fixture
def client(shop: Service) -> Iterator[Client]:
    with Client(shop.url, key=shop.key) as made:
        yield made


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, shop: Service) -> Iterator[Tab]:
    """A tab as large as a desktop's; the test fails if the page complains in its console."""
    with tab(browser, shop.url) as opened:
        yield opened
