"""Where given boxes come from: labelled photos or boxed street photos, a part of them held out by their ids."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.errors import NotFoundError
from visnet.platform.labelled import FIELDS, write_labelled
from visnet.platform.store import Store
from visnet.train.detection.labels import PHOTO_COLUMNS, Labels
from visnet.train.examples import HoldOut

Picture = Callable[..., bytes]
HOLD_OUT = HoldOut(share=0.3, by="photo", seed=0)
BOX = [0.25, 0.0, 0.5, 1.0]


def street(number: int) -> dict[str, Any]:
    """Two of three have a box; those of the split train come first."""
    return {
        "image_id": f"street-{number:02d}",
        "product_id": "p0",
        "category": "bag" if number % 2 else "shoe",
        "split": "train" if number < 30 else "val",
        "image": b"%d" % number,
        "box": BOX if number % 3 else None,
    }


def catalog(store: Store, picture: Picture, photos: list[dict[str, Any]], version: str = "1") -> Catalog:
    shop = pa.table({"image_id": ["i"], "product_id": ["p0"], "category": ["bag"], "image": [picture()]})
    given = [pa.Table.from_pylist(photos[:25]), pa.Table.from_pylist(photos[25:])] if photos else []
    return write_catalog(store, name="shop", version=version, source="test", batches=[shop], photos=given)


@pytest.fixture
def shop(store: Store, picture: Picture) -> Catalog:
    return catalog(store, picture, [street(number) for number in range(40)])


@pytest.fixture
def shelf(store: Store) -> list[dict[str, Any]]:
    """70 labelled photos, over more than one row group."""
    rows: list[dict[str, Any]] = [
        {"photo_id": f"s{number}", "image": b"%d" % number, "uri": None, "boxes": [BOX] * (number % 3)}
        for number in range(70)
    ]
    rows = [{**row, "categories": ["bag"] * len(row["boxes"])} for row in rows]
    write_labelled(store, "shelf", "test", rows)
    return rows


def labels(catalog: Catalog, *, labelled: str | None = None, split: str | None = None) -> Labels:
    return Labels(catalog=catalog, labelled=labelled, split=split, hold_out=HOLD_OUT)


def ids(rows: Any) -> list[str]:
    return [row["photo_id"] for row in rows]


def trained(given: Labels, rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """What the worker of a training sees: blocks of the files, with the columns that are read."""
    table = pa.Table.from_pylist(rows, FIELDS if given.labelled else None).select(names)
    return ids(given._usable_training(table).to_pylist())


def test_labelled_photos_are_held_out_or_trained_on(shop: Catalog, shelf: list[dict[str, Any]]) -> None:
    given = labels(shop, labelled="shelf")
    held, learned = ids(given.held_out()), trained(given, shelf, FIELDS.names)
    assert not set(held) & set(learned)
    assert sorted(held + learned) == sorted(ids(shelf))
    assert 8 < len(held) < 35
    assert held == [name for name in ids(shelf) if HOLD_OUT.holds(name, "")]
    assert list(given.all()) == shelf


def test_street_photos_of_the_split_that_have_a_box(shop: Catalog) -> None:
    given = labels(shop, split="train")
    rows = list(given.all())
    assert ids(rows) == [f"street-{number:02d}" for number in range(30) if number % 3]
    assert rows[0] == {
        "photo_id": "street-01",
        "image": b"1",
        "uri": None,
        "boxes": [BOX],
        "categories": ["bag"],
    }
    held = ids(given.held_out())
    photos = shop.photos().to_pylist()
    learned = trained(given, photos, PHOTO_COLUMNS)
    assert held
    assert sorted(held + learned) == sorted(ids(rows))


def test_which_photos_have_boxes(store: Store, picture: Picture, shop: Catalog) -> None:
    assert labels(shop, split="train").has_boxes()
    assert not labels(shop, split="test").has_boxes()
    bare = catalog(store, picture, [{**street(number), "box": None} for number in range(40)], version="2")
    assert not labels(bare, split="train").has_boxes()
    assert list(labels(bare, split="train").all()) == []


def test_paths_and_names(shop: Catalog, shelf: list[dict[str, Any]]) -> None:
    assert labels(shop, split="train").paths() == shop.photo_paths()
    (path,) = labels(shop, labelled="shelf").paths()
    assert path.endswith("labelled/shelf/part-0000.parquet")
    assert labels(shop, labelled="shelf").describe() == "shelf"
    assert labels(shop, split="train").describe() == "photos of the split train of shop-1"
    with pytest.raises(NotFoundError, match=r"no labelled photos nobody .*shelf"):
        labels(shop, labelled="nobody").paths()
