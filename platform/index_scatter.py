"""The first half of an index build: rows of the embeddings and of the catalogue, side by side, split by shard.

Every part is read once, whatever the number of shards. Reading a group of parts takes the memory of the group twice;
`groups` keeps it near `GROUP_BYTES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.content import short_keys
from visnet.platform.embeddings import EmbeddingsManifest, vector_matrix
from visnet.platform.errors import StoreError
from visnet.platform.shard_keys import product_hashes
from visnet.platform.store import Store

# N rows, D embedding

LOCATION_FIELDS = ("catalog_part", "catalog_row")
GROUP_BYTES = 2**26
"""Vectors that are read and split at once."""
_JOINED = ["image_id", "product_id", "content_hash", "catalog_row", "vector"]


@dataclass(frozen=True)
class Sources:
    """What an index is made from."""

    catalog: Catalog
    embeddings: EmbeddingsManifest

    @property
    def store(self) -> Store:
        return self.catalog.store

    @property
    def dimension(self) -> int:
        return self.embeddings.dimension


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of one shard, in the order they were read."""

    rows: pa.Table
    """The catalogue's columns without the images, where the image is, and its content hash."""
    vector_ND: np.ndarray
    """float16."""
    hash_N: np.ndarray
    """uint64: of the products."""
    content_N: np.ndarray
    """int64: keys of the images' bytes."""

    def __len__(self) -> int:
        return len(self.rows)


def groups(sources: Sources, *, at_least: int = 1) -> list[list[int]]:
    """The numbers of the parts, in runs that are read at once.

    Args:
        at_least: so many runs if there are as many parts, however small they are.
    """
    parts = len(sources.embeddings.parts)
    part_bytes = 2 * sources.dimension * sources.embeddings.rows / max(parts, 1)
    together = max(1, min(int(GROUP_BYTES / max(part_bytes, 1)), parts // max(at_least, 1)))
    return [list(range(first, min(first + together, parts))) for first in range(0, parts, together)]


def split(sources: Sources, parts: Sequence[int], shards: int) -> list[Block]:
    """The rows of some parts, one block for each shard: a product goes to the shard `shard_of` names.

    Raises:
        StoreError: a part of the embeddings does not belong to the catalogue's part.
    """
    blocks = [_split_part(sources, part, shards) for part in parts]
    return [concat([of_part[shard] for of_part in blocks]) for shard in range(shards)]


def concat(blocks: Sequence[Block]) -> Block:
    """Blocks as one, in their order; at least one of them."""
    return Block(
        pa.concat_tables([block.rows for block in blocks]).combine_chunks(),
        np.concatenate([block.vector_ND for block in blocks]),
        np.concatenate([block.hash_N for block in blocks]),
        np.concatenate([block.content_N for block in blocks]),
    )


def _split_part(sources: Sources, part: int, shards: int) -> list[Block]:
    joined = _joined_part(sources, part)
    owner_N = joined.hash_N % np.uint64(shards)
    return [_taken(joined, np.flatnonzero(owner_N == shard)) for shard in range(shards)]


def _taken(block: Block, row_N: np.ndarray) -> Block:
    return Block(block.rows.take(pa.array(row_N)), block.vector_ND[row_N], block.hash_N[row_N], block.content_N[row_N])


def _joined_part(sources: Sources, part: int) -> Block:
    """One part of the embeddings with the catalogue's columns beside it."""
    embedded = _read_embeddings(sources, part)
    rows = _read_catalog(sources, part, embedded["catalog_row"])
    for name in ("image_id", "product_id"):
        if not rows[name].equals(embedded[name].cast(rows[name].type)):
            raise _stranger(sources, part, f"{name} differs")
    rows = rows.drop_columns([name for name in ("content_hash", *LOCATION_FIELDS) if name in rows.column_names])
    rows = rows.append_column(LOCATION_FIELDS[0], pa.array(np.full(len(rows), part), pa.int32()))
    rows = rows.append_column(LOCATION_FIELDS[1], embedded["catalog_row"])
    rows = rows.append_column("content_hash", embedded["content_hash"])
    try:
        content_N = short_keys(rows["content_hash"])
    except (ValueError, pa.ArrowInvalid) as error:
        raise _stranger(sources, part, str(error)) from None
    return Block(rows, vector_matrix(embedded["vector"]), product_hashes(rows["product_id"]), content_N)


def _read_embeddings(sources: Sources, part: int) -> pa.Table:
    made = sources.embeddings
    path = sources.store.path(f"{made.directory}/{made.parts[part]}")
    try:
        table = pq.read_table(path, columns=_JOINED, filesystem=sources.store.filesystem).combine_chunks()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"can't read {path}: {error}") from None
    if missing := [name for name in _JOINED if name not in table.column_names]:
        raise _stranger(sources, part, f"it lacks {', '.join(missing)}")
    if table["vector"].type != pa.list_(pa.float16(), made.dimension) or table["vector"].null_count:
        raise _stranger(sources, part, f"its vectors are not all {made.dimension} float16 numbers")
    return table


def _read_catalog(sources: Sources, part: int, row_N: pa.ChunkedArray) -> pa.Table:
    """Those rows of a part of the catalogue, without the images; dictionaries as the values they stand for."""
    names = ["image_id", "product_id", "category", *sources.catalog.manifest.attributes]
    path = sources.catalog.part_paths()[part]
    whole = pq.read_table(path, columns=names, filesystem=sources.store.filesystem).select(names)
    if len(row_N) and not 0 <= pc.min(row_N).as_py() <= pc.max(row_N).as_py() < len(whole):
        raise _stranger(sources, part, f"it names rows beyond the {len(whole)} there are")
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in whole.schema
    ]
    return whole.cast(pa.schema(plain)).take(row_N).combine_chunks()


def _stranger(sources: Sources, part: int, why: str) -> StoreError:
    return StoreError(
        f"part {part} of the embeddings by {sources.embeddings.encoder} does not belong to part {part} of the "
        f"catalogue {sources.catalog.reference}: {why}; embed the catalogue anew: delete "
        f"{sources.embeddings.directory} from the store, then run visnet embed"
    )
