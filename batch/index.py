"""Building the index on Ray: one task per shard, each reading what it needs and writing its own part."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog, open_catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.errors import StoreError
from visnet.platform.index import IndexManifest, catalog_rows, write_shard
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.settings import IndexSettings
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.platform.store import Store


def build_index(
    store: Store, catalog: Catalog, encoder: str, settings: IndexSettings
) -> tuple[IndexManifest, dict[str, float]]:
    """Build the shards from the catalogue's embeddings, on a connected Ray cluster.

    Returns:
        The manifest, and `seconds` and `rows_per_s` of the build (0 where it stood already).

    Raises:
        StoreError: the catalogue has not been embedded with this encoder, or the counts do not add up.
    """
    import ray

    directory = embeddings_directory(encoder, catalog.manifest.name, catalog.manifest.version)
    embeddings = read_manifest(store, directory, EmbeddingsManifest)
    index = f"{encoder}-{digest_of(embeddings.encoder_digest, catalog.reference, settings.shards)}"
    if has_manifest(store, f"indexes/{index}"):
        return read_manifest(store, f"indexes/{index}", IndexManifest), {"seconds": 0.0, "rows_per_s": 0.0}
    started = time.monotonic()
    arguments = (store, index, catalog.manifest.name, catalog.manifest.version, directory)
    task = ray.remote(num_cpus=1)(build_shard)
    pending = {task.remote(*arguments, shard, settings.shards): shard for shard in range(settings.shards)}
    counts: dict[int, tuple[int, int]] = {}
    with progress("indexing", total=embeddings.rows, unit="images") as bar:
        while pending:
            done, _ = ray.wait(list(pending))
            shard = pending.pop(done[0])
            counts[shard] = ray.get(done[0])
            bar.update(counts[shard][0])
    seconds = time.monotonic() - started
    shard_rows = [counts[shard][0] for shard in range(settings.shards)]
    if sum(shard_rows) != embeddings.rows:
        raise StoreError(f"{embeddings.rows} images were embedded, but {sum(shard_rows)} rows were indexed")
    manifest = IndexManifest(
        index=index,
        encoder=encoder,
        encoder_digest=embeddings.encoder_digest,
        dimension=embeddings.dimension,
        metric="inner_product" if HIGHER_IS_BETTER else "distance",
        catalog=catalog.manifest.name,
        catalog_version=catalog.manifest.version,
        rows=sum(shard_rows),
        products=sum(products for _, products in counts.values()),
        shard_rows=shard_rows,
        settings={"shards": settings.shards},
    )
    write_manifest(store, f"indexes/{index}", manifest)
    return manifest, {"seconds": round(seconds, 1), "rows_per_s": round(manifest.rows / seconds, 1)}


def build_shard(
    store: Store, index: str, catalog_name: str, version: str, embeddings: str, shard: int, shards: int
) -> tuple[int, int]:
    """Write one shard; returns its rows and its products."""
    catalog = open_catalog(store, catalog_name, version)
    part_rows = [pq.read_metadata(path, filesystem=store.filesystem).num_rows for path in catalog.part_paths()]
    rows = catalog_rows(catalog.read(_columns(catalog)), part_rows)
    manifest = read_manifest(store, embeddings, EmbeddingsManifest)
    vectors = pa.concat_tables(_read_part(store, f"{embeddings}/{part}") for part in manifest.parts)
    return write_shard(store, index, shard, embeddings=vectors, catalog=rows, shards=shards)


def _columns(catalog: Catalog) -> list[str]:
    return ["image_id", "product_id", "category", "content_hash", *catalog.manifest.attributes]


def _read_part(store: Store, name: str) -> Any:
    return pq.read_table(store.path(name), columns=["image_id", "content_hash", "vector"], filesystem=store.filesystem)
