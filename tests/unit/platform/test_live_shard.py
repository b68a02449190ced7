"""A live shard against a dictionary of products that is searched image by image, over long random lives."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform import knn, live_reach, live_rows, selection
from visnet.platform.content import short_keys
from visnet.platform.errors import NotFoundError
from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_shard import Change, LiveShard, Remove, Replace
from visnet.platform.merge import NO_ROW
from visnet.platform.shard import Hits, Shard
from visnet.platform.shard_keys import keys_of

DIMENSION = 8
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        ("price", pa.float32()),
        ("brand", pa.string()),
        ("catalog_part", pa.int32()),
        ("content_hash", pa.string()),
    ]
)
CATEGORIES = ["c0", "c1", "c2", "c3"]
Products = dict[str, list[dict[str, Any]]]
"""The rows of every product."""


@functools.cache
def content_hash(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


@functools.cache
def vector_of(content: str) -> np.ndarray:
    """The vector of an image with these bytes, rounded to what an index stores."""
    made = np.random.default_rng(int(content[:8], 16)).normal(size=DIMENSION)
    return (made / np.linalg.norm(made)).astype(np.float16).astype(np.float32)


class Shop:
    """Random products; `contents` different images in all, so that few mean many duplicates."""

    def __init__(self, seed: int, *, contents: int, most_images: int) -> None:
        self.dice = np.random.default_rng(seed)
        self.contents, self.most_images = contents, most_images

    def rows(self, product_id: str) -> list[dict[str, Any]]:
        dice = self.dice
        category = CATEGORIES[dice.integers(len(CATEGORIES))]
        rows = []
        for image in range(dice.integers(1, self.most_images + 1)):
            row = {"image_id": f"{product_id}-{image}", "product_id": product_id, "category": category}
            row["content_hash"] = content_hash(int(dice.integers(self.contents)))
            if dice.random() < 0.8:
                row |= {"price": float(dice.integers(0, 20)), "brand": "xyz"[dice.integers(3)]}
            rows.append(row)
        return rows

    def change(self, products: int) -> Change:
        product = f"p{self.dice.integers(products)}"
        return Remove(product_id=product) if self.dice.random() < 0.3 else replace(product, self.rows(product))

    def queries(self, count: int) -> np.ndarray:
        made = self.dice.normal(size=(count, DIMENSION))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def replace(product_id: str, rows: list[dict[str, Any]]) -> Replace:
    vectors = [vector_of(row["content_hash"]) for row in rows]
    return Replace(product_id=product_id, rows=rows, vector_ND=np.array(vectors).reshape(-1, DIMENSION))


def built(products: Products, *, mapped_keys: bool = False) -> Shard:
    rows = sorted((row for of_product in products.values() for row in of_product), key=lambda row: row["category"])
    table = pa.Table.from_pylist(rows, SCHEMA)
    vectors = [vector_of(row["content_hash"]).astype(np.float16) for row in rows]
    keys = keys_of(table)
    if mapped_keys and rows:
        keys = keys.__class__(**{**vars(keys), "content_N": short_keys(table["content_hash"])})
    return Shard(np.array(vectors, np.float16).reshape(-1, DIMENSION), table, keys=keys)


def note(products: Products, changes: list[Change]) -> None:
    """What the changes mean."""
    for change in changes:
        products.pop(change.product_id, None)
        if isinstance(change, Replace) and change.rows:
            products[change.product_id] = [dict(row) for row in change.rows]


Passes = Callable[[dict[str, Any]], bool]


def slow_search(products: Products, query_D: np.ndarray, k: int, passes: Passes, collapse: bool) -> list[float]:
    """Scores of the best image of every product, then of every image's bytes, best first."""
    ranked = sorted(
        (-float(vector_of(row["content_hash"]) @ query_D), row["content_hash"], product)
        for product, rows in products.items()
        for row in rows
        if passes(row)
    )
    for column in (2, 1) if collapse else (2,):
        seen: set[str] = set()
        ranked = [hit for hit in ranked if not (hit[column] in seen or seen.add(hit[column]))]  # type: ignore[func-returns-value]
    return [-hit[0] for hit in ranked[:k]]


def check_hits(
    live: LiveShard, products: Products, hits: Hits, query_QD: np.ndarray, k: int, passes: Passes, collapse: bool
) -> None:
    assert hits.score_QK.shape == hits.row_QK.shape == (len(query_QD), k)
    assert (hits.score_QK.dtype, hits.row_QK.dtype) == (np.float32, np.int64)
    for score_K, row_K, query_D in zip(hits.score_QK, hits.row_QK, query_QD, strict=True):
        found = row_K != NO_ROW
        expected = slow_search(products, query_D, k, passes, collapse)
        assert found.tolist() == [True] * len(expected) + [False] * (k - len(expected))
        np.testing.assert_allclose(score_K[found], expected, atol=1e-5)
        assert (score_K[~found] == -np.inf).all()
        rows = live.rows_at(row_K[found])
        for row, score in zip(rows, score_K[found], strict=True):
            assert without_nulls(row) in products[row["product_id"]]
            assert passes(row)
            assert vector_of(row["content_hash"]) @ query_D == pytest.approx(score, abs=1e-5)
        assert len({row["product_id"] for row in rows}) == len(rows)
        if collapse:
            assert len({row["content_hash"] for row in rows}) == len(rows)


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def check_products(live: LiveShard, products: Products) -> None:
    """Everything it says of products, of those that are gone too."""
    images = sum(len(rows) for rows in products.values())
    assert (len(live), live.products) == (images, len(products))
    for product in [*products, "p0", "p1", "p2", "nobody"]:
        row_N = live.rows_of(product)
        expected = products.get(product, [])
        by_image = sorted((without_nulls(row) for row in live.rows_at(row_N)), key=lambda row: row["image_id"])
        assert by_image == sorted(expected, key=lambda row: row["image_id"])
        if expected:
            hashes = [row["content_hash"] for row in live.rows_at(row_N)]
            np.testing.assert_array_equal(live.vectors_at(row_N), [vector_of(one) for one in hashes])
            np.testing.assert_array_equal(live.content_keys_at(row_N), short_keys(pa.array(hashes)))
            mean_D = np.mean([vector_of(one) for one in hashes], axis=0)
            np.testing.assert_allclose(live.vector(product), mean_D / np.linalg.norm(mean_D), atol=1e-5)
        else:
            with pytest.raises(NotFoundError, match=f"no product '{product}'"):
                live.vector(product)


def check_contents(live: LiveShard, products: Products, contents: int) -> None:
    there = {row["content_hash"] for rows in products.values() for row in rows}
    for content in map(content_hash, range(contents + 1)):
        vector_D = live.vector_of_content(content)
        assert (vector_D is not None) == (content in there)
        if vector_D is not None:
            np.testing.assert_array_equal(vector_D, vector_of(content))


def price_of(row: dict[str, Any]) -> float:
    return -1.0 if row.get("price") is None else row["price"]


FILTERS: list[tuple[Filter, Passes]] = [
    (Filter(), lambda row: True),
    (Filter(must=(Condition(field="category", any_of=("c1",)),)), lambda row: row["category"] == "c1"),
    (Filter(must=(Condition(field="price", gte=3),)), lambda row: price_of(row) >= 3),
    (Filter(must=(Condition(field="price", any_of=(7,)),)), lambda row: price_of(row) == 7),
    (Filter(must_not=(Condition(field="brand", any_of=("x",)),)), lambda row: row.get("brand") != "x"),
    (
        Filter(
            must=(Condition(field="category", any_of=("c2", "c0")), Condition(field="price", lt=15)),
            should=(Condition(field="brand", any_of=("x", "y")), Condition(field="price", gt=10)),
        ),
        lambda row: (
            row["category"] in ("c2", "c0")
            and 0 <= price_of(row) < 15
            and (row.get("brand") in ("x", "y") or price_of(row) > 10)
        ),
    ),
    (Filter(should=(Condition(field="category", any_of=("c3",)),)), lambda row: row["category"] == "c3"),
    (Filter(must=(Condition(field="category", any_of=("none",)),)), lambda row: False),
    (Filter(must=(Condition(field="price", gt=100),)), lambda row: False),
]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that happens at some size happens at small ones here."""
    monkeypatch.setattr(live_rows, "LEAST_DEAD", 8)
    monkeypatch.setattr(live_rows, "MOST_CHUNKS", 5)
    monkeypatch.setattr("visnet.platform.live_delta.FIRST_SLOTS", 4)
    monkeypatch.setattr(knn, "CPU_BLOCK", 16 * DIMENSION)


def check_search(live: LiveShard, products: Products, shop: Shop) -> None:
    for filter, passes in FILTERS:
        query_QD = shop.queries(int(shop.dice.integers(1, 4)))
        k, collapse = int(shop.dice.choice([1, 3, 10, 300])), bool(shop.dice.random() < 0.7)
        hits = live.search(query_QD, k, where=check(filter, live.schema), collapse_duplicates=collapse)
        check_hits(live, products, hits, query_QD, k, passes, collapse)


@pytest.mark.parametrize("gather_cost", [1, 3, 10**9])
@pytest.mark.parametrize(
    ("base_products", "contents", "most_images"),
    [(60, 10_000, 1), (60, 10_000, 5), (60, 25, 1), (60, 25, 5), (5, 4, 12), (0, 30, 3)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_long_life(
    monkeypatch: pytest.MonkeyPatch,
    gather_cost: int,
    base_products: int,
    contents: int,
    most_images: int,
    seed: int,
) -> None:
    monkeypatch.setattr(selection, "GATHER_COST", gather_cost)
    shop = Shop(seed, contents=contents, most_images=most_images)
    products = {f"p{n}": shop.rows(f"p{n}") for n in range(base_products)}
    live = LiveShard(built(products, mapped_keys=seed == 1))
    check_search(live, products, shop)
    for _ in range(12):
        changes = [shop.change(80) for _ in range(shop.dice.integers(0, 25))]
        before = dict(numbered(live, products))
        note(products, changes)
        changed = live.apply(changes)
        after = dict(numbered(live, products))
        assert changed.dtype == np.int64
        assert {row for row in before if after.get(row) != before[row]} <= set(changed.tolist())
        check_search(live, products, shop)
        check_products(live, products)
    check_contents(live, products, min(contents, 50))
    live.apply([Remove(product_id=product) for product in products])
    check_products(live, {})
    check_contents(live, {}, min(contents, 5))
    check_search(live, {}, shop)


def numbered(live: LiveShard, products: Products) -> list[tuple[int, dict[str, Any]]]:
    row_N = np.concatenate([live.rows_of(product) for product in products] or [np.empty(0, np.int64)])
    return list(zip(row_N.tolist(), live.rows_at(row_N), strict=True))


def small_life(seed: int = 3) -> tuple[LiveShard, Products, Shop]:
    shop = Shop(seed, contents=40, most_images=3)
    products = {f"p{n}": shop.rows(f"p{n}") for n in range(30)}
    return LiveShard(built(products)), products, shop


def test_the_same_changes_again_end_in_the_same_products() -> None:
    live, products, shop = small_life()
    changes = [shop.change(40) for _ in range(60)]
    note(products, changes)
    for _ in range(3):
        live.apply(changes)
        check_products(live, products)
        check_search(live, products, shop)
    for change in changes:  # one by one, from the first on: it passes through what was and ends the same
        live.apply([change])
    check_products(live, products)


def test_vectors_of_the_base_that_died_can_not_come_up() -> None:
    shop = Shop(3, contents=40, most_images=3)
    base = built({f"p{n}": shop.rows(f"p{n}") for n in range(30)})
    live = LiveShard(base)
    gone = live.apply([Remove(product_id=f"p{n}") for n in range(0, 30, 2)])
    dead = np.isnan(base.vectors.take(np.arange(len(base)))).all(axis=1)
    assert np.flatnonzero(dead).tolist() == gone.tolist()
    assert live.dead_rows == len(gone)


def test_slots_are_used_again() -> None:
    live, products, shop = small_life()
    for _ in range(50):
        change = replace("p1", [shop.rows("p1")[0]])
        changed = live.apply([change])
        note(products, [change])
    assert (live.delta_rows, live.rows_of("p1").tolist()) == (1, changed.tolist())
    assert changed.max() < 31 * 3
    check_products(live, products)


def test_a_product_moves_to_another_category() -> None:
    live, products, shop = small_life()
    product, rows = next(iter(products.items()))
    moved = replace(product, [{**row, "category": "new"} for row in rows])
    old_rows = live.rows_of(product)
    changed = live.apply([moved])
    note(products, [moved])
    assert set(old_rows.tolist()) < set(changed.tolist())
    query_QD = shop.queries(4)
    for category in ("new", rows[0]["category"]):
        hits = live.search(query_QD, 50, categories=[category])
        check_hits(live, products, hits, query_QD, 50, lambda row, c=category: row["category"] == c, True)  # type: ignore[misc]


def test_categories_and_a_filters_categories_must_both_hold() -> None:
    live, _, shop = small_life()
    where = Filter(must=(Condition(field="category", any_of=("c1", "c2")),))
    query_QD = shop.queries(2)
    hits = live.search(query_QD, 50, where=where, categories=["c2", "c3", "c2"])
    only = live.search(query_QD, 50, categories=["c2"])
    np.testing.assert_array_equal(hits.row_QK, only.row_QK)
    assert (live.search(query_QD, 5, where=where, categories=["c3"]).row_QK == NO_ROW).all()


def test_coarse_scores_that_tie_are_all_there() -> None:
    """Vectors of few different values: many images tie, and whichever are taken, their scores are the best."""
    dice = np.random.default_rng(0)
    rows = [
        {"image_id": f"i{n}", "product_id": f"p{n}", "category": "c", "content_hash": content_hash(n)}
        for n in range(200)
    ]
    coarse = np.eye(DIMENSION, dtype=np.float16)[dice.integers(0, 3, 200)]
    live = LiveShard(Shard(coarse[:100], pa.Table.from_pylist(rows[:100], SCHEMA)))
    for n in range(100, 200):
        live.apply([Replace(product_id=f"p{n}", rows=[rows[n]], vector_ND=coarse[n : n + 1])])
    query_QD = np.abs(Shop(1, contents=1, most_images=1).queries(5))
    for k in (1, 50, 150, 200):
        hits = live.search(query_QD, k)
        expected_QK = -np.sort(-(query_QD @ coarse.T.astype(np.float32)), axis=1)[:, :k]
        np.testing.assert_allclose(hits.score_QK, expected_QK, atol=1e-6)
        assert all(len(set(row_K)) == k for row_K in hits.row_QK.tolist())


def test_what_does_not_fit_changes_nothing() -> None:
    live, products, shop = small_life()
    good = replace("p2", shop.rows("p2"))
    row = {"image_id": "i", "product_id": "p1", "category": "c1", "content_hash": content_hash(1)}
    vector_1D = vector_of(content_hash(1))[None]
    for rows, vector_ND, message in (
        ([row], vector_1D[:, 1:], r"'p1': expected vectors of shape \(1, 8\), got \(1, 7\)"),
        ([row, row], vector_1D, r"'p1': expected vectors of shape \(2, 8\), got \(1, 8\)"),
        ([row], vector_1D * np.nan, r"'p1': expected unit vectors, got some that are not numbers"),
        ([{**row, "category": None, "image_id": None}], vector_1D, r"'p1': a row lacks image_id, category"),
        ([{**row, "product_id": "p3"}], vector_1D, r"'p1': a row is of product 'p3'"),
        ([{**row, "price": "dear"}], vector_1D, r"column 'price' of float: .*dear"),
        ([{**row, "content_hash": "h1"}], vector_1D, r"."),
    ):
        with pytest.raises(ValueError, match=message):
            live.apply([good, Replace(product_id="p1", rows=rows, vector_ND=vector_ND), Remove(product_id="p4")])
        check_products(live, products)


def test_queries_that_are_not_numbers_find_nothing_and_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    live, _, shop = small_life()
    live.apply([replace("p90", shop.rows("p90")), Remove(product_id="p3")])
    searches: list[int] = []
    search = live_reach.nearest
    monkeypatch.setattr(live_reach, "nearest", lambda *given: searches.append(1) or search(*given))
    nothing = np.full((1, DIMENSION), np.nan, np.float32)
    assert (live.search(nothing, 3).row_QK == NO_ROW).all()
    assert len(searches) == 2  # the base and the delta, once
    assert (live.search(nothing, 3, where=FILTERS[2][0]).row_QK == NO_ROW).all()
    assert (live.search(np.concatenate([nothing, shop.queries(1)]), 3).row_QK != NO_ROW).any(axis=1).tolist() == [0, 1]
    assert live.search(shop.queries(2)[:0], 3).row_QK.shape == (0, 3)


@pytest.mark.parametrize("shape", [(2, DIMENSION + 1), (DIMENSION,)])
def test_a_query_of_another_dimension_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected queries of shape \(Q, {DIMENSION}\), got \({shape[0]},"):
        small_life()[0].search(np.ones(shape, np.float32), 3)
    with pytest.raises(ValueError, match="expected k >= 1, got 0"):
        small_life()[0].search(np.ones((1, DIMENSION), np.float32), 0)
