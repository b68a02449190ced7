"""Reading a request's body, bounded: each body, and all of those that are in memory at once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from visnet.platform.imaging import MAX_IMAGE_BYTES
from visnet.serve.problems import ProblemError

MAX_BODY_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 2**20
"""An image of the largest size as base64, and room for the rest."""


class BodyBudget:
    """Memory for the bodies of the requests in flight.

    Args:
        limit_bytes: for all of them; a body that alone would fit is refused while others take the room.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left = max(limit_bytes, MAX_BODY_BYTES)

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, at most `MAX_BODY_BYTES`; its room is given back with the block.

        Raises:
            ProblemError: 413, the body is too large; 429, there is no room at present; 400, a wrong Content-Length.
        """
        if _length(request) > MAX_BODY_BYTES:
            raise _too_large()
        taken, body = 0, bytearray()
        try:
            async for chunk in request.stream():
                taken += len(chunk)
                self._left -= len(chunk)
                if self._left < 0:
                    raise ProblemError(429, "too many large requests at once; try again")
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
            yield bytes(body)
        finally:
            self._left += taken


def _length(request: Request) -> int:
    value = request.headers.get("content-length") or "0"
    if not value.isdecimal():
        raise ProblemError(400, f"Content-Length: expected a number, got {value!r}")
    return int(value)


def _too_large() -> ProblemError:
    return ProblemError(413, f"the body is over {MAX_BODY_BYTES} bytes; an image may have {MAX_IMAGE_BYTES}")
