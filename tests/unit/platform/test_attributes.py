"""Attributes in JSON and in the columns of an index."""

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from visnet.platform.attributes import attribute_names, fit_attributes, held_attributes

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("product_id", pa.string()),
        ("category", pa.string()),
        ("content_hash", pa.string()),
        ("price", pa.float64()),
        ("stock", pa.int32()),
        ("brand", pa.dictionary(pa.int32(), pa.string())),
        ("sale", pa.bool_()),
        ("since", pa.date32()),
        ("cost", pa.decimal128(6, 2)),
        ("tags", pa.list_(pa.string())),
        ("empty", pa.null()),
        ("catalog_row", pa.int64()),
    ]
)


def test_the_attributes_are_what_is_not_ours() -> None:
    assert attribute_names(SCHEMA) == ["price", "stock", "brand", "sale", "since", "cost", "tags", "empty"]


@pytest.mark.parametrize(
    ("name", "value", "fitted"),
    [
        ("price", 3, 3.0),
        ("price", None, None),
        ("stock", 7, 7),
        ("brand", "b", "b"),
        ("sale", True, True),
        ("since", "2026-01-02", datetime.date(2026, 1, 2)),
        ("cost", 1.25, Decimal("1.25")),
        ("tags", ["a", "b"], ["a", "b"]),
        ("empty", "anything", None),
    ],
)
def test_what_fits(name: str, value: Any, fitted: Any) -> None:
    assert fit_attributes({name: value}, SCHEMA) == {name: fitted}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("price", "dear"),
        ("price", True),
        ("stock", 2.5),
        ("stock", 2**40),
        ("brand", 3),
        ("sale", 1),
        ("since", "yesterday"),
        ("cost", 1.255),
        ("tags", "a"),
        ("tags", [{"a": 1}]),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"attributes\.{name}: "):
        fit_attributes({name: value}, SCHEMA)
    assert held_attributes({name: value, "stock": 1} if name != "stock" else {name: value}, SCHEMA)[name] is None


@pytest.mark.parametrize("name", ["colour", "product_id", "content_hash", "catalog_row"])
def test_what_there_is_not_is_named_with_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=rf"attributes\.{name}: there is no such attribute; there are price, stock"):
        fit_attributes({name: 1}, SCHEMA)


def test_an_index_holds_what_it_can_of_others_attributes() -> None:
    held = held_attributes({"price": 2, "colour": "red", "stock": "many"}, SCHEMA)
    assert held == dict.fromkeys(attribute_names(SCHEMA)) | {"price": 2.0}
