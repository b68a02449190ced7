"""The recommendations artifact: for every product its most similar others, laid out as the shards are.

    recommendations/<id>/manifest.json
    recommendations/<id>/shard-0000.arrow     product_id, neighbour_ids, scores; sorted by product_id; mapped

A product's recommendations stand in the file of the shard that owns it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import pyarrow as pa

from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.manifest import Manifest, finished, read_manifest
from visnet.platform.store import Store

SCHEMA = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("neighbour_ids", pa.list_(pa.string())),
        pa.field("scores", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class RecommendationsManifest(Manifest):
    """Which index they were computed on, and how many each product has."""

    recommendations: str
    index: str
    encoder_digest: str
    products: int
    k: int
    """Neighbours of each product, at most."""


def newest_recommendations(store: Store, index: str) -> RecommendationsManifest:
    """The recommendations that were computed last on an index.

    Raises:
        NotFoundError: there are none.
    """
    names = [name for name in finished(store, "recommendations") if name.startswith(f"{index}-")]
    manifests = [read_manifest(store, f"recommendations/{name}", RecommendationsManifest) for name in names]
    if not manifests:
        raise NotFoundError(f"index {index} has no recommendations yet; make them with visnet recommend")
    return max(manifests, key=lambda manifest: manifest.created_at)


def write_neighbours(store: Store, recommendations: str, shard: int, table: pa.Table) -> None:
    """Write one shard's products with their neighbours (columns of `SCHEMA`)."""
    table = table.select(SCHEMA.names).cast(SCHEMA).sort_by("product_id")
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(table.combine_chunks())
    store.write(_file(recommendations, shard), sink.getvalue())


class Neighbours:
    """One shard's precomputed recommendations, mapped from disk.

    Raises:
        StoreError: its file is missing or broken.
    """

    def __init__(self, store: Store, recommendations: str, shard: int) -> None:
        name = _file(recommendations, shard)
        try:
            file = pa.ipc.open_file(pa.memory_map(str(store.local_path(name))))
        except (OSError, ValueError) as error:
            raise StoreError(f"can't read {name}: {error}") from None
        self._table = file.read_all().combine_chunks()

    def of(self, product_id: str) -> list[tuple[str, float]] | None:
        """(product id, score), best first; None if nothing was computed for this product."""
        low, high = 0, len(self._table)
        products = self._table["product_id"]
        while low < high:
            middle = (low + high) // 2
            if products[middle].as_py() < product_id:
                low = middle + 1
            else:
                high = middle
        if low == len(self._table) or products[low].as_py() != product_id:
            return None
        row = self._table.slice(low, 1).to_pylist()[0]
        return list(zip(row["neighbour_ids"], row["scores"], strict=True))


def _file(recommendations: str, shard: int) -> str:
    return f"recommendations/{recommendations}/shard-{shard:04d}.arrow"
