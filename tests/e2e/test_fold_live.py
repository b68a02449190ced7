"""The fold under a service that runs: it is written to and searched all the while, and moves over by itself."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.served_shop import Service, make_release, picture, product, served, shop_catalog, small
from visnet.platform.index import read_index
from visnet.platform.release import current_release
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

PRODUCTS, FOLDED, TIMEOUT_S = 60, 20, 240
PASSES = {
    "embed": {"gpus_per_actor": 0, "cpus_per_actor": 0.5, "actors": 1},
    "index": {"shards": 3},
    "recommend": {"gpus_per_shard": 0.0, "cpus_per_shard": 0.1},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = Store(str(tmp_path_factory.mktemp("folded") / "store"))
    rules = RecommendSettings(k=5, gpus_per_shard=0.0)
    make_release(store, shop_catalog(store, PRODUCTS), seed=0, shards=2, rules=rules, current=True)
    with served(store, small()) as service:
        yield service


class Traffic(threading.Thread):
    """Searches for a product that never changes, and writes and deletes others, until it is told to end."""

    def __init__(self, client: httpx.Client, own: str) -> None:
        super().__init__(daemon=True)
        self._client, self._own = client, own
        self._ended = threading.Event()
        self.releases: list[str] = []
        self.wrong: list[str] = []
        self.wanted: dict[str, bool] = {}
        """Whether a product is to be there."""

    def run(self) -> None:
        number = 1_000
        while not self._ended.is_set():
            number += 1
            self._expect(self._client.put("/v1/products", json=product(number)), 200)
            self.wanted[f"p{number:04d}"] = True
            if number % 2:
                gone = f"p{number - 1:04d}"
                self._expect(self._client.delete(f"/v1/products/{gone}"), 200)
                self.wanted[gone] = False
            answer = self._client.post("/v1/search", files={"image": picture(1)}, data={"k": 3})
            if self._expect(answer, 200):
                body = answer.json()
                if body["partial"] or body["results"][0]["product_id"] != self._own:
                    self.wrong.append(answer.text)
                if not self.releases or self.releases[-1] != body["release"]:
                    self.releases.append(body["release"])
            time.sleep(0.1)

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _expect(self, answer: httpx.Response, status: int) -> bool:
        if answer.status_code != status:
            self.wrong.append(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
        return answer.status_code == status


def test_a_fold_under_a_service_that_runs(shop: Service) -> None:
    before = current_release(shop.store).release
    with shop.client() as client:
        for number in range(PRODUCTS, PRODUCTS + FOLDED):
            assert client.put("/v1/products", json=product(number)).status_code == 200
        for number in range(10, 20):
            assert client.delete(f"/v1/products/p{number:04d}").status_code == 200
        changed = {**product(5), "image": product(500)["image"]}
        assert client.put("/v1/products", json=changed).status_code == 200
        traffic = Traffic(client, "p0001")
        traffic.start()
        try:
            result = shop.command("fold", settings={**small(), **PASSES})
            until = time.monotonic() + TIMEOUT_S
            while result["release"] not in traffic.releases and time.monotonic() < until and traffic.is_alive():
                time.sleep(0.1)
            time.sleep(1)  # and goes on for a while by the new one
        finally:
            traffic.end()
        assert traffic.wrong == []
        assert traffic.releases == [before, result["release"]]
        assert result["embedded"] == 0
        assert result["journal_sequence"] >= FOLDED + 11
        assert result["images"] >= PRODUCTS + FOLDED - 10
        index = read_index(shop.store, current_release(shop.store).index)
        assert (index.shards, index.journal_sequence) == (3, result["journal_sequence"])
        settled(client, result["release"])
        wanted = {
            **{f"p{number:04d}": not 10 <= number < 20 for number in range(PRODUCTS + FOLDED)},
            **traffic.wanted,
        }
        there = {name: client.get(f"/v1/products/{name}").status_code == 200 for name in wanted}
        assert there == wanted
        assert found(client, 500) == "p0005"
        assert found(client, 5) != "p0005"
        assert client.get("/v1/recommend/p0070", params={"k": 5}).json()["precomputed"]
        shown = client.get("/v1/products/p0070/image")
        assert (shown.status_code, shown.content) == (200, picture(70))
        trimmed = shop.command("journal", "trim", "--keep-releases", "1")
        assert trimmed["forgotten"] == result["journal_sequence"]
        assert client.get("/v1/products/p0070/image").content == picture(70)
        assert client.put("/v1/products", json=product(2_000)).status_code == 200


def found(client: httpx.Client, seed: int) -> str:
    answer = client.post("/v1/search", files={"image": picture(seed)}, data={"k": 1})
    name: str = answer.json()["results"][0]["product_id"]
    return name


def settled(client: httpx.Client, release: str) -> dict[str, Any]:
    """What the service says once all that was written is in its answers."""
    last = client.put("/v1/products", json=product(3_000)).json()["sequence"]
    for _ in range(1_000):
        ready: dict[str, Any] = client.get("/readyz").json()
        if ready["release"] == release and ready["sequence"] >= last:
            return ready
        time.sleep(0.05)
    raise AssertionError(f"not settled: {ready}")
