"""What the rows of a catalogue must be: the columns of shop pictures and of photos, completed and checked."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from visnet.platform.errors import CatalogError
from visnet.platform.imaging import content_hash

FIELDS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # the encoded bytes, or null where `uri` says where they are
        pa.field("uri", pa.string()),
        pa.field("content_hash", pa.string()),  # of the bytes; null until a `uri` has been read
    ]
)
"""The columns of a shop picture; further ones are its attributes."""

PHOTO_FIELDS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        *(FIELDS.field(name) for name in ("image", "uri", "content_hash")),
        # left, top, right, bottom as shares of the upright image, 0..1; null: all of it
        pa.field("box", pa.list_(pa.field("element", pa.float32()))),
    ]
)
"""The columns of a photo; there are no others."""

IMAGE_FIELDS = ("image", "uri")
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_null)


class Skipped(NamedTuple):
    """Something of a source that an importer left out, or could take only in part."""

    item: str
    """The picture or the line, as its source names it."""
    reason: str
    """Why; worded the same for every such item, as they are counted by it."""


def complete(rows: pa.Table) -> pa.Table:
    """Shop pictures with every column of `FIELDS` first and in order, hashes filled in, attributes behind."""
    rows = _with_images(rows, ("image_id", "product_id", "category"))
    attributes = [field for field in rows.schema if field.name not in FIELDS.names]
    schema = pa.schema([*FIELDS, *attributes])
    return rows.select(schema.names).cast(schema)


def complete_photos(rows: pa.Table) -> pa.Table:
    """Photos with every column of `PHOTO_FIELDS` in order, hashes filled in and boxes checked."""
    rows = _with_images(rows, ("image_id", "product_id", "category", "split"))
    if "box" not in rows.column_names:
        rows = rows.append_column("box", pa.nulls(len(rows), PHOTO_FIELDS.field("box").type))
    if further := sorted(set(rows.column_names) - set(PHOTO_FIELDS.names)):
        raise CatalogError(f"photos have no attributes, but got {', '.join(further)}")
    rows = rows.select(PHOTO_FIELDS.names).cast(PHOTO_FIELDS)
    for image, box in zip(rows["image_id"].to_pylist(), rows["box"].to_pylist(), strict=True):
        if box is not None and not is_box(box):
            raise CatalogError(
                f"photo {image} has the box {box}: expected left, top, right, bottom "
                "with 0 <= left < right <= 1 and 0 <= top < bottom <= 1, or null"
            )
    return rows


def is_box(values: list[float]) -> bool:
    """True if these are left, top, right and bottom of a box that is not empty and lies within 0..1."""
    if len(values) != 4 or None in values:
        return False
    left, top, right, bottom = values
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def _with_images(rows: pa.Table, needed: tuple[str, ...]) -> pa.Table:
    """The rows with the columns image, uri and content_hash; raises CatalogError if one that is needed isn't there."""
    for name in needed:
        if name not in rows.column_names:
            raise CatalogError(f"the source has no column {name!r}; it has {', '.join(rows.column_names)}")
        if empty := sum(value in (None, "") for value in rows[name].to_pylist()):
            raise CatalogError(f"column {name!r} has {empty} empty values")
    if not set(IMAGE_FIELDS) & set(rows.column_names):
        raise CatalogError(f"the source has neither 'image' nor 'uri'; it has {', '.join(rows.column_names)}")
    if "content_hash" in rows.column_names:
        rows = rows.drop_columns(["content_hash"])  # an older export's: ours is made from the bytes at hand
    for optional in IMAGE_FIELDS:
        if optional not in rows.column_names:
            rows = rows.append_column(optional, pa.nulls(len(rows), FIELDS.field(optional).type))
    if not any(is_type(rows["image"].type) for is_type in _BYTES):
        raise CatalogError(f"column 'image' holds {rows['image'].type}: expected the bytes of an encoded image")
    hashes = [content_hash(image.as_py()) if image.is_valid else None for image in rows["image"]]
    return rows.append_column("content_hash", pa.array(hashes, pa.string()))
