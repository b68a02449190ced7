"""The journal as an SQLite file: its log, its locks, and what it costs to ask for the head."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.journals import append, opened
from visnet.platform.errors import StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Delete, JournalImage, Upsert, open_journal
from visnet.platform.journal_sqlite import SqliteJournal


def test_a_path_may_be_written_as_a_url(tmp_path: Path) -> None:
    with opened(f"sqlite://{tmp_path}/deep/journal") as journal:
        append(journal, Delete(product_id="p"))
    with opened(f"{tmp_path}/deep/journal") as journal:
        assert journal.head() == 1


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a text that is long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="text can't be used: file is not a database"):
        open_journal(str(tmp_path / "text"))
    with pytest.raises(StoreError, match="can't be used: unable to open"):
        open_journal(str(tmp_path))
    with pytest.raises(StoreError, match=r"can't be used: .*Not a directory|can't be used: .*File exists"):
        open_journal(str(tmp_path / "text" / "journal"))


def test_an_unchanged_file_is_not_asked_for_its_head(tmp_path: Path) -> None:
    with opened(str(tmp_path / "journal")) as one, opened(str(tmp_path / "journal")) as two:
        assert isinstance(one, SqliteJournal)
        statements: list[str] = []
        one._reader.set_trace_callback(statements.append)
        for writer in (one, two, one):
            append(writer, Delete(product_id="p"))
            before = len(statements)
            heads = {one.head() for _ in range(50)}
            assert heads == {two.head()}
            assert sum("SELECT" in statement for statement in statements[before:]) == 1


def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    with opened(str(tmp_path / "journal")) as journal:
        assert isinstance(journal, SqliteJournal)
        assert journal._write(lambda transaction: transaction.rows("PRAGMA synchronous")) == [(2,)]
        assert journal._write(lambda transaction: transaction.rows("PRAGMA journal_mode")) == [("wal",)]


def test_the_log_beside_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.platform.journal_sqlite.WAL_BYTES", 2**20)
    path = tmp_path / "journal"
    with opened(str(path)) as journal, opened(str(path)) as reader:
        for number in range(40):
            data = number.to_bytes(2, "big") * 2**19
            image = JournalImage(image_id="i", content_hash=content_hash(data))
            write = Upsert(product_id=f"p{number}", category="c", attributes={}, images=(image,))
            journal.append([write], images={image.content_hash: data}, vectors={})
            assert reader.read(reader.head() - 1)
        assert path.stat().st_size > 30 * 2**20
        assert (tmp_path / "journal-wal").stat().st_size < 8 * 2**20


def test_a_lock_that_is_never_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.platform.journal_sqlite.BUSY_S", 0.05)
    with (
        opened(str(tmp_path / "journal")) as journal,
        contextlib.closing(sqlite3.connect(tmp_path / "journal", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert journal.read(0) == []
        with pytest.raises(StoreError, match="journal can't be used: database is locked"):
            append(journal, Delete(product_id="p"))
        other.execute("ROLLBACK")
        assert append(journal, Delete(product_id="p")) == [1]
