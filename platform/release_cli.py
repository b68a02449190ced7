"""`visnet release`: tie an encoder, an index and recommendations together, promote them, roll them back."""

from __future__ import annotations

import dataclasses

import click

from visnet.platform import release as releases
from visnet.platform.command import Invocation, shared_options
from visnet.platform.evaluation import newest_evaluation
from visnet.platform.index import newest_index, read_index
from visnet.platform.localisation import for_release
from visnet.platform.recommendations import newest_recommendations

FOLLOWS = "A running service starts its parts and moves over to it."


@click.group()
def release() -> None:
    """Create, promote and roll back releases."""


@release.command()
@click.option("--index", "index_name", metavar="ID", help="Default: the newest.")
@click.option("--detector", metavar="ID|none", help="Default: the catalogue's newest, if there is any.")
@click.option(
    "--detect/--no-detect",
    "by_default",
    default=None,
    help="Search photos for their items by default. Default: what visnet detector eval measured, else yes.",
)
@click.option("--promote", "promote_too", is_flag=True, help="Promote it too, if it passes its gates.")
@shared_options
def create(
    invocation: Invocation, index_name: str | None, detector: str | None, by_default: bool | None, promote_too: bool
) -> None:
    """Tie an index, its encoder, its recommendations and a detector together and run the gates."""
    store = invocation.store
    index = read_index(store, index_name) if index_name else newest_index(store)
    located = None
    if detector != "none":
        located = for_release(
            store, catalog=index.catalog, encoder=index.encoder, detector=detector, by_default=by_default
        )
    made = releases.create_release(
        store,
        index=index.index,
        recommendations=newest_recommendations(store, index.index).recommendations,
        evaluation=newest_evaluation(store, index.index),
        localisation=located,
    )
    if promote_too:
        releases.promote(store, made.release)
    lines = [f"release {made.release}{', now current' if promote_too else ''}", *_gates(made)]
    if made.detector is not None:
        lines.append(f"photos are searched for {'their items' if made.detect_by_default else 'as a whole'} by default")
    invocation.report({**dataclasses.asdict(made), "promoted": promote_too}, "\n".join(lines))


@release.command("list")
@shared_options
def list_(invocation: Invocation) -> None:
    """List the releases, oldest first; * is the current one."""
    found = releases.list_releases(invocation.store)
    changes = releases.history(invocation.store)
    current = changes[-1].release if changes else None
    lines = [
        f"{'*' if m.release == current else ' '} {m.release}  {m.created_at[:19]}  {m.encoder}  {m.catalog}"
        for m in found
    ]
    invocation.report(
        {
            "current": current,
            "releases": [dataclasses.asdict(manifest) for manifest in found],
            "history": [dataclasses.asdict(change) for change in changes],
        },
        "\n".join(lines) or "no releases yet: visnet release create",
    )


@release.command()
@click.argument("release_id", metavar="[ID]", required=False)
@click.option("--tolerance", type=float, default=0.02, show_default=True, help="How much worse each recall may be.")
@click.option("--force", is_flag=True, help="In spite of a failed gate; recorded in the history.")
@shared_options
def promote(invocation: Invocation, release_id: str | None, tolerance: float, force: bool) -> None:
    """Make a release (default: the newest) the current one, if it passes its gates."""
    store = invocation.store
    if release_id is None:
        found = releases.list_releases(store)
        if not found:
            raise click.ClickException("no releases yet: visnet release create")
        release_id = found[-1].release
    releases.promote(store, release_id, tolerance=tolerance, force=force)
    invocation.report({"current": release_id}, f"{release_id} is now current. {FOLLOWS}")


@release.command()
@shared_options
def rollback(invocation: Invocation) -> None:
    """Make the release before the current one current again."""
    back_to = releases.rollback(invocation.store)
    invocation.report({"current": back_to}, f"back to {back_to}. {FOLLOWS}")


def _gates(made: releases.ReleaseManifest) -> list[str]:
    return [f"  {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.detail}" for gate in made.gates]
