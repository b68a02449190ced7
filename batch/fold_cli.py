"""`visnet fold`: what was written live becomes part of the next index, and that is served."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import click

from visnet.batch.recommend_cli import fitted
from visnet.platform.command import Invocation, cluster_options, shared_options
from visnet.platform.journal_place import journal_of
from visnet.platform.release import current_release
from visnet.platform.settings import Settings

if TYPE_CHECKING:
    from visnet.batch.fold import Folded  # with all that the passes need


@click.command()
@click.option("--catalog", "catalog_name", metavar="NAME", help="Default: the current release's.")
@click.option("--no-promote", is_flag=True, help="Leave the release to visnet release promote.")
@cluster_options
@shared_options
def fold(invocation: Invocation, catalog_name: str | None, no_promote: bool, address: str | None, fit: bool) -> None:
    """Fold the journal into the catalogue, and make and promote a release of it.

    The newest version of the catalogue, with all that was written, replaced and deleted since, becomes its next one; it
    is embedded with the current release's encoder, indexed by the settings, recommended by the current release's rules,
    and promoted. A running service goes on meanwhile, takes writes, and moves over by itself: what is written after the
    fold has begun stays in the journal and is applied to the new index too.

    Pictures that were embedded before, in the catalogue or live, are not embedded again. A fold that was killed is run
    again and goes on where it was; with nothing new it does nothing. visnet journal trim then frees the journal.
    """
    from visnet.batch.fold import OnRay, nothing_new
    from visnet.batch.fold import fold as run

    store = invocation.store
    with contextlib.closing(journal_of(store, invocation.settings.serve.journal)) as journal:
        name = catalog_name or current_release(store).catalog
        standing = nothing_new(store, name, journal)
        if standing is not None:
            text = f"nothing was written since release {standing.release}: it stands"
            invocation.report({"release": standing.release, "entries": 0, "promoted": False, "reused": True}, text)
            return
        with invocation.cluster(address):
            steps = OnRay(store=store, settings=_fitted(invocation, fit))
            folded = run(store, name, journal, steps, promoting=not no_promote)
        since = journal.head() - folded.catalog.manifest.journal_sequence
    invocation.report({**_result(folded), "since": since}, _text(folded, since))


def _fitted(invocation: Invocation, fit: bool) -> Settings:
    """The settings of the passes, cut to the connected cluster if `fit`."""
    settings = invocation.fitted(fit)
    if not fit:
        return settings
    return dataclasses.replace(settings, recommend=fitted(settings.recommend, settings.index.shards, invocation))


def _result(folded: Folded) -> dict[str, Any]:
    return {
        "catalog": folded.catalog.manifest.name,
        "version": folded.catalog.manifest.version,
        "entries": folded.fold.entries,
        "journal_sequence": folded.catalog.manifest.journal_sequence,
        "images": folded.embeddings.images,
        "embedded": folded.embeddings.embedded,
        "vectors_reused": folded.embeddings.reused,
        "quarantined": folded.embeddings.quarantined,
        "index": folded.release.index,
        "recommendations": folded.release.recommendations,
        "release": folded.release.release,
        "promoted": folded.promoted,
        "reused": False,
    }


def _text(folded: Folded, since: int) -> str:
    manifest, made = folded.catalog.manifest, folded.embeddings
    return "\n".join(
        [
            f"catalogue {manifest.name} version {manifest.version}: {folded.fold.entries:,} entries of the journal, "
            f"{manifest.images:,} images of {manifest.products:,} products",
            f"{made.embedded:,} embedded, {made.reused:,} reused, {made.quarantined:,} in quarantine",
            f"release {folded.release.release}{', now current' if folded.promoted else ''}",
            f"{since:,} entries were written meanwhile: who serves the release applies them",
        ]
    )
