"""Reading search requests: good ones as they are meant, bad ones with a status and a reason."""

import base64
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from visnet.serve import requests
from visnet.serve.problems import register
from visnet.serve.requests import SCHEMA, describe_search, read_search


@pytest.fixture(scope="module")
def client() -> TestClient:
    api = FastAPI()
    register(api)
    describe_search(api)

    @api.post("/search", openapi_extra=SCHEMA)
    async def search(request: Request) -> dict[str, Any]:
        body, photo = await read_search(request)
        return {
            "k": body.k,
            "category": body.filter.category,
            "product_id": body.product_id,
            "photo": photo.decode("latin-1") if photo is not None else None,
            "min_score": body.min_score,
        }

    @api.get("/fails")
    async def fails() -> None:
        raise KeyError("secret")

    return TestClient(api, raise_server_exceptions=False)


def test_multipart(client: TestClient) -> None:
    fields = {"k": "3", "category": ["Bag", "Coat"], "min_score": "0.5"}
    answer = client.post("/search", files={"image": ("a.png", b"bytes")}, data=fields).json()
    assert answer == {"k": 3, "category": ["Bag", "Coat"], "product_id": None, "photo": "bytes", "min_score": 0.5}


def test_json_with_an_image(client: TestClient) -> None:
    answer = client.post("/search", json={"image": base64.b64encode(b"bytes").decode(), "filter": {"category": "Bag"}})
    assert answer.json()["photo"] == "bytes"
    assert answer.json()["category"] == ["Bag"]
    assert answer.json()["k"] == 10


def test_json_with_a_product(client: TestClient) -> None:
    assert client.post("/search", json={"product_id": "a/b c"}).json()["product_id"] == "a/b c"


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "just one of image, product_id and vector, got none"),
        ({"product_id": "a", "vector": [1.0]}, 422, "got product_id and vector"),
        ({"product_id": "a", "k": 0}, 422, "k:"),
        ({"product_id": "a", "k": 201}, 422, "k:"),
        ({"product_id": "a", "k": "many"}, 422, "k:"),
        ({"product_id": "a", "filter": {"colour": "red"}}, 422, "filter.colour"),
        ({"product_id": "a", "colour": "red"}, 422, "colour"),
        ({"product_id": "a", "min_score": 2}, 422, "min_score"),
        ({"vector": []}, 422, "vector"),
        ({"vector": ["x"]}, 422, "vector"),
        ({"image": "not base64!"}, 422, "image is not base64"),
        ([1, 2], 422, ""),
    ],
)
def test_wrong_json_names_the_field(client: TestClient, body: Any, status: int, names: str) -> None:
    answer = client.post("/search", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert names in answer.json()["detail"]
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"x", "text/plain", 415),
        (b"x", "", 415),
        (b"no boundary", "multipart/form-data", 400),
        (b"--b\r\nnonsense", "multipart/form-data; boundary=b", 422),
    ],
)
def test_wrong_bodies(client: TestClient, content: bytes, kind: str, status: int) -> None:
    answer = client.post("/search", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_form_without_a_file(client: TestClient) -> None:
    answer = client.post("/search", data={"image": "text"}, files={"other": b"x"})
    assert answer.status_code == 422
    assert "image" in answer.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_bound_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(requests, "MAX_BODY_BYTES", 100)
    body = json.dumps({"product_id": "a" * 200}).encode()
    content = body if announced else iter([body[:50], body[50:]])  # an iterator is sent without its length
    answer = client.post("/search", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_an_unexpected_error_says_nothing_of_itself(client: TestClient) -> None:
    answer = client.get("/fails")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_an_unknown_path_is_a_problem_too(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_schema_knows_both_bodies(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]["/search"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
    }
    assert "vector" in schema["components"]["schemas"]["SearchRequest"]["properties"]
