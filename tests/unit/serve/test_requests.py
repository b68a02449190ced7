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
            "box": body.box,
            "detect": body.detect,
            "max_items": body.max_items,
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


PHOTO = {"image": base64.b64encode(b"bytes").decode()}
WRONG_BOXES = {
    "reversed": [0.5, 0.1, 0.2, 0.9],
    "upside down": [0.1, 0.9, 0.5, 0.2],
    "without width": [0.3, 0.1, 0.3, 0.9],
    "without height": [0.1, 0.3, 0.9, 0.3],
    "beyond the left": [-0.1, 0.1, 0.5, 0.9],
    "beyond the right": [0.1, 0.1, 1.01, 0.9],
    "in pixels": [10, 20, 300, 400],
    "of three": [0.1, 0.2, 0.5],
    "of five": [0.1, 0.2, 0.5, 0.9, 1.0],
    "of none": [],
    "huge": [0.1, 0.1, 1e308, 0.9],
}


def form(client: TestClient, **data: Any) -> Any:
    return client.post("/search", files={"image": ("a.png", b"bytes")}, data=data)


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1], [0, 0.25, 1.0, 0.5]])
def test_a_box(client: TestClient, box: list[float]) -> None:
    assert client.post("/search", json={**PHOTO, "box": box}).json()["box"] == box
    for text in (",".join(map(str, box)), f" {box} ", " , ".join(map(str, box))):
        assert form(client, box=text).json()["box"] == box


@pytest.mark.parametrize("what", list(WRONG_BOXES))
def test_a_wrong_box_is_refused(client: TestClient, what: str) -> None:
    box = WRONG_BOXES[what]
    for answer in (client.post("/search", json={**PHOTO, "box": box}), form(client, box=",".join(map(str, box)))):
        assert answer.status_code == 422, answer.text
        assert "box" in answer.json()["detail"]


@pytest.mark.parametrize(
    "box",
    [
        "0.1,0.2,0.5,0.9", ["0.1", "0.2", "0.5", "0.9"], [False, False, True, True], [0, 0, 1, True],
        [0.1, 0.2, 0.5, None], [[0.1, 0.2, 0.5, 0.9]], {"left": 0.1}, 0.5, True, "all",
    ],
)  # fmt: skip
def test_a_box_in_json_is_of_numbers(client: TestClient, box: Any) -> None:
    answer = client.post("/search", json={**PHOTO, "box": box})
    assert answer.status_code == 422
    assert "box" in answer.json()["detail"]


@pytest.mark.parametrize(
    "box",
    ["", "all", "0.1 0.2 0.5 0.9", "0.1;0.2;0.5;0.9", "0.1,0.2,0.5,", "nan,nan,nan,nan", "0,0,1,nan", "0,0,inf,1",
     "-inf,0,1,1", "false,false,true,true", "[[0.1,0.2,0.5,0.9]]", "null", "1e999,0,1,1", "0,0,1,1," * 10_000],
)  # fmt: skip
def test_a_box_in_a_form_is_of_numbers(client: TestClient, box: str) -> None:
    answer = form(client, box=box)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "box" in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 1_000


def test_a_box_that_is_not_a_number_in_json_is_no_json(client: TestClient) -> None:
    for number in ("NaN", "Infinity", "-Infinity"):
        content = f'{{"image": "", "box": [0, 0, 1, {number}]}}'
        answer = client.post("/search", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400


def test_a_box_that_is_a_file_is_refused(client: TestClient) -> None:
    files = {"image": ("a.png", b"bytes"), "box": ("box", b"0,0,1,1")}
    assert client.post("/search", files=files).status_code == 422


def test_whether_items_are_looked_for_and_how_many(client: TestClient) -> None:
    said = client.post("/search", json={**PHOTO, "detect": True, "max_items": 3}).json()
    assert (said["detect"], said["max_items"]) == (True, 3)
    assert client.post("/search", json={**PHOTO, "detect": False}).json()["detect"] is False
    unsaid = client.post("/search", json=PHOTO).json()
    assert (unsaid["box"], unsaid["detect"], unsaid["max_items"]) == (None, None, 10)
    answer = form(client, detect="true", max_items="1").json()
    assert (answer["detect"], answer["max_items"]) == (True, 1)
    assert form(client, detect="false").json()["detect"] is False
    assert form(client).json()["detect"] is None


@pytest.mark.parametrize("wrong", [{"max_items": 0}, {"max_items": 11}, {"max_items": "few"}, {"detect": "perhaps"}])
def test_a_wrong_number_of_items_is_refused(client: TestClient, wrong: dict[str, Any]) -> None:
    for answer in (client.post("/search", json={**PHOTO, **wrong}), form(client, **wrong)):
        assert answer.status_code == 422
        assert next(iter(wrong)) in answer.json()["detail"]


@pytest.mark.parametrize("by", [{"product_id": "p"}, {"vector": [1.0]}])
def test_boxes_and_items_are_of_images(client: TestClient, by: dict[str, Any]) -> None:
    for of_image in ({"box": [0, 0, 1, 1]}, {"detect": True}):
        answer = client.post("/search", json={**by, **of_image})
        assert answer.status_code == 422
        assert "box and detect are about an image" in answer.json()["detail"]
    assert client.post("/search", json={**by, "detect": False}).status_code == 200


def test_a_box_or_items_but_not_both(client: TestClient) -> None:
    both = {"box": [0.1, 0.2, 0.5, 0.9], "detect": True}
    for answer in (
        client.post("/search", json={**PHOTO, **both}),
        form(client, box="0.1,0.2,0.5,0.9", detect="true"),
    ):
        assert answer.status_code == 422
        assert "expected box or detect, got both" in answer.json()["detail"]
    assert form(client, box="0.1,0.2,0.5,0.9", detect="false").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "just one of image, product_id and vector, got none"),
        ({"product_id": "a", "vector": [1.0]}, 422, "got product_id and vector"),
        ({"product_id": "a", "k": 0}, 422, "k:"),
        ({"product_id": "a", "k": 1001}, 422, "k:"),
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
