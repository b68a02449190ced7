"""Stanford Online Products: 120,053 pictures of 22,634 products in 12 categories, all from the shop.

    PATH/Ebay_train.txt, PATH/Ebay_test.txt   image_id class_id super_class_id path (bicycle_final/1110_0.JPG)

Every picture is a shop picture with the attribute split; the two files have no product in common. Source: Oh Song,
Xiang, Jegelka, Savarese, Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016.
"""

from __future__ import annotations

from visnet.platform.importers import Source
from visnet.platform.importers.annotations import data_set_folder, needed, rows
from visnet.platform.importers.pictures import NO_CATEGORY, Listing, Picture

FORMAT = "sop"


def open_source(path: str | None) -> Source:
    """The data set in its folder; the image's id is its path, the product's the number of its class."""
    root = data_set_folder(FORMAT, path)
    files = {split: needed(FORMAT, root, f"Ebay_{split}.txt") for split in ("train", "test")}
    listing = Listing()
    for split, file in files.items():
        for product, place in rows(file, ("class_id", "path"), listing.skipped):
            category = place.rpartition("/")[0].removesuffix("_final")
            if not category:
                listing.skip(place, NO_CATEGORY)
                continue
            new = Picture(image_id=place, product_id=product, category=category, split=split, place=str(root / place))
            listing.add(listing.shop, new)
    return listing.source(format=FORMAT, description="Stanford Online Products", root=root, annotations=files.values())
