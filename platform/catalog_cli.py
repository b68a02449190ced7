"""`visnet catalog`: bring a catalogue into the store, and look at what is there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import click
import pyarrow as pa

from visnet.platform.catalog import Catalog, CatalogManifest, catalog_directory, open_catalog, write_catalog
from visnet.platform.command import Invocation, shared_options
from visnet.platform.importers import FORMATS, HOLD_OUT_FORMATS, Source, open_source
from visnet.platform.importers.hold_out import hold_out as hold_out_of
from visnet.platform.journal_place import journal_of
from visnet.platform.manifest import digest_of, has_manifest
from visnet.platform.progress import Progress, progress


@click.group()
def catalog() -> None:
    """Import catalogues and look at them."""


@catalog.command("import")
@click.argument("format", type=click.Choice(FORMATS))
@click.argument("path", required=False)
@click.option("--name", required=True, help="What to call it; importing changed content makes a new version.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Put all photos of so many of the products (0..1) into the split held-out, for products never trained on.",
)
@click.option("--seed", type=int, help="Which products are held out.  [default: 0]")
@click.option(
    "--journal-included",
    is_flag=True,
    help="The source holds all that was written live so far: it wins over the journal's entries up to now. Without "
    "this they win over the source, as they would over any older catalogue.",
)
@shared_options
def import_(
    invocation: Invocation,
    format: str,
    path: str | None,
    name: str,
    hold_out: float | None,
    seed: int | None,
    journal_included: bool,
) -> None:
    """Import a catalogue.

    \b
    FORMAT is one of
      fashion-mnist  70,000 products; downloaded unless PATH is the folder of its four files
      folder         pictures below PATH; sub-folders are categories
      table          PATH is a .csv or .parquet with the column category, and image (bytes), path or url;
                     image_id and product_id if there; all further columns are kept as typed attributes
    \b
    and of those with photos too: pictures from the street, for training and evaluation, not for the shop
      pairs          PATH is a .csv with photo, product_id, category, shop_image (paths beside it, or URLs),
                     optional: split, and the box left, top, right, bottom in shares of the photo, 0..1;
                     or with triplets: anchor, positive, negative, optional: category, split
      grocery-store  PATH is the folder with classes.csv and train.txt, val.txt, test.txt, or the one above
      street2shop    PATH is the folder with photos/photos.txt, meta/json/*.json and the fetched images/
      deepfashion-inshop, deepfashion-consumer2shop
                     PATH is the folder with Eval/list_eval_partition.txt, Img/img/ and, for the boxes, Anno/
    \b
    and, without photos,
      sop            Stanford Online Products: PATH is the folder with Ebay_train.txt and Ebay_test.txt

    What can't be used is left out, counted by reason and listed in the catalogue's skipped.parquet.
    """
    started = time.monotonic()
    sequence = _head(invocation) if journal_included else 0  # before the source is read: what comes later is not in it
    source = _opened(format, path, hold_out, seed)
    version = digest_of(source.version, "journal", sequence) if sequence else source.version
    stood = has_manifest(invocation.store, catalog_directory(name, version))
    with progress("importing", total=0 if stood else source.images, unit="images") as bar:
        made = write_catalog(
            invocation.store,
            name=name,
            version=version,
            source=source.description,
            batches=_counted(source.batches(), bar),
            photos=_counted(source.photos(), bar) if source.photos else (),
            skipped=source.skipped,
            journal_sequence=sequence,
        )
    seconds = round(time.monotonic() - started, 1)
    invocation.report(_result(made, stood, seconds), _text(made, stood))


def _head(invocation: Invocation) -> int:
    with contextlib.closing(journal_of(invocation.store, invocation.settings.serve.journal)) as journal:
        return journal.head()


def _opened(format: str, path: str | None, share: float | None, seed: int | None) -> Source:
    """The source, with the share of products held out that was asked for."""
    if (share, seed) == (None, None):
        return open_source(format, path)
    if format not in HOLD_OUT_FORMATS:
        raise click.UsageError(f"--hold-out and --seed are for {', '.join(HOLD_OUT_FORMATS)}, not for {format}")
    if share is None:
        raise click.UsageError("--seed chooses what --hold-out holds out: name a share with --hold-out")
    return hold_out_of(open_source(format, path), share=share, seed=seed or 0)


def _result(made: Catalog, stood: bool, seconds: float) -> dict[str, Any]:
    manifest = made.manifest
    read = manifest.images + manifest.photos
    return {
        "catalog": manifest.name,
        "version": manifest.version,
        "images": manifest.images,
        "products": manifest.products,
        "journal_sequence": manifest.journal_sequence,
        "categories": manifest.categories,
        "attributes": manifest.attributes,
        "photos": manifest.photos,
        "photo_splits": manifest.photo_splits,
        "skipped": manifest.skipped,
        "skipped_list": made.skipped_path(),
        "reused": stood,
        "seconds": seconds,
        "images_per_s": 0.0 if stood else round(read / max(seconds, 0.1), 1),
    }


def _text(made: Catalog, stood: bool) -> str:
    manifest = made.manifest
    lines = [
        f"catalogue {manifest.name} version {manifest.version}: {manifest.images:,} images of {manifest.products:,} "
        f"products in {len(manifest.categories)} categories{', stood already' if stood else ''}"
    ]
    if manifest.photos:
        splits = ", ".join(f"{split} {count:,}" for split, count in manifest.photo_splits.items())
        lines.append(f"{manifest.photos:,} photos: {splits}")
    lines += [f"{count:,} x {reason}" for reason, count in manifest.skipped.items()]
    if manifest.skipped:
        lines.append(f"these are listed in {made.skipped_path()}")
    return "\n".join(lines)


@catalog.command("list")
@shared_options
def list_(invocation: Invocation) -> None:
    """List the catalogues, each with its newest version."""
    found = [open_catalog(invocation.store, name).manifest for name in invocation.store.names("catalogs")]
    lines = [f"{m.name}  version {m.version}  {_size(m)}  from {m.source}" for m in found]
    invocation.report(
        {"catalogs": [dataclasses.asdict(manifest) for manifest in found]},
        "\n".join(lines) or "no catalogues yet: visnet catalog import",
    )


def _size(manifest: CatalogManifest) -> str:
    return f"{manifest.images:,} images" + (f", {manifest.photos:,} photos" if manifest.photos else "")


def _counted(batches: Iterator[pa.Table], bar: Progress) -> Iterator[pa.Table]:
    for batch in batches:
        yield batch
        bar.update(len(batch))
