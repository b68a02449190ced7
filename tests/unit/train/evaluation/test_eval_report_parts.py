"""The report's parts: thumbnails that fit and show their box, curves that go through their points."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from visnet.platform.imaging import encode_png
from visnet.train.evaluation.report_curves import COLOURS, HEIGHT, LEFT, TOP, WIDTH, colour, curves, legend
from visnet.train.evaluation.thumbnails import FRAME, SIDE, data_uri, thumbnail, thumbnail_or_blank

HALVES = np.zeros((300, 400, 3), np.uint8)
HALVES[:, 200:] = 255


def opened(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)), np.int64)


def test_a_thumbnail_fits_and_keeps_its_shape() -> None:
    assert opened(thumbnail(encode_png(HALVES))).shape == (120, 160, 3)
    assert opened(thumbnail(encode_png(HALVES[:7, :9]))).shape == (7 * 17, 9 * 17, 3)  # enlarged by whole pixels


def test_a_box_is_cut_out_or_drawn() -> None:
    box = (0.5, 0.25, 1.0, 0.75)
    cropped = opened(thumbnail(encode_png(HALVES), box=box))
    assert cropped.shape == (120, SIDE, 3)
    assert cropped.min() > 200
    framed = opened(thumbnail(encode_png(HALVES), frame=box))
    reddish = (np.abs(framed - np.array(FRAME)) < 60).all(axis=2)
    rows, columns = np.nonzero(reddish)
    assert (columns.min(), rows.min()) == pytest.approx((80, 30), abs=3)
    assert (columns.max(), rows.max()) == pytest.approx((159, 89), abs=3)
    thumbnail(encode_png(HALVES), frame=(0.5, 0.5, 0.5001, 0.5001))  # a box of no pixel


def test_a_picture_that_cannot_be_shown_is_grey() -> None:
    grey = opened(thumbnail_or_blank(b"broken"))
    assert (grey.min(), grey.max()) == (200, 200)
    assert data_uri(b"abc") == "data:image/jpeg;base64,YWJj"


def test_curves_go_through_their_points() -> None:
    chart = curves({"a<b": [0.0, 0.5, 1.0], "c": [1.0, 1.0, 1.0]}, title="recall & more")
    first, second = re.findall(r'<polyline points="([^"]+)" fill="none" stroke="([^"]+)"', chart)
    points = [tuple(float(part) for part in point.split(",")) for point in first[0].split()]
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert (points[0][0], points[-1][1]) == (LEFT, TOP)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)
    assert points[-1][0] < WIDTH
    assert points[0][1] < HEIGHT
    assert (first[1], second[1]) == COLOURS[:2]
    assert "a&lt;b" in chart
    assert "a<b" not in chart + legend(["a<b"])
    assert curves({"one": [0.5]}, title="of one k").count("<circle") == 1
    assert colour(len(COLOURS)) == colour(0)
