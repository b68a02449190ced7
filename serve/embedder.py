"""The embedder as a Serve deployment: photos in dynamic batches to vectors, of their parts where these are wanted.

A batch is what has come while the one before was under way, up to a size that adapts to how long batches take. Alone, a
photo waits for nobody. (`serve.batch` closes a batch when its wait is over, not when its turn comes: with a short wait
and many photos waiting it made batches of one, and a photo cost twice the time.)
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from visnet.platform.devices import device_for
from visnet.platform.settings import EmbedderSettings
from visnet.platform.store import Store
from visnet.serve import telemetry
from visnet.serve.adaptive_batch import AdaptiveBatch
from visnet.serve.coalesce import Coalescer
from visnet.serve.messages import Embedded, Looked, Photo
from visnet.serve.observed import observed


class _Waiting(NamedTuple):
    """A photo that waits for its batch."""

    photo: Photo
    since: float


class EmbedderServer:
    """One encoder, and one detector if the release has one. All their work is on a thread, one batch at a time.

    Args:
        detector: its id.
        margin: see `Looking`.
    """

    def __init__(
        self, store: Store, encoder: str, detector: str | None, settings: EmbedderSettings, *, margin: float
    ) -> None:
        import torch  # and what needs it: the controller, which starts embedders, has no use for it

        from visnet.platform.detector import load_detector
        from visnet.platform.encoder import load_encoder
        from visnet.serve.looking import Looking

        observed()
        device = device_for(settings.gpus)
        self._encoder = load_encoder(store, encoder, device=device)
        found_by = load_detector(store, detector, device=device) if detector is not None else None
        self._looking = Looking(self._encoder, found_by, margin=margin, batch_size=settings.max_batch_size)
        threads = max(1, int(settings.cpus))
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,))  # each has its own
        self._batch = AdaptiveBatch(most=settings.max_batch_size, target_s=settings.target_batch_s)
        self._gathered: Coalescer[_Waiting, Looked] = Coalescer(
            self._look_at_batch, max_batch_size=self._batch.size, concurrent=1
        )

    async def embed(self, data: bytes) -> Embedded:
        """A whole photo's vector, or why it has none."""
        looked = await self.look(Photo(data=data))
        vector_D = looked.parts[0].vector_D if looked.parts else None
        return Embedded(vector_D=vector_D, rejected=looked.rejected, too_large=looked.too_large)

    async def look(self, photo: Photo) -> Looked:
        """The vectors of a photo's parts, or why it has none."""
        return await self._gathered(_Waiting(photo, time.perf_counter()))

    async def _look_at_batch(self, images: list[_Waiting]) -> list[Looked]:
        started = time.perf_counter()
        for waiting in images:
            telemetry.STAGE_SECONDS.observe(started - waiting.since, "queue")
        telemetry.BATCH_SIZE.observe(len(images), "embed")
        photos = [waiting.photo for waiting in images]
        looked = await asyncio.get_running_loop().run_in_executor(self._thread, self._looking.look, photos)
        self._batch = self._batch.after(len(images), time.perf_counter() - started)
        self._gathered.max_batch_size = self._batch.size
        return looked

    async def ready(self) -> str:
        """The encoder's recipe: answers once it is loaded."""
        return self._encoder.recipe.name
