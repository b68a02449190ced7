"""Backups: whole or not there, consistent while the store is written, and restored as they were."""

import dataclasses
import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.journals import append, opened, upsert
from tests.release_pieces import pieces
from visnet.platform import backup as module
from visnet.platform.backup import Backup, list_backups, make_backup, read_backup, restore
from visnet.platform.backup_files import digest_of_file, listed, object_name, of_finished_artifacts
from visnet.platform.backup_journal import JournalState
from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.index import read_index
from visnet.platform.journal_place import JOURNAL
from visnet.platform.keys import create_key, read_keys
from visnet.platform.release import create_release, current_release, promote
from visnet.platform.store import Store
from visnet.platform.store_cli import store as command


@pytest.fixture
def shop(store: Store) -> Store:
    """A store with a current release, a key, a journal of three entries, and things that are no part of a backup."""
    pieces(store)
    release = create_release(store, index="x", recommendations="r", evaluation={}).release
    promote(store, release, force=True)
    create_key(store, name="shop", scope="write")
    with opened(store.path(JOURNAL)) as journal:
        append(journal, *(upsert(f"p{number}", number) for number in range(3)))
    store.write("work/folds/shop/fold.json", b"{}")
    store.write("indexes/unfinished/shard-0000/vectors.npy", b"half")
    store.write("service/serving.json", b"{}")
    return store


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "kept"))


def journal_of(store: Store) -> Path:
    return Path(store.path(JOURNAL))


def artifacts(store: Store) -> dict[str, str]:
    return {name: digest_of_file(store, name) for name in of_finished_artifacts(listed(store))}


def products(journal: Path) -> list[str]:
    with opened(str(journal)) as there:
        return [entry.write.product_id for entry in there.read(0, limit=100_000)]


def restored(kept: Store, tmp_path: Path, backup: Backup | None = None) -> Store:
    to = Store(str(tmp_path / "restored"))
    restore(kept, backup or read_backup(kept), to, journal=journal_of(to))
    return to


def test_what_is_restored_is_what_was_backed_up(shop: Store, kept: Store, tmp_path: Path) -> None:
    made = make_backup(shop, kept, journal=journal_of(shop)).backup
    to = restored(kept, tmp_path)
    assert artifacts(to) == artifacts(shop)
    assert len(artifacts(to)) > 10
    assert to.read("aliases/current") == shop.read("aliases/current")
    assert read_keys(to) == read_keys(shop)
    assert read_index(to, current_release(to).index).rows == 9
    assert products(journal_of(to)) == ["p0", "p1", "p2"]
    assert made.head == 3
    assert not any(to.exists(name) for name in ("work", "service", "indexes/unfinished"))


def test_a_restored_journal_goes_on(shop: Store, kept: Store, tmp_path: Path) -> None:
    make_backup(shop, kept, journal=journal_of(shop))
    to = restored(kept, tmp_path)
    with opened(str(journal_of(to))) as journal:
        assert append(journal, upsert("p3", 3)) == [4]


def test_the_second_backup_copies_only_what_is_new(shop: Store, kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_backup(shop, kept, journal=journal_of(shop))
    read = []
    monkeypatch.setattr(module, "digest_of_file", lambda store, name: read.append(name) or digest_of_file(store, name))
    shop.write("indexes/x/shard-0000/new.arrow", b"new")
    second = make_backup(shop, kept, journal=journal_of(shop))
    assert first.copied > 10
    assert (second.copied, second.copied_bytes) == (1, 3)
    assert read == ["indexes/x/shard-0000/new.arrow", "current", "journal"]
    assert list_backups(kept) == sorted({first.backup.backup, second.backup.backup})


def test_an_older_backup_stays_as_it_was(shop: Store, kept: Store, tmp_path: Path) -> None:
    first = make_backup(shop, kept, journal=journal_of(shop)).backup
    before = artifacts(shop)
    shop.write("indexes/x/shard-0000/rows.arrow", b"another content")
    with opened(shop.path(JOURNAL)) as journal:
        append(journal, upsert("late", 4))
    make_backup(shop, kept, journal=journal_of(shop))
    to = restored(kept, tmp_path, read_backup(kept, first.backup))
    assert artifacts(to) == before
    assert products(journal_of(to)) == ["p0", "p1", "p2"]


def test_writes_go_on_and_none_that_was_acknowledged_before_is_lost(shop: Store, kept: Store, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    over = threading.Event()

    def write() -> None:
        with opened(shop.path(JOURNAL)) as journal:
            for number in itertools.count():
                if over.is_set():
                    return
                append(journal, upsert(f"w{number}", number % 30))
                acknowledged.append(f"w{number}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            while not acknowledged:
                pass
            before = len(acknowledged)
            made = make_backup(shop, kept, journal=journal_of(shop)).backup
            assert len(acknowledged) > before, "nothing was written meanwhile"
            to = Store(str(tmp_path / made.backup))
            restore(kept, made, to, journal=journal_of(to))
            found = products(journal_of(to))[3:]
            assert len(found) >= before
            assert found == [f"w{number}" for number in range(len(found))]
    finally:
        over.set()
        writer.join()


KILLED = """
import os, signal, sys
from pathlib import Path
from visnet.platform import backup
from visnet.platform.store import Store

copy, left = backup.copy_checked, [int(sys.argv[3])]
def copy_and_die(*given, **named):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    copy(*given, **named)
backup.copy_checked = copy_and_die
backup.make_backup(Store(sys.argv[1]), Store(sys.argv[2]), journal=Path(sys.argv[1]) / "journal/journal.sqlite")
"""


def test_one_that_was_killed_is_not_there_and_the_next_one_ends_it(shop: Store, kept: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, shop.location, kept.location, "5"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, timeout=120, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert list_backups(kept) == []
    with pytest.raises(NotFoundError, match=r"no backup in .* \(there is: none\)"):
        read_backup(kept)
    copied = len([name for name in listed(kept) if name.startswith("objects/")])
    assert copied == 5
    made = make_backup(shop, kept, journal=journal_of(shop))
    assert made.copied == len({each.digest for each in made.backup.everything}) - copied
    assert artifacts(restored(kept, tmp_path)) == artifacts(shop)


def test_a_content_that_is_another_one_is_not_restored(shop: Store, kept: Store, tmp_path: Path) -> None:
    made = make_backup(shop, kept, journal=journal_of(shop)).backup
    vectors = next(each for each in made.files if each.name.endswith("shard-0001/vectors.npy"))
    kept.write(object_name(vectors.digest), b"x" * vectors.size_bytes)
    with pytest.raises(StoreError, match="has not the content it had"):
        restored(kept, tmp_path)
    to = Store(str(tmp_path / "restored"))
    assert not to.exists("aliases/current")
    assert not to.exists(vectors.name)


def test_a_store_with_something_in_it_is_not_overwritten_unasked(shop: Store, kept: Store, tmp_path: Path) -> None:
    made = make_backup(shop, kept, journal=journal_of(shop)).backup
    to = Store(str(tmp_path / "other"))
    with opened(to.path(JOURNAL)) as journal:
        append(journal, *(upsert(f"other{number}", number) for number in range(20)))
        with pytest.raises(StoreError, match="--force"):
            restore(kept, made, to, journal=journal_of(to))
        restore(kept, made, to, journal=journal_of(to), force=True)
        assert products(journal_of(to)) == ["p0", "p1", "p2"]
    assert artifacts(to) == artifacts(shop)


def test_a_journal_elsewhere_is_not_overwritten_unasked(shop: Store, kept: Store, tmp_path: Path) -> None:
    made = make_backup(shop, kept, journal=journal_of(shop)).backup
    elsewhere = tmp_path / "journals" / "shop.sqlite"
    to = Store(str(tmp_path / "empty"))
    with opened(str(elsewhere)) as journal:  # open: its log lies beside it
        append(journal, *(upsert(f"other{number}", number) for number in range(20)))
        with pytest.raises(StoreError, match=r"shop\.sqlite is there already"):
            restore(kept, made, to, journal=elsewhere)
        restore(kept, made, to, journal=elsewhere, force=True)
        assert products(elsewhere) == ["p0", "p1", "p2"]


def test_a_release_that_is_finished_later_stays_out(
    shop: Store, kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index might hold entries that the journal's copy has not."""

    def later(store: Store) -> object:
        create_release(store, index="x", recommendations="r", evaluation={"later": True})
        return listed(store)

    monkeypatch.setattr(module, "listed", later)
    make_backup(shop, kept, journal=journal_of(shop))
    to = restored(kept, tmp_path)
    assert len(shop.names("releases")) == 2
    assert to.names("releases") == [current_release(shop).release]


def test_a_trim_meanwhile_makes_it_begin_anew(shop: Store, kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module.snapshot, []

    def snapshot(journal: Path, to: Path) -> JournalState:
        calls.append(to)
        state = real(journal, to)
        return dataclasses.replace(state, trimmed=3) if len(calls) < 3 else state

    monkeypatch.setattr(module, "snapshot", snapshot)
    make_backup(shop, kept, journal=journal_of(shop))
    assert len(calls) == 3
    assert len(list_backups(kept)) == 1
    calls.clear()
    monkeypatch.setattr(module, "TRIES", 2)
    with pytest.raises(StoreError, match="trim"):
        make_backup(shop, kept, journal=journal_of(shop))


def test_a_damaged_journal_is_said(shop: Store, kept: Store) -> None:
    with sqlite3.connect(shop.path(JOURNAL)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal_of(shop).write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="can't be backed up"):
        make_backup(shop, kept, journal=journal_of(shop))
    assert list_backups(kept) == []


def test_a_backup_within_its_store_is_refused(shop: Store) -> None:
    with pytest.raises(StoreError, match="would lie in the store"):
        make_backup(shop, Store(shop.path("backup")), journal=None)


def test_nothing_to_back_up(store: Store, kept: Store) -> None:
    with pytest.raises(StoreError, match="nothing to back up"):
        make_backup(store, kept, journal=journal_of(store))


@pytest.fixture
def in_memory() -> Iterator[Store]:
    """An object store's interface; fsspec keeps it in this process."""
    import fsspec

    yield Store("memory://bucket/backups")
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_to_a_url_and_back(shop: Store, in_memory: Store, tmp_path: Path) -> None:
    first = make_backup(shop, in_memory, journal=journal_of(shop))
    assert make_backup(shop, in_memory, journal=journal_of(shop)).copied == 0
    assert first.copied > 10
    to = restored(in_memory, tmp_path)
    assert artifacts(to) == artifacts(shop)
    assert products(journal_of(to)) == ["p0", "p1", "p2"]


def test_of_a_store_with_a_url(shop: Store, kept: Store, tmp_path: Path) -> None:
    import fsspec

    bucket = Store("memory://shop")
    try:
        restore(*_backed_up(shop, kept), bucket, journal=None)
        there = Store(str(tmp_path / "second"))
        made = make_backup(bucket, there, journal=None).backup
        assert made.journal is None
        to = Store(str(tmp_path / "back"))
        restore(there, made, to, journal=None)
        assert artifacts(to) == artifacts(shop) == artifacts(bucket)
        assert current_release(to) == current_release(shop)
    finally:
        fsspec.filesystem("memory").rm("/shop", recursive=True)


def _backed_up(shop: Store, kept: Store) -> tuple[Store, Backup]:
    return kept, make_backup(shop, kept, journal=journal_of(shop)).backup


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output


def test_the_commands(shop: Store, kept: Store, tmp_path: Path) -> None:
    none = tmp_path / "cluster.yaml"
    none.write_text("{}")
    file = ("--cluster-file", str(none))
    code, text = run("backup", kept.location, "--store", shop.location, *file)
    assert code == 0, text
    assert "the journal up to entry 3" in text
    code, text = run("restore", kept.location, "--store", str(tmp_path / "to"), *file)
    assert code == 0, text
    assert products(tmp_path / "to" / JOURNAL) == ["p0", "p1", "p2"]
    code, text = run("restore", kept.location, "--store", str(tmp_path / "to"), *file)
    assert (code, "--force" in text) == (1, True)
    code, text = run("restore", kept.location, "--backup", "x", "--store", str(tmp_path / "to2"), *file)
    assert (code, "there is no backup x" in text) == (1, True)


def test_a_journal_in_a_database_is_left_to_the_database(shop: Store, kept: Store, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("metadata: {visnet: {serve: {journal: 'postgresql://visnet@db/visnet'}}}")
    code, text = run("backup", kept.location, "--store", shop.location, "--cluster-file", str(file))
    assert code == 0, text
    assert "dump it now" in text
    assert read_backup(kept).journal is None
    make_backup(shop, kept, journal=journal_of(shop))
    holder = next(each for each in list_backups(kept) if read_backup(kept, each).journal is not None)
    options = ("--store", str(tmp_path / "to"), "--cluster-file", str(file))
    code, text = run("restore", kept.location, "--backup", holder, *options)
    assert (code, "--without-journal" in text) == (1, True)
    code, text = run("restore", kept.location, "--backup", holder, "--without-journal", *options)
    assert code == 0, text
