"""How the journal's entries and vectors become what a database keeps, and come back as they were."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from visnet.platform.journal import Delete, Entry, JournalImage, Upsert, Write

VECTOR_TYPE = np.dtype("<f2")


def body_of(write: Write) -> str | None:
    """An upsert as JSON in ASCII, which every database gives back as it was; None stands for a delete.

    Raises:
        ValueError: the attributes would not come back as they are.
    """
    if isinstance(write, Delete):
        return None
    images = [[image.image_id, image.content_hash] for image in write.images]
    content = {"category": write.category, "attributes": write.attributes, "images": images}
    try:
        body = json.dumps(content, allow_nan=False)
        faithful = json.loads(body) == content  # tuples, and keys that are numbers, would come back as others
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the attributes of product {write.product_id!r} are not JSON values: {error}") from None
    if not faithful:
        raise ValueError(f"the attributes of product {write.product_id!r} are not JSON values: {write.attributes!r}")
    return body


def entry_of(row: tuple[Any, ...]) -> Entry:
    """The entry of a row of sequence, written_at, product_id and body."""
    sequence, written_at, product_id, body = row
    return Entry(sequence=sequence, written_at=written_at, write=_write_of(product_id, body))


def _write_of(product_id: str, body: str | None) -> Write:
    if body is None:
        return Delete(product_id=product_id)
    content = json.loads(body)
    return Upsert(
        product_id=product_id,
        category=content["category"],
        attributes=content["attributes"],
        images=tuple(JournalImage(image_id=name, content_hash=digest) for name, digest in content["images"]),
    )


def vector_bytes(content_hash: str, vector_D: np.ndarray) -> bytes:
    """A vector as little-endian float16; raises ValueError if it is none or does not fit into float16."""
    with np.errstate(over="ignore"):
        half_D = np.asarray(vector_D).astype(VECTOR_TYPE)
    if half_D.ndim != 1 or not half_D.size or not np.isfinite(half_D).all():
        raise ValueError(f"expected a vector of finite float16 numbers for image {content_hash}, got {vector_D!r}")
    return half_D.tobytes()


def vector_of(data: bytes) -> np.ndarray:
    """The vector behind some bytes, float16 (D,); read-only."""
    return np.frombuffer(data, VECTOR_TYPE)
