"""One batch of searches to all shards at once, and their answers merged to products.

A shard that fails or is late is left out and the answer says so (`shards_ok` < `shards_total`). Images with the same
bytes in different shards collapse here; if that leaves a query short of k, the shards are asked again for more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from visnet.platform.merge import NO_ROW, merge
from visnet.platform.partition import shard_of
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.serve.messages import Found, Hit, Query, ShardAnswer, ShardQuery

# Q queries, K results, S shards

logger = logging.getLogger(__name__)


class FanOut:
    """The shards of one release.

    Args:
        shards: their handles (or anything with `.search.remote(release, queries)` that can be awaited), in order.
        timeout_s: how long a shard may take.
    """

    def __init__(self, shards: Sequence[Any], *, release: str, timeout_s: float) -> None:
        self.shards = list(shards)
        self.release = release
        self._timeout_s = timeout_s

    def owner(self, product_id: str) -> Any:
        """The handle of the shard that owns a product."""
        return self.shards[shard_of(product_id, len(self.shards))]

    async def search(self, queries: Sequence[Query]) -> list[Found]:
        """Answer a batch, in order; one call per shard, however many queries."""
        found: list[Found | None] = [None] * len(queries)
        waiting = {number: query.k for number, query in enumerate(queries)}  # query -> results to ask the shards for
        while waiting:
            groups = _groups(queries, waiting)
            shard_queries = [
                ShardQuery(
                    query_QD=np.stack([queries[number].vector_D for number in numbers]),
                    k=max(waiting[number] for number in numbers),
                    categories=categories,
                )
                for categories, numbers in groups.items()
            ]
            answers = await asyncio.gather(*[self._ask(shard, shard_queries) for shard in self.shards])
            alive = [answer for answer in answers if answer is not None]
            again = {}
            for group, numbers in enumerate(groups.values()):
                depth = shard_queries[group].k
                blocks = [answer[group] for answer in alive]
                hits_by_query = _merged(blocks, depth) if blocks else [[]] * len(numbers)
                for place, number in enumerate(numbers):
                    hits = _collapse(hits_by_query[place])[: queries[number].k]
                    more = any(np.isfinite(block.score_QK[place, -1]) for block in blocks)
                    if len(hits) < queries[number].k and more:
                        again[number] = 4 * depth
                    else:
                        found[number] = Found(hits=hits, shards_ok=len(alive), shards_total=len(self.shards))
            waiting = again
        return [answer for answer in found if answer is not None]

    async def _ask(self, shard: Any, queries: list[ShardQuery]) -> list[ShardAnswer] | None:
        try:
            answers: list[ShardAnswer] = await asyncio.wait_for(
                shard.search.remote(self.release, queries), self._timeout_s
            )
        except TimeoutError:
            logger.warning("a shard took over %g s and is left out of the answer", self._timeout_s)
            return None
        except Exception:  # whatever a dead or dying replica raises: the answer is flagged partial
            logger.exception("a shard failed and is left out of the answer")
            return None
        return answers


def _groups(queries: Sequence[Query], waiting: dict[int, int]) -> dict[tuple[str, ...] | None, list[int]]:
    """The waiting queries' numbers by their filter: those of one filter are searched together."""
    groups: dict[tuple[str, ...] | None, list[int]] = {}
    for number in waiting:
        groups.setdefault(queries[number].categories, []).append(number)
    return groups


def _merged(blocks: list[ShardAnswer], depth: int) -> list[list[Hit]]:
    """Each query's hits over all shards, best first."""
    score_QK, shard_QK, position_QK = merge(
        [block.score_QK for block in blocks],
        [block.position_QK for block in blocks],
        depth * len(blocks),
        higher_is_better=HIGHER_IS_BETTER,
    )
    rows = [block.rows.to_pylist() for block in blocks]
    return [
        [
            Hit(score=float(score), row=rows[shard][position])
            for score, shard, position in zip(score_K, shard_K, position_K, strict=True)
            if position != NO_ROW
        ]
        for score_K, shard_K, position_K in zip(score_QK, shard_QK, position_QK, strict=True)
    ]


def _collapse(hits: list[Hit]) -> list[Hit]:
    """One hit for images with the same bytes: the first."""
    seen: set[object] = set()
    kept = []
    for hit in hits:
        content = hit.row["content_hash"]
        if content not in seen:
            seen.add(content)
            kept.append(hit)
    return kept
