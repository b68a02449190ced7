"""Recommendations: every product finds its own, in order, and an unknown one finds nothing."""

import pyarrow as pa
import pytest

from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.manifest import read_manifest, write_manifest
from visnet.platform.recommendations import (
    SCHEMA,
    Neighbours,
    RecommendationsManifest,
    newest_recommendations,
    part_counts,
    part_name,
    write_part,
)
from visnet.platform.store import Store

PRODUCTS = sorted(["p10", "p1", "p2", "ähnlich", "Z", "😀", "\ufffd", "", "p1 "])


def write(store: Store, shards: list[list[str]], *, per_part: int = 4, name: str = "x-r") -> None:
    """Every product with two neighbours, `per_part` products to a file."""
    counts = []
    for shard, products in enumerate(shards):
        starts = range(0, len(products), per_part)
        for part, start in enumerate(starts):
            chosen = products[start : start + per_part]
            batch = pa.record_batch(
                {
                    "product_id": pa.array(chosen, pa.string()),
                    "neighbour_ids": pa.array([[f"{p}-a", f"{p}-b"] for p in chosen], pa.list_(pa.string())),
                    "scores": pa.array([[0.5, 0.25]] * len(chosen), pa.list_(pa.float64())),  # wider than the file's
                }
            )
            write_part(store, name, shard, part, batch)
        counts.append(len(starts))
    products = sum(len(shard) for shard in shards)
    manifest = RecommendationsManifest(
        recommendations=name, index="x", encoder_digest="d", products=products, k=2, parts=counts
    )
    write_manifest(store, f"recommendations/{name}", manifest)


@pytest.mark.parametrize("per_part", [1, 2, 4, 100])
def test_every_product_finds_its_own_in_order(store: Store, per_part: int) -> None:
    write(store, [PRODUCTS], per_part=per_part)
    neighbours = Neighbours(store, "x-r", 0)
    for product in PRODUCTS:
        assert neighbours.of(product) == [(f"{product}-a", 0.5), (f"{product}-b", 0.25)]


@pytest.mark.parametrize("per_part", [1, 4])
@pytest.mark.parametrize("product", ["p", "p11", "p3", "A", "zz", "😀😀", " "])
def test_an_unknown_product_is_none(store: Store, product: str, per_part: int) -> None:
    write(store, [PRODUCTS], per_part=per_part)
    assert Neighbours(store, "x-r", 0).of(product) is None


def test_a_product_before_the_first_is_none(store: Store) -> None:
    write(store, [["p1"]])
    assert Neighbours(store, "x-r", 0).of("a") is None


def test_shards_are_folders_of_their_own_and_may_be_empty(store: Store) -> None:
    write(store, [[], ["p1"]])
    assert store.names("recommendations/x-r") == ["manifest.json", "shard-0001"]
    assert Neighbours(store, "x-r", 0).of("p1") is None
    assert Neighbours(store, "x-r", 1).of("p1") == [("p1-a", 0.5), ("p1-b", 0.25)]


def test_a_product_alone_in_the_world_has_an_empty_list(store: Store) -> None:
    write(store, [["p"]])
    write_part(
        store, "x-r", 0, 0, pa.RecordBatch.from_pylist([{"product_id": "p", "neighbour_ids": [], "scores": []}], SCHEMA)
    )
    assert Neighbours(store, "x-r", 0).of("p") == []
    assert part_counts(store, part_name("x-r", 0, 0)) == (1, 0)


def test_a_part_says_what_it_holds(store: Store) -> None:
    write(store, [PRODUCTS])
    assert part_counts(store, part_name("x-r", 0, 0)) == (4, 8)
    assert part_counts(store, part_name("x-r", 0, 2)) == (1, 2)


def test_a_part_that_is_missing_or_broken_is_a_store_error(store: Store) -> None:
    write(store, [PRODUCTS])
    name = part_name("x-r", 0, 1)
    store.write(name, store.read(name)[:100])
    for read in (lambda: Neighbours(store, "x-r", 0), lambda: part_counts(store, name)):
        with pytest.raises(StoreError, match=r"can't read recommendations/x-r/shard-0000/part-00001.arrow"):
            read()


def test_a_shard_that_is_not_there_is_a_store_error(store: Store) -> None:
    write(store, [PRODUCTS])
    with pytest.raises(StoreError, match="have no shard 3"):
        Neighbours(store, "x-r", 3)


def test_what_an_older_visnet_made_is_to_be_made_anew(store: Store) -> None:
    old = RecommendationsManifest(recommendations="x-r", index="x", encoder_digest="d", products=9, k=20)
    write_manifest(store, "recommendations/x-r", old)
    with pytest.raises(StoreError, match="run visnet recommend anew"):
        Neighbours(store, "x-r", 0)


def test_manifest_round_trip(store: Store) -> None:
    manifest = RecommendationsManifest(
        recommendations="r", index="x", encoder_digest="d", products=9, k=20, parts=[1, 2], rules={"price_band": 0.3}
    )
    write_manifest(store, "recommendations/r", manifest)
    assert read_manifest(store, "recommendations/r", RecommendationsManifest) == manifest


def test_the_newest_of_an_index(store: Store) -> None:
    with pytest.raises(NotFoundError, match="index x has no recommendations yet"):
        newest_recommendations(store, "x")
    for name in ("x-2", "x-1", "y-3"):
        write(store, [PRODUCTS], name=name)
    assert newest_recommendations(store, "x").recommendations == "x-1"
