"""Pairs and triplets of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import open_source, pairs, pictures

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]

PLAIN = "photo,product_id,category,shop_image\n"
FULL = "photo, product_id, category, shop_image, split, left, top, right, bottom\n"


def test_pairs(put: Put, load: Load, by_id: Any, root: Path, picture: Callable[..., bytes]) -> None:
    put("street/1.jpg", picture(1))
    put("shop/7a.jpg", picture(2))
    rows = [
        "street/1.jpg,7,shoes,shop/7a.jpg,test,0.25,0.5,0.5,1",
        "street/1.jpg,7,shoes,shop/7b.jpg,test,0.25,0.5,0.5,1",
        "street/1.jpg,8,shoes,http://x/8.jpg,test,,,,",
        "http://x/2.jpg,8,shoes,shop/7b.jpg,,,,,",
    ]
    file = put("pairs.csv", b"\xef\xbb\xbf" + (FULL + "\r\n".join(rows)).encode())
    source = open_source("pairs", str(file))
    assert (source.description, source.images, source.photo_products) == ("pairs pairs.csv", 7, {"7", "8"})
    catalog = load(source)
    assert catalog.manifest.skipped == {pictures.MISSING_PATH: 2}
    assert catalog.manifest.photo_splits == {"test": 2, "train": 1}
    shop, photos = by_id(catalog.read()), by_id(catalog.photos())
    assert {name: (row["product_id"], row["uri"]) for name, row in shop.items()} == {
        "shop/7a.jpg": ("7", None),
        "shop/7b.jpg": ("7", str(root / "shop/7b.jpg")),
        "http://x/8.jpg": ("8", "http://x/8.jpg"),
        "shop/7b.jpg#2": ("8", str(root / "shop/7b.jpg")),
    }
    assert {name: (row["product_id"], row["box"]) for name, row in photos.items()} == {
        "street/1.jpg": ("7", [0.25, 0.5, 0.5, 1.0]),
        "street/1.jpg#2": ("8", None),
        "http://x/2.jpg": ("8", None),
    }
    assert photos["street/1.jpg"]["image"] == picture(1)


def test_triplets(put: Put, load: Load, by_id: Any) -> None:
    rows = ["a.jpg,p.jpg,n.jpg,shoe,", "b.jpg,n.jpg,p.jpg,bag,test", "a.jpg,p.jpg,m.jpg,,", "a.jpg,q.jpg,m.jpg,,"]
    catalog = load("pairs", put("t.csv", "anchor,positive,negative,category,split\n" + "\n".join(rows)))
    shop, photos = by_id(catalog.read()), by_id(catalog.photos())
    assert {name: (row["product_id"], row["category"]) for name, row in shop.items()} == {
        "p.jpg": ("p.jpg", "shoe"),
        "n.jpg": ("n.jpg", "bag"),  # what it is as a positive, not its row's
        "q.jpg": ("q.jpg", "all"),
        "m.jpg": ("m.jpg", "all"),
    }
    assert {name: (row["product_id"], row["split"]) for name, row in photos.items()} == {
        "a.jpg": ("p.jpg", "train"),
        "b.jpg": ("n.jpg", "test"),
        "a.jpg#2": ("p.jpg", "train"),  # under another category
        "a.jpg#3": ("q.jpg", "train"),
    }
    assert catalog.manifest.skipped[pictures.LISTED_AGAIN] == 1  # p.jpg, now of the category all


def test_triplets_need_no_more_than_three_columns(put: Put, load: Load) -> None:
    catalog = load("pairs", put("t.csv", "anchor,positive,negative\na,p,n\na,p,m\na,p,m\n,p,n\n"))
    assert (catalog.manifest.categories, catalog.manifest.photo_splits) == ({"all": 3}, {"train": 1})
    skipped = catalog.manifest.skipped
    assert (skipped[pictures.LISTED_TWICE], skipped[pairs.INCOMPLETE]) == (1, 1)


def test_what_can_not_be_used_is_skipped(put: Put, load: Load) -> None:
    rows = [
        "a,1,c,s,train,,,,",
        "a,1,c,s,train,,,,",
        "a,1,c,s,test,,,,",
        ",1,c,s,,,,,",
        "a,,c,s,,,,,",
        "a,1,c,,,,,,",
        "b,1,c",
        "a,1,,s,,,,,",
        "a,1,c,s,,0,0,x,1",
        "a,1,c,s,,0,0,1,",
        "a,1,c,s,,0,0,0,1",
        "a,1,c,s,,0.9,0,0.1,1",
        "a,1,c,s,,0,0,640,480",
        "a,1,c,s,,0,0,1,1,more",
        "",
    ]
    catalog = load("pairs", put("p.csv", FULL + "\n".join(rows)))
    assert (catalog.manifest.images, catalog.manifest.photos) == (1, 1)
    assert catalog.manifest.skipped == {
        pictures.LISTED_TWICE: 1,
        pictures.LISTED_AGAIN: 1,
        pairs.INCOMPLETE: 4,
        pictures.NO_CATEGORY: 1,
        pictures.BAD_BOX: 2,
        pictures.EMPTY_BOX: 3,
        pairs.TOO_LONG: 1,
        pictures.MISSING_PATH: 2,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"p.csv has neither the columns photo, .* nor anchor, positive, negative; it has "),
        ("photo,category,shop_image\n", r"p.csv has neither the columns .*; it has photo, category, shop_image"),
        ("photo,product_id,category,shop_image,left,top\n", r"some of the columns left, .*: right, bottom missing"),
        (PLAIN.encode() + b"a,1,\xff,s\n", r"can't read p.csv"),
        (PLAIN + "a" * 200_000 + ",1,c,s\n", r"can't read p.csv: field larger than field limit"),
    ],
)
def test_a_csv_that_is_neither_is_refused(put: Put, content: str | bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        open_source("pairs", str(put("p.csv", content)))


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (None, str(tmp_path)):
        with pytest.raises(CatalogError, match=r"the format pairs needs the path of a .csv file, got "):
            open_source("pairs", path)


def test_nothing_that_can_be_used_is_no_catalogue(put: Put, load: Load) -> None:
    with pytest.raises(CatalogError, match=r"no images that can be used \(no category: 1\)"):
        load("pairs", put("p.csv", PLAIN + "a,1,,s\n"))
    with pytest.raises(CatalogError, match=r"the source holds no images$"):
        load("pairs", put("p.csv", PLAIN))
