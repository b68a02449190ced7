"""Photos in a catalogue: beside the shop's pictures and apart from them; and what an importer had to leave out."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import PHOTO_FIELDS, Catalog, open_catalog, write_catalog
from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.imaging import content_hash
from visnet.platform.manifest import MANIFEST
from visnet.platform.store import Store


def rows(start: int = 0, stop: int = 3) -> pa.Table:
    numbers = range(start, stop)
    return pa.table(
        {
            "image_id": pa.array([f"i{n}" for n in numbers], pa.string()),
            "product_id": pa.array([f"p{n // 2}" for n in numbers], pa.string()),
            "category": pa.array(["shoe"] * len(numbers), pa.string()),
            "image": pa.array([b"image %d" % n for n in numbers], pa.binary()),
        }
    )


def photos(start: int = 0, stop: int = 4, **columns: Any) -> pa.Table:
    numbers = range(start, stop)
    return pa.table(
        {
            "image_id": [f"i{n}" for n in numbers],  # as the shop's: the two are counted apart
            "product_id": [f"p{n}" for n in numbers],
            "category": ["shoe" for n in numbers],
            "split": [("train", "test")[n % 2] for n in numbers],
            "image": pa.array([b"photo %d" % n for n in numbers], pa.binary()),
            **columns,
        }
    )


def write_with(
    store: Store, *tables: pa.Table, skipped: list[Skipped] | None = None, pictures: pa.Table | None = None
) -> Catalog:
    batches = [rows() if pictures is None else pictures]
    return write_catalog(
        store, name="shop", version="v1", source="a test", batches=batches, photos=tables, skipped=skipped or []
    )


def test_photos_lie_beside_the_pictures(store: Store) -> None:
    box = [[0, 0.25, 1, 0.5], None, [0.5, 0.5, 0.75, 1], None]
    write_with(store, photos(box=pa.array(box, pa.list_(pa.float64()))))
    catalog = open_catalog(store, "shop")
    manifest = catalog.manifest
    assert (manifest.images, manifest.photos, manifest.photo_splits) == (3, 4, {"test": 2, "train": 2})
    assert catalog.photo_paths() == [store.path("catalogs/shop/v1/photos-00000.parquet")]
    read = catalog.photos()
    assert read.schema.equals(PHOTO_FIELDS)
    assert read["box"].to_pylist() == box
    assert read["product_id"].to_pylist() == ["p0", "p1", "p2", "p3"]  # p2 and p3 are not in the shop: kept
    assert read["content_hash"].to_pylist() == [content_hash(b"photo %d" % n) for n in range(4)]
    assert catalog.read(["image_id"])["image_id"].to_pylist() == ["i0", "i1", "i2"]


def test_photos_of_a_split(store: Store) -> None:
    catalog = write_with(store, photos())
    assert catalog.photos(["image_id"], split="test").to_pylist() == [{"image_id": "i1"}, {"image_id": "i3"}]
    assert len(catalog.photos(split="train")) == 2
    with pytest.raises(NotFoundError, match=r"shop has no photos of the split 'val' \(it has: test, train\)"):
        catalog.photos(split="val")


def test_photos_are_found_over_all_their_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 2)
    catalog = write_with(store, photos(0, 2), photos(2, 4), photos(4, 5))
    assert catalog.manifest.photo_parts == [f"photos-0000{n}.parquet" for n in range(3)]
    assert catalog.photos(["image_id"])["image_id"].to_pylist() == [f"i{n}" for n in range(5)]
    assert catalog.photos(["image_id"], split="test")["image_id"].to_pylist() == ["i1", "i3"]


@pytest.mark.parametrize("tables", [[], [photos(0, 0)]])
def test_a_catalogue_without_photos(store: Store, tables: list[pa.Table]) -> None:
    catalog = write_with(store, *tables)
    assert (catalog.manifest.photos, catalog.photo_paths()) == (0, [])
    assert catalog.photos().schema.equals(PHOTO_FIELDS)
    assert catalog.photos(["box", "split"]).column_names == ["box", "split"]
    with pytest.raises(NotFoundError, match=r"no photos of the split 'test' \(it has: none\)"):
        catalog.photos(split="test")


def test_a_manifest_from_before_photos_is_read(store: Store) -> None:
    written = write_with(store)
    now = dataclasses.asdict(written.manifest)
    before = {field: now[field] for field in now if field not in ("photo_parts", "photos", "photo_splits", "skipped")}
    store.write(f"{written.directory}/{MANIFEST}", json.dumps(before).encode())
    assert open_catalog(store, "shop").manifest == written.manifest


@pytest.mark.parametrize(
    "box",
    [
        [0.5, 0, 0.5, 1],
        [0.6, 0, 0.5, 1],
        [0, 0.5, 1, 0.5],
        [-0.1, 0, 1, 1],
        [0, 0, 1, 1.1],
        [0, 0, 1],
        [0, 0, 1, 1, 1],
        [],
        [None, 0, 1, 1],
        [float("nan"), 0, 1, 1],
    ],
)
def test_an_invalid_box_is_refused(store: Store, box: list[Any]) -> None:
    boxes = pa.array([None, box, None, None], pa.list_(pa.float64()))
    with pytest.raises(CatalogError, match=r"photo i1 has the box \[.*expected left, top, right, bottom"):
        write_with(store, photos(box=boxes))
    assert not store.exists("catalogs/shop/v1/manifest.json")


def test_photos_are_checked_as_pictures_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CatalogError, match="no column 'split'"):
        write_with(store, photos().drop_columns(["split"]))
    with pytest.raises(CatalogError, match="column 'split' has 1 empty values"):
        write_with(store, photos(split=["train", "", "test", "test"]))
    with pytest.raises(CatalogError, match="photos have no attributes, but got colour, price"):
        write_with(store, photos(price=[1] * 4, colour=["red"] * 4))
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 4)
    with pytest.raises(CatalogError, match="an image_id occurs twice among the photos"):
        write_with(store, photos(), photos(3, 4))


def test_what_was_skipped_is_counted_and_listed(store: Store) -> None:
    skipped: list[Skipped] = []

    def late() -> Iterator[pa.Table]:
        yield photos()
        skipped.extend([Skipped("a.jpg", "listed twice"), Skipped("line 7", "short"), Skipped("b.jpg", "listed twice")])

    catalog = write_catalog(
        store, name="shop", version="v1", source="a test", batches=[rows()], photos=late(), skipped=skipped
    )
    assert catalog.manifest.skipped == {"listed twice": 2, "short": 1}
    listed = pq.read_table(store.path(f"{catalog.directory}/skipped.parquet")).to_pylist()
    assert listed[1] == {"item": "line 7", "reason": "short"}
    assert len(listed) == 3


def test_nothing_skipped_is_no_list(store: Store) -> None:
    catalog = write_with(store, photos())
    assert catalog.manifest.skipped == {}
    assert not store.exists(f"{catalog.directory}/skipped.parquet")


def test_all_skipped_is_no_catalogue(store: Store) -> None:
    skipped = [Skipped("a", "no category"), Skipped("b", "listed twice"), Skipped("c", "no category")]
    with pytest.raises(CatalogError, match=r"no images that can be used \(listed twice: 1, no category: 2\)"):
        write_with(store, photos(), skipped=skipped, pictures=rows(0, 0))
