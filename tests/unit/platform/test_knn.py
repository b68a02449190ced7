"""Exact search in blocks against one matrix product, on the CPU; the deep search for GPUs, on CPU tensors."""

import numpy as np
import pytest
import torch

from visnet.platform import knn
from visnet.platform.knn import CpuVectors, deep_search
from visnet.platform.merge import NO_ROW

DIMENSION = 16


def vectors(rows: int, *, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def oracle(query_QD: np.ndarray, vector_ND: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    score_QN = query_QD @ vector_ND[start:stop].T
    order_QK = np.argsort(-score_QN, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(score_QN, order_QK, axis=1), order_QK + start


@pytest.mark.parametrize("block_rows", [1, 7, 100, 1_000])
@pytest.mark.parametrize(("start", "stop"), [(0, 300), (13, 214), (299, 300)])
@pytest.mark.parametrize("k", [1, 20, 300])
@pytest.mark.parametrize("queries", [1, 25])
def test_blocks_find_what_one_product_finds(
    monkeypatch: pytest.MonkeyPatch, block_rows: int, start: int, stop: int, k: int, queries: int
) -> None:
    monkeypatch.setattr(knn, "CPU_BLOCK", block_rows * DIMENSION)
    vector_ND, query_QD = vectors(300), vectors(queries, seed=1)
    k = min(k, stop - start)

    score_QK, row_QK = CpuVectors(vector_ND).search(query_QD, start, stop, k)

    expected_score_QK, expected_row_QK = oracle(query_QD, vector_ND, start, stop, k)
    np.testing.assert_allclose(score_QK, expected_score_QK, atol=1e-5)
    np.testing.assert_array_equal(row_QK, expected_row_QK)


def test_an_empty_slice_and_no_queries() -> None:
    searched = CpuVectors(vectors(5))
    assert searched.search(vectors(2), 3, 3, 0)[1].shape == (2, 0)
    assert searched.search(vectors(0), 0, 5, 2)[1].shape == (0, 2)


def test_a_query_that_is_not_a_number_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "CPU_BLOCK", 2 * DIMENSION)
    _, row_QK = CpuVectors(vectors(5)).search(np.full((1, DIMENSION), np.nan, np.float32), 1, 5, 3)
    assert (row_QK == NO_ROW).all()


@pytest.mark.parametrize("block", [1, 500, 10**9])
@pytest.mark.parametrize("k", [1, 50, 2_500])
def test_the_deep_search_finds_what_one_product_finds(monkeypatch: pytest.MonkeyPatch, block: int, k: int) -> None:
    monkeypatch.setattr(knn, "GPU_BLOCK", block if block > 1 else 4 * 3 * 100)
    vector_ND, query_QD = vectors(2_500), vectors(3, seed=1)

    score_QK, row_QK = deep_search(torch.from_numpy(query_QD), torch.from_numpy(vector_ND), k)

    expected_score_QK, expected_row_QK = oracle(query_QD, vector_ND, 0, len(vector_ND), k)
    np.testing.assert_allclose(score_QK.numpy(), expected_score_QK, atol=1e-5)
    np.testing.assert_array_equal(row_QK.numpy(), expected_row_QK)
