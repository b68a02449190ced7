"""A real Prometheus scrapes a service that runs: the dashboard's queries all have answers, and no alert fires."""

import contextlib
import itertools
import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.debian import NotToBeHadError, unpacked
from tests.ports import free_port
from tests.served_shop import Service, make_release, picture, product, served, shop_catalog, small
from visnet.platform.keys import create_key
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

FILES = Path(__file__).parents[2] / "serve/observability"
PRODUCTS = 300
ROUNDS = 240
"""Of traffic and a look at what Prometheus has; each ends with the first query that has no answer yet."""
WRITES = itertools.count()


@pytest.fixture(scope="module")
def programs() -> Path:
    try:
        return unpacked(("prometheus",)) / "usr/bin"
    except NotToBeHadError as error:
        pytest.skip(f"no Prometheus: {error}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = Store(str(tmp_path_factory.mktemp("store")))
    make_release(store, shop_catalog(store, PRODUCTS), seed=1, shards=2, current=True, with_detector=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        with served(store, small()) as running:
            yield running


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self._client.get("/-/ready").status_code == 200
        return False

    def query(self, expression: str) -> list[float]:
        """The values of an expression's series, without those that are not numbers."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def firing(self) -> list[str]:
        alerts = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"]

    def rules(self) -> dict[str, str]:
        """The alerts' names and expressions, as Prometheus read them."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def prometheus(programs: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [service.url.removeprefix("http://")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "alerts.yml").write_text((FILES / "alerts.yml").read_text())
    command = [programs / "prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    options = [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        while not running.answers():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def traffic(service: Service) -> Iterator[Callable[[], None]]:
    """Makes a little of everything: searches, photos, items in them, a known one, writes, and what is refused."""
    with service.client() as client:

        def make() -> None:
            number = next(WRITES)
            photo = {"image": picture(10_000 + number)}
            asked = [
                client.post("/v1/search", files=photo),
                client.post("/v1/search", files=photo, data={"category": "bags"}),
                client.post("/v1/search", files=photo, data={"detect": True}),
                client.post("/v1/search", json={"product_id": f"p{number % PRODUCTS:04d}", "k": 5}),
                client.get(f"/v1/recommend/p{number % PRODUCTS:04d}"),
                client.put("/v1/products", json=product(PRODUCTS + number)),
            ]
            assert [answer.status_code for answer in asked] == [200] * len(asked), [answer.text for answer in asked]
            assert client.post("/v1/search", files={"image": b"no picture"}).status_code == 422
            assert client.get("/v1/products/nothing").status_code == 404

        yield make


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Every query of the dashboard, with Grafana's variables as Grafana would fill them in."""
    queries = [target["expr"].replace("$__rate_interval", "1m") for panel in panels() for target in panel["targets"]]
    assert not [query for query in queries if "$" in query]
    return queries


def test_every_query_of_the_dashboard_has_an_answer(prometheus: Prometheus, traffic: Callable[[], None]) -> None:
    waiting = expressions()
    for _ in range(ROUNDS):
        traffic()
        waiting = [query for query in waiting if not prometheus.query(query)]
        if not waiting:
            break
        time.sleep(0.3)
    assert not waiting


def test_no_alert_fires_while_all_is_well(prometheus: Prometheus, traffic: Callable[[], None]) -> None:
    rules = prometheus.rules()
    assert set(rules) == set(re.findall(r"alert: (\w+)", (FILES / "alerts.yml").read_text()))
    for _ in range(ROUNDS):
        traffic()
        if prometheus.query("visnet_release_info"):
            break
    assert {name for name, expression in rules.items() if prometheus.query(expression)} == set()
    assert prometheus.firing() == []


def test_what_is_counted_is_what_was_asked(
    prometheus: Prometheus, service: Service, traffic: Callable[[], None]
) -> None:
    def counted() -> list[float]:
        routes = ("/v1/products/{product_id:path}", "/v1/recommend/{product_id:path}")
        return [sum(prometheus.query(f'visnet_requests_total{{route="{route}"}}')) for route in routes]

    before, settled = counted(), counted()
    for _ in range(ROUNDS):  # what was asked before comes in
        time.sleep(3)
        before, settled = settled, counted()
        if before == settled:
            break
    for _ in range(5):
        traffic()
    for _ in range(ROUNDS):
        if counted() == [count + 5 for count in settled]:
            break
        time.sleep(0.5)
    assert counted() == [count + 5 for count in settled]


def test_live_searches_are_compared_with_an_exact_pass(prometheus: Prometheus) -> None:
    assert prometheus.query("min(visnet_ann_recall_at_k)") == [1.0]  # the index is exact


def test_a_line_in_the_log_for_every_request(service: Service, traffic: Callable[[], None]) -> None:
    with service.client() as client:
        answer = client.get("/v1/products/p0001", headers={"X-Request-ID": "order-66"})
        assert answer.headers.get_list("x-request-id") == ["order-66"]
    logs = service.cluster.directory / "session_latest/logs/serve"
    lines: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        files = logs.glob("replica_visnet_ingress_*.jsonl")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        if any(line.get("request_id") == "order-66" for line in lines):
            break
        time.sleep(0.1)
    line = next(line for line in lines if line.get("request_id") == "order-66")
    assert (line["route"], line["status"], line["deployment"]) == ("/v1/products/{product_id:path}", 200, "ingress")
    assert line["release"].startswith("r-")
    assert all(
        line["release"] for line in lines if line.get("route") in ("/v1/search", "/v1/products/{product_id:path}")
    )
    assert (line["key"][:5], line["level"], line["partial"]) == ("test-", "INFO", False)
    shard = next(logs.glob("replica_shard-0-*.jsonl")).read_text().splitlines()
    assert any("applied 0 entries of the journal" in json.loads(line)["message"] for line in shard)


def test_metrics_need_a_key_as_soon_as_searches_do(service: Service) -> None:
    """Last: the service stays closed."""
    with httpx.Client(base_url=service.url) as client:
        assert client.get("/metrics").status_code == 200
        key = create_key(service.store, name="prometheus", scope="read").presented
        for _ in range(ROUNDS):
            if client.get("/metrics").status_code == 401:
                break
            time.sleep(0.1)
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 200
