"""How much of the exact answers an approximate index finds, measured on its own vectors.

Stored vectors, drawn by a fixed seed, are looked up in every shard twice: by the approximate search and by one pass
over the shard's mapped vectors. Both answers are merged over the shards, by rows, without the row that was looked up.
Costs one exact pass of `recall_queries` queries over the index; memory holds a block of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visnet.platform.ann import SEED, AnnParameters, AnnVectors, read_ann
from visnet.platform.index_gather import VECTORS, shard_directory
from visnet.platform.knn import block_search
from visnet.platform.merge import NO_ROW, merge
from visnet.platform.metrics import ann_recall_at_k
from visnet.platform.shard import HIGHER_IS_BETTER
from visnet.platform.store import Store

# Q queries, N rows, D embedding, K results, S shards

TIE = 1e-6
"""Scores so near are equal: the order of equal vectors is chance, not recall."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """What is looked up in one shard."""

    shard: int
    first_row: int
    """The number of the shard's row 0 among the rows of all shards."""
    parameters: AnnParameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The stored vectors that are looked up."""

    query_QD: np.ndarray
    """float32."""
    row_Q: np.ndarray
    """int64: their rows, counted over all shards."""
    k: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What one shard, or all of them, answer: rows counted over all shards, best first, without the query's own."""

    score_QK: np.ndarray
    row_QK: np.ndarray
    exact_score_QK: np.ndarray
    exact_row_QK: np.ndarray


def draw(shard_rows: Sequence[int], queries: int) -> list[np.ndarray]:
    """Which rows of each shard are looked up: a fixed choice among all, at most `queries` together."""
    total = sum(shard_rows)
    chosen = np.sort(np.random.default_rng(SEED).choice(total, min(queries, total), replace=False))
    ends = np.cumsum(shard_rows)
    return [part - (end - rows) for part, end, rows in zip(_cut(chosen, ends), ends, shard_rows, strict=True)]


def read_vectors(store: Store, index: str, shard: int, row_N: np.ndarray) -> np.ndarray:
    """Some vectors of a shard, float32 (N, D)."""
    vectors: np.ndarray = mapped_vectors(store, index, shard)[row_N].astype(np.float32)
    return vectors


def look_up(store: Store, index: str, drawn: Drawn, lookup: Lookup) -> Answers:
    """One shard's answers."""
    vector_ND = mapped_vectors(store, index, lookup.shard)
    k = min(drawn.k + 1, len(vector_ND))  # one more: the vector itself may be among them
    exact = block_search(drawn.query_QD, vector_ND, 0, len(vector_ND), k)
    found = exact
    if lookup.parameters.nlist:
        ann = read_ann(store, shard_directory(index, lookup.shard))
        found = AnnVectors(vector_ND, ann, lookup.parameters).search(drawn.query_QD, 0, len(vector_ND), k)
    score_QK, row_QK = _others(*found, lookup.first_row, drawn.row_Q)
    exact_score_QK, exact_row_QK = _others(*exact, lookup.first_row, drawn.row_Q)
    return Answers(score_QK=score_QK, row_QK=row_QK, exact_score_QK=exact_score_QK, exact_row_QK=exact_row_QK)


def recall(answers: Sequence[Answers], k: int) -> float:
    """`ann_recall_at_k` of the shards' answers together; they hold at least `k` rows for every query."""
    score_QK, row_QK = _merged([(one.score_QK, one.row_QK) for one in answers], k)
    exact_score_QK, exact_row_QK = _merged([(one.exact_score_QK, one.exact_row_QK) for one in answers], k)
    found_QK = row_QK.copy()
    for query in range(len(row_QK)):
        tied_K = np.abs(score_QK[query] - exact_score_QK[query, -1]) <= TIE
        exact_tied_K = np.abs(exact_score_QK[query] - exact_score_QK[query, -1]) <= TIE
        places = np.flatnonzero(tied_K & ~np.isin(row_QK[query], exact_row_QK[query]))
        missed = exact_row_QK[query][exact_tied_K & ~np.isin(exact_row_QK[query], row_QK[query])]
        count = min(len(places), len(missed))
        found_QK[query, places[:count]] = missed[:count]  # as good as the one that it stands for
    return ann_recall_at_k(found_QK, exact_row_QK, k)


def mapped_vectors(store: Store, index: str, shard: int) -> np.ndarray:
    """A shard's vectors as they are on the disk, float16 (N, D)."""
    path = store.local_path(f"{shard_directory(index, shard)}/{VECTORS}")
    vector_ND: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return vector_ND


def _others(
    score_QK: np.ndarray, row_QK: np.ndarray, first_row: int, own_Q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    row_QK = np.where(row_QK == NO_ROW, NO_ROW, row_QK + first_row)
    return score_QK, np.where(row_QK == own_Q[:, None], NO_ROW, row_QK)


def _merged(answers: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = [score for score, _ in answers], [row for _, row in answers]
    score_QK, _, row_QK = merge(scores, rows, k, higher_is_better=HIGHER_IS_BETTER)
    return score_QK, row_QK


def _cut(chosen: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    return np.split(chosen, np.searchsorted(chosen, ends[:-1]))
