"""Filters: what a hit must, may and must not be, as plain values that a search takes along.

    Filter(must=(Condition(field="category", any_of=("shoes",)), Condition(field="price", lte=80)))

A missing value satisfies no condition, so `must_not` keeps it; NaN counts as missing. Filters are hashable: queries
with equal ones are searched together. `check` comes first: it puts values into the column's type, which `mask` trusts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.errors import FilterError
from visnet.platform.filter_values import Bounds, Scalar, fit_bounds, fit_values, is_filterable, value_type

# N rows

NOT_ATTRIBUTES = ("content_hash", "catalog_part", "catalog_row")
"""Columns of an index that say where an image is, not what it shows."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Something that is true of a row or not; all that is given must hold."""

    field: str
    """category, product_id, image_id or an attribute."""
    any_of: tuple[Scalar, ...] | None = None
    """It is one of these. None of them: nothing holds."""
    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    @property
    def bounds(self) -> Bounds:
        return Bounds(gt=self.gt, gte=self.gte, lt=self.lt, lte=self.lte)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Conditions on a row."""

    must: tuple[Condition, ...] = ()
    """All of these hold."""
    should: tuple[Condition, ...] = ()
    """At least one of these holds, if there are any."""
    must_not: tuple[Condition, ...] = ()
    """None of these holds."""

    @property
    def is_empty(self) -> bool:
        """True if every row passes."""
        return not (self.must or self.should or self.must_not)


def check(filter: Filter, schema: pa.Schema) -> Filter:
    """The filter with its values in the types of the columns.

    What an integer or decimal column can't hold is a bound nevertheless: above 2.5 is from 3 on.

    Args:
        schema: of the rows of an index.

    Raises:
        FilterError: there is no such field, or a value or an operator that does not fit its type.
    """
    groups = {name: getattr(filter, name) for name in ("must", "should", "must_not")}
    return Filter(**{name: tuple(_checked(one, schema) for one in group) for name, group in groups.items()})


def fields(schema: pa.Schema) -> list[str]:
    """The fields that can be filtered on."""
    return [field.name for field in schema if field.name not in NOT_ATTRIBUTES and is_filterable(field.type)]


def mask(filter: Filter, table: pa.Table) -> np.ndarray:
    """Which rows pass, bool (N,).

    Args:
        filter: as `check` returns it for this table's schema.
    """
    kept_N = np.ones(len(table), bool)
    for condition in filter.must:
        kept_N &= _holds(condition, table[condition.field])
    if filter.should:
        kept_N &= np.logical_or.reduce([_holds(condition, table[condition.field]) for condition in filter.should])
    for condition in filter.must_not:
        kept_N &= ~_holds(condition, table[condition.field])
    return kept_N


def categories(filter: Filter) -> tuple[str, ...] | None:
    """The categories that every passing row is one of; None: any. What `rest` leaves must hold besides."""
    named = [condition.any_of for condition in filter.must if _names_categories(condition)]
    if not named:
        return None
    return tuple(name for name in dict.fromkeys(named[0] or ()) if all(name in (other or ()) for other in named))  # type: ignore[misc]


def rest(filter: Filter) -> Filter:
    """The filter without what `categories` says."""
    must = tuple(condition for condition in filter.must if not _names_categories(condition))
    return dataclasses.replace(filter, must=must)


def _names_categories(condition: Condition) -> bool:
    return condition.field == "category" and condition.any_of is not None and condition.bounds == Bounds()


def _checked(condition: Condition, schema: pa.Schema) -> Condition:
    name, known = condition.field, fields(schema)
    if name not in known:
        found = f"{name!r} is {schema.field(name).type} and" if name in schema.names else f"there is no field {name!r}:"
        raise FilterError(f"filter: {found} can't be filtered on; fields: {', '.join(known)}")
    if condition.any_of is None and condition.bounds == Bounds():
        raise FilterError(f"filter on {name!r}: expected any_of, gt, gte, lt or lte, got none of them")
    kind = value_type(schema.field(name).type)
    try:
        any_of = None if condition.any_of is None else fit_values(condition.any_of, kind)
        bounds = fit_bounds(condition.bounds, kind)
    except ValueError as error:
        raise FilterError(f"filter on {name!r}, a column of {kind}: {error}") from None
    if bounds is None:
        return Condition(field=name, any_of=())
    return Condition(field=name, any_of=any_of, **bounds._asdict())


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": pc.greater,
    "gte": pc.greater_equal,
    "lt": pc.less,
    "lte": pc.less_equal,
}


def _holds(condition: Condition, column: pa.ChunkedArray) -> np.ndarray:
    holds_N = np.ones(len(column), bool)
    column = _comparable(column)
    if pa.types.is_null(column.type):
        return ~holds_N
    if condition.any_of is not None:
        holds_N &= pc.is_in(column, value_set=_value_set(condition.any_of, column.type)).to_numpy()
    for name, value in condition.bounds._asdict().items():
        if value is not None:
            compared = _COMPARE[name](column, pa.scalar(value, _scalar_type(column.type)))
            holds_N &= pc.fill_null(compared, False).to_numpy()
    return holds_N


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a type that Arrow compares: neither a dictionary nor float16."""
    kind = value_type(column.type)
    kind = pa.float32() if pa.types.is_float16(kind) else kind
    return column if kind == column.type else column.cast(kind)


def _value_set(values: tuple[Scalar, ...], kind: pa.DataType) -> pa.Array:
    """The values to be among; a zero of both signs, which Arrow tells apart."""
    if pa.types.is_floating(kind) and 0 in values:
        values = (*values, 0.0, -0.0)
    return pa.array(values, kind)


def _scalar_type(kind: pa.DataType) -> pa.DataType:
    """Timestamps are compared in microseconds, however coarse the column's are."""
    return pa.timestamp("us", kind.tz) if pa.types.is_timestamp(kind) else kind
