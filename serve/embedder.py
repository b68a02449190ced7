"""The embedder as a Serve deployment: photos in dynamic batches to vectors."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from ray import serve

from visnet.platform.encoder import load_encoder
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.settings import EmbedderSettings
from visnet.platform.store import Store
from visnet.serve.adaptive_batch import AdaptiveBatch
from visnet.serve.messages import Embedded


class EmbedderServer:
    """One encoder. Decoding and the network run on a thread, one batch at a time."""

    def __init__(self, store: Store, encoder: str, settings: EmbedderSettings) -> None:
        torch.set_num_threads(max(1, int(settings.cpus)))
        self._encoder = load_encoder(store, encoder, device="cuda" if settings.gpus else "cpu")
        self._thread = ThreadPoolExecutor(1)
        self._adapt(
            AdaptiveBatch(
                most=settings.max_batch_size,
                most_wait_s=settings.max_batch_wait_s,
                target_s=settings.target_batch_s,
                size=min(4, settings.max_batch_size),
            )
        )

    @serve.batch
    async def embed(self, images: list[bytes]) -> list[Embedded]:
        """Each photo's vector, or why it has none; one bad photo does not fail the batch."""
        started = time.perf_counter()
        embedded = await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, images)
        self._adapt(self._batch.after(len(images), time.perf_counter() - started))
        return embedded

    async def ready(self) -> str:
        """The encoder's recipe: answers once it is loaded."""
        return self._encoder.recipe.name

    def _adapt(self, batch: AdaptiveBatch) -> None:
        self._batch = batch
        self.embed.set_max_batch_size(batch.size)
        self.embed.set_batch_wait_timeout_s(batch.wait_s)

    def _embed(self, images: list[bytes]) -> list[Embedded]:
        answers: list[Embedded | None] = []
        pixels = []
        for image in images:
            try:
                pixels.append(self._encoder.pixels(image))
                answers.append(None)
            except ImageError as error:
                answers.append(Embedded(rejected=str(error), too_large=isinstance(error, TooLargeError)))
        vectors = iter(self._encoder.encode_pixels(np.stack(pixels)) if pixels else ())
        return [Embedded(vector_D=next(vectors)) if answer is None else answer for answer in answers]
