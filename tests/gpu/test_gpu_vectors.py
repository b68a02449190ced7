"""On a GPU: the vectors, the shard and the encoder against their CPU twins. Needs no Ray."""

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
import torch

from visnet.platform.encoder import Encoder
from visnet.platform.knn import CpuVectors, GpuVectors
from visnet.platform.merge import NO_ROW
from visnet.platform.networks import make_recipe
from visnet.platform.shard import Shard

# Q queries, N rows, D embedding, K results

SCORE_TOLERANCE = 2e-3
"""What float16 may cost: queries are rounded to it on a GPU, and cosines are at most 1."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="this FAISS is built without GPU support"),
]


def unit_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors in float16, as an index stores them."""
    vector_ND = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float16)


def queries(count: int, dimension: int) -> np.ndarray:
    return unit_vectors(count, dimension, seed=1).astype(np.float32)


def check_same(cpu: tuple[np.ndarray, np.ndarray], gpu: tuple[np.ndarray, np.ndarray], score_QN: np.ndarray) -> None:
    """Equal scores, and equal rows but for rows whose scores float16 can't tell apart.

    Args:
        cpu, gpu: scores and rows, each (Q, K), best first.
        score_QN: the true scores of all rows, counted as `cpu` and `gpu` count them.
    """
    (cpu_score_QK, cpu_row_QK), (gpu_score_QK, gpu_row_QK) = cpu, gpu
    assert gpu_score_QK.shape == gpu_row_QK.shape == cpu_row_QK.shape
    assert (gpu_score_QK.dtype, gpu_row_QK.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(gpu_score_QK, cpu_score_QK, atol=SCORE_TOLERANCE)
    np.testing.assert_array_equal(gpu_row_QK == NO_ROW, cpu_row_QK == NO_ROW)
    for row_K, score_K, score_N in zip(gpu_row_QK, gpu_score_QK, score_QN, strict=True):
        found = row_K != NO_ROW
        assert (np.diff(score_K[found]) <= 0).all()
        assert len(set(row_K[found])) == found.sum()
        np.testing.assert_allclose(score_K[found], score_N[row_K[found]], atol=SCORE_TOLERANCE)


@pytest.mark.parametrize("k", [1, 20, 200, 1024])
@pytest.mark.parametrize("dimension", [33, 128, 256])
@pytest.mark.parametrize("batch", [1, 64])
def test_finds_what_the_cpu_finds(batch: int, dimension: int, k: int) -> None:
    vector_ND, query_QD = unit_vectors(5_000, dimension), queries(batch, dimension)
    score_QN = query_QD @ vector_ND.astype(np.float32).T
    cpu = CpuVectors(vector_ND).search(query_QD, 0, 5_000, k)
    check_same(cpu, GpuVectors(vector_ND).search(query_QD, 0, 5_000, k), score_QN)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 8), (777, 1_778), (4_990, 5_000)])
@pytest.mark.parametrize("dimension", [33, 128])
def test_a_slice_is_searched_alone_and_numbered_from_row_0(dimension: int, start: int, stop: int) -> None:
    vector_ND, query_QD = unit_vectors(5_000, dimension), queries(9, dimension)
    k = min(50, stop - start)
    score_QN = query_QD @ vector_ND.astype(np.float32).T
    cpu = CpuVectors(vector_ND).search(query_QD, start, stop, k)
    gpu = GpuVectors(vector_ND).search(query_QD, start, stop, k)
    check_same(cpu, gpu, score_QN)
    assert gpu[1].min() >= start
    assert gpu[1].max() < stop


def test_many_rows_and_queries_at_once() -> None:
    """More scores than FAISS keeps at a time: it goes over the vectors in tiles."""
    vector_ND, query_QD = unit_vectors(300_000, 64), queries(512, 64)
    score_QN = query_QD @ vector_ND.astype(np.float32).T
    cpu = CpuVectors(vector_ND).search(query_QD, 0, len(vector_ND), 100)
    check_same(cpu, GpuVectors(vector_ND).search(query_QD, 0, len(vector_ND), 100), score_QN)


def test_the_same_search_twice_gives_the_same() -> None:
    vectors, query_QD = GpuVectors(unit_vectors(5_000, 128)), queries(64, 128)
    first, second = (vectors.search(query_QD, 0, 5_000, 100) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[0], second[0])


def test_a_query_that_is_not_a_number_finds_nothing() -> None:
    query_QD = np.concatenate([np.full((1, 64), np.nan, np.float32), queries(1, 64)])
    _, row_QK = GpuVectors(unit_vectors(100, 64)).search(query_QD, 0, 100, 5)
    assert (row_QK[0] == NO_ROW).all()
    assert (row_QK[1] != NO_ROW).all()


def test_no_queries_are_no_hits() -> None:
    score_QK, row_QK = GpuVectors(unit_vectors(100, 64)).search(np.empty((0, 64), np.float32), 0, 100, 5)
    assert score_QK.shape == row_QK.shape == (0, 5)


def test_take_gives_the_rows_as_stored() -> None:
    vector_ND = unit_vectors(1_000, 33)
    taken = GpuVectors(vector_ND).take(np.array([999, 0, 7, 7]))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, vector_ND[[999, 0, 7, 7]].astype(np.float32))
    assert GpuVectors(vector_ND).take(np.empty(0, np.int64)).shape == (0, 33)


def test_vectors_of_a_mapped_file_are_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", unit_vectors(100, 64))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    np.testing.assert_array_equal(GpuVectors(mapped).take(np.arange(100)), mapped.astype(np.float32))


def make_rows(count: int, *, images_per_product: int, copies: int) -> pa.Table:
    """Rows in four categories; every `copies` images have the same bytes."""
    number_N = np.random.default_rng(2).permutation(count)
    return pa.table(
        {
            "image_id": [f"i{number}" for number in range(count)],
            "product_id": [f"p{number // images_per_product}" for number in number_N],
            "category": [f"c{4 * number // count}" for number in range(count)],
            "content_hash": [f"h{number // copies}" for number in number_N[::-1]],
        }
    )


@pytest.mark.parametrize(("images_per_product", "copies"), [(1, 1), (4, 1), (1, 5)])
@pytest.mark.parametrize("categories", [None, ["c2"], ["c3", "c0"], ["nothing"]])
@pytest.mark.parametrize("k", [1, 40])
def test_a_shard_answers_alike(images_per_product: int, copies: int, categories: list[str] | None, k: int) -> None:
    rows = make_rows(2_000, images_per_product=images_per_product, copies=copies)
    vector_ND, query_QD = unit_vectors(2_000, 128), queries(16, 128)
    cpu, gpu = (
        Shard(vector_ND, rows, device=device).search(query_QD, k, categories=categories) for device in ("cpu", "cuda")
    )
    score_QN = query_QD @ vector_ND.astype(np.float32).T
    check_same((cpu.score_QK, cpu.row_QK), (gpu.score_QK, gpu.row_QK), score_QN)


def test_a_shard_goes_deeper_than_faiss_can_choose_on_a_gpu() -> None:
    """FAISS chooses at most 2,048 on a GPU; a placeholder picture that thousands of products share needs more."""
    rows = make_rows(6_000, images_per_product=1, copies=1)
    shared = pa.array([f"h{max(0, number - 5_000)}" for number in range(6_000)])
    vector_ND = unit_vectors(6_000, 64)
    vector_ND[:5_001] = vector_ND[0]
    query_QD = vector_ND[:1].astype(np.float32)
    shards = [Shard(vector_ND, rows.set_column(3, "content_hash", shared), device=name) for name in ("cpu", "cuda")]
    cpu, gpu = (shard.search(query_QD, 20) for shard in shards)
    assert (gpu.row_QK != NO_ROW).all()
    np.testing.assert_allclose(gpu.score_QK, cpu.score_QK, atol=SCORE_TOLERANCE)


def test_a_product_has_the_same_vector() -> None:
    rows = make_rows(400, images_per_product=4, copies=1)
    vector_ND = unit_vectors(400, 128)
    cpu, gpu = (Shard(vector_ND, rows, device=device).vector("p7") for device in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu, cpu, atol=1e-6)


@pytest.mark.parametrize("recipe", ["visnet-tiny", "visnet"])
def test_the_encoder_embeds_alike(recipe: str, picture: Callable[..., bytes]) -> None:
    torch.manual_seed(0)
    network = make_recipe(recipe).build()
    images = [picture(seed, width=300, height=260) for seed in range(12)]
    cpu = Encoder(make_recipe(recipe), network).encode(images)
    gpu = Encoder(make_recipe(recipe), network, device="cuda").encode(images, batch_size=5)
    assert (gpu.shape, gpu.dtype) == (cpu.shape, np.float32)
    np.testing.assert_allclose((cpu * gpu).sum(axis=1), 1, atol=1e-3)  # convolutions may run in TF32
    np.testing.assert_allclose(gpu, cpu, atol=5e-3)
