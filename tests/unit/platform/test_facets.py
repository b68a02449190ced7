"""Counts of a catalogue's values, kept while its rows change, against counting the living rows anew."""

import datetime

import pyarrow as pa
import pytest

from tests.unit.serve.shops import catalogue
from visnet.platform import facets
from visnet.platform.facets import MOST_VALUES, Facet
from visnet.platform.imaging import content_hash
from visnet.platform.live_shard import LiveShard, Remove, Replace
from visnet.platform.shard import Shard


def table(**columns: object) -> pa.Table:
    return pa.table({"product_id": ["a", "b", "c", "d"], **columns})


def test_each_kind_of_column_is_described_by_what_a_filter_can_choose() -> None:
    found = facets.count(
        table(
            brand=["x", "y", "x", None],
            sale=[True, None, True, False],
            price=[1.5, float("nan"), None, 4.0],
            stock=[3, 1, 2, 2],
            since=[datetime.date(2026, 1, day) for day in (4, 2, 3, 1)],
            tags=[["a"], [], None, []],
        )
    )
    assert set(found) == {"brand", "sale", "price", "stock", "since"}
    assert found["brand"] == Facet(kind="text", counts={"x": 2, "y": 1}, distinct=2, missing=1)
    assert found["sale"] == Facet(kind="boolean", counts={True: 2, False: 1}, distinct=2, missing=1)
    assert found["price"] == Facet(kind="number", counts=None, distinct=0, low=1.5, high=4.0, missing=2)
    assert found["stock"] == Facet(kind="number", counts=None, distinct=0, low=1, high=3)
    assert found["since"] == Facet(kind="time", counts=None, distinct=0, low="2026-01-01", high="2026-01-04")


def test_dictionaries_count_as_what_they_stand_for_and_nothing_at_all_as_missing() -> None:
    found = facets.count(table(brand=pa.array(["x", "y", "x", "x"]).dictionary_encode(), empty=pa.nulls(4)))
    assert found["brand"].counts == {"x": 3, "y": 1}
    assert (found["empty"].counts, found["empty"].missing) == ({}, 4)


def test_a_column_of_names_is_not_counted_but_said_to_have_many() -> None:
    many = facets.count(pa.table({"name": [str(number) for number in range(MOST_VALUES + 1)]}))["name"]
    assert (many.counts, many.distinct) == (None, MOST_VALUES + 1)
    half = [
        facets.count(pa.table({"name": [str(number) for number in range(first, first + MOST_VALUES - 1)]}))
        for first in (0, MOST_VALUES)
    ]
    together = facets.added(half)["name"]
    assert (together.counts, together.distinct) == (None, 2 * MOST_VALUES - 2)


def test_blocks_are_added_where_each_of_them_knows_a_column() -> None:
    one = facets.count(pa.table({"brand": ["x", "y"], "price": [1, 5]}))
    other = facets.count(pa.table({"brand": ["y", None], "size": [2, 3]}))
    assert facets.added([one, other]) == {
        "brand": Facet(kind="text", counts={"x": 1, "y": 2}, distinct=2, missing=1),
        "price": one["price"],
        "size": other["size"],
    }
    assert facets.added([]) == {}


@pytest.mark.parametrize("removed", [(), ("p0", "p59"), tuple(f"p{number}" for number in range(20))])
def test_what_died_is_taken_off_and_what_came_is_added(removed: tuple[str, ...]) -> None:
    vectors, rows = catalogue(60)
    shard = LiveShard(Shard(vectors.copy(), rows))
    built = facets.count(shard.built)
    shard.apply([Remove(product_id=product) for product in removed])
    new = {
        "product_id": "new", "image_id": "new", "category": "hat", "content_hash": content_hash(b"new"), "price": 99.0
    }  # fmt: skip
    shard.apply([Replace(product_id="new", rows=[new], vector_ND=vectors[:1])])
    kept = facets.added([facets.without(built, facets.count(shard.dead())), facets.count(shard.fresh())])
    living = [row for row in rows.to_pylist() if row["product_id"] not in removed]
    expected = facets.count(pa.Table.from_pylist([*living, new]))
    assert kept["category"] == expected["category"]
    assert kept["price"].high == 99.0
