"""The catalogue: one row per image, complete or not there, every image found again by part and row."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import Catalog, open_catalog, write_catalog
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.imaging import content_hash
from visnet.platform.store import Store

Picture = Callable[..., bytes]


def rows(start: int = 0, stop: int = 3, **columns: Any) -> pa.Table:
    numbers = range(start, stop)
    return pa.table(
        {
            "image_id": [f"i{n}" for n in numbers],
            "product_id": [f"p{n // 2}" for n in numbers],
            "category": [("shoe", "bag")[n % 2] for n in numbers],
            "image": pa.array([b"image %d" % n for n in numbers], pa.binary()),
            **columns,
        }
    )


def write(store: Store, *tables: pa.Table, version: str = "v1") -> Catalog:
    return write_catalog(store, name="shop", version=version, source="a test", batches=tables)


def test_round_trip_with_counts_hashes_and_typed_attributes(store: Store) -> None:
    attributes = {"price": [1.5, None, 3.0], "in_stock": [True, False, True], "brand": ["x", "y", "x"]}
    write(store, rows(**attributes))
    catalog = open_catalog(store, "shop")
    manifest = catalog.manifest
    assert (manifest.images, manifest.products, manifest.categories) == (3, 2, {"bag": 1, "shoe": 2})
    assert manifest.attributes == {"price": "double", "in_stock": "bool", "brand": "string"}
    assert (manifest.source, catalog.reference, catalog.directory) == ("a test", "shop-v1", "catalogs/shop/v1")
    read = catalog.read()
    assert read.column_names[:6] == ["image_id", "product_id", "category", "image", "uri", "content_hash"]
    assert read["content_hash"].to_pylist() == [content_hash(b"image %d" % n) for n in range(3)]
    assert {name: read[name].to_pylist() for name in attributes} == attributes
    assert read["uri"].null_count == 3


def test_a_uri_stands_for_an_image_and_has_no_hash_yet(store: Store) -> None:
    table = rows().drop_columns(["image"]).append_column("uri", pa.array(["a.jpg", "b.jpg", None]))
    catalog = write(store, table)
    assert catalog.read(["image", "content_hash"]).to_pylist() == [{"image": None, "content_hash": None}] * 3
    assert catalog.image(0, 1) == (None, "b.jpg")


def test_every_image_is_found_by_part_and_row(store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 7)
    monkeypatch.setattr(catalog_module, "ROW_GROUP_BYTES", 10_000)  # two or so pictures
    images = [picture(n) for n in range(20)]
    tables = [rows(n, n + 4).set_column(3, "image", pa.array(images[n : n + 4])) for n in range(0, 20, 4)]
    catalog = write(store, *tables)
    assert len(catalog.manifest.parts) == 3
    assert catalog.manifest.images == 20
    assert catalog.read(["image_id"])["image_id"].to_pylist() == [f"i{n}" for n in range(20)]
    for n in range(20):
        assert catalog.image(n // 8, n % 8) == (images[n], None)


def test_a_part_is_closed_when_it_has_enough_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "PART_BYTES", 100)
    assert len(write(store, rows(0, 3), rows(3, 6)).manifest.parts) == 2


def test_a_finished_version_is_returned_unread(store: Store) -> None:
    first = write(store, rows())

    def explode() -> Iterator[pa.Table]:
        raise AssertionError("must not be read")
        yield

    again = write_catalog(store, name="shop", version="v1", source="another", batches=explode())
    assert again.manifest == first.manifest


def test_a_killed_import_leaves_nothing_and_is_done_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 3)

    def killed() -> Iterator[pa.Table]:
        yield rows(0, 3)
        yield rows(3, 6)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_catalog(store, name="shop", version="v1", source="a test", batches=killed())
    assert store.names("catalogs/shop/v1") == ["part-00000.parquet", "part-00001.parquet"]
    with pytest.raises(NotFoundError):
        open_catalog(store, "shop")
    write(store, rows(10, 12))
    assert store.names("catalogs/shop/v1") == ["manifest.json", "part-00000.parquet"]


def test_the_newest_version_unless_one_is_named(store: Store) -> None:
    write(store, rows(), version="z-first")
    write(store, rows(), version="a-second")
    assert open_catalog(store, "shop").manifest.version == "a-second"
    assert open_catalog(store, "shop", "z-first").manifest.version == "z-first"
    with pytest.raises(NotFoundError, match=r"no catalogue shop version v9 .*there is: shop"):
        open_catalog(store, "shop", "v9")


def test_a_missing_catalogue_says_how_to_make_one(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"there is: none yet.*visnet catalog import FORMAT \[PATH\] --name shop"):
        open_catalog(store, "shop")


@pytest.mark.parametrize(
    ("column", "value", "images"),
    [("split", "test", ["i1"]), ("price", "3", ["i2"]), ("count", "7", ["i0"]), ("in_stock", "true", ["i0", "i2"])],
)
def test_where_compares_as_the_columns_type(store: Store, column: str, value: str, images: list[str]) -> None:
    attributes = {"price": [1.5, None, 3.0], "count": [7, 8, 9], "in_stock": [True, False, True]}
    catalog = write(store, rows(split=["train", "test", "train"], **attributes))
    assert catalog.read(["image_id"], where=(column, value))["image_id"].to_pylist() == images
    assert len(catalog.read(["image_id"], where=("category", "hat"))) == 0


def test_where_refuses_what_the_column_can_not_hold(store: Store) -> None:
    catalog = write(store, rows(count=[7, 8, 9]))
    with pytest.raises(NotFoundError, match=r"no column 'colour': category, count"):
        catalog.read(where=("colour", "red"))
    with pytest.raises(ValueError, match=r"column 'count' holds int64, which 'many' is not"):
        catalog.read(where=("count", "many"))


def test_an_exported_hash_is_made_anew(store: Store) -> None:
    catalog = write(store, rows(content_hash=["wrong"] * 3))
    assert catalog.read(["content_hash"])["content_hash"][0].as_py() == content_hash(b"image 0")


@pytest.mark.parametrize("missing", ["image_id", "product_id", "category"])
def test_a_missing_column_or_value_is_named(store: Store, missing: str) -> None:
    with pytest.raises(CatalogError, match=f"no column '{missing}'; it has "):
        write(store, rows().drop_columns([missing]))
    for empty in (None, ""):
        table = rows()
        place = table.column_names.index(missing)
        table = table.set_column(place, missing, pa.array([empty, "a", "b"]))
        with pytest.raises(CatalogError, match=f"column '{missing}' has 1 empty values"):
            write(store, table)
    assert not store.exists("catalogs/shop/v1/manifest.json")


def test_images_must_be_bytes_or_named(store: Store) -> None:
    with pytest.raises(CatalogError, match="neither 'image' nor 'uri'"):
        write(store, rows().drop_columns(["image"]))
    with pytest.raises(CatalogError, match="column 'image' holds string"):
        write(store, rows().set_column(3, "image", pa.array(["a.jpg", "b.jpg", "c.jpg"])))


def test_an_image_id_twice_is_refused_even_in_another_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 3)
    with pytest.raises(CatalogError, match="an image_id occurs twice"):
        write(store, rows(0, 3), rows(3, 6), rows(2, 3))


@pytest.mark.parametrize("tables", [[], [rows(0, 0)]])
def test_no_images_are_no_catalogue(store: Store, tables: list[pa.Table]) -> None:
    with pytest.raises(CatalogError, match="the source holds no images"):
        write(store, *tables)
