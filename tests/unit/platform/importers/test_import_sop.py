"""Stanford Online Products: every picture is the shop's, the two files are its splits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import open_source, pictures
from visnet.platform.importers.annotations import WRONG_LENGTH

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]

HEADER = "image_id class_id super_class_id path\n"


def test_the_data_set(root: Path, put: Put, load: Load, by_id: Any, picture: Callable[..., bytes]) -> None:
    put("Ebay_train.txt", HEADER + "1 1 1 bicycle_final/111_0.JPG\n2 1 1 bicycle_final/111_1.JPG\n")
    put("Ebay_test.txt", HEADER + "3 11319 2 coffee_maker_final/222_0.JPG\n")
    put("bicycle_final/111_0.JPG", picture(1))
    put("coffee_maker_final/222_0.JPG", picture(2))
    source = open_source("sop", str(root))
    assert (source.description, source.images, source.photos) == ("Stanford Online Products", 3, None)
    catalog = load(source)
    rows = by_id(catalog.read())
    assert {name: (row["product_id"], row["category"], row["split"]) for name, row in rows.items()} == {
        "bicycle_final/111_0.JPG": ("1", "bicycle", "train"),
        "bicycle_final/111_1.JPG": ("1", "bicycle", "train"),
        "coffee_maker_final/222_0.JPG": ("11319", "coffee_maker", "test"),
    }
    assert rows["bicycle_final/111_0.JPG"]["image"] == picture(1)
    assert catalog.manifest.skipped == {pictures.MISSING_PATH: 1}


def test_what_can_not_be_used_is_skipped(root: Path, put: Put, load: Load) -> None:
    put("Ebay_train.txt", HEADER + "1 1 1 a_final/1.JPG\n\n2 1 1 a_final/1.JPG\n3 1 1\n4 1 1 b.JPG\r\n")
    put("Ebay_test.txt", HEADER + "5 1 1 a_final/1.JPG\n")
    catalog = load("sop", root)
    assert catalog.manifest.images == 1
    assert catalog.manifest.skipped == {
        pictures.LISTED_TWICE: 1,
        pictures.LISTED_AGAIN: 1,
        pictures.NO_CATEGORY: 1,
        WRONG_LENGTH: 1,
        pictures.MISSING_PATH: 1,
    }


def test_a_folder_that_is_not_it_is_refused(root: Path, put: Put) -> None:
    put("Ebay_train.txt", HEADER)
    with pytest.raises(CatalogError, match=r"sop: no Ebay_test.txt in "):
        open_source("sop", str(root))
    put("Ebay_test.txt", "path\n")
    with pytest.raises(CatalogError, match=r"Ebay_test.txt has no header with class_id path: found 'path'"):
        open_source("sop", str(root))
