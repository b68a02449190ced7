"""The generation on catalogues that have too little of something: counted, said, or refused with the reason."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.settings import TripletSettings
from visnet.platform.store import Store
from visnet.platform.triplets import TripletsManifest, read_triplets, triplet_paths
from visnet.train.triplets import anchors as anchors_module
from visnet.train.triplets import generate as triplets
from visnet.train.triplets.generate import Wanted, make_triplets, plan
from visnet.train.triplets.runner import InProcess

SETTINGS = TripletSettings(scorers=("color",), image_size=32, per_anchor=8)


def made(
    store: Store,
    make: Callable[..., bytes],
    categories: list[str],
    *,
    products: list[str] | None = None,
    splits: list[str] | None = None,
    photos: list[dict[str, object]] | None = None,
) -> Catalog:
    """A catalogue of pictures of noise."""
    ids = [f"i{number}" for number in range(len(categories))]
    columns = {"image_id": ids, "product_id": products or ids, "category": categories}
    columns |= {"split": splits} if splits else {}
    rows = pa.table({**columns, "image": [make(number) for number in range(len(ids))]})
    shots = [pa.Table.from_pylist(photos)] if photos else []
    return write_catalog(store, name="tiny", version="1", source="test", batches=[rows], photos=shots)


def run(catalog: Catalog, wanted: Wanted | None = None, **changes: Any) -> TripletsManifest:
    wanted = wanted or plan(catalog, split=None, where=None, street=False)
    settings = dataclasses.replace(SETTINGS, **changes)
    return make_triplets(catalog.store, catalog, wanted, settings, InProcess())[0]


def table(catalog: Catalog, manifest: TripletsManifest) -> pa.Table:
    paths = triplet_paths(catalog.store, manifest.triplets)
    return pa.concat_tables([pq.read_table(path, filesystem=catalog.store.filesystem) for path in paths])


def photo(split: str = "a") -> dict[str, object]:
    return {"image_id": "x", "product_id": "i1", "category": "a", "split": split, "image": b"?"}


def test_a_picture_alone_in_its_category_is_only_a_negative(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a"] * 9 + ["b"])
    manifest = run(catalog)
    rows = table(catalog, manifest)
    assert set(rows["category"].to_pylist()) == {"a"}
    assert "b" in rows["negative_category"].to_pylist()
    assert manifest.skipped[anchors_module.ONE_PICTURE] == 1
    assert manifest.skipped[anchors_module.NO_POSITIVE] == 1
    assert manifest.skipped[anchors_module.TOO_SMALL] == 1


def test_a_small_category_has_out_of_class_negatives_only(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a"] * 2 + ["b"] * 2)
    manifest = run(catalog)
    assert manifest.counts["kind"] == {"out-of-class": manifest.rows}
    assert manifest.skipped[anchors_module.TOO_SMALL] == 2
    assert manifest.skipped[anchors_module.FELL_BACK] > 0
    # each of 4 anchors has one positive and two negatives
    assert manifest.rows == 8
    assert manifest.skipped[anchors_module.FEWER] == 4 * 8 - 8


def test_one_category_has_in_class_negatives_only_and_says_so(store: Store, picture: Callable[..., bytes]) -> None:
    manifest = run(made(store, picture, ["a"] * 30))
    assert manifest.counts["kind"] == {"in-class": manifest.rows}
    assert manifest.notes == [triplets.ONE_CATEGORY]


def test_one_product_with_several_pictures_has_them_as_positives(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a", "a", "b", "b"], products=["p", "p", "q", "r"])
    rows = table(catalog, run(catalog)).to_pylist()
    assert {row["positive_rank"] for row in rows if row["category"] == "a"} == {0}
    assert {row["positive_image_id"] for row in rows if row["anchor_image_id"] == "i0"} == {"i1"}


def test_a_product_or_a_picture_that_is_in_two_categories_is_no_negative_to_itself(
    store: Store, picture: Callable[..., bytes]
) -> None:
    def alike(number: int) -> bytes:
        return picture(99 if number in (1, 7) else number)

    products = ["p0", "p1", "p2", "p3", "p4", "p0", "p6", "p7"]
    catalog = made(store, alike, ["a"] * 5 + ["b"] * 3, products=products)
    rows = table(catalog, run(catalog, per_anchor=50)).to_pylist()
    outside = {(row["anchor_image_id"], row["negative_image_id"]) for row in rows if not row["negative_rank"]}
    assert {("i0", "i6"), ("i0", "i7"), ("i1", "i5"), ("i1", "i6")} <= outside
    assert not outside & {("i0", "i5"), ("i5", "i0"), ("i1", "i7"), ("i7", "i1")}


def test_street_positives_are_their_products_even_where_pictures_have_none(
    store: Store, picture: Callable[..., bytes]
) -> None:
    catalog = made(store, picture, ["a"] * 6 + ["b"] * 6, photos=[photo()])
    manifest = run(catalog, plan(catalog, split="a", where=None, street=True), same_product_share=0.0)
    rows = table(catalog, manifest).to_pylist()
    assert {row["positive_rank"] == 0 for row in rows if row["stage"] == "street"} == {True}
    assert {row["positive_rank"] == 0 for row in rows if row["stage"] == "catalog"} == {False}


def test_what_gives_nothing_is_an_error_that_says_why(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a", "b"])
    with pytest.raises(CatalogError, match=r"not one triplet .*anchors: no other product.*: 2"):
        run(catalog)
    with pytest.raises(NotFoundError, match=r"no triplets tiny-1 .*make one with visnet triplets"):
        read_triplets(store, "tiny-1")


def test_pictures_that_are_all_broken_are_an_error(store: Store) -> None:
    with pytest.raises(CatalogError, match=r"has no usable picture \(the bytes are not an image.*: 2\)"):
        run(made(store, lambda _: b"broken", ["a", "a"]))


def test_filters_may_leave_categories_empty_or_nothing_at_all(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a", "b"] * 20, splits=["train", "train", "test", "test"] * 10)
    manifest = run(catalog, plan(catalog, split="train", where=("category", "a"), street=False))
    assert manifest.counts["category"] == {"a": manifest.rows}
    assert manifest.pictures == 10
    assert manifest.skipped[triplets.EMPTY] == 1
    assert manifest.filters == {"category": "a", "split": "train"}
    with pytest.raises(CatalogError, match="has no usable picture with split=none"):
        run(catalog, plan(catalog, split="none", where=None, street=False))


def test_street_needs_photos_and_a_split_that_exists(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a", "a"], photos=[photo("a"), {**photo("b"), "image_id": "y"}])
    with pytest.raises(CatalogError, match=r"splits a \(1\), b \(1\): say which with --split"):
        plan(catalog, split=None, where=None, street=True)
    with pytest.raises(NotFoundError, match="no photos of the split 'c'"):
        plan(catalog, split="c", where=None, street=True)
    with pytest.raises(NotFoundError, match="no column 'colour'"):
        plan(catalog, split=None, where=("colour", "red"), street=False)


def test_street_of_a_catalogue_without_photos_is_refused(store: Store, picture: Callable[..., bytes]) -> None:
    with pytest.raises(CatalogError, match="has no street photos: leave out --street"):
        plan(made(store, picture, ["a", "a"]), split="train", where=None, street=True)


def test_a_split_of_photos_does_not_filter_pictures_without_one(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a", "a"], photos=[photo()])
    assert plan(catalog, split="a", where=None, street=False) == Wanted((), None)
    assert plan(catalog, split="a", where=None, street=True) == Wanted((), "a")
    with pytest.raises(NotFoundError):
        plan(catalog, split="b", where=None, street=False)


def test_a_broken_street_photo_leaves_its_place_on_the_sheet_empty(store: Store, picture: Callable[..., bytes]) -> None:
    catalog = made(store, picture, ["a"] * 6 + ["b"] * 6, photos=[photo()])
    manifest = run(catalog, plan(catalog, split="a", where=None, street=True))
    assert manifest.counts["stage"]["street"] == 8
    assert store.read(f"triplets/{manifest.triplets}/contact-sheet-street.png").startswith(b"\x89PNG")
