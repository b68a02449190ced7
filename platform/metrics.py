"""Retrieval metrics, on ids, ranks and scores alone.

Two recalls, two names: `recall_at_k` asks whether the right item is among the first k; `ann_recall_at_k` how much of
the exact answer an approximate search finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Q queries, K results, T triplets, V distinct values

NOT_FOUND = 0
"""The rank of an item that is not among the results; ranks count from 1."""


def recall_at_k(found_QK: np.ndarray, relevant_Q: Sequence[object] | np.ndarray, k: int) -> float:
    """Share of the queries whose relevant item is among the first `k` found; 0..1, higher is better.

    Args:
        found_QK: ids, best first; at least `k` columns.
        relevant_Q: the one relevant id of each query.

    Raises:
        ValueError: no queries, or fewer than `k` columns.

    >>> recall_at_k(np.array([["a", "b"], ["c", "d"]]), ["b", "x"], 2)
    0.5
    """
    _check(found_QK, len(relevant_Q), k)
    return float((found_QK[:, :k] == np.array(relevant_Q, dtype=object)[:, None]).any(axis=1).mean())


def ranks(found_QK: np.ndarray, relevant_Q: Sequence[object] | np.ndarray) -> np.ndarray:
    """Where each query's relevant item stands among its results, from 1; `NOT_FOUND` if it is not there. int64 (Q,).

    >>> ranks(np.array([["a", "b"], ["c", "d"]]), ["b", "x"]).tolist()
    [2, 0]
    """
    hit_QK = found_QK == np.array(relevant_Q, dtype=object)[:, None]
    if not hit_QK.shape[1]:
        return np.full(len(found_QK), NOT_FOUND)
    first_Q: np.ndarray = np.where(hit_QK.any(axis=1), hit_QK.argmax(axis=1) + 1, NOT_FOUND)
    return first_Q


def cmc(rank_Q: np.ndarray, depth: int) -> np.ndarray:
    """The cumulative match characteristic: entry k - 1 is the recall at k, for k = 1..depth. float64 (depth,).

    With one relevant item per query, as here, it is `recall_at_k` as a curve and never falls.

    Args:
        rank_Q: from 1, `NOT_FOUND` for none.

    Raises:
        ValueError: no queries, or `depth` < 1.

    Source: Moon and Phillips, "Computational and performance aspects of PCA-based face-recognition algorithms" (2001).

    >>> cmc(np.array([1, 3, NOT_FOUND, 1]), 3).tolist()
    [0.5, 0.5, 0.75]
    """
    if not len(rank_Q) or depth < 1:
        raise ValueError(f"expected ranks of Q > 0 queries and depth >= 1, got Q={len(rank_Q)}, depth={depth}")
    counts = np.bincount(rank_Q[(rank_Q != NOT_FOUND) & (rank_Q <= depth)], minlength=depth + 1)[1:]
    curve: np.ndarray = np.cumsum(counts) / len(rank_Q)
    return curve


def map_at_r(relevant_QK: np.ndarray, count_Q: np.ndarray) -> float:
    """Mean average precision at R, where R is how many relevant items a query has; 0..1, higher is better.

    For one query: the mean over i = 1..R of (precision at i, if result i is relevant, else 0). 1 only if the first R
    are just the R relevant ones. With R = 1 it is the recall at 1.

    Args:
        relevant_QK: bool, whether each result is relevant, best first; K >= the largest R.
        count_Q: R of each query, at least 1.

    Raises:
        ValueError: no queries, a query with nothing relevant, or fewer results than R.

    Source: Musgrave, Belongie, Lim, "A Metric Learning Reality Check" (arXiv:2003.08505), section 3.3.

    >>> map_at_r(np.array([[True, False, True], [False, True, True]]), np.array([2, 2]))
    0.375
    """
    if len(count_Q) and min(count_Q) < 1:
        raise ValueError("expected every query to have something relevant, got R = 0")
    _check(relevant_QK, len(count_Q), int(max(count_Q, default=1)))
    place_K = np.arange(1, relevant_QK.shape[1] + 1)
    within_QK = relevant_QK & (place_K <= count_Q[:, None])
    precision_QK = np.cumsum(within_QK, axis=1) / place_K
    return float(((precision_QK * within_QK).sum(axis=1) / count_Q).mean())


def triplet_accuracy(positive_T: np.ndarray, negative_T: np.ndarray, *, higher_is_better: bool) -> float:
    """Share of the triplets whose positive is nearer to the anchor than the negative; a tie is an error; 0..1.

    Args:
        positive_T: score of anchor and positive, of each triplet.
        negative_T: score of anchor and negative.
        higher_is_better: True for inner products, False for distances.

    Raises:
        ValueError: no triplets, or not as many of one as of the other.

    Source: Shankar et al. (arXiv:1703.02344), section 5.1; Wang et al., "Learning Fine-grained Image Similarity with
    Deep Ranking" (arXiv:1404.4661), section 6.3, as "similarity precision".

    >>> triplet_accuracy(np.array([0.9, 0.2]), np.array([0.1, 0.2]), higher_is_better=True)
    0.5
    """
    if not len(positive_T) or positive_T.shape != negative_T.shape:
        raise ValueError(f"expected as many positives as negatives, got {positive_T.shape} and {negative_T.shape}")
    nearer_T = positive_T > negative_T if higher_is_better else positive_T < negative_T
    return float(nearer_T.mean())


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean difference with its confidence interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    first_Q: np.ndarray, second_Q: np.ndarray, *, seed: int, rounds: int = 10_000, confidence: float = 0.95
) -> Interval:
    """Mean of `first - second` over the same queries, with the percentile interval of its paired bootstrap.

    The queries are drawn anew with replacement, each with both of its results, `rounds` times. As only how often each
    distinct difference was drawn counts, a round costs V and not Q. Queries are taken as independent of each other: if
    many show the same product, the true interval is wider.

    Args:
        first_Q: a number per query, such as 1.0 for a hit and 0.0 for a miss.
        second_Q: likewise, of the same queries in the same order.

    Raises:
        ValueError: no queries, or not as many of one as of the other.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3; Sakai, "Evaluating
    evaluation metrics based on the bootstrap" (SIGIR 2006) for pairs of runs.

    >>> paired_bootstrap(np.ones(4), np.ones(4), seed=0)
    Interval(difference=0.0, low=0.0, high=0.0)
    """
    if not len(first_Q) or first_Q.shape != second_Q.shape:
        raise ValueError(f"expected the same queries twice, got {first_Q.shape} and {second_Q.shape}")
    difference_Q = first_Q.astype(float) - second_Q.astype(float)
    value_V, count_V = np.unique(difference_Q, return_counts=True)
    queries = len(difference_Q)
    drawn_RV = np.random.default_rng(seed).multinomial(queries, count_V / queries, size=rounds)
    low, high = np.quantile(drawn_RV @ value_V / queries, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(difference=float(difference_Q.mean()), low=float(low), high=float(high))


def precision_at_k(label_QK: np.ndarray, label_Q: Sequence[object] | np.ndarray, k: int) -> float:
    """Mean share of the first `k` found whose label is the query's; 0..1, higher is better.

    >>> precision_at_k(np.array([["coat", "bag"]]), ["coat"], 2)
    0.5
    """
    _check(label_QK, len(label_Q), k)
    return float((label_QK[:, :k] == np.array(label_Q, dtype=object)[:, None]).mean())


def ann_recall_at_k(found_QK: np.ndarray, exact_QK: np.ndarray, k: int) -> float:
    """Mean share of the exact first `k` that an approximate search has among its first `k`; 0..1, higher is better.

    >>> ann_recall_at_k(np.array([[1, 2, 3]]), np.array([[3, 2, 9]]), 3)
    0.6666666666666666
    """
    _check(found_QK, len(exact_QK), k)
    _check(exact_QK, len(found_QK), k)
    overlaps = [len(set(found[:k]) & set(exact[:k])) / k for found, exact in zip(found_QK, exact_QK, strict=True)]
    return float(np.mean(overlaps))


def _check(found_QK: np.ndarray, queries: int, k: int) -> None:
    if not queries or len(found_QK) != queries or not 1 <= k <= found_QK.shape[1]:
        raise ValueError(f"expected answers of shape (Q={queries} > 0, K >= k={k} > 0), got {found_QK.shape}")
