"""Training examples through Ray Data: decoded on CPU tasks, handed to the workers as uint8."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.triplets import triplet_paths
from visnet.train.batch import Batch
from visnet.train.decode import DecodePairs, Decoder, DecodeTriplets, DecodeViews
from visnet.train.examples import Examples, HoldOut, ProductRows, product_rows
from visnet.train.mining import Bank

if TYPE_CHECKING:
    import ray.data

logger = logging.getLogger(__name__)

BLOCK_ROWS = 1_000
CACHE_SHARE = 0.25
"""Decoded examples are kept in the object store if they take at most this share of it."""
PICTURES = {"views": 1, "photos": 2, "images": 2, "triplets": 3}
"""How many pictures an example of each kind has."""


def training_examples(
    catalog: Catalog, examples: Examples, *, side: int, hold_out: HoldOut, seed: int
) -> ray.data.Dataset:
    """The decoded examples in random order, in the columns that the decoders of `decode.py` give.

    What can't be decoded is left out, with a warning. A set that fits is decoded once and kept in the object store; a
    larger one is decoded anew in each epoch.

    Args:
        side: of the decoded squares, in pixels.

    Raises:
        CatalogError: there is nothing to learn from.
    """
    import ray

    rows, decoder = _read(catalog, examples, side, hold_out)
    count = rows.count()
    if not count:
        raise CatalogError(f"catalogue {catalog.reference} has nothing to learn from with {_words(examples)}")
    block = min(BLOCK_ROWS, max(1, count // 8))
    decoded = rows.repartition(target_num_rows_per_block=block).map_batches(
        decoder, batch_format="pyarrow", batch_size=block
    )
    decoded_bytes = count * PICTURES[examples.kind] * side**2 * 3
    if decoded_bytes <= CACHE_SHARE * ray.cluster_resources().get("object_store_memory", 0):
        return decoded.random_shuffle(seed=seed).materialize()
    return decoded.randomize_block_order(seed=seed)


def mining_bank(
    catalog: Catalog, examples: Examples, *, side: int, hold_out: HoldOut, pictures: int
) -> ray.data.Dataset:
    """At most about so many shop pictures, chosen by their products' hashes, decoded and kept in the object store."""
    rows = _filtered(_parquet(catalog, catalog.part_paths(), DecodeViews.COLUMNS, examples.filters), examples, catalog)
    share = min(1.0, pictures / max(1, catalog.manifest.images))
    decoder = DecodeViews(catalog, side=side, hold_out=hold_out, share=share)
    return (
        rows.repartition(target_num_rows_per_block=BLOCK_ROWS)
        .map_batches(decoder, batch_format="pyarrow", batch_size=BLOCK_ROWS)
        .materialize()
    )


def read_bank(shard: Any) -> Bank:
    """The bank as a worker sees it: the blocks stay where they are in the object store."""
    blocks = [block for block in shard.iter_batches(batch_size=None, batch_format="numpy") if len(block["product"])]
    return Bank(
        blocks=[block["positive"] for block in blocks],
        product_N=np.concatenate([block["product"] for block in blocks]),
        category_N=np.concatenate([block["category"] for block in blocks]),
    )


def batches(shard: Any, *, size: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """One epoch of a worker's shard, in batches of just `size` anchors.

    Args:
        shard: the worker's `ray.data.DataIterator`.
        seed: of the order within the shuffle buffer.
    """
    rows = shard.iter_batches(
        batch_size=size,
        batch_format="numpy",
        drop_last=True,
        prefetch_batches=2,
        local_shuffle_buffer_size=8 * size,
        local_shuffle_seed=seed,
    )
    for row in rows:
        tensors = {name: torch.from_numpy(np.array(column)).to(device) for name, column in row.items()}
        pictures = {name: tensor.permute(0, 3, 1, 2) for name, tensor in tensors.items() if tensor.ndim == 4}
        negatives = {}
        if "negative" in tensors:
            negatives = {
                "negative_MCHW": pictures["negative"],
                "negative_product_M": tensors["negative_product"],
                "negative_category_M": tensors["negative_category"],
            }
        yield Batch(
            anchor_BCHW=pictures.get("anchor"),
            positive_BCHW=pictures["positive"],
            product_B=tensors["product"],
            category_B=tensors["category"],
            **negatives,
        )


def _read(catalog: Catalog, examples: Examples, side: int, hold_out: HoldOut) -> tuple[ray.data.Dataset, Decoder]:
    """The rows of a kind of examples, and what decodes them."""
    import ray

    if examples.kind == "triplets":
        paths = triplet_paths(catalog.store, str(examples.triplets))
        rows = ray.data.read_parquet(paths, filesystem=catalog.store.filesystem)
        return rows, DecodeTriplets(catalog, side=side, hold_out=hold_out)
    if examples.kind == "views":
        rows = _parquet(catalog, catalog.part_paths(), DecodeViews.COLUMNS, examples.filters)
        return _filtered(rows, examples, catalog), DecodeViews(catalog, side=side, hold_out=hold_out)
    products = _shared(product_rows(catalog, examples.filters))
    decoder = DecodePairs(catalog, side=side, hold_out=hold_out, products=products)
    if examples.kind == "images":
        rows = _parquet(catalog, catalog.part_paths(), DecodePairs.IMAGE_COLUMNS, examples.filters)
        return _filtered(rows, examples, catalog), decoder
    rows = _parquet(catalog, catalog.photo_paths(), DecodePairs.PHOTO_COLUMNS, (("split", ""),))
    return rows.filter(expr=ray.data.expressions.col("split") == examples.split), decoder


def _parquet(
    catalog: Catalog, paths: list[str], columns: tuple[str, ...], filters: tuple[tuple[str, str], ...]
) -> ray.data.Dataset:
    import ray

    needed = list(dict.fromkeys([*columns, *(column for column, _ in filters)]))
    return ray.data.read_parquet(paths, filesystem=catalog.store.filesystem, columns=needed)


def _filtered(rows: ray.data.Dataset, examples: Examples, catalog: Catalog) -> ray.data.Dataset:
    import ray

    for column, value in examples.filters:
        rows = rows.filter(expr=ray.data.expressions.col(column) == catalog.typed(column, value).as_py())
    return rows


def _shared(products: ProductRows) -> Callable[[], ProductRows]:
    """The same arrays for all tasks of a node, through the object store."""
    import ray

    return functools.partial(ray.get, ray.put(products))


def _words(examples: Examples) -> str:
    wanted = [f"{column}={value}" for column, value in examples.filters]
    return ", ".join([f"examples={examples.kind}", *([f"split={examples.split}"] if examples.split else []), *wanted])
