"""From the index's rows to the products of an answer, and the time each stage took.

Apart from the ingress on purpose: Serve copies an ingress class with just the names that its module had when the
class was made, so what it uses has to be imported, not defined after it.
"""

from __future__ import annotations

import base64
import io
import math
import time
from typing import Any
from urllib.parse import quote

from PIL import Image

from visnet.serve.api import Result
from visnet.serve.messages import Hit

OWN_FIELDS = {"product_id", "image_id", "category", "content_hash", "catalog_part", "catalog_row"}
"""Columns of the index that are not the catalogue's attributes."""


class Clock:
    """The time of each stage of a request."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = round(1000 * (now - self._last), 2)
        self._last = now

    def total(self) -> dict[str, float]:
        return {**self._laps, "total": round(1000 * (time.perf_counter() - self._start), 2)}


def product_fields(row: dict[str, object]) -> dict[str, Any]:
    """The fields of `api.Product` from a row of the index."""
    return {
        "product_id": row["product_id"],
        "image_id": row["image_id"],
        "category": row["category"],
        "attributes": {name: _plain(value) for name, value in row.items() if name not in OWN_FIELDS},
        "image_url": f"/v1/products/{quote(str(row['product_id']))}/image",
    }


def _plain(value: object) -> object:
    """The value as JSON can hold it: no NaN, no infinity, bytes as base64."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def result(hit: Hit) -> Result:
    """A hit as it is answered."""
    return Result(score=round(hit.score, 6), **product_fields(hit.row))


def media_type(data: bytes) -> str:
    """An encoded image's media type."""
    with Image.open(io.BytesIO(data)) as image:  # reads the header only
        return image.get_format_mimetype() or "application/octet-stream"
