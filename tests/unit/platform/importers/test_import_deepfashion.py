"""DeepFashion's two retrieval benchmarks: partitions become splits, boxes of pixels shares."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.importers import deepfashion, open_source, pictures
from visnet.platform.importers.annotations import WRONG_COUNT, WRONG_LENGTH

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]

DRESS = "img/WOMEN/Dresses/id_00000002"
INSHOP = f"""4
image_name item_id evaluation_status
{DRESS}/01_1_front.jpg    id_00000002 train
{DRESS}/02_1_front.jpg    id_00000003 query
{DRESS}/02_2_side.jpg     id_00000003 gallery
img/MEN/Pants/id_00000004/01_1_front.jpg id_00000004 gallery
"""
INSHOP_BOXES = f"""1
image_name clothes_type pose_type x_1 y_1 x_2 y_2
{DRESS}/02_1_front.jpg 3 1 010 005 020 020
"""
SKIRT = "img/DRESSES/Skirt/id_00000011"
CONSUMER = f"""4
image_pair_name_1 image_pair_name_2 item_id evaluation_status
{SKIRT}/comsumer_01.jpg {SKIRT}/shop_01.jpg id_00000011 train
{SKIRT}/comsumer_01.jpg {SKIRT}/shop_02.jpg id_00000011 train
{SKIRT}/comsumer_02.jpg {SKIRT}/shop_01.jpg id_00000011 train
img/TOPS/Tee/id_00000012/comsumer_01.jpg img/TOPS/Tee/id_00000012/shop_01.jpg id_00000012 val
"""
CONSUMER_BOXES = f"""1
image_name clothes_type source_type x_1 y_1 x_2 y_2
{SKIRT}/comsumer_01.jpg 2 2 0 0 20 20
"""


@pytest.fixture
def data(put: Put, picture: Callable[..., bytes]) -> Callable[..., None]:
    """Writes the partition, the boxes if any, and the pictures (40 x 20) by name."""

    def write(partition: str, bbox: tuple[str, str] | None = None, images: tuple[str, ...] = ()) -> None:
        put("Eval/list_eval_partition.txt", partition)
        if bbox:
            put(f"Anno/{bbox[0]}", bbox[1])
        for seed, name in enumerate(images):
            put(f"Img/{name}", picture(seed, width=40, height=20))

    return write


def test_in_shop(root: Path, data: Any, load: Load, by_id: Any) -> None:
    images = (f"{DRESS}/01_1_front.jpg", f"{DRESS}/02_1_front.jpg", f"{DRESS}/02_2_side.jpg")
    data(INSHOP, ("list_bbox_inshop.txt", INSHOP_BOXES), images)
    source = open_source("deepfashion-inshop", str(root))
    assert (source.description, source.images) == ("DeepFashion In-shop", 4)
    catalog = load(source)
    shop = by_id(catalog.read())
    assert [(row["product_id"], row["category"], row["split"]) for row in shop.values()] == [
        ("id_00000002", "WOMEN/Dresses", "train"),
        ("id_00000003", "WOMEN/Dresses", "test"),
        ("id_00000004", "MEN/Pants", "test"),
    ]
    assert shop["img/MEN/Pants/id_00000004/01_1_front.jpg"]["uri"].startswith(f"{root}/Img/img/MEN/")
    (photo,) = catalog.photos().to_pylist()
    assert (photo["image_id"], photo["product_id"], photo["split"]) == (images[1], "id_00000003", "test")
    assert photo["box"] == [0.25, 0.25, 0.5, 1.0]
    assert catalog.manifest.skipped == {pictures.MISSING_PATH: 1}


def test_consumer_to_shop(root: Path, data: Any, load: Load, by_id: Any) -> None:
    images = tuple(f"{SKIRT}/{name}_0{n}.jpg" for name in ("comsumer", "shop") for n in (1, 2))
    data(CONSUMER, ("list_bbox_consumer2shop.txt", CONSUMER_BOXES), images)
    catalog = load("deepfashion-consumer2shop", root)
    manifest = catalog.manifest
    assert (manifest.images, manifest.products, manifest.photos) == (3, 2, 3)
    assert manifest.categories == {"DRESSES/Skirt": 2, "TOPS/Tee": 1}
    assert (manifest.attributes, manifest.photo_splits) == ({"split": "string"}, {"train": 2, "val": 1})
    assert manifest.skipped == {pictures.MISSING_PATH: 2, deepfashion.NO_BOX: 2}
    photos = by_id(catalog.photos())
    assert photos[images[0]]["box"] == [0.0, 0.0, 0.5, 1.0]
    assert photos[images[1]]["box"] is None
    assert photos[images[1]]["product_id"] == "id_00000011"


def test_all_may_lie_in_one_folder_and_boxes_be_left_out(
    root: Path, put: Put, load: Load, picture: Callable[..., bytes]
) -> None:
    put("list_eval_partition.txt", INSHOP.replace("\n", "\r\n"))
    put(f"{DRESS}/02_1_front.jpg", picture())
    catalog = load("deepfashion-inshop", root)
    assert catalog.photos(["image", "box"]).to_pylist() == [{"image": picture(), "box": None}]
    assert catalog.manifest.skipped == {pictures.MISSING_PATH: 3}


def test_what_can_not_be_used_is_skipped(root: Path, data: Any, put: Put, load: Load) -> None:
    more = [
        f"{DRESS}/02_1_front.jpg id_00000003 query",
        f"{DRESS}/02_2_side.jpg id_00000099 gallery",
        f"{DRESS}/03.jpg id_00000003 hidden",
        f"{DRESS}/03.jpg id_00000003",
        "img/03.jpg id_00000003 train",
        "03.jpg id_00000003 train",
        f"{DRESS}/04.jpg id_00000003 query",
        f"{DRESS}/05.jpg id_00000003 query",
    ]
    sides = f"{DRESS}/04.jpg 3 1 9 9 9 9\n{DRESS}/05.jpg 3 1 0 0 x 9\n{DRESS}/06.jpg 3 1\n"
    data(INSHOP + "\n".join(more), ("list_bbox_inshop.txt", INSHOP_BOXES + sides))
    catalog = load("deepfashion-inshop", root)
    assert catalog.manifest.photos == 1
    assert catalog.manifest.skipped == {
        pictures.LISTED_TWICE: 1,
        pictures.LISTED_AGAIN: 1,
        deepfashion.UNKNOWN_STATUS: 1,
        WRONG_LENGTH: 2,
        WRONG_COUNT: 2,
        pictures.NO_CATEGORY: 2,
        pictures.EMPTY_BOX: 1,
        pictures.BAD_BOX: 1,
        pictures.MISSING_PATH: 4,
    }


def test_a_pair_listed_twice_or_in_two_splits(root: Path, data: Any, load: Load) -> None:
    again = CONSUMER.splitlines()[2]
    data("\n".join([CONSUMER, again, again.replace(" train", " test"), again.replace(" train", " query")]))
    catalog = load("deepfashion-consumer2shop", root)
    assert catalog.manifest.photo_splits == {"train": 2, "val": 1}
    skipped = catalog.manifest.skipped
    assert (skipped[pictures.LISTED_TWICE], skipped[pictures.LISTED_AGAIN]) == (1, 2)
    assert skipped[deepfashion.UNKNOWN_STATUS] == 1


@pytest.mark.parametrize("format", ["deepfashion-inshop", "deepfashion-consumer2shop"])
def test_a_folder_that_is_not_it_is_refused(root: Path, data: Any, format: str) -> None:
    root.mkdir()
    with pytest.raises(CatalogError, match=f"{format}: no Eval/list_eval_partition.txt or list_eval_partition.txt in "):
        open_source(format, str(root))
    data("1\nsomething else\n")
    with pytest.raises(CatalogError, match=r"list_eval_partition.txt has no header with image_.* found 'something"):
        open_source(format, str(root))


def test_nothing_that_can_be_used_is_no_catalogue(root: Path, data: Any, load: Load) -> None:
    data("1\nimage_name item_id evaluation_status\na.jpg id_1 train\n")
    with pytest.raises(CatalogError, match=r"no images that can be used \(no category: 1\)"):
        load("deepfashion-inshop", root)
