"""Merging shards: the same answer as one flat index, whichever way the metric points."""

import faiss
import numpy as np
import pytest

from visnet.platform.merge import NO_ROW, merge


def search(
    vector_ND: np.ndarray, query_QD: np.ndarray, k: int, *, higher_is_better: bool
) -> tuple[np.ndarray, np.ndarray]:
    metric = faiss.METRIC_INNER_PRODUCT if higher_is_better else faiss.METRIC_L2
    index = faiss.index_factory(vector_ND.shape[1], "Flat", metric)
    index.add(vector_ND)
    found: tuple[np.ndarray, np.ndarray] = index.search(query_QD, k)  # pads with row -1 where there are fewer
    return found


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("sizes", [(50,), (50, 30, 20), (97, 2, 1), (1, 1, 98)])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_sharded_search_is_one_flat_search(higher_is_better: bool, sizes: tuple[int, ...], k: int) -> None:
    dice = np.random.default_rng(0)
    vector_ND = dice.normal(size=(sum(sizes), 8)).astype(np.float32)
    query_QD = dice.normal(size=(9, 8)).astype(np.float32)
    starts = np.cumsum([0, *sizes])
    found = [
        search(vector_ND[start : start + size], query_QD, k, higher_is_better=higher_is_better)
        for start, size in zip(starts, sizes, strict=False)
    ]
    score_SQK, row_SQK = [score for score, _ in found], [row for _, row in found]
    score_QK, shard_QK, row_QK = merge(score_SQK, row_SQK, k, higher_is_better=higher_is_better)
    flat_score_QK, flat_row_QK = search(vector_ND, query_QD, k, higher_is_better=higher_is_better)
    flat_row_QK = np.where(flat_row_QK < 0, NO_ROW, flat_row_QK)
    np.testing.assert_array_equal(np.where(row_QK == NO_ROW, NO_ROW, starts[shard_QK] + row_QK), flat_row_QK)
    exists = flat_row_QK != NO_ROW
    np.testing.assert_allclose(score_QK[exists], flat_score_QK[exists], rtol=1e-4, atol=1e-5)
    assert score_QK.dtype == np.float32


@pytest.mark.parametrize(("higher_is_better", "worst"), [(True, -np.inf), (False, np.inf)])
def test_what_does_not_exist_is_padding_at_the_end(higher_is_better: bool, worst: float) -> None:
    scores = [np.array([[0.5, 99.0]], np.float32), np.array([[0.4, -99.0, 0.0]], np.float32)]
    rows = [np.array([[3, NO_ROW]]), np.array([[8, NO_ROW, NO_ROW]])]
    score_QK, shard_QK, row_QK = merge(scores, rows, 7, higher_is_better=higher_is_better)
    best_first = [3, 8] if higher_is_better else [8, 3]
    assert row_QK.tolist() == [[*best_first, *[NO_ROW] * 5]]
    assert shard_QK.tolist() == [[*([0, 1] if higher_is_better else [1, 0]), *[NO_ROW] * 5]]
    assert score_QK[0, 2:].tolist() == [worst] * 5


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_equal_scores_keep_the_order_of_shards_and_ranks(higher_is_better: bool) -> None:
    step = -0.25 if higher_is_better else 0.25
    same = [np.repeat(np.arange(4) * step, 100)[None].astype(np.float32) for _ in range(3)]  # each is best first
    rows = [np.arange(400)[None] + 1000 * shard for shard in range(3)]
    _, shard_QK, row_QK = merge(same, rows, 600, higher_is_better=higher_is_better)
    expected = [1000 * shard + row for level in (0, 100) for shard in range(3) for row in range(level, level + 100)]
    assert row_QK[0].tolist() == expected
    assert shard_QK[0].tolist() == [row // 1000 for row in expected]


def test_empty_lists_and_no_queries() -> None:
    empty = np.empty((2, 0), np.float32)
    score_QK, shard_QK, row_QK = merge([empty, empty], [empty.astype(np.int64)] * 2, 3, higher_is_better=True)
    assert score_QK.shape == shard_QK.shape == row_QK.shape == (2, 3)
    assert (row_QK == NO_ROW).all()
    none = np.empty((0, 4), np.float32)
    assert merge([none], [none.astype(np.int64)], 2, higher_is_better=True)[0].shape == (0, 2)


def test_the_direction_is_never_guessed() -> None:
    with pytest.raises(TypeError, match="higher_is_better"):
        merge([np.ones((1, 1))], [np.zeros((1, 1))], 1)  # type: ignore[call-arg]
