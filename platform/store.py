"""The store: every durable thing of visnet under one folder or object-store URL.

    catalogs/<name>/<version>/     embeddings/<encoder>/<catalog>-<version>/   recommendations/<id>/
    encoders/<id>/                 indexes/<id>/                               releases/<id>/    aliases/current

An artifact is a directory that becomes real with its `manifest.json`, written last and in one piece: a reader that
finds the manifest finds everything, and a crash leaves nothing half true.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import fsspec
from pyarrow import ArrowInvalid
from pyarrow import fs as arrow_fs

from visnet.platform.errors import StoreError

logger = logging.getLogger(__name__)


class Store:
    """Files by name below one root; names use `/` and never start with it.

    Args:
        location: a folder (made absolute at once) or a URL that pyarrow or fsspec knows (`s3://`, `gs://`, ...).

    Raises:
        StoreError: the location's scheme is unknown.
    """

    def __init__(self, location: str) -> None:
        if location.startswith("file://"):  # written as a folder is: in one piece
            location = unquote(location.removeprefix("file://"))
        self.is_local = "://" not in location
        if self.is_local:
            location = str(Path(location).expanduser().absolute())
        self.location = location if location.endswith("://") else location.rstrip("/")
        self.filesystem, self.root = _open(self.location)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.location,)  # a store travels between processes as its location

    def path(self, name: str) -> str:
        """The path of `name` for `self.filesystem` (what pyarrow's readers and writers take)."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        found: bool = self.filesystem.get_file_info(self.path(name)).type != arrow_fs.FileType.NotFound
        return found

    def read(self, name: str) -> bytes:
        """The whole file.

        Raises:
            StoreError: there is no such file.
        """
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            raise StoreError(f"{self.location} has no {name}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one piece: a reader sees the old content or the new, never a part of it."""
        if self.is_local:
            with self.writer(name) as file:
                file.write(data)
            return
        with self.filesystem.open_output_stream(self.path(name)) as stream:  # an object store's put is atomic already
            stream.write(data)

    @contextlib.contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A file to write piece by piece: it is there, whole, when the block ends, and not at all if that fails.

        It is written beside its place, or on this machine's disk for an object store, so it may exceed the memory.
        """
        self.make_directory(name.rpartition("/")[0])
        beside = self.path(name) if self.is_local else str(Path(tempfile.gettempdir()) / name.rpartition("/")[2])
        temporary = Path(f"{beside}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if self.is_local:
                os.replace(temporary, self.path(name))
            else:
                _copy(arrow_fs.LocalFileSystem(), str(temporary), self.filesystem, self.path(name))
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One holder at a time changes `name`, on a local store; an object store knows no locks and grants it at once.

        A holder that dies lets go of it.
        """
        if not self.is_local:
            yield
            return
        self.make_directory(name.rpartition("/")[0])
        with open(f"{self.path(name)}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another process that works on %s", name)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def make_directory(self, name: str) -> None:
        self.filesystem.create_dir(self.path(name), recursive=True)

    def delete_directory(self, name: str) -> None:
        """Delete a directory with all in it; nothing happens if it does not exist."""
        if self.exists(name):
            self.filesystem.delete_dir(self.path(name))

    def names(self, directory: str) -> list[str]:
        """The entries right below a directory, sorted; empty if it does not exist."""
        selector = arrow_fs.FileSelector(self.path(directory), allow_not_found=True)
        try:
            return sorted(info.base_name for info in self.filesystem.get_file_info(selector))
        except FileNotFoundError:  # it was deleted while it was listed
            return []

    def size_bytes(self, directory: str) -> int:
        """The bytes of all files below a directory."""
        selector = arrow_fs.FileSelector(self.path(directory), allow_not_found=True, recursive=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def local_path(self, name: str) -> Path:
        """A file on this machine's disk with the content of `name`, for readers that map files into memory.

        A local store's own file, or a copy fetched once into the machine's cache. Only for immutable files.
        """
        if self.is_local:
            return Path(self.path(name))
        cached = Path(tempfile.gettempdir()) / "visnet-cache" / self.location.replace("://", "/") / name
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            partial = cached.with_name(f"{cached.name}.{uuid.uuid4().hex}")
            _copy(self.filesystem, self.path(name), arrow_fs.LocalFileSystem(), str(partial))
            os.replace(partial, cached)
        return cached


def _copy(source: arrow_fs.FileSystem, path: str, target: arrow_fs.FileSystem, to: str) -> None:
    arrow_fs.copy_files(path, to, source, target, chunk_size=2**22)


def _open(location: str) -> tuple[arrow_fs.FileSystem, str]:
    try:
        if "://" not in location:
            return arrow_fs.LocalFileSystem(use_mmap=True), location
        filesystem, root = arrow_fs.FileSystem.from_uri(location)
        return filesystem, root
    except ArrowInvalid:
        pass  # not one of pyarrow's own schemes
    try:
        other, root = fsspec.core.url_to_fs(location)
    except (ValueError, ImportError) as error:
        raise StoreError(f"can't open the store {location!r}: {error}") from None
    return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(other)), root.rstrip("/")
