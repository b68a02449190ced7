"""Backups of a store while it is served and written: `visnet store backup` and `visnet store restore`.

What a backup holds: the finished artifacts, the alias `current`, the keys, and the journal, if that is an SQLite file.
Order makes it consistent. The alias and the names of the releases are read first, then the files are listed, then the
journal is copied: so each release's pieces are there, no index is ahead of the journal, and every write that was
acknowledged before the backup began is in the journal or in the current release's index. A trim in between could take
entries out of the journal that only a newer index has; that is seen, and it begins anew.

A backup is there with its manifest, which is written last. Contents are kept by their digest, so a backup that was
killed costs nothing but time: the next one finds what was copied. Costs one reading of every new file to name it and
one to copy it; a file whose size and time are those of the last backup is not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pydantic

from visnet.platform.backup_files import (
    KeptFile,
    copy_checked,
    digest_of_file,
    listed,
    object_name,
    of_finished_artifacts,
)
from visnet.platform.backup_journal import JournalState, snapshot
from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.index import read_index
from visnet.platform.journal_place import JOURNAL
from visnet.platform.keys import KEYS
from visnet.platform.manifest import MANIFEST, finished
from visnet.platform.progress import Progress, progress
from visnet.platform.release import CURRENT, read_release
from visnet.platform.store import Store

BACKUPS = "backups"
RELEASES = "releases"
TRIES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backup:
    """One backup: its manifest."""

    schema_version: Literal[1] = 1
    backup: str
    """Its id; ids sort by time."""
    source: str
    """The store's location."""
    files: list[KeptFile]
    """Without the alias and the journal."""
    current: KeptFile | None
    """The alias; None: no release was current."""
    journal: KeptFile | None
    """None: the journal is not in the store."""
    head: int = 0
    """The journal's last entry."""

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.everything)

    @property
    def everything(self) -> list[KeptFile]:
        return [*self.files, *(each for each in (self.current, self.journal) if each is not None)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A backup that was made, and what it cost."""

    backup: Backup
    copied: int
    copied_bytes: int


_MANIFEST = pydantic.TypeAdapter(Backup)


def make_backup(store: Store, target: Store, *, journal: Path | None) -> Made:
    """Back a store up; it may be served and written meanwhile.

    Args:
        target: where backups are kept; one that has some already gets only what is new.
        journal: the SQLite file of the journal, None if it is in a database.

    Raises:
        StoreError: the target lies in the store, or something can't be read or written.
    """
    if f"{target.location}/".startswith(f"{store.location}/"):
        raise StoreError(f"the backup {target.location} would lie in the store {store.location}: name another place")
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="visnet-backup-") as folder:
            made = _try(store, target, journal, Path(folder))
        if made is not None:
            return made
    raise StoreError(
        f"in each of {TRIES} tries the journal no longer kept entries that the current release lacks: let no visnet "
        "journal trim run meanwhile; if none did, promote a newer release first"
    )


def list_backups(target: Store) -> list[str]:
    """The ids of the backups there, oldest first."""
    return [name.removesuffix(".json") for name in target.names(BACKUPS) if name.endswith(".json")]


def read_backup(target: Store, backup: str | None = None) -> Backup:
    """A backup's manifest, the newest one's if none is named.

    Raises:
        NotFoundError: there is none, or none of that id; the text lists those there are.
        StoreError: it can't be read.
    """
    known = list_backups(target)
    if not known or (backup is not None and backup not in known):
        named = f"no backup {backup}" if backup is not None else "no backup"
        raise NotFoundError(f"there is {named} in {target.location} (there is: {', '.join(known) or 'none'})")
    name = f"{BACKUPS}/{backup or known[-1]}.json"
    try:
        return _MANIFEST.validate_json(target.read(name))
    except pydantic.ValidationError as error:
        raise StoreError(f"{target.location}/{name} can't be read: {error.errors()[0]['msg']}") from None


def restore(source: Store, backup: Backup, store: Store, *, journal: Path | None, force: bool = False) -> None:
    """Put a backup into a store that nothing uses; the alias comes last, so half a restore serves nothing.

    Args:
        source: where the backup is kept.
        journal: where its journal goes; None leaves it out.
        force: delete what the store holds first.

    Raises:
        StoreError: the store is not empty, or a content of the backup is not what it was.
    """
    if store.names("") or (journal is not None and journal.exists()):
        if not force:
            what = store.location if store.names("") else journal
            raise StoreError(f"{what} is there already: restore to another place, or pass --force to delete it")
        _clear(store, journal)
    manifests = [each for each in backup.files if each.name.endswith(f"/{MANIFEST}")]
    others = [each for each in backup.files if not each.name.endswith(f"/{MANIFEST}")]
    with progress("restoring", total=backup.size_bytes, unit="B") as shown:
        for each in (*others, *manifests):
            _bring(source, each, store, each.name, shown)
        if backup.journal is not None and journal is not None:
            _bring(source, backup.journal, Store(str(journal.parent)), journal.name, shown)
        if backup.current is not None:
            _bring(source, backup.current, store, CURRENT, shown)


def _try(store: Store, target: Store, journal: Path | None, folder: Path) -> Made | None:
    """One pass; None if the journal has lost what the current release lacks."""
    here = Store(str(folder))
    alias = store.read(CURRENT) if store.exists(CURRENT) else None
    if alias is not None:
        here.write("current", alias)
    held = _held(store, alias) if alias is not None else 0
    released = set(finished(store, RELEASES))
    found = listed(store)
    names = [name for name in of_finished_artifacts(found) if _release_of(name) in (None, *released)]
    names += [KEYS] if KEYS in found else []
    if not names and (journal is None or not journal.exists()):
        raise StoreError(f"{store.location} holds nothing to back up: is it the right store?")
    state = JournalState(head=0, trimmed=0)
    if journal is not None and journal.exists():
        state = snapshot(journal, folder / "journal")
        if state.trimmed > held:
            return None
    copier = _Copier(target)
    with progress("backing up", total=sum(found[name].size or 0 for name in names), unit="B") as shown:
        files = []
        for name in names:
            files.append(copier.keep(store, name, size=found[name].size or 0, mtime_ns=found[name].mtime_ns or 0))
            shown.update(found[name].size or 0)
        current = copier.keep_new(here, "current", CURRENT) if alias is not None else None
        kept = copier.keep_new(here, "journal", JOURNAL) if (folder / "journal").exists() else None
    made = Backup(
        backup=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}",
        source=store.location,
        files=files,
        current=current,
        journal=kept,
        head=state.head,
    )
    target.write(f"{BACKUPS}/{made.backup}.json", json.dumps(dataclasses.asdict(made)).encode())
    return Made(backup=made, copied=copier.copied, copied_bytes=copier.copied_bytes)


class _Copier:
    """Brings contents to where backups are kept, each one once."""

    def __init__(self, target: Store) -> None:
        self._target = target
        self._known: dict[tuple[str, int, int], str] = {}
        self.copied = self.copied_bytes = 0
        with contextlib.suppress(NotFoundError):  # the first one
            last = read_backup(target)
            self._known = {(each.name, each.size_bytes, each.mtime_ns): each.digest for each in last.files}

    def keep(self, store: Store, name: str, *, size: int, mtime_ns: int, as_name: str | None = None) -> KeptFile:
        known = self._known.get((name, size, mtime_ns)) if mtime_ns else None
        digest = known or digest_of_file(store, name)
        if not self._has(digest, size):
            copy_checked(store, name, self._target, object_name(digest), digest=digest)
            self.copied += 1
            self.copied_bytes += size
        return KeptFile(name=as_name or name, size_bytes=size, mtime_ns=mtime_ns, digest=digest)

    def keep_new(self, store: Store, name: str, as_name: str) -> KeptFile:
        """Keep a file that was made for this backup."""
        return self.keep(store, name, size=Path(store.path(name)).stat().st_size, mtime_ns=0, as_name=as_name)

    def _has(self, digest: str, size: int) -> bool:
        (info,) = self._target.filesystem.get_file_info([self._target.path(object_name(digest))])
        return bool(info.size == size)


def _clear(store: Store, journal: Path | None) -> None:
    if store.names(""):
        store.filesystem.delete_dir_contents(store.root)
    for suffix in ("", "-wal", "-shm") if journal is not None else ():  # another journal's log would be applied to ours
        Path(f"{journal}{suffix}").unlink(missing_ok=True)


def _bring(source: Store, kept: KeptFile, store: Store, name: str, shown: Progress) -> None:
    copy_checked(source, object_name(kept.digest), store, name, digest=kept.digest)
    shown.update(kept.size_bytes)


def _held(store: Store, alias: bytes) -> int:
    """The last entry of the journal that the current release's index holds."""
    return read_index(store, read_release(store, json.loads(alias)["release"]).index).journal_sequence


def _release_of(name: str) -> str | None:
    """The release that a file belongs to."""
    top, _, rest = name.partition("/")
    return rest.partition("/")[0] if top == RELEASES else None
