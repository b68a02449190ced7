"""The service while everything happens to it: products are written, releases switched, processes killed, replicas
added. An oracle holds every acknowledged write; clients count every answer."""

from __future__ import annotations

import base64
import collections
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from tests.served_shop import CATEGORIES, Service, make_release, picture, product, served, shop_catalog, small
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

PRODUCTS = 240
SETTLE_S = 60.0


@dataclass
class Shop:
    """A service, and what it ought to hold."""

    service: Service
    first: str
    second: str
    """Two releases of the same catalogue: other encoders, other numbers of shards."""
    oracle: dict[str, dict[str, Any]] = field(default_factory=dict)
    sequence: int = 0
    """Of the last acknowledged write."""

    def put(self, client: httpx.Client, *products: dict[str, Any]) -> None:
        answer = client.put("/v1/products", json={"products": list(products)})
        assert answer.status_code == 200, answer.text
        self.oracle |= {one["product_id"]: one for one in products}
        self.sequence = max(self.sequence, answer.json()["sequence"])

    def delete(self, client: httpx.Client, *names: str) -> None:
        answer = client.delete("/v1/products", params={"product_id": list(names)})
        assert answer.status_code == 200, answer.text
        for name in names:
            self.oracle.pop(name, None)
        self.sequence = max(self.sequence, answer.json()["sequence"])

    def settle(self, client: httpx.Client) -> None:
        """Wait until all replicas have what was written: every answer of many says so."""
        over, seen = time.monotonic() + SETTLE_S, 0
        while seen < 12:
            answer = client.post("/v1/search", json={"product_id": next(iter(self.oracle)), "k": 1})
            done = answer.status_code == 200 and answer.json()["sequence"] >= self.sequence
            seen = seen + 1 if done and not answer.json()["partial"] else 0
            assert time.monotonic() < over, answer.text
            if not seen:
                time.sleep(0.02)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    catalog = shop_catalog(store, PRODUCTS)
    first = make_release(store, catalog, seed=1, shards=2, current=True, with_detector=True)
    rules = RecommendSettings(k=10, in_stock="stock", gpus_per_shard=0.0)
    second = make_release(store, catalog, seed=2, shards=3, rules=rules)
    with served(store, small(replicas=2)) as service:
        made = Shop(service=service, first=first, second=second)
        made.oracle = {one["product_id"]: one for one in map(product, range(PRODUCTS))}
        yield made


class Clients:
    """Clients that ask all the time; what was not answered in full is kept."""

    def __init__(self, shop: Shop, count: int = 4) -> None:
        self._shop = shop
        self._over = threading.Event()
        self.answers: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def until(self, more: int = 40) -> None:
        """Wait for so many further answers."""
        wanted = sum(self.answers.values()) + more
        over = time.monotonic() + SETTLE_S
        while sum(self.answers.values()) < wanted:
            assert time.monotonic() < over, self.failures[:3]
            time.sleep(0.05)

    def _ask(self, number: int) -> None:
        dice = random.Random(number)
        with self._shop.service.client() as client:
            while not self._over.is_set():
                name = f"p{dice.randrange(40):04d}"  # never deleted
                try:
                    answer = dice.choice(self._questions(client, name, dice))()
                    content = answer.json()
                    if answer.status_code != 200 or content["partial"]:
                        self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                    else:
                        self.answers[content["release"]] += 1
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def _questions(self, client: httpx.Client, name: str, dice: random.Random) -> list[Callable[[], httpx.Response]]:
        return [
            lambda: client.post("/v1/search", files={"image": picture(dice.randrange(30))}, data={"k": 5}),
            lambda: client.post("/v1/search", json={"product_id": name, "k": 5}),
            lambda: client.get(f"/v1/recommend/{name}", params={"k": 5}),
            lambda: client.get(f"/v1/products/{name}"),
        ]


def changed(number: int, version: int) -> dict[str, Any]:
    """A product with another picture, price and category than it had."""
    made = product(number)
    made["category"] = CATEGORIES[(number + version) % len(CATEGORIES)]
    made["attributes"] = {**made["attributes"], "price": 1000.0 + version}
    made["image"] = base64.b64encode(picture(100_000 * version + number)).decode()
    return made


def check(shop: Shop, client: httpx.Client, queries: int = 6) -> None:
    """Compare answers with the oracle: exactly its products, ranked as the encoder ranks them."""
    shop.settle(client)
    names = sorted(shop.oracle)
    vectors = np.array([embedded(client, shop.oracle[name]["image"]) for name in names])
    by_name = dict(zip(names, vectors, strict=True))
    for seed in range(queries):
        query_D = embedded(client, base64.b64encode(picture(777_000 + seed)).decode())
        category = CATEGORIES[seed % 3] if seed % 2 else None
        allowed = [name for name in names if category in (None, shop.oracle[name]["category"])]
        body = {"vector": query_D.tolist(), "k": 200, **({"filter": {"category": category}} if category else {})}
        answer = client.post("/v1/search", json=body).json()
        found = {hit["product_id"]: hit for hit in answer["results"]}
        assert len(found) == min(200, len(allowed))
        best = sorted((float(by_name[name] @ query_D) for name in allowed), reverse=True)[: len(found)]
        np.testing.assert_allclose([hit["score"] for hit in answer["results"]], best, atol=2e-3)
        for name, hit in found.items():
            assert name in shop.oracle, f"{name} was deleted"
            assert hit["score"] == pytest.approx(float(by_name[name] @ query_D), abs=2e-3)
            assert hit["attributes"] == shop.oracle[name]["attributes"]
            assert hit["category"] == shop.oracle[name]["category"]


KNOWN: dict[tuple[str, str], np.ndarray] = {}


def embedded(client: httpx.Client, image: str) -> np.ndarray:
    release = client.get("/v1/releases").json()["serving"] if not KNOWN else next(iter(KNOWN))[0]
    if (release, image) not in KNOWN:
        answer = client.post("/v1/embed", content=base64.b64decode(image), headers={"content-type": "image/png"})
        assert answer.status_code == 200, answer.text
        release = answer.json()["release"]
        KNOWN[release, image] = np.array(answer.json()["vector"])
    return KNOWN[release, image]


def test_what_is_written_is_found_and_what_is_deleted_is_not(shop: Shop) -> None:
    with shop.service.client() as client:
        shop.put(client, *[changed(number, 1) for number in range(60, 90)])
        shop.put(client, {**product(9_001), "attributes": {"price": 3.0, "stock": 1, "brand": "new"}})
        shop.delete(client, *[f"p{number:04d}" for number in range(90, 110)], "p9999")
        check(shop, client)
        own = client.post("/v1/search", files={"image": picture(9_001)}, data={"k": 1}).json()
        assert own["results"][0]["product_id"] == "p9001"
        shown = client.get("/v1/products/p9001/image")
        assert shown.content == picture(9_001)
        assert client.get("/v1/products/p0095").status_code == 404
        assert client.get("/v1/recommend/p0095").status_code == 404


def test_a_product_keeps_its_pictures_if_none_are_sent(shop: Shop) -> None:
    with shop.service.client() as client:
        for number in (41, 61):  # one of the catalogue, one that was written
            was = shop.oracle[f"p{number:04d}"]
            now = {key: value for key, value in was.items() if key != "image"} | {"attributes": {"price": 7.5}}
            answer = client.put("/v1/products", json=now)
            assert answer.status_code == 200, answer.text
            shop.sequence = answer.json()["sequence"]
            shop.oracle[was["product_id"]] = {**was, "attributes": {"price": 7.5, "stock": None, "brand": None}}
        check(shop, client, queries=2)


def test_items_are_found_and_a_box_is_searched_for(shop: Shop) -> None:
    """The first release has a detector, untrained: it finds something wherever that may be."""
    photo = picture(15)
    with shop.service.client() as client:
        plain = client.post("/v1/search", files={"image": photo}, data={"k": 5}).json()
        assert (plain["located"], plain["items"]) == ({"by": "whole", "detail": ""}, [])
        found = client.post("/v1/search", files={"image": photo}, data={"k": 5, "detect": True, "max_items": 3}).json()
        assert found["located"]["by"] == "detection"
        assert [len(item["results"]) for item in found["items"]] == [5] * 3
        assert found["results"] == found["items"][0]["results"]
        assert found["items"][0]["category"] in CATEGORIES
        box = [0.1, 0.2, 0.6, 0.9]
        body = {"image": base64.b64encode(photo).decode(), "box": box, "k": 5}
        given = client.post("/v1/search", json=body).json()
        form = client.post("/v1/search", files={"image": photo}, data={"box": "0.1,0.2,0.6,0.9", "k": 5}).json()
        assert given["located"] == {"by": "box", "detail": ""}
        assert given["results"] == form["results"] != plain["results"]
        whole = client.post("/v1/search", json={**body, "box": [0, 0, 1, 1]}).json()
        assert [one["product_id"] for one in whole["results"]] == [one["product_id"] for one in plain["results"]]
        assert client.get("/readyz").json()["detector"].startswith("fcos-lite-")


def test_deleted_products_are_never_recommended(shop: Shop) -> None:
    with shop.service.client() as client:
        before = client.get("/v1/recommend/p0003", params={"k": 5}).json()
        gone = [hit["product_id"] for hit in before["results"] if int(hit["product_id"][1:]) >= 40][:2]
        if not gone:
            pytest.skip("its neighbours are all needed elsewhere")
        shop.delete(client, *gone)
        shop.settle(client)
        after = client.get("/v1/recommend/p0003", params={"k": 5}).json()
        assert len(after["results"]) == 5
        assert not {hit["product_id"] for hit in after["results"]} & set(gone)


def test_examples_for_and_against(shop: Shop) -> None:
    with shop.service.client() as client:
        body = {"positive": ["p0001", "p0004"], "negative": ["p0002"], "k": 8}
        answer = client.post("/v1/recommend", json=body).json()
        assert len(answer["results"]) == 8
        assert not {hit["product_id"] for hit in answer["results"]} & {"p0001", "p0004", "p0002"}
        up, down = (
            np.mean([embedded(client, shop.oracle[name]["image"]) for name in names], axis=0)
            for names in (("p0001", "p0004"), ("p0002",))
        )
        query_D = (2 * up - down) / np.linalg.norm(2 * up - down)
        scores = [
            float(embedded(client, shop.oracle[hit["product_id"]]["image"]) @ query_D) for hit in answer["results"]
        ]
        np.testing.assert_allclose([hit["score"] for hit in answer["results"]], scores, atol=2e-3)


def test_a_filter_gives_k_of_what_it_lets_pass(shop: Shop) -> None:
    with shop.service.client() as client:
        where = {"must": [{"field": "price", "lt": 10}], "must_not": [{"field": "brand", "in": ["b1", "b2"]}]}
        allowed = {
            name
            for name, one in shop.oracle.items()
            if (one["attributes"]["price"] or 0) < 10 and one["attributes"]["brand"] not in ("b1", "b2")
        }
        body = {"product_id": "p0000", "k": 200, "filter": where}
        found = {hit["product_id"] for hit in client.post("/v1/search", json=body).json()["results"]}
        assert found == allowed - {"p0000"}
        wrong = client.post("/v1/search", json={**body, "filter": {"must": [{"field": "price", "eq": "dear"}]}})
        assert wrong.status_code == 422
        assert "price" in wrong.json()["detail"]


def test_no_request_fails_while_replicas_are_killed(shop: Shop) -> None:
    """Shards have two replicas; the embedder and the controller have one, and are waited for."""
    with Clients(shop) as clients, shop.service.client() as client:
        for number, part in enumerate(["shard-0", "shard-1", "embedder", "visnet:controller", "shard-0"]):
            clients.until()
            os.kill(shop.service.processes(part)[0], signal.SIGKILL)
            shop.put(client, *[changed(number_, 2 + number) for number_ in range(120 + 5 * number, 130 + 5 * number)])
            wait_for(lambda part=part: len(shop.service.processes(part)) >= (2 if "shard" in part else 1))  # type: ignore[misc]
        clients.until()
    assert clients.failures == []
    with shop.service.client() as client:
        check(shop, client)


def test_a_switch_under_load_fails_nobody_and_loses_no_write(shop: Shop) -> None:
    with shop.service.client() as client:
        refused = client.post(f"/v1/releases/{shop.second}/promote")
        assert refused.status_code == 409  # its encoder was never compared with the current one
        with Clients(shop) as clients:
            clients.until()
            over, number = threading.Event(), 0
            switch = threading.Thread(target=lambda: (promote(shop, shop.second), over.set()))
            switch.start()
            while not over.is_set():
                shop.put(client, changed(150 + number % 40, 20 + number))
                shop.delete(client, f"p{200 + number % 20:04d}")
                number += 1
            switch.join()
            clients.until(100)
        assert clients.failures == []
        assert set(clients.answers) == {shop.first, shop.second}
        KNOWN.clear()
        check(shop, client)
        wait_for(lambda: len(shop.service.processes("shard")) == 6)  # three shards; the old two are gone


def test_what_is_out_of_stock_is_never_recommended(shop: Shop) -> None:
    """By the rules of the second release, precomputed and live; it is sold out while the service runs."""
    with shop.service.client() as client:
        for name, precomputed in (("p0006", True), ("p0155", False)):
            before = client.get(f"/v1/recommend/{name}", params={"k": 5}).json()
            assert before["precomputed"] == precomputed
            assert all(shop.oracle[hit["product_id"]]["attributes"]["stock"] for hit in before["results"])
            sold = shop.oracle[before["results"][0]["product_id"]]
            shop.put(client, {**sold, "attributes": {**sold["attributes"], "stock": 0}})
            shop.settle(client)
            after = client.get(f"/v1/recommend/{name}", params={"k": 5}).json()
            assert sold["product_id"] not in {hit["product_id"] for hit in after["results"]}
            assert len(after["results"]) == 5


def promote(shop: Shop, release: str) -> None:
    with shop.service.client() as client:
        while client.get("/v1/releases").json()["serving"] != release:
            answer = client.post(f"/v1/releases/{release}/promote", params={"force": True, "wait_s": 20})
            assert answer.status_code in (200, 202), answer.text


def test_a_roll_back_goes_back_with_all_that_was_written(shop: Shop) -> None:
    with shop.service.client() as client:
        answer = client.post("/v1/releases/rollback", params={"wait_s": 25})
        assert answer.status_code in (200, 202), answer.text
        wait_for(lambda: client.get("/v1/releases").json()["serving"] == shop.first)
        wait_for(lambda: client.post("/v1/search", json={"product_id": "p0001"}).json()["release"] == shop.first)
        KNOWN.clear()
        check(shop, client)


def test_a_switch_that_does_not_fit_says_so_and_changes_nothing(shop: Shop) -> None:
    greedy = small(replicas=2)
    greedy["serve"]["shard"]["cpus"] = 3.0
    shop.service.command("serve", "--detach", "--port", shop.service.url.rpartition(":")[2], settings=small(replicas=2))
    with shop.service.client() as client, pytest.raises(AssertionError, match="both releases do not fit at once"):
        shop.service.command("serve", "--detach", "--port", shop.service.url.rpartition(":")[2], settings=greedy)
    with shop.service.client() as client:
        ready = client.get("/readyz").json()
        assert "do not fit" in ready["problem"]
        assert not client.post("/v1/search", json={"product_id": "p0001"}).json()["partial"]


def test_replicas_are_added_and_ended_under_load(shop: Shop) -> None:
    port = shop.service.url.rpartition(":")[2]
    shop.service.command("serve", "--detach", "--port", port, settings=small(replicas=2))
    with Clients(shop) as clients:
        for replicas in (3, 1):
            clients.until()
            shop.service.command("serve", "--detach", "--port", port, settings=small(replicas=replicas))
            wait_for(lambda replicas=replicas: len(shop.service.processes("shard")) == 2 * replicas)  # type: ignore[misc]
        clients.until()
    assert clients.failures == []


def test_without_a_second_replica_answers_are_partial_and_say_so(shop: Shop) -> None:
    """Runs after the replicas were ended: one is left of each shard."""
    with shop.service.client() as client:
        os.kill(shop.service.processes("shard-0")[0], signal.SIGKILL)
        body = {"vector": [1.0] * 128, "k": 5}
        seen = [client.post("/v1/search", json={**body, "whole": whole}) for whole in (False, True)]
        assert seen[0].json()["partial"]
        assert seen[0].json()["shards"] == {"ok": 1, "total": 2}
        assert len(seen[0].json()["results"]) == 5
        assert (seen[1].status_code, seen[1].headers["retry-after"]) == (503, "1")
        wait_for(lambda: not client.post("/v1/search", json=body).json()["partial"])
        check(shop, client, queries=2)


def test_a_restart_of_everything_loses_nothing(shop: Shop) -> None:
    for pid in shop.service.cluster.processes():
        if pid != os.getpid():
            os.kill(pid, signal.SIGKILL)
    with served(shop.service.store, small()) as again:
        restarted = Shop(again, shop.first, shop.second, shop.oracle, shop.sequence)
        with again.client() as client:
            check(restarted, client)


def wait_for(condition: Callable[[], Any]) -> None:
    over = time.monotonic() + SETTLE_S
    while not condition():
        assert time.monotonic() < over, "it did not come about"
        time.sleep(0.1)
