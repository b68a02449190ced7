"""`visnet triplets`: from a catalogue to a table of training triplets."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import click

from visnet.platform.admission_desk import admitted
from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, cluster_options, overridden, shared_options, where_option
from visnet.platform.triplets import TripletsManifest, triplets_directory


@click.command()
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue to learn from.")
@click.option("--split", metavar="SPLIT", help="The street photos' split; the pictures' too, if they have that column.")
@where_option
@click.option("--scorers", metavar="NAME,NAME", help="What ranks the pictures: some of deep, color, texture.")
@click.option("--per-anchor", type=click.IntRange(1), help="Triplets of each anchor, over all scorers.")
@click.option("--seed", type=int, help="Another one draws other triplets.")
@click.option("--street", is_flag=True, help="Street photos as anchors besides: a second stage in the same table.")
@cluster_options
@shared_options
def triplets(
    invocation: Invocation,
    catalog_name: str,
    split: str | None,
    where: tuple[str, str] | None,
    scorers: str | None,
    street: bool,
    address: str | None,
    fit: bool,
    **options: Any,
) -> None:
    """Draw training triplets from what simple scorers find alike: no labels but the categories are needed.

    Every shop picture is an anchor. Its positives are its nearest in the category by one of the scorers, or other
    pictures of its product; its negatives are further down the same ranking (30%) or of other categories. With
    --street every photo of --split is an anchor too, with a picture of its product as the positive.

    Look at the contact sheets before you train. The same command again does nothing; another seed, other ranges or
    --street use the same vectors, which are most of the work.

    \b
    Examples:
      visnet triplets --catalog fashion-mnist --where split=train --fit
      visnet triplets --catalog grocery --split train --street --fit
      visnet train --catalog grocery --triplets ID --fit
    """
    from visnet.train.triplets.generate import check_settings, make_triplets, plan
    from visnet.train.triplets.job import OnRay

    started = time.monotonic()
    store = invocation.store
    catalog = open_catalog(store, catalog_name)
    wanted = plan(catalog, split=split, where=where, street=street)
    if scorers is not None:
        options["scorers"] = tuple(name.strip() for name in scorers.split(",") if name.strip())
    check_settings(overridden(invocation.settings.triplets, **options))
    with invocation.cluster(address):
        settings = overridden(invocation.fitted(fit).triplets, **options)
        with admitted(
            kind="triplets",
            least=1,
            most=settings.actors,
            cpus=settings.cpus_per_actor,
            gpus=settings.gpus_per_actor,
            beside_cpus=1.0 if settings.gpus_per_actor else 0.0,
        ) as grant:
            grant.limit_data()
            runner = OnRay(dataclasses.replace(settings, actors=grant.copies))
            manifest, stood = make_triplets(store, catalog, wanted, settings, runner)
    seconds = round(time.monotonic() - started, 1)
    directory = triplets_directory(manifest.triplets)
    paths = [store.path(f"{directory}/{name}") for name in store.names(directory) if name.endswith(".png")]
    result = {**dataclasses.asdict(manifest), "reused": stood, "seconds": seconds, "contact_sheets": paths}
    invocation.report(result, "\n".join(text(manifest, stood, paths)))


def text(manifest: TripletsManifest, stood: bool, sheets: list[str]) -> list[str]:
    """What a person wants to know of a triplet table, in lines."""
    lines = [
        f"triplets {manifest.triplets} {'stood already' if stood else 'drawn'}: {manifest.rows:,} rows from "
        f"{manifest.pictures:,} pictures"
    ]
    for name in ("stage", "scorer", "kind"):
        lines.append(f"by {name}: {', '.join(f'{key} {count:,}' for key, count in manifest.counts[name].items())}")
    lines += [f"left out, {reason}: {count:,}" for reason, count in manifest.skipped.items()]
    lines += [f"note: {note}" for note in manifest.notes]
    return lines + [f"contact sheet: {path}" for path in sheets]
