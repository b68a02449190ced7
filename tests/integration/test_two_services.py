"""Two services of one store at once, each on a cluster of its own: how a new version takes over from an old one."""

import time
from pathlib import Path

import httpx
import pytest

from tests.served_shop import make_release, product, served, shop_catalog, small
from visnet.platform.release import promote
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

FOUND_S = 30.0
SWITCHED_S = 120.0


def await_product(client: httpx.Client, name: str) -> None:
    deadline = time.monotonic() + FOUND_S
    while client.post("/v1/search", json={"product_id": name, "k": 1}).status_code != 200:
        assert time.monotonic() < deadline, name
        time.sleep(0.2)


def await_release(client: httpx.Client, release: str) -> None:
    deadline = time.monotonic() + SWITCHED_S
    while (state := client.get("/v1/releases").json()).get("serving") != release:
        assert time.monotonic() < deadline, state
        time.sleep(0.5)


def test_both_answer_and_know_what_is_written_to_either_and_one_may_go(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    make_release(store, shop_catalog(store, 40), seed=1, shards=1, current=True)
    with served(store, small()) as new, new.client() as to_new:
        with served(store, small()) as old, old.client() as to_old:
            for number, (written_to, asked) in enumerate([(to_old, to_new), (to_new, to_old)]):
                made = product(100 + number)
                written_to.put("/v1/products", json={"products": [made]}).raise_for_status()
                await_product(asked, made["product_id"])
            other = make_release(store, shop_catalog(store, 45, version="v2"), seed=2, shards=2)
            promote(store, other, force=True)
            for client in (to_old, to_new):
                await_release(client, other)
                await_product(client, "p0101")
        to_new.put("/v1/products", json={"products": [product(102)]}).raise_for_status()
        await_product(to_new, "p0102")
