"""Retrieval metrics, on ids and ranks alone.

Two recalls, two names: `recall_at_k` asks whether the right item is among the first k; `ann_recall_at_k` how much of
the exact answer an approximate search finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Q queries, K results


def recall_at_k(found_QK: np.ndarray, relevant_Q: Sequence[object], k: int) -> float:
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


def precision_at_k(label_QK: np.ndarray, label_Q: Sequence[object], k: int) -> float:
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
