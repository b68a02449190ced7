"""Live recommendations against the pass's rules, applied to all pairs of products one after the other."""

import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.filters import mask
from visnet.platform.live_recommend import diversified, neighbours, query_vector, rules_filter
from visnet.platform.live_shard import LiveShard, Replace
from visnet.platform.rules import prices, stock_mask, within_band
from visnet.platform.settings_batch import RecommendSettings
from visnet.platform.shard import Shard

DIMENSION = 6


def unit(vector_ND: np.ndarray) -> np.ndarray:
    return vector_ND / np.linalg.norm(vector_ND, axis=-1, keepdims=True)


def test_a_query_is_twice_the_positives_less_the_negatives() -> None:
    dice = np.random.default_rng(0)
    positive_PD, negative_ND = unit(dice.normal(size=(3, 5))), unit(dice.normal(size=(2, 5)))
    mean_D = positive_PD.mean(axis=0)
    expected_D = unit(mean_D + (mean_D - negative_ND.mean(axis=0)))
    found_D = query_vector(positive_PD, negative_ND)
    np.testing.assert_allclose(found_D, expected_D, atol=1e-6)
    assert found_D.dtype == np.float32
    for none in (None, negative_ND[:0]):
        np.testing.assert_allclose(query_vector(positive_PD, none), unit(mean_D), atol=1e-6)


def test_a_query_of_nothing_is_refused() -> None:
    one = np.eye(2, dtype=np.float32)[:1]
    with pytest.raises(ValueError, match="expected at least one positive vector, got none"):
        query_vector(one[:0], one)
    with pytest.raises(ValueError, match="cancel each other"):
        query_vector(np.concatenate([one, -one]))
    np.testing.assert_allclose(query_vector(one, one), one[0])  # 2p - n of the same is p: nothing cancels


PRICES: list[tuple[pa.DataType, Any]] = [
    (pa.float32(), float),
    (pa.float64(), float),
    (pa.int16(), int),
    (pa.decimal128(7, 2), lambda price: Decimal(f"{price:.2f}")),
]


def make_shop(kind: pa.DataType, make_price: Any, stock: pa.DataType) -> tuple[np.ndarray, pa.Table]:
    """120 products with one to three images each, many with the same bytes, and prices whose bands end on prices."""
    dice = np.random.default_rng(5)
    rows = []
    for product in range(120):
        price = (
            make_price(float(dice.choice([1, 2, 7, 7.7, 9.5, 10, 6.65, 13, 12.35]))) if dice.random() < 0.9 else None
        )
        sold = None if dice.random() < 0.1 else bool(dice.integers(2)) if stock == pa.bool_() else int(dice.integers(3))
        for image in range(dice.integers(1, 4)):
            content = int(dice.integers(1, 150))
            rows.append(
                {
                    "image_id": f"{product:03d}-{image}",
                    "product_id": f"p{product:03d}",
                    "category": f"c{product % 3}",
                    "content_hash": f"{content:016x}{content:016x}",
                    "price": price,
                    "sold": sold,
                }
            )
    rows.sort(key=lambda row: (row["category"], row["product_id"], row["image_id"]))
    text = [(name, pa.string()) for name in ("image_id", "product_id", "category", "content_hash")]
    table = pa.Table.from_pylist(rows, pa.schema([*text, ("price", kind), ("sold", stock)]))
    vector_CD = unit(np.random.default_rng(6).normal(size=(150, DIMENSION))).astype(np.float16)
    return vector_CD[[int(row["content_hash"], 16) % 2**64 for row in rows]], table


def live_of(vector_ND: np.ndarray, table: pa.Table) -> LiveShard:
    """Two thirds of the products in the base, the others written."""
    number_N = np.array([int(product[1:]) for product in table["product_id"].to_pylist()])
    built_N = np.flatnonzero(number_N % 3 != 1)
    live = LiveShard(Shard(vector_ND[built_N], table.take(pa.array(built_N))))
    for number in range(1, number_N.max() + 1, 3):
        row_N = np.flatnonzero(number_N == number)
        rows = table.take(pa.array(row_N)).to_pylist()
        live.apply([Replace(product_id=f"p{number:03d}", rows=rows, vector_ND=vector_ND[row_N])])
    return live


def slow_neighbours(
    vector_ND: np.ndarray, table: pa.Table, product: str, query_D: np.ndarray, rules: RecommendSettings
) -> list[float]:
    """Scores of all the pass would allow, best first: its steps in its order, a row at a time."""
    rows = table.to_pylist()
    own = [n for n, row in enumerate(rows) if row["product_id"] == product]
    stock_N = stock_mask(table["sold"])
    price_N = prices(table["price"])
    band_N = within_band(price_N[own[:1]], price_N[None], rules.price_band or 0)[0]
    contents: dict[str, set[str]] = {}
    for row in rows:
        contents.setdefault(row["product_id"], set()).add(row["content_hash"])
    score_N = vector_ND.astype(np.float32) @ query_D
    seen_products: set[str] = set()
    seen_contents: set[str] = set()
    scores = []
    for n in np.argsort(-score_N, kind="stable").tolist():
        row = rows[n]
        if (
            row["product_id"] == product
            or (rules.same_category and row["category"] != rows[own[0]]["category"])
            or (rules.in_stock and not stock_N[n])
            or (rules.price_band is not None and not band_N[n])
            or row["product_id"] in seen_products
        ):
            continue
        seen_products.add(row["product_id"])
        if contents[row["product_id"]] & contents[product] or row["content_hash"] in seen_contents:
            continue
        seen_contents.add(row["content_hash"])
        scores.append(float(score_N[n]))
    return scores


@pytest.mark.parametrize(("kind", "make_price"), PRICES)
@pytest.mark.parametrize("stock", [pa.bool_(), pa.int8()])
def test_neighbours_are_those_the_pass_would_allow(kind: pa.DataType, make_price: Any, stock: pa.DataType) -> None:
    vector_ND, table = make_shop(kind, make_price, stock)
    live = live_of(vector_ND, table)
    for same, sold, band in itertools.product((False, True), (None, "sold"), (None, 0.0, 0.3)):
        rules = RecommendSettings(same_category=same, in_stock=sold, price_band=band)
        for number in range(0, 120, 7):
            product = f"p{number:03d}"
            row_N = live.rows_of(product)
            where = rules_filter(rules, live.rows_at(row_N[:1])[0], live.schema)
            query_D = live.vector(product)
            expected = slow_neighbours(vector_ND, table, product, query_D, rules)
            for k in (1, 5, 200):
                hits = neighbours(live, query_D, k, where=where, content_I=live.content_keys_at(row_N))
                np.testing.assert_allclose(hits.score_QK[0], expected[:k], atol=1e-5)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_a_band_ends_where_the_passs_does(kind: pa.DataType) -> None:
    """Of the nearest values that a column holds around both ends, the same are inside."""
    held = np.dtype(f"f{kind.bit_width // 8}").type
    schema = pa.schema([("product_id", pa.string()), ("price", kind)])
    for price in np.random.default_rng(0).uniform(1, 50, 200).round(2).astype(held):
        ends = [float(price) * share for share in (0.7, 1.3)]
        around = [np.nextafter(held(end), held(to)) for end in ends for to in (-np.inf, end, np.inf)]
        table = pa.table([["other"] * 6, pa.array(around, kind)], schema=schema)
        where = rules_filter(RecommendSettings(price_band=0.3), {"product_id": "own", "price": float(price)}, schema)
        expected = within_band(np.array([float(price)]), prices(table["price"])[None], 0.3)[0]
        assert mask(where, table).tolist() == expected.tolist()


def test_a_product_is_not_its_own_neighbour() -> None:
    table = pa.table({"product_id": ["own", "other"]})
    where = rules_filter(RecommendSettings(), {"product_id": "own"}, table.schema)
    assert mask(where, table).tolist() == [False, True]


def test_a_rule_without_its_column_is_refused() -> None:
    schema = pa.schema([("product_id", pa.string()), ("category", pa.string())])
    row = {"product_id": "p", "category": "c"}
    with pytest.raises(SettingsError, match="in_stock: there is no attribute 'sold'"):
        rules_filter(RecommendSettings(in_stock="sold"), row, schema)
    with pytest.raises(SettingsError, match="price_column: there is no attribute 'price'"):
        rules_filter(RecommendSettings(price_band=0.1), row, schema)


def test_diversified_takes_another_kind_second() -> None:
    vector_KD = unit(np.array([[1, 0, 0], [0.99, 0.05, 0], [0, 1, 0.0]])).astype(np.float16)
    score_K = np.array([0.9, 0.89, 0.5], np.float32)
    assert diversified(score_K, vector_KD, 2, 0.0).tolist() == [0, 1]
    assert diversified(score_K, vector_KD, 2, 0.5).tolist() == [0, 2]
    assert diversified(score_K, vector_KD, 9, 0.5).tolist() == [0, 2, 1]
    assert diversified(score_K[:0], vector_KD[:0], 2, 0.5).tolist() == []
