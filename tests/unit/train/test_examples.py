"""What is learned from: chosen by what the catalogue has, decoded with its positives, with a part held out."""

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.imaging import Preprocessing
from visnet.platform.store import Store
from visnet.train.decode import DecodePairs, DecodeTriplets, DecodeViews, signed_hash
from visnet.train.examples import Examples, HoldOut, photo_source, plan_examples, product_rows, shop_source

Picture = Callable[..., bytes]
NOTHING = HoldOut(share=0.0, by="photo", seed=0)
SIDE = 16
PRODUCTS = 6


def shop_rows(picture: Picture, *, each: int = 1) -> pa.Table:
    """`each` pictures of every product; the split of the last two products is test."""
    numbers = [(product, number) for product in range(PRODUCTS) for number in range(each)]
    return pa.table(
        {
            "image_id": [f"p{product}-{number}" for product, number in numbers],
            "product_id": [f"p{product}" for product, _ in numbers],
            "category": ["a" if product % 2 else "b" for product, _ in numbers],
            "image": [picture(10 * product + number) for product, number in numbers],
            "split": ["test" if product >= 4 else "train" for product, _ in numbers],
        }
    )


def photo_rows(picture: Picture) -> pa.Table:
    """Two photos of every product and one of an unknown one; the first is boxed, the last of all is broken."""
    rows = [
        {
            "image_id": f"street-{number}",
            "product_id": f"p{number % PRODUCTS}" if number < 12 else "unknown",
            "category": "a" if number % 2 else "b",
            "split": "train" if number % 5 else "val",
            "image": picture(200 + number) if number != 11 else b"broken",
            "box": [0.0, 0.0, 0.5, 1.0] if number == 1 else None,
        }
        for number in range(13)
    ]
    return pa.Table.from_pylist(rows)


def catalog(store: Store, rows: pa.Table, photos: pa.Table | None = None) -> Catalog:
    given = [photos] if photos is not None else []
    return write_catalog(store, name="shop", version="1", source="test", batches=[rows], photos=given)


@pytest.fixture
def street(store: Store, picture: Picture) -> Catalog:
    return catalog(store, shop_rows(picture).drop_columns(["split"]), photo_rows(picture))


def test_photos_are_learned_from_if_there_are_any(street: Catalog) -> None:
    plan = plan_examples(street, split="train")
    assert plan == Examples(kind="photos", split="train", filters=())


def test_photos_need_their_split_named(street: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"train \(10\), val \(3\).*--split"):
        plan_examples(street)
    with pytest.raises(NotFoundError, match="train, val"):
        plan_examples(street, split="test")
    assert plan_examples(street, kind="views").kind == "views"


def test_a_split_also_filters_shop_pictures_that_have_one(store: Store, picture: Picture) -> None:
    made = catalog(store, shop_rows(picture), photo_rows(picture))
    assert plan_examples(made, split="train").filters == (("split", "train"),)
    assert len(product_rows(made, (("split", "train"),)).hash_N) == 4


@pytest.mark.parametrize(("each", "kind"), [(1, "views"), (3, "images")])
def test_without_photos_the_pictures_per_product_decide(store: Store, picture: Picture, each: int, kind: str) -> None:
    made = catalog(store, shop_rows(picture, each=each))
    assert plan_examples(made).kind == kind
    assert plan_examples(made, where=("category", "a")).filters == (("category", "a"),)
    with pytest.raises(CatalogError, match="no street photos"):
        plan_examples(made, kind="photos", split="train")
    with pytest.raises(NotFoundError, match="brand"):
        plan_examples(made, where=("brand", "x"))


def test_a_filter_that_nothing_fits_is_an_error(store: Store, picture: Picture) -> None:
    made = catalog(store, shop_rows(picture))
    with pytest.raises(CatalogError, match="no shop pictures with category=c"):
        product_rows(made, (("category", "c"),))


def test_what_is_held_out_follows_from_the_ids_alone() -> None:
    ids = [(f"image-{number}", f"product-{number // 10}") for number in range(5_000)]
    by_photo = HoldOut(share=0.2, by="photo", seed=1)
    held = {image for image, product in ids if by_photo.holds(image, product)}
    assert 0.17 < len(held) / len(ids) < 0.23
    other = {image for image, product in ids if replace(by_photo, seed=2).holds(image, product)}
    assert held != other
    by_product = HoldOut(share=0.2, by="product", seed=1)
    whole = {product: {by_product.holds(image, p) for image, p in ids if p == product} for _, product in ids[::100]}
    assert all(len(answers) == 1 for answers in whole.values())
    assert not any(NOTHING.holds(*pair) for pair in ids)


def expected(data: bytes, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    return Preprocessing(resize=SIDE, crop=SIDE).pixels(data, box=box)


def pairs(made: Catalog) -> DecodePairs:
    rows = product_rows(made, ())
    return DecodePairs(made, side=SIDE, hold_out=NOTHING, products=lambda: rows)


def test_a_photo_comes_with_a_shop_picture_of_its_product(
    street: Catalog, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    found = pairs(street)(street.photos(list(DecodePairs.PHOTO_COLUMNS)))
    numbers = [number for number in range(13) if number < 11]  # 11 is broken, 12 of an unknown product
    assert found["product"].tolist() == [signed_hash(f"p{number % PRODUCTS}") for number in numbers]
    for row, number in enumerate(numbers):
        box = (0.0, 0.0, 0.5, 1.0) if number == 1 else None
        assert np.array_equal(found["anchor"][row], expected(picture(200 + number), box))
        assert np.array_equal(found["positive"][row], expected(picture(10 * (number % PRODUCTS))))
    assert found["category"].tolist() == [0 if number % 2 else 1 for number in numbers]
    assert "not trained on" in caplog.text


def test_held_out_photos_are_left_out(street: Catalog) -> None:
    rows = street.photos(list(DecodePairs.PHOTO_COLUMNS))
    hold_out = HoldOut(share=0.5, by="photo", seed=0)
    products = product_rows(street, ())
    found = DecodePairs(street, side=SIDE, hold_out=hold_out, products=lambda: products)(rows)
    kept = [r for r in rows.to_pylist()[:11] if not hold_out.holds(r["image_id"], r["product_id"])]
    assert 0 < len(found["product"]) == len(kept) < 11


def test_a_picture_comes_with_another_one_of_its_product(store: Store, picture: Picture) -> None:
    made = catalog(store, shop_rows(picture, each=3))
    found = pairs(made)(made.read(list(DecodePairs.IMAGE_COLUMNS)))
    assert len(found["product"]) == 3 * PRODUCTS
    for row in range(3 * PRODUCTS):
        siblings = [expected(picture(10 * (row // 3) + number)) for number in range(3) if number != row % 3]
        assert any(np.array_equal(found["positive"][row], sibling) for sibling in siblings)


def test_a_products_only_picture_is_its_own_positive(store: Store, picture: Picture) -> None:
    made = catalog(store, shop_rows(picture))
    found = pairs(made)(made.read(list(DecodePairs.IMAGE_COLUMNS)))
    assert np.array_equal(found["anchor"], found["positive"])


def test_views_are_the_pictures_themselves(store: Store, picture: Picture) -> None:
    made = catalog(store, shop_rows(picture))
    rows = made.read(list(DecodeViews.COLUMNS))
    found = DecodeViews(made, side=SIDE, hold_out=NOTHING)(rows)
    assert np.array_equal(found["positive"][2], expected(picture(20)))
    half = DecodeViews(made, side=SIDE, hold_out=NOTHING, share=0.5)(rows)
    assert 0 <= len(half["product"]) < PRODUCTS
    nothing = DecodeViews(made, side=SIDE, hold_out=HoldOut(share=1.0, by="product", seed=0))(rows)
    assert nothing["positive"].shape == (0, SIDE, SIDE, 3)


def test_triplets_are_read_by_their_places(street: Catalog, picture: Picture) -> None:
    shop = shop_source(street).rows(["image_id", "product_id"]).to_pylist()
    photos = photo_source(street).rows(["image_id", "product_id"]).to_pylist()

    def side(name: str, row: dict[str, object]) -> dict[str, object]:
        return {f"{name}_{key}": row[key] for key in ("image_id", "product_id", "part", "row")}

    def triplet(anchor: dict[str, object], *, photo: bool, box: list[float] | None) -> dict[str, object]:
        fixed = {"category": "b", "negative_category": "a", "anchor_is_photo": photo, "anchor_box": box}
        return {**side("anchor", anchor), **side("positive", shop[2]), **side("negative", shop[3]), **fixed}

    rows = pa.Table.from_pylist(
        [
            triplet(shop[0], photo=False, box=None),
            triplet(photos[1], photo=True, box=[0.0, 0.0, 0.5, 1.0]),
            triplet(photos[11], photo=True, box=None),  # broken
        ]
    )
    found = DecodeTriplets(street, side=SIDE, hold_out=NOTHING)(rows)
    assert np.array_equal(found["anchor"][0], expected(picture(0)))
    assert np.array_equal(found["anchor"][1], expected(picture(201), (0.0, 0.0, 0.5, 1.0)))
    assert np.array_equal(found["positive"][1], expected(picture(20)))
    assert np.array_equal(found["negative"][1], expected(picture(30)))
    assert found["product"].tolist() == [signed_hash("p0"), signed_hash("p1")]
    assert found["negative_product"].tolist() == [signed_hash("p3")] * 2
    assert (found["category"].tolist(), found["negative_category"].tolist()) == ([1, 1], [0, 0])


def test_decoders_travel_to_other_processes(street: Catalog) -> None:
    decoder = DecodeViews(street, side=SIDE, hold_out=NOTHING)
    rows = street.read(list(DecodeViews.COLUMNS))
    again = pickle.loads(pickle.dumps(decoder))
    assert np.array_equal(again(rows)["positive"], decoder(rows)["positive"])
