"""From a request's photo to the vectors of its parts: once for what is the same, anew for what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from visnet.platform.boxes import WHOLE
from visnet.serve import embedding
from visnet.serve.embedding import RETRIES, Embedding
from visnet.serve.follower import Follower
from visnet.serve.messages import Embedded, Looked, Part, Photo
from visnet.serve.photos import Photos
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

BOX, OTHER = (0.1, 0.2, 0.5, 0.9), (0.1, 0.2, 0.5, 0.8)


class Release:
    """A release whose embedder notes what it is asked, and can fail."""

    def __init__(self, encoder: str = "e", detector: str = "d") -> None:
        self.manifest = cast(Any, type("Manifest", (), {"encoder_digest": encoder, "detector_digest": detector}))
        self.looked: list[Photo] = []
        self.embedded: list[bytes] = []
        self.rejected, self.too_large, self.fails = "", False, 0

    async def embed(self, photo: bytes) -> Embedded:
        self.embedded.append(photo)
        self._fail()
        vector_D = None if self.rejected else np.frombuffer(photo, np.uint8).astype(np.float32)
        return Embedded(vector_D=vector_D, rejected=self.rejected, too_large=self.too_large)

    async def look(self, photo: Photo) -> Looked:
        self.looked.append(photo)
        self._fail()
        parts = () if self.rejected else (Part(box=photo.box or WHOLE, vector_D=np.ones(1, np.float32)),)
        return Looked(parts=parts, rejected=self.rejected, too_large=self.too_large)

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise ConnectionError("died")


def run(script: Callable[[Embedding], Any]) -> Any:
    return asyncio.run(script(Embedding(Photos(kept=20), cast(Follower, None))))


def of(release: Release) -> Served:
    return cast(Served, release)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.sleep
    monkeypatch.setattr(embedding.asyncio, "sleep", lambda _: real(0))


def test_each_part_of_a_photo_is_embedded_once() -> None:
    photos = [
        Photo(data=b"cat", box=BOX),
        Photo(data=b"cat", box=OTHER),
        Photo(data=b"dog", box=BOX),
        Photo(data=b"cat", detect=True, most=1),
        Photo(data=b"cat", detect=True, most=2),
    ]

    async def script(embedding: Embedding) -> None:
        release = Release()
        first = [await embedding.parts(of(release), photo) for photo in photos]
        assert release.looked == photos
        assert [one.parts[0].box for one in first] == [BOX, OTHER, BOX, WHOLE, WHOLE]
        again = [await embedding.parts(of(release), photo) for photo in photos]
        assert release.looked == photos
        assert all(one is other for one, other in zip(first, again, strict=True))
        assert release.embedded == []

    run(script)


def test_another_encoder_or_detector_is_another_answer() -> None:
    async def script(embedding: Embedding) -> None:
        releases = [Release("e", "d"), Release("f", "d"), Release("e", "g")]
        for release in releases:
            await embedding.parts(of(release), Photo(data=b"cat", detect=True))
        assert [len(release.looked) for release in releases] == [1, 1, 1]

    run(script)


def test_a_whole_photo_has_the_vector_that_a_write_of_it_has() -> None:
    async def script(embedding: Embedding) -> None:
        release = Release()
        vector_D = await embedding.photo(of(release), b"cat")
        (part,) = (await embedding.parts(of(release), Photo(data=b"cat", most=10))).parts
        assert (part.box, part.confidence) == (WHOLE, None)
        assert part.vector_D is vector_D
        assert (release.embedded, release.looked) == ([b"cat"], [])

    run(script)


@pytest.mark.parametrize("photo", [Photo(data=b"x"), Photo(data=b"x", box=BOX), Photo(data=b"x", detect=True)])
@pytest.mark.parametrize(("too_large", "status"), [(False, 422), (True, 413)])
def test_a_photo_that_can_not_be_used_says_why(photo: Photo, too_large: bool, status: int) -> None:
    async def script(embedding: Embedding) -> None:
        release = Release()
        release.rejected, release.too_large = "it is no picture", too_large
        with pytest.raises(ProblemError, match=r"^image: it is no picture$") as refused:
            await embedding.parts(of(release), photo)
        assert refused.value.status == status

    run(script)


@pytest.mark.parametrize("photo", [Photo(data=b"x"), Photo(data=b"x", box=BOX), Photo(data=b"x", detect=True)])
def test_an_embedder_that_died_is_asked_again_but_not_for_ever(photo: Photo) -> None:
    async def script(embedding: Embedding) -> None:
        release = Release()
        release.fails = RETRIES
        assert (await embedding.parts(of(release), photo)).parts
        release.fails = RETRIES + 1
        with pytest.raises(ProblemError, match="no embedder answers") as refused:
            await embedding.parts(of(release), Photo(data=b"y", box=photo.box, detect=photo.detect))
        assert refused.value.status == 503

    run(script)
