"""What there is to search: categories and attributes with their values, how alike chance is, and a map."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson

from visnet.platform import facets
from visnet.platform.chance import chance_score
from visnet.platform.client.models import Attribute, CatalogAnswer, MapAnswer, ValueCount
from visnet.platform.embedding_map import METHOD, plane
from visnet.platform.facets import Facet
from visnet.serve.answers import Clock, about
from visnet.serve.gathering import gather, gathered
from visnet.serve.messages import ShardFacets
from visnet.serve.row_json import joined
from visnet.serve.sampling import sample
from visnet.serve.served import Served

MOST_VALUES = 50
"""Of a column, the most frequent ones."""
CHANCE_SAMPLE = 512
KEPT = 8
"""Maps and chances that are kept, of the last releases and sizes asked for."""

T = TypeVar("T")


class Describing:
    """Describes releases. What takes long is worked out once for each: a map and a chance are of the time they were
    first asked for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], asyncio.Task[Any]] = {}

    async def catalog(self, served: Served, *, writable: bool, clock: Clock) -> CatalogAnswer:
        """What there is to search in a release.

        Raises:
            ProblemError: 503, no shard answered.
        """
        answers: list[ShardFacets] = await gather(served, "facets")
        known = facets.added(answer.facets for answer in answers)
        chance = await self._once(("chance", served.plan), lambda: self._chance(served))
        clock.lap("describe")
        release = served.manifest
        return CatalogAnswer(
            catalog=f"{release.catalog}-{release.catalog_version}",
            images=sum(answer.images for answer in answers),
            products=sum(answer.products for answer in answers),
            categories=_values(known.pop("category")),
            attributes=[_attribute(name, facet) for name, facet in known.items()],
            writable=writable,
            detector=release.detector is not None,
            detect_by_default=release.detect_by_default,
            chance=chance,
            **about(served, gathered(served, answers), clock),
        )

    async def map(self, served: Served, size: int) -> MapAnswer:
        """So many products on a plane, or all if they are fewer; raises as `catalog`."""
        return await self._once(("map", served.plan, size), lambda: self._map(served, size))

    async def _chance(self, served: Served) -> float | None:
        drawn = await sample(served, CHANCE_SAMPLE, 0, with_vectors=True)
        assert drawn.vector_ND is not None
        return await asyncio.to_thread(chance_score, drawn.vector_ND)

    async def _map(self, served: Served, size: int) -> MapAnswer:
        drawn = await sample(served, size, 0, with_vectors=True)
        states = await gather(served, "state")
        assert drawn.vector_ND is not None
        place_N2 = await asyncio.to_thread(plane, drawn.vector_ND)
        products = [orjson.loads(joined([fields])) for fields in drawn.fields]
        return MapAnswer(
            release=served.manifest.release,
            method=METHOD,
            images=sum(state.images for state in states),
            sampled=len(products),
            x=[round(x, 4) for x in place_N2[:, 0].tolist()],
            y=[round(y, 4) for y in place_N2[:, 1].tolist()],
            **{name: [product[name] for product in products] for name in ("product_id", "category", "image_url")},
        )

    async def _once(self, key: tuple[Any, ...], work: Callable[[], Awaitable[T]]) -> T:
        """The result of the first call with this key; who asks meanwhile waits for it, and a failure is forgotten."""
        task = self._kept.pop(key, None)
        if task is None or task.cancelled() or (task.done() and task.exception() is not None):
            task = asyncio.ensure_future(work())  # goes on if who asked goes away
        self._kept[key] = task
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        return await asyncio.shield(task)


def _attribute(name: str, facet: Facet) -> Attribute:
    return Attribute(
        name=name,
        kind=facet.kind,
        values=_values(facet),
        distinct=facet.distinct,
        min=facet.low,
        max=facet.high,
        missing=facet.missing,
    )


def _values(facet: Facet) -> list[ValueCount]:
    counts = sorted((facet.counts or {}).items(), key=lambda item: (-item[1], str(item[0])))
    return [ValueCount(value=value, count=count) for value, count in counts[:MOST_VALUES]]
