"""Importers: one file per published format, each turning a source into tables of catalogue rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

FORMATS = ("fashion-mnist", "folder", "table")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A catalogue's source, opened but not yet read."""

    description: str
    """Where it comes from, for the manifest."""
    version: str
    """Digest of what it holds: the same content is the same catalogue version."""
    images: int | None
    """Rows to come, for the progress bar; None if unknown."""
    batches: Callable[[], Iterator[pa.Table]]
    """Reads the rows, as tables of one schema."""


def open_source(format: str, path: str | None) -> Source:
    """Open a source by its format's name.

    Raises:
        CatalogError: the format needs a path, or the source can't be used; the text says what to do.
        ValueError: unknown format.
    """
    from visnet.platform.importers import fashion_mnist, folder, table

    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    openers = dict(zip(FORMATS, (fashion_mnist.open_source, folder.open_source, table.open_source), strict=True))
    return openers[format](path)
