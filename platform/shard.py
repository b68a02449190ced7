"""One shard of the index: search over the rows it owns, by category, collapsed to products.

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
from visnet.platform.knn import Vectors, make_vectors
from visnet.platform.merge import NO_ROW, merge
from visnet.platform.shard_keys import RowKeys, keys_of

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
        keys: the rows' numbers; worked out from the rows if there are none.
        vectors: what searches the vectors; by default all of them exactly, on `device`.

    Raises:
        StoreError: rows, keys and vectors do not belong together, or the rows are not sorted by category.
    """

    def __init__(
        self,
        vector_ND: np.ndarray,
        rows: pa.Table,
        *,
        device: str = "cpu",
        keys: RowKeys | None = None,
        vectors: Vectors | None = None,
    ) -> None:
        if len(vector_ND) != len(rows):
            raise StoreError(f"the shard has {len(vector_ND)} vectors for {len(rows)} rows: build the index anew")
        self._keys = keys_of(rows) if keys is None else keys
        if len(self._keys) != len(rows):
            raise StoreError(f"the shard has {len(self._keys)} keys for {len(rows)} rows: build the index anew")
        self.rows = rows
        self.dimension = int(vector_ND.shape[1])
        self.categories = _slices(rows["category"])
        self._vectors = make_vectors(vector_ND, device=device) if vectors is None else vectors

    @property
    def product_N(self) -> np.ndarray:
        """The number of every row's product: its rank by id among the shard's products, from 0."""
        return self._keys.product_N

    @property
    def content_N(self) -> np.ndarray:
        """int64: rows with the same image bytes have the same number; in built shards, across shards too."""
        return self._keys.content_N

    @property
    def vectors(self) -> Vectors:
        """What searches the vectors of all rows."""
        return self._vectors

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
        keys = [self.product_N] if self._keys.products < len(self) else []
        if collapse_duplicates and self._keys.contents < len(self):
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
        rows = self._keys.rows_with_hash(product_id)
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
        """The query vectors of several products by their rows, at least one each: float32 (products, D)."""
        if not len(rows_of_products):
            return np.empty((0, self.dimension), np.float32)
        count_P = np.array([len(rows) for rows in rows_of_products])
        return unit_means(self._vectors.take(np.concatenate(rows_of_products)), count_P)

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


def unit_means(vector_ND: np.ndarray, count_P: np.ndarray) -> np.ndarray:
    """The normalised means of runs of vectors, at least one each: float32 (P, D)."""
    means = np.add.reduceat(vector_ND, np.cumsum(count_P) - count_P, axis=0) / count_P[:, None]
    norm = np.linalg.norm(means, axis=1, keepdims=True)
    normalised: np.ndarray = (means / np.maximum(norm, 1e-12)).astype(np.float32)
    return normalised


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
    row_QK = hits.row_QK
    for key_N in keys:
        row_QK = np.where(_repeated(key_N[row_QK], row_QK != NO_ROW), NO_ROW, row_QK)
    score_QK = np.where(row_QK == NO_ROW, -np.inf, hits.score_QK).astype(np.float32)
    return Hits(score_QK, row_QK)


def _repeated(key_QK: np.ndarray, valid_QK: np.ndarray) -> np.ndarray:
    """Where a key stands that an earlier valid place of its row has too; what is not valid has no key."""
    order_QK = np.lexsort((key_QK, ~valid_QK), axis=1)  # stable: the first of equal keys stays the first
    key_QK, valid_QK = (np.take_along_axis(array, order_QK, axis=1) for array in (key_QK, valid_QK))
    again_QK = np.zeros(key_QK.shape, bool)
    again_QK[:, 1:] = (key_QK[:, 1:] == key_QK[:, :-1]) & valid_QK[:, 1:]
    repeated_QK = np.empty_like(again_QK)
    np.put_along_axis(repeated_QK, order_QK, again_QK, axis=1)
    return repeated_QK
