"""`visnet store`: back a store up, and restore it."""

from __future__ import annotations

from pathlib import Path

import click

from visnet.platform.backup import make_backup, read_backup, restore
from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import SettingsError
from visnet.platform.journal_place import JOURNAL
from visnet.platform.store import Store


@click.group()
def store() -> None:
    """Back the store up, and restore it."""


@store.command()
@click.argument("destination", metavar="DEST")
@shared_options
def backup(invocation: Invocation, destination: str) -> None:
    """Back the store up to DEST, a folder or URL; it may be served and written meanwhile.

    In it are the finished artifacts, the keys, which release is current, and the journal, if that is a file. Files
    that DEST has from an earlier backup are not copied again. A journal in PostgreSQL is not in it: dump the database
    after this has ended, not before, and let no `visnet journal trim` run between them.

    \b
    Examples:
      visnet store backup /mnt/backup/visnet
      visnet store backup s3://backup/visnet && pg_dump --format=custom --file=journal.dump "$JOURNAL"
    """
    place = _place(invocation)
    made = make_backup(invocation.store, Store(destination), journal=_file(place))
    found = made.backup
    where = _where(place, found.journal is not None, found.head)
    result = {
        "backup": found.backup,
        "files": len(found.everything),
        "bytes": found.size_bytes,
        "copied": made.copied,
        "copied_bytes": made.copied_bytes,
        "journal_head": found.head,
        "journal_included": found.journal is not None,
    }
    invocation.report(
        result,
        f"backup {found.backup}: {len(found.everything):,} files of {found.size_bytes / 2**20:,.1f} MiB, "
        f"{made.copied:,} new of {made.copied_bytes / 2**20:,.1f} MiB; {where}",
    )


@store.command("restore")
@click.argument("source", metavar="SRC")
@click.option("--backup", "backup_id", metavar="ID", help="Which one.  [default: the newest]")
@click.option("--force", is_flag=True, help="Delete what the store holds first.")
@click.option("--without-journal", is_flag=True, help="Leave the backup's journal out: its writes are then lost.")
@shared_options
def restore_(invocation: Invocation, source: str, backup_id: str | None, force: bool, without_journal: bool) -> None:
    """Restore a backup from SRC into the store; nothing may use the store meanwhile.

    Every content is checked against its digest. The store must be empty, and serves nothing until all is there.

    \b
    Example:
      visnet store restore /mnt/backup/visnet --store /srv/visnet
    """
    kept = Store(source)
    chosen = read_backup(kept, backup_id)
    journal = None
    if chosen.journal is not None and not without_journal:
        place = _place(invocation)
        journal = _file(place)
        if journal is None:
            raise SettingsError(
                f"backup {chosen.backup} holds its journal as a file, but here the journal is {place or 'nowhere'}: "
                "restore to a folder with serve.journal unset, or pass --without-journal"
            )
    restore(kept, chosen, invocation.store, journal=journal, force=force)
    invocation.report(
        {"backup": chosen.backup, "files": len(chosen.everything), "bytes": chosen.size_bytes},
        f"restored {chosen.backup} into {invocation.store.location}: {len(chosen.everything):,} files",
    )


def _place(invocation: Invocation) -> str | None:
    """Where the journal is, or would be; unlike `journal_place` this makes nothing."""
    if (named := invocation.settings.serve.journal) is not None or not invocation.store.is_local:
        return named
    return invocation.store.path(JOURNAL)


def _file(place: str | None) -> Path | None:
    """The journal's file, if it is one."""
    return Path(place).expanduser() if place is not None and "://" not in place else None


def _where(place: str | None, included: bool, head: int) -> str:
    if included:
        return f"the journal up to entry {head:,}"
    return "there is no journal" if place is None or _file(place) else "the journal is a database: dump it now"
