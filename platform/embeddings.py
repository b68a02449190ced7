"""The embeddings artifact: the vectors of one encoder over one catalogue version, and what became of every row.

    embeddings/<encoder>/<catalog>-<version>/part-00000.parquet   ids, content_hash, catalog_row, vector
    embeddings/<encoder>/<catalog>-<version>/quarantine.parquet   image_id, product_id, reason
    embeddings/<encoder>/<catalog>-<version>/manifest.json

Part n has the rows of part n of the catalogue, in its order, without those in quarantine: whoever reads both side by
side needs no join. `catalog_row` says which row of the catalogue's part it was. A further attempt at what is in
quarantine is an artifact of its own, `…-<version>~2`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.manifest import Manifest, has_manifest, read_manifest
from visnet.platform.store import Store

# N rows, D embedding

ID_COLUMNS = ("image_id", "product_id", "content_hash")
QUARANTINE = "quarantine.parquet"
QUARANTINE_SCHEMA = pa.schema([("image_id", pa.string()), ("product_id", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True, kw_only=True)
class EmbeddingsManifest(Manifest):
    """The vectors of one encoder over one catalogue version, and what became of every row."""

    encoder: str
    encoder_digest: str
    dimension: int
    catalog: str
    catalog_version: str
    parts: list[str]
    """One for each part of the catalogue, in its order."""
    images: int
    """Rows of the catalogue; equal to `embedded` + `reused` + `quarantined`."""
    embedded: int
    """Rows whose vector this pass computed."""
    reused: int = 0
    """Rows whose vector was there: of an earlier pass, or of another row with the same bytes."""
    quarantined: int
    attempt: int = 1
    """From 2 on: what was in quarantine in the attempt before was tried again."""
    sources: list[str] = field(default_factory=list)
    """The embeddings whose vectors were reused; this artifact does not need them any more."""
    settings: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows that have a vector."""
        return self.embedded + self.reused

    @property
    def directory(self) -> str:
        return embeddings_directory(self.encoder, self.catalog, self.catalog_version, attempt=self.attempt)


def embeddings_schema(dimension: int) -> pa.Schema:
    """The columns of a part."""
    ids = [pa.field(name, pa.string(), nullable=False) for name in ID_COLUMNS]
    vector = pa.list_(pa.float16(), dimension)
    return pa.schema([*ids, pa.field("catalog_row", pa.int64(), nullable=False), pa.field("vector", vector)])


def embeddings_directory(encoder: str, catalog: str, version: str, *, attempt: int = 1) -> str:
    return f"embeddings/{encoder}/{catalog}-{version}{f'~{attempt}' if attempt > 1 else ''}"


def find_embeddings(store: Store, encoder: str, catalog: str, version: str) -> EmbeddingsManifest:
    """The last attempt at a catalogue's embeddings.

    Raises:
        StoreError: there is none.
    """
    attempt = 1
    while has_manifest(store, embeddings_directory(encoder, catalog, version, attempt=attempt + 1)):
        attempt += 1
    directory = embeddings_directory(encoder, catalog, version, attempt=attempt)
    return read_manifest(store, directory, EmbeddingsManifest)


def vector_array(vector_ND: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors as the Arrow column they are stored in: fixed-size list of float16."""
    values = pa.array(np.ascontiguousarray(vector_ND, dtype=np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vector_ND.shape[1])


def vector_matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> np.ndarray:
    """The vectors of such a column: float16, (N, D)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    matrix: np.ndarray = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    return matrix
