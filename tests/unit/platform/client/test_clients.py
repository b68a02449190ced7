"""Both clients against a pretended service: what they send, what they read, when they try again and when not."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from visnet.platform.client import AsyncClient, Client, Patience, ProductWrite, ServiceError, UnreachableError
from visnet.platform.client import clients as module
from visnet.platform.client.clients import Service

Handler = Callable[[httpx.Request], httpx.Response]
QUICK = Patience(first_pause_s=0.001, longest_pause_s=0.002)
ABOUT = {"release": "r-1", "shards": {"ok": 1, "total": 1}, "partial": False, "sequence": 7, "timings_ms": {}}
PROBLEM = "application/problem+json"


class Pretended:
    """Answers requests in turn, and keeps them."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests = list(answers), []  # type: ignore[var-annotated]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        headers = {"content-type": answer.headers.get("content-type", ""), **answer.headers}
        return httpx.Response(answer.status_code, headers=headers, content=answer.content)  # each is read once


def ask(kind: str, handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of one of the clients."""
    if kind == "sync":
        with Client("http://shop", key="k", patience=QUICK, transport=httpx.MockTransport(handler)) as service:
            return getattr(service, method)(*arguments, **options)

    async def run() -> Any:
        transport = httpx.MockTransport(handler)
        async with AsyncClient("http://shop", key="k", patience=QUICK, transport=transport) as service:
            return await getattr(service, method)(*arguments, **options)

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", ["sync", "async"])


def found(*results: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={**ABOUT, "results": list(results), "new field": 1})


def problem(status: int, detail: str = "no", **headers: str) -> httpx.Response:
    body = {"title": "x", "status": status, "detail": detail, "request_id": "q-1"}
    return httpx.Response(status, json=body, headers={"content-type": PROBLEM, **headers})


@both
def test_a_photo_is_sent_with_what_is_asked_and_the_answer_is_read(kind: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"pixels")
    product = {"product_id": "p", "image_id": "i", "category": "c", "attributes": {"price": 2}, "image_url": "/u"}
    service = Pretended(found({**product, "score": 0.5}))
    answer = ask(kind, service, "search_photo", photo, k=3, box=(0, 0, 0.5, 1), negative=["n"], release="r-2")
    assert (answer.results[0].product_id, answer.results[0].score, answer.sequence) == ("p", 0.5, 7)
    (request,) = service.requests
    assert (request.method, request.url.path, request.headers["x-api-key"]) == ("POST", "/v1/search", "k")
    assert json.loads(request.content) == {
        "image": base64.b64encode(b"pixels").decode(), "box": [0, 0, 0.5, 1], "k": 3, "whole": False,
        "positive": [], "negative": ["n"], "release": "r-2",
    }  # fmt: skip


@both
def test_ids_are_quoted_in_paths(kind: str) -> None:
    service = Pretended(httpx.Response(200, content=b"webp"))
    assert ask(kind, service, "picture", "a/b c?#.png", size=160) == b"webp"
    assert service.requests[0].url.raw_path == b"/v1/products/a/b%20c%3F%23.png/image?size=160"


@both
@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("closed"),
        httpx.RemoteProtocolError("closed"),
        problem(503),
        problem(429),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(500, text="<html>"),  # a proxy's own
    ],
)
def test_what_may_pass_is_tried_again(kind: str, failure: httpx.Response | Exception) -> None:
    service = Pretended(failure, failure, found())
    assert ask(kind, service, "search_product", "p").results == []
    assert len(service.requests) == 3


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_what_is_final_is_raised_at_once_in_the_service_s_words(kind: str, status: int) -> None:
    service = Pretended(problem(status, "there is no product 'p'"))
    with pytest.raises(ServiceError, match="there is no product 'p'") as refused:
        ask(kind, service, "product", "p")
    assert (refused.value.status, refused.value.request_id) == (status, "q-1")
    assert len(service.requests) == 1


@both
def test_no_answer_however_often_it_is_tried(kind: str) -> None:
    service = Pretended(httpx.ConnectError("connection refused"))
    with pytest.raises(UnreachableError, match=r"GET /v1/status: no answer after 5 tries: connection refused"):
        ask(kind, service, "status")
    assert len(service.requests) == 5
    with pytest.raises(ServiceError, match="503: busy"):
        ask(kind, Pretended(problem(503, "busy")), "status")


@both
def test_a_roll_back_whose_fate_is_unknown_is_not_sent_again(kind: str) -> None:
    for unknown in (httpx.ReadError("closed"), httpx.Response(502), httpx.Response(500)):
        service = Pretended(unknown)
        with pytest.raises((UnreachableError, ServiceError)):
            ask(kind, service, "rollback")
        assert len(service.requests) == 1
    for nothing_was_done in (httpx.ConnectError("refused"), problem(503)):
        service = Pretended(nothing_was_done, httpx.Response(200, json={"release": "r-1", "state": "serving"}))
        assert ask(kind, service, "rollback") == "r-1"


@pytest.mark.parametrize(
    ("failed", "after_s", "least", "most"),
    [(1, None, 0.05, 0.1), (2, None, 0.1, 0.2), (9, None, 2.5, 5.0), (1, 1.0, 1.0, 1.0), (1, 60.0, 5.0, 5.0)],
)
def test_pauses_grow_and_heed_the_service(failed: int, after_s: float | None, least: float, most: float) -> None:
    patience = Patience()
    assert patience.pause_s(failed, after_s, lambda: 0.0) == pytest.approx(least)
    assert patience.pause_s(failed, after_s, lambda: 1.0) == pytest.approx(most)
    with pytest.raises(ValueError, match="expected tries >= 1, got 0"):
        Patience(tries=0)


def test_retry_after_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    transport = httpx.MockTransport(Pretended(problem(503, **{"retry-after": "2"}), found()))
    with Client("http://shop", transport=transport) as service:
        service.search_product("p")
    assert waited == [2.0]


@both
def test_many_products_go_in_requests_of_a_size_that_is_taken(kind: str) -> None:
    def write(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["products"]
        sizes.append(len(sent))
        written = [{"product_id": one["product_id"], "status": "ok", "sequence": 1} for one in sent]
        return httpx.Response(200, json={"sequence": sum(sizes), "products": written})

    sizes: list[int] = []
    few = [ProductWrite(product_id=f"p{number}", category="c", pictures=[b"x"]) for number in range(230)]
    answer = ask(kind, write, "put", few)
    assert (sizes, answer.sequence, len(answer.products)) == ([100, 100, 30], 230, 230)
    sizes.clear()
    large = [ProductWrite(product_id=f"p{number}", category="c", pictures=[b"x" * 2**22]) for number in range(5)]
    ask(kind, write, "put", large)
    assert sizes == [2, 2, 1]
    assert ask(kind, write, "put", []).products == []


def test_a_product_s_pictures_are_bytes_files_or_urls(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"file")
    product = ProductWrite(
        product_id="p",
        category="c",
        attributes={"price": 1},
        pictures=[b"bytes", file, str(file), "https://shop/x.png"],
    )
    encoded = [base64.b64encode(data).decode() for data in (b"bytes", b"file", b"file")]
    assert product.content()["images"] == [*({"image": one} for one in encoded), {"url": "https://shop/x.png"}]
    assert product.size_bytes == 13
    assert "images" not in ProductWrite(product_id="p", category="c").content()  # it keeps those it has


def status(*sequences: int | None) -> httpx.Response:
    nothing = {"images": 1, "products": 1, "changed": 0}
    shards = [{"shard": n, "up": s is not None, "sequence": s, **nothing} for n, s in enumerate(sequences)]
    body = {"release": "r", "problem": "", "switching_to": None, "failed": "", "preview": None, "parts": []}
    return httpx.Response(200, json={**body, "shards": shards, "journal": None})


@both
def test_waiting_for_what_was_written(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Pretended(status(3, None), status(3, 8), status(9, 8))
    assert ask(kind, service, "wait_until_found", 8) > 0
    assert len(service.requests) == 3
    with pytest.raises(TimeoutError, match=r"shards \[1\] do not have what was written at 8"):
        ask(kind, Pretended(status(8, 3)), "wait_until_found", 8, timeout_s=0.0)


@both
def test_a_promotion_is_waited_for(kind: str) -> None:
    preparing = httpx.Response(202, json={"release": "r-2", "state": "preparing"})
    service = Pretended(preparing, preparing, httpx.Response(200, json={"release": "r-2", "state": "serving"}))
    ask(kind, service, "promote", "r-2", force=True)
    assert [request.url.params["force"] for request in service.requests] == ["true"] * 3
    with pytest.raises(TimeoutError, match="r-2 is still being prepared"):
        ask(kind, Pretended(preparing), "preview", "r-2", timeout_s=0.0)


@both
def test_a_roll_back_is_waited_for_without_asking_twice(kind: str) -> None:
    def releases(serving: str, failed: str = "") -> httpx.Response:
        body = {"current": "r-1", "serving": serving, "previous": None, "switching_to": "r-1", "failed": failed}
        return httpx.Response(
            200, json={**body, "preview": None, "preview_ready": False, "preview_failed": "", "releases": []}
        )

    preparing = httpx.Response(202, json={"release": "r-1", "state": "preparing"})
    service = Pretended(preparing, releases("r-2"), releases("r-1"))
    assert ask(kind, service, "rollback") == "r-1"
    assert [request.method for request in service.requests] == ["POST", "GET", "GET"]
    with pytest.raises(ServiceError, match="no room"):
        ask(kind, Pretended(preparing, releases("r-2", "no room")), "rollback")


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISNET_API_KEY", "from there")
    service = Pretended(found())
    with Client("http://shop", transport=httpx.MockTransport(service)) as client:
        client.search_product("p")
    assert service.requests[0].headers["x-api-key"] == "from there"


def test_every_method_is_documented_and_both_clients_have_it() -> None:
    methods = [name for name in vars(Service) if not name.startswith("_")]
    assert len(methods) == 22
    for name in methods:
        assert getattr(Client, name).__doc__, name
        assert getattr(Client, name) is getattr(AsyncClient, name)
    with Client("http://shop") as client:
        assert list(inspect.signature(client.product).parameters) == ["product_id"]
