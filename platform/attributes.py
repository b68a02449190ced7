"""A product's attributes as a shop writes them, in JSON, and as the columns of an index hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from visnet.platform.filter_values import fit_values, is_filterable, value_type

NOT_ATTRIBUTES = ("image_id", "product_id", "category", "content_hash", "catalog_part", "catalog_row")
"""Columns of an index that a product has anyway."""


def attribute_names(schema: pa.Schema) -> list[str]:
    """The catalogue's further columns."""
    return [name for name in schema.names if name not in NOT_ATTRIBUTES]


def fit_attributes(attributes: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """Attributes in the types of their columns; null is missing.

    Args:
        schema: of the rows of an index.

    Raises:
        ValueError: there is no such attribute, or its column can't hold the value; the text names it.
    """
    known = attribute_names(schema)
    if unknown := [name for name in attributes if name not in known]:
        raise ValueError(f"attributes.{unknown[0]}: there is no such attribute; there are {', '.join(known) or 'none'}")
    return {name: _fit(name, value, schema.field(name).type) for name, value in attributes.items()}


def held_attributes(attributes: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """What an index of another schema than they were written for can hold of them."""
    held = {}
    for name in attribute_names(schema):
        try:
            held[name] = _fit(name, attributes.get(name), schema.field(name).type)
        except ValueError:
            held[name] = None
    return held


def _fit(name: str, value: Any, column: pa.DataType) -> Any:
    kind = value_type(column)
    if value is None or pa.types.is_null(kind):
        return None
    try:
        if is_filterable(kind):
            return fit_values([value], kind)[0]
        if pa.types.is_list(kind) and not isinstance(value, list):
            raise ValueError(f"expected a list, got {value!r}")
        return pa.scalar(value, kind).as_py()
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"attributes.{name}: {error} (a column of {kind})") from None
