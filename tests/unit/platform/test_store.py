"""The store: whole files or none, the same on a local folder and through fsspec."""

import os
import pickle
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform.errors import StoreError
from visnet.platform.store import Store


@pytest.fixture(params=["local", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where copies of remote files are kept
    if request.param == "local":
        yield Store(str(tmp_path / "store"))
        return
    name = uuid.uuid4().hex
    yield Store(f"memory://{name}")
    fsspec.filesystem("memory").rm(f"/{name}", recursive=True) if fsspec.filesystem("memory").exists(name) else None


def test_what_is_written_is_read_and_overwritten_whole(any_store: Store) -> None:
    assert not any_store.exists("a/b/file")
    any_store.write("a/b/file", b"first, and longer")
    any_store.write("a/b/file", b"second")
    assert any_store.read("a/b/file") == b"second"
    assert any_store.exists("a/b/file")
    assert any_store.names("a/b") == ["file"]


def test_a_missing_file_is_named(any_store: Store) -> None:
    with pytest.raises(StoreError, match=r"has no aliases/current"):
        any_store.read("aliases/current")


def test_names_sizes_and_deleting(any_store: Store) -> None:
    assert any_store.names("catalogs") == []
    assert any_store.size_bytes("catalogs") == 0
    any_store.delete_directory("catalogs")
    for name, size in (("b", 3), ("a", 4), ("a/deep", 5)):
        any_store.write(f"catalogs/{name}/part", b"x" * size)
    assert any_store.names("catalogs") == ["a", "b"]
    assert any_store.size_bytes("catalogs") == 12
    any_store.delete_directory("catalogs/a")
    assert any_store.names("catalogs") == ["b"]


def test_travels_between_processes_as_its_location(any_store: Store) -> None:
    any_store.write("file", b"content")
    assert pickle.loads(pickle.dumps(any_store)).read("file") == b"content"


def test_its_paths_are_for_arrows_readers(any_store: Store) -> None:
    table = pa.table({"number": [1, 2, 3]})
    any_store.make_directory("tables")
    pq.write_table(table, any_store.path("tables/part.parquet"), filesystem=any_store.filesystem)
    assert pq.read_table(any_store.path("tables/part.parquet"), filesystem=any_store.filesystem) == table


def test_local_path_holds_the_content_and_is_fetched_once(any_store: Store) -> None:
    any_store.write("indexes/i/vectors.npy", b"vectors")
    path = any_store.local_path("indexes/i/vectors.npy")
    assert path.read_bytes() == b"vectors"
    before = path.stat().st_ino
    assert any_store.local_path("indexes/i/vectors.npy").stat().st_ino == before
    assert [file.name for file in path.parent.iterdir()] == ["vectors.npy"]


def test_the_root_of_a_url_is_a_store(tmp_path: Path) -> None:
    name = uuid.uuid4().hex
    root = Store("memory://")
    assert not root.is_local
    root.write(f"{name}/file", b"content")
    assert Store(f"memory://{name}/").read("file") == b"content"
    root.delete_directory(name)


def test_a_local_location_is_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here/")
    monkeypatch.chdir("/")
    store.write("file", b"content")
    assert (tmp_path / "here" / "file").read_bytes() == b"content"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/here").read("file") == b"content"
    spaced = tmp_path / "a folder"
    assert Store(f"{tmp_path.as_uri()}/a%20folder").location == str(spaced)
    assert Store(f"{tmp_path.as_uri()}/a%20folder").is_local


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(StoreError, match=r"can't open the store 'nowhere://x'"):
        Store("nowhere://x")


def test_a_crash_while_writing_leaves_the_old_content(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("aliases/current", b"old")

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="power cut"):
            store.write("aliases/current", b"new")
    assert store.read("aliases/current") == b"old"


def test_a_writer_that_fails_leaves_what_was_there(any_store: Store) -> None:
    any_store.write("a/file", b"old")

    def fail() -> None:
        with any_store.writer("a/file") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert any_store.read("a/file") == b"old"
    assert any_store.names("a") == ["file"]


def test_a_writer_s_file_is_there_when_it_ends(any_store: Store) -> None:
    with any_store.writer("a/file") as file:
        file.write(b"one ")
        file.write(b"two")
        assert not any_store.exists("a/file")
    assert any_store.read("a/file") == b"one two"


def test_a_lock_has_one_holder(store: Store) -> None:
    held: list[int] = []

    def hold(number: int) -> None:
        with store.lock("aliases/current"):
            held.append(number)
            time.sleep(0.01)
            assert held[-1] == number

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(hold, range(10)))
    assert sorted(held) == list(range(10))
