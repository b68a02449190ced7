"""Errors as problem details (RFC 9457), whatever raised them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from ray.serve.exceptions import BackPressureError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from visnet.serve import exchange, telemetry
from visnet.serve.shard_client import ShardDownError

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    """Of an error of ours: the log says more of the request by that name."""


RETRY_AFTER_S = 1
SHED = {429: "no_room", 503: "unavailable", 504: "late"}
"""Why a request was refused that might be answered another time, by its status."""
SHED_REASONS = (*SHED.values(), "overload", "shard_down")
MEDIA_TYPE = "application/problem+json"
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
    for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 504)
}


class ProblemError(Exception):
    """A request that can't be answered: becomes a problem details answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem details answer."""
    told = exchange.current() if status >= 500 else None
    request_id = told.request_id if told is not None else None
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id)
    again = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503, 504) else {}
    return JSONResponse(body.model_dump(exclude_none=True), status, {**(headers or {}), **again}, MEDIA_TYPE)


def explain(errors: list[Any]) -> str:
    """pydantic's errors as one line that names each field."""
    parts = []
    for error in errors:
        field = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
        message = error["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message}" if field else message)
    return "; ".join(parts)


def register(api: FastAPI) -> None:
    """Make every error of an application a problem details answer."""

    @api.exception_handler(ProblemError)
    async def _known(_request: Request, error: ProblemError) -> JSONResponse:
        if error.status in SHED:
            telemetry.SHED.add(SHED[error.status])
        return problem(error.status, error.detail)

    @api.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, explain(list(error.errors())))

    @api.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}"
        headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
        return problem(error.status_code, detail, headers)

    @api.exception_handler(BackPressureError)
    async def _overload(_request: Request, _error: BackPressureError) -> JSONResponse:
        telemetry.SHED.add("overload")
        return problem(503, "the service is overloaded; try again")

    @api.exception_handler(ShardDownError)
    async def _down(_request: Request, error: ShardDownError) -> JSONResponse:
        telemetry.SHED.add("shard_down")
        return problem(503, f"{error}; try again")

    @api.exception_handler(Exception)
    async def _unknown(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "an unexpected error; it was logged")


def _allowed(request: Request) -> str:
    """All methods of a path: Starlette names those of the first route that it fits."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    methods = {
        method for route in routes if route.matches(request.scope)[0] != Match.NONE for method in route.methods or ()
    }
    return ", ".join(sorted(methods))
