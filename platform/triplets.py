"""The triplet table: anchor, positive and negative by where their pictures are in a catalogue, for training.

    triplets/<id>/part-*.parquet               rows of `SCHEMA`, a file per block of anchors
    triplets/<id>/contact-sheet-<scorer>.png   some of them, to look at
    triplets/<id>/manifest.json

The table holds no pictures: `part` and `row` say which row of which of the catalogue's files each one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from visnet.platform.errors import NotFoundError
from visnet.platform.manifest import Manifest, finished, has_manifest, read_manifest
from visnet.platform.store import Store

SCHEMA = pa.schema(
    [
        pa.field("scorer", pa.string(), nullable=False),  # whose ranking gave the positive: deep, ...; or street
        pa.field("stage", pa.string(), nullable=False),  # catalog, or street
        pa.field("category", pa.string(), nullable=False),  # of the anchor and the positive
        pa.field("anchor_image_id", pa.string(), nullable=False),
        pa.field("anchor_product_id", pa.string(), nullable=False),
        pa.field("anchor_part", pa.int32(), nullable=False),  # of the photos' files where anchor_is_photo
        pa.field("anchor_row", pa.int32(), nullable=False),
        pa.field("anchor_is_photo", pa.bool_(), nullable=False),
        pa.field("anchor_box", pa.list_(pa.field("element", pa.float32()))),  # as the catalogue's photos have it
        pa.field("positive_image_id", pa.string(), nullable=False),
        pa.field("positive_product_id", pa.string(), nullable=False),
        pa.field("positive_part", pa.int32(), nullable=False),
        pa.field("positive_row", pa.int32(), nullable=False),
        pa.field("positive_rank", pa.int32(), nullable=False),  # 1: the nearest; 0: a picture of the anchor's product
        pa.field("negative_image_id", pa.string(), nullable=False),
        pa.field("negative_product_id", pa.string(), nullable=False),
        pa.field("negative_category", pa.string(), nullable=False),
        pa.field("negative_part", pa.int32(), nullable=False),
        pa.field("negative_row", pa.int32(), nullable=False),
        pa.field("negative_kind", pa.string(), nullable=False),  # in-class, or out-of-class
        # by the row's scorer; by the street negatives' scorer from the positive; null for out-of-class
        pa.field("negative_rank", pa.int32()),
    ]
)
STREET = "street"
CATALOG = "catalog"
IN_CLASS = "in-class"
OUT_OF_CLASS = "out-of-class"


@dataclass(frozen=True, kw_only=True)
class TripletsManifest(Manifest):
    """How a triplet table was drawn, and what is in it."""

    triplets: str
    """Its id."""
    catalog: str
    catalog_version: str
    filters: dict[str, str]
    """Only shop pictures with these values are in it."""
    photo_split: str | None
    """The split of the street anchors; None: there are none."""
    seed: int
    settings: dict[str, Any]
    scorers: dict[str, dict[str, Any]]
    """By scorer: its recipe, its digest and the pretrained weights it has."""
    similarities: str
    """The scorers' vectors that it was drawn with."""
    pictures: int
    """Usable shop pictures that it was drawn from."""
    parts: list[str]
    rows: int
    counts: dict[str, dict[str, int]]
    """Rows by stage, scorer, kind and category."""
    skipped: dict[str, int]
    """What gave no triplet, or fewer, with the reason; each says first what is counted."""
    notes: list[str]
    """What is not as one would expect it, such as a catalogue with one category."""


def triplets_directory(triplets: str) -> str:
    return f"triplets/{triplets}"


def read_triplets(store: Store, triplets: str) -> TripletsManifest:
    """The manifest of a triplet table.

    Raises:
        NotFoundError: there is none of that id; the text lists what there is.
    """
    if not has_manifest(store, triplets_directory(triplets)):
        known = ", ".join(finished(store, "triplets")) or "none yet; make one with visnet triplets"
        raise NotFoundError(f"no triplets {triplets} in {store.location} (there is: {known})")
    return read_manifest(store, triplets_directory(triplets), TripletsManifest)


def triplet_paths(store: Store, triplets: str) -> list[str]:
    """Paths of the table's files for `store.filesystem`; raises as `read_triplets` does."""
    directory = triplets_directory(triplets)
    return [store.path(f"{directory}/{part}") for part in read_triplets(store, triplets).parts]
