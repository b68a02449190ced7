"""Grocery Store: 81 products, each with the shop's picture (white background) and photos taken in stores by phone.

    PATH/classes.csv                  class name, id, coarse class name, id, path of the shop's picture
    PATH/train.txt, val.txt, test.txt path of a photo, class id, coarse class id

PATH may also be the folder above `dataset`, as the authors' repository has it. The product is the class, its category
the coarse class. Source: Klasson, Zhang, Kjellström, A Hierarchical Grocery Store Image Dataset, WACV 2019.
"""

from __future__ import annotations

import csv
from pathlib import Path

from visnet.platform.errors import CatalogError
from visnet.platform.importers import Source
from visnet.platform.importers.annotations import data_set_folder, lines, needed
from visnet.platform.importers.pictures import NO_CATEGORY, Listing, Picture

FORMAT = "grocery-store"
SPLITS = ("train", "val", "test")
NAME, ID = "Class Name (str)", "Class ID (int)"
COARSE, ICON = "Coarse Class Name (str)", "Iconic Image Path (str)"
SHORT = "line with empty or missing fields"
UNKNOWN_CLASS = "unknown class id"
ID_TAKEN = "class id that another class has"


def open_source(path: str | None) -> Source:
    """The data set in its folder; an image's id is its path."""
    root = data_set_folder(FORMAT, path)
    classes_file = needed(FORMAT, root, "classes.csv", "dataset/classes.csv")
    root = classes_file.parent
    files = {split: root / f"{split}.txt" for split in SPLITS if (root / f"{split}.txt").is_file()}
    if not files:
        raise CatalogError(f"{FORMAT}: no train.txt, val.txt or test.txt in {root}")
    listing = Listing()
    classes = _add_products(root, classes_file, listing)
    for split, file in files.items():
        _add_photos(root, split, file, classes, listing)
    annotations = [classes_file, *files.values()]
    return listing.source(format=FORMAT, description="Grocery Store", root=root, annotations=annotations)


def _add_products(root: Path, file: Path, listing: Listing) -> dict[str, Picture]:
    """Add the shop pictures; returns them by class id."""
    reader = csv.DictReader((text for _, text in lines(file)), skipinitialspace=True)
    if not {NAME, ID, COARSE, ICON} <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ())
        raise CatalogError(f"{file} has not the columns {', '.join((NAME, ID, COARSE, ICON))}; it has {found}")
    classes: dict[str, Picture] = {}
    for row in reader:
        name, number, coarse, icon = ((row[column] or "").strip() for column in (NAME, ID, COARSE, ICON))
        if not (name and number and icon):
            listing.skip(f"{file.name}: {name or number}", SHORT)
        elif not coarse:
            listing.skip(f"{file.name}: {name}", NO_CATEGORY)
        elif number in classes:
            listing.skip(f"{file.name}: {name}", ID_TAKEN)
        else:
            place = icon.lstrip("/")
            new = Picture(image_id=place, product_id=name, category=coarse, place=str(root / place))
            listing.add(listing.shop, new)
            classes[number] = new
    return classes


def _add_photos(root: Path, split: str, file: Path, classes: dict[str, Picture], listing: Listing) -> None:
    for number, text in lines(file):
        place, *ids = (field.strip() for field in text.split(","))
        if not place or len(ids) != 2:
            listing.skip(f"{file.name} line {number}", SHORT)
        elif (product := classes.get(ids[0])) is None:
            listing.skip(place, UNKNOWN_CLASS)
        else:
            new = Picture(
                image_id=place,
                product_id=product.product_id,
                category=product.category,
                split=split,
                place=str(root / place),
            )
            listing.add(listing.photos, new)
