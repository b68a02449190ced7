"""Training pictures through Ray Data: decoded on CPU tasks, handed to the workers as uint8."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from visnet.platform.catalog import Catalog
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import Preprocessing
from visnet.platform.partition import product_hash
from visnet.train.loop import Batch

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

logger = logging.getLogger(__name__)

BLOCK_ROWS = 1_000
CACHE_SHARE = 0.25
"""Decoded pictures are kept in the object store if they take at most this share of it."""


def training_pictures(
    catalog: Catalog, preprocessing: Preprocessing, *, where: tuple[str, str] | None, seed: int
) -> ray.data.Dataset:
    """The catalogue's decoded pictures in random order: `pixels` (uint8, H x W x 3), `product`, `category` (int64).

    Pictures that can't be decoded are left out, with a warning. A set that fits is decoded once and kept in the
    object store; a larger one is decoded anew in each epoch.

    Args:
        where: train only on rows of which this attribute has this value.
    """
    import ray

    columns = ["product_id", "category", "image", "uri", *([where[0]] if where else [])]
    pictures = ray.data.read_parquet(
        catalog.part_paths(), filesystem=catalog.store.filesystem, columns=list(dict.fromkeys(columns))
    )
    if where:
        pictures = pictures.filter(expr=ray.data.expressions.col(where[0]) == catalog.typed(*where).as_py())
    numbers = {name: number for number, name in enumerate(catalog.manifest.categories)}
    decoded = pictures.repartition(target_num_rows_per_block=BLOCK_ROWS).map_batches(
        _Decode(preprocessing, numbers), batch_format="pyarrow", batch_size=BLOCK_ROWS
    )
    decoded_bytes = catalog.manifest.images * preprocessing.crop**2 * 3
    if decoded_bytes <= CACHE_SHARE * ray.cluster_resources().get("object_store_memory", 0):
        return decoded.random_shuffle(seed=seed).materialize()
    return decoded.randomize_block_order(seed=seed)


class _Decode:
    """A batch of catalogue rows -> decoded pictures with their numbers."""

    def __init__(self, preprocessing: Preprocessing, category_numbers: dict[str, int]) -> None:
        self._preprocessing, self._category_numbers = preprocessing, category_numbers

    def __call__(self, rows: pa.Table) -> dict[str, np.ndarray]:
        size = self._preprocessing.crop
        pixels, products, categories = [np.empty((0, size, size, 3), np.uint8)], [], []
        for row in rows.select(["product_id", "category", "image", "uri"]).to_pylist():
            try:
                pixels.append(self._preprocessing.pixels(image_bytes(row["image"], row["uri"]))[None])
            except ImageError as error:
                logger.warning("product %s is not trained on: %s", row["product_id"], error)
                continue
            products.append(product_hash(row["product_id"]))
            categories.append(self._category_numbers[row["category"]])
        return {
            "pixels": np.concatenate(pixels),
            "product": np.array(products, np.uint64).view(np.int64),
            "category": np.array(categories, np.int64),
        }


def batches(shard: Any, *, size: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """One epoch of a worker's shard, in batches of just `size` pictures.

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
        yield Batch(
            pixel_BCHW=torch.from_numpy(np.array(row["pixels"])).permute(0, 3, 1, 2).to(device),
            product_B=torch.from_numpy(np.array(row["product"])).to(device),
            category_B=torch.from_numpy(np.array(row["category"])).to(device),
        )
