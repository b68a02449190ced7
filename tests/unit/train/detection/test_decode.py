"""Scenes and photos as squares with boxes in pixels: a box is where its item is, and every row has the same shape."""

import functools
import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.detector import GREY, squared
from visnet.platform.labelled import FIELDS
from visnet.platform.scenes import SceneSettings
from visnet.train.detection import decode
from visnet.train.detection.bank import PIXELS, Bank
from visnet.train.detection.decode import (
    MOST_BOXES,
    NO_BOX,
    ComposeScenes,
    DecodeLabelled,
    labelled_boxes,
    stacked,
    validation_scene,
)

SIDE = 96
CALM: dict[str, Any] = {
    "plain": 1.0,
    "chroma": 0.0,
    "occluders": 0,
    "item_gain": (1.0, 1.0),
    "scene_gain": (1.0, 1.0),
    "cast": 0.0,
    "light": 0.0,
    "shadow": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "jpeg": (0, 0),
}
LABELS = [4, 1]


def row(label: int, pixel_HWC: np.ndarray) -> dict[str, Any]:
    shape, pixels = list(pixel_HWC.shape), pixel_HWC.tobytes()
    return {"label": label, "product_id": f"p{label}", "shape": shape, "pixels": pixels}


def bank() -> Bank:
    """A magenta and a green ellipse, labelled 4 and 1; clutter in greys only."""
    y_H, x_W = np.linspace(-1, 1, 60)[:, None], np.linspace(-1, 1, 40)
    rows = []
    for label, colour in zip(LABELS, ((255, 0, 255), (0, 255, 0)), strict=True):
        pixel_HWC = np.full((60, 40, 4), (*colour, 255), np.uint8)
        pixel_HWC[:, :, 3] *= y_H**2 + x_W**2 <= 1
        rows.append(row(label, pixel_HWC))
    grey_HW1 = np.random.default_rng(0).integers(0, 256, (50, 80, 1), np.uint8)
    clutter = pa.Table.from_pylist([row(-1, np.repeat(grey_HW1, 3, axis=2))], PIXELS)
    return Bank(pa.Table.from_pylist(rows, PIXELS), clutter)


def compose(numbers: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    scenes = ComposeScenes(bank, side=SIDE, seed=seed, most_items=3)
    return scenes({"id": np.array(numbers)})


def test_a_box_is_in_pixels_of_the_square_around_its_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over grey and without a camera's doing, red minus green is 255 times how much of a pixel the item covers."""
    monkeypatch.setattr(decode, "SceneSettings", functools.partial(SceneSettings, **CALM))
    columns = ComposeScenes(bank, side=SIDE, seed=0, most_items=1)({"id": np.arange(60)})
    shapes = set()
    for pixel_HWC, box_M4, label_M in zip(columns["image"], columns["box"], columns["label"], strict=True):
        redder_HW = pixel_HWC[:, :, 0].astype(int) - pixel_HWC[:, :, 1]
        y_N, x_N = np.nonzero(np.abs(redder_HW) >= 128)
        if not len(x_N):
            assert (label_M == NO_BOX).all()
            continue
        assert label_M.tolist() == [4 if redder_HW[y_N[0], x_N[0]] > 0 else 1] + [NO_BOX] * (MOST_BOXES - 1)
        np.testing.assert_allclose(box_M4[0], [x_N.min(), y_N.min(), x_N.max() + 1, y_N.max() + 1], atol=0.01)
        shapes.add((pixel_HWC[-1, 0, 0] == GREY, pixel_HWC[0, -1, 0] == GREY))
    assert len(shapes) >= 2, "wide and tall scenes were not tried"


def test_a_scenes_columns() -> None:
    columns = compose([0, 1, 2])
    assert (columns["image"].shape, columns["image"].dtype) == ((3, SIDE, SIDE, 3), np.uint8)
    assert (columns["box"].shape, columns["box"].dtype) == ((3, MOST_BOXES, 4), np.float32)
    assert (columns["label"].shape, columns["label"].dtype) == ((3, MOST_BOXES), np.int64)
    there = columns["label"] != NO_BOX
    assert set(np.unique(columns["label"])) <= {NO_BOX, *LABELS}
    assert (columns["box"][~there] == 0).all()
    assert (columns["box"][there] <= SIDE).all()
    assert (columns["box"][there][:, 2:] - columns["box"][there][:, :2] >= 1).all()


def test_the_same_number_is_the_same_scene_whoever_composes_it() -> None:
    together, alone = compose([5, 9, 5]), compose([9])
    for name, column in together.items():
        np.testing.assert_array_equal(column[1:2], alone[name])
        np.testing.assert_array_equal(column[0], column[2])
    assert (together["image"][0] != together["image"][1]).any()
    assert (compose([9], seed=1)["image"] != alone["image"]).any()


def test_no_scene_that_is_validated_on_is_trained_on() -> None:
    """Of the same cutouts, so that equal random numbers would show; number 0 is where it could be."""
    trained = {column.tobytes() for column in compose(list(range(30)))["image"]}
    for number in range(5):
        scene = validation_scene(bank(), number, side=SIDE, seed=0, most_items=3)
        assert squared(Image.fromarray(scene.pixel_HWC), SIDE).tobytes() not in trained
        again = validation_scene(bank(), number, side=SIDE, seed=0, most_items=3)
        np.testing.assert_array_equal(scene.pixel_HWC, again.pixel_HWC)


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (255, 255, 255)).save(buffer, format="PNG")
    return buffer.getvalue()


def photo(image: bytes, boxes: list[list[float]], categories: list[str]) -> dict[str, Any]:
    return {"photo_id": "x", "image": image, "uri": None, "boxes": boxes, "categories": categories}


def decoded(*photos: dict[str, Any], classes: list[str] | None = None) -> dict[str, np.ndarray]:
    return DecodeLabelled(classes or ["bag", "shoe"], side=SIDE)(pa.Table.from_pylist(list(photos), FIELDS))


@pytest.mark.parametrize(
    ("size", "box"), [((200, 100), [24, 0, 72, 24]), ((100, 200), [12, 0, 36, 48]), ((96, 96), [24, 0, 72, 48])]
)
def test_photos_are_scaled_into_the_square_and_their_boxes_too(size: tuple[int, int], box: list[float]) -> None:
    columns = decoded(photo(png(*size), [[0.25, 0.0, 0.75, 0.5]], ["shoe"]))
    assert columns["box"][0, 0].tolist() == box
    assert columns["label"][0].tolist() == [1] + [NO_BOX] * (MOST_BOXES - 1)
    shown_HW = columns["image"][0, :, :, 0] != GREY
    assert shown_HW.sum() == SIDE * SIDE * min(size) // max(size)


def test_boxes_of_other_categories_are_left_out_unless_there_is_one_class() -> None:
    given = photo(png(10, 10), [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], ["hat", "shoe"])
    box_N4, label_N = labelled_boxes(given, ["bag", "shoe"])
    assert (box_N4.tolist(), label_N.tolist()) == ([[0.5, 0.5, 1, 1]], [1])
    box_N4, label_N = labelled_boxes(given, ["product"])
    assert (len(box_N4), label_N.tolist()) == (2, [0, 0])
    box_N4, label_N = labelled_boxes({**given, "boxes": [], "categories": []}, ["product"])
    assert (box_N4.shape, box_N4.dtype, label_N.dtype) == ((0, 4), np.float32, np.int64)


def test_the_largest_boxes_are_kept_and_those_below_a_pixel_are_none() -> None:
    sizes = np.linspace(0.01, 0.5, MOST_BOXES + 6).tolist()
    boxes = [[0.0, 0.0, size, size] for size in sizes] + [[0.0, 0.0, 1.0, 0.001]]
    columns = decoded(photo(png(SIDE, SIDE), boxes, ["bag"] * len(boxes)))
    kept = columns["box"][0][:, 2] / SIDE
    np.testing.assert_allclose(kept, sorted(sizes, reverse=True)[:MOST_BOXES], atol=1e-6)
    columns = decoded(photo(png(SIDE, SIDE), [[0.0, 0.0, 1.0, 0.001], [0, 0, 0.5, 0.5]], ["bag", "bag"]))
    assert (columns["label"][0] != NO_BOX).sum() == 1
    assert columns["box"][0, 0].tolist() == [0, 0, SIDE / 2, SIDE / 2]


def test_a_photo_that_cannot_be_decoded_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        columns = decoded(photo(b"broken", [], []), photo(png(9, 9), [], []), {**photo(b"", [], []), "image": None})
    assert len(columns["image"]) == 1
    assert caplog.text.count("a photo is not trained on") == 2


def test_no_rows_keep_the_columns_shapes() -> None:
    empty, some = stacked([], SIDE), compose([0])
    for name, column in some.items():
        assert empty[name].shape == (0, *column.shape[1:])
        assert empty[name].dtype == column.dtype


def test_the_bank_is_asked_for_in_the_task() -> None:
    asked: list[int] = []

    def late() -> Bank:
        asked.append(1)
        return bank()

    scenes: Callable[..., Any] = ComposeScenes(late, side=SIDE, seed=0, most_items=1)
    assert not asked
    scenes({"id": np.array([1, 2])})
    assert asked == [1]
