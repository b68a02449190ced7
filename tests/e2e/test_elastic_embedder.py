"""The embedder follows its load: more replicas while photos come in, and back to the floor when none do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.served_shop import Service, make_release, picture, served, shop_catalog, small
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

MOST = 3
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    make_release(store, shop_catalog(store, 60), seed=1, shards=1, current=True)
    settings = small(cached_photos=0)
    settings["serve"]["embedder"] |= {
        "max_replicas": MOST,
        "target_ongoing_requests": 2.0,
        "upscale_delay_s": 1.0,
        "downscale_delay_s": 4.0,
    }
    pushed = {f"RAY_SERVE_{whose}_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5" for whose in ("HANDLE", "REPLICA")}
    with served(store, settings, environment=pushed) as running:
        yield running


def test_replicas_come_with_the_load_and_go_with_it(service: Service) -> None:
    assert len(service.processes("embedder")) == 1
    over, statuses = threading.Event(), []

    def ask(number: int) -> None:
        with service.client() as client:
            photos = [picture(1_000 * number + turn) for turn in range(20)]
            while not over.is_set():
                statuses.extend(asked(client, photo) for photo in photos)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(service.processes("embedder")) == MOST, "the load did not bring replicas")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    wait_for(lambda: len(service.processes("embedder")) == 1, "the replicas stayed without load")
    assert set(statuses) == {200}
    with service.client() as client:
        assert asked(client, picture(3)) == 200


def asked(client: httpx.Client, photo: bytes) -> int:
    return client.post("/v1/search", files={"image": photo}, data={"k": 3}).status_code


def wait_for(condition: Callable[[], Any], what: str) -> None:
    over = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < over, what
        time.sleep(0.1)
