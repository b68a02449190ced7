"""The service's log: a line of JSON for every event, in a file beside the one that Serve keeps for the replica.

Serve's own log has a replica's warnings and what Serve says of it, as text; `visnet` loggers don't reach it otherwise.
Lines are written in blocks, and every two seconds: at thousands of requests a second, a write for each would tell.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from visnet.serve.exchange import current

BLOCK = 64
"""Lines that are written at once."""
FILE_BYTES = 100 * 2**20
FILES_KEPT = 5
SERVE = "ray.serve"
"""Serve's logger."""


class JsonLines(logging.Formatter):
    """Records as lines of JSON.

    Args:
        replica: fields of every line: which deployment and which replica it is of.
    """

    def __init__(self, replica: Mapping[str, str]) -> None:
        super().__init__()
        self._replica = dict(replica)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._replica,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class RequestId(logging.Filter):
    """Notes which request a record is about, while that is known: lines are written later."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = current()
        if told is not None and not hasattr(record, "fields"):
            record.fields = {"request_id": told.request_id}
        return True


class Lines(logging.handlers.MemoryHandler):
    """Keeps records for a moment; a warning is written at once."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(BLOCK, flushLevel=logging.WARNING, target=target)
        self.addFilter(RequestId())


class ToServe(logging.Handler):
    """Hands warnings to Serve's logger, for who looks there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(SERVE).handle(record)


def log_lines(replica: Mapping[str, str]) -> Lines:
    """Send what the `visnet` loggers say from INFO on into this replica's file; its `flush` writes what is kept."""
    beside = _serve_file()
    if beside is None:
        target: logging.Handler = logging.StreamHandler(sys.__stderr__)
    else:
        path = beside.with_suffix(".jsonl")
        target = logging.handlers.RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT)
    target.setFormatter(JsonLines(replica))
    lines = Lines(target)
    logger = logging.getLogger("visnet")
    logger.handlers = [lines, *([ToServe()] if beside is not None else [])]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return lines


def _serve_file() -> Path | None:
    """The file of this replica's log that Serve keeps, if it does."""
    for handler in logging.getLogger(SERVE).handlers:
        target = getattr(handler, "target", handler)
        if isinstance(target, logging.FileHandler):
            return Path(target.baseFilename)
    return None
