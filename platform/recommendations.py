"""The recommendations artifact: for every product its most similar others, laid out as the shards are.

    recommendations/<id>/manifest.json
    recommendations/<id>/shard-0000/part-00000.arrow     product_id, neighbour_ids, scores

A product's recommendations stand in a part of the shard that owns it. Products are sorted by id within a part and from
part to part, so that a reader maps the files and finds a product in them without loading anything.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

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
    """Which index they were computed on, by which rules, and how many each product has."""

    recommendations: str
    index: str
    encoder_digest: str
    products: int
    k: int
    """Neighbours of each product, at most."""
    neighbours: int = 0
    """Of all products together."""
    parts: list[int] = field(default_factory=list)
    """Files of each shard."""
    rules: dict[str, Any] = field(default_factory=dict)
    """The settings that say who is recommended to whom."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The others."""


def recommendations_directory(recommendations: str) -> str:
    return f"recommendations/{recommendations}"


def part_name(recommendations: str, shard: int, part: int) -> str:
    """Where a shard's part is."""
    return f"{recommendations_directory(recommendations)}/shard-{shard:04d}/part-{part:05d}.arrow"


def newest_recommendations(store: Store, index: str) -> RecommendationsManifest:
    """The recommendations that were computed last on an index.

    Raises:
        NotFoundError: there are none.
    """
    names = [name for name in finished(store, "recommendations") if name.startswith(f"{index}-")]
    directories = [recommendations_directory(name) for name in names]
    manifests = [read_manifest(store, directory, RecommendationsManifest) for directory in directories]
    if not manifests:
        raise NotFoundError(f"index {index} has no recommendations yet; make them with visnet recommend")
    return max(manifests, key=lambda manifest: manifest.created_at)


def write_part(store: Store, recommendations: str, shard: int, part: int, batch: pa.RecordBatch) -> None:
    """Write some products with their neighbours (columns of `SCHEMA`, sorted by product), in one piece."""
    counts = {"products": str(len(batch)), "neighbours": str(len(batch["neighbour_ids"].flatten()))}
    batch = batch.cast(SCHEMA).replace_schema_metadata(counts)
    with store.writer(part_name(recommendations, shard, part)) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def part_counts(store: Store, name: str) -> tuple[int, int]:
    """Products and neighbours of a part, read from the end of its file.

    Raises:
        StoreError: it is missing or broken.
    """
    try:
        with store.filesystem.open_input_file(store.path(name)) as file, pa.ipc.open_file(file) as reader:
            counts = reader.schema.metadata
            return int(counts[b"products"]), int(counts[b"neighbours"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"can't read {name}: {error}") from None


class Neighbours:
    """One shard's precomputed recommendations, mapped from disk.

    Raises:
        StoreError: one of its files is missing or broken, or they were made by a visnet that laid them out otherwise.
    """

    def __init__(self, store: Store, recommendations: str, shard: int) -> None:
        manifest = read_manifest(store, recommendations_directory(recommendations), RecommendationsManifest)
        if not 0 <= shard < len(manifest.parts):
            raise StoreError(f"recommendations {recommendations} have no shard {shard}: run visnet recommend anew")
        names = [part_name(recommendations, shard, part) for part in range(manifest.parts[shard])]
        self._parts = [_mapped(store, name) for name in names]
        self._firsts = [part["product_id"][0].as_py() for part in self._parts]

    def of(self, product_id: str) -> list[tuple[str, float]] | None:
        """(product id, score), in the order they are recommended; None if nothing was computed for this product."""
        part = bisect.bisect_right(self._firsts, product_id) - 1
        if part < 0:
            return None
        batch = self._parts[part]
        row = bisect.bisect_left(batch["product_id"], product_id, key=lambda scalar: scalar.as_py())
        if row == len(batch) or batch["product_id"][row].as_py() != product_id:
            return None
        return list(zip(batch["neighbour_ids"][row].as_py(), batch["scores"][row].as_py(), strict=True))


def _mapped(store: Store, name: str) -> pa.RecordBatch:
    try:
        with pa.ipc.open_file(pa.memory_map(str(store.local_path(name)))) as reader:
            return reader.get_batch(0)
    except (OSError, ValueError) as error:
        raise StoreError(f"can't read {name}: {error}") from None
