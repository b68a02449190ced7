"""Reading a search request, multipart or JSON, bounded before it is read."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from visnet.platform.imaging import MAX_IMAGE_BYTES
from visnet.serve.api import SearchRequest
from visnet.serve.problems import ProblemError, explain

MAX_BODY_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 2**20
"""An image of the largest size as base64, and room for the rest."""

SCHEMA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "k": {"type": "integer", "default": 10},
                        "category": {"type": "array", "items": {"type": "string"}},
                        "min_score": {"type": "number"},
                    },
                }
            },
        },
    }
}


def describe_search(api: FastAPI) -> None:
    """Put the search's body, which is read by hand, into the application's OpenAPI schema."""
    generated = api.openapi

    def openapi() -> dict[str, Any]:
        schema = generated()
        body = SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {**body.pop("$defs", {}), "SearchRequest": body}
        return schema

    api.openapi = openapi  # type: ignore[method-assign]


async def read_search(request: Request) -> tuple[SearchRequest, bytes | None]:
    """The request's body, and the photo in it if there is one.

    Raises:
        ProblemError: 413 too large, 415 another content type, 400 not JSON, 422 a wrong field.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "multipart/form-data"):
        raise ProblemError(415, f"expected application/json or multipart/form-data, got {kind or 'no content type'}")
    await _bound(request)
    try:
        if kind == "application/json":
            body = SearchRequest.model_validate(json.loads(await request.body()))
            return body, body.image_bytes() if body.image is not None else None
        return await _read_form(request)
    except ValidationError as error:
        raise ProblemError(422, explain(list(error.errors()))) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from None
    except ValueError as error:
        raise ProblemError(422, str(error)) from None


async def _bound(request: Request) -> None:
    """Read the body, but never more than `MAX_BODY_BYTES` of it."""
    too_large = ProblemError(413, f"the body is over {MAX_BODY_BYTES} bytes; an image may have {MAX_IMAGE_BYTES}")
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    request._body = bytes(body)  # what Starlette's own Request.body() would have kept


async def _read_form(request: Request) -> tuple[SearchRequest, bytes]:
    try:
        form = await request.form()
    except HTTPException as error:
        raise ProblemError(400, f"the form can't be read: {error.detail}") from None
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise ProblemError(422, "image: expected a file in this field of the form")
    fields: dict[str, Any] = {name: form[name] for name in form if name not in ("image", "category")}
    if categories := form.getlist("category"):
        fields["filter"] = {"category": categories}
    data = await image.read()
    return SearchRequest.model_validate({**fields, "image": ""}), data
