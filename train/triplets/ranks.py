"""The nearest others of the pictures of one block in their whole category, by one scorer, block after block.

Exact search, bounded in memory by two blocks and the lists of the nearest however large the category is; a category of
n pictures costs n x n inner products over all its tasks, but never a matrix of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visnet.platform.knn import make_vectors
from visnet.platform.merge import NO_ROW, merge

# Q queries, N pictures of the category, D embedding, K nearest

LISTED = 2**21
"""Neighbours listed at once, over all queries of a batch: some 100 MB while they are merged."""


@dataclass(frozen=True)
class Groups:
    """Which pictures of a category are no neighbours of each other: those of one product, or of the same bytes."""

    product_N: np.ndarray
    """The products, numbered."""
    content_N: np.ndarray
    """The contents, numbered."""
    by_product_N: np.ndarray
    """The rows sorted by product."""

    @classmethod
    def of(cls, products: list[str], contents: list[str]) -> Groups:
        product_N, content_N = (np.unique(np.array(names), return_inverse=True)[1] for names in (products, contents))
        return cls(product_N, content_N, np.argsort(product_N, kind="stable"))

    def own(self, row: int) -> np.ndarray:
        """The other pictures of a row's product, but for those of the same bytes."""
        first, last = self._place(row, "left"), self._place(row, "right")
        rows_N = self.by_product_N[first:last]
        return rows_N[self.content_N[rows_N] != self.content_N[row]]

    def _place(self, row: int, side: Literal["left", "right"]) -> int:
        return int(np.searchsorted(self.product_N, self.product_N[row], side, self.by_product_N))

    def repeats(self, row_Q: np.ndarray) -> int:
        """At most so many pictures are no neighbours of one of these, itself among them."""
        counts = [np.bincount(codes)[codes[row_Q]] for codes in (self.product_N, self.content_N)]
        return int(np.sum(counts, axis=0).max(initial=0))

    def others(self, row_Q: np.ndarray, found_QK: np.ndarray) -> np.ndarray:
        """True where what was found is another product and other bytes: (Q, K)."""
        found = found_QK != NO_ROW
        for codes in (self.product_N, self.content_N):
            found &= codes[found_QK] != codes[row_Q][:, None]
        return found


def rank_others(
    row_Q: np.ndarray,
    query_QD: np.ndarray,
    blocks: Iterable[np.ndarray],
    groups: Groups,
    depth: int,
    *,
    device: str = "cpu",
) -> Iterator[np.ndarray]:
    """The `depth` nearest others of each query, in batches of queries.

    Args:
        row_Q: where the queries are in the category.
        query_QD: their vectors.
        blocks: the vectors of the category, in order; passed over once for every batch.
        depth: at least 1.

    Yields:
        int64 (queries of the batch, depth): rows of the category, nearest first, none of the query's own product or
        bytes; `NO_ROW` where there are no more. Equal scores in the category's order.
    """
    blocks = list(blocks)
    pictures = len(groups.product_N)
    reach = min(pictures, depth + groups.repeats(row_Q))
    batch = max(1, LISTED // max(1, reach))
    for first in range(0, len(row_Q), batch):
        rows, queries = row_Q[first : first + batch], query_QD[first : first + batch]
        yield _first_others(rows, _search(queries, blocks, reach, device=device), groups, depth)


def _search(query_QD: np.ndarray, blocks: list[np.ndarray], k: int, *, device: str) -> np.ndarray:
    """The `k` nearest rows of all blocks, (Q, k), the nearest first."""
    query_QD = np.asarray(query_QD, np.float32)
    score_QK, row_QK = np.empty((len(query_QD), 0), np.float32), np.empty((len(query_QD), 0), np.int64)
    start = 0
    for block_ND in blocks:
        vectors = make_vectors(block_ND, device=device)
        found_QK, place_QK = vectors.search(query_QD, 0, len(block_ND), min(k, len(block_ND)))
        place_QK = np.where(place_QK == NO_ROW, NO_ROW, place_QK + start)
        score_QK, _, row_QK = merge([score_QK, found_QK], [row_QK, place_QK], k, higher_is_better=True)
        start += len(block_ND)
    order_QK = np.lexsort((row_QK, -score_QK))  # equal scores come in no order of their own
    return np.take_along_axis(row_QK, order_QK, axis=1)


def _first_others(row_Q: np.ndarray, found_QK: np.ndarray, groups: Groups, depth: int) -> np.ndarray:
    """What was found without the queries' own kind, cut or filled up with `NO_ROW` to `depth`."""
    other_QK = groups.others(row_Q, found_QK)
    order_QK = np.argsort(~other_QK, axis=1, kind="stable")[:, :depth]
    row_QK = np.take_along_axis(np.where(other_QK, found_QK, NO_ROW), order_QK, axis=1)
    return np.pad(row_QK, ((0, 0), (0, depth - row_QK.shape[1])), constant_values=NO_ROW)
