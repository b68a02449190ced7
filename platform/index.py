"""The index artifact: exact shards on disk, each a block of float16 vectors beside its rows.

    indexes/<id>/manifest.json
    indexes/<id>/shard-0000/vectors.npy     float16 (rows, dimension)
    indexes/<id>/shard-0000/rows.arrow      ids, category, attributes, where the image is; mapped, not loaded

A row says where its image stands in the catalogue (part and row), so that the service can show it without a copy.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.catalog import IMAGE_FIELDS
from visnet.platform.embeddings import vector_matrix
from visnet.platform.errors import DigestMismatchError, NotFoundError, StoreError
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.partition import shard_of
from visnet.platform.shard import Shard
from visnet.platform.store import Store

# N rows, D embedding

LOCATION_FIELDS = ("catalog_part", "catalog_row")


@dataclass(frozen=True, kw_only=True)
class IndexManifest(Manifest):
    """An index: which vectors it holds, in how many shards."""

    index: str
    encoder: str
    encoder_digest: str
    dimension: int
    metric: str
    catalog: str
    catalog_version: str
    rows: int
    """Images, over all shards."""
    products: int
    shard_rows: list[int]
    """Images of each shard; its length is the number of shards."""
    settings: dict[str, Any]

    @property
    def shards(self) -> int:
        return len(self.shard_rows)


def shard_directory(index: str, shard: int) -> str:
    return f"indexes/{index}/shard-{shard:04d}"


def write_shard(
    store: Store, index: str, shard: int, *, embeddings: pa.Table, catalog: pa.Table, shards: int
) -> tuple[int, int]:
    """Write one shard: the rows whose product hashes to it, joined, sorted by category.

    Args:
        embeddings: image_id, content_hash, vector (fixed-size list of float16).
        catalog: the catalogue's columns but the images, with `LOCATION_FIELDS`.
        shards: how many there are in all.

    Returns:
        Rows and products written.
    """
    mine = [shard_of(product, shards) == shard for product in catalog["product_id"].to_pylist()]
    rows = catalog.filter(pa.array(mine, pa.bool_())).drop_columns(["content_hash"])
    found = pc.index_in(rows["image_id"], value_set=embeddings["image_id"].combine_chunks())
    rows = rows.append_column("embedding_row", found).filter(pc.is_valid(found))  # quarantined images have no vector
    rows = rows.sort_by([("category", "ascending"), ("product_id", "ascending"), ("image_id", "ascending")])
    taken = embeddings.select(["content_hash", "vector"]).take(rows["embedding_row"]).combine_chunks()
    rows = rows.drop_columns(["embedding_row"]).append_column("content_hash", taken["content_hash"])
    directory = shard_directory(index, shard)
    store.write(f"{directory}/vectors.npy", _npy(vector_matrix(taken["vector"])))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    store.write(f"{directory}/rows.arrow", sink.getvalue())
    return len(rows), pc.count_distinct(rows["product_id"]).as_py()


def catalog_rows(columns: pa.Table, part_rows: list[int]) -> pa.Table:
    """The catalogue's rows without the image columns, each with its part and its row in it."""
    parts = np.repeat(np.arange(len(part_rows)), part_rows)
    rows = np.concatenate([np.arange(count) for count in part_rows]) if part_rows else np.empty(0, int)
    kept = columns.drop_columns([name for name in IMAGE_FIELDS if name in columns.column_names])
    kept = kept.append_column(LOCATION_FIELDS[0], pa.array(parts, pa.int32()))
    return kept.append_column(LOCATION_FIELDS[1], pa.array(rows, pa.int64()))


def read_index(store: Store, index: str) -> IndexManifest:
    """The manifest of an index."""
    return read_manifest(store, f"indexes/{index}", IndexManifest)


def newest_index(store: Store) -> IndexManifest:
    """The index that was made last.

    Raises:
        NotFoundError: the store has none.
    """
    manifests = [read_index(store, name) for name in finished(store, "indexes")]
    if not manifests:
        raise NotFoundError(f"{store.location} has no index yet; make one with visnet index build")
    return max(manifests, key=lambda manifest: manifest.created_at)


def load_shard(
    store: Store, index: str, shard: int, *, encoder_digest: str | None = None, device: str = "cpu"
) -> Shard:
    """Read one shard, ready to search.

    Args:
        encoder_digest: the encoder that will make the queries; None for those who only compare stored vectors.

    Raises:
        DigestMismatchError: the index was made by another encoder: its answers would be noise.
        StoreError: no such shard, or it is not what the manifest says.
    """
    manifest = read_index(store, index)
    if encoder_digest is not None and manifest.encoder_digest != encoder_digest:
        raise DigestMismatchError(
            f"index {index} was made by encoder digest {manifest.encoder_digest[:12]}, the queries come from "
            f"{encoder_digest[:12]}: embed and index the catalogue with that encoder, or serve the release they are of"
        )
    if not 0 <= shard < manifest.shards:
        raise StoreError(f"index {index} has shards 0 to {manifest.shards - 1}, not {shard}")
    directory = shard_directory(index, shard)
    try:
        vectors = np.load(store.local_path(f"{directory}/vectors.npy"), mmap_mode="r", allow_pickle=False)
        rows = pa.ipc.open_file(pa.memory_map(str(store.local_path(f"{directory}/rows.arrow")))).read_all()
    except (OSError, ValueError, EOFError) as error:  # gone, cut off, or not what its name says
        raise StoreError(f"can't read {directory}: {error}") from None
    if len(rows) != manifest.shard_rows[shard]:
        raise StoreError(f"{directory} has {len(rows)} rows, its manifest says {manifest.shard_rows[shard]}")
    if vectors.shape[1:] != (manifest.dimension,):
        raise StoreError(f"{directory} has vectors {vectors.shape}, its manifest says dimension {manifest.dimension}")
    return Shard(vectors, rows, device=device)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
