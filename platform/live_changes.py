"""What changes in a live shard: products that are put in the place of what they were, and products that go."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.content import short_keys
from visnet.platform.filter_values import fit_values, value_type

# N rows, D embedding

NEEDED = ("image_id", "product_id", "category", "content_hash")


@dataclass(frozen=True, kw_only=True, eq=False)
class Replace:
    """A product as it is from now on: all its images, in the place of all it had."""

    product_id: str
    rows: Sequence[Mapping[str, Any]]
    """A row for each image: image_id, product_id, category, content_hash and attributes; a missing one is null."""
    vector_ND: np.ndarray
    """Unit vectors of the rows, float16 or float32."""


@dataclass(frozen=True, kw_only=True)
class Remove:
    """A product that is no more."""

    product_id: str


Change = Replace | Remove


@dataclass(frozen=True, eq=False)
class Incoming:
    """Rows that come in, each product's one after the other."""

    rows: pa.Table
    vector_ND: np.ndarray
    """float16: what comes in is as exact as what an index stores, so that a product scores the same in both."""
    content_N: np.ndarray
    products: list[tuple[str, int]]
    """Products and how many rows each has, at least one."""


def live_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a live shard's new rows: an index's, with what dictionaries stand for."""
    return pa.schema([field.with_type(value_type(field.type)) for field in schema])


def gather(changes: Iterable[Change], schema: pa.Schema, dimension: int) -> Incoming:
    """The rows of all products that are replaced.

    Args:
        schema: as `live_schema` gives it. Attributes that it lacks are left out.

    Raises:
        ValueError: rows and vectors do not belong together, or a row lacks something or has what does not fit.
    """
    replaced = [change for change in changes if isinstance(change, Replace) and change.rows]
    for change in replaced:
        _check(change, dimension)
    rows = rows_table([row for change in replaced for row in change.rows], schema)
    vectors = [np.asarray(change.vector_ND, np.float16) for change in replaced]
    return Incoming(
        rows,
        np.concatenate([*vectors, np.empty((0, dimension), np.float16)]),
        short_keys(rows["content_hash"]),
        [(change.product_id, len(change.rows)) for change in replaced],
    )


def rows_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as columns of these types; numbers may stand for decimals, and ISO 8601 for dates and times.

    Raises:
        ValueError: with the name of a column and what did not fit it.
    """
    columns = [_column(field, [row.get(field.name) for row in rows]) for field in schema]
    return pa.table(columns, schema=schema)


def _check(change: Replace, dimension: int) -> None:
    name = f"product {change.product_id!r}"
    if change.vector_ND.shape != (len(change.rows), dimension):
        expected = (len(change.rows), dimension)
        raise ValueError(f"{name}: expected vectors of shape {expected}, got {change.vector_ND.shape}")
    if not np.isfinite(change.vector_ND).all():
        raise ValueError(f"{name}: expected unit vectors, got some that are not numbers")
    for row in change.rows:
        if missing := [column for column in NEEDED if row.get(column) is None]:
            raise ValueError(f"{name}: a row lacks {', '.join(missing)}")
        if row["product_id"] != change.product_id:
            raise ValueError(f"{name}: a row is of product {row['product_id']!r}")


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    kind = field.type
    if pa.types.is_decimal(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        values = [_fitted(field, value) if isinstance(value, (str, int, float)) else value for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {field.name!r} of {kind}: {error}") from None


def _fitted(field: pa.Field, value: Any) -> Decimal | datetime.date:
    try:
        fitted: Any = fit_values([value], field.type)[0]
    except ValueError as error:
        raise ValueError(f"column {field.name!r} of {field.type}: {error}") from None
    return fitted
