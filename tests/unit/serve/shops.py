"""Small live shards, without files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from visnet.platform.imaging import content_hash
from visnet.platform.live_shard import LiveShard
from visnet.platform.partition import shard_of
from visnet.platform.shard import Shard

DIMENSION = 8
CATEGORIES = ("bag", "coat", "shoe")


def catalogue(products: int, content: Sequence[str] | None = None) -> tuple[np.ndarray, pa.Table]:
    """Unit vectors and their rows, sorted by category; `content` stands for the images' bytes."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(products, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pictures = content or [f"picture {number}" for number in range(products)]
    rows = pa.table(
        {
            "product_id": [f"p{number}" for number in range(products)],
            "image_id": [f"i{number}" for number in range(products)],
            "category": [CATEGORIES[number * len(CATEGORIES) // products] for number in range(products)],
            "content_hash": [content_hash(picture.encode()) for picture in pictures],
            "price": [float(number) for number in range(products)],
        }
    )
    return vectors, rows


def live_shard(products: int) -> LiveShard:
    return LiveShard(Shard(*catalogue(products)))


def live_shards(vectors: np.ndarray, rows: pa.Table, shards: int) -> list[LiveShard]:
    """The catalogue split as an index build splits it."""
    owner = np.array([shard_of(product, shards) for product in rows["product_id"].to_pylist()])
    return [
        LiveShard(Shard(vectors[owner == number], rows.filter(pa.array(owner == number)))) for number in range(shards)
    ]
