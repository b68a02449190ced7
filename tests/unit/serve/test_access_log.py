"""What a request leaves behind: its line, its numbers and its id, through a real application without Serve."""

import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from visnet.serve import exchange, telemetry
from visnet.serve.access_log import AccessLog
from visnet.serve.problems import ProblemError, register

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def application() -> FastAPI:
    api = FastAPI()
    register(api)
    api.add_middleware(AccessLog)

    @api.get("/v1/products/{product_id:path}")
    async def product(product_id: str) -> dict[str, Any]:
        told = exchange.current()
        assert told is not None
        told.release, told.key, told.partial = "r-1", "shop", True
        return {"id": told.request_id}

    @api.post("/v1/search")
    async def search(request: Request) -> JSONResponse:
        logging.getLogger("visnet.test").info("searching")
        raise ProblemError(int(request.query_params["status"]), "no")

    @api.get("/broken")
    async def broken() -> None:
        raise KeyError("a fault")

    return api


async def ask(method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://visnet") as client:
        return await client.request(method, path, headers=headers)


def requests() -> dict[tuple[str, ...], float]:
    return {tuple(one.labels.values()): one.value for one in telemetry.REQUESTS.samples()}


def counted(before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {key: value - before.get(key, 0.0) for key, value in requests().items() if value != before.get(key, 0.0)}


async def test_a_request_is_counted_by_the_template_of_its_route() -> None:
    before = requests()
    for product in ("a", "b/c", "a"):
        await ask("GET", f"/v1/products/{product}")
    assert counted(before) == {("/v1/products/{product_id:path}", "GET", "200"): 3}


async def test_what_clients_think_of_makes_no_new_series() -> None:
    before = requests()
    for path in ("/x", "/y", "/v1/other"):
        await ask("BREW", path)
    assert counted(before) == {("unmatched", "OTHER", "404"): 3}


async def test_a_line_says_all_there_is_to_say(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "visnet"):
        await ask("GET", "/v1/products/a", {"X-Request-ID": "order-66"})
    fields = caplog.records[-1].fields  # type: ignore[attr-defined]
    assert fields.pop("ms") >= 0
    assert fields == {
        "method": "GET",
        "route": "/v1/products/{product_id:path}",
        "status": 200,
        "request_id": "order-66",
        "release": "r-1",
        "key": "shop",
        "partial": True,
    }


async def test_a_sane_id_is_kept_and_not_answered_a_second_time() -> None:
    answer = await ask("GET", "/v1/products/a", {"X-Request-ID": "order-66"})
    assert answer.json() == {"id": "order-66"}
    assert "x-request-id" not in answer.headers  # Serve answers it


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ü", '"', "a\tb"])
async def test_an_id_that_is_none_is_replaced_and_the_new_one_answered(given: str) -> None:
    answer = await ask("GET", "/v1/products/a", {"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.headers["x-request-id"] == answer.json()["id"]
    assert answer.json()["id"] != given
    assert exchange.REQUEST_ID.fullmatch(answer.json()["id"])


async def test_an_error_of_ours_names_the_request_and_the_client_s_does_not() -> None:
    headers = {"X-Request-ID": "order-66"}
    assert (await ask("POST", "/v1/search?status=503", headers)).json()["request_id"] == "order-66"
    assert "request_id" not in (await ask("POST", "/v1/search?status=422", headers)).json()
    fault = await ask("GET", "/broken", headers)
    assert (fault.status_code, fault.json()["request_id"]) == (500, "order-66")


async def test_a_fault_is_counted_and_logged_as_one() -> None:
    before = requests()
    await ask("GET", "/broken")
    assert counted(before) == {("/broken", "GET", "500"): 1}


async def test_what_is_shed_is_counted_by_its_reason() -> None:
    before = {one.labels["reason"]: one.value for one in telemetry.SHED.samples()}
    for status in (429, 503, 504, 422, 404):
        await ask("POST", f"/v1/search?status={status}")
    after = {one.labels["reason"]: one.value for one in telemetry.SHED.samples()}
    new = {reason: count - before.get(reason, 0.0) for reason, count in after.items()}
    assert {reason: count for reason, count in new.items() if count} == {"no_room": 1, "unavailable": 1, "late": 1}


async def test_what_is_not_http_passes_by() -> None:
    passed = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    before = requests()
    await AccessLog(inner)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert (passed, counted(before)) == (["lifespan"], {})
