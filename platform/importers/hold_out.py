"""Products that training never sees: all photos of a share of the products get a split of their own.

What is measured on them says how well a model finds products that came into the shop after it was trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.importers import Source
from visnet.platform.manifest import digest_of

HELD_OUT = "held-out"
"""The split of those photos."""


def hold_out(source: Source, *, share: float, seed: int) -> Source:
    """The same source with all photos of some products in the split `held-out`, whatever split they were in.

    Args:
        share: of the products that there are photos of, 0..1; rounded, but at least one product if over 0.
        seed: another one picks other products. With the same one, a larger share holds out the same ones and more.

    Raises:
        ValueError: a share outside of 0..1, or a source without photos.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of 0..1 of the products to hold out, got {share}")
    if (photos := source.photos) is None:
        raise ValueError(f"{source.description} has no photos: there is nothing to hold out")
    if share == 0:
        return source
    products = pa.array(sorted(chosen(source.photo_products, share=share, seed=seed)), pa.string())
    return dataclasses.replace(
        source,
        description=f"{source.description}, {len(products)} products held out (share {share:g}, seed {seed})",
        version=digest_of(source.version, HELD_OUT, share, seed),
        photos=lambda: (_moved(table, products) for table in photos()),
    )


def chosen(products: Iterable[str], *, share: float, seed: int) -> set[str]:
    """That share of the products, by the order of their hashes with the seed."""
    ordered = sorted(products, key=lambda product: hashlib.sha256(f"{seed} {product}".encode()).digest())
    return set(ordered[: max(1, round(share * len(ordered)))])


def _moved(photos: pa.Table, products: pa.Array) -> pa.Table:
    held_out = pc.is_in(photos["product_id"], value_set=products)
    splits = pc.if_else(held_out, HELD_OUT, photos["split"])
    return photos.set_column(photos.column_names.index("split"), photos.schema.field("split"), splits)
