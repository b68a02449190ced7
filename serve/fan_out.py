"""One batch of searches to all shards at once, and their answers merged to products.

A shard that is down or late is left out and the answer says so (`shards_ok` < `shards_total`). Images with the same
bytes in different shards collapse here; if that leaves a query short of k, the shards are asked again for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ray.serve.exceptions import BackPressureError

from visnet.platform.filters import Filter
from visnet.platform.merge import NO_ROW, merge
from visnet.platform.partition import shard_of
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.serve import telemetry
from visnet.serve.messages import Found, Hit, Query, ShardAnswer, ShardQuery
from visnet.serve.shard_client import ShardClient, ShardDownError

# Q queries, K results, S shards


class _Group(NamedTuple):
    """Queries that can be searched together have this in common."""

    where: Filter | None
    with_vectors: bool
    collapse: bool


class FanOut:
    """The shards of one release, in order."""

    def __init__(self, shards: Sequence[ShardClient]) -> None:
        self.shards = list(shards)

    def owner(self, product_id: str) -> ShardClient:
        """The shard that owns a product."""
        return self.shards[shard_of(product_id, len(self.shards))]

    async def search(self, queries: Sequence[Query]) -> list[Found]:
        """Answer a batch, in order; one call per shard, however many queries.

        Raises:
            BackPressureError: no shard could take it, because too many calls wait.
        """
        telemetry.BATCH_SIZE.observe(len(queries), "search")
        found: dict[int, Found] = {}
        waiting = {number: query.k for number, query in enumerate(queries)}  # query -> results to ask the shards for
        while waiting:
            groups = _groups(queries, waiting)
            asked = [_together(group, numbers, queries, waiting) for group, numbers in groups.items()]
            with telemetry.stage("fan_out"):
                alive = await self._ask_all(asked)
            again = {}
            for place, numbers in enumerate(groups.values()):
                blocks = [answers[place] for answers in alive]
                with telemetry.stage("merge"):
                    merged = _merged(blocks, asked[place].k, numbers, queries)
                for number, hits, more in merged:
                    if more and len(hits) < queries[number].k:
                        again[number] = 4 * asked[place].k
                    else:
                        found[number] = Found(
                            hits=hits,
                            shards_ok=len(blocks),
                            shards_total=len(self.shards),
                            sequence=min((block.sequence for block in blocks), default=0),
                        )
            waiting = again
        return [found[number] for number in range(len(queries))]

    async def _ask_all(self, queries: list[ShardQuery]) -> list[list[ShardAnswer]]:
        """The answers of those shards that answer."""
        calls = [shard.call("search", queries) for shard in self.shards]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        alive = [answer for answer in answers if not isinstance(answer, BaseException)]
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        overloads = [failure for failure in failures if isinstance(failure, BackPressureError)]
        if overloads and not alive:
            raise overloads[0]
        for failure in failures:
            if not isinstance(failure, (ShardDownError, BackPressureError)):
                raise failure
        return alive


def _groups(queries: Sequence[Query], waiting: dict[int, int]) -> dict[_Group, list[int]]:
    """The waiting queries' numbers: those of one filter are searched together."""
    groups: dict[_Group, list[int]] = {}
    for number in waiting:
        query = queries[number]
        groups.setdefault(_Group(query.where, query.with_vectors, query.collapse), []).append(number)
    return groups


def _together(group: _Group, numbers: list[int], queries: Sequence[Query], waiting: dict[int, int]) -> ShardQuery:
    return ShardQuery(
        query_QD=np.stack([queries[number].vector_D for number in numbers]),
        k=max(waiting[number] for number in numbers),
        where=group.where,
        with_vectors=group.with_vectors,
        collapse=group.collapse,
    )


def _merged(
    blocks: list[ShardAnswer], depth: int, numbers: list[int], queries: Sequence[Query]
) -> list[tuple[int, list[Hit], bool]]:
    """Each query with its hits over all shards, best first, and whether a shard may have more."""
    if not blocks:
        return [(number, [], False) for number in numbers]
    score_QK, shard_QK, position_QK = merge(
        [block.score_QK for block in blocks],
        [block.position_QK for block in blocks],
        depth * len(blocks),
        higher_is_better=HIGHER_IS_BETTER,
    )
    more_Q = np.any([np.isfinite(block.score_QK[:, -1]) for block in blocks], axis=0)
    return [
        (number, _hits(blocks, score_K, shard_K, position_K, queries[number]), bool(more))
        for number, score_K, shard_K, position_K, more in zip(
            numbers, score_QK.tolist(), shard_QK.tolist(), position_QK.tolist(), more_Q, strict=True
        )
    ]


def _hits(
    blocks: list[ShardAnswer], score_K: list[float], shard_K: list[int], position_K: list[int], query: Query
) -> list[Hit]:
    """The first `k`; one for images with the same bytes, unless all are wanted."""
    seen: set[int] = set()
    hits: list[Hit] = []
    for score, shard, position in zip(score_K, shard_K, position_K, strict=True):
        if position == NO_ROW or len(hits) == query.k:
            break
        block = blocks[shard]
        content = int(block.content_F[position])
        if content in seen and query.collapse:
            continue
        seen.add(content)
        hits.append(
            Hit(
                score=score,
                product_id=block.products[position],
                fields=block.fields[position],
                content_key=content,
                vector_D=None if block.vector_FD is None else block.vector_FD[position],
            )
        )
    return hits
