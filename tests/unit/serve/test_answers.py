"""From rows to products: what JSON can't hold, and ids that a URL can't hold as they are."""

import datetime
import json

import numpy as np
import pytest
from fastapi.encoders import jsonable_encoder

from visnet.platform.imaging import encode_png
from visnet.serve.answers import Clock, media_type, product_fields, result
from visnet.serve.messages import Hit


def row(**columns: object) -> dict[str, object]:
    own = {"product_id": "a/b c?#%.png", "image_id": "i", "category": "bag"}
    return {**own, "content_hash": "h", "catalog_part": 0, "catalog_row": 0, **columns}


def test_attributes_are_the_catalogues_own_columns() -> None:
    assert product_fields(row(price=3.5, brand="x"))["attributes"] == {"price": 3.5, "brand": "x"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [(float("nan"), None), (float("inf"), None), (b"\xff", "/w=="), (True, True), (None, None), (7, 7)],
)
def test_what_json_cannot_hold_is_made_plain(value: object, plain: object) -> None:
    assert product_fields(row(x=value))["attributes"]["x"] == plain


def test_a_result_is_strict_json() -> None:
    found = result(Hit(score=0.5, row=row(when=datetime.date(2026, 1, 2), weight=float("nan"))))
    encoded = json.loads(json.dumps(jsonable_encoder(found), allow_nan=False))
    assert encoded["attributes"] == {"when": "2026-01-02", "weight": None}
    assert encoded["score"] == 0.5


def test_the_picture_s_address_is_quoted() -> None:
    assert product_fields(row())["image_url"] == "/v1/products/a/b%20c%3F%23%25.png/image"


def test_media_type() -> None:
    assert media_type(encode_png(np.zeros((2, 2), np.uint8))) == "image/png"


def test_the_clock_names_its_stages() -> None:
    clock = Clock()
    clock.lap("read")
    clock.lap("search")
    times = clock.total()
    assert list(times) == ["read", "search", "total"]
    assert times["total"] >= times["read"]
