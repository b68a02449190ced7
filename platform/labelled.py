"""Labelled photos: pictures with boxes that somebody drew, to train a detector on and to measure it by.

labelled/<name>/part-0000.parquet, skipped.parquet, manifest.json

A row is a photo with all of its boxes; a photo without boxes shows that there is nothing in it.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.boxes import check_box
from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.store import Store

PART, SKIPPED = "part-0000.parquet", "skipped.parquet"
FIELDS = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # the encoded bytes, or null where `uri` says where they are
        pa.field("uri", pa.string()),
        # left, top, right, bottom of each item as shares of the upright image, 0..1
        pa.field("boxes", pa.list_(pa.list_(pa.float32())), nullable=False),
        pa.field("categories", pa.list_(pa.string()), nullable=False),
    ]
)
ROW_GROUP = 64
"""Rows that are read at once: photos are large."""


@dataclass(frozen=True, kw_only=True)
class LabelledManifest(Manifest):
    """What a set of labelled photos holds."""

    name: str
    source: str
    photos: int
    boxes: int
    categories: dict[str, int]
    """Boxes of each."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What was left out, by reason."""


def write_labelled(
    store: Store, name: str, source: str, rows: Iterable[dict[str, Any]], skipped: Sequence[Skipped] = ()
) -> LabelledManifest:
    """Write labelled photos as an artifact.

    Args:
        rows: as `FIELDS` says; consumed before `skipped` is read.

    Raises:
        CatalogError: there are no photos, or a box is none.
    """
    directory = labelled_directory(name)
    counted: collections.Counter[str] = collections.Counter()
    photos = 0
    store.delete_directory(directory)  # an older set of this name goes first: a broken import leaves nothing half true
    store.make_directory(directory)
    with pq.ParquetWriter(store.path(f"{directory}/{PART}"), FIELDS, filesystem=store.filesystem) as writer:
        for group in _groups(rows):
            for row in group:
                _check(row)
                counted.update(row["categories"])
            photos += len(group)
            writer.write_table(pa.Table.from_pylist(group, FIELDS))
    if not photos:
        raise CatalogError(f"{source} has no usable photo")
    listed = pa.table({"item": [one.item for one in skipped], "reason": [one.reason for one in skipped]})
    pq.write_table(listed, store.path(f"{directory}/{SKIPPED}"), filesystem=store.filesystem)
    manifest = LabelledManifest(
        name=name,
        source=source,
        photos=photos,
        boxes=counted.total(),
        categories=dict(sorted(counted.items())),
        skipped=dict(collections.Counter(one.reason for one in skipped)),
    )
    write_manifest(store, directory, manifest)
    return manifest


def labelled_directory(name: str) -> str:
    return f"labelled/{name}"


def labelled_path(store: Store, name: str) -> str:
    """The path of the photos' file for `store.filesystem`.

    Raises:
        NotFoundError: no such labelled photos; the text lists what there is.
    """
    labelled_manifest(store, name)
    return store.path(f"{labelled_directory(name)}/{PART}")


def labelled_manifest(store: Store, name: str) -> LabelledManifest:
    """The manifest of some labelled photos; raises as `labelled_path`."""
    if not has_manifest(store, labelled_directory(name)):
        known = ", ".join(finished(store, "labelled")) or "none yet; make some with visnet detector import"
        raise NotFoundError(f"no labelled photos {name} in {store.location} (there is: {known})")
    return read_manifest(store, labelled_directory(name), LabelledManifest)


def _groups(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _check(row: dict[str, Any]) -> None:
    if len(row["boxes"]) != len(row["categories"]):
        raise CatalogError(f"photo {row['photo_id']!r}: {len(row['boxes'])} boxes, {len(row['categories'])} categories")
    for box in row["boxes"]:
        try:
            check_box(box)
        except ValueError as error:
            raise CatalogError(f"photo {row['photo_id']!r}: {error}") from None
