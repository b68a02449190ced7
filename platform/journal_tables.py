"""The journal's tables, in SQL that SQLite and PostgreSQL both speak, and what a transaction does to them.

    journal_state         one row: version, head, trimmed
    journal_entries       sequence, written_at, product_id, body (JSON; null: a delete)
    journal_entry_images  sequence, content_hash: which entry names which picture
    journal_images        content_hash, data
    journal_vectors       content_hash, encoder_digest, data (float16)

Whoever changes anything changes the state's row first and so holds it until the transaction ends: writers wait for
each other, numbers are given out in the order of the commits, and no picture is forgotten that a write under way
counts on. (A sequence of PostgreSQL's own would be drawn before the commit, and readers would miss the slower one.)
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from visnet.platform.errors import StoreError
from visnet.platform.journal import Write

VERSION = 1
PAGE = 1000
"""Entries read at once, and rows asked for by their keys."""
BUSY_S = 30.0
"""How long a writer waits for the others before it gives up."""
TRIM_STEP = 500
"""Entries forgotten in one transaction: writers wait for no more than that."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS journal_state (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL,"
    " head BIGINT NOT NULL, trimmed BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS journal_entries (sequence {integer} PRIMARY KEY, written_at DOUBLE PRECISION NOT NULL,"
    " product_id TEXT NOT NULL, body TEXT)",
    "CREATE INDEX IF NOT EXISTS journal_entries_product ON journal_entries (product_id, sequence)",
    "CREATE TABLE IF NOT EXISTS journal_entry_images (sequence BIGINT NOT NULL, content_hash TEXT NOT NULL,"
    " PRIMARY KEY (sequence, content_hash)){keyed}",
    "CREATE INDEX IF NOT EXISTS journal_entry_images_hash ON journal_entry_images (content_hash, sequence)",
    "CREATE TABLE IF NOT EXISTS journal_images (content_hash TEXT PRIMARY KEY, data {bytes} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS journal_vectors (content_hash TEXT NOT NULL, encoder_digest TEXT NOT NULL,"
    " data {bytes} NOT NULL, PRIMARY KEY (content_hash, encoder_digest)){keyed}",
    f"INSERT INTO journal_state (one, version, head, trimmed) VALUES (1, {VERSION}, 0, 0) ON CONFLICT DO NOTHING",
)

Row = tuple[Any, ...]


class Transaction(Protocol):
    """What runs statements inside a transaction; `?` stands for a value."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a query."""
        ...

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement and return the rows that it changed."""
        ...

    def run_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each of some values."""
        ...


def check_version(version: int, place: str) -> None:
    """Refuse a journal of another version of visnet."""
    if version != VERSION:
        raise StoreError(
            f"the journal {place} has schema version {version}; this visnet reads {VERSION}: use the visnet that wrote "
            "it, or fold it into an index with that one and start another journal"
        )


def hold(transaction: Transaction, *, further: int = 0) -> tuple[int, int]:
    """Make all other writers wait until this transaction ends; head, after so many numbers were taken, and trimmed."""
    transaction.run("UPDATE journal_state SET head = head + ?", [further])
    ((head, trimmed),) = transaction.rows("SELECT head, trimmed FROM journal_state")
    return head, trimmed


def add_entries(
    transaction: Transaction, writes: Sequence[Write], bodies: Sequence[str | None], named: Sequence[Sequence[str]]
) -> list[int]:
    """Writes with their bodies and the pictures that each names; returns their sequences."""
    head, _ = hold(transaction, further=len(writes))
    sequences = list(range(head - len(writes) + 1, head + 1))
    now = time.time()
    transaction.run_many(
        "INSERT INTO journal_entries (sequence, written_at, product_id, body) VALUES (?, ?, ?, ?)",
        [(n, now, write.product_id, body) for n, write, body in zip(sequences, writes, bodies, strict=True)],
    )
    transaction.run_many(
        "INSERT INTO journal_entry_images (sequence, content_hash) VALUES (?, ?)",
        [(sequence, name) for sequence, names in zip(sequences, named, strict=True) for name in names],
    )
    return sequences


def add_images(transaction: Transaction, images: Mapping[str, bytes]) -> None:
    """Pictures by their content hashes, those that are not there yet."""
    for names in pages(images):
        sql = f"SELECT content_hash FROM journal_images WHERE content_hash IN ({places(names)})"
        known = {name for (name,) in transaction.rows(sql, names)}
        transaction.run_many(
            "INSERT INTO journal_images (content_hash, data) VALUES (?, ?)",
            [(name, images[name]) for name in names if name not in known],
        )


def add_vectors(transaction: Transaction, halves: Sequence[Row]) -> None:
    """Rows of content hash, encoder digest and bytes, where an entry names the picture."""
    transaction.run_many(
        "INSERT INTO journal_vectors (content_hash, encoder_digest, data) SELECT ?, ?, ?"
        " WHERE EXISTS (SELECT 1 FROM journal_entry_images WHERE content_hash = ?) ON CONFLICT DO NOTHING",
        [(name, digest, data, name) for name, digest, data in halves],
    )


def trim_step(transaction: Transaction, upto: int) -> int:
    """Forget the next few entries up to one, with what only they name; returns how many, 0 when all is done."""
    head, trimmed = hold(transaction)
    upto = min(upto, head, trimmed + TRIM_STEP)
    if upto <= trimmed:
        return 0
    for table in ("journal_images", "journal_vectors"):
        transaction.run(
            f"DELETE FROM {table} WHERE content_hash IN"
            " (SELECT content_hash FROM journal_entry_images WHERE sequence <= ?)"
            " AND NOT EXISTS (SELECT 1 FROM journal_entry_images AS left_over"
            f" WHERE left_over.content_hash = {table}.content_hash AND left_over.sequence > ?)",
            [upto, upto],
        )
    transaction.run("DELETE FROM journal_entry_images WHERE sequence <= ?", [upto])
    forgotten = transaction.run("DELETE FROM journal_entries WHERE sequence <= ?", [upto])
    transaction.run("UPDATE journal_state SET trimmed = ?", [upto])
    return forgotten


def pages(names: Collection[str]) -> Iterator[list[str]]:
    """Names in groups that a statement can ask for."""
    ordered = list(names)
    for first in range(0, len(ordered), PAGE):
        yield ordered[first : first + PAGE]


def places(values: Sequence[Any]) -> str:
    """As many signs for a value."""
    return ", ".join("?" * len(values))
