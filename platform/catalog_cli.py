"""`visnet catalog`: bring a catalogue into the store, and look at what is there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import click
import pyarrow as pa

from visnet.platform.catalog import catalog_directory, open_catalog, write_catalog
from visnet.platform.command import Invocation, shared_options
from visnet.platform.importers import FORMATS, open_source
from visnet.platform.manifest import has_manifest
from visnet.platform.progress import Progress, progress


@click.group()
def catalog() -> None:
    """Import catalogues and look at them."""


@catalog.command("import")
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("path", required=False)
@click.option("--name", required=True, help="What to call it; importing changed content makes a new version.")
@shared_options
def import_(invocation: Invocation, format: str, path: str | None, name: str) -> None:
    """Import a catalogue.

    \b
    FORMAT is one of
      fashion-mnist  70,000 products; downloaded unless PATH is the folder of its four files
      folder         pictures below PATH; sub-folders are categories
      table          PATH is a .csv or .parquet with the column category, and image (bytes), path or url;
                     image_id and product_id if there; all further columns are kept as typed attributes
    """
    started = time.monotonic()
    source = open_source(format, path)
    stood = has_manifest(invocation.store, catalog_directory(name, source.version))
    with progress("importing", total=0 if stood else source.images, unit="images") as bar:
        made = write_catalog(
            invocation.store,
            name=name,
            version=source.version,
            source=source.description,
            batches=_counted(source.batches(), bar),
        ).manifest
    seconds = round(time.monotonic() - started, 1)
    invocation.report(
        {
            "catalog": made.name,
            "version": made.version,
            "images": made.images,
            "products": made.products,
            "categories": made.categories,
            "attributes": made.attributes,
            "reused": stood,
            "seconds": seconds,
            "images_per_s": 0.0 if stood else round(made.images / max(seconds, 0.1), 1),
        },
        f"catalogue {made.name} version {made.version}: {made.images:,} images of {made.products:,} products in "
        f"{len(made.categories)} categories{', stood already' if stood else ''}",
    )


@catalog.command("list")
@shared_options
def list_(invocation: Invocation) -> None:
    """List the catalogues, each with its newest version."""
    found = [open_catalog(invocation.store, name).manifest for name in invocation.store.names("catalogs")]
    lines = [f"{m.name}  version {m.version}  {m.images:,} images  from {m.source}" for m in found]
    invocation.report(
        {"catalogs": [dataclasses.asdict(manifest) for manifest in found]},
        "\n".join(lines) or "no catalogues yet: visnet catalog import",
    )


def _counted(batches: Iterator[pa.Table], bar: Progress) -> Iterator[pa.Table]:
    for batch in batches:
        yield batch
        bar.update(len(batch))
