"""Files of a store in a backup, kept by what is in them: a content is copied once, however often it is backed up.

objects/<two hex digits>/<sha-256>      contents
backups/<id>.json                       one backup each: names, sizes and digests
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from pyarrow import fs as arrow_fs

from visnet.platform.errors import StoreError
from visnet.platform.manifest import MANIFEST
from visnet.platform.store import Store

CHUNK_BYTES = 2**22


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file of the store as it is in a backup."""

    name: str
    size_bytes: int
    mtime_ns: int
    """When it was last changed, as its file system says; 0 if it doesn't."""
    digest: str
    """SHA-256 of its content, hex."""


def object_name(digest: str) -> str:
    """Where a content is in a backup's folder."""
    return f"objects/{digest[:2]}/{digest}"


def listed(store: Store) -> dict[str, arrow_fs.FileInfo]:
    """All files of a store by name."""
    selector = arrow_fs.FileSelector(store.root, allow_not_found=True, recursive=True)
    infos = store.filesystem.get_file_info(selector)
    return {info.path.removeprefix(f"{store.root}/"): info for info in infos if info.type == arrow_fs.FileType.File}


def of_finished_artifacts(names: Mapping[str, arrow_fs.FileInfo]) -> list[str]:
    """Those of the names that lie below a folder with a manifest, in order; work and what is unfinished is left out."""
    finished = {name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")}
    return sorted(name for name in names if not _is_passing(name) and any(up in finished for up in _folders(name)))


def digest_of_file(store: Store, name: str) -> str:
    """SHA-256 of a file's content."""
    hashed = hashlib.sha256()
    for chunk in _chunks(store, name):
        hashed.update(chunk)
    return hashed.hexdigest()


def copy_checked(source: Store, name: str, target: Store, to: str, *, digest: str) -> None:
    """Copy a file; what arrives is what the digest says, or nothing does.

    Raises:
        StoreError: the content is another one, or the file is gone.
    """
    with target.writer(to) as file:
        if _write(source, name, file) != digest:
            raise StoreError(f"{source.location}/{name} has not the content it had, or should have: {digest[:12]}…")


def _write(source: Store, name: str, file: BinaryIO) -> str:
    hashed = hashlib.sha256()
    for chunk in _chunks(source, name):
        hashed.update(chunk)
        file.write(chunk)
    return hashed.hexdigest()


def _chunks(store: Store, name: str) -> Iterator[bytes]:
    try:
        with store.filesystem.open_input_stream(store.path(name)) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise StoreError(f"{store.location} has no {name} any more") from None


def _folders(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _is_passing(name: str) -> bool:
    return name.startswith("work/") or name.endswith((".tmp", ".lock"))
