"""Errors: the same form whatever raised them, and described so."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from visnet.serve.problems import MEDIA_TYPE, RESPONSES, ProblemError, register
from visnet.serve.requests import describe


@pytest.fixture(scope="module")
def client() -> TestClient:
    api = FastAPI(responses=RESPONSES)
    register(api)
    describe(api)

    @api.get("/things/{name:path}")
    async def thing(name: str, k: int = 1) -> dict[str, str]:
        raise ProblemError(int(name), "because")

    @api.delete("/things/{name:path}")
    async def delete(name: str) -> None: ...

    @api.put("/things")
    async def put() -> dict[str, int]:
        return {"a": 1 // 0}

    return TestClient(api, raise_server_exceptions=False)


@pytest.mark.parametrize(("status", "again"), [(404, None), (409, None), (429, "1"), (503, "1"), (504, "1")])
def test_a_known_problem(client: TestClient, status: int, again: str | None) -> None:
    answer = client.get(f"/things/{status}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert (answer.json()["status"], answer.json()["detail"]) == (status, "because")
    assert answer.headers.get("retry-after") == again


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/things/404?k=x", 422, "k: Input should be a valid integer, unable to parse string as an integer"),
        ("GET", "/nothing", 404, "GET /nothing: Not Found"),
        ("PUT", "/things", 500, "an unexpected error; it was logged"),
    ],
)
def test_others_become_one(client: TestClient, method: str, path: str, status: int, detail: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert answer.json()["detail"] == detail


@pytest.mark.parametrize(("path", "allowed"), [("/things/a", "DELETE, GET"), ("/things", "PUT")])
def test_a_wrong_method_is_told_all_that_are_right(client: TestClient, path: str, allowed: str) -> None:
    for method in ("PATCH", "TRACE", "OPTIONS"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["status"] == 405


def test_the_schema_says_what_errors_look_like(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for operations in schema["paths"].values():
        for operation in operations.values():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert set(errors) == {str(status) for status in RESPONSES}
            for answer in errors.values():
                assert answer["content"] == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert schema["components"]["schemas"]["Problem"]["required"] == ["title", "status", "detail"]
