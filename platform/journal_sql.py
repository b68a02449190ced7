"""The journal in SQL; how SQLite and PostgreSQL are reached is in the files named for them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from visnet.platform.journal import Entry, JournalCounts, JournalGapError, Upsert, Write, check_hash
from visnet.platform.journal_rows import body_of, entry_of, vector_bytes, vector_of
from visnet.platform.journal_tables import (
    PAGE,
    Row,
    Transaction,
    add_entries,
    add_images,
    add_vectors,
    hold,
    pages,
    places,
    trim_step,
)

T = TypeVar("T")


class SqlJournal(abc.ABC):
    """A journal in a database; see `Journal` for what its methods do."""

    @abc.abstractmethod
    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a query on its own."""

    @abc.abstractmethod
    def _write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction, durable when this returns; of two runs of it one counts."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def append(
        self,
        writes: Sequence[Write],
        *,
        images: Mapping[str, bytes],
        vectors: Mapping[str, Mapping[str, np.ndarray]],
    ) -> list[int]:
        bodies = [body_of(write) for write in writes]
        named = [_hashes(write) for write in writes]
        _check_named(set().union(*named), images, *vectors.values())
        halves = [(name, digest, data) for digest, some in vectors.items() for name, data in _halves(some)]
        if not writes:
            return []

        def work(transaction: Transaction) -> list[int]:
            sequences = add_entries(transaction, writes, bodies, named)
            add_images(transaction, images)
            add_vectors(transaction, halves)
            return sequences

        return self._write(work)

    def head(self) -> int:
        head: int = self._rows("SELECT head FROM journal_state")[0][0]
        return head

    def trimmed(self) -> int:
        trimmed: int = self._rows("SELECT trimmed FROM journal_state")[0][0]
        return trimmed

    def read(self, after: int, *, limit: int = 1000, upto: int | None = None) -> list[Entry]:
        rows = self._rows(
            "SELECT sequence, written_at, product_id, body FROM journal_entries"
            f" WHERE sequence > ?{'' if upto is None else ' AND sequence <= ?'} ORDER BY sequence LIMIT ?",
            [after, *([] if upto is None else [upto]), limit],
        )
        self._refuse_gap(after)
        return [entry_of(row) for row in rows]

    def latest(self, after: int, *, upto: int | None = None) -> Iterator[Entry]:
        head = self.head()
        last = head if upto is None else min(upto, head)
        place = after
        while True:
            rows = self._rows(
                "SELECT sequence, written_at, product_id, body FROM journal_entries AS entry"
                " WHERE sequence > ? AND sequence <= ? AND NOT EXISTS (SELECT 1 FROM journal_entries AS later"
                " WHERE later.product_id = entry.product_id AND later.sequence > entry.sequence"
                " AND later.sequence <= ?) ORDER BY sequence LIMIT ?",
                [place, last, last, PAGE],
            )
            self._refuse_gap(place)
            yield from map(entry_of, rows)
            if len(rows) < PAGE:
                return
            place = rows[-1][0]

    def image(self, content_hash: str) -> bytes | None:
        rows = self._rows("SELECT data FROM journal_images WHERE content_hash = ?", [content_hash])
        return rows[0][0] if rows else None

    def vectors(self, encoder_digest: str, content_hashes: Collection[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for names in pages(content_hashes):
            rows = self._rows(
                "SELECT content_hash, data FROM journal_vectors"
                f" WHERE encoder_digest = ? AND content_hash IN ({places(names)})",
                [encoder_digest, *names],
            )
            found.update((name, vector_of(data)) for name, data in rows)
        return found

    def add_vectors(self, encoder_digest: str, vectors: Mapping[str, np.ndarray]) -> None:
        halves = [(name, encoder_digest, data) for name, data in _halves(vectors)]
        if not halves:
            return

        def work(transaction: Transaction) -> None:
            hold(transaction)
            add_vectors(transaction, halves)

        self._write(work)

    def without_vector(self, encoder_digest: str, *, after: int, limit: int = 100) -> list[str]:
        rows = self._rows(
            "SELECT content_hash, MIN(sequence) AS first FROM journal_entry_images AS named WHERE sequence > ?"
            " AND NOT EXISTS (SELECT 1 FROM journal_vectors AS known"
            " WHERE known.content_hash = named.content_hash AND known.encoder_digest = ?)"
            " GROUP BY content_hash ORDER BY first, content_hash LIMIT ?",
            [after, encoder_digest, limit],
        )
        return [name for name, _ in rows]

    def trim(self, upto: int) -> int:
        forgotten = 0
        while step := self._write(lambda transaction: trim_step(transaction, upto)):
            forgotten += step
        return forgotten

    def counts(self) -> JournalCounts:
        (row,) = self._rows(
            "SELECT (SELECT COUNT(*) FROM journal_entries), (SELECT COUNT(*) FROM journal_images),"
            " (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM journal_images), head, trimmed FROM journal_state"
        )
        entries, images, image_bytes, head, trimmed = row
        return JournalCounts(entries=entries, images=images, image_bytes=image_bytes, head=head, trimmed=trimmed)

    def _refuse_gap(self, after: int) -> None:
        """Asked after the reading: what is forgotten only grows, so what was read then was whole."""
        (head, trimmed), *_ = self._rows("SELECT head, trimmed FROM journal_state")
        if after < trimmed:
            raise JournalGapError(
                f"the journal's entries up to {trimmed} are in an index already and no longer kept, but they are to be "
                f"read from {after + 1} on: load the release whose index holds them"
            )
        if after > head:
            raise JournalGapError(
                f"the journal ends at {head}, but it is to be read on from {after}: this is not the journal that the "
                "index was built with, or an old copy of it"
            )


def _hashes(write: Write) -> list[str]:
    """The different pictures that a write names."""
    return sorted({image.content_hash for image in write.images}) if isinstance(write, Upsert) else []


def _check_named(named: Collection[str], *given: Collection[str]) -> None:
    for name in {name for names in given for name in names}:
        if name not in named:
            raise ValueError(f"no write names the image {name} that comes with them: it would never be forgotten")


def _halves(vectors: Mapping[str, np.ndarray]) -> list[tuple[str, bytes]]:
    for name in vectors:
        check_hash(name)
    return [(name, vector_bytes(name, vector_D)) for name, vector_D in vectors.items()]
