"""Recommendations: every product finds its own, in order, and an unknown one finds nothing."""

import pyarrow as pa
import pytest

from visnet.platform.errors import StoreError
from visnet.platform.manifest import read_manifest, write_manifest
from visnet.platform.recommendations import Neighbours, RecommendationsManifest, write_neighbours
from visnet.platform.store import Store

PRODUCTS = ["p10", "p1", "p2", "ähnlich", "Z", "😀", "\ufffd", "", "p1 "]


def write(store: Store, shard: int, products: list[str]) -> None:
    table = pa.table(
        {  # in another order of columns, and with wider numbers, than the file's
            "scores": pa.array([[0.5, 0.25]] * len(products), pa.list_(pa.float64())),
            "product_id": pa.array(products, pa.string()),
            "neighbour_ids": pa.array([[f"{p}-a", f"{p}-b"] for p in products], pa.list_(pa.string())),
        }
    )
    write_neighbours(store, "r", shard, table)


def test_every_product_finds_its_own_in_order(store: Store) -> None:
    write(store, 0, PRODUCTS)
    neighbours = Neighbours(store, "r", 0)
    for product in PRODUCTS:
        assert neighbours.of(product) == [(f"{product}-a", 0.5), (f"{product}-b", 0.25)]


@pytest.mark.parametrize("product", ["p", "p11", "p3", "A", "zz", "😀😀", " "])
def test_an_unknown_product_is_none(store: Store, product: str) -> None:
    write(store, 0, PRODUCTS)
    assert Neighbours(store, "r", 0).of(product) is None


def test_shards_are_files_of_their_own_and_may_be_empty(store: Store) -> None:
    write(store, 0, [])
    write(store, 12, ["p1"])
    assert store.names("recommendations/r") == ["shard-0000.arrow", "shard-0012.arrow"]
    assert Neighbours(store, "r", 0).of("p1") is None
    assert Neighbours(store, "r", 12).of("p1") == [("p1-a", 0.5), ("p1-b", 0.25)]


def test_a_product_alone_in_the_world_has_an_empty_list(store: Store) -> None:
    table = pa.table({"product_id": ["p"], "neighbour_ids": pa.array([[]], pa.list_(pa.string())), "scores": [[]]})
    write_neighbours(store, "r", 0, table)
    assert Neighbours(store, "r", 0).of("p") == []


def test_a_missing_shard_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match=r"can't read recommendations/r/shard-0003.arrow"):
        Neighbours(store, "r", 3)


def test_manifest_round_trip(store: Store) -> None:
    manifest = RecommendationsManifest(recommendations="r", index="x", encoder_digest="d", products=9, k=20)
    write_manifest(store, "recommendations/r", manifest)
    assert read_manifest(store, "recommendations/r", RecommendationsManifest) == manifest
