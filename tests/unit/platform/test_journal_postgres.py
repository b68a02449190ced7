"""The journal in PostgreSQL: a server that goes away at any moment, and what it is told to keep."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.journals import DIGEST, append, opened, picture, postgres_location, upsert
from tests.postgres import Postgres, postgres_server
from visnet.platform import journal_sql
from visnet.platform.errors import StoreError
from visnet.platform.journal import Delete, OutcomeUnknownError, open_journal
from visnet.platform.journal_sql import SqlJournal


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "visnet.platform.journal_postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'visnet\[postgres\]'"):
        open_journal("postgresql://host/db")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", r"journal db on 127.0.0.1 can't be read: .*refused"),
        ("postgresql://me:secret@/nowhere?host={folder}", "nowhere on .* can't be read: .*does not exist"),
        ("postgresql://me:secret@host/db?nonsense=secret", "URL is broken: expected postgresql://"),
    ],
)
def test_a_database_that_is_not_there(server: Postgres, url: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason) as caught:
        open_journal(url.format(folder=server.url.rpartition("=")[2]))
    assert "secret" not in str(caught.value)


def test_a_database_of_another_encoding_is_refused(server: Postgres) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING latin1 TEMPLATE template0")
    with pytest.raises(StoreError, match=r"latin on .* has the encoding LATIN1"):
        open_journal(server.database("latin"))


def test_durable_even_where_the_server_would_rather_be_fast(server: Postgres) -> None:
    for asked, got in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        with opened(postgres_location(server, f"synchronous_commit%3D{asked}")) as journal:
            assert isinstance(journal, SqlJournal)
            assert journal._write(lambda transaction: transaction.rows("SHOW synchronous_commit")) == [(got,)]


def test_a_row_that_is_never_let_go(server: Postgres) -> None:
    import psycopg

    location = postgres_location(server)
    with opened(location) as journal, psycopg.connect(location) as other:
        assert isinstance(journal, SqlJournal)
        assert append(journal, Delete(product_id="p")) == [1]
        settings = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
        assert journal._write(lambda transaction: transaction.rows(settings)) == [("30s", "15s")]
        journal._write(lambda transaction: transaction.run("SET lock_timeout = '50ms'"))
        other.execute("UPDATE journal_state SET head = head")
        assert len(journal.read(0)) == 1
        with pytest.raises(StoreError, match=r"can't be written: .*lock timeout"):
            append(journal, Delete(product_id="p"))
        other.rollback()
        assert append(journal, Delete(product_id="p")) == [2]


def test_a_server_that_went_away_and_came_back(server: Postgres) -> None:
    with opened(postgres_location(server)) as journal:
        append(journal, upsert("p", "a"))
        server.kill()
        with pytest.raises(StoreError, match="can't be read"):
            journal.head()
        with pytest.raises(StoreError, match="can't be written"):
            append(journal, Delete(product_id="p"))
        server.start()
        assert journal.head() == 1
        server.kill()
        server.start()
        assert append(journal, Delete(product_id="p")) == [2]
        assert [entry.sequence for entry in journal.read(0)] == [1, 2]


def test_a_server_that_goes_away_during_a_write(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(postgres_location(server)) as journal:
        append(journal, upsert("p", "a"))
        add_vectors, runs = journal_sql.add_vectors, [0]

        def restart(*arguments: Any) -> None:
            add_vectors(*arguments)
            runs[0] += 1
            server.kill()
            server.start()

        monkeypatch.setattr(journal_sql, "add_vectors", restart)
        with pytest.raises(OutcomeUnknownError, match="unknown"):
            append(journal, upsert("q", "b"))
        assert runs == [1]
        assert journal.head() == journal.counts().images == 1

        def restart_once(*arguments: Any) -> None:
            runs[0] += 1
            if runs[0] == 2:
                server.kill()
                server.start()
            add_vectors(*arguments)

        monkeypatch.setattr(journal_sql, "add_vectors", restart_once)
        a = picture("a")[0]
        assert append(journal, upsert("q", "a"), vectors={DIGEST: {a: np.ones(2)}}) == [2]
        assert runs == [3]
        assert len(journal.read(0)) == 2
