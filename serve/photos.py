"""From photo to vector, once for each photo: equal bytes were embedded before, or are being embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
from cachetools import LRUCache

from visnet.platform.imaging import content_hash
from visnet.serve import telemetry
from visnet.serve.messages import Embedded

# D embedding


class Photos:
    """Embeds photos and keeps their vectors.

    Args:
        kept: vectors kept, the least recently used ones leave first.
    """

    def __init__(self, *, kept: int) -> None:
        self._kept: LRUCache[tuple[str, str], np.ndarray] = LRUCache(max(1, kept))
        self._keeps = bool(kept)
        self._under_way: dict[tuple[str, str], asyncio.Future[Embedded]] = {}
        self.hits = self.misses = 0

    async def embed(
        self, photo: bytes, encoder_digest: str, embedder: Callable[[bytes], Awaitable[Embedded]]
    ) -> Embedded:
        """A photo's vector, or why it has none; raises what the embedder raises."""
        key = (encoder_digest, content_hash(photo))
        if (known := self._kept.get(key)) is not None:
            self.hits += 1
            telemetry.PHOTO_CACHE.add("true")
            return Embedded(vector_D=known)
        if key in self._under_way:
            self.hits += 1
            telemetry.PHOTO_CACHE.add("true")
            return await asyncio.shield(self._under_way[key])
        self.misses += 1
        telemetry.PHOTO_CACHE.add("false")
        self._under_way[key] = asyncio.ensure_future(embedder(photo))
        try:
            embedded = await asyncio.shield(self._under_way[key])
        finally:
            self._under_way.pop(key, None)
        if self._keeps and embedded.vector_D is not None:
            self._kept[key] = embedded.vector_D
        return embedded
