"""Whatever comes in, the service answers: with a reason where it refuses, never with a 5xx, and without growing."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile_json import JSON_BODIES
from tests.hostile_pictures import bombs, extremes, mutated, pictures
from tests.served_shop import Service, make_release, served, shop_catalog, small
from visnet.platform.imaging import MAX_IMAGE_BYTES
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

UPLOADS = 3_000
AT_ONCE = 6
WAYS = 5
"""To send a picture."""
GROWTH = 1.25
"""Of the memory of ingress and embedder, from the end of the first third to the end of all uploads."""
SCHEMATHESIS = """
[generation]
database = "none"

[checks]
# what is valid depends on more than the schema says: on the catalogue's columns, on base64, on "just one of"
positive_data_acceptance.enabled = false

[[operations]]
# ids may hold slashes: DELETE of .../products/x/image deletes the product "x/image"
include-path = "/v1/products/{product_id}/image"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false

[[operations]]
include-path = "/v1/products/{product_id}/duplicates"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = Store(str(tmp_path_factory.mktemp("hostile") / "store"))
    make_release(store, shop_catalog(store, 60), seed=0, shards=2, current=True, with_detector=True)
    with served(store, small()) as service:
        yield service


@pytest.fixture
def client(shop: Service) -> Iterator[httpx.Client]:
    with shop.client() as client:
        yield client


def test_schemathesis_finds_nothing(shop: Service, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{shop.url}/openapi.json"]
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1", "--no-color"]
    ran = subprocess.run(
        [*command, "-H", f"X-API-Key: {shop.key}", *options, "--continue-on-failure"],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8_000:] + ran.stderr


class Uploads:
    """Sends pictures every way there is, and counts what was answered."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def send(self, number: int, data: bytes) -> None:
        response = self._ask(number, data)
        self.statuses[response.status_code] += 1
        if response.status_code not in (200, 413, 422):
            self.wrong.append(f"upload {number}, {data[:16]!r}: {response.status_code} {response.text}")
        elif response.status_code != 200 and not response.json()["detail"]:
            self.wrong.append(f"upload {number}: no reason")

    def _ask(self, number: int, data: bytes) -> httpx.Response:
        match number % WAYS:
            case 0:
                return self._client.post("/v1/search", files={"image": data})
            case 1:
                return self._client.post("/v1/search", files={"image": data}, data={"detect": True})
            case 2:
                return self._client.post("/v1/search", files={"image": data}, data={"box": "0.3,0.3,0.6,0.5"})
            case 3:
                return self._client.post("/v1/embed", content=data, headers={"Content-Type": "image/jpeg"})
            case _:
                product = {"product_id": f"hostile-{number % 50}", "category": "bags"}
                return self._client.put("/v1/products", json={**product, "image": base64.b64encode(data).decode()})


def memory(service: Service) -> int:
    """Bytes of their own that the processes hold which see pictures, without libraries and what else is mapped."""
    pids = service.processes("visnet:ingress") + service.processes("embedder")
    assert len(pids) == 2
    sizes = [Path(f"/proc/{pid}/statm").read_text().split() for pid in pids]
    return sum(int(resident) - int(shared) for _, resident, shared, *_ in sizes) * os.sysconf("SC_PAGE_SIZE")


def test_good_pictures_are_taken(client: httpx.Client) -> None:
    for name, data in pictures().items():
        answer = client.post("/v1/embed", content=data, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, f"{name}: {answer.text}"


DOTS = [(0.0, 0.0, 1e-9, 1e-9), (0.999999999, 0.999999999, 1.0, 1.0), (0.5, 0.0, 0.500001, 1.0), (0.0, 0.5, 1.0, 0.51)]


@pytest.mark.parametrize("name", list(extremes()))
def test_pictures_of_any_shape_are_searched_for_by_their_parts(client: httpx.Client, name: str) -> None:
    files = {"image": extremes()[name]}
    asked = [{}, {"detect": True}, {"detect": True, "max_items": 1}, *({"box": str(list(box))} for box in DOTS)]
    for data in asked:
        answer = client.post("/v1/search", files=files, data={"k": 3, **data})
        assert answer.status_code == 200, f"{data}: {answer.status_code} {answer.text}"
        body = answer.json()
        assert body["located"]["by"] in (("box",) if "box" in data else ("detection", "whole"))
        assert len(body["items"]) <= int(data.get("max_items", 10))
        assert [len(one["results"]) for one in (body, *body["items"])] == [3] * (1 + len(body["items"]))
        for left, top, right, bottom in [item["box"] for item in body["items"]]:
            assert 0 <= left <= right <= 1
            assert 0 <= top <= bottom <= 1


@pytest.mark.parametrize("name", [*bombs(), "beyond the largest"])
def test_what_is_no_picture_has_no_items(client: httpx.Client, name: str) -> None:
    data = bombs().get(name) or b"\xff" * (MAX_IMAGE_BYTES + 1)
    for fields in ({"detect": True}, {"box": "0,0,1,1"}):
        answer = client.post("/v1/search", files={"image": data}, data=fields)
        assert answer.status_code in (200, 413, 422), f"{fields}: {answer.status_code} {answer.text}"


BOXES = [
    "[0.5, 0.1, 0.2, 0.9]", "[0.1, 0.1, 0.1, 0.9]", "[-1e-9, 0, 1, 1]", "[0, 0, 1, 1.0000001]", "[0, 0, 1e308, 1]",
    "[0, 0, 1]", "[0, 0, 1, 1, 1]", "[]", "[[0, 0, 1, 1]]", '["0", "0", "1", "1"]', "[true, true, false, false]",
    "[NaN, 0, 1, 1]", "[0, 0, Infinity, 1]", "[0, 0, 1e999, 1]", "[0, 0, 1, null]", '"all"', "{}", "0", "true",
    f"[{'0,' * 100_000}1]", "[" * 10_000, f"[0, 0, 1, {'9' * 5_000}]", "[0, 0, 0x1, 1]",
]  # fmt: skip


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box[:30])
def test_boxes_that_are_none_are_refused(client: httpx.Client, box: str) -> None:
    image = base64.b64encode(pictures()["png"]).decode()
    content = f'{{"image": "{image}", "box": {box}}}'
    for answer in (
        client.post("/v1/search", content=content, headers={"Content-Type": "application/json"}),
        client.post("/v1/search", files={"image": pictures()["png"]}, data={"box": box}),
    ):
        assert answer.status_code in (400, 422), f"{answer.status_code} {answer.text}"
        assert len(answer.json()["detail"]) < 5_000


@pytest.mark.parametrize("name", list(bombs()))
def test_bombs_are_refused_or_harmless(shop: Service, client: httpx.Client, name: str) -> None:
    data = bombs()[name]
    uploads = Uploads(client)
    before = memory(shop)
    for number in range(WAYS):
        uploads.send(number, data)
    assert uploads.wrong == []
    assert memory(shop) - before < 200 * 2**20


def test_thousands_of_broken_pictures_leave_it_as_it_was(shop: Service, client: httpx.Client) -> None:
    """Memory is compared over two thirds of the uploads, after the first third has filled allocators and caches."""
    uploads = Uploads(client)
    hostile = enumerate(chain(mutated(UPLOADS), bombs().values()))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda one: uploads.send(*one), islice(hostile, UPLOADS // 3)))
        before = memory(shop)
        list(threads.map(lambda one: uploads.send(*one), hostile))
    assert uploads.wrong == []
    assert uploads.statuses[200] > UPLOADS // 20  # some mutations do no harm
    assert uploads.statuses[422] > UPLOADS // 20
    assert memory(shop) < GROWTH * before
    assert client.get("/readyz").json()["partial"] is False


@pytest.mark.parametrize("what", list(JSON_BODIES))
def test_hostile_json_is_refused(client: httpx.Client, what: str) -> None:
    headers = {"Content-Type": "application/json"}
    if what == "gzip":
        headers["Content-Encoding"] = "gzip"
    asked = [("POST", "/v1/search"), ("POST", "/v1/recommend"), ("PUT", "/v1/products")]
    for method, path in asked:
        answer = client.request(method, path, content=JSON_BODIES[what], headers=headers)
        assert answer.status_code in (400, 404, 422), f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "product",
    ["%00", "a%00b", "a%2Fb", "..%2F..%2Fetc", "%2e%2e/%2e%2e/x", "%ff%fe", "%F0%9F%92%A9", "x" * 5_000, "%20", "//",
     "%0d%0aX-Injected:1", "image", "a/image/image", "%ED%A0%80", "%25%32%46", "'--", "${x}"],
)  # fmt: skip
def test_hostile_ids_are_ids_like_others(client: httpx.Client, product: str) -> None:
    asked = [
        ("GET", f"/v1/products/{product}"), ("GET", f"/v1/products/{product}/image"),
        ("GET", f"/v1/recommend/{product}"), ("DELETE", f"/v1/products/{product}"),
        ("POST", f"/v1/releases/{product}/promote"),
    ]  # fmt: skip
    for method, path in asked:
        answer = client.request(method, path)
        assert answer.status_code in ((200, 404, 422) if method == "DELETE" else (404, 422)), f"{path}: {answer.text}"
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize("product", ["a/b c", "ä/ö", "💩", "..", "a?b#c&d=%41", "x" * 1_024, "a\nb", "quote\"'\\"])
def test_a_strange_id_is_written_found_shown_and_deleted(client: httpx.Client, product: str) -> None:
    image = base64.b64encode(pictures()["png"]).decode()
    written = client.put("/v1/products", json={"product_id": product, "category": "bags", "image": image})
    assert written.status_code == 200, written.text
    sequence = written.json()["sequence"]
    found = until(client, sequence, product)
    hit = next(one for one in found["results"] if one["product_id"] == product)
    assert hit["score"] > 0.99
    assert client.delete("/v1/products", params={"product_id": product}).status_code == 200


def until(client: httpx.Client, sequence: int, product: str) -> dict[str, Any]:
    """A search's answer that holds what was written."""
    for _ in range(1_000):
        answer = client.post("/v1/search", files={"image": pictures()["png"]}, data={"k": 20})
        body: dict[str, Any] = answer.json()
        if body["sequence"] >= sequence:
            return body
    raise AssertionError(f"{product!r} was not followed")


def raw(shop: Service, head: str, body: bytes = b"") -> int:
    """The status of a request that no client would send; 0 if the connection is closed without an answer."""
    host, port = shop.url.removeprefix("http://").split(":")
    request = f"{head}\r\nHost: {host}\r\nX-API-Key: {shop.key}\r\nContent-Type: application/json\r\n".encode("latin-1")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(request.replace(b"\r\n\r\n", b"\r\n") + b"\r\n" + body)
            answer = connection.recv(4_096)
        except ConnectionError:  # refused while the body was still being sent
            return 0
    return int(answer.split(b" ")[1]) if answer else 0


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Length: 2", b'{"product_id":"p0001"}'),
        ("Content-Length: -1", b"{}"),
        ("Content-Length: abc", b"{}"),
        ("Content-Length: \xb2", b"{}"),
        ("Content-Length: 2\r\nContent-Length: 3", b"{} "),
        ("Content-Length: 99999999999999999999", b"{}"),
        (f"Content-Length: {2 * MAX_IMAGE_BYTES}", b"{}"),
        ("Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", b"2\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n"),
        ("Expect: 200-never\r\nContent-Length: 2", b"{}"),
    ],
)
def test_bodies_that_lie_about_their_length(shop: Service, headers: str, body: bytes) -> None:
    assert raw(shop, f"POST /v1/search HTTP/1.1\r\n{headers}", body) in (0, 400, 411, 413, 417, 422, 501)


def test_a_chunked_body_beyond_the_limit_is_cut_off(shop: Service, client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(2 * MAX_IMAGE_BYTES // 2**16):
            yield b"\0" * 2**16

    before = memory(shop)
    for _ in range(3):
        try:
            answer = client.post("/v1/embed", content=endless(), headers={"Content-Type": "image/png"})
        except httpx.TransportError:  # it was hung up on
            continue
        assert answer.status_code == 413, answer.text
    assert memory(shop) - before < 200 * 2**20


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer " + "x" * 8_000},
        {"Authorization": b"Basic \xff\xfe"},
        {"X-API-Key": b"\xff\xfe\xe4"},
        {"X-API-Key": "visnet_" + "A" * 60},
        {"X-Request-ID": "x" * 2_000},
        {"X-Request-ID": "a b\tc;<script>"},
        {"If-None-Match": 'W/"x", *'},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=" + "x" * 5_000},
        {"Content-Type": 'multipart/form-data; boundary="\\"'},
        {"Content-Type": "application/json; charset=utf-32"},
        {"Accept": "*" * 5_000},
        {"Cookie": "a=b;" * 1_000},
        {"X-Many": "y" * 100_000},
        {f"X-{number}": "y" for number in range(500)},
        {"Host": "[::"},
        {"Range": "bytes=0-,-1,5-2"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"X-Forwarded-For": "1" * 5_000, "Forwarded": 'for="[::'},
    ],
)
def test_abused_headers(client: httpx.Client, headers: dict[str, Any]) -> None:
    """Without an `X-Request-ID` that is not UTF-8: Ray Serve's replica decodes it before we see the request."""
    body = json.dumps({"product_id": "p0001"})
    for method, path in (("POST", "/v1/search"), ("GET", "/v1/products/p0001"), ("GET", "/v1/products/p0001/image")):
        answer = client.request(method, path, content=body if method == "POST" else None, headers=headers)
        assert answer.status_code < 500, f"{path}: {answer.status_code} {answer.text}"


def test_forms_with_too_much(client: httpx.Client) -> None:
    image = ("image", b"x")
    assert client.post("/v1/search", files=[image] * 2_000).status_code == 400
    fields = {f"f{number}": "x" for number in range(3_000)}
    assert client.post("/v1/search", files=[image], data=fields).status_code == 400
    assert client.post("/v1/search", files=[image], data={"filter": "x" * 3_000_000}).status_code == 400
    assert client.post("/v1/search", files=[image], data={"filter": "[" * 100_000}).status_code == 422
    assert client.put("/v1/products", files={"product": b"{}"}).status_code == 422
