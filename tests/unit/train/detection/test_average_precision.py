"""Average precision by pycocotools, on cases small enough to be computed by hand."""

import numpy as np
import pytest

from visnet.platform.boxes import overlaps
from visnet.platform.detector import Item
from visnet.train.detection.average_precision import Truth, average_precision, best_threshold

Box = tuple[float, float, float, float]
LEFT, RIGHT, LOWER = (0.0, 0.0, 0.4, 0.4), (0.5, 0.0, 0.9, 0.4), (0.0, 0.5, 0.4, 0.9)
NOWHERE = (0.6, 0.6, 0.7, 0.7)


def truth(*items: tuple[Box, str]) -> Truth:
    box_N4 = np.array([box for box, _ in items], np.float32).reshape(-1, 4)
    return Truth(box_N4=box_N4, categories=tuple(name for _, name in items))


def item(box: Box, confidence: float, category: str | None = "bag") -> Item:
    return Item(box=box, confidence=confidence, categories=((category, 1.0),) if category else ())


SHELF = [truth((LEFT, "bag"), (RIGHT, "bag"), (LOWER, "shoe")), truth((LEFT, "shoe")), truth()]
FOUND = [[item(LEFT, 0.9), item(RIGHT, 0.8), item(LOWER, 0.7, "shoe")], [item(LEFT, 0.6, "shoe")], []]


def test_everything_found_is_1() -> None:
    precision = average_precision(SHELF, FOUND)
    assert (precision.pictures, precision.items) == (3, 4)
    assert precision.by_category == pytest.approx({"bag": 1.0, "shoe": 1.0})
    assert (precision.ap50, precision.ap50_95, precision.found_ap50) == pytest.approx((1.0, 1.0, 1.0))


def test_nothing_found_is_0() -> None:
    precision = average_precision(SHELF, [[], [], []])
    assert (precision.ap50, precision.ap50_95, precision.found_ap50) == (0, 0, 0)
    assert precision.by_category == {"bag": 0, "shoe": 0}


@pytest.mark.parametrize("found", [[[]], [[item(LEFT, 0.9)]]])
def test_without_items_there_is_no_figure(found: list[list[Item]]) -> None:
    precision = average_precision([truth()], found)
    assert (precision.pictures, precision.items, precision.by_category) == (1, 0, {})
    assert (precision.ap50, precision.ap50_95, precision.found_ap50) == (None, None, None)


def test_a_wrong_category_counts_against_ap50_only() -> None:
    wrong = [[item(LEFT, 0.9, "shoe"), item(RIGHT, 0.8, "hat"), item(LOWER, 0.7, "bag")], [item(LEFT, 0.6, "bag")], []]
    precision = average_precision(SHELF, wrong)
    assert precision.ap50 == 0
    assert precision.found_ap50 == pytest.approx(1)


def test_also_where_the_truth_has_a_single_category() -> None:
    precision = average_precision([truth((LEFT, "bag"))], [[item(LEFT, 0.9, "shoe")]])
    assert (precision.ap50, precision.found_ap50) == pytest.approx((0, 1))


def test_who_tells_no_categories_has_all_of_the_only_one() -> None:
    precision = average_precision([truth((LEFT, "bag"))], [[item(LEFT, 0.9, None)]])
    assert (precision.ap50, precision.found_ap50) == pytest.approx((1, 1))
    precision = average_precision(SHELF, [[item(LEFT, 0.9, None)], [], []])
    assert precision.ap50 == 0


def test_a_case_computed_by_hand() -> None:
    """Bags: right at 0.9, wrong at 0.8, right at 0.7; a third one is not found.

    Recall 1/3 at precision 1, recall 2/3 at precision 2/3 (the wrong one lowers it), never recall 1. Interpolated at
    recalls 0, 0.01, ..., 1: of the 101 points, 0 to 0.33 (34 of them) have 1, 0.34 to 0.66 (33) have 2/3, the rest 0.
    """
    pictures = [truth((LEFT, "bag"), (RIGHT, "bag"), (LOWER, "bag"))]
    found = [[item(LEFT, 0.9), item(NOWHERE, 0.8), item(RIGHT, 0.7)]]
    by_hand = (34 * 1 + 33 * 2 / 3) / 101
    precision = average_precision(pictures, found)
    assert precision.ap50 == pytest.approx(by_hand)
    assert precision.ap50_95 == pytest.approx(by_hand)  # the boxes are exact
    assert precision.found_ap50 == pytest.approx(by_hand)


def test_a_second_box_of_one_item_is_false() -> None:
    """Right at 0.9, the same again at 0.8, right at 0.7: precision 1 up to recall 1/2 (51 points), then 2/3 (50)."""
    pictures = [truth((LEFT, "bag"), (RIGHT, "bag"))]
    found = [[item(LEFT, 0.9), item(LEFT, 0.8), item(RIGHT, 0.7)]]
    assert average_precision(pictures, found).ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_ap50_is_at_an_overlap_of_one_half_and_ap50_95_at_ten() -> None:
    """A box that covers 0.625 of the truth is right at three of the ten overlaps: 0.5, 0.55 and 0.6."""
    pictures = [truth((LEFT, "bag"))]
    precision = average_precision(pictures, [[item((0.0, 0.0, 0.4, 0.25), 0.9)]])
    assert (precision.ap50, precision.ap50_95) == pytest.approx((1.0, 0.3))
    assert average_precision(pictures, [[item((0.0, 0.0, 0.4, 0.19), 0.9)]]).ap50 == 0


def test_items_are_looked_for_in_their_own_picture() -> None:
    pictures = [truth((LEFT, "bag")), truth((RIGHT, "bag"))]
    assert average_precision(pictures, [[item(RIGHT, 0.9)], [item(LEFT, 0.9)]]).ap50 == 0


def test_categories_count_alike_however_common() -> None:
    pictures = [truth((LEFT, "bag"), (RIGHT, "bag"), (LOWER, "shoe"))]
    precision = average_precision(pictures, [[item(LEFT, 0.9), item(RIGHT, 0.8)]])
    assert precision.by_category == pytest.approx({"bag": 1.0, "shoe": 0.0})
    assert precision.ap50 == pytest.approx(0.5)


def test_it_prints_nothing_and_leaves_print_alone(capsys: pytest.CaptureFixture[str]) -> None:
    average_precision(SHELF, FOUND)
    assert capsys.readouterr() == ("", "")
    from pycocotools import coco

    assert not hasattr(coco, "print")


def slow_f1(pictures: list[Truth], found: list[list[Item]], threshold: float) -> float:
    """Of what is at least so sure, taken one by one, the surest first."""
    right = believed = 0
    for one, items in zip(pictures, found, strict=True):
        free = list(range(len(one.box_N4)))
        for each in sorted((each for each in items if each.confidence >= threshold), key=lambda each: -each.confidence):
            believed += 1
            share = {place: overlaps(np.array([each.box], np.float32), one.box_N4)[0, place] for place in free}
            best = max(share, key=lambda place: float(share[place]), default=None)
            if best is not None and share[best] >= 0.5:
                free.remove(best)
                right += 1
    total = sum(len(one.box_N4) for one in pictures)
    return 2 * right / (believed + total) if believed + total else 0.0


def random_case(seed: int) -> tuple[list[Truth], list[list[Item]]]:
    """Items near the truth and elsewhere; confidences of few values, so that many are equal."""
    random = np.random.default_rng(seed)
    pictures, found = [], []
    for _ in range(4):
        corner_N2 = random.random((random.integers(0, 5), 2)) * 0.6
        box_N4 = np.concatenate([corner_N2, corner_N2 + 0.3], axis=1)
        pictures.append(truth(*[(tuple(box), "bag") for box in box_N4.tolist()]))
        near_N4 = box_N4[random.integers(len(box_N4), size=4)] if len(box_N4) else np.empty((0, 4))
        near_N4 = np.clip(near_N4 + random.normal(0, 0.04, (len(near_N4), 1)), 0, 1)
        boxes = [*near_N4.tolist(), [0.7, 0.7, 0.8, 0.8]]
        found.append([item(tuple(box), float(random.integers(1, 9)) / 10) for box in boxes])
    return pictures, found


@pytest.mark.parametrize("seed", range(25))
def test_the_best_threshold_is_the_best_of_all(seed: int) -> None:
    pictures, found = random_case(seed)
    if not sum(len(one.box_N4) for one in pictures):
        pytest.skip("a case without items")
    best = max(slow_f1(pictures, found, threshold / 10) for threshold in range(12))
    assert slow_f1(pictures, found, best_threshold(pictures, found)) == pytest.approx(best)


def test_a_threshold_lets_in_all_that_are_equally_sure() -> None:
    """At 0.9 a right and two wrong ones come together (F1 2/5); at 0.5 all three right ones (F1 6/8)."""
    pictures = [truth((LEFT, "bag"), (RIGHT, "bag"), (LOWER, "bag"))]
    equal = [item(LEFT, 0.9), item(NOWHERE, 0.9), item(NOWHERE, 0.9)]
    assert best_threshold(pictures, [[*equal, item(RIGHT, 0.5), item(LOWER, 0.5)]]) == 0.5
    assert best_threshold([truth((LEFT, "bag"))], [[*equal, item(NOWHERE, 0.8)]]) == 0.9


def test_without_anything_the_threshold_is_in_the_middle() -> None:
    assert best_threshold([truth()], [[item(LEFT, 0.9)]]) == 0.5
    assert best_threshold([truth((LEFT, "bag"))], [[]]) == 0.5
    assert best_threshold([], []) == 0.5
