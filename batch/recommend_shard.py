"""One shard of the index as the recommendation pass needs it: rows in the order of the rules, answers in numbers.

Which neighbours a rule allows is decided before the search wherever it can be: what is out of stock is not among the
vectors; for `same_category` the vectors are sorted by category and for `price_band`, within that, by price, and so are
the products that ask. A batch of them then searches slices. Exact whatever the kind of the index: it searches the
vectors themselves. On a CPU it holds them as float32, 4 bytes a component, and maps all else.
"""

from __future__ import annotations

import itertools

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.batch.recommend_messages import Found, Queries, ShardRows, stacked
from visnet.platform.knn import make_vectors
from visnet.platform.merge import NO_ROW
from visnet.platform.rules import at_places, first_of_each, first_places, price_bounds, prices, stock_mask, within_band
from visnet.platform.settings import RecommendSettings
from visnet.platform.shard_keys import ranks

# Q queries, K neighbours, D embedding, N rows, S rows that are searched, P products, I images of a product

LEAST_PRICE = 0.01
LEAST_STEP = 0.05
"""Products whose prices are this share apart are searched for together, however narrow the band."""


class RecommendShard:
    """A shard that answers for its own products and searches for anybody's.

    Args:
        number: the shard's.
        device: "cpu" or "cuda".
        threads: FAISS's, on a CPU.
    """

    def __init__(
        self, number: int, shard: ShardRows, settings: RecommendSettings, *, device: str = "cpu", threads: int = 1
    ) -> None:
        self._number, self._shard, self._settings, self._threads = number, shard, settings, threads
        self._row_by_product = np.argsort(shard.product_N, kind="stable")
        self._count_P = np.bincount(shard.product_N)
        self._start_P = np.cumsum(self._count_P) - self._count_P
        banded = settings.price_band is not None
        self._price_N = prices(shard.rows[settings.price_column]) if banded else np.full(len(shard.rows), np.nan)
        self._category_N, self._names = _categories(shard.rows, settings.same_category)
        self._arrange()
        ordered_SD = shard.vector_ND if self._in_place else shard.vector_ND[self._row_S]
        self._vectors = make_vectors(ordered_SD, device=device)

    def _arrange(self) -> None:
        """Choose the rows that are searched and their order."""
        shard, settings = self._shard, self._settings
        row_S = np.lexsort((self._price_N, self._category_N))
        if settings.in_stock is not None:
            row_S = row_S[stock_mask(shard.rows[settings.in_stock])[row_S]]
        self._row_S = row_S
        self._in_place = len(row_S) == len(shard.rows) and bool((np.diff(row_S) > 0).all())
        self._product_S, self._content_S = shard.product_N[row_S], shard.content_N[row_S]
        self._price_S, category_S = self._price_N[row_S], self._category_N[row_S]
        self._several = len(row_S) > len(np.unique(self._product_S))
        self._copies = len(row_S) > len(np.unique(self._content_S))
        edges = [*np.flatnonzero(np.diff(category_S, prepend=-1)).tolist(), len(row_S)]
        names = [self._names[category] for category in category_S[edges[:-1]]]
        self._slices = dict(zip(names, itertools.pairwise(edges), strict=True))

    def sizes(self) -> tuple[int, int, int]:
        """The shard's products, and how many rows and products are searched."""
        return len(self._count_P), len(self._row_S), len(np.unique(self._product_S))

    def queries(self, first: int, last: int, start: int, count: int) -> Queries:
        """`count` of the products numbered `first` to `last` (not included), from place `start` in the rules' order."""
        row_P = self._row_by_product[self._start_P[first:last]]  # of the first image
        order = np.lexsort((self._price_N[row_P], self._category_N[row_P]))[start : start + count]
        product_Q, row_Q = first + order, row_P[order]
        category_Q, step_Q = self._category_N[row_Q], _price_steps(self._price_N[row_Q], self._settings.price_band or 0)
        new_Q = (np.diff(category_Q, prepend=-1) != 0) | (np.diff(step_Q, prepend=-1) != 0)
        return Queries(
            shard=self._number,
            product_Q=product_Q,
            vector_QD=self._means(product_Q),
            content_QI=self._contents(product_Q),
            price_Q=self._price_N[row_Q],
            group_Q=np.cumsum(new_Q) - 1,
            categories=[self._names[category] for category in category_Q[new_Q]],
        )

    def _means(self, product_Q: np.ndarray) -> np.ndarray:
        count_Q = self._count_P[product_Q]
        row_M = self._row_by_product[_runs(self._start_P[product_Q], count_Q)]
        taken_MD = self._shard.vector_ND[row_M].astype(np.float32)
        mean_QD = np.add.reduceat(taken_MD, np.cumsum(count_Q) - count_Q, axis=0) / count_Q[:, None]
        norm_Q1 = np.linalg.norm(mean_QD, axis=1, keepdims=True)
        normalised: np.ndarray = (mean_QD / np.maximum(norm_Q1, 1e-12)).astype(np.float32)
        return normalised

    def _contents(self, product_Q: np.ndarray) -> np.ndarray:
        count_Q1 = self._count_P[product_Q, None]
        image_I = np.arange(count_Q1.max(initial=1))
        place_QI = self._start_P[product_Q, None] + np.where(image_I < count_Q1, image_I, 0)
        contents: np.ndarray = self._shard.content_N[self._row_by_product[place_QI]]
        return contents

    def nearest(self, queries: Queries, fetch: int, keep: int, places: np.ndarray | None = None) -> Found:
        """The best neighbours in this shard that the rules allow.

        Args:
            fetch: rows looked at for each query; those that a rule refuses or that repeat another are dropped.
            keep: neighbours returned for each query, at most.
            places: only these queries, ascending.
        """
        faiss.omp_set_num_threads(self._threads)  # holds for the calling thread only
        queries = queries if places is None else queries.of(places)
        found = [
            self._nearest(queries.of(np.arange(first, last)), category, fetch, keep)
            for first, last, category in queries.groups()
        ]
        return found[0] if len(found) == 1 else stacked(found)

    def _nearest(self, queries: Queries, category: str | None, fetch: int, keep: int) -> Found:
        start, stop = self._span(queries.price_Q, category)
        score_QK, row_QK = self._search(queries.vector_QD, start, stop, fetch)
        valid_QK = self._allowed(queries, row_QK)
        place_QK = first_places(valid_QK, keep)
        content_QK = self._content_S[row_QK] if row_QK.size else row_QK
        kept_QK = at_places(score_QK, place_QK, -np.inf)
        floor_Q = np.full(len(row_QK), -np.inf, np.float32)
        if row_QK.shape[1] < stop - start:
            floor_Q = np.where(row_QK[:, -1] == NO_ROW, floor_Q, score_QK[:, -1])
        if (cut_Q := valid_QK.sum(axis=1) > keep).any():
            floor_Q[cut_Q] = kept_QK[cut_Q, -1]
        row_QK = at_places(row_QK, place_QK, NO_ROW).astype(np.int32)
        return Found(kept_QK, row_QK, at_places(content_QK, place_QK, 0), floor_Q)

    def _search(self, query_QD: np.ndarray, start: int, stop: int, fetch: int) -> tuple[np.ndarray, np.ndarray]:
        if start == stop:
            return np.empty((len(query_QD), 0), np.float32), np.empty((len(query_QD), 0), np.int64)
        return self._vectors.search(query_QD, start, stop, min(fetch, stop - start))

    def _span(self, price_Q: np.ndarray, category: str | None) -> tuple[int, int]:
        """The slice in which all that the queries, a group, may have lies."""
        start, stop = self._slices.get(category, (0, 0))
        band = self._settings.price_band
        if band is None or np.isnan(price_Q).any():
            return start, stop
        low_Q, high_Q = price_bounds(price_Q, band)
        price_S = self._price_S[start:stop]
        inside = np.searchsorted(price_S, low_Q.min(), "left"), np.searchsorted(price_S, high_Q.max(), "right")
        return start + int(inside[0]), start + int(inside[1])

    def _allowed(self, queries: Queries, row_QK: np.ndarray) -> np.ndarray:
        """Which hits are neighbours: not the product or a duplicate of it, in its price band, and nothing twice."""
        valid_QK = row_QK != NO_ROW
        if not row_QK.size:
            return valid_QK
        product_QK = self._product_S[row_QK]
        if queries.shard == self._number:
            valid_QK &= product_QK != queries.product_Q[:, None]
        if self._settings.price_band is not None:
            valid_QK &= within_band(queries.price_Q, self._price_S[row_QK], self._settings.price_band)
        if self._several:
            valid_QK = first_of_each(product_QK, valid_QK)
        valid_QK &= ~self._duplicates(queries, product_QK, valid_QK)
        return first_of_each(self._content_S[row_QK], valid_QK) if self._copies else valid_QK

    def _duplicates(self, queries: Queries, product_QK: np.ndarray, valid_QK: np.ndarray) -> np.ndarray:
        """Which hits' products share an image's bytes, whether it was hit or not, with the product that asks."""
        place_H = np.flatnonzero(valid_QK)
        product_H = product_QK.ravel()[place_H]
        count_H = self._count_P[product_H]
        content_M = self._shard.content_N[self._row_by_product[_runs(self._start_P[product_H], count_H)]]
        place_M = np.repeat(place_H, count_H)
        query_M = place_M // product_QK.shape[1]
        duplicate_QK = np.zeros(product_QK.size, bool)
        for content_Q in queries.content_QI.T:
            duplicate_QK[place_M[content_M == content_Q[query_M]]] = True
        return duplicate_QK.reshape(product_QK.shape)

    def vectors(self, row_M: np.ndarray) -> np.ndarray:
        """The vectors of rows that were found, float16 (M, D)."""
        return self._shard.vector_ND[self._row_S[row_M]].astype(np.float16)

    def neighbour_ids(self, row_M: np.ndarray) -> pa.Array:
        """The product ids of rows that were found."""
        return _ids(self._shard.rows, self._row_S[row_M])

    def product_ids(self, first: int, last: int) -> pa.Array:
        """The ids of the products numbered `first` to `last` (not included)."""
        return _ids(self._shard.rows, self._row_by_product[self._start_P[first:last]])


def _ids(rows: pa.Table, row_M: np.ndarray) -> pa.Array:
    return pc.take(rows["product_id"], pa.array(row_M)).combine_chunks().cast(pa.string())


def _categories(rows: pa.Table, matter: bool) -> tuple[np.ndarray, list[str | None]]:
    """The number of every row's category, and their names; all in one without a name if they don't matter."""
    if not matter:
        return np.zeros(len(rows), np.int32), [None]
    names = pc.unique(rows["category"])
    return ranks(rows["category"]), names.take(pc.sort_indices(names)).to_pylist()


def _price_steps(price_Q: np.ndarray, band: float) -> np.ndarray:
    """Numbers from 0 for prices on a logarithmic scale, so that the bands of those in a step mostly overlap."""
    known_Q = ~np.isnan(price_Q)
    step_Q = np.zeros(len(price_Q), np.int64)
    logarithm_Q = np.log(np.maximum(price_Q[known_Q], LEAST_PRICE) / LEAST_PRICE)
    step_Q[known_Q] = 1 + (logarithm_Q / np.log1p(max(band, LEAST_STEP))).astype(np.int64)
    return step_Q


def _runs(start_M: np.ndarray, count_M: np.ndarray) -> np.ndarray:
    """The numbers `start` to `start + count` (not included) of every run, one after the other."""
    before_M = np.cumsum(count_M) - count_M
    runs: np.ndarray = np.arange(int(count_M.sum())) + np.repeat(start_M - before_M, count_M)
    return runs
