"""The journal: every upsert and delete since the index was built, durable before it is acknowledged.

The index is immutable; what changes in a shop between two builds stands here, in one order for all. Whoever accepts a
write appends it; every replica of a shard reads on from where it is and so comes to hold the same products. Beside the
writes the journal keeps the pictures' bytes and, for each encoder, their vectors: a picture is embedded once, by the
process that accepts it, and a release with another encoder can embed it anew.

On one machine it is an SQLite file, which its processes write and read together; in a cluster a PostgreSQL database.
Both give out numbers without gaps, and a number becomes visible only after all smaller ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from visnet.platform.errors import StoreError

MAX_ID_BYTES = 1024
"""Of a product's or an image's id in UTF-8: what every database can keep in an index."""
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
SQLITE_SCHEME = "sqlite://"
_HASH = re.compile("[0-9a-f]{32}")


class JournalGapError(StoreError):
    """A reader stands where the journal can't be read on from: before what was trimmed, or behind its end."""


class OutcomeUnknownError(StoreError):
    """The journal was lost while it was to keep a write, which may be there or not; writing it again does no harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalImage:
    """A picture of a product; its bytes are kept apart, once for all products that share it."""

    image_id: str
    content_hash: str
    """32 hex digits of the encoded bytes."""

    def __post_init__(self) -> None:
        _check_id("image_id", self.image_id)
        check_hash(self.content_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """A product as it is from now on: nothing of what it was before is kept."""

    product_id: str
    category: str
    attributes: dict[str, Any]
    """JSON values by name."""
    images: tuple[JournalImage, ...]
    """At least one; every image id once."""

    def __post_init__(self) -> None:
        _check_id("product_id", self.product_id)
        if not self.images:
            raise ValueError(f"expected at least one image of product {self.product_id!r}, got none")
        ids = [image.image_id for image in self.images]
        if len(set(ids)) < len(ids):
            raise ValueError(f"expected different image ids of product {self.product_id!r}, got {ids}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """A product that is no more; nothing happens if there was none."""

    product_id: str

    def __post_init__(self) -> None:
        _check_id("product_id", self.product_id)


Write = Upsert | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A write and its place in the order of all."""

    sequence: int
    """From 1, without gaps."""
    written_at: float
    """Seconds since 1970, by the clock of the process that accepted it."""
    write: Write


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCounts:
    """What a journal holds."""

    entries: int
    images: int
    image_bytes: int
    head: int
    trimmed: int


class Journal(Protocol):
    """A journal that is open; may be used from many threads at once.

    Everything raises StoreError if the file or the database can't be used.
    """

    def append(
        self,
        writes: Sequence[Write],
        *,
        images: Mapping[str, bytes],
        vectors: Mapping[str, Mapping[str, np.ndarray]],
    ) -> list[int]:
        """Keep some writes with their pictures and vectors, all or none; durable when it returns.

        Args:
            writes: in their order.
            images: encoded bytes by content hash; those that are kept already may be left out, and cost nothing.
            vectors: encoder digest -> content hash -> (D,), kept as float16. What is known already stays as it is.

        Returns:
            The sequences of the writes, ascending, in their order.

        Raises:
            ValueError: attributes are not JSON values, or `images` or `vectors` hold what no write names.
            OutcomeUnknownError: the connection broke while they were being committed.
        """
        ...

    def head(self) -> int:
        """The last sequence, 0 if there was never one. Cheap enough to ask many times a second."""
        ...

    def read(self, after: int, *, limit: int = 1000, upto: int | None = None) -> list[Entry]:
        """The entries behind `after`, in order, at most `limit`, none behind `upto`.

        Raises:
            JournalGapError: what follows `after` was trimmed, or the journal never came as far as `after`.
        """
        ...

    def latest(self, after: int, *, upto: int | None = None) -> Iterator[Entry]:
        """Of every product that is written behind `after` its last entry up to `upto`, or up to now; in order.

        Raises:
            JournalGapError: as `read` does, also on the way if the journal is trimmed meanwhile.
        """
        ...

    def image(self, content_hash: str) -> bytes | None:
        """The encoded bytes of a picture, or None if they are not here."""
        ...

    def vectors(self, encoder_digest: str, content_hashes: Collection[str]) -> dict[str, np.ndarray]:
        """The vectors, float16 (D,), of those pictures that have one of this encoder."""
        ...

    def add_vectors(self, encoder_digest: str, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors of pictures of earlier writes; of pictures that no entry names any more none is kept."""
        ...

    def without_vector(self, encoder_digest: str, *, after: int, limit: int = 100) -> list[str]:
        """The pictures that an upsert behind `after` names and that have no vector of this encoder.

        Returns:
            Content hashes, in the order in which they were first named, at most `limit`.
        """
        ...

    def trim(self, upto: int) -> int:
        """Forget the entries up to and with `upto`, and the pictures and vectors that no other entry names.

        Returns:
            Entries forgotten. The head stays where it is.
        """
        ...

    def trimmed(self) -> int:
        """The last sequence that was forgotten, 0 if none was: a reader must start there or behind."""
        ...

    def counts(self) -> JournalCounts:
        """What there is."""
        ...

    def close(self) -> None:
        """Let go of the file or the database."""
        ...


def open_journal(location: str) -> Journal:
    """Open a journal, and make it if there is none.

    Args:
        location: a path, `sqlite:///absolute/path` or `postgresql://user@host/database`. PostgreSQL's tables are made
            in the first schema of the search path: another one is `?options=-csearch_path%3Dname`.

    Raises:
        StoreError: it can't be opened, or was written by another version of visnet.
    """
    if location.startswith(POSTGRES_SCHEMES):
        from visnet.platform.journal_postgres import PostgresJournal

        return PostgresJournal(location)
    from visnet.platform.journal_sqlite import SqliteJournal

    path = location.removeprefix(SQLITE_SCHEME)
    if "://" in path or not path:
        raise StoreError(f"can't open the journal {location!r}: expected a path, sqlite:///path or postgresql://…")
    return SqliteJournal(path)


def check_hash(content_hash: str) -> None:
    """Raise ValueError unless it is a content hash."""
    if not _HASH.fullmatch(content_hash):
        raise ValueError(f"expected a content hash of 32 hex digits, got {content_hash!r}")


def _check_id(field: str, value: str) -> None:
    if not value or "\0" in value:
        raise ValueError(f"expected a {field} that is not empty and holds no NUL, got {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"expected a {field} that is Unicode text, got {value!r}") from None
    if size > MAX_ID_BYTES:
        raise ValueError(f"expected a {field} of at most {MAX_ID_BYTES} bytes in UTF-8, got {size}")
