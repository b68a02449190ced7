"""The gallery of an evaluation: the shop's usable pictures, embedded by every encoder that is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder
from visnet.platform.errors import CatalogError
from visnet.platform.pictures import Picture, Source
from visnet.train.evaluation.plan import Plan, shop_rows
from visnet.train.pictures import embed

# N usable gallery pictures, D embedding

COLUMNS = ["image_id", "product_id", "category", "content_hash"]


@dataclass(frozen=True)
class Gallery:
    """What is searched."""

    source: Source
    rows: pa.Table
    """The usable pictures, sorted by category and image_id, as a shard wants them; with `part` and `row`."""
    vectors: Mapping[str, np.ndarray]
    """(N, D) by encoder."""
    selected: pa.Table
    """All rows that the plan asks for, the unusable too, sorted likewise."""
    usable: np.ndarray
    """The numbers of the usable among them."""
    examples: list[str]
    """The first few unusable pictures, with the reason."""

    @property
    def products(self) -> np.ndarray:
        """The product of each usable picture, object (N,)."""
        return column(self.rows, "product_id")

    @property
    def categories(self) -> np.ndarray:
        return column(self.rows, "category")

    def pictures(self, numbers: list[int]) -> dict[int, Picture]:
        """A few of the usable pictures, read again."""
        distinct = np.array(sorted(set(numbers)), np.int64)
        return dict(zip(distinct.tolist(), self.source.pictures(self.rows.take(distinct)), strict=True))


def column(rows: pa.Table, name: str) -> np.ndarray:
    """A column of strings as an object array, to compare and to index."""
    return np.array(rows[name].to_pylist(), dtype=object)


def embed_gallery(catalog: Catalog, plan: Plan, encoders: Mapping[str, Encoder]) -> Gallery:
    """Stream the gallery of a plan through the encoders.

    Raises:
        CatalogError: none of its pictures is usable.
    """
    source = Source(catalog.store, catalog.part_paths())
    order = [("category", "ascending"), ("image_id", "ascending")]
    selected = shop_rows(catalog, COLUMNS, plan.filters).sort_by(order)
    ids = selected["image_id"].to_pylist()
    embedded = embed(encoders, source.stream(selected), ids=ids, what="embed the gallery")
    if not len(embedded.usable):
        filtered = " with " + ", ".join(f"{name}={value}" for name, value in plan.filters) if plan.filters else ""
        raise CatalogError(f"catalogue {catalog.reference} has no usable pictures{filtered} to evaluate on")
    rows = selected.take(embedded.usable)
    return Gallery(source, rows, embedded.vectors, selected, embedded.usable, embedded.examples)
