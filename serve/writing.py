"""What is written while the service runs: products come in, their pictures are embedded, the journal keeps them.

A product is acknowledged when the journal has it on disk, with its picture and its vectors; the shards follow the
journal and have it within a moment. Products that come at the same time are kept by one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from visnet.platform.attributes import fit_attributes
from visnet.platform.client.models import WriteAnswer, Written
from visnet.platform.errors import ImageError, StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Delete, Journal, JournalImage, Upsert, Write
from visnet.serve import telemetry
from visnet.serve.api_products import ImageWrite, ProductWrite
from visnet.serve.coalesce import Coalescer
from visnet.serve.embedding import WantedVectors
from visnet.serve.messages import Known, Lookup, Picture
from visnet.serve.problems import ProblemError, explain
from visnet.serve.served import Served
from visnet.serve.shard_client import ShardDownError

# D embedding

AT_ONCE = 32
"""Products of a request whose pictures are fetched and embedded at once."""
KEPT_AT_ONCE = 64
"""Requests whose products one transaction keeps."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Kept:
    """Writes on their way into the journal."""

    writes: list[Write] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    vectors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


class Fetcher(Protocol):
    """Fetches a picture; raises ImageError."""

    def download(self, url: str) -> bytes: ...


class Writer:
    """Accepts products.

    Args:
        journal: what keeps them.
        fetcher: gets the pictures that are named by a URL.
    """

    def __init__(self, journal: Journal, fetcher: Fetcher) -> None:
        self._journal = journal
        self._fetcher = fetcher
        self._journal_thread = ThreadPoolExecutor(1)
        self._journal_readers = ThreadPoolExecutor(2)
        self._fetch_threads = ThreadPoolExecutor(AT_ONCE)
        self._keep: Coalescer[Kept, list[int]] = Coalescer(self._append, max_batch_size=KEPT_AT_ONCE, concurrent=1)

    async def upsert(
        self, served: Served, wanted: Sequence[WantedVectors], products: Sequence[Mapping[str, Any]]
    ) -> WriteAnswer:
        """Write products; one that is rejected does not keep the others away.

        Raises:
            ProblemError: 503, the journal or a part of the service is away; nothing was written.
        """
        slots = asyncio.Semaphore(AT_ONCE)

        async def prepared(product: Mapping[str, Any]) -> tuple[str, Kept | str]:
            async with slots:
                return await self._prepared(served, wanted, product)

        with _journal_away():
            ready = await asyncio.gather(*[prepared(product) for product in products])
        return await self._write(ready)

    async def delete(self, product_ids: Sequence[str]) -> WriteAnswer:
        """Delete products; nothing is said of whether there were any.

        Raises:
            ProblemError: 503, the journal is away; nothing was written.
        """
        prepared: list[tuple[str, Kept | str]] = []
        for product_id in product_ids:
            try:
                prepared.append((product_id, Kept(writes=[Delete(product_id=product_id)])))
            except ValueError as error:
                prepared.append((product_id, str(error)))
        return await self._write(prepared)

    async def _write(self, prepared: Sequence[tuple[str, Kept | str]]) -> WriteAnswer:
        accepted = [kept for _, kept in prepared if isinstance(kept, Kept)]
        with _journal_away():
            sequences = await self._keep(_together(accepted)) if accepted else []
        numbers = iter(sequences)
        products = [
            Written(product_id=product_id, status="ok", sequence=next(numbers))
            if isinstance(kept, Kept)
            else Written(product_id=product_id, status="rejected", detail=kept)
            for product_id, kept in prepared
        ]
        return WriteAnswer(sequence=max(sequences, default=0), products=products)

    async def _prepared(
        self, served: Served, wanted: Sequence[WantedVectors], product: Mapping[str, Any]
    ) -> tuple[str, Kept | str]:
        """A product ready to be kept, or why it is rejected."""
        name = product.get("product_id")
        product_id = name if isinstance(name, str) else ""
        try:
            asked = ProductWrite.model_validate(product)
            fit_attributes(asked.attributes, served.schema)
            pictures = await self._pictures(served, asked)
            return product_id, await self._embedded(served, asked, pictures, wanted)
        except ValidationError as error:
            return product_id, explain(list(error.errors()))
        except (ValueError, ImageError) as error:
            return product_id, str(error)

    async def _pictures(self, served: Served, asked: ProductWrite) -> list[tuple[str, bytes]]:
        """The product's pictures by their ids: what was sent, what is fetched, or what it has already."""
        given = asked.pictures()
        if given:
            return [(str(image.image_id), await self._data(image)) for image in given]
        known: Known | None = await served.known(Lookup(product_id=asked.product_id, details=True))
        if known is None or not known.images:
            raise ValueError(
                "image, url or images is missing, and there is no such product yet whose pictures it keeps"
            )
        ids = [str(row["image_id"]) for row in known.images]
        return [(image_id, await self._stored(served, asked.product_id, image_id)) for image_id in ids]

    async def _data(self, image: ImageWrite) -> bytes:
        data = image.data()
        if data is not None:
            return data
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._fetch_threads, self._fetcher.download, str(image.url))

    async def _stored(self, served: Served, product_id: str, image_id: str) -> bytes:
        owner = served.fan_out.owner(product_id)
        picture: Picture | None = await owner.call("picture", product_id, image_id)
        if picture is None or picture.data is None:
            raise ValueError(f"the picture {image_id!r} it has is not in the catalogue itself: send it along")
        return picture.data

    async def _embedded(
        self,
        served: Served,
        asked: ProductWrite,
        pictures: list[tuple[str, bytes]],
        wanted: Sequence[WantedVectors],
    ) -> Kept:
        """The write, with its pictures and the vectors of all encoders; equal pictures have theirs already.

        Raises:
            ValueError: a picture can't be used.
        """
        by_hash = {content_hash(data): data for _, data in pictures}
        images = [JournalImage(image_id=name, content_hash=content_hash(data)) for name, data in pictures]
        write = Upsert(
            product_id=asked.product_id, category=asked.category, attributes=asked.attributes, images=tuple(images)
        )
        vectors: dict[str, dict[str, np.ndarray]] = {}
        for encoder in wanted:
            vectors[encoder.digest] = known = await self._known_vectors(served, asked.product_id, encoder, by_hash)
            for image in images:
                if image.content_hash in known:
                    continue
                embedded = await encoder.embed(by_hash[image.content_hash])
                if embedded.vector_D is not None:
                    known[image.content_hash] = embedded.vector_D
                elif encoder.needed:
                    raise ValueError(f"image {image.image_id!r}: {embedded.rejected}")
        return Kept(writes=[write], images=by_hash, vectors=vectors)

    async def _known_vectors(
        self, served: Served, product_id: str, encoder: WantedVectors, hashes: Collection[str]
    ) -> dict[str, np.ndarray]:
        """The vectors that the journal has, or the product's shard."""
        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._journal_readers, self._journal.vectors, encoder.digest, list(hashes))
        missing = tuple(one for one in hashes if one not in known)
        if missing and encoder.digest == served.manifest.encoder_digest:
            lookup = Lookup(product_id=product_id, contents=missing)
            with contextlib.suppress(ShardDownError):  # then they are embedded
                known |= (await served.contents(lookup)) or {}
        return known

    async def _append(self, kept: list[Kept]) -> list[list[int]]:
        """Keep several requests' writes as one."""
        whole = _together(kept)
        loop = asyncio.get_running_loop()
        sequences = await loop.run_in_executor(self._journal_thread, self._append_now, whole)
        numbers = iter(sequences)
        return [[next(numbers) for _ in part.writes] for part in kept]

    def _append_now(self, kept: Kept) -> list[int]:
        telemetry.BATCH_SIZE.observe(len(kept.writes), "journal")
        with telemetry.stage("journal"):
            return self._journal.append(kept.writes, images=kept.images, vectors=kept.vectors)


@contextlib.contextmanager
def _journal_away() -> Iterator[None]:
    """A journal that can't be used is a 503: whoever sent the products may send them again."""
    try:
        yield
    except StoreError as error:
        raise ProblemError(503, f"the journal can't be used: {error}") from None


def _together(parts: Sequence[Kept]) -> Kept:
    whole = Kept()
    for part in parts:
        whole.writes.extend(part.writes)
        whole.images.update(part.images)
        for digest, vectors in part.vectors.items():
            whole.vectors.setdefault(digest, {}).update(vectors)
    return whole
