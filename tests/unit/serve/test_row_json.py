"""From rows to JSON: what JSON can't hold, ids that a URL can't hold as they are, and what is kept."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pytest

from tests.unit.serve.shops import live_shard
from visnet.platform.live_shard import Remove, Replace
from visnet.serve import row_json
from visnet.serve.row_json import RowJson, row_fields


def fields(**columns: object) -> dict[str, object]:
    own = {"product_id": "a/b c?#%.png", "image_id": "i", "category": "bag"}
    row = {**own, "content_hash": "h", "catalog_part": 0, "catalog_row": 0, **columns}
    parsed: dict[str, object] = json.loads(b"{%b}" % row_fields(row))
    return parsed


def test_attributes_are_the_catalogues_own_columns() -> None:
    assert fields(price=3.5, brand="x")["attributes"] == {"price": 3.5, "brand": "x"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (b"\xff", "/w=="),
        (True, True),
        (None, None),
        (7, 7),
        (Decimal("1.5"), 1.5),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(seconds=1), "0:00:01"),
        ([1, 2], [1, 2]),
    ],
)
def test_what_json_cannot_hold_is_made_plain(value: object, plain: object) -> None:
    assert fields(x=value)["attributes"] == {"x": plain}


def test_the_picture_s_address_is_quoted() -> None:
    assert fields()["image_url"] == "/v1/products/a/b%20c%3F%23%25.png/image?image_id=i&v=h"
    assert fields(image_id="a/b c?#%.png")["image_url"] == "/v1/products/a/b%20c%3F%23%25.png/image?v=h"


def test_rows_and_products_are_those_of_the_shard() -> None:
    shard = live_shard(12)
    rows = RowJson(shard)
    everyone = np.arange(12)
    for _ in range(2):  # made, then kept
        assert rows.products(everyone) == [row["product_id"] for row in shard.rows_at(everyone)]
        assert rows.fields(everyone) == [row_fields(row) for row in shard.rows_at(everyone)]
    shown = rows.product("p3")
    assert shown is not None
    assert shown.row["product_id"] == "p3"
    assert rows.product("nobody") is None


def test_what_changed_is_forgotten() -> None:
    shard = live_shard(12)
    rows = RowJson(shard)
    assert b'"category":"moved"' not in rows.product("p3").fields  # type: ignore[union-attr]
    rows.fields(np.arange(12))
    changed = {"product_id": "p3", "image_id": "n", "category": "moved", "content_hash": "0" * 32}
    vector_ND = np.eye(1, shard.dimension, dtype=np.float32)
    rows.forget(shard.apply([Replace(product_id="p3", rows=[changed], vector_ND=vector_ND)]), ["p3"])
    assert b'"category":"moved"' in rows.product("p3").fields  # type: ignore[union-attr]
    assert b'"category":"moved"' in rows.fields(shard.rows_of("p3"))[0]
    rows.forget(shard.apply([Remove(product_id="p3")]), ["p3"])
    assert rows.product("p3") is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_json, "KEPT", 4)
    shard = live_shard(12)
    rows = RowJson(shard)
    for start in (0, 3, 6, 9, 2):
        some = np.arange(start, start + 3)
        assert rows.products(some) == [row["product_id"] for row in shard.rows_at(some)]
    for product in range(12):
        assert rows.product(f"p{product}") is not None
    assert len(rows._products) <= 4
