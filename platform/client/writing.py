"""Products as a client writes them, in requests of a size that a service takes."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_PRODUCTS = 100
MOST_BYTES = 8 * 2**20
"""Of a request's pictures, unless a single product has more."""


@dataclass(frozen=True, kw_only=True)
class ProductWrite:
    """A product as it is to be: it replaces all that there was of it."""

    product_id: str
    category: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """The catalogue's further columns; what is left out is missing."""
    pictures: Sequence[bytes | str | os.PathLike[str]] = ()
    """Encoded images, paths of files, or URLs that the service may fetch from; none: it keeps those it has."""

    def content(self) -> dict[str, Any]:
        """As the API takes it.

        Raises:
            OSError: a file can't be read.
        """
        content = {"product_id": self.product_id, "category": self.category, "attributes": dict(self.attributes)}
        return {**content, "images": [_image(one) for one in self.pictures]} if self.pictures else content

    @property
    def size_bytes(self) -> int:
        """Of its pictures that are sent along."""
        return sum(_size(one) for one in self.pictures)


def batches(products: Iterable[ProductWrite]) -> Iterator[list[ProductWrite]]:
    """Products in their order, as many at once as a request should hold."""
    batch: list[ProductWrite] = []
    size = 0
    for product in products:
        if batch and (len(batch) == MOST_PRODUCTS or size + product.size_bytes > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(product)
        size += product.size_bytes
    if batch:
        yield batch


def _is_url(picture: object) -> bool:
    return isinstance(picture, str) and picture.startswith(("http://", "https://"))


def _image(picture: bytes | str | os.PathLike[str]) -> dict[str, str]:
    if _is_url(picture):
        return {"url": str(picture)}
    data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    return {"image": base64.b64encode(data).decode()}


def _size(picture: bytes | str | os.PathLike[str]) -> int:
    if isinstance(picture, bytes):
        return len(picture)
    return 0 if _is_url(picture) else Path(picture).stat().st_size
