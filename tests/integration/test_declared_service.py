"""The service by Serve's REST API, as KubeRay starts it for a RayService, beside the parts its controller starts."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.served_shop import make_release, shop_catalog, small
from visnet.platform.fleet.kuberay import serve_config
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.ray_auth import auth_headers
from visnet.platform.release import promote
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

SETTLE_S = 180.0


class Declared:
    """A cluster that is told over REST what to serve."""

    def __init__(self, cluster: LocalCluster, store: Store, port: int) -> None:
        self.cluster, self.store, self.port = cluster, store, port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def put(self, config: dict[str, Any]) -> None:
        answer = httpx.put(self._url, json=config, headers=auth_headers(), timeout=60)
        assert answer.status_code == 200, answer.text

    def applications(self) -> dict[str, str]:
        """Status by name."""
        details = httpx.get(self._url, headers=auth_headers(), timeout=60).json()
        return {name: each["status"] for name, each in details["applications"].items()}

    def config(self, **serve: Any) -> dict[str, Any]:
        settings = small(host="127.0.0.1", port=self.port, **serve)
        return serve_config({"store": self.store.location, **settings})

    def await_running(self) -> list[dict[str, str]]:
        """All that was seen until every application ran."""
        seen = []
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            seen.append(self.applications())
            if {"visnet", "visnet-standing"} <= seen[-1].keys() and set(seen[-1].values()) == {"RUNNING"}:
                return seen
            time.sleep(0.25)
        raise AssertionError(f"not all ran: {seen[-1]}")

    @property
    def _url(self) -> str:
        return f"{self.cluster.dashboard_url}/api/serve/applications/"


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Declared]:
    store = Store(str(tmp_path_factory.mktemp("declared") / "store"))
    make_release(store, shop_catalog(store, 40), seed=1, shards=2, current=True)
    with LocalCluster(num_cpus=8, object_store_bytes=200 * 2**20) as cluster:
        port = free_port()
        yield Declared(cluster, store, port)


@pytest.fixture(scope="module")
def seen(declared: Declared) -> list[dict[str, str]]:
    declared.put(declared.config())
    return declared.await_running()


def test_it_stands_when_a_release_is_served_and_not_before(declared: Declared, seen: list[dict[str, str]]) -> None:
    for applications in seen:
        parts = [name for name in applications if name.startswith("shard-")]
        if not parts:
            assert set(applications.values()) != {"RUNNING"}, "KubeRay would have sent requests to it"
    assert any(each.get("visnet") == "RUNNING" and each.get("visnet-standing") != "RUNNING" for each in seen)
    assert len([name for name in seen[-1] if name.startswith("shard-")]) == 2
    assert declared.client.get("/readyz").status_code == 200
    found = declared.client.post("/v1/search", json={"product_id": "p0001", "k": 3})
    assert found.status_code == 200, found.text


@pytest.mark.usefixtures("seen")
def test_the_probe_of_a_worker_answers(declared: Declared) -> None:
    assert declared.client.get("/-/healthz").status_code == 200


@pytest.mark.usefixtures("seen")
def test_a_second_configuration_leaves_the_parts_alone(declared: Declared) -> None:
    before = declared.applications()
    parts = {name for name in before if name not in ("visnet", "visnet-standing")}
    statuses = []
    declared.put(declared.config(request_timeout_s=20.0))
    deadline = time.monotonic() + SETTLE_S
    while statuses[-2:] != ["RUNNING", "RUNNING"] or "DEPLOYING" not in statuses:
        assert time.monotonic() < deadline, statuses[-5:]
        answer = declared.client.post("/v1/search", json={"product_id": "p0001", "k": 3})
        assert answer.status_code == 200, answer.text
        applications = declared.applications()
        assert parts <= applications.keys()
        statuses.append(applications["visnet"])
        time.sleep(0.1)


@pytest.mark.usefixtures("seen")
def test_the_controller_switches_releases_as_ever(declared: Declared) -> None:
    other = make_release(declared.store, shop_catalog(declared.store, 45, version="v2"), seed=2, shards=1)
    promote(declared.store, other, force=True)
    deadline = time.monotonic() + SETTLE_S
    while declared.client.get("/v1/releases").json().get("serving") != other:
        assert time.monotonic() < deadline, declared.client.get("/v1/releases").text
        time.sleep(0.5)
    assert {"visnet", "visnet-standing"} <= declared.applications().keys()
