"""What training learns from: which anchors, what is positive to them, and what is held out to validate on.

photos     a street photo of a product, and a shop picture of it
images     a shop picture of a product, and another one of it
views      a synthetic wild view of a shop picture, and the picture itself
triplets   the rows of a triplet table: anchor, positive and negative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.partition import product_hash
from visnet.platform.pictures import Source

Kind = Literal["photos", "images", "views", "triplets"]
SEVERAL = 1.5
"""Pictures per product from which on a catalogue without photos is learned from by its own pictures."""


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """The part of the examples that is not learned from."""

    share: float
    by: Literal["photo", "product"]
    seed: int

    def holds(self, image_id: str, product_id: str) -> bool:
        """Whether an anchor is held out: the same for the same ids, whoever asks."""
        key = image_id if self.by == "photo" else product_id
        return product_hash(f"{self.seed}/{key}") < self.share * 2**64


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of a training, decided."""

    kind: Kind
    split: str | None
    """Of the photos; None for the other kinds."""
    filters: tuple[tuple[str, str], ...]
    """Shop pictures for which all of these attributes have these values are learned from."""
    triplets: str | None = None
    """The triplet table's id."""


def plan_examples(
    catalog: Catalog,
    *,
    split: str | None = None,
    where: tuple[str, str] | None = None,
    kind: Kind | None = None,
    triplets: str | None = None,
) -> Examples:
    """Decide what to learn from by what the catalogue has.

    Args:
        split: of the photos, and of the shop pictures where they have a column `split`.
        where: only shop pictures of which this attribute has this value.
        kind: None to choose: triplets if a table is named, else photos, images or views.

    Raises:
        CatalogError: the catalogue has not what that kind needs, or has photos and no split was named.
        NotFoundError: no such split or attribute.
    """
    if (kind == "triplets") != (triplets is not None) and kind is not None:
        raise CatalogError("to learn from triplets, name their table with --triplets; with it, no other --examples")
    if triplets and (split or where):
        raise CatalogError("a triplet table says by itself what is learned from: leave out --split and --where")
    filters = [where] if where else []
    kind = kind or ("triplets" if triplets else "photos" if catalog.manifest.photos else None)
    if split is not None and ("split" in catalog.manifest.attributes or kind != "photos"):
        filters.append(("split", split))
    if kind == "photos":
        _check_photos(catalog, split)
    for column, value in filters:
        catalog.typed(column, value)
    kind = kind or ("images" if catalog.manifest.images >= SEVERAL * catalog.manifest.products else "views")
    return Examples(
        kind=kind,
        split=split if kind == "photos" else None,
        filters=tuple(sorted(set(filters))),
        triplets=triplets,
    )


def _check_photos(catalog: Catalog, split: str | None) -> None:
    name, splits = catalog.manifest.name, catalog.manifest.photo_splits
    if not catalog.manifest.photos:
        raise CatalogError(
            f"catalogue {name} has no street photos: learn from its pictures, --examples images or views"
        )
    if split is None:
        known = ", ".join(f"{known} ({count:,})" for known, count in splits.items())
        raise CatalogError(
            f"catalogue {name} has photos in the splits {known}: say with --split which to learn from, or leave them "
            "out with --examples images or views"
        )
    catalog.photos(["split"], split=split)  # raises where there is no such split


@dataclass(frozen=True)
class ProductRows:
    """Where the shop pictures of each product are, in arrays that workers can share: 24 bytes a picture."""

    hash_N: np.ndarray
    """uint64 product hashes, rising."""
    image_N: np.ndarray
    """uint64 image hashes."""
    part_N: np.ndarray
    row_N: np.ndarray

    def of(self, product_id: str, *, besides: str = "") -> list[tuple[int, int]]:
        """(part, row) of each picture of a product in the catalogue's order, but for the image_id `besides`.

        Where that is the only one, it is given after all.
        """
        wanted = np.uint64(product_hash(product_id))
        first, last = (int(np.searchsorted(self.hash_N, wanted, side=side)) for side in ("left", "right"))
        other = np.flatnonzero(self.image_N[first:last] != np.uint64(product_hash(besides))) + first
        found = other if len(other) else np.arange(first, last)
        return [(int(self.part_N[place]), int(self.row_N[place])) for place in found]


def product_rows(catalog: Catalog, filters: tuple[tuple[str, str], ...]) -> ProductRows:
    """Where each product's shop pictures are, of those that fit the filters.

    Raises:
        CatalogError: none fits.
    """
    where = [(column, catalog.typed(column, value)) for column, value in filters]
    rows = shop_source(catalog).rows(["product_id", "image_id"], where)
    if not len(rows):
        wanted = ", ".join(f"{column}={value}" for column, value in filters)
        raise CatalogError(f"catalogue {catalog.reference} has no shop pictures with {wanted}")
    hash_N, image_N = (
        np.array([product_hash(value) for value in rows[column].to_pylist()], np.uint64)
        for column in ("product_id", "image_id")
    )
    part_N, row_N = (rows[column].to_numpy().astype(np.int32) for column in ("part", "row"))
    order_N = np.argsort(hash_N, kind="stable")
    return ProductRows(hash_N[order_N], image_N[order_N], part_N[order_N], row_N[order_N])


def shop_source(catalog: Catalog) -> Source:
    """The shop pictures' files."""
    return Source(catalog.store, catalog.part_paths())


def photo_source(catalog: Catalog) -> Source:
    """The street photos' files."""
    return Source(catalog.store, catalog.photo_paths())
