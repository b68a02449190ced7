"""The journal in a backup: an SQLite file is copied as it was at one moment, while it is written.

A journal in PostgreSQL is backed up by PostgreSQL's own means, after the store: see docs/operations.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from pathlib import Path

from visnet.platform.errors import StoreError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """How far a journal is."""

    head: int
    """Its last entry."""
    trimmed: int
    """Entries up to this one are no longer in it, only in indexes."""


def snapshot(journal: Path, to: Path) -> JournalState:
    """Copy a journal that others write meanwhile; the copy holds every write that was acknowledged before.

    Args:
        to: a new file; it is one file, without a write-ahead log beside it.

    Raises:
        StoreError: the journal can't be read.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(journal, timeout=30.0)) as source,
            contextlib.closing(sqlite3.connect(to, isolation_level=None)) as target,
        ):
            source.backup(target)  # in one step: readers hinder no writer
            target.execute("PRAGMA journal_mode = DELETE")
            (problem,) = target.execute("PRAGMA quick_check").fetchone()
            if problem != "ok":
                raise StoreError(f"the journal {journal} is damaged: {problem}")
            head, trimmed = target.execute("SELECT head, trimmed FROM journal_state").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"the journal {journal} can't be backed up: {error}") from None
    return JournalState(head=head, trimmed=trimmed)
