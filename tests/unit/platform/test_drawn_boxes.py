"""Boxes drawn for people: where they belong, in their colours, with their texts inside the picture."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from visnet.platform.drawn_boxes import Drawn, draw_boxes

RED = "#ff0000"


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def bounds(picture: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Left, top, right, bottom of the pixels of just this colour."""
    there_HW = (np.asarray(picture) == colour).all(axis=2)
    y_N, x_N = np.nonzero(there_HW)
    return [int(x_N.min()), int(y_N.min()), int(x_N.max()) + 1, int(y_N.max()) + 1]


@pytest.mark.parametrize(
    ("size", "drawn"), [((100, 50), (200, 100)), ((50, 100), (100, 200)), ((800, 800), (200, 200))]
)
def test_the_longer_side_is_as_asked_for(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert draw_boxes(grey(*size), [], side=200).size == drawn


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1)])
def test_extreme_pictures_are_drawn_on(size: tuple[int, int]) -> None:
    picture = draw_boxes(grey(*size), [Drawn(box=(0, 0, 1, 1), text="a bag 0.95")], side=64)
    assert min(picture.size) >= 1
    assert max(picture.size) == 64


def test_a_box_is_where_it_says() -> None:
    picture = draw_boxes(grey(100, 200), [Drawn(box=(0.25, 0.5, 0.75, 1.0), color=RED)], side=200)
    assert bounds(picture, (255, 0, 0)) == [25, 100, 75, 200]
    inside = np.asarray(picture)[110:190, 35:65]
    assert (inside == 128).all(), "a box is no more than a frame"


def test_boxes_of_the_truth_are_white_and_those_without_text_have_none() -> None:
    picture = draw_boxes(grey(200, 200), [Drawn(box=(0.1, 0.1, 0.9, 0.9))], side=200)
    assert bounds(picture, (255, 255, 255)) == [20, 20, 180, 180]


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.2, 0.2), (0.9, 0.9, 1.0, 1.0), (0.4, 0.0, 0.6, 1.0)])
def test_a_text_lies_in_the_picture_on_its_boxs_colour(box: tuple[float, float, float, float]) -> None:
    plain, texted = (
        np.asarray(draw_boxes(grey(200, 200), [Drawn(box=box, text=text, color=RED)], side=200))
        for text in ("", "bag 0.9")
    )
    changed_HW = (plain != texted).any(axis=2)
    left, right = (int(edge) for edge in np.flatnonzero(changed_HW.any(axis=0))[[0, -1]])
    assert right - left + 1 >= ImageFont.load_default(11).getlength("bag 0.9") - 5, "a part of it is beyond the edge"
    assert changed_HW.any(axis=1).sum() >= 8
    assert (texted[changed_HW] == (255, 0, 0)).all(axis=1).sum() > 150
    assert (texted[changed_HW].min(axis=1) > 150).sum() > 10, "nothing is written"


def test_the_picture_itself_is_left_alone() -> None:
    image = Image.new("L", (50, 50), 7)
    draw_boxes(image, [Drawn(box=(0, 0, 1, 1))])
    assert image.mode == "L"
    assert set(image.tobytes()) == {7}
