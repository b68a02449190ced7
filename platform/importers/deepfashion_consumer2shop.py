"""DeepFashion Consumer-to-shop Clothes Retrieval: pairs of a buyer's photo and a shop picture, 33,881 items.

    PATH/Eval/list_eval_partition.txt        image_pair_name_1 (photo) image_pair_name_2 (shop) item_id
                                             evaluation_status (train, val or test)
    PATH/Img/img/...                         the pictures
    PATH/Anno/list_bbox_consumer2shop.txt    optional: image_name clothes_type source_type x_1 y_1 x_2 y_2

Shop pictures carry their pair's status as the attribute split, photos as their split. A picture is in many pairs and
imported once.
"""

from __future__ import annotations

from visnet.platform.importers import Source
from visnet.platform.importers.annotations import data_set_folder
from visnet.platform.importers.deepfashion import UNKNOWN_STATUS, Folder
from visnet.platform.importers.pictures import LISTED_TWICE, Listing

FORMAT = "deepfashion-consumer2shop"
SPLITS = ("train", "val", "test")


def open_source(path: str | None) -> Source:
    """The benchmark in its folder."""
    root = data_set_folder(FORMAT, path)
    listing = Listing()
    folder = Folder(FORMAT, root, "list_bbox_consumer2shop.txt", listing)
    seen: set[tuple[str, ...]] = set()
    for photo, shop, item, status in folder.rows(
        "image_pair_name_1", "image_pair_name_2", "item_id", "evaluation_status"
    ):
        if status not in SPLITS:
            listing.skip(photo, UNKNOWN_STATUS)
        elif (photo, shop, item, status) in seen:
            listing.skip(f"{photo} {shop}", LISTED_TWICE)
        else:
            seen.add((photo, shop, item, status))
            folder.add(photo, item, split=status, photo=True, repeats=True)
            folder.add(shop, item, split=status, photo=False, repeats=True)
    return listing.source(
        format=FORMAT, description="DeepFashion Consumer-to-shop", root=root, annotations=folder.annotations
    )
