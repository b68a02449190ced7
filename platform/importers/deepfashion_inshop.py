"""DeepFashion In-shop Clothes Retrieval: 52,712 shop pictures of 7,982 items, queries and gallery both from the shop.

    PATH/Eval/list_eval_partition.txt   image_name item_id evaluation_status (train, query or gallery)
    PATH/Img/img/...                    the pictures
    PATH/Anno/list_bbox_inshop.txt      optional: image_name clothes_type pose_type x_1 y_1 x_2 y_2

train and gallery become shop pictures with the attribute split (train, test), query becomes photos of the split test.
Train and test have no item in common.
"""

from __future__ import annotations

from visnet.platform.importers import Source
from visnet.platform.importers.annotations import data_set_folder
from visnet.platform.importers.deepfashion import UNKNOWN_STATUS, Folder
from visnet.platform.importers.pictures import Listing

FORMAT = "deepfashion-inshop"
SPLITS = {"train": "train", "query": "test", "gallery": "test"}


def open_source(path: str | None) -> Source:
    """The benchmark in its folder."""
    root = data_set_folder(FORMAT, path)
    listing = Listing()
    folder = Folder(FORMAT, root, "list_bbox_inshop.txt", listing)
    for name, item, status in folder.rows("image_name", "item_id", "evaluation_status"):
        if status in SPLITS:
            folder.add(name, item, split=SPLITS[status], photo=status == "query")
        else:
            listing.skip(name, UNKNOWN_STATUS)
    return listing.source(format=FORMAT, description="DeepFashion In-shop", root=root, annotations=folder.annotations)
