"""Exact Street2Shop: street photos with the box of an item, and the shop pictures of just that item, in 11 categories.

    PATH/photos/photos.txt (or photos.txt)     photo number,url
    PATH/meta/json (or json, or PATH itself)   retrieval_<category>.json    [{"photo": 1, "product": 2}, ...]
                                               train_pairs_<category>.json  the same with "bbox": {"left": pixels,
                                               test_pairs_<category>.json   "top": .., "width": .., "height": ..}
    PATH/images                                what a download script has fetched: <number>.jpg, with or without
                                               leading zeros, in sub-folders or not

Shop pictures are those of the retrieval files, photos those of the pairs. A picture that was never fetched, or is gone
from its shop, stays by its URL. Source: Kiapour, Han, Lazebnik, Berg, Berg, Where to Buy It, ICCV 2015.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visnet.platform.errors import CatalogError
from visnet.platform.imaging import Box
from visnet.platform.importers import Source, boxes
from visnet.platform.importers.annotations import data_set_folder, lines, needed
from visnet.platform.importers.folder import SUFFIXES
from visnet.platform.importers.pictures import BAD_BOX, Listing, Picture

FORMAT = "street2shop"
KINDS = {"retrieval": None, "train_pairs": "train", "test_pairs": "test"}
"""The kinds of annotation files, each with the split of its photos."""
NO_FILE = "file missing"
NO_IDS = "entry without the numbers of a photo and a product"
NO_URL = "line without a number and a URL"


def open_source(path: str | None) -> Source:
    """The data set in its folder; the product's id is its number, the image's `<photo>-<product>`."""
    root = data_set_folder(FORMAT, path)
    photos_file = needed(FORMAT, root, "photos/photos.txt", "photos.txt")
    files = _annotation_files(root)
    listing = Listing()
    entries = _Entries(listing, _Places(root, _urls(photos_file, listing)))
    for category, kinds in files.items():
        for kind, split in KINDS.items():
            if kind in kinds:
                entries.add(kinds[kind], category, split)
            else:
                listing.skip(f"{kind}_{category}.json", NO_FILE)
    annotations = [photos_file, *(file for kinds in files.values() for file in kinds.values())]
    return listing.source(format=FORMAT, description="Exact Street2Shop", root=root, annotations=annotations)


def _annotation_files(root: Path) -> dict[str, dict[str, Path]]:
    """The annotation files by category and kind, in a fixed order."""
    folder = next((root / name for name in ("meta/json", "json", "meta", ".") if _has_annotations(root / name)), None)
    if folder is None:
        raise CatalogError(f"{FORMAT}: no retrieval_<category>.json in {root}/meta/json, {root}/json or {root}")
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob("*.json")):
        for kind in KINDS:
            if file.stem.startswith(f"{kind}_"):
                found.setdefault(file.stem.removeprefix(f"{kind}_"), {})[kind] = file
    return dict(sorted(found.items()))


def _has_annotations(folder: Path) -> bool:
    return any(folder.glob("retrieval_*.json"))


def _urls(file: Path, listing: Listing) -> dict[int, str]:
    """The URLs by the photo's number."""
    urls = {}
    for number, text in lines(file):
        photo, _, url = text.partition(",")
        if photo.strip().isdecimal() and url.strip():
            urls[int(photo)] = url.strip()
        else:
            listing.skip(f"{file.name} line {number}", NO_URL)
    return urls


class _Places:
    """Where a photo is: its file if it was fetched, its URL if one is known."""

    def __init__(self, root: Path, urls: dict[int, str]) -> None:
        self._root = root
        self._urls = urls
        self._files: dict[int, str] = {}
        for folder, name in sorted(_pictures(root)):
            self._files.setdefault(int(Path(name).stem), os.path.join(folder, name))

    def of(self, photo: int) -> tuple[str, str | None]:
        """The path it has or should have, and the URL."""
        expected = str(self._root / "images" / f"{photo:09d}.jpg")
        return self._files.get(photo, expected), self._urls.get(photo)


def _pictures(root: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of every picture that has a number for its name."""
    for start in ("images", "photos"):
        for folder, _, names in os.walk(root / start):
            for name in names:
                stem, suffix = os.path.splitext(name)
                if stem.isdecimal() and suffix.lower() in SUFFIXES:
                    yield folder, name


class _Entries:
    """Puts the entries of annotation files on the listing."""

    def __init__(self, listing: Listing, places: _Places) -> None:
        self._listing = listing
        self._places = places
        self._categories: dict[tuple[str, bool], str] = {}

    def add(self, file: Path, category: str, split: str | None) -> None:
        """Add the shop pictures of a file, or with a split its photos."""
        for number, entry in enumerate(_read(file), start=1):
            item = f"{file.name} entry {number}"
            try:
                photo, product = int(entry["photo"]), int(entry["product"])
            except (KeyError, TypeError, ValueError):
                self._listing.skip(item, NO_IDS)
                continue
            try:
                box = _box(entry["bbox"]) if split is not None and "bbox" in entry else None
            except (KeyError, TypeError, ValueError):
                self._listing.skip(item, BAD_BOX)
                continue
            self._add(photo, product, category, split, box)

    def _add(self, photo: int, product: int, category: str, split: str | None, box: Box | None) -> None:
        name = f"{photo}-{product}"
        if self._categories.setdefault((name, split is None), category) != category:
            name = f"{category}/{name}"
        place, url = self._places.of(photo)
        new = Picture(
            image_id=name,
            product_id=str(product),
            category=category,
            split=split,
            place=place,
            url=url,
            box=box,
            box_in_pixels=True,
        )
        self._listing.add(
            self._listing.shop if split is None else self._listing.photos, new, variants=split is not None
        )


def _read(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"can't read {file}: {error}") from None
    if not isinstance(entries, list):
        raise CatalogError(f"{file} holds no list of photos and products, but a {type(entries).__name__}")
    return entries


def _box(found: dict[str, Any]) -> Box:
    left, top, width, height = boxes.parsed(found[side] for side in ("left", "top", "width", "height"))
    return left, top, left + width, top + height
