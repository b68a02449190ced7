"""What the values of a catalogue's columns are, and how often each occurs: what a filter can be chosen from.

The rows of a built shard never change, so they are counted once; what died of them is taken off, and what came since is
added, whenever somebody asks. Counts are of images.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.filter_values import value_type
from visnet.platform.filters import fields

Kind = Literal["text", "number", "boolean", "time"]

MOST_VALUES = 1_000
"""A column with more different values is none to choose from: they are not counted."""
IDENTIFIERS = ("product_id", "image_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facet:
    """A column's values."""

    kind: Kind
    counts: Mapping[Any, int] | None
    """By value, of text and truth; None of what has an order, and where there are too many."""
    distinct: int
    """Different values, if they are counted, or as many as were seen before counting was given up; 0 for an order."""
    low: Any = None
    high: Any = None
    """The ends of what has an order; of dead rows too."""
    missing: int = 0


Facets = dict[str, Facet]


def count(rows: pa.Table) -> Facets:
    """The facets of some rows, for every column that can be filtered on but the ids."""
    return {name: _facet(rows[name]) for name in fields(rows.schema) if name not in IDENTIFIERS}


def added(parts: Iterable[Facets]) -> Facets:
    """The facets of several blocks of rows together; a column that one of them lacks counts where it is."""
    whole: Facets = {}
    for part in parts:
        for name, facet in part.items():
            whole[name] = _sum(whole[name], facet) if name in whole else facet
    return whole


def without(whole: Facets, gone: Facets) -> Facets:
    """The facets of rows that are left when some are gone; ends and too many values stay as they were."""
    return {name: _difference(facet, gone[name]) if name in gone else facet for name, facet in whole.items()}


def _facet(column: pa.ChunkedArray) -> Facet:
    kind = value_type(column.type)
    column = column if kind == column.type else column.cast(kind)
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_text(kind):
        return _counted("boolean" if pa.types.is_boolean(kind) else "text", column)
    low, high = (_plain(end.as_py()) for end in pc.min_max(column).values())
    return Facet(
        kind="time" if pa.types.is_temporal(kind) else "number",
        counts=None,
        distinct=0,
        low=low,
        high=high,
        missing=column.null_count,
    )


def _counted(kind: Kind, column: pa.ChunkedArray) -> Facet:
    values = pc.value_counts(column.drop_null())
    distinct = len(values)
    counts = None
    if distinct <= MOST_VALUES:
        counts = dict(zip(values.field(0).to_pylist(), values.field(1).to_pylist(), strict=True)) if distinct else {}
    return Facet(kind=kind, counts=counts, distinct=distinct, missing=column.null_count)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _plain(value: Any) -> Any:
    """An end as JSON can hold it."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return float(value) if value is not None and not isinstance(value, int) else value


def _sum(one: Facet, other: Facet) -> Facet:
    counts = None
    distinct = max(one.distinct, other.distinct)
    if one.counts is not None and other.counts is not None:
        counts = Counter(one.counts) + Counter(other.counts)
        distinct = len(counts)
        counts = counts if distinct <= MOST_VALUES else None
    return Facet(
        kind=one.kind,
        counts=counts,
        distinct=distinct,
        low=_end(min, one.low, other.low),
        high=_end(max, one.high, other.high),
        missing=one.missing + other.missing,
    )


def _difference(facet: Facet, gone: Facet) -> Facet:
    missing = facet.missing - gone.missing
    if facet.counts is None or gone.counts is None:
        return dataclasses.replace(facet, missing=missing)
    counts = Counter(facet.counts) - Counter(gone.counts)  # leaves out what is not there any more
    return dataclasses.replace(facet, counts=counts, distinct=len(counts), missing=missing)


def _end(choose: Any, one: Any, other: Any) -> Any:
    known = [end for end in (one, other) if end is not None and not (isinstance(end, float) and math.isnan(end))]
    return choose(known) if known else None
