"""One shard of the index: exact search over the rows it owns, by category, collapsed to products.

Rows are sorted by category, so a category is a slice and a filtered search costs less, not more. All images of a
product live in one shard, so collapsing to products here is exact. Plain Python over FAISS; knows no Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.knn import make_vectors
from visnet.platform.merge import NO_ROW, merge
from visnet.platform.partition import product_hash

# Q queries, N rows, D embedding, K results

HIGHER_IS_BETTER = True
"""The index's metric is the inner product of unit vectors: their cosine."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What a shard found for a batch of queries, best first."""

    score_QK: np.ndarray
    """float32; -inf where there was nothing more to find."""
    row_QK: np.ndarray
    """int64 rows of the shard; `NO_ROW` where there was nothing more to find."""


class Shard:
    """A searchable block of rows.

    Args:
        vector_ND: unit vectors.
        rows: one row per vector, sorted by `category`, with image_id, product_id, content_hash and further columns.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        StoreError: rows and vectors do not belong together, or the rows are not sorted by category.
    """

    def __init__(self, vector_ND: np.ndarray, rows: pa.Table, *, device: str = "cpu") -> None:
        if len(vector_ND) != len(rows):
            raise StoreError(f"the shard has {len(vector_ND)} vectors for {len(rows)} rows: build the index anew")
        self.rows = rows
        self.dimension = int(vector_ND.shape[1])
        self.categories = _slices(rows["category"])
        self._vectors = make_vectors(vector_ND, device=device)
        self.product_N = _codes(rows["product_id"])
        self.content_N = _codes(rows["content_hash"])
        self._repeats = {
            kind: len(codes) - len(np.unique(codes)) > 0
            for kind, codes in (("product", self.product_N), ("content", self.content_N))
        }
        hash_N = np.array([product_hash(product) for product in rows["product_id"].to_pylist()], np.uint64)
        self._by_hash_N = np.argsort(hash_N, kind="stable")
        self._sorted_hash_N = hash_N[self._by_hash_N]

    def __len__(self) -> int:
        return len(self.rows)

    def search(
        self,
        query_QD: np.ndarray,
        k: int,
        *,
        categories: Sequence[str] | None = None,
        collapse_duplicates: bool = True,
    ) -> Hits:
        """The `k` nearest products of each query.

        Every product appears once, with its nearest image; so does every group of images with the same bytes, unless
        `collapse_duplicates` is off. If what is searched holds `k` that differ, `k` are returned.

        Args:
            query_QD: float32 unit vectors.
            k: at least 1.
            categories: search only these; unknown ones are empty.

        Raises:
            ValueError: the queries' dimension is not the shard's, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.dimension:
            raise ValueError(f"expected queries of shape (Q, {self.dimension}), got {query_QD.shape}")
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        spans = self._spans(categories)
        rows_in_reach = sum(stop - start for start, stop in spans)
        keys = [self.product_N] if self._repeats["product"] else []
        if collapse_duplicates and self._repeats["content"]:
            keys.append(self.content_N)
        fetch = k
        while True:
            fetch = min(fetch, rows_in_reach)
            hits = self._nearest(query_QD, spans, fetch)
            hits = _collapse(hits, keys) if keys else hits
            found_Q = (hits.row_QK != NO_ROW).sum(axis=1)
            if fetch == rows_in_reach or bool((found_Q >= k).all()):
                score_QK, _, row_QK = merge([hits.score_QK], [hits.row_QK], k, higher_is_better=HIGHER_IS_BETTER)
                return Hits(score_QK, row_QK)
            fetch *= 4

    def rows_of(self, product_id: str) -> np.ndarray:
        """The rows of a product, in order; empty if the shard does not hold it."""
        wanted = np.uint64(product_hash(product_id))
        first = np.searchsorted(self._sorted_hash_N, wanted, side="left")
        last = np.searchsorted(self._sorted_hash_N, wanted, side="right")
        rows = np.sort(self._by_hash_N[first:last])
        same = pc.equal(self.rows["product_id"].take(pa.array(rows)), product_id)
        mine: np.ndarray = rows[same.to_numpy(zero_copy_only=False)]
        return mine

    def vector(self, product_id: str) -> np.ndarray:
        """A product's query vector, float32 (D,): the normalised mean over its images.

        Raises:
            NotFoundError: the shard does not hold it.
        """
        rows = self.rows_of(product_id)
        if not len(rows):
            raise NotFoundError(f"no product {product_id!r}")
        vector_D: np.ndarray = self.product_vectors([rows])[0]
        return vector_D

    def product_vectors(self, rows_of_products: Sequence[np.ndarray]) -> np.ndarray:
        """The query vectors of several products by their rows: float32 (products, D)."""
        means = np.reshape([self._vectors.take(rows).mean(axis=0) for rows in rows_of_products], (-1, self.dimension))
        norm = np.linalg.norm(means, axis=1, keepdims=True)
        normalised: np.ndarray = (means / np.maximum(norm, 1e-12)).astype(np.float32)
        return normalised

    def _spans(self, categories: Sequence[str] | None) -> list[tuple[int, int]]:
        if categories is None:
            return [(0, len(self))] if len(self) else []
        return [self.categories[name] for name in dict.fromkeys(categories) if name in self.categories]

    def _nearest(self, query_QD: np.ndarray, spans: list[tuple[int, int]], k: int) -> Hits:
        found = [self._vectors.search(query_QD, start, stop, min(k, stop - start)) for start, stop in spans]
        found.append((np.empty((len(query_QD), 0), np.float32), np.empty((len(query_QD), 0), np.int64)))
        scores, rows = [score for score, _ in found], [row for _, row in found]
        score_QK, _, row_QK = merge(scores, rows, k, higher_is_better=HIGHER_IS_BETTER)
        return Hits(score_QK, row_QK)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Equal values as equal integers; a null equals nothing."""
    encoded = column.combine_chunks().dictionary_encode()
    codes: np.ndarray = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    empty = codes == -1
    codes[empty] = -1 - np.arange(int(empty.sum()))
    return codes


def _slices(category: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    if not len(category):
        return {}
    runs = pc.run_end_encode(category.combine_chunks())
    stops = runs.run_ends.to_pylist()
    names = runs.values.to_pylist()
    if len(set(names)) != len(names):
        raise StoreError("the shard's rows are not sorted by category: build the index anew")
    return {name: (start, stop) for name, start, stop in zip(names, [0, *stops], stops, strict=False)}


def _collapse(hits: Hits, keys: list[np.ndarray]) -> Hits:
    """Keep the best hit of every key: later ones of the same product or the same image become `NO_ROW`."""
    row_QK = hits.row_QK.copy()
    for key_N in keys:
        for row_K in row_QK:
            valid = np.flatnonzero(row_K != NO_ROW)
            _, first = np.unique(key_N[row_K[valid]], return_index=True)
            repeated = np.ones(len(valid), bool)
            repeated[first] = False
            row_K[valid[repeated]] = NO_ROW
    score_QK = np.where(row_QK == NO_ROW, -np.inf, hits.score_QK).astype(np.float32)
    return Hits(score_QK, row_QK)
