"""What a shard knows of its rows besides their columns: which share a product or an image, and where a product is.

    indexes/<id>/shard-0000/keys.arrow   product_number   int32   rank of the row's product among the shard's, from 0
                                         content_key      int64   equal for images with the same bytes, in all shards
                                         row_by_hash      int32   the rows in the order of their products' hashes
                                         product_hash     uint64  those hashes, ascending

A built shard maps these 24 bytes a row; tables that come from elsewhere have them worked out, the hashes only when
they are asked for: hashing a million ids takes two seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.partition import product_hash
from visnet.platform.store import Store

# N rows

KEYS = "keys.arrow"


class HashOrder(NamedTuple):
    """A shard's rows by the hash of their product."""

    row_N: np.ndarray
    """Rows, in the order of `hash_N` and then their own."""
    hash_N: np.ndarray
    """uint64, ascending."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowKeys:
    """The numbers of a shard's rows."""

    product_N: np.ndarray
    """int32 or int64: rank of the product by its id, 0 to `products` - 1."""
    content_N: np.ndarray
    """int64: equal bytes, equal number; of built shards also across shards. A row without a hash equals no other."""
    products: int
    contents: int
    """Different products and images."""
    hashes: Callable[[], HashOrder]

    def __len__(self) -> int:
        return len(self.product_N)

    def rows_with_hash(self, product_id: str) -> np.ndarray:
        """The rows whose product has the same hash, ascending: that product's, and very rarely another's too."""
        order, wanted = self.hashes(), np.uint64(product_hash(product_id))
        first, last = np.searchsorted(order.hash_N, wanted, "left"), np.searchsorted(order.hash_N, wanted, "right")
        return np.sort(order.row_N[first:last]).astype(np.int64)


def keys_of(rows: pa.Table) -> RowKeys:
    """The keys of any rows with product_id and content_hash, whatever the hashes look like."""
    product_N = ranks(rows["product_id"])
    content_N = _codes(rows["content_hash"])
    ids = rows["product_id"]
    return RowKeys(
        product_N=product_N,
        content_N=content_N,
        products=int(product_N.max(initial=-1)) + 1,
        contents=len(np.unique(content_N)),
        hashes=functools.cache(lambda: hash_order(product_hashes(ids))),
    )


def write_keys(store: Store, directory: str, product_N: np.ndarray, content_N: np.ndarray, hash_N: np.ndarray) -> int:
    """Write the keys of a shard's rows.

    Args:
        product_N: rank of each row's product.
        content_N: int64 key of each row's image.
        hash_N: uint64 hash of each row's product.

    Returns:
        Different products.
    """
    order = hash_order(hash_N)
    products = int(product_N.max(initial=-1)) + 1
    counts = {"products": str(products), "contents": str(len(np.unique(content_N)))}
    columns = {
        "product_number": pa.array(product_N, pa.int32()),
        "content_key": pa.array(content_N, pa.int64()),
        "row_by_hash": pa.array(order.row_N, pa.int32()),
        "product_hash": pa.array(order.hash_N, pa.uint64()),
    }
    batch = pa.record_batch(columns).replace_schema_metadata(counts)
    with store.writer(f"{directory}/{KEYS}") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return products


def read_keys(store: Store, directory: str) -> RowKeys:
    """Map the keys of a built shard; raises OSError or ValueError if the file is not what it should be."""
    with pa.ipc.open_file(pa.memory_map(str(store.local_path(f"{directory}/{KEYS}")))) as reader:
        batch, counts = reader.get_batch(0), reader.schema.metadata
    try:
        order = HashOrder(batch["row_by_hash"].to_numpy(), batch["product_hash"].to_numpy())
        return RowKeys(
            product_N=batch["product_number"].to_numpy(),
            content_N=batch["content_key"].to_numpy(),
            products=int(counts[b"products"]),
            contents=int(counts[b"contents"]),
            hashes=lambda: order,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{KEYS} lacks {error}") from None


def product_hashes(products: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The hash of every product id, uint64 (N,); each different id is hashed once."""
    different = pc.unique(products)
    hash_P = np.array([product_hash(product) for product in different.to_pylist()], np.uint64)
    found: np.ndarray = hash_P[pc.index_in(products, value_set=different).to_numpy()]
    return found


def hash_order(hash_N: np.ndarray) -> HashOrder:
    """Rows sorted by hash; equal ones in their own order."""
    row_N = np.argsort(hash_N, kind="stable")
    return HashOrder(row_N, hash_N[row_N])


def ranks(names: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The rank of every name among the different ones, sorted as UTF-8; int32 (N,), from 0."""
    different = pc.unique(names)
    different = different.take(pc.sort_indices(different))
    rank_N: np.ndarray = pc.index_in(names, value_set=different).to_numpy()
    return rank_N


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Equal values as equal integers; a null equals nothing."""
    encoded = column.combine_chunks().dictionary_encode()
    codes: np.ndarray = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    empty = codes == -1
    codes[empty] = -1 - np.arange(int(empty.sum()))
    return codes
