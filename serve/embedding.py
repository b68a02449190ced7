"""Photos to vectors, by the embedder of the release that is asked, or by those of all releases that need them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from ray import serve
from ray.serve.exceptions import BackPressureError

from visnet.serve.follower import Follower
from visnet.serve.messages import Embedded
from visnet.serve.parts import EMBEDDER
from visnet.serve.photos import Photos
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

# D embedding

RETRIES = 3
"""After an embedder died under a photo."""


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
        embedded = await self._embed(photo, served.manifest.encoder_digest, served.embed)
        if embedded.vector_D is None:
            raise ProblemError(413 if embedded.too_large else 422, f"image: {embedded.rejected}")
        return embedded.vector_D

    def for_all_encoders(self, served: Served) -> Callable[[bytes], Awaitable[dict[str, Embedded]]]:
        """What embeds a photo by a release's encoder, and by that of a release that is being switched to if it can.

        A vector that is missing of the latter is made later, from the journal: a write does not fail for it.
        """
        first = served.manifest.encoder_digest
        further = self._follower.state.encoders if self._follower.state is not None else ()
        others = [encoder for encoder in further if encoder.digest != first]

        async def embed(photo: bytes) -> dict[str, Embedded]:
            found = {first: await self._embed(photo, first, served.embed)}
            for encoder in others:
                handle = self._handle(encoder.application)
                try:
                    other = await self._photos.embed(photo, encoder.digest, handle.embed.remote)
                except Exception:  # it is being started, or has gone
                    continue
                if other.vector_D is not None:
                    found[encoder.digest] = other
            return found

        return embed

    def _handle(self, application: str) -> Any:
        if application not in self._handles:
            self._handles[application] = serve.get_deployment_handle(EMBEDDER, application)
        return self._handles[application]

    async def _embed(self, photo: bytes, digest: str, embedder: Callable[[bytes], Awaitable[Embedded]]) -> Embedded:
        for attempt in range(RETRIES + 1):
            try:
                return await self._photos.embed(photo, digest, embedder)
            except BackPressureError:
                raise
            except Exception as error:  # whatever a dead or dying replica raises: another one may answer
                if attempt == RETRIES or isinstance(error, TimeoutError):
                    raise ProblemError(503, "no embedder answers; try again") from error
                await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")
