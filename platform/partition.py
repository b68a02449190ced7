"""Which shard owns a product: the same on every machine, for batch, serving and training alike."""

from __future__ import annotations

import hashlib


def product_hash(product_id: str) -> int:
    """64 bits of BLAKE2b of a product id: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "little")


def shard_of(product_id: str, shards: int) -> int:
    """The number of the shard that owns a product."""
    return product_hash(product_id) % shards
