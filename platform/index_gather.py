"""The second half of an index build: the blocks of one shard become its files.

It holds the shard's vectors once, its rows once and one block; sorting writes them piece by piece, not into a second
copy. Which blocks the rows came in leaves no trace: the files are the same byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.errors import StoreError
from visnet.platform.index_scatter import Block
from visnet.platform.shard_keys import ranks, write_keys
from visnet.platform.store import Store

# N rows, D embedding

WRITE_BYTES = 2**24
"""Sorted vectors that are in memory at once."""
BATCH_BYTES = 2**30
"""One column of rows.arrow is one run of memory up to so many bytes: Arrow's strings end at twice that."""
VECTORS, ROWS = "vectors.npy", "rows.arrow"
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


@dataclass(frozen=True, kw_only=True)
class ShardCounts:
    """What a shard was written with."""

    shard: int
    rows: int
    products: int


def shard_directory(index: str, shard: int) -> str:
    return f"indexes/{index}/shard-{shard:04d}"


def write_shard(store: Store, index: str, shard: int, blocks: Iterable[Block], rows: int) -> ShardCounts:
    """Write one shard, sorted by category, product and image.

    Args:
        blocks: its rows; at least one block, each let go of before the next is taken.
        rows: how many they are together.

    Raises:
        StoreError: they are not as many.
    """
    gathered = _gather(blocks, rows)
    category_N, product_N = ranks(gathered.rows["category"]), ranks(gathered.rows["product_id"])
    keys = pa.table({"category": category_N, "product": product_N, "image": gathered.rows["image_id"]})
    order_N = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
    del keys, category_N
    directory = shard_directory(index, shard)
    with store.writer(f"{directory}/{VECTORS}") as file:
        _write_vectors(file, gathered.vector_ND, order_N)
    gathered.vector_ND = np.empty((0, 0), np.float16)  # the larger half is done with
    content_N, hash_N = gathered.content_N[order_N], gathered.hash_N[order_N]
    products = write_keys(store, directory, product_N[order_N], content_N, hash_N)
    with store.writer(f"{directory}/{ROWS}") as file:
        _write_rows(file, gathered.rows, order_N)
    return ShardCounts(shard=shard, rows=rows, products=products)


@dataclass(kw_only=True)
class _Gathered:
    """A shard's rows in the order they came."""

    rows: pa.Table
    vector_ND: np.ndarray
    hash_N: np.ndarray
    content_N: np.ndarray


def _gather(blocks: Iterable[Block], rows: int) -> _Gathered:
    tables: list[pa.Table] = []
    vector_ND = np.empty((0, 0), np.float16)
    hash_N, content_N = np.empty(rows, np.uint64), np.empty(rows, np.int64)
    filled = 0
    for block in blocks:
        if not tables:
            vector_ND = np.empty((rows, block.vector_ND.shape[1]), np.float16)
        end = filled + len(block)
        if end > rows:
            raise StoreError(f"a shard of {rows} rows got {end}")
        vector_ND[filled:end], hash_N[filled:end], content_N[filled:end] = (
            block.vector_ND,
            block.hash_N,
            block.content_N,
        )
        tables.append(_own(block.rows))
        filled = end
        del block  # or it would stay until the next one is here
    if filled != rows or not tables:
        raise StoreError(f"a shard of {rows} rows got {filled} in {len(tables)} blocks")
    return _Gathered(rows=pa.concat_tables(tables), vector_ND=vector_ND, hash_N=hash_N, content_N=content_N)


def _own(rows: pa.Table) -> pa.Table:
    """A copy that does not keep its block alive, with strings that may be joined past 2 GiB."""
    copied = rows.take(pa.array(np.arange(len(rows))))
    fields = [field.with_type(_LARGE.get(field.type, field.type)) for field in copied.schema]
    return copied.cast(pa.schema(fields))


def _write_vectors(file: BinaryIO, vector_ND: np.ndarray, order_N: np.ndarray) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(vector_ND.dtype), "fortran_order": False, "shape": vector_ND.shape}
    np.lib.format.write_array_header_1_0(file, header)
    step = max(1, WRITE_BYTES // max(1, vector_ND.shape[1] * vector_ND.itemsize))
    for first in range(0, len(order_N), step):
        file.write(vector_ND[order_N[first : first + step]].data)


def _write_rows(file: BinaryIO, rows: pa.Table, order_N: np.ndarray) -> None:
    """Write rows in order, one column after the other: as one batch, or a few where a column would be too long."""
    order = pa.array(order_N)
    batches = 1 + max(rows[name].nbytes for name in rows.column_names) // BATCH_BYTES
    step = max(1, -(-len(order) // batches))
    starts = range(0, max(1, len(order)), step)
    columns: dict[str, list[pa.Array]] = {}
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        rows = rows.drop_columns([name])
        columns[name] = [_plain(column.take(order.slice(start, step))) for start in starts]
        del column
    table = pa.table({name: pa.chunked_array(parts) for name, parts in columns.items()})
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _plain(column: pa.Array) -> pa.Array:
    small = {large: plain for plain, large in _LARGE.items()}
    return column.cast(small.get(column.type, column.type))
