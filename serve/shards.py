"""A shard as a Serve deployment: a thin, stateful wrapper around the live shard of `platform`.

Searches and writes run on one thread, one at a time (FAISS's GPU resources allow no more, and the live shard needs no
lock so); the journal and pictures are read on another, so that neither a slow disk nor a database holds a search up.
A replica starts with the index of its release and all that the journal holds since, and follows the journal from
then on: who starts anew, wherever, ends where the others are.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import faiss
import numpy as np

from visnet.platform.catalog import open_catalog
from visnet.platform.devices import device_for
from visnet.platform.errors import NotFoundError
from visnet.platform.index import LOCATION_FIELDS, load_shard, read_index
from visnet.platform.journal import open_journal
from visnet.platform.live_shard import LiveShard
from visnet.platform.recommendations import Neighbours
from visnet.platform.release import read_release
from visnet.platform.replay import News, Replay
from visnet.platform.rules import is_in_stock
from visnet.platform.settings import ShardSettings
from visnet.platform.store import Store
from visnet.serve import telemetry
from visnet.serve.messages import (
    Known,
    Lookup,
    OnShelf,
    Picture,
    Sample,
    Sampled,
    ShardAnswer,
    ShardFacets,
    ShardQuery,
    ShardState,
    Shelf,
)
from visnet.serve.observed import observed
from visnet.serve.recall_probe import RecallProbe
from visnet.serve.row_json import RowJson
from visnet.serve.shard_describing import FacetCount, draw
from visnet.serve.shard_search import answer

T = TypeVar("T")

FOLLOW_S = 0.03
"""How often the journal is asked for news."""
FOLLOW_AGAIN_S = 1.0
"""After the journal could not be read."""

logger = logging.getLogger(__name__)


class ShardServer:
    """One shard of one release.

    Args:
        journal: where the journal is; None if there is none, and nothing is written while it serves.
    """

    def __init__(self, store: Store, release: str, shard: int, settings: ShardSettings, journal: str | None) -> None:
        threads = max(1, int(settings.cpus))
        manifest = read_release(store, release)
        index = read_index(store, manifest.index)
        device = device_for(settings.gpus)
        base = load_shard(store, manifest.index, shard, encoder_digest=manifest.encoder_digest, device=device)
        self._release = release
        self._shard = LiveShard(base, device=device)
        self._number = str(shard)
        self._built_rows = len(base)
        self._index_sequence = index.journal_sequence
        self._facets = FacetCount(self._shard)
        self._probe = RecallProbe(self._shard, built_rows=len(base), number=shard)
        self._rows = RowJson(self._shard)
        self._neighbours = Neighbours(store, manifest.recommendations, shard)
        self._catalog = open_catalog(store, manifest.catalog, manifest.catalog_version)
        self._journal = open_journal(journal) if journal is not None else None
        self._replay: Replay | None = None
        self._caught_up = False
        telemetry.JOURNAL_FAILURES.add(self._number, amount=0)
        observed(self._measure)
        self._shard_thread = ThreadPoolExecutor(
            1, initializer=faiss.omp_set_num_threads, initargs=(threads,)
        )  # each thread has its own number
        self._read_thread = ThreadPoolExecutor(1)
        if self._journal is not None:
            self._replay = Replay(
                self._journal,
                self._shard,
                number=shard,
                shards=index.shards,
                encoder_digest=manifest.encoder_digest,
                after=index.journal_sequence,
            )
            self._catch_up(self._replay)
            self._caught_up = True
            threading.Thread(target=self._follow, args=(self._replay,), daemon=True, name="journal").start()

    async def search(self, queries: list[ShardQuery]) -> list[ShardAnswer]:
        """Answer the searches of a batch."""
        asked = time.perf_counter()
        return await self._on_shard(lambda: self._search(queries, asked))

    async def look_up(self, lookups: list[Lookup]) -> list[Known | None]:
        """What the shard holds of some products, in order; None where it holds nothing."""
        return await self._on_shard(lambda: [self._known(lookup) for lookup in lookups])

    async def contents(self, lookups: list[Lookup]) -> list[dict[str, np.ndarray]]:
        """The vectors of pictures that are here already, by content hash."""
        return await self._on_shard(lambda: [self._vectors_of(lookup.contents) for lookup in lookups])

    async def show(self, shelves: list[Shelf]) -> list[OnShelf]:
        """What each shelf has of its products."""
        return await self._on_shard(lambda: [self._shown(shelf) for shelf in shelves])

    async def sample(self, sample: Sample) -> Sampled:
        """Some of its products, drawn at random."""
        number = int(self._number)
        return await self._on_shard(
            lambda: draw(self._shard, self._rows, sample, number=number, sequence=self._sequence)
        )

    async def facets(self) -> ShardFacets:
        """What its rows hold. The built ones are counted once, on the thread that reads."""
        await asyncio.get_running_loop().run_in_executor(self._read_thread, self._facets.count_built)
        return await self._on_shard(lambda: self._facets.now(self._sequence))

    async def picture(self, product_id: str, image_id: str | None = None) -> Picture | None:
        """One of a product's images, by default its first; None if the shard does not hold it."""
        row = await self._on_shard(lambda: self._row_of(product_id, image_id))
        if row is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, self._picture, row)

    async def state(self) -> ShardState:
        """How this replica stands: answers once it is loaded and has caught up."""
        return ShardState(
            release=self._release,
            images=len(self._shard),
            products=self._shard.products,
            sequence=self._sequence,
            changed=self._shard.delta_rows,
            built_sequence=self._index_sequence,
        )

    async def schema(self) -> bytes:
        """The columns of the shard's rows, as a serialised Arrow schema."""
        return bytes(self._shard.schema.serialize())

    @property
    def _sequence(self) -> int:
        return self._replay.sequence if self._replay is not None else 0

    def _catch_up(self, replay: Replay) -> None:
        """Apply all of the journal, waiting for vectors if it must: nobody is answered before."""
        started, applied = time.monotonic(), sum(replay.start())
        while (news := replay.fetch()) is not None:
            _, entries = replay.apply(news)
            applied += len(entries)
            if len(entries) < len(news.entries):
                logger.info("waiting for the vectors of what was written with another encoder")
                time.sleep(FOLLOW_AGAIN_S)
        logger.info("applied %d entries of the journal in %.1f s", applied, time.monotonic() - started)

    def _follow(self, replay: Replay) -> None:
        """Follow the journal, for as long as the process lives."""
        while True:
            try:
                news = replay.fetch()
                if news is not None:
                    self._shard_thread.submit(self._apply, replay, news).result()
                if news is None or replay.sequence < news.upto:
                    time.sleep(FOLLOW_S)
            except Exception:  # the journal is away: searches go on, and so does the attempt
                telemetry.JOURNAL_FAILURES.add(self._number)
                logger.exception("the journal can't be followed; trying again")
                time.sleep(FOLLOW_AGAIN_S)

    def _apply(self, replay: Replay, news: News) -> None:
        changed, entries = replay.apply(news)
        products = [entry.write.product_id for entry in entries]
        self._rows.forget(changed, products)
        self._probe.written(products)
        now = time.time()
        for entry in entries:
            telemetry.FRESHNESS.observe(max(0.0, now - entry.written_at), self._number)

    def _search(self, queries: list[ShardQuery], asked: float) -> list[ShardAnswer]:
        telemetry.STAGE_SECONDS.observe(time.perf_counter() - asked, "shard_queue")
        with telemetry.stage("shard_search"):
            answers = [answer(self._shard, self._rows, query, self._sequence) for query in queries]
        if queries:
            self._probe.look(queries[0], answers[0])
        return answers

    def _measure(self) -> None:
        """How this replica stands, for who looks from outside."""
        telemetry.SHARD_IMAGES.set(len(self._shard), self._number)
        telemetry.SHARD_CHANGED.set(self._shard.delta_rows, self._number)
        if self._journal is not None and self._caught_up:
            head = self._journal.head()
            telemetry.JOURNAL_DEPTH.set(head - self._index_sequence, self._number)
            telemetry.JOURNAL_APPLIED.set(self._sequence, self._number)
            telemetry.JOURNAL_LAG.set(max(0, head - self._sequence), self._number)

    def _known(self, lookup: Lookup) -> Known | None:
        shown = self._rows.product(lookup.product_id)
        if shown is None:
            return None
        details = lookup.details or lookup.neighbours
        rows = self._shard.rows_of(lookup.product_id) if details else np.empty(0, np.int64)
        return Known(
            fields=shown.fields,
            images=self._shard.rows_at(rows) if lookup.details else None,
            vector_D=self._shard.vector(lookup.product_id) if lookup.vector else None,
            neighbours=self._neighbours_of(lookup.product_id, rows) if lookup.neighbours else None,
            sequence=self._sequence,
        )

    def _neighbours_of(self, product_id: str, rows: np.ndarray) -> list[tuple[str, float]] | None:
        """Computed for the product as it was when the index was built: one that was written since has none."""
        return self._neighbours.of(product_id) if rows[0] < self._built_rows else None

    def _vectors_of(self, hashes: tuple[str, ...]) -> dict[str, np.ndarray]:
        found = {one: self._shard.vector_of_content(one) for one in hashes}
        return {one: vector_D for one, vector_D in found.items() if vector_D is not None}

    def _shown(self, shelf: Shelf) -> OnShelf:
        found = [self._rows.product(product) for product in shelf.products]
        column = shelf.in_stock
        fields = [
            shown.fields if shown is not None and (column is None or is_in_stock(shown.row.get(column))) else None
            for shown in found
        ]
        return OnShelf(fields=fields, sequence=self._sequence)

    def _row_of(self, product_id: str, image_id: str | None) -> dict[str, object] | None:
        for row in self._shard.rows_at(self._shard.rows_of(product_id)):
            if image_id is None or row["image_id"] == image_id:
                return row
        return None

    def _picture(self, row: dict[str, object]) -> Picture:
        content_hash = str(row["content_hash"])
        part, number = (row[name] for name in LOCATION_FIELDS)
        if isinstance(part, int) and isinstance(number, int):
            data, uri = self._catalog.image(part, number)
            return Picture(data=data, uri=uri, content_hash=content_hash)
        if self._journal is None:
            raise NotFoundError(f"the picture {content_hash} is not in the catalogue, and there is no journal")
        return Picture(data=self._journal.image(content_hash), uri=None, content_hash=content_hash)

    async def _on_shard(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._shard_thread, work)
