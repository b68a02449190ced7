"""Asking a gallery, against plain loops: whole, by category, and with each query's own picture left out."""

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.merge import NO_ROW
from visnet.platform.metrics import NOT_FOUND
from visnet.train.evaluation import protocol
from visnet.train.evaluation.protocol import Answers, Bench, recall_of

PICTURES, PRODUCTS, CATEGORIES, DIMENSION = 60, 25, 4, 6


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    vector_ND = random.normal(size=(count, DIMENSION)).astype(np.float32)
    return vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)


@pytest.fixture(params=range(3))
def gallery(request: pytest.FixtureRequest) -> tuple[np.ndarray, pa.Table]:
    """Products of one to many pictures, some of them in several categories."""
    random = np.random.default_rng(request.param)
    rows = pa.table(
        {
            "image_id": [f"i{number:02d}" for number in range(PICTURES)],
            "product_id": [f"p{number}" for number in random.integers(0, PRODUCTS, PICTURES)],
            "category": [f"c{number}" for number in np.sort(random.integers(0, CATEGORIES, PICTURES))],
            "content_hash": [f"h{number}" for number in range(PICTURES)],
        }
    )
    return unit(random, PICTURES), rows


def slow_ask(
    query_QD: np.ndarray,
    wanted: list[str],
    vector_ND: np.ndarray,
    rows: pa.Table,
    depth: int,
    *,
    categories: list[str] | None = None,
    own: list[int] | None = None,
) -> tuple[list[list[str]], list[int]]:
    """Products found and ranks, one query and one picture at a time."""
    products, names = rows["product_id"].to_pylist(), rows["category"].to_pylist()
    found, rank = [], []
    for query, vector in enumerate(query_QD):
        best: dict[str, float] = {}
        for row, other in enumerate(vector_ND):
            if (own and row == own[query]) or (categories and names[row] != categories[query]):
                continue
            best[products[row]] = max(best.get(products[row], -9.0), float(vector @ other))
        ordered = sorted(best, key=lambda product: -best[product])[:depth]
        found.append(ordered)
        rank.append(ordered.index(wanted[query]) + 1 if wanted[query] in ordered else NOT_FOUND)
    return found, rank


def found_products(bench: Bench, answers: Answers) -> list[list[str]]:
    return [[product for product in row if product is not None] for row in bench.products_of(answers.row_QK).tolist()]


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_photos_in_the_whole_gallery_and_by_category(gallery: tuple[np.ndarray, pa.Table], depth: int) -> None:
    vector_ND, rows = gallery
    random = np.random.default_rng(9)
    query_QD = unit(random, 30)
    wanted = [f"p{number}" for number in random.integers(0, PRODUCTS + 3, 30)]  # some that nobody has
    categories = [f"c{number}" for number in random.integers(0, CATEGORIES + 1, 30)]  # and such a category
    bench = Bench(vector_ND, rows)
    answers = bench.ask(query_QD, np.array(wanted, dtype=object), depth)
    assert (found_products(bench, answers), answers.rank_Q.tolist()) == slow_ask(
        query_QD, wanted, vector_ND, rows, depth
    )
    answers = bench.ask_by_category(query_QD, np.array(wanted, dtype=object), np.array(categories, dtype=object), depth)
    assert (found_products(bench, answers), answers.rank_Q.tolist()) == slow_ask(
        query_QD, wanted, vector_ND, rows, depth, categories=categories
    )
    assert (answers.row_QK[[name == f"c{CATEGORIES}" for name in categories]] == NO_ROW).all()


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_every_picture_left_out_of_its_own_search(gallery: tuple[np.ndarray, pa.Table], depth: int) -> None:
    vector_ND, rows = gallery
    bench = Bench(vector_ND, rows)
    own = np.arange(PICTURES)
    wanted, categories = rows["product_id"].to_pylist(), rows["category"].to_pylist()
    answers = bench.ask(vector_ND, bench.product_N, depth, own_row_Q=own)
    assert (found_products(bench, answers), answers.rank_Q.tolist()) == slow_ask(
        vector_ND, wanted, vector_ND, rows, depth, own=own.tolist()
    )
    assert not (answers.row_QK == own[:, None]).any()
    assert (np.diff(np.where(np.isfinite(answers.score_QK), answers.score_QK, -9), axis=1) <= 0).all()
    answers = bench.ask_by_category(vector_ND, bench.product_N, bench.category_N, depth, own_row_Q=own)
    assert (found_products(bench, answers), answers.rank_Q.tolist()) == slow_ask(
        vector_ND, wanted, vector_ND, rows, depth, own=own.tolist(), categories=categories
    )


def test_batches_change_nothing(gallery: tuple[np.ndarray, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    vector_ND, rows = gallery
    bench = Bench(vector_ND, rows)
    own = np.arange(PICTURES)
    at_once = bench.ask(vector_ND, bench.product_N, 7, own_row_Q=own)
    monkeypatch.setattr(protocol, "BATCH", 7)
    in_parts = bench.ask(vector_ND, bench.product_N, 7, own_row_Q=own)
    np.testing.assert_array_equal(at_once.row_QK, in_parts.row_QK)
    np.testing.assert_array_equal(at_once.rank_Q, in_parts.rank_Q)


def test_recall_of_takes_rows_in_any_order(gallery: tuple[np.ndarray, pa.Table]) -> None:
    vector_ND, rows = gallery
    random = np.random.default_rng(5)
    shuffled = random.permutation(PICTURES)
    query_QD = unit(random, 40)
    wanted = [f"p{number}" for number in random.integers(0, PRODUCTS + 3, 40)]
    _, rank = slow_ask(query_QD, wanted, vector_ND, rows, 100)
    expected = {k: sum(0 < place <= k for place in rank) / 40 for k in (1, 5, 100)}
    got = recall_of(query_QD, wanted, vector_ND[shuffled], rows.select(["product_id"]).take(shuffled), (1, 5, 100))
    assert got == pytest.approx(expected)
    assert 0 < got[5] < got[100] < 1


def test_recall_of_refuses_nothing() -> None:
    rows = pa.table({"product_id": ["a"]})
    for queries, ks in ((0, [1]), (1, []), (1, [0])):
        with pytest.raises(ValueError, match="expected queries and ks"):
            recall_of(np.ones((queries, 2), np.float32), ["a"] * queries, np.ones((1, 2), np.float32), rows, ks)
