"""What an evaluation asks of what: worked out from the catalogue before anything is computed, and named by a digest.

photos       real photos of a split, cropped to their boxes, against the shop pictures
images       every picture of a product with several, left out of its own search
synthetic    wild views made of gallery pictures, where there is nothing better
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.manifest import digest_of
from visnet.platform.pictures import Source
from visnet.platform.settings import EvaluateSettings

Kind = Literal["photos", "images", "synthetic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MADE_QUERIES = 2_000
"""How many are made of gallery pictures, unless a number is given."""
PROTOCOL = 1
"""Counts up when the same plan would ask other queries or search another gallery."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the caller wants; what is left out is chosen by what the catalogue has."""

    encoder: str
    against: tuple[str, ...] | None = None
    split: str | None = None
    where: tuple[str, str] | None = None
    whole_photo: bool = False
    kind: Kind | None = None
    device: str = "cpu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The queries and the gallery, decided."""

    kind: Kind
    split: str | None
    """The photos' split; None for the other kinds."""
    filters: tuple[tuple[str, str], ...]
    """The gallery is the shop rows for which all of these attributes have these values."""
    whole_photo: bool
    queries: int | None
    """At most so many; None for all."""
    seed: int

    def digest(self, catalog: Catalog, *, side: int) -> str:
        """Stands for the queries and the gallery: equal digests, comparable figures.

        Args:
            side: of the pictures the encoder takes; only synthetic photos are made for it.
        """
        made_for = side if self.kind == "synthetic" else None
        return digest_of(catalog.reference, dataclasses.asdict(self), made_for, PROTOCOL)

    def describe(self, *, boxes: int, of: int) -> str:
        """The queries in words.

        Args:
            boxes: how many of the `of` queries are a part of their picture.
        """
        match self.kind:
            case "photos":
                cropped = "cropped to their boxes" if boxes == of else f"{boxes:,} of {of:,} cropped to a box"
                return f"photos of the split {self.split}, {cropped if boxes else 'whole'}"
            case "images":
                return "gallery pictures, each left out of its own search"
        return "synthetic wild views of gallery products"


def make_plan(catalog: Catalog, request: Request, settings: EvaluateSettings) -> Plan:
    """Decide on queries and gallery.

    Raises:
        CatalogError: the catalogue has photos and no split was named, or none of the kind that was asked for.
        NotFoundError: no such split, or no such attribute to filter by.
    """
    has_split = "split" in catalog.manifest.attributes
    filters = [request.where] if request.where else []
    kind = request.kind or ("photos" if catalog.manifest.photos else None)
    if request.split is not None and (has_split or kind != "photos"):
        filters.append(("split", request.split))
    kind = kind or ("images" if _has_siblings(catalog, filters) else "synthetic")
    if kind == "photos":
        _check_photos(catalog, request)
    return Plan(
        kind=kind,
        split=request.split if kind == "photos" else None,
        filters=tuple(sorted(set(filters))),
        whole_photo=request.whole_photo and kind == "photos",
        queries=settings.queries or (None if kind == "photos" else MADE_QUERIES),
        seed=settings.seed,
    )


def _check_photos(catalog: Catalog, request: Request) -> None:
    name, splits = catalog.manifest.name, catalog.manifest.photo_splits
    if not catalog.manifest.photos:
        raise CatalogError(f"catalogue {name} has no photos: ask with --queries-kind images or synthetic")
    if request.split is None:
        known = ", ".join(f"{split} ({count:,})" for split, count in splits.items())
        raise CatalogError(
            f"catalogue {name} has photos in the splits {known}: say which with --split, or ask without photos by "
            "--queries-kind images or synthetic"
        )
    catalog.photos(["split"], split=request.split)  # raises where there is no such split


def shop_rows(catalog: Catalog, columns: list[str], filters: Sequence[tuple[str, str]]) -> pa.Table:
    """The gallery's rows, without pictures; raises as `Catalog.typed` does."""
    where = [(column, catalog.typed(column, value)) for column, value in filters]
    return Source(catalog.store, catalog.part_paths()).rows(columns, where)


def _has_siblings(catalog: Catalog, filters: Sequence[tuple[str, str]]) -> bool:
    """Whether a product of the gallery has several pictures."""
    product = shop_rows(catalog, ["product_id"], filters)["product_id"]
    return bool(pc.count_distinct(product).as_py() < len(product))
