"""An embedded catalogue, made on the spot: what an index is built from, without an encoder."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import write_catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory, embeddings_schema, vector_array
from visnet.platform.index_scatter import Sources
from visnet.platform.manifest import write_manifest
from visnet.platform.store import Store

DIGEST = "d" * 64


@dataclass(frozen=True, eq=False)
class Shop:
    """An embedded catalogue and what it was made of."""

    sources: Sources
    rows: pa.Table
    """The catalogue's rows, with those in quarantine."""
    vector_ND: np.ndarray
    """float16: of all rows."""
    quarantined: frozenset[str]


def unit_vectors(count: int, dimension: int, *, clusters: int = 0, seed: int = 0) -> np.ndarray:
    """Random unit vectors in float16, around so many centres if any."""
    dice = np.random.default_rng(seed)
    vector_ND = dice.normal(size=(count, dimension))
    if clusters:
        vector_ND = 0.3 * vector_ND + dice.normal(size=(clusters, dimension))[dice.integers(0, clusters, count)]
    unit: np.ndarray = (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float16)
    return unit


def shop_rows(count: int, *, images_per_product: int = 2, categories: int = 4, copies: int = 1) -> pa.Table:
    """Rows whose ids sort otherwise than they stand; every `copies` neighbours have the same bytes."""
    return pa.table(
        {
            "image_id": [f"i{n}" for n in range(count)],
            "product_id": [f"p{n // images_per_product}" for n in range(count)],
            "category": [f"c{n % categories}" for n in range(count)],
            "image": pa.array([f"picture {n // copies}".encode() for n in range(count)], pa.binary()),
            "price": [n / 2 for n in range(count)],
            "brand": pa.array([f"b{n % 7}" for n in range(count)]).dictionary_encode(),
            "empty": pa.nulls(count),
        }
    )


def embedded_shop(
    store: Store,
    rows: pa.Table | None = None,
    *,
    dimension: int = 8,
    per_part: int = 10,
    quarantined: frozenset[str] = frozenset(),
    clusters: int = 0,
) -> Shop:
    """A catalogue in parts of `per_part` rows, with random vectors for all but the quarantined images."""
    rows = shop_rows(30) if rows is None else rows
    batches = [rows.slice(start, per_part) for start in range(0, len(rows), per_part)]
    with mock.patch.object(catalog_module, "ROWS_PER_PART", per_part):
        catalog = write_catalog(store, name="shop", version="v1", source="a test", batches=batches)
    vector_ND = unit_vectors(len(rows), dimension, clusters=clusters)
    start, parts, embedded = 0, [], 0
    for number, path in enumerate(catalog.part_paths()):
        part = pq.read_table(path, columns=["image_id", "product_id", "content_hash"])
        here = vector_ND[start : start + len(part)]
        parts.append(f"part-{number:05d}.parquet")
        embedded += write_part(store, parts[-1], part, here, quarantined)
        start += len(part)
    manifest = EmbeddingsManifest(
        encoder="e",
        encoder_digest=DIGEST,
        dimension=dimension,
        catalog="shop",
        catalog_version="v1",
        parts=parts,
        images=len(rows),
        embedded=embedded,
        quarantined=len(rows) - embedded,
        settings={},
    )
    write_manifest(store, embeddings_directory("e", "shop", "v1"), manifest)
    return Shop(Sources(catalog, manifest), rows, vector_ND, quarantined)


def write_part(
    store: Store, name: str, part: pa.Table, vector_ND: np.ndarray, quarantined: frozenset[str], **changes: Any
) -> int:
    """Write one part of the embeddings; `changes` replace columns. Returns its rows."""
    kept = [row for row, image in enumerate(part["image_id"].to_pylist()) if image not in quarantined]
    table = part.append_column("catalog_row", pa.array(range(len(part)), pa.int64()))
    table = table.append_column("vector", vector_array(vector_ND)).take(pa.array(kept, pa.int64()))
    for column, values in changes.items():
        table = table.set_column(table.column_names.index(column), column, values)
    if not changes:
        table = table.cast(embeddings_schema(vector_ND.shape[1]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.write(f"{embeddings_directory('e', 'shop', 'v1')}/{name}", buffer.getvalue())
    return len(kept)
