"""The composed photos that a detector is judged with: what is asked for is in them, and where it is said to be."""

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.boxes import areas
from visnet.platform.errors import CatalogError
from visnet.platform.imaging import encode_png
from visnet.platform.pictures import Picture
from visnet.train.detection.queries import ComposedQueries
from visnet.train.evaluation.gallery import Gallery

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


class Stand:
    """A gallery of squares, each in a colour of its own."""

    def __init__(self, *, plain: bool = True) -> None:
        self._plain = plain
        self.rows = pa.table({"product_id": list(COLOURS), "category": [f"{name}ish" for name in COLOURS]})
        self.source = self

    def pictures(self, rows: pa.Table) -> list[Picture]:
        return [Picture(self._picture(name), None) for name in rows["product_id"].to_pylist()]

    def _picture(self, name: str) -> bytes:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pixels = np.full((64, 64, 3), 255, np.uint8) if self._plain else noise
        pixels[16:48, 16:48] = COLOURS[name]
        return encode_png(pixels)


def composed(*, resize: int = 32, **options: Any) -> ComposedQueries:
    return ComposedQueries(cast(Gallery, Stand(**options)), most=3, seed=0, resize=resize)


def hue(image: Image.Image, box: tuple[float, float, float, float]) -> str:
    """The colour that is strongest in a box."""
    pixel_HWC = np.asarray(image).astype(int)
    height, width = pixel_HWC.shape[:2]
    part = pixel_HWC[int(box[1] * height) : int(box[3] * height), int(box[0] * width) : int(box[2] * width)]
    return list(COLOURS)[int(np.median(part.reshape(-1, 3), axis=0).argmax())]


def test_the_largest_product_is_asked_for_and_is_in_its_box() -> None:
    queries = list(composed().queries(20, (2, 4), seed=(1,), one_class=False))
    assert len(queries) == 20
    right = 0
    for query in queries:
        assert query.box is not None
        assert query.truth is not None
        sizes = areas(query.truth.box_N4)
        assert query.truth.categories[int(sizes.argmax())] == f"{query.product}ish"
        assert areas(np.array([query.box]))[0] == pytest.approx(sizes.max())
        right += hue(query.image, query.box) == query.product
    assert right >= 18  # one may be hidden by another or by a strip


def test_equal_seeds_are_equal_photos_and_a_detector_of_one_class_knows_no_categories() -> None:
    first, again = (next(composed().queries(1, (1, 1), seed=(3,), one_class=True)) for _ in range(2))
    other = next(composed().queries(1, (1, 1), seed=(4,), one_class=True))
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert first.image.size != other.image.size or not np.array_equal(np.asarray(first.image), np.asarray(other.image))
    assert first.truth is not None
    assert first.truth.categories == ("product",)


@pytest.mark.parametrize(("resize", "side"), [(8, 128), (64, 256), (500, 640)])
def test_a_photo_is_larger_than_the_encoder_sees(resize: int, side: int) -> None:
    query = next(composed(resize=resize).queries(1, (1, 1), seed=(0,), one_class=True))
    assert max(query.image.size) == side


def test_without_a_plain_background_it_is_said_what_to_do() -> None:
    with pytest.raises(CatalogError, match=r"plain background.*--split"):
        composed(plain=False)
