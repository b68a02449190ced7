"""The request that is being answered, as far as its log line has to know it.

It is set for the task that answers a request, and for what that task awaits; elsewhere there is none.
"""

from __future__ import annotations

import contextvars
import re
import uuid
from dataclasses import dataclass
from typing import Any

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""An id that may be written into logs and answers as it is."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request and what became of it; filled in by those who answer it."""

    request_id: str
    release: str | None = None
    key: str | None = None
    """The name of the key that was presented."""
    partial: bool = False


_CURRENT: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


def current() -> Exchange | None:
    """The request that is being answered here."""
    return _CURRENT.get()


def begin(exchange: Exchange) -> None:
    """From here on, this task answers that request."""
    _CURRENT.set(exchange)


def note(**known: Any) -> None:
    """Fill in some of its fields, where there is a request."""
    told = current()
    if told is not None:
        for name, value in known.items():
            setattr(told, name, value)


def request_id_of(given: str | None) -> str:
    """The id a request came with, if it is one, or a new one."""
    return given if given is not None and REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
