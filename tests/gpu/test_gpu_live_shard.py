"""On a GPU: vectors that are written, and a live shard that is, against their CPU twins. Needs no Ray."""

import faiss
import numpy as np
import pyarrow as pa
import pytest
import torch

from visnet.platform.filters import Condition, Filter, check
from visnet.platform.knn import CpuVectors, GpuVectors, make_owned
from visnet.platform.live_shard import Change, LiveShard, Remove, Replace
from visnet.platform.merge import NO_ROW
from visnet.platform.shard import Shard

# Q queries, N rows, D embedding, K results

SCORE_TOLERANCE = 2e-3
"""What float16 may cost: queries are rounded to it on a GPU, and cosines are at most 1."""
BUILT, NEW, DIMENSION = 4_000, 1_500, 64

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="this FAISS is built without GPU support"),
]


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors in float16, as an index stores them."""
    vector_ND = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float16)


def queries(count: int) -> np.ndarray:
    return unit_vectors(count, seed=1).astype(np.float32)


@pytest.mark.parametrize("k", [1, 20, 700, 2_500])
@pytest.mark.parametrize("batch", [1, 64])
def test_some_rows_are_searched_alone(monkeypatch: pytest.MonkeyPatch, batch: int, k: int) -> None:
    monkeypatch.setattr("visnet.platform.knn.GPU_BLOCK", 1_000 * DIMENSION)
    vector_ND, query_QD = unit_vectors(6_000), queries(batch)
    row_N = np.flatnonzero(np.random.default_rng(2).random(6_000) < 0.5)
    cpu_score_QK, _ = CpuVectors(vector_ND).search_rows(query_QD, row_N, k)
    score_QK, row_QK = GpuVectors(vector_ND).search_rows(query_QD, row_N, k)
    assert (score_QK.dtype, row_QK.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(score_QK, cpu_score_QK, atol=SCORE_TOLERANCE)
    assert np.isin(row_QK, row_N).all()
    assert all(len(set(row_K)) == k for row_K in row_QK.tolist())


def test_room_grows_is_written_and_forgotten() -> None:
    vector_ND = unit_vectors(100)
    owned = make_owned(DIMENSION, device="cuda", beside=GpuVectors(vector_ND))
    owned.grow(40)
    owned.overwrite(np.arange(40), vector_ND[:40])
    owned.grow(100)
    owned.overwrite(np.array([99, 3]), vector_ND[[99, 50]].astype(np.float32))
    np.testing.assert_array_equal(owned.take(np.array([0, 99, 3])), vector_ND[[0, 99, 50]].astype(np.float32))
    owned.forget(np.array([0, 3]))
    assert (owned.take(np.array([0, 3, 60])) == 0).all()


def row(number: int, images: int) -> dict[str, object]:
    return {
        "image_id": f"i{number}",
        "product_id": f"p{number // images}",
        "category": f"c{number // images % 4}",
        "price": number % 100,
        "content_hash": f"{number // 2 + 1:016x}{0:016x}",
    }


def changes(seed: int, images: int) -> list[Change]:
    """Products of the built shard that go or change, and new ones."""
    dice = np.random.default_rng(seed)
    vector_ND = unit_vectors(NEW, seed=seed)
    made: list[Change] = [Remove(product_id=f"p{n}") for n in dice.integers(0, BUILT // images, 300)]
    for first in range(0, NEW, images):
        product = int(dice.integers(0, 2 * BUILT // images))
        rows = [row(product * images + image, images) | {"price": int(dice.integers(100))} for image in range(images)]
        made.append(Replace(product_id=f"p{product}", rows=rows, vector_ND=vector_ND[first : first + images]))
    return made


@pytest.mark.parametrize("images", [1, 3])
def test_a_live_shard_answers_alike(images: int) -> None:
    """Written, removed and filtered: the same scores, and rows that are what they say."""
    built = BUILT // images * images
    rows = sorted((row(number, images) for number in range(built)), key=lambda one: str(one["category"]))
    vector_ND, query_QD = unit_vectors(built), queries(16)
    cpu, gpu = (
        LiveShard(Shard(vector_ND, pa.Table.from_pylist(rows), device=device), device=device)
        for device in ("cpu", "cuda")
    )
    filters = [
        Filter(),
        Filter(must=(Condition(field="price", lt=2),)),
        Filter(must=(Condition(field="price", lt=60),), must_not=(Condition(field="category", any_of=("c1",)),)),
        Filter(must=(Condition(field="category", any_of=("c3", "c0")), Condition(field="price", gte=50))),
    ]
    for seed in range(4):
        np.testing.assert_array_equal(*(live.apply(changes(seed, images)) for live in (cpu, gpu)))
        assert (len(gpu), gpu.products, gpu.delta_rows) == (len(cpu), cpu.products, cpu.delta_rows)
        for where in filters:
            for k in (1, 40, 3_000):
                check_same(cpu, gpu, query_QD, k, check(where, cpu.schema))


def check_same(cpu: LiveShard, gpu: LiveShard, query_QD: np.ndarray, k: int, where: Filter) -> None:
    expected, found = (live.search(query_QD, k, where=where, collapse_duplicates=False) for live in (cpu, gpu))
    np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=SCORE_TOLERANCE)
    np.testing.assert_array_equal(found.row_QK == NO_ROW, expected.row_QK == NO_ROW)
    for score_K, row_K, query_D in zip(found.score_QK, found.row_QK, query_QD, strict=True):
        hit_K = row_K[row_K != NO_ROW]
        assert len(set(hit_K.tolist())) == len(hit_K)
        np.testing.assert_allclose(score_K[: len(hit_K)], cpu.vectors_at(hit_K) @ query_D, atol=SCORE_TOLERANCE)


def test_a_shard_whose_neighbours_all_died_finds_the_others() -> None:
    """What is forgotten is zero on a GPU and comes before all that is unlike the query."""
    vector_ND = unit_vectors(2_000)
    vector_ND[:1_990] = vector_ND[0]
    vector_ND[1_990:] = -vector_ND[0]
    rows = [{**row(number, 1), "category": "c"} for number in range(2_000)]
    live = LiveShard(Shard(vector_ND, pa.Table.from_pylist(rows), device="cuda"), device="cuda")
    live.apply([Remove(product_id=f"p{number}") for number in range(1_990)])
    hits = live.search(vector_ND[:1].astype(np.float32), 10, collapse_duplicates=False)
    assert sorted(hits.row_QK[0].tolist()) == list(range(1_990, 2_000))
