"""`visnet journal`: what the journal holds, and how it is kept small."""

from __future__ import annotations

import contextlib
import dataclasses

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import NotFoundError
from visnet.platform.index import read_index
from visnet.platform.journal_place import journal_of
from visnet.platform.release import current_release, list_releases
from visnet.platform.store import Store


@click.group()
def journal() -> None:
    """Look at the journal of live writes, and trim it."""


@journal.command()
@shared_options
def counts(invocation: Invocation) -> None:
    """Say what the journal holds."""
    with contextlib.closing(journal_of(invocation.store, invocation.settings.serve.journal)) as opened:
        found = opened.counts()
    text = (
        f"entries {found.trimmed + 1:,} to {found.head:,}: {found.entries:,}, with {found.images:,} images of "
        f"{found.image_bytes / 2**20:.1f} MiB"
    )
    invocation.report(dataclasses.asdict(found), text if found.entries else f"no entries behind {found.head:,}")


@journal.command()
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten, and forget nothing.")
@click.option(
    "--keep-releases",
    type=click.IntRange(1),
    metavar="N",
    help="Count only the newest N releases and the current one: older ones can't be served any more.  [default: all]",
)
@shared_options
def trim(invocation: Invocation, dry_run: bool, keep_releases: int | None) -> None:
    """Forget what the releases hold in their indexes.

    Entries go that are in the catalogue of every release of the store, with the pictures and vectors that only they
    name. They are gone from the journal for good, and what needs them can then not be served: an import without
    --journal-included, over which they would have won, and a release that is older than those counted. Serving, and
    folding, refuse such a one (the journal's entries are no longer kept) instead of leaving writes out.
    """
    store = invocation.store
    with contextlib.closing(journal_of(store, invocation.settings.serve.journal)) as opened:
        upto = min(held_by_all(store, keep_releases), opened.head())
        before = opened.counts()
        if not dry_run:
            opened.trim(upto)
        forgotten = max(0, upto - before.trimmed) if dry_run else before.entries - opened.counts().entries
    result = {"upto": upto, "forgotten": forgotten, "trimmed": max(upto, before.trimmed), "dry_run": dry_run}
    would = "would be forgotten" if dry_run else "forgotten"
    invocation.report(result, f"{forgotten:,} of {before.entries:,} entries {would}, up to {result['trimmed']:,}")


def held_by_all(store: Store, newest: int | None = None) -> int:
    """The last entry that is in the index of each release, 0 if there are none.

    Args:
        newest: look only at so many releases, and at the current one.
    """
    releases = list_releases(store)
    if not releases:
        return 0
    kept = releases if newest is None else releases[-newest:]
    indexes = {manifest.index for manifest in kept}
    with contextlib.suppress(NotFoundError):
        indexes.add(current_release(store).index)
    return min(read_index(store, index).journal_sequence for index in indexes)
