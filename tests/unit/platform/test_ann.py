"""Approximate search against one pass over everything; what it must never do less than exact search does."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests.embedded_shop import unit_vectors
from visnet.platform import ann
from visnet.platform.ann import AnnParameters, AnnVectors, read_ann, resolve, write_ann
from visnet.platform.knn import block_search
from visnet.platform.merge import NO_ROW
from visnet.platform.metrics import ann_recall_at_k
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store

ROWS, DIMENSION, NLIST = 3_000, 16, 40
LOOSE = AnnParameters(nlist=NLIST, pq_bytes=4, nprobe=1, refine=1)
"""So coarse that it misses a lot."""
TIGHT = AnnParameters(nlist=NLIST, pq_bytes=8, nprobe=NLIST, refine=20)

vector_ND = unit_vectors(ROWS, DIMENSION, clusters=60)
query_QD = vector_ND[::100].astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a trained shard for each of the two."""
    folder = tmp_path_factory.mktemp("ann")
    for name, parameters in (("loose", LOOSE), ("tight", TIGHT)):
        write_ann(Store(str(folder)), name, vector_ND, parameters)
    np.save(folder / "vectors.npy", vector_ND)
    return folder


def opened(folder: Path, name: str, **changes: int) -> AnnVectors:
    parameters = {"loose": LOOSE, "tight": TIGHT}[name]
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    index = read_ann(Store(str(folder)), name)
    return AnnVectors(mapped, index, AnnParameters(**{**vars_of(parameters), **changes}))


def vars_of(parameters: AnnParameters) -> dict[str, int]:
    return {name: getattr(parameters, name) for name in ("nlist", "pq_bytes", "nprobe", "refine")}


def exact(start: int = 0, stop: int = ROWS, k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    score_QN = query_QD @ vector_ND[start:stop].astype(np.float32).T
    row_QK = np.argsort(-score_QN, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(score_QN, row_QK, axis=1), row_QK + start


def test_with_every_list_and_many_candidates_it_finds_what_is_there(folder: Path) -> None:
    score_QK, row_QK = opened(folder, "tight").search(query_QD, 0, ROWS, 20)
    expected_QK, exact_QK = exact()
    assert ann_recall_at_k(row_QK, exact_QK, 20) > 0.99
    assert (score_QK.dtype, row_QK.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(
        score_QK, np.einsum("qd,qkd->qk", query_QD, vector_ND[row_QK].astype(np.float32)), atol=1e-5
    )
    assert (np.diff(score_QK, axis=1) <= 0).all()
    assert (score_QK <= expected_QK + 1e-5).all()


def test_more_lists_and_more_candidates_find_more(folder: Path) -> None:
    _, exact_QK = exact()
    found = [
        ann_recall_at_k(
            opened(folder, "loose", nprobe=nprobe, refine=refine).search(query_QD, 0, ROWS, 20)[1], exact_QK, 20
        )
        for nprobe, refine in ((1, 1), (1, 3), (NLIST, 3), (NLIST, 20))
    ]
    assert found == sorted(found)
    assert found[0] < 0.7 < 0.95 < found[-1]


@pytest.mark.parametrize("exact_components", [0, 2**23])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 30), (1_000, 1_900), (1, ROWS), (0, ROWS - 1), (2_990, ROWS)])
@pytest.mark.parametrize("k", [1, 20, 100])
def test_a_slice_gives_k_of_its_own_if_it_has_k(
    folder: Path, monkeypatch: pytest.MonkeyPatch, exact_components: int, start: int, stop: int, k: int
) -> None:
    monkeypatch.setattr(ann, "EXACT_COMPONENTS", exact_components)
    k = min(k, stop - start)
    score_QK, row_QK = opened(folder, "loose").search(query_QD, start, stop, k)
    assert row_QK.shape == (len(query_QD), k)
    assert row_QK.min() >= start
    assert row_QK.max() < stop
    assert all(len(set(row_K)) == k for row_K in row_QK.tolist())
    if exact_components:
        np.testing.assert_allclose(score_QK, exact(start, stop, k)[0], atol=1e-5)


def test_lists_that_hold_too_few_are_made_up_for(folder: Path) -> None:
    """One list of about 75 rows is looked into; 200 are wanted, and 3,000 all there is."""
    for k in (200, ROWS):
        _, row_QK = opened(folder, "loose").search(query_QD, 0, ROWS, k)
        np.testing.assert_array_equal(np.sort(row_QK), np.sort(exact(k=k)[1]))


def test_a_query_that_is_not_a_number_finds_nothing(folder: Path) -> None:
    queries = np.concatenate([np.full((1, DIMENSION), np.nan, np.float32), query_QD[:1]])
    _, row_QK = opened(folder, "loose").search(queries, 0, ROWS, 5)
    assert (row_QK[0] == NO_ROW).all()
    assert (row_QK[1] != NO_ROW).all()


def test_no_queries_are_no_hits(folder: Path) -> None:
    score_QK, row_QK = opened(folder, "loose").search(query_QD[:0], 0, ROWS, 5)
    assert score_QK.shape == row_QK.shape == (0, 5)


def test_queries_are_ranked_in_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = opened(folder, "tight").search(query_QD, 0, ROWS, 20)
    monkeypatch.setattr(ann, "BLOCK_BYTES", 3 * 400 * 4 * DIMENSION)
    in_blocks = opened(folder, "tight").search(query_QD, 0, ROWS, 20)
    np.testing.assert_array_equal(in_blocks[1], at_once[1])


def test_take_gives_the_rows_as_stored(folder: Path) -> None:
    taken = opened(folder, "loose").take(np.array([7, 0, 7]))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, vector_ND[[7, 0, 7]].astype(np.float32))


def test_the_lists_are_mapped_and_the_file_is_the_same_each_time(folder: Path, store: Store) -> None:
    index = read_ann(Store(str(folder)), "loose")  # owns its lists
    lists = index.invlists
    assert type(faiss.downcast_InvertedLists(lists)).__name__ == "OnDiskInvertedLists"
    faiss.omp_set_num_threads(1)
    write_ann(store, "again", vector_ND, LOOSE)
    assert store.read("again/ann.faiss") == (folder / "loose" / "ann.faiss").read_bytes()


def test_vectors_added_in_blocks_are_all_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "BLOCK_BYTES", 4 * DIMENSION * 7)
    write_ann(store, "x", vector_ND[:300], AnnParameters(nlist=3, pq_bytes=4, nprobe=3, refine=1))
    index = read_ann(store, "x")
    assert index.ntotal == 300
    found = np.concatenate(
        [faiss.rev_swig_ptr(index.invlists.get_ids(n), index.invlists.list_size(n)) for n in range(3)]
    )
    assert sorted(found.tolist()) == list(range(300))


def test_an_index_of_other_vectors_is_refused(folder: Path) -> None:
    index = read_ann(Store(str(folder)), "loose")
    with pytest.raises(ValueError, match="has 3000 rows for 2999 vectors"):
        AnnVectors(vector_ND[1:], index, LOOSE)


@pytest.mark.parametrize(
    ("settings", "rows", "dimension", "expected"),
    [
        ({}, 1_000_000, 256, (4_000, 64, 250, 4)),
        ({}, 3_000, 256, (76, 64, 8, 4)),
        ({}, 256, 256, (6, 64, 6, 4)),
        ({}, 255, 256, (0, 64, 0, 4)),
        ({}, 0, 256, (0, 64, 0, 4)),
        ({}, 1_000, 7, (25, 1, 8, 4)),
        ({}, 1_000, 30, (25, 6, 8, 4)),
        ({}, 1_000, 1, (25, 1, 8, 4)),
        ({"nlist": 100, "nprobe": 500, "refine": 9, "pq_bytes": 128}, 1_000_000, 256, (100, 128, 100, 9)),
        ({"nlist": 100}, 390, 256, (10, 64, 8, 4)),
    ],
)
def test_what_the_settings_leave_open(
    settings: dict[str, Any], rows: int, dimension: int, expected: tuple[int, ...]
) -> None:
    resolved = resolve(IndexSettings(kind="ivf-pq", **settings), rows=rows, dimension=dimension)
    assert tuple(vars_of(resolved).values()) == expected


def test_codes_that_do_not_divide_the_dimension_are_refused() -> None:
    with pytest.raises(
        ValueError, match="pq_bytes = 5 does not divide the dimension 12; it may be one of 1, 2, 3, 4, 6, 12"
    ):
        resolve(IndexSettings(pq_bytes=5), rows=1_000, dimension=12)


def test_the_pass_over_mapped_vectors_keeps_few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.platform.knn.CPU_BLOCK", 10 * DIMENSION)
    score_QK, row_QK = block_search(query_QD, vector_ND, 3, 1_500, 20)
    np.testing.assert_allclose(score_QK, exact(3, 1_500)[0], atol=1e-5)
    np.testing.assert_allclose(
        score_QK, np.einsum("qd,qkd->qk", query_QD, vector_ND[row_QK].astype(np.float32)), atol=1e-5
    )


def test_some_rows_are_searched_exactly(folder: Path) -> None:
    searched = opened(folder, "loose")
    row_N = np.arange(7, ROWS, 13)
    searched.forget(row_N[:1])  # mapped: nothing happens
    score_QK, row_QK = searched.search_rows(query_QD, row_N, 20)
    score_QN = query_QD @ vector_ND[row_N].astype(np.float32).T
    np.testing.assert_allclose(score_QK, -np.sort(-score_QN, axis=1)[:, :20], atol=1e-5)
    assert np.isin(row_QK, row_N).all()
