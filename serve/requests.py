"""What requests ask for: JSON or a form, read by hand because either will do."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from visnet.serve.api import RecommendRequest, SearchRequest
from visnet.serve.api_filters import read_filter
from visnet.serve.api_products import ProductsWrite, ProductWrite
from visnet.serve.problems import Problem, ProblemError, explain

JSON, FORM = "application/json", "multipart/form-data"


def _body(json: dict[str, Any], form: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request's body as OpenAPI describes it."""
    content = {JSON: {"schema": json}}
    if form is not None:
        content[FORM] = {"schema": {"type": "object", **form}}
    return {"requestBody": {"required": True, "content": content}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


_FILE = {"type": "string", "format": "binary"}
SEARCH_SCHEMA = _body(
    _reference(SearchRequest),
    {
        "required": ["image"],
        "properties": {
            "image": _FILE,
            "k": {"type": "integer", "default": 10},
            "category": {"type": "array", "items": {"type": "string"}},
            "filter": {"type": "string", "description": "As in JSON."},
            "min_score": {"type": "number"},
            "whole": {"type": "boolean"},
            "box": {"type": "string", "description": "Four numbers with commas between them; as in JSON."},
            "detect": {"type": "boolean"},
            "max_items": {"type": "integer"},
            "positive": {"type": "array", "items": {"type": "string"}},
            "negative": {"type": "array", "items": {"type": "string"}},
            "release": {"type": "string"},
        },
    },
)
RECOMMEND_SCHEMA = _body(_reference(RecommendRequest))
PRODUCTS_SCHEMA = _body(
    {"anyOf": [_reference(ProductWrite), _reference(ProductsWrite)]},
    {
        "required": ["product"],
        "properties": {
            "product": {"type": "string", "description": "A product in JSON."},
            "image": {"type": "array", "items": _FILE},
        },
    },
)
PHOTO_SCHEMA = {"requestBody": {"required": True, "content": {"image/*": {"schema": _FILE}}}}


def describe(api: FastAPI) -> None:
    """Put the bodies that are read by hand, and errors, into the application's OpenAPI schema."""
    generated = api.openapi

    def openapi() -> dict[str, Any]:
        schema = generated()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (SearchRequest, RecommendRequest, ProductWrite, ProductsWrite, Problem):
            body = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= {**body.pop("$defs", {}), model.__name__: body}
        return schema

    api.openapi = openapi  # type: ignore[method-assign]


async def read_search(request: Request, body: bytes) -> tuple[SearchRequest, bytes | None]:
    """The search that a request asks for, and the photo in it if there is one.

    Args:
        body: the request's, which has been read.

    Raises:
        ProblemError: 415 another content type, 400 not JSON, 422 a wrong field.
    """
    with _explained():
        if _is_form(request):
            return await _read_search_form(request, body)
        asked = SearchRequest.model_validate(_json(body))
        return asked, asked.image_bytes() if asked.image is not None else None


def read_recommend(request: Request, body: bytes) -> RecommendRequest:
    """The recommendation that a request asks for; raises as `read_search` does."""
    with _explained():
        if _is_form(request):
            raise ProblemError(415, "expected application/json")
        return RecommendRequest.model_validate(_json(body))


async def read_products(request: Request, body: bytes) -> list[dict[str, Any]]:
    """The products that are to be written: one or many in JSON, or one as a form with its pictures as files.

    They are not checked yet: one that is wrong does not keep the others away.

    Raises:
        ProblemError: as `read_search`.
    """
    with _explained():
        if _is_form(request):
            return [await _read_product_form(request, body)]
        content = _json(body)
        if isinstance(content, dict) and "products" in content:
            return ProductsWrite.model_validate(content).products
        if not isinstance(content, dict):
            raise ProblemError(422, "expected a product, or an object with products")
        return [content]


def read_photo(body: bytes) -> bytes:
    """The photo of a request whose body is nothing else.

    Raises:
        ProblemError: 422, there is none.
    """
    if not body:
        raise ProblemError(422, "expected an encoded image as the body")
    return body


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM):
        raise ProblemError(415, f"expected {JSON} or {FORM}, got {kind or 'no content type'}")
    return kind == FORM


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What is wrong with a request's fields, as problem details."""
    try:
        yield
    except ValidationError as error:
        raise ProblemError(422, explain(list(error.errors()))) from None
    except ValueError as error:
        raise ProblemError(422, str(error)) from None


async def _form(request: Request, body: bytes) -> FormData:
    request._body = body  # what Starlette's own Request.body() would have kept
    try:
        return await request.form()
    except HTTPException as error:
        raise ProblemError(400, f"the form can't be read: {error.detail}") from None


async def _read_search_form(request: Request, body: bytes) -> tuple[SearchRequest, bytes]:
    form = await _form(request, body)
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise ProblemError(422, "image: expected a file in this field of the form")
    fields: dict[str, Any] = {name: form[name] for name in form if name not in ("image", "category", "filter")}
    fields |= {name: form.getlist(name) for name in ("positive", "negative") if name in form}
    given = form.get("filter")
    categories = [str(name) for name in form.getlist("category")] or None
    fields["filter"] = read_filter(given if isinstance(given, str) else None, categories)
    if isinstance(box := fields.get("box"), str):
        fields["box"] = _read_box(box)
    data = await image.read()
    return SearchRequest.model_validate({**fields, "image": ""}), data


def _read_box(text: str) -> list[float]:
    try:
        return [float(number) for number in text.strip().removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        raise ProblemError(422, f"box: expected four numbers with commas between them, got {text[:100]!r}") from None


async def _read_product_form(request: Request, body: bytes) -> dict[str, Any]:
    form = await _form(request, body)
    product = form.get("product")
    if not isinstance(product, str):
        raise ProblemError(422, "product: expected a product in JSON in this field of the form")
    content = _json(product.encode())
    files = [file for file in form.getlist("image") if isinstance(file, UploadFile)]
    if not isinstance(content, dict):
        raise ProblemError(422, "product: expected an object")
    if files:
        content["images"] = [{"image": base64.b64encode(await file.read()).decode()} for file in files]
    return content
