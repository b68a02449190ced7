"""`visnet index build | list`: from embeddings to what is searched."""

from __future__ import annotations

from typing import Any

import click

from visnet.batch.options import encoder_option
from visnet.platform.catalog import open_catalog
from visnet.platform.command import Invocation, cluster_options, overridden, shared_options
from visnet.platform.encoder_manifest import newest_encoder
from visnet.platform.index import IndexManifest


@click.group()
def index() -> None:
    """Build and look at indexes."""


@index.command("build")
@click.option("--catalog", "catalog_name", required=True, metavar="NAME", help="The catalogue to index.")
@encoder_option
@click.option(
    "--shards",
    type=click.IntRange(1),
    help="Parts to split the index into, by product. Each is built by a task of its own and served by a process of "
    "its own, so a shard has to fit into one machine.",
)
@click.option(
    "--kind",
    type=click.Choice(["exact", "ivf-pq"]),
    help="exact (the default) compares with every vector: nothing is missed, 2 bytes per dimension and row. ivf-pq "
    "looks into the nearest lists only, at codes of a few bytes: for more rows than memory, or than time, allow. Its "
    "recall against exact search is measured and kept with the index.",
)
@click.option(
    "--nlist",
    type=click.IntRange(0),
    help="ivf-pq: lists per shard. More lists are shorter: faster to look into, slower to train. 0: 4 * sqrt(rows).",
)
@click.option(
    "--pq-bytes",
    type=click.IntRange(0),
    help="ivf-pq: bytes of a row's code; has to divide the dimension. More is more memory and better candidates. "
    "0: a quarter of the dimension.",
)
@click.option(
    "--nprobe",
    type=click.IntRange(0),
    help="ivf-pq: lists that a query looks into: the first thing to raise if the recall is too low, at a price in "
    "time. 0: a sixteenth of the lists.",
)
@click.option(
    "--refine",
    type=click.IntRange(1),
    help="ivf-pq: candidates for every result, ranked by their true vectors: the second thing to raise.",
)
@click.option(
    "--min-ann-recall",
    type=click.FloatRange(0, 1),
    help="ivf-pq: the bar. The build fails, and leaves no index, if less than this share of the exact answers is "
    "found.",
)
@cluster_options
@shared_options
def build(
    invocation: Invocation, catalog_name: str, encoder: str | None, address: str | None, fit: bool, **options: Any
) -> None:
    """Build the index of an embedded catalogue, shard by shard in parallel.

    A build that was interrupted is begun anew; one that finished is not repeated.
    """
    from visnet.batch.index import build_index

    store = invocation.store
    catalog = open_catalog(store, catalog_name)
    encoder = encoder or newest_encoder(store).encoder
    with invocation.cluster(address):
        manifest, figures = build_index(store, catalog, encoder, overridden(invocation.fitted(fit).index, **options))
    size_bytes = store.size_bytes(f"indexes/{manifest.index}")
    invocation.report(
        {
            "index": manifest.index,
            "kind": manifest.kind,
            "rows": manifest.rows,
            "products": manifest.products,
            "shard_rows": manifest.shard_rows,
            "size_bytes": size_bytes,
            "ann_recall_at_k": manifest.ann_recall_at_k,
            "recall_k": manifest.recall_k,
            "reused": figures["seconds"] == 0,
            **figures,
        },
        f"index {manifest.index}: {manifest.rows:,} rows in {manifest.shards} shards, {size_bytes / 2**20:.1f} MiB, "
        + _kind(manifest),
    )


@index.command("list")
@shared_options
def list_indexes(invocation: Invocation) -> None:
    """List the indexes of the store, the newest last."""
    from visnet.platform.index import read_index
    from visnet.platform.manifest import finished

    found = [read_index(invocation.store, name) for name in finished(invocation.store, "indexes")]
    found.sort(key=lambda manifest: manifest.created_at)
    lines = [
        f"{m.index}  {m.rows:,} rows  {m.shards} shards  {_kind(m)}  {m.catalog}-{m.catalog_version}" for m in found
    ]
    described = [
        {"index": m.index, "kind": m.kind, "rows": m.rows, "ann_recall_at_k": m.ann_recall_at_k} for m in found
    ]
    invocation.report(
        {"indexes": [m.index for m in found], "described": described},
        "\n".join(lines) or "no indexes yet: visnet index build",
    )


def _kind(manifest: IndexManifest) -> str:
    """The kind of an index, with its recall if it is approximate."""
    if manifest.ann_recall_at_k is None:
        return manifest.kind
    return f"{manifest.kind} (ann_recall_at_{manifest.recall_k} {manifest.ann_recall_at_k:.4f})"
