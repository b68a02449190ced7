"""Writes the rows of a catalogue as numbered Parquet parts, and counts them on the way."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.errors import CatalogError
from visnet.platform.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How large the files and the groups of rows within them get."""

    rows_per_part: int
    part_bytes: int
    """A part is closed early where its rows reach so many bytes."""
    row_group_bytes: int


@dataclass(kw_only=True)
class Written:
    """What was written."""

    rows: int = 0
    parts: list[str] = field(default_factory=list)
    """The files' names, in order."""
    products: set[int] = field(default_factory=set)
    """Hashes of the products' ids."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows by the column that was counted by, sorted."""
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))


def write_parts(
    store: Store,
    stem: str,
    tables: Iterable[pa.Table],
    *,
    what: str,
    count_by: str,
    named_by: tuple[str, ...],
    sizes: Sizes,
) -> Written:
    """Write `<stem>-00000.parquet` and so on.

    Args:
        stem: the files' path in the store without number and ending.
        tables: complete rows, all of one schema.
        what: what the rows are, for the message.
        count_by: the column whose values are counted.
        named_by: the columns that together name a row.

    Raises:
        CatalogError: a name occurs twice.
    """
    written = Written()
    name_hashes: list[np.ndarray] = []
    for rows in _regroup(tables, sizes):
        path = f"{stem}-{len(written.parts):05d}.parquet"
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, row_group_size=max(1, len(rows) * sizes.row_group_bytes // max(rows.nbytes, 1)))
        store.write(path, buffer.getvalue())
        written.parts.append(path.rpartition("/")[2])
        names = zip(*(rows[column].to_pylist() for column in named_by), strict=True)
        name_hashes.append(np.array([hash(name) for name in names]))
        _count(rows, written, count_by)
    if name_hashes and len(np.unique(np.concatenate(name_hashes))) != written.rows:
        raise CatalogError(f"an image_id occurs twice among the {what}: every one needs an id of its own")
    written.counts = dict(sorted(written.counts.items()))
    return written


def _count(rows: pa.Table, written: Written, column: str) -> None:
    written.schema = rows.schema
    written.rows += len(rows)
    written.products.update(hash(product) for product in rows["product_id"].to_pylist())
    for entry in rows[column].value_counts().to_pylist():
        written.counts[entry["values"]] = written.counts.get(entry["values"], 0) + entry["counts"]


def _regroup(tables: Iterable[pa.Table], sizes: Sizes) -> Iterator[pa.Table]:
    """The same rows in tables of about `rows_per_part` rows, or fewer where they reach `part_bytes`."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        rows = sum(len(part) for part in waiting)
        if rows >= sizes.rows_per_part or sum(part.nbytes for part in waiting) >= sizes.part_bytes:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if any(len(part) for part in waiting):
        yield pa.concat_tables(waiting).combine_chunks()
