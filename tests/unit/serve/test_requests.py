"""Reading search requests: good ones as they are meant, bad ones with a status and a reason."""

import base64
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from visnet.serve import bodies
from visnet.serve.bodies import BodyBudget
from visnet.serve.problems import register
from visnet.serve.requests import (
    PRODUCTS_SCHEMA,
    SEARCH_SCHEMA,
    describe,
    read_products,
    read_recommend,
    read_search,
)


@pytest.fixture(scope="module")
def client() -> TestClient:
    api = FastAPI()
    register(api)
    describe(api)
    budget = BodyBudget(2**30)

    @api.post("/search", openapi_extra=SEARCH_SCHEMA)
    async def search(request: Request) -> dict[str, Any]:
        async with budget.read(request) as content:
            body, photo = await read_search(request, content)
        return {
            "k": body.k,
            "category": body.filter.category,
            "must": [condition.field for condition in body.filter.must],
            "product_id": body.product_id,
            "photo": photo.decode("latin-1") if photo is not None else None,
            "min_score": body.min_score,
        }

    @api.post("/recommend")
    async def recommend(request: Request) -> dict[str, Any]:
        return read_recommend(request, await request.body()).model_dump()

    @api.put("/products", openapi_extra=PRODUCTS_SCHEMA)
    async def products(request: Request) -> list[dict[str, Any]]:
        return await read_products(request, await request.body())

    @api.get("/fails")
    async def fails() -> None:
        raise KeyError("secret")

    return TestClient(api, raise_server_exceptions=False)


def test_multipart(client: TestClient) -> None:
    fields = {"k": "3", "category": ["Bag", "Coat"], "min_score": "0.5"}
    answer = client.post("/search", files={"image": ("a.png", b"bytes")}, data=fields).json()
    assert answer["photo"] == "bytes"
    assert (answer["k"], answer["category"], answer["min_score"]) == (3, ["Bag", "Coat"], 0.5)


def test_a_form_s_filter_is_json(client: TestClient) -> None:
    def ask(text: str) -> Any:
        return client.post("/search", files={"image": ("a.png", b"bytes")}, data={"filter": text})

    assert ask('{"must": [{"field": "price", "lt": 5}]}').json()["must"] == ["price"]
    for wrong in ("{", "[1]", '{"must": [{"field": "price"}]}', "[" * 100_000):
        assert ask(wrong).status_code == 422
        assert "filter" in ask(wrong).json()["detail"]


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
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100)
    body = json.dumps({"product_id": "a" * 200}).encode()
    content = body if announced else iter([body[:50], body[50:]])  # an iterator is sent without its length
    answer = client.post("/search", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_bodies_share_their_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100)
    api, budget = FastAPI(), BodyBudget(150)
    register(api)

    @api.post("/")
    async def outer(request: Request) -> int:
        async with budget.read(request) as body:
            if len(body) > 90:  # while this body is in memory, there is room for a small one only
                async with budget.read(request) as _:
                    pass
        return budget._left

    full = TestClient(api, raise_server_exceptions=False)
    for _ in range(3):
        assert full.post("/", content=b"x" * 80).json() == 150
    budget._left = 70
    answer = full.post("/", content=b"x" * 80)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert budget._left == 70


def test_a_length_that_is_none_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json", "content-length": "many"}
    assert client.post("/search", content=b"{}", headers=headers).status_code == 400


def test_one_product_or_many(client: TestClient) -> None:
    one = {"product_id": "p", "category": "c"}
    assert client.put("/products", json=one).json() == [one]
    assert client.put("/products", json={"products": [one, {"product_id": 3}]}).json() == [one, {"product_id": 3}]
    for wrong in ({"products": []}, {"products": [1]}, {"products": [one] * 1001}, [one], "p"):
        assert client.put("/products", json=wrong).status_code == 422


def test_a_product_as_a_form(client: TestClient) -> None:
    data = {"product": json.dumps({"product_id": "p", "category": "c"})}
    files = [("image", ("a.png", b"one")), ("image", ("b.png", b"two"))]
    (product,) = client.put("/products", data=data, files=files).json()
    assert product["product_id"] == "p"
    assert [base64.b64decode(image["image"]) for image in product["images"]] == [b"one", b"two"]
    assert client.put("/products", data={"product": "[]"}, files=files).status_code == 422
    assert client.put("/products", data={"other": "x"}, files=files).status_code == 422


def test_examples(client: TestClient) -> None:
    answer = client.post("/recommend", json={"positive": ["a", "b"], "negative": ["c"]}).json()
    assert (answer["positive"], answer["negative"], answer["k"]) == (["a", "b"], ["c"], 10)
    assert client.post("/recommend", json={"positive": []}).status_code == 422
    assert client.post("/recommend", files={"image": b"x"}).status_code == 415


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
