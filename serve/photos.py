"""From photo to vectors, once for each photo: equal bytes were embedded before, or are being embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from cachetools import LRUCache

from visnet.platform.imaging import content_hash
from visnet.serve import telemetry
from visnet.serve.messages import Embedded, Looked

E = TypeVar("E", Embedded, Looked)


class Photos:
    """Embeds photos and keeps what comes of it, unless a photo was rejected.

    Args:
        kept: answers kept, the least recently used ones leave first.
    """

    def __init__(self, *, kept: int) -> None:
        self._kept: LRUCache[tuple[Hashable, str], Any] = LRUCache(max(1, kept))
        self._keeps = bool(kept)
        self._under_way: dict[tuple[Hashable, str], asyncio.Future[Any]] = {}
        self.hits = self.misses = 0

    async def embed(self, photo: bytes, about: Hashable, embedder: Callable[[bytes], Awaitable[E]]) -> E:
        """What an embedder makes of a photo; raises what the embedder raises.

        Args:
            about: all that decides the answer besides the photo's bytes, such as the encoder's digest.
        """
        key = (about, content_hash(photo))
        if (known := self._kept.get(key)) is not None:
            self._hit()
            answer: E = known
            return answer
        if key in self._under_way:
            self._hit()
            return await asyncio.shield(self._under_way[key])
        self.misses += 1
        telemetry.PHOTO_CACHE.add("false")
        self._under_way[key] = asyncio.ensure_future(embedder(photo))
        try:
            answer = await asyncio.shield(self._under_way[key])
        finally:
            self._under_way.pop(key, None)
        if self._keeps and not answer.rejected:
            self._kept[key] = answer
        return answer

    def _hit(self) -> None:
        self.hits += 1
        telemetry.PHOTO_CACHE.add("true")
