"""One release as an ingress sees it: its manifest, its columns, and the ways to its embedder and its shards.

A request takes the release that is served when it comes and asks nothing but its parts, so that an answer is whole:
encoder, index and recommendations of one release. `busy` counts the requests that do so; the controller ends the parts
of an old release when nobody is left.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from ray import serve

from visnet.platform.index import read_index
from visnet.platform.manifest import read_manifest
from visnet.platform.recommendations import RecommendationsManifest, recommendations_directory
from visnet.platform.release import ReleaseManifest, read_release
from visnet.platform.settings import ServeSettings
from visnet.platform.store import Store
from visnet.serve.coalesce import Coalescer
from visnet.serve.fan_out import FanOut
from visnet.serve.messages import Embedded, Found, Known, Looked, Lookup, Photo, Query, Shelf
from visnet.serve.parts import EMBEDDER, SHARD
from visnet.serve.service_state import Serving
from visnet.serve.shard_client import ShardClient

LOOKUPS_AT_ONCE = 256
SEARCHES_UNDER_WAY = 3
"""Batches at the shards at once: one is searched, one waits for it, and one is being merged."""

logger = logging.getLogger(__name__)


class Served:
    """A release that is served.

    Args:
        plan: the controller's name for its parts.
        dimension: of the encoder's vectors.
        schema: of the index's rows.
        rules: of the recommendations.
        embedder: the handle of its embedder.
        shards: in order.
        search_batch_size: queries sent to the shards as one call, at most.
    """

    def __init__(
        self,
        *,
        plan: str,
        manifest: ReleaseManifest,
        dimension: int,
        schema: pa.Schema,
        rules: dict[str, Any],
        embedder: Any,
        shards: Sequence[ShardClient],
        search_batch_size: int,
    ) -> None:
        self.plan = plan
        self.manifest = manifest
        self.dimension = dimension
        self.schema = schema
        self.rules = rules
        self.embedder = embedder
        self.fan_out = FanOut(shards)
        self.busy = 0
        self.find: Coalescer[Query, Found] = Coalescer(
            self.fan_out.search, max_batch_size=search_batch_size, concurrent=SEARCHES_UNDER_WAY
        )
        self._lookups = self._by_shard("look_up")
        self._shelves = self._by_shard("show")
        self._contents = self._by_shard("contents")

    @property
    def shards_total(self) -> int:
        return len(self.fan_out.shards)

    async def known(self, lookup: Lookup) -> Known | None:
        """What the product's shard holds of it.

        Raises:
            ShardDownError: the shard is down.
        """
        known: Known | None = await self._lookups[self.fan_out.owner(lookup.product_id).number](lookup)
        return known

    async def contents(self, lookup: Lookup) -> dict[str, np.ndarray]:
        """The vectors of pictures that the product's shard holds, of this product or another; by content hash.

        Raises:
            ShardDownError: the shard is down.
        """
        owner = self.fan_out.owner(lookup.product_id)
        found: dict[str, np.ndarray] = await self._contents[owner.number](lookup)
        return found

    async def shown(self, products: Sequence[str], *, in_stock: str | None) -> tuple[list[bytes | None], int]:
        """The fields of some products, in order; None for what is gone, not in stock, or in a shard that is down.

        Returns:
            Besides, the journal's place up to which they are as they were written.
        """
        by_shard: dict[int, list[int]] = {}
        for place, product in enumerate(products):
            by_shard.setdefault(self.fan_out.owner(product).number, []).append(place)
        shelves = [
            self._shelves[shard](Shelf(products=[products[place] for place in places], in_stock=in_stock))
            for shard, places in by_shard.items()
        ]
        answers = await asyncio.gather(*shelves, return_exceptions=True)
        shown: list[bytes | None] = [None] * len(products)
        sequences = []
        for places, answer in zip(by_shard.values(), answers, strict=True):
            if not isinstance(answer, BaseException):
                sequences.append(answer.sequence)
                for place, fields in zip(places, answer.fields, strict=True):
                    shown[place] = fields
        return shown, min(sequences, default=0)

    async def embed(self, photo: bytes) -> Embedded:
        """A photo's vector, or why it has none."""
        embedded: Embedded = await self.embedder.embed.remote(photo)
        return embedded

    async def look(self, photo: Photo) -> Looked:
        """The vectors of a photo's parts, or why it has none."""
        looked: Looked = await self.embedder.look.remote(photo)
        return looked

    def close(self) -> None:
        """Stop looking after its shards."""
        for shard in self.fan_out.shards:
            shard.close()

    def _by_shard(self, method: str) -> list[Coalescer[Any, Any]]:
        return [
            Coalescer(functools.partial(shard.call, method), max_batch_size=LOOKUPS_AT_ONCE)
            for shard in self.fan_out.shards
        ]


async def open_served(store: Store, serving: Serving, settings: ServeSettings) -> Served:
    """What it takes to ask a release that the controller has started; every part of it has answered once.

    Raises:
        NotFoundError, StoreError: its manifests can't be read.
        Exception: whatever Serve raises if a part does not answer.
    """
    manifest = await asyncio.to_thread(read_release, store, serving.release)
    index = await asyncio.to_thread(read_index, store, manifest.index)
    directory = recommendations_directory(manifest.recommendations)
    recommendations = await asyncio.to_thread(read_manifest, store, directory, RecommendationsManifest)
    handles = [serve.get_deployment_handle(SHARD, name) for name in serving.shards]
    embedder = serve.get_deployment_handle(EMBEDDER, serving.embedder)
    asked = [handles[0].schema.remote(), embedder.ready.remote(), *(handle.state.remote() for handle in handles)]
    schema, *_ = await asyncio.wait_for(asyncio.gather(*asked), settings.request_timeout_s)
    return Served(
        plan=serving.plan,
        manifest=manifest,
        dimension=index.dimension,
        schema=pa.ipc.read_schema(pa.py_buffer(schema)),
        rules=recommendations.rules,
        embedder=embedder,
        shards=[ShardClient(n, handle, timeout_s=settings.shard_timeout_s) for n, handle in enumerate(handles)],
        search_batch_size=settings.search_batch_size,
    )
