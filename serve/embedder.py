"""The embedder as a Serve deployment: photos in dynamic batches to vectors."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from ray import serve

from visnet.platform.encoder import load_encoder
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.release import read_release
from visnet.platform.settings import EmbedderSettings
from visnet.platform.store import Store
from visnet.serve.messages import Embedded


class EmbedderServer:
    """The encoder of one release. Decoding and the network run on a thread, one batch at a time."""

    def __init__(self, store: Store, release: str, settings: EmbedderSettings) -> None:
        torch.set_num_threads(max(1, int(settings.cpus)))
        manifest = read_release(store, release)
        self._encoder = load_encoder(store, manifest.encoder, device="cuda" if settings.gpus else "cpu")
        self._thread = ThreadPoolExecutor(1)
        self.embed.set_max_batch_size(settings.max_batch_size)
        self.embed.set_batch_wait_timeout_s(settings.batch_wait_s)

    @serve.batch
    async def embed(self, images: list[bytes]) -> list[Embedded]:
        """Each photo's vector, or why it has none; one bad photo does not fail the batch."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, images)

    async def ready(self) -> str:
        """The encoder's recipe: answers once it is loaded."""
        return self._encoder.recipe.name

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
