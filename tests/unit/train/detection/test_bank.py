"""What scenes are made of: few of each category, the same for the same seed, and some products held out."""

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.errors import CatalogError
from visnet.platform.partition import product_hash
from visnet.platform.settings import DetectorSettings
from visnet.platform.store import Store
from visnet.train.detection import bank as bank_module
from visnet.train.detection.bank import CLUTTER_SIDE, LONGEST, PIXELS, Bank, Banks, choose, make_banks

CLASSES = ["bag", "hat", "shoe"]
SIDE = 40
COMMON = 24


def shop_picture(number: int) -> bytes:
    """A coloured block on white, of a size of its own."""
    image = Image.new("RGB", (50, 50), (255, 255, 255))
    colour = tuple(int(one) for one in np.random.default_rng(number).integers(0, 180, 3))
    image.paste(colour, (10, 8, 30 + number % 10, 42))
    return png(image)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def noise(number: int, side: int = 30) -> bytes:
    return png(Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)))


def shop_row(number: int, category: str, image: bytes | None = None) -> dict[str, Any]:
    return {
        "image_id": f"i{number}",
        "product_id": f"p{number // 2}",  # each product has two pictures
        "category": category,
        "image": image or shop_picture(number),
        "color": "red" if number % 3 else "blue",
    }


def catalog(store: Store, rows: list[dict[str, Any]], photos: Iterable[pa.Table] = ()) -> Catalog:
    batches = [pa.Table.from_pylist(rows)]
    return write_catalog(store, name="shop", version="1", source="test", batches=batches, photos=photos)


@pytest.fixture
def shop(store: Store) -> Catalog:
    """Many bags, few hats, a pair of shoes."""
    numbers = [("bag", COMMON), ("hat", 6), ("shoe", 2)]
    categories = [category for category, count in numbers for _ in range(count)]
    return catalog(store, [shop_row(number, category) for number, category in enumerate(categories)])


@pytest.fixture(autouse=True)
def _plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of tasks on a cluster."""

    def run_tasks(job: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        return map(job, jobs)

    monkeypatch.setattr(bank_module, "run_tasks", run_tasks)
    monkeypatch.setattr(bank_module, "TASK_ROWS", 5)


def banks(catalog: Catalog, *, split: str | None = None, where: Any = (), **settings: Any) -> Banks:
    chosen = DetectorSettings(**{"validation_share": 0.3, **settings})
    return make_banks(catalog, where, CLASSES, chosen, side=SIDE, split=split)


def table(counts: dict[str, int]) -> pa.Table:
    names = [name for name, count in counts.items() for _ in range(count)]
    return pa.table({"image_id": [f"i{number}" for number in range(len(names))], "category": names})


def counts(rows: pa.Table, chosen: np.ndarray) -> dict[str, int]:
    return dict(Counter(rows.take(chosen)["category"].to_pylist()))


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (6, {"bag": 2, "hat": 2, "shoe": 2}),
        (16, {"bag": 7, "hat": 7, "shoe": 2}),
        (30, {"bag": 18, "hat": 10, "shoe": 2}),
        (112, {"bag": 100, "hat": 10, "shoe": 2}),
        (999, {"bag": 100, "hat": 10, "shoe": 2}),
        (1, None),
    ],
)
def test_each_category_has_as_many_as_it_can(most: int, expected: dict[str, int] | None) -> None:
    rows = table({"bag": 100, "hat": 10, "shoe": 2})
    chosen = choose(rows, most, seed=0)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == min(most, 112)
    if expected is not None:
        assert counts(rows, chosen) == expected


def test_the_choice_is_by_ids_and_seed_not_by_place() -> None:
    rows = table({"bag": 40, "hat": 40})
    shuffled = rows.take(np.random.default_rng(0).permutation(80))
    names = [set(one.take(choose(one, 20, 3))["image_id"].to_pylist()) for one in (rows, shuffled)]
    assert names[0] == names[1]
    assert set(rows.take(choose(rows, 20, 4))["image_id"].to_pylist()) != names[0]
    fewer = set(rows.take(choose(rows, 10, 3))["image_id"].to_pylist())
    assert fewer < names[0]


def test_nothing_to_choose_from_is_no_choice() -> None:
    assert (
        choose(table({}).cast(pa.schema([("image_id", pa.string()), ("category", pa.string())])), 5, 0).tolist() == []
    )


def test_products_that_are_validated_on_are_not_trained_on(shop: Catalog) -> None:
    made = banks(shop)
    training, validation = (set(one.cutouts["product_id"].to_pylist()) for one in (made.training, made.validation))
    assert training
    assert validation
    assert not training & validation
    assert len(training | validation) == 16
    assert made.accounts == {"pictures": 32, "cut_out": 32, "broken": 0}


def test_without_anything_to_hold_out_it_is_said(shop: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = banks(shop, validation_share=0.0)
    assert "too few products to hold any out" in caplog.text
    assert made.training.cutouts.equals(made.validation.cutouts)


def test_cutouts_are_the_products_with_their_categories_labels(shop: Catalog) -> None:
    made = banks(shop)
    for one in (made.training, made.validation):
        names = one.cutouts["product_id"].to_pylist()
        for name, label, pixel_HWC in zip(names, one.labels(), one.images(), strict=True):
            number = int(name[1:]) * 2
            assert CLASSES[label] == ("bag" if number < COMMON else "hat" if number < COMMON + 6 else "shoe")
            assert pixel_HWC.shape[2] == 4
            assert max(pixel_HWC.shape[:2]) <= LONGEST * SIDE
            middle = pixel_HWC[pixel_HWC.shape[0] // 2, pixel_HWC.shape[1] // 2]
            colours = [np.random.default_rng(picture).integers(0, 180, 3) for picture in (number, number + 1)]
            assert middle[3] == 255
            assert any(np.abs(middle[:3].astype(int) - colour).max() <= 3 for colour in colours)
    labels = np.concatenate([made.training.labels(), made.validation.labels()])
    assert Counter(labels.tolist()) == {0: COMMON, 1: 6, 2: 2}


def test_one_class_is_all_of_them(shop: Catalog) -> None:
    made = make_banks(shop, [], ["product"], DetectorSettings(), side=SIDE, split=None)
    assert set(made.training.labels().tolist()) == {0}


def test_only_so_many_and_only_those_that_fit(shop: Catalog) -> None:
    assert banks(shop, cutouts=6).accounts == {"pictures": 6, "cut_out": 6, "broken": 0}
    assert banks(shop, where=[("color", "blue")]).accounts["pictures"] == 11


def test_equal_seeds_give_equal_banks(shop: Catalog) -> None:
    first, again, other = banks(shop, cutouts=9), banks(shop, cutouts=9), banks(shop, cutouts=9, seed=7)
    assert first.training.cutouts.equals(again.training.cutouts)
    assert first.validation.clutter.equals(again.validation.clutter)
    assert not first.training.cutouts.equals(other.training.cutouts)


def test_pictures_that_are_broken_are_counted_and_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    rows = [shop_row(number, "bag", b"broken" if number < 2 else None) for number in range(10)]
    with caplog.at_level(logging.WARNING):
        made = banks(catalog(store, rows))
    assert made.accounts == {"pictures": 10, "cut_out": 8, "broken": 2}
    assert "a picture is not cut out" in caplog.text
    assert "only" not in caplog.text


def test_where_few_can_be_cut_out_it_is_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    rows = [shop_row(number, "bag", noise(number) if number < 6 else None) for number in range(10)]
    with caplog.at_level(logging.WARNING):
        made = banks(catalog(store, rows))
    assert made.accounts == {"pictures": 10, "cut_out": 4, "broken": 0}
    assert "only 4 of 10 shop pictures have a plain background" in caplog.text


def test_where_none_can_be_cut_out_it_is_an_error_that_says_what_to_do(store: Store) -> None:
    rows = [shop_row(number, "bag", noise(number)) for number in range(4)]
    with pytest.raises(CatalogError, match=r"none of 4 shop pictures of shop-1 .*visnet detector import"):
        banks(catalog(store, rows))


def test_backgrounds_are_shop_pictures_or_a_splits_photos(store: Store) -> None:
    photos = pa.Table.from_pylist(
        [
            {
                "image_id": f"street-{number}",
                "product_id": "p0",
                "category": "bag",
                "split": "train" if number < 4 else "val",
                "image": noise(number, side=200) if number != 1 else b"broken",
                "box": None,
            }
            for number in range(6)
        ]
    )
    made = catalog(store, [shop_row(number, "bag") for number in range(6)], [photos])
    assert sorted(one.shape for one in banks(made).training.backgrounds()) == [(50, 50, 3)] * 6
    from_photos = banks(made, split="train").training
    assert [one.shape for one in from_photos.backgrounds()] == [(CLUTTER_SIDE, CLUTTER_SIDE, 3)] * 3
    assert banks(made, split="train").validation.clutter.equals(from_photos.clutter)
    assert len(banks(made, split="train", backgrounds=2).training.clutter) <= 2
    assert banks(made, backgrounds=0).training.backgrounds() == []


def test_a_banks_arrays_share_its_memory() -> None:
    pixel_HWC = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    row = {"label": 1, "product_id": "p", "shape": [2, 3, 4], "pixels": pixel_HWC.tobytes()}
    made = Bank(pa.Table.from_pylist([row, row], PIXELS), PIXELS.empty_table())
    for one in made.images():
        np.testing.assert_array_equal(one, pixel_HWC)
        assert not one.flags.owndata
    assert (made.labels().tolist(), made.backgrounds()) == ([1, 1], [])


def test_cutouts_are_ordered_by_products_whatever_the_categories(shop: Catalog) -> None:
    names = banks(shop).training.cutouts["product_id"].to_pylist()
    assert names == sorted(names, key=product_hash)
