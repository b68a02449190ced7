"""Exact search in blocks against one matrix product, on the CPU; the deep search for GPUs, on CPU tensors."""

import numpy as np
import pytest
import torch

from visnet.platform import knn
from visnet.platform.knn import CpuVectors, deep_search, make_owned, rows_search
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


@pytest.mark.parametrize("block_rows", [1, 7, 1_000])
@pytest.mark.parametrize(("rows", "k"), [(1, 1), (50, 1), (50, 20), (300, 300), (0, 0)])
@pytest.mark.parametrize("queries", [1, 25])
def test_some_rows_are_searched_alone(
    monkeypatch: pytest.MonkeyPatch, block_rows: int, rows: int, k: int, queries: int
) -> None:
    monkeypatch.setattr(knn, "CPU_BLOCK", block_rows * DIMENSION)
    vector_ND, query_QD = vectors(300), vectors(queries, seed=1)
    row_N = np.sort(np.random.default_rng(3).choice(300, rows, replace=False))

    score_QK, row_QK = CpuVectors(vector_ND).search_rows(query_QD, row_N, k)

    expected_score_QK, place_QK = oracle(query_QD, vector_ND[row_N], 0, rows, k)
    np.testing.assert_allclose(score_QK, expected_score_QK, atol=1e-5)
    np.testing.assert_array_equal(row_QK, row_N[place_QK])
    mapped = rows_search(query_QD, vector_ND.astype(np.float16), row_N, k)[1]
    assert np.isin(mapped, row_N).all()


@pytest.mark.parametrize("k", [1, 5, 20, 100, 250, 300])
@pytest.mark.parametrize("queries", [1, 19, 20, 600])
def test_what_is_forgotten_never_comes_up(queries: int, k: int) -> None:
    """By every way that FAISS takes: heaps and reservoirs, one query after the other and many at once."""
    vector_ND, query_QD = vectors(300), vectors(queries, seed=1)
    searched = CpuVectors(vector_ND)
    dead_N = np.random.default_rng(4).permutation(300)[:100]
    searched.forget(dead_N)
    alive_N = np.setdiff1d(np.arange(300), dead_N)
    for score_QK, row_QK in (searched.search(query_QD, 0, 300, k), searched.search_rows(query_QD, np.arange(300), k)):
        found = min(k, 200)
        np.testing.assert_allclose(
            score_QK[:, :found], oracle(query_QD, vector_ND[alive_N], 0, 200, found)[0], atol=1e-5
        )
        assert np.isin(row_QK[:, :found], alive_N).all()
        assert (row_QK[:, found:] == NO_ROW).all()


def test_the_callers_array_stays_as_it_is() -> None:
    given = vectors(5)
    kept = given.copy()
    searched = CpuVectors(given)
    searched.forget(np.array([1]))
    searched.overwrite(np.array([3]), given[:1])
    np.testing.assert_array_equal(given, kept)
    np.testing.assert_array_equal(searched.take(np.array([0, 3])), given[[0, 0]])


def test_room_that_grows_keeps_what_is_there_and_finds_nothing_in_the_rest() -> None:
    vector_ND, query_QD = vectors(5), vectors(2, seed=1)
    owned = make_owned(DIMENSION, device="cpu", beside=CpuVectors(vector_ND))
    owned.grow(3)
    owned.overwrite(np.array([2, 0]), vector_ND[:2].astype(np.float16))
    owned.grow(8)
    row_QK = owned.search(query_QD, 0, 8, 8)[1]
    assert sorted(row_QK[0].tolist()) == [NO_ROW] * 6 + [0, 2]
    np.testing.assert_array_equal(owned.take(np.array([2, 0])), vector_ND[:2].astype(np.float16))
