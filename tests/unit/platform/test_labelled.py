"""Labelled photos: written as they came, counted, and refused where a box is none."""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.labelled import (
    FIELDS,
    ROW_GROUP,
    labelled_directory,
    labelled_manifest,
    labelled_path,
    write_labelled,
)
from visnet.platform.manifest import has_manifest
from visnet.platform.store import Store

BOX = [0.25, 0.0, 0.75, 0.5]


def photo(number: int, *categories: str, box: list[float] = BOX) -> dict[str, Any]:
    return {
        "photo_id": f"photo-{number}",
        "image": bytes([number % 256]),
        "uri": None,
        "boxes": [box] * len(categories),
        "categories": list(categories),
    }


def test_photos_are_written_as_they_came_and_counted(store: Store) -> None:
    rows = [photo(0, "bag", "shoe"), photo(1), {**photo(2, "bag"), "image": None, "uri": "http://there/2.jpg"}]
    manifest = write_labelled(store, "shelf", "a source", rows)
    table = pq.read_table(labelled_path(store, "shelf"), filesystem=store.filesystem)
    assert table.to_pylist() == rows
    assert table.schema.equals(FIELDS)
    assert (manifest.photos, manifest.boxes, manifest.categories) == (3, 3, {"bag": 2, "shoe": 1})
    assert (manifest.name, manifest.source, manifest.skipped) == ("shelf", "a source", {})
    assert labelled_manifest(store, "shelf") == manifest


@pytest.mark.parametrize("photos", [1, ROW_GROUP, ROW_GROUP + 1, 2 * ROW_GROUP])
def test_row_groups_are_small(store: Store, photos: int) -> None:
    write_labelled(store, "shelf", "x", (photo(number, "bag") for number in range(photos)))
    with pq.ParquetFile(labelled_path(store, "shelf"), filesystem=store.filesystem) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        names = file.read(["photo_id"])["photo_id"].to_pylist()
    assert max(sizes) <= ROW_GROUP
    assert names == [f"photo-{number}" for number in range(photos)]


def test_what_was_left_out_is_listed_and_counted_when_the_rows_have_been_read(store: Store) -> None:
    skipped: list[Skipped] = []

    def rows() -> Iterator[dict[str, Any]]:
        skipped.append(Skipped("a", "too dark"))
        yield photo(0, "bag")
        skipped.extend([Skipped("b", "too dark"), Skipped("c", "too late")])

    manifest = write_labelled(store, "shelf", "x", rows(), skipped)
    assert manifest.skipped == {"too dark": 2, "too late": 1}
    listed = pq.read_table(store.path("labelled/shelf/skipped.parquet"), filesystem=store.filesystem).to_pylist()
    assert [(row["item"], row["reason"]) for row in listed] == [("a", "too dark"), ("b", "too dark"), ("c", "too late")]


def test_no_photo_is_an_error(store: Store) -> None:
    with pytest.raises(CatalogError, match="a source has no usable photo"):
        write_labelled(store, "shelf", "a source", [])
    assert not has_manifest(store, labelled_directory("shelf"))


@pytest.mark.parametrize("box", [[0.1, 0.1, 0.9], [0.9, 0.1, 0.1, 0.9], [0.0, 0.0, 1.5, 1.0]])
def test_a_box_that_is_none_is_refused_with_its_photo(store: Store, box: list[float]) -> None:
    with pytest.raises(CatalogError, match="photo 'photo-1': expected a box"):
        write_labelled(store, "shelf", "x", [photo(0, "bag"), photo(1, "bag", box=box)])
    assert not has_manifest(store, labelled_directory("shelf"))


def test_each_box_has_a_category(store: Store) -> None:
    with pytest.raises(CatalogError, match="photo 'photo-0': 2 boxes, 1 categories"):
        write_labelled(store, "shelf", "x", [{**photo(0, "bag", "shoe"), "categories": ["bag"]}])


def test_the_missing_are_told_with_those_there_are(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"no labelled photos shelf .*none yet; make some with visnet detector imp"):
        labelled_path(store, "shelf")
    write_labelled(store, "shelf", "x", [photo(0)])
    with pytest.raises(NotFoundError, match=r"no labelled photos table .*there is: shelf\)"):
        labelled_manifest(store, "table")
