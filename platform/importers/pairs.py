"""Pairs or triplets of one's own: a CSV with one row for each, pictures as paths relative to the CSV, or as URLs.

Pairs of a photo and a shop picture of the same product:

    photo,product_id,category,shop_image[,split][,left,top,right,bottom]
    street/1.jpg,sku-7,shoes,shop/7a.jpg,train,0.1,0.5,0.4,0.9

`split` is train where it is empty; the box of the product in the photo is in shares of its width and height, 0..1, or
empty. A picture may be in many pairs; one of several products or boxes is imported once for each, the second one with
the id `<path>#2`.

Triplets of an anchor, a picture that is alike and one that is not:

    anchor,positive,negative[,category][,split]
    street/1.jpg,shop/7a.jpg,shop/3.jpg

The anchor is a photo of the product that the positive shows; positive and negative are shop pictures, each a product
of its own with its path for an id. The category is "all" where it is empty; a negative has the category that it has as
a positive, or else its row's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from visnet.platform.errors import CatalogError
from visnet.platform.imaging import Box
from visnet.platform.importers import Source, boxes
from visnet.platform.importers.pictures import (
    BAD_BOX,
    EMPTY_BOX,
    LISTED_TWICE,
    NO_CATEGORY,
    Listing,
    Picture,
    is_url,
)

FORMAT = "pairs"
PAIR = ("photo", "product_id", "category", "shop_image")
TRIPLET = ("anchor", "positive", "negative")
BOX = ("left", "top", "right", "bottom")
TOO_LONG = "line with more fields than the header"
INCOMPLETE = "line with empty or missing fields"

Row = dict[str, str]


def open_source(path: str | None) -> Source:
    """The rows of a CSV of pairs or triplets."""
    if path is None or not (file := Path(path).absolute()).is_file():
        raise CatalogError(f"the format pairs needs the path of a .csv file, got {path!r}")
    listing = Listing()
    columns, rows = _read(file, listing)
    if set(TRIPLET) <= set(columns):
        _add_triplets(file.parent, rows, listing)
    elif set(PAIR) <= set(columns):
        _check_box_columns(file, columns)
        _add_pairs(file.parent, rows, listing)
    else:
        raise CatalogError(
            f"{file.name} has neither the columns {', '.join(PAIR)} nor {', '.join(TRIPLET)}; "
            f"it has {', '.join(columns)}"
        )
    return listing.source(format=FORMAT, description=f"pairs {file.name}", root=file.parent, annotations=[file])


def _read(file: Path, listing: Listing) -> tuple[list[str], list[tuple[str, Row]]]:
    """The columns, and the rows with what to call each; rows that stand there twice are skipped."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="", skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            return columns, list(_distinct(reader, listing))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"can't read {file.name}: {error}") from None


def _distinct(reader: csv.DictReader[str], listing: Listing) -> Iterator[tuple[str, Row]]:
    seen: set[tuple[str, ...]] = set()
    for row in reader:
        item = f"line {reader.line_num}"
        if None in row:  # there are more fields than columns
            listing.skip(item, TOO_LONG)
            continue
        values = tuple(value.strip() for value in row.values())
        if values in seen:
            listing.skip(item, LISTED_TWICE)
        else:
            seen.add(values)
            yield item, dict(zip(row, values, strict=True))


def _check_box_columns(file: Path, columns: list[str]) -> None:
    missing = [name for name in BOX if name not in columns]
    if missing and len(missing) < len(BOX):
        raise CatalogError(f"{file.name} has only some of the columns {', '.join(BOX)}: {', '.join(missing)} missing")


def _add_pairs(folder: Path, rows: list[tuple[str, Row]], listing: Listing) -> None:
    for item, row in rows:
        if not (row["photo"] and row["product_id"] and row["shop_image"]):
            listing.skip(item, INCOMPLETE)
        elif not row["category"]:
            listing.skip(item, NO_CATEGORY)
        else:
            _add_pair(folder, item, row, listing)


def _add_pair(folder: Path, item: str, row: Row, listing: Listing) -> None:
    try:
        sides = [row.get(name, "") for name in BOX]
        box = boxes.parsed(sides) if any(sides) else None
    except ValueError:
        listing.skip(item, BAD_BOX)
        return
    if box is not None and boxes.as_kept(box) is None:
        listing.skip(item, EMPTY_BOX)
        return
    split = row.get("split") or "train"
    photo = _picture(folder, row["photo"], row["product_id"], row["category"], split, box)
    shop = _picture(folder, row["shop_image"], row["product_id"], row["category"])
    listing.add(listing.photos, photo, repeats=True, variants=True)
    listing.add(listing.shop, shop, repeats=True, variants=True)


def _add_triplets(folder: Path, rows: list[tuple[str, Row]], listing: Listing) -> None:
    negatives: list[tuple[str, str]] = []
    for item, row in rows:
        anchor, positive, negative = (row[name] for name in TRIPLET)
        if not (anchor and positive and negative):
            listing.skip(item, INCOMPLETE)
            continue
        category, split = row.get("category") or "all", row.get("split") or "train"
        photo = _picture(folder, anchor, positive, category, split)
        listing.add(listing.photos, photo, repeats=True, variants=True)
        listing.add(listing.shop, _picture(folder, positive, positive, category), repeats=True)
        negatives.append((negative, category))
    for negative, category in negatives:
        if negative not in listing.shop:
            listing.add(listing.shop, _picture(folder, negative, negative, category))


def _picture(
    folder: Path, name: str, product: str, category: str, split: str | None = None, box: Box | None = None
) -> Picture:
    place = name if is_url(name) else str(folder / name)
    return Picture(image_id=name, product_id=product, category=category, split=split, place=place, box=box)
