"""Every photo is embedded once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from visnet.platform.imaging import Box
from visnet.serve.messages import Embedded, Looked, Part
from visnet.serve.photos import Photos


class Embedder:
    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.fails = False

    async def __call__(self, photo: bytes) -> Embedded:
        self.seen.append(photo)
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("died")
        if photo == b"bad":
            return Embedded(rejected="not an image")
        return Embedded(vector_D=np.frombuffer(photo, np.uint8).astype(np.float32))


def test_the_same_photo_twice_or_at_once_is_embedded_once() -> None:
    async def script() -> None:
        photos, embedder = Photos(kept=10), Embedder()
        first, again = await asyncio.gather(*[photos.embed(b"cat", "e", embedder) for _ in range(2)])
        last = await photos.embed(b"cat", "e", embedder)
        assert embedder.seen == [b"cat"]
        for embedded in (first, again, last):
            assert embedded.vector_D is not None
            assert embedded.vector_D.tolist() == list(b"cat")
        assert (photos.hits, photos.misses) == (2, 1)

    asyncio.run(script())


def test_another_encoder_is_another_vector() -> None:
    async def script() -> None:
        photos, embedder = Photos(kept=10), Embedder()
        await photos.embed(b"cat", "e", embedder)
        await photos.embed(b"cat", "f", embedder)
        assert len(embedder.seen) == 2

    asyncio.run(script())


def test_another_part_of_the_same_photo_is_another_answer() -> None:
    async def script() -> None:
        photos, asked = Photos(kept=10), list[tuple[object, ...]]()

        async def look(*about: object) -> Looked:
            async def looked(_: bytes) -> Looked:
                asked.append(about)
                box: Box = (0.0, 0.0, 1.0, len(asked) / 10)
                await asyncio.sleep(0)
                return Looked(parts=(Part(box=box),))

            return await photos.embed(b"cat", about, looked)

        box, other = (0.1, 0.2, 0.5, 0.9), (0.1, 0.2, 0.5, 0.8)
        different = [("e", box), ("e", other), ("e", None), ("f", None)]
        first = await asyncio.gather(*[look(*about) for about in different])
        assert asked == different
        assert len({looked.parts[0].box for looked in first}) == len(different)
        again = await asyncio.gather(*[look(*about) for about in different])
        assert asked == different
        assert again == first

    asyncio.run(script())


def test_the_least_recently_used_leaves_first() -> None:
    async def script() -> None:
        photos, embedder = Photos(kept=2), Embedder()
        for photo in (b"a", b"b", b"a", b"c", b"a", b"b"):
            await photos.embed(photo, "e", embedder)
        assert embedder.seen == [b"a", b"b", b"c", b"b"]

    asyncio.run(script())


def test_nothing_is_kept_of_what_was_rejected_or_failed_or_if_nothing_is_to_be() -> None:
    async def script() -> None:
        photos, embedder = Photos(kept=2), Embedder()
        for _ in range(2):
            assert (await photos.embed(b"bad", "e", embedder)).rejected
        embedder.fails = True
        with pytest.raises(ConnectionError):
            await photos.embed(b"cat", "e", embedder)
        embedder.fails = False
        await photos.embed(b"cat", "e", embedder)
        assert embedder.seen == [b"bad", b"bad", b"cat", b"cat"]
        none = Photos(kept=0)
        for _ in range(2):
            await none.embed(b"dog", "e", embedder)
        assert embedder.seen[-2:] == [b"dog", b"dog"]

    asyncio.run(script())
