"""Boxes as shares: what is one, how far two are the same, and what margins do."""

import numpy as np
import pytest

from visnet.platform.boxes import WHOLE, areas, check_box, overlaps, widened

NAN = float("nan")


def some_boxes(count: int, seed: int) -> np.ndarray:
    """Within the picture; some touch, some are empty."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.integers(0, 6, (count, 2, 2)) / 5, axis=1).astype(np.float32)
    return corners.reshape(count, 4)


def slow_overlap(one: list[float], other: list[float]) -> float:
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    either = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - wide * high
    return wide * high / either if either else 0.0


@pytest.mark.parametrize("box", [WHOLE, (0.0, 0.25, 0.5, 1.0), [0, 0, 1, 1], np.array([0.1, 0.2, 0.3, 0.4])])
def test_four_shares_in_order_are_a_box(box: list[float]) -> None:
    checked = check_box(box)
    assert checked == tuple(box)
    assert all(type(edge) is float for edge in checked)


@pytest.mark.parametrize(
    "box",
    [
        *([], [0.1, 0.1, 0.9], [0.1, 0.1, 0.9, 0.9, 1.0]),
        *([0.9, 0.1, 0.1, 0.9], [0.1, 0.9, 0.9, 0.1]),
        *([0.5, 0.1, 0.5, 0.9], [0.1, 0.5, 0.9, 0.5]),
        *([-0.1, 0, 1, 1], [0, -0.1, 1, 1], [0, 0, 1.1, 1], [0, 0, 1, 1.1]),
        *([NAN, 0, 1, 1], [0, NAN, 1, 1], [0, 0, NAN, 1], [0, 0, 1, NAN]),
    ],
)
def test_anything_else_is_none(box: list[float]) -> None:
    with pytest.raises(ValueError, match="expected a box of left, top, right, bottom"):
        check_box(box)


def test_an_error_shows_the_box() -> None:
    with pytest.raises(ValueError, match=r"got \[0\.1, 0\.1, 0\.9\]"):
        check_box([0.1, 0.1, 0.9])


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_those_of_an_obvious_loop(seed: int) -> None:
    box_N4, box_M4 = some_boxes(40, seed), some_boxes(30, seed + 100)
    share_NM = overlaps(box_N4, box_M4)
    expected = [[slow_overlap(one, other) for other in box_M4.tolist()] for one in box_N4.tolist()]
    assert share_NM.dtype == np.float32
    np.testing.assert_allclose(share_NM, expected, atol=1e-6)
    assert 0 < (share_NM > 0).mean() < 1


def test_overlaps_of_none() -> None:
    none, some = np.empty((0, 4), np.float32), some_boxes(3, 0)
    assert (overlaps(none, some).shape, overlaps(some, none).shape) == ((0, 3), (3, 0))


def test_areas_are_shares_of_the_picture_and_never_negative() -> None:
    box_N4 = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.5, 1], [0.5, 0.5, 0.5, 1], [0.9, 0.9, 0.1, 0.1]])
    assert areas(box_N4).tolist() == [1, 0.125, 0, 0]


def test_a_margin_is_a_share_of_the_boxs_own_sides() -> None:
    assert widened((0.4, 0.2, 0.6, 0.6), 0.25) == pytest.approx((0.35, 0.1, 0.65, 0.7))
    assert widened((0.4, 0.2, 0.6, 0.6), 0.0) == (0.4, 0.2, 0.6, 0.6)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5, 5.0])
def test_widened_boxes_stay_inside_the_picture_and_around_the_box(margin: float) -> None:
    for left, top, right, bottom in some_boxes(60, 1).tolist():
        if left < right and top < bottom:
            wide = check_box(widened((left, top, right, bottom), margin))
            assert wide[0] <= left
            assert wide[1] <= top
            assert wide[2] >= right
            assert wide[3] >= bottom
