"""Exact Street2Shop: retrieval files are the shop, pairs are photos with boxes; what was never fetched stays by URL."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import open_source, pictures, street2shop

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]


def pair(photo: int, product: int, **bbox: float) -> dict[str, Any]:
    return {"photo": photo, "product": product, "bbox": {"left": 10, "top": 5, "width": 20, "height": 10, **bbox}}


def entry(photo: int, product: int) -> dict[str, int]:
    return {"photo": photo, "product": product}


@pytest.fixture
def data(put: Put, picture: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes photos.txt (1 to 9), the annotations by file name, and the pictures (40 x 20) by path."""

    def write(images: tuple[str, ...] = (), json_folder: str = "meta/json", **files: Any) -> None:
        put("photos/photos.txt", "".join(f"{n:09d},http://x/{n}.jpg?a=1,2\r\n" for n in range(1, 10)))
        for name, content in files.items():
            put(f"{json_folder}/{name}.json", json.dumps(content))
        for seed, name in enumerate(images):
            put(f"images/{name}", picture(seed, width=40, height=20))

    return write


def test_the_data_set(root: Path, data: Any, load: Load, by_id: Any) -> None:
    data(
        images=("000000001.jpg", "3.JPEG", "hats/000000004.png", "notes.jpg", "5.html"),
        retrieval_hats=[entry(1, 70), entry(2, 70), entry(3, 71)],
        train_pairs_hats=[pair(4, 70)],
        test_pairs_hats=[pair(5, 71), pair(6, 99)],
    )
    source = open_source("street2shop", str(root))
    assert (source.description, source.images, source.photo_products) == ("Exact Street2Shop", 6, {"70", "71", "99"})
    catalog = load(source)
    manifest = catalog.manifest
    assert (manifest.images, manifest.products, manifest.categories) == (3, 2, {"hats": 3})
    assert (manifest.photos, manifest.photo_splits) == (3, {"test": 2, "train": 1})
    assert manifest.skipped == {pictures.MISSING_URI: 3}
    shop, photos = by_id(catalog.read()), by_id(catalog.photos())
    assert {name: (row["product_id"], row["uri"]) for name, row in shop.items()} == {
        "1-70": ("70", None),
        "2-70": ("70", "http://x/2.jpg?a=1,2"),
        "3-71": ("71", None),
    }
    assert photos["4-70"]["box"] == [0.25, 0.25, 0.75, 0.75]
    assert (photos["5-71"]["box"], photos["5-71"]["uri"]) == (None, "http://x/5.jpg?a=1,2")
    assert photos["6-99"]["product_id"] == "99"  # not in the shop: kept


@pytest.mark.parametrize("folder", ["json", "meta", "."])
def test_the_annotations_may_lie_elsewhere(root: Path, data: Any, load: Load, folder: str) -> None:
    data(json_folder=folder, retrieval_hats=[entry(1, 70)], train_pairs_hats=[], test_pairs_hats=[])
    (root / "photos" / "photos.txt").rename(root / "photos.txt")
    assert load("street2shop", root).manifest.images == 1


def test_a_photo_of_several_products_and_a_product_of_several_categories(
    root: Path, data: Any, load: Load, by_id: Any
) -> None:
    data(
        retrieval_bags=[entry(1, 70)],
        retrieval_hats=[entry(1, 70), entry(2, 71)],
        train_pairs_bags=[pair(4, 70), pair(4, 71)],
        train_pairs_hats=[pair(4, 70), pair(4, 70, left=0)],
        test_pairs_bags=[],
        test_pairs_hats=[],
    )
    catalog = load("street2shop", root)
    shop = by_id(catalog.read())
    assert {name: row["category"] for name, row in shop.items()} == {
        "1-70": "bags",
        "hats/1-70": "hats",
        "2-71": "hats",
    }
    photos = by_id(catalog.photos())
    assert {name: row["category"] for name, row in photos.items()} == {
        "4-70": "bags",
        "4-71": "bags",
        "hats/4-70": "hats",
        "hats/4-70#2": "hats",  # two boxes of one product
    }
    assert pictures.LISTED_TWICE not in catalog.manifest.skipped


def test_what_can_not_be_used_is_skipped(root: Path, data: Any, put: Put, load: Load) -> None:
    data(
        images=("1.jpg", "2.jpg"),
        retrieval_hats=[entry(1, 70), entry(1, 70), {"photo": 1}, "text", None, {"photo": "x", "product": 1}],
        train_pairs_hats=[
            pair(2, 70),
            pair(2, 70),
            pair(2, 71, width=0),
            pair(2, 71, height=-5),
            pair(2, 71, left=40),
            {"photo": 2, "product": 72, "bbox": {"left": 1}},
            {"photo": 2, "product": 72, "bbox": None},
            entry(2, 73),
        ],
        test_pairs_hats=[pair(2, 70)],
        retrieval_bags=[],
    )
    with (root / "photos/photos.txt").open("a") as file:
        file.write("\nno line\n,http://x\n")
    catalog = load("street2shop", root)
    assert catalog.manifest.skipped == {
        pictures.LISTED_TWICE: 2,
        pictures.LISTED_AGAIN: 1,  # trained on and tested with
        pictures.EMPTY_BOX: 3,
        pictures.BAD_BOX: 2,
        street2shop.NO_IDS: 4,
        street2shop.NO_URL: 2,
        street2shop.NO_FILE: 2,  # the pairs of bags
    }
    assert catalog.photos(["image_id", "box"]).to_pylist()[1] == {"image_id": "2-73", "box": None}


def test_a_picture_of_no_known_url_stays_by_its_path(root: Path, data: Any, load: Load, by_id: Any) -> None:
    data(retrieval_hats=[entry(77, 70)], train_pairs_hats=[], test_pairs_hats=[])
    catalog = load("street2shop", root)
    assert by_id(catalog.read())["77-70"]["uri"] == str(root / "images" / "000000077.jpg")
    assert catalog.manifest.skipped == {pictures.MISSING_PATH: 1}


def test_a_folder_that_is_not_it_is_refused(root: Path, data: Any, put: Put) -> None:
    data()
    with pytest.raises(CatalogError, match=r"no retrieval_<category>.json in .*meta/json, .*json or "):
        open_source("street2shop", str(root))
    put("json/retrieval_hats.json", "[{")
    with pytest.raises(CatalogError, match=r"can't read .*retrieval_hats.json"):
        open_source("street2shop", str(root))
    put("json/retrieval_hats.json", "{}")
    with pytest.raises(CatalogError, match=r"retrieval_hats.json holds no list of photos and products, but a dict"):
        open_source("street2shop", str(root))
    (root / "photos" / "photos.txt").unlink()
    with pytest.raises(CatalogError, match=r"street2shop: no photos/photos.txt or photos.txt in "):
        open_source("street2shop", str(root))
    with pytest.raises(CatalogError, match="needs the path of the data set's folder, got None"):
        open_source("street2shop", None)


def test_nothing_that_can_be_used_is_no_catalogue(root: Path, data: Any, load: Load) -> None:
    data(retrieval_hats=[{}], train_pairs_hats=[], test_pairs_hats=[])
    with pytest.raises(CatalogError, match=r"no images that can be used \(entry without the numbers of .*: 1\)"):
        load("street2shop", root)
