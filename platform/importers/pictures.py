"""What the importers of annotated data sets share: a listing of the pictures, read in batches as rows of a catalogue.

The listing is held in memory (some hundred bytes a picture); the pictures themselves never are but for a batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from visnet.platform.catalog_rows import FIELDS, PHOTO_FIELDS, Skipped
from visnet.platform.errors import ImageError
from visnet.platform.imaging import Box
from visnet.platform.importers import Source, boxes

BATCH = 200
BATCH_BYTES = 2**26

LISTED_TWICE = "listed twice"
LISTED_AGAIN = "listed again with another product, category, split or box"
NO_CATEGORY = "no category"
BAD_BOX = "box is not four numbers"
EMPTY_BOX = "box empty, reversed or outside of the picture"
MISSING_URI = "image missing, kept by its uri"
MISSING_PATH = "image missing, kept by its path"
BROKEN = "image broken, kept without its box"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A shop picture or a photo as the annotations have it, not yet read."""

    image_id: str
    product_id: str
    category: str
    split: str | None = None
    place: str
    """The path of its file, or a URL."""
    url: str | None = None
    """Where it was published: kept as the uri if the file is missing."""
    box: Box | None = None
    box_in_pixels: bool = False


class Listing:
    """The pictures of a source, each with an id of its own, and what had to be skipped."""

    def __init__(self) -> None:
        self.shop: dict[str, Picture] = {}
        self.photos: dict[str, Picture] = {}
        self.skipped: list[Skipped] = []

    def skip(self, item: str, reason: str) -> None:
        self.skipped.append(Skipped(item, reason))

    def add(self, pictures: dict[str, Picture], new: Picture, *, repeats: bool = False, variants: bool = False) -> None:
        """Add a picture to `shop` or `photos`, or skip it if it is there already or its box is empty.

        Args:
            repeats: the format names a picture once for each of its pairs: nothing to report.
            variants: a picture may show several products or boxes; the second one's id is `<image_id>#2`.
        """
        name, count = new.image_id, 1
        while (known := pictures.get(new.image_id)) is not None and known != new:
            if not variants or dataclasses.replace(known, split=new.split) == new:
                self.skip(name, LISTED_AGAIN)
                return
            count += 1
            new = dataclasses.replace(new, image_id=f"{name}#{count}")
        if new.box is not None and boxes.is_empty(new.box):
            self.skip(name, EMPTY_BOX)
        elif known is None:
            pictures[new.image_id] = new
        elif not repeats:
            self.skip(name, LISTED_TWICE)

    def source(self, *, format: str, description: str, root: Path, annotations: Iterable[Path]) -> Source:
        """The source of these pictures; its version is made from the annotations and the files' sizes and times."""
        shop, photos = list(self.shop.values()), list(self.photos.values())
        return Source(
            description=description,
            version=_version(format, root, annotations, [*shop, *photos]),
            images=len(shop) + len(photos),
            batches=lambda: _tables(shop, _shop_schema(shop), self.skipped),
            photos=(lambda: _tables(photos, _PHOTO_SCHEMA, self.skipped)) if photos else None,
            photo_products=frozenset(photo.product_id for photo in photos),
            skipped=self.skipped,
        )


_PHOTO_SCHEMA = pa.schema([field for field in PHOTO_FIELDS if field.name != "content_hash"])


def is_url(place: str) -> bool:
    return "://" in place


def _shop_schema(pictures: Sequence[Picture]) -> pa.Schema:
    """The columns of shop pictures; the split is an attribute where a format has it."""
    columns = [field for field in FIELDS if field.name != "content_hash"]
    has_split = any(picture.split is not None for picture in pictures)
    return pa.schema([*columns, pa.field("split", pa.string())] if has_split else columns)


def _version(format: str, root: Path, annotations: Iterable[Path], pictures: Iterable[Picture]) -> str:
    digest = hashlib.sha256(format.encode())
    for file in annotations:
        digest.update(f"\n{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}".encode())
    for picture in pictures:
        digest.update(f"\n{picture.place.removeprefix(str(root))} {_stamp(picture.place)}".encode())
    return digest.hexdigest()[:12]


def _stamp(place: str) -> str:
    """What tells that a file has changed, without reading it."""
    if is_url(place):
        return "url"
    try:
        stat = os.stat(place)
    except (OSError, ValueError):
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _tables(pictures: Sequence[Picture], schema: pa.Schema, skipped: list[Skipped]) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    size_bytes = 0
    for picture in pictures:
        row = _row(picture, skipped)
        if row is None:
            continue
        rows.append(row)
        size_bytes += len(row["image"] or b"")
        if len(rows) >= BATCH or size_bytes >= BATCH_BYTES:
            yield pa.Table.from_pylist(rows, schema)
            rows, size_bytes = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, schema)


def _row(picture: Picture, skipped: list[Skipped]) -> dict[str, Any] | None:
    """The columns of a picture, its bytes read; None if it had to be skipped."""
    data = _read(picture.place)
    if data is None and not is_url(picture.place):
        skipped.append(Skipped(picture.image_id, MISSING_URI if picture.url else MISSING_PATH))
    try:
        box = _box(picture, data)
    except ImageError:
        skipped.append(Skipped(picture.image_id, BROKEN))
        box = None
    except ValueError:
        skipped.append(Skipped(picture.image_id, EMPTY_BOX))
        return None
    return {
        "image_id": picture.image_id,
        "product_id": picture.product_id,
        "category": picture.category,
        "split": picture.split,
        "image": data,
        "uri": None if data is not None else picture.url or picture.place,
        "box": box,
    }


def _read(place: str) -> bytes | None:
    if is_url(place):
        return None
    try:
        return Path(place).read_bytes()
    except (OSError, ValueError):
        return None


def _box(picture: Picture, data: bytes | None) -> Box | None:
    """A picture's box as shares; None if it has none, or its pixels are of an image that is not here.

    Raises:
        ImageError: the image is broken.
        ValueError: the box is empty or outside of the image.
    """
    if picture.box is None or (picture.box_in_pixels and data is None):
        return None
    if data is not None and picture.box_in_pixels:
        box = boxes.as_shares(picture.box, boxes.upright_size(data))
    else:
        box = boxes.as_kept(picture.box)
    if box is None:
        raise ValueError(EMPTY_BOX)
    return box
