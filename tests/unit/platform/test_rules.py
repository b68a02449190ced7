"""The rules, each against an obvious way of saying the same."""

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.rules import (
    at_places,
    check_columns,
    diversify,
    first_of_each,
    first_places,
    prices,
    stock_mask,
    within_band,
)

NAN = math.nan


def column(values: list[object], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([True, False, None], pa.bool_(), [True, False, False]),
        ([1, 0, None, -1], pa.int8(), [True, False, False, False]),
        ([0.5, 0.0, None, NAN], pa.float32(), [True, False, False, False]),
        ([Decimal("0.10"), Decimal("0.00"), None], pa.decimal128(5, 2), [True, False, False]),
        ([None, None], pa.bool_(), [False, False]),
    ],
)
def test_in_stock_is_true_or_above_zero(values: list[object], kind: pa.DataType, expected: list[bool]) -> None:
    assert stock_mask(column(values, kind)).tolist() == expected


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.decimal128(5, 2)])
def test_prices_are_floats_and_nan_where_missing(kind: pa.DataType) -> None:
    found = prices(column([Decimal(3) if pa.types.is_decimal(kind) else 3, None], kind))
    assert found.dtype == np.float64
    assert found[0] == 3
    assert np.isnan(found[1])


def test_within_band_is_what_looking_at_each_gives() -> None:
    dice = np.random.default_rng(0)
    own = np.where(dice.random(40) < 0.2, NAN, dice.uniform(1, 20, 40).round(1))
    others = np.where(dice.random((40, 9)) < 0.2, NAN, dice.uniform(1, 20, (40, 9)).round(1))
    for band in (0.0, 0.3, 1.5):
        found = within_band(own, others, band)
        for query, price in enumerate(own):
            for place, other in enumerate(others[query]):
                expected = math.isnan(price) or abs(other - price) <= band * price
                assert found[query, place] == expected, (price, other, band)


def test_both_ends_of_a_band_count_and_who_has_no_price_takes_anybody() -> None:
    found = within_band(np.array([10.0, NAN]), np.array([[8.0, 12.0, 7.9, 12.1, NAN], [8.0, 0.0, NAN, 1.0, 2.0]]), 0.2)
    assert found.tolist() == [[True, True, False, False, False], [True] * 5]


def test_first_of_each_is_what_a_set_gives() -> None:
    dice = np.random.default_rng(1)
    for width in (0, 1, 2, 9):
        keys = dice.integers(-3, 6, (50, width))
        valid = dice.random((50, width)) < 0.7
        expected = np.zeros_like(valid)
        for query in range(50):
            seen: set[int] = set()
            for place in range(width):
                if valid[query, place] and int(keys[query, place]) not in seen:
                    expected[query, place] = True
                    seen.add(int(keys[query, place]))
        assert first_of_each(keys, valid).tolist() == expected.tolist()


def test_first_places_are_what_a_loop_gives() -> None:
    dice = np.random.default_rng(2)
    for width, k in ((0, 3), (1, 1), (8, 3), (8, 20)):
        valid = dice.random((30, width)) < 0.5
        places = first_places(valid, k)
        assert places.shape[1] <= k
        for query in range(30):
            assert [int(place) for place in places[query] if place >= 0] == np.flatnonzero(valid[query])[:k].tolist()


def test_values_at_places() -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    found = at_places(values, np.array([[2, -1], [0, 1]]), -7)
    assert found.tolist() == [[3, -7], [4, 5]]
    assert found.dtype == np.int32
    assert at_places(np.empty((2, 0)), np.full((2, 1), -1), -7).tolist() == [[-7], [-7]]


def slow_diversify(score_C: np.ndarray, similarity_CC: np.ndarray, k: int, diversity: float) -> list[int]:
    left = [place for place, score in enumerate(score_C) if np.isfinite(score)]
    chosen: list[int] = []
    while left and len(chosen) < k:
        values = [
            (1 - diversity) * score_C[place] - diversity * max(similarity_CC[place, one] for one in chosen)
            if chosen
            else score_C[place]
            for place in left
        ]
        chosen.append(left.pop(int(np.argmax(values))))
    return chosen


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_diversify_is_what_choosing_one_by_one_gives(diversity: float, k: int) -> None:
    dice = np.random.default_rng(3)
    score_QC = -np.sort(-dice.uniform(-1, 1, (25, 12)), axis=1)
    for query in range(25):
        score_QC[query, dice.integers(0, 13) :] = -np.inf
    vector_QCD = dice.normal(size=(25, 12, 4))
    vector_QCD /= np.linalg.norm(vector_QCD, axis=2, keepdims=True)
    similarity_QCC = vector_QCD @ vector_QCD.transpose(0, 2, 1)
    places = diversify(score_QC, similarity_QCC, k, diversity)
    assert places.shape == (25, min(k, 12))
    for query in range(25):
        expected = slow_diversify(score_QC[query], similarity_QCC[query], k, diversity)
        assert [int(place) for place in places[query] if place >= 0] == expected


def test_diversify_takes_the_most_similar_first_and_then_another_kind() -> None:
    similarity = np.array([[[1.0, 0.99, 0.1], [0.99, 1.0, 0.1], [0.1, 0.1, 1.0]]])
    assert diversify(np.array([[0.9, 0.89, 0.5]]), similarity, 2, 0.0).tolist() == [[0, 1]]
    assert diversify(np.array([[0.9, 0.89, 0.5]]), similarity, 2, 0.5).tolist() == [[0, 2]]


def test_diversify_has_nothing_to_choose_from() -> None:
    assert diversify(np.empty((3, 0)), np.empty((3, 0, 0)), 5, 0.5).shape == (3, 0)
    assert diversify(np.full((1, 2), -np.inf), np.zeros((1, 2, 2)), 2, 0.5).tolist() == [[-1, -1]]


SCHEMA = pa.schema([("product_id", pa.string()), ("price", pa.decimal128(9, 2)), ("sold", pa.bool_())])


@pytest.mark.parametrize(("in_stock", "price"), [(None, None), ("sold", "price"), ("price", None)])
def test_columns_that_fit_are_taken(in_stock: str | None, price: str | None) -> None:
    check_columns(SCHEMA, in_stock=in_stock, price=price)


@pytest.mark.parametrize(
    ("in_stock", "price", "message"),
    [
        (
            "x",
            None,
            "in_stock: there is no attribute 'x'; attributes of true and false or numbers: price, sold; all: pr",
        ),
        ("product_id", None, "in_stock: expected true and false or numbers, but 'product_id' is string; .*price, sold"),
        (
            None,
            "sold",
            "price_column: expected numbers, but 'sold' is bool; attributes of numbers: price; all: product_id",
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(in_stock: str | None, price: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_columns(SCHEMA, in_stock=in_stock, price=price)
