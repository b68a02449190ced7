"""The index artifact: shards on disk, each a block of float16 vectors beside its rows.

    indexes/<id>/manifest.json
    indexes/<id>/shard-0000/vectors.npy     float16 (rows, dimension), sorted by category, product and image
    indexes/<id>/shard-0000/rows.arrow      ids, category, attributes, where the image is; mapped, not loaded
    indexes/<id>/shard-0000/keys.arrow      the rows' products and images as numbers, and a way to find a product
    indexes/<id>/shard-0000/ann.faiss       approximate kinds only: the lists and codes that FAISS searches

A row says where its image stands in the catalogue (part and row), so that the service can show it without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.ann import AnnParameters, AnnVectors, read_ann
from visnet.platform.errors import DigestMismatchError, NotFoundError, StoreError
from visnet.platform.index_gather import ROWS, VECTORS, shard_directory
from visnet.platform.index_scatter import LOCATION_FIELDS as LOCATION_FIELDS
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.shard import Shard
from visnet.platform.shard_keys import KEYS, RowKeys, read_keys
from visnet.platform.store import Store

# N rows, D embedding


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
    embeddings_attempt: int = 1
    """Which attempt at the catalogue's embeddings it was built from."""
    journal_sequence: int = 0
    """The journal's entries up to this one are in the catalogue that was indexed; who serves it applies the later."""
    kind: str = "exact"
    """exact or ivf-pq."""
    ann: list[AnnParameters] = field(default_factory=list)
    """How each shard is searched approximately, if it is; what was left open in the settings is worked out here."""
    ann_recall_at_k: float | None = None
    """Share of the exact answers that the approximate search finds; None: exact, or nothing to measure it with."""
    recall_k: int | None = None
    recall_queries: int | None = None
    """Depth and number of the answers that were compared."""
    min_ann_recall: float | None = None
    """The bar that the recall had to reach."""

    @property
    def shards(self) -> int:
        return len(self.shard_rows)


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
    return open_shard(store, manifest, shard, device=device)


def open_shard(store: Store, manifest: IndexManifest, shard: int, *, device: str = "cpu") -> Shard:
    """One shard of an index that is known to exist; an approximate one is searched on the CPU, whatever the device."""
    directory = shard_directory(manifest.index, shard)
    parameters = manifest.ann[shard] if manifest.ann else None
    try:
        vectors, rows, keys = read_files(store, directory)
        ann = AnnVectors(vectors, read_ann(store, directory), parameters) if parameters and parameters.nlist else None
    except (OSError, ValueError, EOFError, RuntimeError) as error:  # gone, cut off, or not what its name says
        raise StoreError(f"can't read {directory}: {error}") from None
    if len(rows) != manifest.shard_rows[shard]:
        raise StoreError(f"{directory} has {len(rows)} rows, its manifest says {manifest.shard_rows[shard]}")
    if vectors.shape[1:] != (manifest.dimension,):
        raise StoreError(f"{directory} has vectors {vectors.shape}, its manifest says dimension {manifest.dimension}")
    return Shard(vectors, rows, device=device, keys=keys, vectors=ann)


def read_files(store: Store, directory: str) -> tuple[np.ndarray, pa.Table, RowKeys | None]:
    """A shard's vectors, rows and keys, mapped; shards that an older visnet built have no keys."""
    vectors = np.load(store.local_path(f"{directory}/{VECTORS}"), mmap_mode="r", allow_pickle=False)
    rows = pa.ipc.open_file(pa.memory_map(str(store.local_path(f"{directory}/{ROWS}")))).read_all()
    keys = read_keys(store, directory) if store.exists(f"{directory}/{KEYS}") else None
    return vectors, rows, keys
