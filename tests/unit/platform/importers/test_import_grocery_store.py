"""Grocery Store: the classes are the products, their icons the shop, what was taken in stores the photos."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import grocery_store, open_source, pictures

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]

HEADER = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    "Iconic Image Path (str),Product Description Path (str)\n"
)
CLASSES = HEADER + "Pink-Lady,0,Apple,0,/icons/Pink-Lady.jpg,/x.txt\nLeek,1,Leek,1,/icons/Leek.jpg,/y.txt\n"


@pytest.mark.parametrize("folder", ["", "dataset/"])
def test_the_data_set(root: Path, put: Put, load: Load, by_id: Any, picture: Callable[..., bytes], folder: str) -> None:
    put(f"{folder}classes.csv", CLASSES)
    put(f"{folder}train.txt", "train/Apple/1.jpg, 0, 0\ntrain/Leek/1.jpg, 1, 1\n")
    put(f"{folder}val.txt", "val/Apple/1.jpg, 0, 0\r\n\r\n")
    for seed, name in enumerate(("icons/Pink-Lady.jpg", "icons/Leek.jpg", "train/Apple/1.jpg", "val/Apple/1.jpg")):
        put(f"{folder}{name}", picture(seed))
    source = open_source("grocery-store", str(root))
    assert (source.description, source.images) == ("Grocery Store", 5)
    catalog = load(source)
    manifest = catalog.manifest
    assert (manifest.images, manifest.products, manifest.categories) == (2, 2, {"Apple": 1, "Leek": 1})
    assert (manifest.photo_splits, manifest.attributes) == ({"train": 2, "val": 1}, {})
    assert manifest.skipped == {pictures.MISSING_PATH: 1}
    shop, photos = by_id(catalog.read()), by_id(catalog.photos())
    assert shop["icons/Pink-Lady.jpg"]["image"] == picture(0)
    assert (photos["val/Apple/1.jpg"]["product_id"], photos["val/Apple/1.jpg"]["category"]) == ("Pink-Lady", "Apple")
    assert photos["train/Leek/1.jpg"]["uri"] == str(root / folder / "train/Leek/1.jpg")


def test_what_can_not_be_used_is_skipped(root: Path, put: Put, load: Load) -> None:
    more = [
        "Onion,2,,2,/icons/Onion.jpg,/z.txt",
        "Lime,3",
        "Kiwi,1,Kiwi,4,/icons/Kiwi.jpg,/z.txt",
        "Plum,5,Plum,5,/icons/Leek.jpg,/z.txt",
    ]
    put("classes.csv", CLASSES + "\n".join(more))
    put(
        "train.txt",
        "train/1.jpg, 0, 0\ntrain/1.jpg, 0, 0\ntrain/2.jpg, 2, 2\ntrain/3.jpg, x, 0\ntrain/4.jpg, 0\n, 0, 0",
    )
    put("test.txt", "train/1.jpg, 0, 0\n")
    catalog = load("grocery-store", root)
    assert catalog.photos(["image_id"]).to_pylist() == [{"image_id": "train/1.jpg"}]
    assert catalog.manifest.skipped == {
        pictures.LISTED_TWICE: 1,
        pictures.LISTED_AGAIN: 2,  # Leek's icon as Plum's, and a photo in two splits
        pictures.NO_CATEGORY: 1,
        grocery_store.SHORT: 3,
        grocery_store.ID_TAKEN: 1,
        grocery_store.UNKNOWN_CLASS: 2,  # one of them is the class without a category
        pictures.MISSING_PATH: 3,
    }


def test_a_folder_that_is_not_it_is_refused(root: Path, put: Put) -> None:
    root.mkdir()
    with pytest.raises(CatalogError, match=r"grocery-store: no classes.csv or dataset/classes.csv in "):
        open_source("grocery-store", str(root))
    put("classes.csv", "name,id\nLeek,1\n")
    with pytest.raises(CatalogError, match=r"no train.txt, val.txt or test.txt in "):
        open_source("grocery-store", str(root))
    put("val.txt", "")
    with pytest.raises(CatalogError, match=r"classes.csv has not the columns Class Name \(str\), .* it has name, id"):
        open_source("grocery-store", str(root))


def test_nothing_that_can_be_used_is_no_catalogue(root: Path, put: Put, load: Load) -> None:
    put("classes.csv", HEADER + "Leek,1,,1,/a.jpg,/b.txt\n")
    put("val.txt", "val/1.jpg, 1, 1\n")
    with pytest.raises(CatalogError, match=r"no images that can be used \(no category: 1, unknown class id: 1\)"):
        load("grocery-store", root)
