"""A shard as a Serve deployment: a thin, stateful wrapper around the shard of `platform`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss
import numpy as np

from visnet.platform.catalog import open_catalog
from visnet.platform.errors import NotFoundError
from visnet.platform.index import LOCATION_FIELDS, load_shard
from visnet.platform.merge import NO_ROW
from visnet.platform.recommendations import Neighbours
from visnet.platform.release import read_release
from visnet.platform.settings import ShardSettings
from visnet.platform.shard import Shard
from visnet.platform.store import Store
from visnet.serve.messages import Picture, ProductRows, ShardAnswer, ShardQuery

T = TypeVar("T")


class ShardServer:
    """One shard of one release. Every call names the release it means.

    Searching runs on a thread of its own, one call at a time (FAISS's GPU resources allow no more), so that health
    checks are answered meanwhile; reading pictures runs on another.
    """

    def __init__(self, store: Store, release: str, shard: int, settings: ShardSettings) -> None:
        faiss.omp_set_num_threads(max(1, int(settings.cpus)))
        manifest = read_release(store, release)
        self._release = release
        device = "cuda" if settings.gpus else "cpu"
        self._shard = load_shard(store, manifest.index, shard, encoder_digest=manifest.encoder_digest, device=device)
        self._neighbours = Neighbours(store, manifest.recommendations, shard)
        self._catalog = open_catalog(store, manifest.catalog, manifest.catalog_version)
        self._search_thread = ThreadPoolExecutor(1)
        self._read_thread = ThreadPoolExecutor(1)

    async def search(self, release: str, queries: list[ShardQuery]) -> list[ShardAnswer]:
        """Answer the searches of a batch."""
        self._check(release)
        return await self._on(self._search_thread, lambda: [answer(self._shard, query) for query in queries])

    async def product(self, release: str, product_id: str) -> ProductRows:
        """A product's rows."""
        self._check(release)
        rows = self._shard.rows_of(product_id)
        return ProductRows(rows=self._shard.rows.take(rows).to_pylist())

    async def products(self, release: str, product_ids: list[str]) -> list[ProductRows]:
        """Several products' rows, in order."""
        return [await self.product(release, product_id) for product_id in product_ids]

    async def vector(self, release: str, product_id: str) -> np.ndarray | None:
        """A product's query vector, float32 (D,); None if the shard does not hold it."""
        self._check(release)
        try:
            return await self._on(self._search_thread, lambda: self._shard.vector(product_id))
        except NotFoundError:
            return None

    async def neighbours(self, release: str, product_id: str) -> list[tuple[str, float]] | None:
        """A product's precomputed recommendations, best first; None if there are none."""
        self._check(release)
        return self._neighbours.of(product_id)

    async def picture(self, release: str, product_id: str) -> Picture | None:
        """A product's first image; None if the shard does not hold the product."""
        found = await self.product(release, product_id)
        if not found.rows:
            return None
        row = found.rows[0]
        part, number = (int(str(row[name])) for name in LOCATION_FIELDS)
        data, uri = await self._on(self._read_thread, lambda: self._catalog.image(part, number))
        return Picture(data=data, uri=uri, content_hash=str(row["content_hash"]))

    async def ready(self, release: str) -> int:
        """The shard's rows: answers once it is loaded."""
        self._check(release)
        return len(self._shard)

    def _check(self, release: str) -> None:
        if release != self._release:
            raise NotFoundError(f"this shard serves release {self._release}, not {release}")

    @staticmethod
    async def _on(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


def answer(shard: Shard, query: ShardQuery) -> ShardAnswer:
    """What a shard finds for the searches of one filter, each row once however many queries found it."""
    hits = shard.search(query.query_QD, query.k, categories=query.categories)
    found, position = np.unique(hits.row_QK[hits.row_QK != NO_ROW], return_inverse=True)
    position_QK = np.full(hits.row_QK.shape, NO_ROW, np.int64)
    position_QK[hits.row_QK != NO_ROW] = position
    return ShardAnswer(score_QK=hits.score_QK, position_QK=position_QK, rows=shard.rows.take(found))
