"""The journal as an SQLite file: several processes of one machine write and read it at once.

A write-ahead log (readers never wait, and writers wait only for each other) with an fsync for every commit. The file
must lie on a disk of this machine: on a network's file systems the processes would not see each other's locks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from visnet.platform.errors import StoreError
from visnet.platform.journal import OutcomeUnknownError
from visnet.platform.journal_sql import SqlJournal
from visnet.platform.journal_tables import BUSY_S, SCHEMA, Row, Transaction, check_version

WAL_BYTES = 64 * 2**20
"""What is kept of the write-ahead log after a large batch has made it larger; in common it stays near 4 MB."""
TYPES = {"integer": "INTEGER", "bytes": "BLOB", "keyed": " WITHOUT ROWID"}

T = TypeVar("T")


class SqliteJournal(SqlJournal):
    """A journal in a file; one connection reads, another one, opened when it is needed, writes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser().absolute()
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._closed = False
        self._seen = (-1, 0)
        """SQLite's number for the state of the file as this connection sees it, and the head at that time."""
        self._writer: sqlite3.Connection | None = None
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = self._connect()
            self._make_schema(self._reader)

    def head(self) -> int:
        with self._read_lock, self._explained():
            ((version,),) = self._reader.execute("PRAGMA data_version")
            if version != self._seen[0]:
                self._seen = (version, self._reader.execute("SELECT head FROM journal_state").fetchone()[0])
            return self._seen[1]

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._closed = True
            self._reader.close()
            if self._writer is not None:
                self._writer.close()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._read_lock, self._explained():
            return self._reader.execute(sql, values).fetchall()

    def _write(self, work: Callable[[Transaction], T]) -> T:
        with self._write_lock, self._explained():
            if self._closed:
                raise sqlite3.ProgrammingError("it is closed")
            if self._writer is None:
                self._writer = self._connect()
            return self._transaction(self._writer, work)

    def _transaction(self, connection: sqlite3.Connection, work: Callable[[Transaction], T]) -> T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(_Statements(connection))
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutcomeUnknownError(
                    f"whether the journal {self._path} kept a write is unknown: {error}"
                ) from None
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_schema(self, connection: sqlite3.Connection) -> None:
        """Make the tables if there are none, one process at a time."""
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_state'").fetchone():
                statements = [statement.format_map(TYPES) for statement in SCHEMA]
                self._transaction(connection, lambda made: [made.run(statement) for statement in statements])
                _sync_folder(self._path.parent)
            ((version,),) = connection.execute("SELECT version FROM journal_state")
            check_version(version, str(self._path))
        except BaseException:
            connection.close()
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the journal {self._path} can't be used: {error}") from None


class _Statements:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, values)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Changing a new file over needs it alone, and SQLite does not wait for that by itself."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _sync_folder(folder: Path) -> None:
    """So that the new file's name survives a power cut too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
