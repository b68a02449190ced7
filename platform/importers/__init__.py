"""Importers: one file per published format, each turning a source into tables of catalogue rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from visnet.platform.catalog_rows import Skipped

FORMATS = (
    *("fashion-mnist", "folder", "table", "pairs", "grocery-store"),
    *("street2shop", "deepfashion-inshop", "deepfashion-consumer2shop", "sop"),
)
"""Each is a module of this package, with _ for -."""
HOLD_OUT_FORMATS = ("pairs", "grocery-store", "street2shop", "deepfashion-consumer2shop")
"""Those with photos to train on: some products can be kept from training."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A catalogue's source, opened but not yet read."""

    description: str
    """Where it comes from, for the manifest."""
    version: str
    """Digest of what it holds: the same content is the same catalogue version."""
    images: int | None
    """Rows to come, photos included, for the progress bar; None if unknown."""
    batches: Callable[[], Iterator[pa.Table]]
    """Reads the shop pictures, as tables of one schema; once."""
    photos: Callable[[], Iterator[pa.Table]] | None = None
    """Reads the photos, as tables of columns of `PHOTO_FIELDS`; once. None: the format has none."""
    photo_products: frozenset[str] = frozenset()
    """The products that there are photos of."""
    skipped: list[Skipped] = field(default_factory=list)
    """What was left out or could be taken only in part; complete when both have been read."""


def open_source(format: str, path: str | None) -> Source:
    """Open a source by its format's name.

    Raises:
        CatalogError: the format needs a path, or the source can't be used; the text says what to do.
        ValueError: unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    module = importlib.import_module(f"{__name__}.{format.replace('-', '_')}")
    source: Source = module.open_source(path)
    return source
