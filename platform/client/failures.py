"""What a call may end in instead of an answer."""

from __future__ import annotations

import httpx

from visnet.platform.errors import VisnetError

PROBLEM = "application/problem+json"


class ServiceError(VisnetError):
    """The service refused a request: a problem details document (RFC 9457), or what a proxy said in its stead.

    Args:
        status: the HTTP status.
        detail: what was wrong, in the service's words.
        request_id: by which the service's log knows the request, if it said so.
    """

    def __init__(self, status: int, detail: str, request_id: str | None = None) -> None:
        super().__init__(f"{status}: {detail}" + (f" (request {request_id})" if request_id is not None else ""))
        self.status, self.detail, self.request_id = status, detail, request_id


class UnreachableError(VisnetError):
    """No answer came."""


def is_problem(response: httpx.Response) -> bool:
    """Whether the service itself has answered."""
    return bool(response.headers.get("content-type", "").startswith(PROBLEM))


def failure_of(response: httpx.Response) -> ServiceError:
    """The error that a response is."""
    try:
        content = response.json() if is_problem(response) else {}
    except ValueError:
        content = {}
    detail = content.get("detail") or response.text.strip()[:200] or response.reason_phrase or "no reason was given"
    return ServiceError(response.status_code, detail, content.get("request_id"))
