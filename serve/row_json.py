"""Rows of a shard as the JSON they are answered in, made once: popular products are found again and again."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import orjson

from visnet.platform.live_shard import LiveShard

KEPT = 200_000
"""Rows whose JSON is kept, and products, about a kilobyte each; then all are forgotten."""
VERSION_DIGITS = 16
"""Of a content hash, in the address of a picture."""
OWN_FIELDS = {"product_id", "image_id", "category", "content_hash", "catalog_part", "catalog_row"}
"""Columns of the index that are not the catalogue's attributes."""


class Shown(NamedTuple):
    """A product's first image."""

    fields: bytes
    """As `ShardAnswer.fields` has them."""
    row: dict[str, object]
    """As it is stored."""


class RowJson:
    """The rows of one live shard; belongs to the shard's thread."""

    def __init__(self, shard: LiveShard) -> None:
        self._shard = shard
        self._rows: dict[int, tuple[str, bytes]] = {}
        self._products: dict[str, Shown] = {}

    def fields(self, row_N: np.ndarray) -> list[bytes]:
        """Each row's fields, as `ShardAnswer.fields` has them."""
        return [fields for _, fields in self._of(row_N)]

    def products(self, row_N: np.ndarray) -> list[str]:
        """Each row's product."""
        return [product for product, _ in self._of(row_N)]

    def product(self, product_id: str) -> Shown | None:
        """A product by its id; None if the shard does not hold it."""
        if product_id not in self._products:
            rows = self._shard.rows_of(product_id)
            if not len(rows):
                return None
            row = self._shard.rows_at(rows[:1])[0]
            _make_room(self._products)
            self._products[product_id] = Shown(row_fields(row), row)
        return self._products[product_id]

    def forget(self, row_N: np.ndarray, products: Iterable[str]) -> None:
        """Rows and products that changed."""
        for row in row_N.tolist():
            self._rows.pop(row, None)
        for product in products:
            self._products.pop(product, None)

    def _of(self, row_N: np.ndarray) -> list[tuple[str, bytes]]:
        numbers = row_N.tolist()
        missing = [number for number in numbers if number not in self._rows]
        if missing:
            if _make_room(self._rows):
                missing = numbers
            rows = self._shard.rows_at(np.array(missing, np.int64))
            self._rows |= {
                number: (str(row["product_id"]), row_fields(row)) for number, row in zip(missing, rows, strict=True)
            }
        return [self._rows[number] for number in numbers]


def _make_room(kept: dict[Any, Any]) -> bool:
    """Forget everything once too much is kept; says whether it did."""
    if len(kept) < KEPT:
        return False
    kept.clear()
    return True


def row_fields(row: dict[str, Any]) -> bytes:
    """A row of the index as the fields of `api.Product`: JSON without its braces."""
    product = {
        "product_id": row["product_id"],
        "image_id": row["image_id"],
        "category": row["category"],
        "attributes": {name: _plain(value) for name, value in row.items() if name not in OWN_FIELDS},
        "image_url": f"/v1/products/{quote(str(row['product_id']))}/image?{_which(row)}",
    }
    return orjson.dumps(product, default=_other)[1:-1]


def _which(row: dict[str, Any]) -> str:
    """Which picture of the product it is: by its content, so that caches may keep it, and by its id if it is not the
    only one that could be meant."""
    version = f"v={str(row['content_hash'])[:VERSION_DIGITS]}"
    if row["image_id"] == row["product_id"]:
        return version
    return f"image_id={quote(str(row['image_id']), safe='')}&{version}"


def joined(parts: Sequence[bytes]) -> bytes:
    """Fields that were made apart, as one JSON object."""
    return b"{%b}" % b",".join(part for part in parts if part)


def _plain(value: object) -> object:
    """The value as JSON can hold it: no infinity, bytes as base64."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _other(value: object) -> object:
    """What orjson does not know."""
    if isinstance(value, Decimal):
        return float(value)
    return str(value)
