"""Live searches answered a second time, by plain arithmetic: how much of what is there do answers have.

An exact pass over everything would hold searches up in a large shard, so a probe looks at some rows: a run of the built
ones, another one each time, and the products written last. Whatever of these scores better than an answer's last result
belongs in the answer; the share that is there is `ann_recall_at_k`, whatever kind of index it is. Each costs one pass
over `COMPONENTS` numbers, 20 ms on one core, every `EVERY_S`.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from visnet.platform.filters import mask
from visnet.platform.live_shard import LiveShard
from visnet.platform.merge import NO_ROW
from visnet.serve import telemetry
from visnet.serve.messages import ShardAnswer, ShardQuery

# Q queries, N rows, D embedding, K results

EVERY_S = 10.0
COMPONENTS = 2**22
LOOKED_AT = 512
"""Rows of a probe whose attributes are read, at most."""
WRITTEN_KEPT = 4_096
"""Products written last that a probe looks at."""
PROBES_KEPT = 64
"""Probes that the recall is of."""
TIE = 2e-3
"""Scores so near are equal: vectors are held as float16, and the order of equal ones is chance."""


class RecallProbe:
    """Compares some of a shard's answers with an exact pass; on the shard's own thread.

    Args:
        built_rows: rows of the built shard, the first ones.
        number: the shard's.
    """

    def __init__(self, shard: LiveShard, *, built_rows: int, number: int) -> None:
        self._shard, self._built_rows, self._number = shard, built_rows, str(number)
        self._random = np.random.default_rng()
        self._written: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._seen: collections.deque[tuple[int, int]] = collections.deque(maxlen=PROBES_KEPT)
        self._due = time.monotonic() + EVERY_S

    def written(self, products: Iterable[str]) -> None:
        """These products were written or deleted just now."""
        for product in products:
            self._written[product] = None
            self._written.move_to_end(product)
        while len(self._written) > WRITTEN_KEPT:
            self._written.popitem(last=False)

    def look(self, query: ShardQuery, answer: ShardAnswer, *, now: float | None = None) -> None:
        """Compare an answer, if it is time to."""
        now = time.monotonic() if now is None else now
        if now < self._due:
            return
        self._due = now + EVERY_S
        expected, found = self.compare(query, answer)
        telemetry.RECALL_PROBES.add(self._number)
        if expected:
            self._seen.append((expected, found))
            every, there = (sum(column) for column in zip(*self._seen, strict=True))
            telemetry.RECALL.set(there / every, self._number)

    def compare(self, query: ShardQuery, answer: ShardAnswer) -> tuple[int, int]:
        """How many products of the sample belong in the answer to a batch's first query, and how many are there."""
        row_N = self._sample()
        score_N = self._shard.vectors_at(row_N) @ query.query_QD[0]
        place_K = answer.position_QK[0][answer.position_QK[0] != NO_ROW]
        last = float(answer.score_QK[0][-1])
        order_N = np.argsort(-np.where(np.isnan(score_N), -np.inf, score_N), kind="stable")[:LOOKED_AT]
        better_N = row_N[order_N[score_N[order_N] > last + TIE]]
        answered = {answer.products[place] for place in place_K.tolist()}
        contents = set(answer.content_F[place_K].tolist())
        expected = found = 0
        known: set[str] = set()
        for product, content in self._passing(better_N, query):
            if expected == query.k:
                break
            if product not in known and (product in answered or content not in contents):
                known.add(product)
                expected += 1
                found += product in answered
        return expected, found

    def _sample(self) -> np.ndarray:
        """Rows to look at: a run of the built ones, and the living ones of what was written last."""
        count = min(self._built_rows, max(1, COMPONENTS // self._shard.dimension))
        first = int(self._random.integers(0, self._built_rows - count + 1))
        written = [self._shard.rows_of(product) for product in self._written]
        return np.unique(np.concatenate([np.arange(first, first + count), *written]))

    def _passing(self, row_N: np.ndarray, query: ShardQuery) -> list[tuple[str, int]]:
        """Those of some rows that live and pass the query's filter, in order, with their products and contents."""
        if not len(row_N):
            return []
        rows = self._shard.rows_at(row_N)
        passes_N = np.ones(len(row_N), bool)
        if query.where is not None:
            passes_N = mask(query.where, pa.Table.from_pylist(rows, self._shard.schema))
        content_N = self._shard.content_keys_at(row_N)
        passing = []
        for row, fields, passes, content in zip(row_N.tolist(), rows, passes_N, content_N.tolist(), strict=True):
            product = str(fields["product_id"])
            if passes and row in self._shard.rows_of(product):
                passing.append((product, content))
        return passing
