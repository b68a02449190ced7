"""Validation on what was held out: who asks what, and that the figures are those of a plain search."""

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.encoder import Encoder
from visnet.platform.networks import make_recipe
from visnet.platform.store import Store
from visnet.train.examples import Examples, HoldOut
from visnet.train.validation import Item, Validation, ValidationPlan, plan_validation

Picture = Callable[..., bytes]
PRODUCTS = 40
PHOTOS = Examples(kind="photos", split="train", filters=())
VIEWS = Examples(kind="views", split=None, filters=())
IMAGES = Examples(kind="images", split=None, filters=())


def made(store: Store, picture: Picture, *, each: int = 1, broken: int | None = None) -> Catalog:
    """Two photos of each product: the first is the product's own picture, the second one of noise."""
    numbers = [(product, number) for product in range(PRODUCTS) for number in range(each)]
    shop = pa.table(
        {
            "image_id": [f"p{product}-{number}" for product, number in numbers],
            "product_id": [f"p{product}" for product, _ in numbers],
            "category": ["ab"[product % 2] for product, _ in numbers],
            "image": [picture(product) if product != broken else b"broken" for product, _ in numbers],
        }
    )
    photos = pa.table(
        {
            "image_id": [f"photo-{number}" for number in range(2 * PRODUCTS)],
            "product_id": [f"p{number // 2}" for number in range(2 * PRODUCTS)],
            "category": ["ab"[number // 2 % 2] for number in range(2 * PRODUCTS)],
            "split": ["train"] * (2 * PRODUCTS),
            "image": [picture(number // 2 if number % 2 == 0 else 1_000 + number) for number in range(2 * PRODUCTS)],
        }
    )
    return write_catalog(store, name="shop", version="1", source="test", batches=[shop], photos=[photos])


def planned(catalog: Catalog, examples: Examples, hold_out: HoldOut, *, most: int = 1_000) -> ValidationPlan:
    plan = plan_validation(catalog, examples, hold_out, most=most)
    assert plan is not None
    return plan


def pixels() -> Encoder:
    return Encoder(make_recipe("pixels", size=16))


@pytest.mark.parametrize("by", ["photo", "product"])
def test_held_out_photos_ask_all_shop_pictures(store: Store, picture: Picture, by: str) -> None:
    catalog = made(store, picture)
    hold_out = HoldOut(share=0.3, by=by, seed=0)  # type: ignore[arg-type]
    plan = planned(catalog, PHOTOS, hold_out)
    rows = catalog.photos(["image_id", "product_id"]).to_pylist()
    held = [r["product_id"] for r in rows if hold_out.holds(r["image_id"], r["product_id"])]
    assert sorted(query.product_id for query in plan.queries) == sorted(held)
    assert len(plan.gallery) == PRODUCTS
    assert all(query.photo for query in plan.queries)
    assert not any(item.photo for item in plan.gallery)

    recalls = Validation(catalog, plan, pixels(), seed=0)()

    copies = sum(rows[query.row]["image_id"].endswith(tuple("02468")) for query in plan.queries)
    assert recalls["recall_at_1"] >= copies / len(plan.queries) > 0  # a copy of the picture finds it
    assert recalls["recall_at_1"] <= recalls["recall_at_5"] <= recalls["recall_at_20"] < 1


def test_few_queries_search_the_right_pictures_and_as_many_others(store: Store, picture: Picture) -> None:
    plan = planned(made(store, picture), PHOTOS, HoldOut(share=0.5, by="photo", seed=0), most=5)
    right = {query.product_id for query in plan.queries}
    assert len(plan.queries) == 5
    assert right <= {item.product_id for item in plan.gallery}
    assert len(plan.gallery) == len(right) + 5


def test_views_ask_by_synthetic_photos_of_held_out_products(store: Store, picture: Picture) -> None:
    catalog = made(store, picture)
    hold_out = HoldOut(share=0.5, by="product", seed=0)
    plan = planned(catalog, VIEWS, hold_out)
    assert plan.synthetic
    assert {item.product_id for item in plan.gallery} == {
        f"p{number}" for number in range(PRODUCTS) if hold_out.holds("", f"p{number}")
    }
    validation = Validation(catalog, plan, pixels(), seed=0)
    assert validation() == validation()  # the same views each time
    assert validation()["recall_at_20"] < 1
    assert "recall_at_3" in Validation(catalog, plan, pixels(), seed=0, k=3)()


def test_pictures_ask_for_the_others_of_their_product(store: Store, picture: Picture) -> None:
    plan = planned(made(store, picture, each=3), IMAGES, HoldOut(share=0.5, by="product", seed=0))
    asked = [query.product_id for query in plan.queries]
    assert len(asked) == len(set(asked))
    assert not {(q.part, q.row) for q in plan.queries} & {(i.part, i.row) for i in plan.gallery}
    assert sorted(item.product_id for item in plan.gallery) == sorted(asked * 2)


def test_triplets_ask_by_their_held_out_anchors(
    store: Store, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = made(store, picture)
    store.make_directory("triplets/t")
    path = store.path("triplets/t/part-00000.parquet")
    monkeypatch.setattr("visnet.train.validation.triplet_paths", lambda store, triplets: [path])

    def side(name: str, row: int) -> dict[str, object]:
        return {f"{name}_image_id": f"p{row}-0", f"{name}_product_id": f"p{row}", f"{name}_part": 0, f"{name}_row": row}

    rows = [
        {**side("anchor", row), **side("positive", row), **side("negative", 39 - row), "category": "ab"[row % 2],
         "negative_category": "ab"[(39 - row) % 2], "anchor_is_photo": False, "anchor_box": None}
        for row in range(20)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path, filesystem=store.filesystem)
    hold_out = HoldOut(share=0.4, by="product", seed=0)
    plan = planned(catalog, Examples(kind="triplets", split=None, filters=(), triplets="t"), hold_out)
    held = [row for row in range(20) if hold_out.holds(f"p{row}-0", f"p{row}")]
    assert [query.row for query in plan.queries] == held
    assert {item.row for item in plan.gallery} == {*held, *(39 - row for row in held)}
    assert Validation(catalog, plan, pixels(), seed=0)()["recall_at_1"] == 1.0  # the positive is the anchor


def test_broken_pictures_are_left_out(store: Store, picture: Picture, caplog: pytest.LogCaptureFixture) -> None:
    hold_out = HoldOut(share=0.5, by="product", seed=0)
    held = next(number for number in range(PRODUCTS) if hold_out.holds("", f"p{number}"))
    catalog = made(store, picture, broken=held)
    recalls = Validation(catalog, planned(catalog, PHOTOS, hold_out), pixels(), seed=0)()
    assert "not validated on" in caplog.text
    assert np.isfinite(list(recalls.values())).all()


def test_nothing_held_out_is_no_validation(store: Store, picture: Picture, caplog: pytest.LogCaptureFixture) -> None:
    catalog = made(store, picture)
    assert plan_validation(catalog, PHOTOS, HoldOut(share=0.0, by="photo", seed=0), most=10) is None
    assert not caplog.text
    assert plan_validation(catalog, PHOTOS, HoldOut(share=1e-9, by="photo", seed=0), most=10) is None
    assert "validation_share" in caplog.text


def test_a_plan_travels_as_json() -> None:
    items = (Item(part=0, row=3, product_id="p", category="a", photo=True, box=(0.0, 0.0, 1.0, 0.5)),)
    plan = ValidationPlan(queries=items, gallery=items[:0], synthetic=False)
    assert ValidationPlan.of(asdict(plan)) == plan
    assert json.loads(json.dumps(asdict(plan)))["queries"][0]["row"] == 3
