"""The embedder as a Serve deployment: photos in dynamic batches to vectors.

A batch is what has come while the one before was under way, up to a size that adapts to how long batches take. Alone, a
photo waits for nobody. (`serve.batch` closes a batch when its wait is over, not when its turn comes: with a short wait
and many photos waiting it made batches of one, and a photo cost twice the time.)
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from visnet.platform.encoder import load_encoder
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.settings import EmbedderSettings
from visnet.platform.store import Store
from visnet.serve import telemetry
from visnet.serve.adaptive_batch import AdaptiveBatch
from visnet.serve.coalesce import Coalescer
from visnet.serve.messages import Embedded
from visnet.serve.observed import observed


class _Waiting(NamedTuple):
    """A photo that waits for its batch."""

    photo: bytes
    since: float


class EmbedderServer:
    """One encoder. Decoding and the network run on a thread, one batch at a time."""

    def __init__(self, store: Store, encoder: str, settings: EmbedderSettings) -> None:
        observed()
        self._encoder = load_encoder(store, encoder, device="cuda" if settings.gpus else "cpu")
        threads = max(1, int(settings.cpus))
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,))  # each has its own
        self._batch = AdaptiveBatch(most=settings.max_batch_size, target_s=settings.target_batch_s)
        self._gathered: Coalescer[_Waiting, Embedded] = Coalescer(
            self._embed_batch, max_batch_size=self._batch.size, concurrent=1
        )

    async def embed(self, photo: bytes) -> Embedded:
        """A photo's vector, or why it has none."""
        return await self._gathered(_Waiting(photo, time.perf_counter()))

    async def _embed_batch(self, images: list[_Waiting]) -> list[Embedded]:
        """One bad photo does not fail the others."""
        started = time.perf_counter()
        for waiting in images:
            telemetry.STAGE_SECONDS.observe(started - waiting.since, "queue")
        telemetry.BATCH_SIZE.observe(len(images), "embed")
        photos = [waiting.photo for waiting in images]
        embedded = await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, photos)
        self._batch = self._batch.after(len(images), time.perf_counter() - started)
        self._gathered.max_batch_size = self._batch.size
        return embedded

    async def ready(self) -> str:
        """The encoder's recipe: answers once it is loaded."""
        return self._encoder.recipe.name

    def _embed(self, images: list[bytes]) -> list[Embedded]:
        with telemetry.stage("decode"):
            decoded = [self._pixels(image) for image in images]
        pixels = [one for one in decoded if not isinstance(one, Embedded)]
        with telemetry.stage("network"):
            vectors = iter(self._encoder.encode_pixels(np.stack(pixels)) if pixels else ())
        return [one if isinstance(one, Embedded) else Embedded(vector_D=next(vectors)) for one in decoded]

    def _pixels(self, image: bytes) -> np.ndarray | Embedded:
        """A photo's pixels, or the answer to it if it can't be used."""
        try:
            return self._encoder.pixels(image)
        except ImageError as error:
            return Embedded(rejected=str(error), too_large=isinstance(error, TooLargeError))
