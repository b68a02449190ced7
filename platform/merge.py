"""Merging the shards' answers into one: the k best of all, whichever way the metric points."""

from __future__ import annotations

import numpy as np

# Q queries, K results, S shards

NO_ROW = -1


def merge(
    score_SQK: list[np.ndarray], row_SQK: list[np.ndarray], k: int, *, higher_is_better: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `k` best of several ranked lists for every query.

    Args:
        score_SQK: one float array (Q, K_s) per shard; K_s may differ between shards.
        row_SQK: the rows they belong to, `NO_ROW` where a shard had fewer than K_s results.
        k: results wanted.
        higher_is_better: True for inner products and cosines, False for distances. There is no default on purpose:
            FAISS's own client merges inner products the wrong way round.

    Returns:
        (score, shard, row), each (Q, k), best first; equal scores by shard, then by the shard's own order. Where fewer
        than `k` exist, row and shard are `NO_ROW` and the score is the worst there is.
    """
    worst = -np.inf if higher_is_better else np.inf
    score = np.concatenate(score_SQK, axis=1)
    row = np.concatenate(row_SQK, axis=1)
    shard = np.concatenate([np.full(block.shape, number) for number, block in enumerate(row_SQK)], axis=1)
    score = np.where(row == NO_ROW, worst, score)
    if (missing := k - score.shape[1]) > 0:
        score = np.pad(score, ((0, 0), (0, missing)), constant_values=worst)
        row, shard = (np.pad(array, ((0, 0), (0, missing)), constant_values=NO_ROW) for array in (row, shard))
    order = np.argsort(-score if higher_is_better else score, axis=1, kind="stable")[:, :k]
    score, row, shard = (np.take_along_axis(array, order, axis=1) for array in (score, row, shard))
    return score, np.where(row == NO_ROW, NO_ROW, shard), row
