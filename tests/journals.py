"""Journals for the tests: places for them, and writes whose pictures are told by a name."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.postgres import Postgres
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Journal, JournalImage, Upsert, Write, open_journal

DIGEST, OTHER = "a" * 64, "b" * 64


def postgres_location(server: Postgres, *options: str) -> str:
    """A schema of its own."""
    import psycopg

    name = f"s{uuid.uuid4().hex}"
    with psycopg.connect(server.url) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    settings = "%20".join(f"-c{option}" for option in (f"search_path%3D{name}", *options))
    return f"{server.url}&options={settings}"


@contextlib.contextmanager
def opened(location: str) -> Iterator[Journal]:
    """The journal there, for a while."""
    with contextlib.closing(open_journal(location)) as journal:
        yield journal


def picture(name: object) -> tuple[str, bytes]:
    """The content hash and the bytes of a picture."""
    data = f"picture {name}".encode()
    return content_hash(data), data


def upsert(product: str, *names: object, **attributes: Any) -> Upsert:
    """A product with the pictures of some names."""
    images = tuple(JournalImage(image_id=f"{product}-{name}", content_hash=picture(name)[0]) for name in names)
    return Upsert(product_id=product, category="shoes", attributes=attributes, images=images)


def append(journal: Journal, *writes: Write, vectors: dict[str, dict[str, np.ndarray]] | None = None) -> list[int]:
    """With the pictures that the writes name."""
    known = dict(map(picture, (*range(30), "a", "b", "c")))
    named = {image.content_hash for write in writes if isinstance(write, Upsert) for image in write.images}
    return journal.append(writes, images={name: known[name] for name in named}, vectors=vectors or {})
