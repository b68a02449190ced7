"""One shard against an obvious search: every row, one after the other, in Python."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.merge import NO_ROW
from visnet.platform.partition import product_hash, shard_of
from visnet.platform.shard import Hits, Shard

DIMENSION = 6


def unit(vector_ND: np.ndarray) -> np.ndarray:
    return (vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)).astype(np.float32)


def make_rows(count: int, *, images_per_product: int = 1, copies: int = 1, categories: int = 3) -> pa.Table:
    """Rows sorted by category; every `copies` neighbouring images of a shuffled order have the same bytes."""
    shuffled = np.random.default_rng(5).permutation(count)
    return pa.table(
        {
            "image_id": pa.array([f"i{n}" for n in range(count)], pa.string()),
            "product_id": pa.array([f"p{n // images_per_product}" for n in shuffled], pa.string()),
            "category": pa.array([f"c{n * categories // max(count, 1)}" for n in range(count)], pa.string()),
            "content_hash": pa.array([f"h{n // copies}" for n in shuffled[::-1]], pa.string()),
        }
    )


def make_vectors(rows: pa.Table, seed: int = 0) -> np.ndarray:
    """Unit vectors; the same bytes have the same vector."""
    dice = np.random.default_rng(seed)
    of_content = {content: dice.normal(size=DIMENSION) for content in sorted(set(rows["content_hash"].to_pylist()))}
    vectors = [of_content[content] for content in rows["content_hash"].to_pylist()]
    return unit(np.array(vectors)) if vectors else np.empty((0, DIMENSION), np.float32)


def make_queries(count: int = 8) -> np.ndarray:
    return unit(np.random.default_rng(1).normal(size=(count, DIMENSION)))


def slow_search(
    vector_ND: np.ndarray, rows: pa.Table, query_D: np.ndarray, k: int, categories: Sequence[str] | None, collapse: bool
) -> list[float]:
    """Scores of the best hit of every product, then of every image's bytes, best first."""
    table = rows.to_pylist()
    ranked = sorted(range(len(table)), key=lambda row: -float(vector_ND[row] @ query_D))
    ranked = [row for row in ranked if categories is None or table[row]["category"] in categories]
    for column in ("product_id", "content_hash") if collapse else ("product_id",):
        seen: set[str] = set()
        ranked = [row for row in ranked if not (table[row][column] in seen or seen.add(table[row][column]))]
    return [float(vector_ND[row] @ query_D) for row in ranked[:k]]


def check_hits(hits: Hits, shard: Shard, vector_ND: np.ndarray, query_QD: np.ndarray) -> None:
    """Rows and scores belong together, are best first, and what is missing stands at the end."""
    for score_K, row_K, query_D in zip(hits.score_QK, hits.row_QK, query_QD, strict=True):
        found = row_K != NO_ROW
        assert not (np.diff(found.astype(int)) > 0).any()
        np.testing.assert_allclose(score_K[found], vector_ND[row_K[found]] @ query_D, atol=1e-5)
        assert (np.diff(score_K[found]) <= 0).all()
        assert (score_K[~found] == -np.inf).all()
        products = shard.rows["product_id"].take(pa.array(row_K[found])).to_pylist()
        assert len(set(products)) == len(products)


@pytest.mark.parametrize("categories", [None, ["c1"], ["c2", "c0"], ["c1", "nothing", "c1"], ["nothing"], []])
@pytest.mark.parametrize("k", [1, 5, 200])
@pytest.mark.parametrize(("images_per_product", "copies"), [(1, 1), (4, 1), (1, 5), (4, 5), (90, 1), (1, 90)])
@pytest.mark.parametrize("collapse", [True, False])
def test_equals_the_obvious_search(
    categories: list[str] | None, k: int, images_per_product: int, copies: int, collapse: bool
) -> None:
    rows = make_rows(90, images_per_product=images_per_product, copies=copies)
    vector_ND, query_QD = make_vectors(rows), make_queries()
    shard = Shard(vector_ND, rows)
    hits = shard.search(query_QD, k, categories=categories, collapse_duplicates=collapse)
    assert hits.score_QK.shape == hits.row_QK.shape == (8, k)
    assert (hits.score_QK.dtype, hits.row_QK.dtype) == (np.float32, np.int64)
    check_hits(hits, shard, vector_ND, query_QD)
    for score_K, row_K, query_D in zip(hits.score_QK, hits.row_QK, query_QD, strict=True):
        found = row_K[row_K != NO_ROW]
        if images_per_product == 1 or copies == 1 or not collapse:  # else equal scores of two products decide
            expected = slow_search(vector_ND, rows, query_D, k, categories, collapse)
            np.testing.assert_allclose(score_K[: len(found)], expected, atol=1e-5)
        if categories is not None:
            assert set(rows["category"].take(pa.array(found)).to_pylist()) <= set(categories)
        if collapse:
            contents = rows["content_hash"].take(pa.array(found)).to_pylist()
            assert len(set(contents)) == len(contents)


def test_the_same_picture_in_two_products_is_shown_once_unless_asked_for() -> None:
    rows = pa.table(
        {
            "image_id": ["a", "b", "c"],
            "product_id": ["p", "q", "r"],
            "category": ["x", "x", "y"],
            "content_hash": ["same", "same", "other"],
        }
    )
    vector_ND = unit(np.array([[1, 0], [1, 0], [1, 1]], np.float32))
    shard, query_QD = Shard(vector_ND, rows), np.array([[1, 0]], np.float32)
    assert sorted(shard.search(query_QD, 3).row_QK[0].tolist())[0] == NO_ROW
    assert shard.search(query_QD, 3).row_QK[0, 1] == 2
    assert sorted(shard.search(query_QD, 3, collapse_duplicates=False).row_QK[0, :2].tolist()) == [0, 1]


def test_images_without_a_hash_are_not_duplicates() -> None:
    rows = make_rows(6).set_column(3, "content_hash", pa.array([None, "h", None, "h", None, "g"], pa.string()))
    hits = Shard(unit(np.random.default_rng(0).normal(size=(6, DIMENSION))), rows).search(make_queries(1), 6)
    found = hits.row_QK[hits.row_QK != NO_ROW].tolist()
    assert len(found) == 5
    assert {0, 2, 4, 5} < set(found)


def test_deep_enough_when_one_product_has_all_the_best_images() -> None:
    rows = make_rows(1000, categories=1)
    products = pa.array([f"p{max(0, n - 990)}" for n in range(1000)])  # 991 images of p0, then nine others
    vector_ND = unit(np.c_[np.linspace(1, 0.1, 1000), np.ones((1000, DIMENSION - 1)) * 0.1])
    shard = Shard(vector_ND, rows.set_column(1, "product_id", products))
    hits = shard.search(np.eye(1, DIMENSION, dtype=np.float32), 10)
    assert hits.row_QK[0].tolist() == [0, *range(991, 1000)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_precision_is_kept(dtype: type) -> None:
    rows = make_rows(30)
    vector_ND = make_vectors(rows).astype(dtype)
    query_QD = make_queries()
    hits = Shard(vector_ND, rows).search(query_QD, 1)
    np.testing.assert_array_equal(hits.row_QK[:, 0], (query_QD @ vector_ND.astype(np.float32).T).argmax(1))


def test_an_empty_shard_answers() -> None:
    shard = Shard(np.empty((0, DIMENSION), np.float16), make_rows(0))
    for categories in (None, ["c1"]):
        hits = shard.search(make_queries(2), 3, categories=categories)
        assert (hits.row_QK == NO_ROW).all()
        assert hits.row_QK.shape == (2, 3)
    assert (len(shard), shard.categories, shard.rows_of("p1").tolist()) == (0, {}, [])
    assert shard.product_vectors([]).shape == (0, DIMENSION)


def test_no_queries_are_no_hits() -> None:
    rows = make_rows(9)
    assert Shard(make_vectors(rows), rows).search(np.empty((0, DIMENSION), np.float32), 3).row_QK.shape == (0, 3)


def test_a_query_that_is_not_a_number_finds_nothing() -> None:
    rows = make_rows(9)
    shard = Shard(make_vectors(rows), rows)
    hits = shard.search(np.full((1, DIMENSION), np.nan, np.float32), 3, categories=["c1"])
    assert (hits.row_QK == NO_ROW).all()


@pytest.mark.parametrize("shape", [(2, DIMENSION + 1), (2, DIMENSION - 1), (DIMENSION,), (1, 1, DIMENSION)])
def test_a_query_of_another_dimension_is_refused(shape: tuple[int, ...]) -> None:
    rows = make_rows(9)
    with pytest.raises(ValueError, match=rf"expected queries of shape \(Q, {DIMENSION}\), got \({shape[0]},"):
        Shard(make_vectors(rows), rows).search(np.ones(shape, np.float32), 3)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    rows = make_rows(9)
    with pytest.raises(ValueError, match=f"expected k >= 1, got {k}"):
        Shard(make_vectors(rows), rows).search(make_queries(), k)


def test_rows_and_vectors_must_belong_together() -> None:
    rows = make_rows(9)
    with pytest.raises(StoreError, match="8 vectors for 9 rows"):
        Shard(make_vectors(rows)[:8], rows)
    with pytest.raises(StoreError, match="not sorted by category"):
        Shard(make_vectors(rows), rows.take([8, *range(8)]))


def test_rows_of_a_product_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(30, images_per_product=4)
    products = rows["product_id"].to_pylist()
    for colliding in (False, True):
        if colliding:  # two products may have the same hash: ids decide
            monkeypatch.setattr("visnet.platform.shard_keys.product_hash", lambda product: len(product))
        shard = Shard(make_vectors(rows), rows)
        for product in set(products):
            assert shard.rows_of(product).tolist() == [n for n in range(30) if products[n] == product]
        assert shard.rows_of("p99").tolist() == []


def test_a_products_vector_is_the_normalised_mean_of_its_images() -> None:
    rows = make_rows(30, images_per_product=4)
    vector_ND = make_vectors(rows)
    shard = Shard(vector_ND, rows)
    mean_D = vector_ND[[n for n, product in enumerate(rows["product_id"].to_pylist()) if product == "p3"]].mean(axis=0)
    np.testing.assert_allclose(shard.vector("p3"), mean_D / np.linalg.norm(mean_D), rtol=1e-5)
    assert shard.vector("p3").dtype == np.float32
    both = shard.product_vectors([shard.rows_of("p1"), shard.rows_of("p3")])
    np.testing.assert_array_equal(both, [shard.vector("p1"), shard.vector("p3")])
    with pytest.raises(NotFoundError, match="no product 'p99'"):
        shard.vector("p99")


def test_the_owner_of_a_product_is_the_same_everywhere() -> None:
    assert product_hash("p1") == 10506498227197777640  # BLAKE2b: stored indexes depend on it
    assert product_hash("größe-42") == 17897642778267413820
    owners = [shard_of(f"p{n}", 4) for n in range(4000)]
    assert set(owners) == {0, 1, 2, 3}
    assert min(owners.count(shard) for shard in range(4)) > 900
    assert {shard_of(f"p{n}", 1) for n in range(50)} == {0}
