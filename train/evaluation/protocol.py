"""Asking a gallery, and what became of each query: the Street2Shop protocol, on the shard's own search.

Results are collapsed to distinct products; a query is a hit at k if the product it shows is among the first k. Never
an N x N matrix: `BATCH` queries at a time, `depth` results each.

Source: Hadi Kiapour et al., "Where to Buy It: Matching Street Clothing Photos in Online Shops" (ICCV 2015), section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from visnet.platform.merge import NO_ROW
from visnet.platform.metrics import NOT_FOUND, cmc, ranks
from visnet.platform.shard import Shard

# Q queries, N gallery pictures, D embedding, K results

BATCH = 1_024


@dataclass(frozen=True)
class Answers:
    """What was found for each query."""

    row_QK: np.ndarray
    """The nearest picture of each product found, best product first; `NO_ROW` where there was nothing more."""
    score_QK: np.ndarray
    rank_Q: np.ndarray
    """Where the product that the query shows stands, from 1; `NOT_FOUND` if it is not among the first K."""


class Bench:
    """A gallery to ask.

    Args:
        vector_ND: the gallery's vectors.
        rows: image_id, product_id, category and content_hash of each, sorted by category.
        device: where the search runs.
    """

    def __init__(self, vector_ND: np.ndarray, rows: pa.Table, *, device: str = "cpu") -> None:
        self.vector_ND = vector_ND
        self.product_N = np.array(rows["product_id"].to_pylist(), dtype=object)
        self.category_N = np.array(rows["category"].to_pylist(), dtype=object)
        self.shard = Shard(vector_ND, rows, device=device)
        by_image = rows.set_column(rows.column_names.index("product_id"), "product_id", rows["image_id"])
        several = len(set(self.product_N)) < len(self.product_N)
        self.images = Shard(vector_ND, by_image, device=device) if several else self.shard
        """The same pictures, each for itself: nothing is collapsed."""

    def __len__(self) -> int:
        return len(self.product_N)

    def products_of(self, row_QK: np.ndarray) -> np.ndarray:
        """The products of result rows; None where there is no row."""
        found_QK: np.ndarray = self.product_N[row_QK]
        found_QK[row_QK == NO_ROW] = None
        return found_QK

    def ask(
        self,
        query_QD: np.ndarray,
        product_Q: np.ndarray,
        depth: int,
        *,
        categories: Sequence[str] | None = None,
        own_row_Q: np.ndarray | None = None,
    ) -> Answers:
        """Search the whole gallery, or some categories of it.

        Args:
            product_Q: the product that each query shows.
            depth: products wanted.
            own_row_Q: the gallery picture that each query is: it is left out of the query's own search.
        """
        found = []
        for start in range(0, len(query_QD), BATCH):
            part = slice(start, start + BATCH)
            if own_row_Q is None:
                hits = self.shard.search(query_QD[part], depth, categories=categories, collapse_duplicates=False)
                found.append((hits.row_QK, hits.score_QK))
            else:
                found.append(self._without(own_row_Q[part], query_QD[part], depth, categories))
        row_QK, score_QK = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return Answers(row_QK, score_QK, ranks(self.products_of(row_QK), product_Q))

    def ask_by_category(
        self,
        query_QD: np.ndarray,
        product_Q: np.ndarray,
        category_Q: np.ndarray,
        depth: int,
        *,
        own_row_Q: np.ndarray | None = None,
    ) -> Answers:
        """Search each query's own category alone. One whose category the gallery lacks finds nothing."""
        shape = (len(query_QD), depth)
        row_QK, score_QK = np.full(shape, NO_ROW), np.full(shape, -np.inf, np.float32)
        rank_Q = np.full(len(query_QD), NOT_FOUND)
        for category in sorted(set(category_Q)):
            of_it = np.flatnonzero(category_Q == category)
            own = None if own_row_Q is None else own_row_Q[of_it]
            answers = self.ask(query_QD[of_it], product_Q[of_it], depth, categories=[category], own_row_Q=own)
            row_QK[of_it], score_QK[of_it], rank_Q[of_it] = answers.row_QK, answers.score_QK, answers.rank_Q
        return Answers(row_QK, score_QK, rank_Q)

    def _without(
        self, own_row_Q: np.ndarray, query_QD: np.ndarray, depth: int, categories: Sequence[str] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search with each query's own picture left out.

        The shard collapses a product to its best picture, which is the query itself. So its product is taken out of
        the answer, and put back where the best of its other pictures belongs.
        """
        hits = self.shard.search(query_QD, depth + 1, categories=categories, collapse_duplicates=False)
        row_QK = np.full((len(query_QD), depth), NO_ROW)
        score_QK = np.full((len(query_QD), depth), -np.inf, np.float32)
        for query, own in enumerate(own_row_Q):
            rows, scores = hits.row_QK[query], hits.score_QK[query]
            other = (rows != NO_ROW) & (self.product_N[rows] != self.product_N[own])
            rows, scores = rows[other], scores[other]
            siblings = self._siblings(own, categories)
            if len(siblings):
                score_S = self.vector_ND[siblings] @ query_QD[query]
                place = int((scores >= score_S.max()).sum())
                rows = np.insert(rows, place, siblings[score_S.argmax()])
                scores = np.insert(scores, place, score_S.max())
            count = min(depth, len(rows))
            row_QK[query, :count], score_QK[query, :count] = rows[:count], scores[:count]
        return row_QK, score_QK

    def _siblings(self, own: int, categories: Sequence[str] | None) -> np.ndarray:
        """The other pictures of a picture's product, in the categories searched."""
        rows = self.shard.rows_of(self.product_N[own])
        return rows[(rows != own) & (np.isin(self.category_N[rows], categories) if categories else True)]


def recall_of(
    query_QD: np.ndarray, query_product: Sequence[str], gallery_ND: np.ndarray, rows: pa.Table, ks: Sequence[int]
) -> dict[int, float]:
    """Recall at each k by product, in the whole gallery: the evaluation's headline, for a training to watch.

    Args:
        query_QD: float32 unit vectors.
        query_product: the product that each query shows; one that the gallery lacks is a miss.
        gallery_ND: float32 unit vectors.
        rows: product_id of each gallery vector, in any order; image_id, category and content_hash are not needed.
        ks: the depths, each at least 1.

    Raises:
        ValueError: no queries, no ks, or a k < 1.
    """
    if not len(query_QD) or not ks or min(ks) < 1:
        raise ValueError(f"expected queries and ks >= 1, got {len(query_QD)} queries and ks={list(ks)}")
    number = pa.array([str(row) for row in range(len(rows))])
    one = pa.array([""] * len(rows))
    plain = pa.table(
        {"image_id": number, "product_id": rows["product_id"], "category": one, "content_hash": number},
    )
    answers = Bench(gallery_ND, plain).ask(query_QD, np.array(query_product, dtype=object), max(ks))
    curve = cmc(answers.rank_Q, max(ks))
    return {k: float(curve[k - 1]) for k in ks}
