"""Photos, or their parts, to vectors: by the embedder of the release that is asked, or by those of all releases that
need them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ray import serve
from ray.serve.exceptions import BackPressureError

from visnet.platform.boxes import WHOLE
from visnet.serve.follower import Follower
from visnet.serve.messages import Embedded, Looked, Part, Photo
from visnet.serve.parts import EMBEDDER
from visnet.serve.photos import Photos
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served
from visnet.serve.service_state import Encoder

# D embedding

RETRIES = 3
"""After an embedder died under a photo."""


E = TypeVar("E", Embedded, Looked)


class WantedVectors(NamedTuple):
    """An encoder whose vectors a write needs."""

    digest: str
    embed: Callable[[bytes], Awaitable[Embedded]]
    needed: bool
    """Whether the write is rejected if there is none."""


class Embedding:
    """Embeds what comes in.

    Args:
        photos: embeds each photo once.
        follower: knows which encoders are needed.
    """

    def __init__(self, photos: Photos, follower: Follower) -> None:
        self._photos = photos
        self._follower = follower
        self._handles: dict[str, Any] = {}

    async def photo(self, served: Served, photo: bytes) -> np.ndarray:
        """A photo's vector by a release's encoder, float32 (D,).

        Raises:
            ProblemError: 413 or 422, the photo can't be used; 503, no embedder answers.
        """
        embedded = _usable(await self._embed(photo, served.manifest.encoder_digest, served.embed))
        assert embedded.vector_D is not None
        return embedded.vector_D

    async def parts(self, served: Served, photo: Photo) -> Looked:
        """The parts of a photo that are wanted, with their vectors; raises as `photo`."""
        release = served.manifest
        if photo.box is None and not photo.detect:  # the same vector as a write of this picture needs
            return Looked(parts=(Part(box=WHOLE, vector_D=await self.photo(served, photo.data)),))
        about = (release.encoder_digest, release.detector_digest, photo.box, photo.detect, photo.most)
        return _usable(await self._embed(photo.data, about, lambda _: served.look(photo)))

    def wanted_by(self, served: Served) -> list[WantedVectors]:
        """Whose vectors a write needs: those of a release's encoder, and of one that is being switched to.

        A vector that is missing of the latter is made later, from the journal: a write does not fail for it.
        """
        first = served.manifest.encoder_digest
        state = self._follower.state
        further = [encoder for encoder in state.encoders if encoder.digest != first] if state is not None else []
        own = functools.partial(self._embed, about=first, embedder=served.embed)
        return [
            WantedVectors(first, own, needed=True),
            *(
                WantedVectors(one.digest, functools.partial(self._try_embed, encoder=one), needed=False)
                for one in further
            ),
        ]

    async def _try_embed(self, photo: bytes, *, encoder: Encoder) -> Embedded:
        try:
            return await self._photos.embed(photo, encoder.digest, self._handle(encoder.application).embed.remote)
        except Exception:  # it has gone, or just died
            return Embedded(rejected="the embedder does not answer")

    def _handle(self, application: str) -> Any:
        if application not in self._handles:
            self._handles[application] = serve.get_deployment_handle(EMBEDDER, application)
        return self._handles[application]

    async def _embed(self, photo: bytes, about: Hashable, embedder: Callable[[bytes], Awaitable[E]]) -> E:
        for attempt in range(RETRIES + 1):
            try:
                return await self._photos.embed(photo, about, embedder)
            except BackPressureError:
                raise
            except Exception as error:  # whatever a dead or dying replica raises: another one may answer
                if attempt == RETRIES or isinstance(error, TimeoutError):
                    raise ProblemError(503, "no embedder answers; try again") from error
                await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _usable(answer: E) -> E:
    """The answer, unless the photo can't be used."""
    if answer.rejected:
        raise ProblemError(413 if answer.too_large else 422, f"image: {answer.rejected}")
    return answer
