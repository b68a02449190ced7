"""The journal in a PostgreSQL database: for a cluster, whose nodes share no disk.

A connection that was lost is made anew once, for reading always, for writing as long as the commit was not sent: what
came before it is undone by the server. Once it was sent and not answered, nobody can tell whether it was done.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from visnet.platform.errors import StoreError
from visnet.platform.journal import OutcomeUnknownError
from visnet.platform.journal_sql import SqlJournal
from visnet.platform.journal_tables import BUSY_S, SCHEMA, Row, Transaction, check_version

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:  # also where its library is missing
    raise StoreError(f"a journal in PostgreSQL needs psycopg ({error}): pip install 'visnet[postgres]'") from None

TYPES = {"integer": "BIGINT", "bytes": "BYTEA", "keyed": ""}
AS_IT_IS = "ALTER TABLE journal_images ALTER data SET STORAGE EXTERNAL"
"""Pictures are compressed already."""
KNOWN = "to_regclass('journal_state') IS NOT NULL"
SCHEMA_LOCK = 0x7669736E6574
"""Held by the connection that makes the tables: two that try it at once fail, in spite of IF NOT EXISTS."""
PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 30_000}
"""Seconds to connect, and milliseconds until a server that is silent counts as gone; the URL may say otherwise."""

EXPECTED = "postgresql://user@host/database, with other characters than letters and digits as %xx"

SESSION = (
    "SET default_transaction_isolation = 'read committed'",
    # acknowledged is durable, even where the server's default is to be fast
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    f"SET lock_timeout = '{BUSY_S:g}s'",
    # a writer whose machine is cut off would keep all others waiting until the network gives it up
    f"SET idle_in_transaction_session_timeout = '{BUSY_S / 2:g}s'",
)

T = TypeVar("T")


class PostgresJournal(SqlJournal):
    """A journal in a database; one connection reads, another one, made when it is needed, writes."""

    def __init__(self, url: str) -> None:
        try:
            self._parameters: dict[str, Any] = {**PATIENCE, **conninfo_to_dict(url)}
        except psycopg.Error:  # its text would show the password
            raise StoreError(f"the journal's URL is broken: expected {EXPECTED}") from None
        self._reader, self._writer = _Line(), _Line()
        try:
            self._make_schema()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for line in (self._reader, self._writer):
            with line.lock:
                line.closed = True
                line.drop()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._explained("read"), self._reader.lock:
            return self._twice(self._reader, lambda connection: _Statements(connection).rows(sql, values))

    def _write(self, work: Callable[[Transaction], T]) -> T:
        def begin(connection: psycopg.Connection) -> T:
            connection.execute("BEGIN")
            return work(_Statements(connection))

        with self._explained("written"), self._writer.lock:
            result = self._twice(self._writer, begin)
            self._commit()
            return result

    def _commit(self) -> None:
        try:
            with self._writer.dropped_on_error():
                self._connected(self._writer).execute("COMMIT")
        except psycopg.Error as error:
            raise OutcomeUnknownError(f"whether the journal {self._place} kept a write is unknown: {error}") from None

    def _twice(self, line: _Line, work: Callable[[psycopg.Connection], T]) -> T:
        """Do something that leaves nothing behind if it fails; once more if the connection turns out to be lost."""
        for again in (True, False):
            try:
                connection = self._connected(line)
                with line.dropped_on_error():
                    return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not (again and line.lost):
                    raise
        raise AssertionError("the second time returns or raises")

    def _connected(self, line: _Line) -> psycopg.Connection:
        if line.closed:
            raise StoreError(f"the journal {self._place} is closed")
        if line.connection is None:
            line.lost = False
            line.connection = psycopg.connect(**self._parameters, autocommit=True, client_encoding="utf8")
            with line.dropped_on_error():
                for statement in SESSION:
                    line.connection.execute(statement.encode())
        return line.connection

    def _make_schema(self) -> None:
        ((encoding, known),) = self._rows(f"SELECT current_setting('server_encoding'), {KNOWN}")
        if encoding != "UTF8":
            raise StoreError(f"the database {self._place} has the encoding {encoding}; a journal needs one in UTF8")
        if not known:
            self._write(_make_tables)
        ((version,),) = self._rows("SELECT version FROM journal_state")
        check_version(version, self._place)

    @property
    def _place(self) -> str:
        """Where the database is, without a password."""
        return f"{self._parameters.get('dbname', '')} on {self._parameters.get('host', 'this machine')}"

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise StoreError(f"the journal {self._place} can't be {done}: {' '.join(str(error).split())}") from None


def _make_tables(transaction: Transaction) -> None:
    """Nothing is touched if they are there by now: a write may be under way that would wait for this one, and be
    waited for."""
    transaction.run(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
    if transaction.rows(f"SELECT {KNOWN}") == [(False,)]:
        for statement in (*SCHEMA, AS_IT_IS):
            transaction.run(statement.format_map(TYPES))


class _Line:
    """A connection, or none yet, and who may use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: psycopg.Connection | None = None
        self.closed = False
        self.lost = False
        """Whether the last connection broke, other than by our doing."""

    def drop(self) -> None:
        if self.connection is not None:
            self.lost = self.connection.broken
            self.connection.close()
        self.connection = None

    @contextlib.contextmanager
    def dropped_on_error(self) -> Iterator[None]:
        """Whatever went wrong: what a transaction has done so far is undone with its connection."""
        try:
            yield
        except BaseException:
            self.drop()
            raise


class _Statements:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(_own(sql), values, binary=True).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(_own(sql), values).rowcount

    def run_many(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_own(sql), values)


def _own(sql: str) -> bytes:
    """A statement with psycopg's sign for a value."""
    return sql.replace("?", "%s").encode()
