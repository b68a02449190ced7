"""Vectors for what was written before a release's encoder was known to the writers.

Every ingress embeds what it accepts with the encoders of the release that is served and of one that is being switched
to. What was written before has the vectors of earlier encoders only: its pictures are in the journal, and are embedded
here, by the new release's own embedder, before its shards can catch up.
"""

from __future__ import annotations

import asyncio
import logging

import numpy as np
from ray import serve

from visnet.platform.index import read_index
from visnet.platform.journal import Journal, open_journal
from visnet.platform.placement import Plan
from visnet.platform.release import read_release
from visnet.platform.store import Store
from visnet.serve.messages import Embedded
from visnet.serve.parts import EMBEDDER, embedder_name

AT_ONCE = 32
TIMEOUT_S = 60.0
"""For a batch of them."""

logger = logging.getLogger(__name__)


class Backfill:
    """Embeds the pictures of a journal."""

    def __init__(self, store: Store, journal: str) -> None:
        self._store = store
        self._journal: Journal = open_journal(journal)

    async def run(self, plan: Plan) -> None:
        """Embed what has no vector of the plan's encoder yet; quick if there is nothing."""
        release = await asyncio.to_thread(read_release, self._store, plan.release)
        index = await asyncio.to_thread(read_index, self._store, release.index)
        digest, after = release.encoder_digest, index.journal_sequence
        while hashes := await asyncio.to_thread(self._journal.without_vector, digest, after=after, limit=AT_ONCE):
            vectors = await self._vectors(plan, hashes, index.dimension)
            await asyncio.to_thread(self._journal.add_vectors, digest, vectors)
            logger.info("embedded %d pictures of the journal for release %s", len(vectors), release.release)
            if not vectors:  # all of them were trimmed meanwhile
                break

    async def _vectors(self, plan: Plan, hashes: list[str], dimension: int) -> dict[str, np.ndarray]:
        handle = serve.get_deployment_handle(EMBEDDER, embedder_name(plan))
        pictures = await asyncio.to_thread(lambda: {one: self._journal.image(one) for one in hashes})
        known = {one: data for one, data in pictures.items() if data is not None}
        calls = [handle.embed.remote(data) for data in known.values()]
        embedded: list[Embedded] = await asyncio.wait_for(asyncio.gather(*calls), TIMEOUT_S)
        vectors = {}
        for one, answer in zip(known, embedded, strict=True):
            if answer.vector_D is None:  # it was accepted once: like nothing, it holds nobody up
                logger.error("the picture %s was accepted and can't be embedded now: %s", one, answer.rejected)
            vectors[one] = np.zeros(dimension) if answer.vector_D is None else answer.vector_D
        return vectors
