"""Asking with photos in every way, where what each way finds is known.

A pixel of a photo is the number of the product that it shows, a vector says which share of its pixels shows which
product, and the gallery has one picture of each. So a whole photo finds the product that fills it, and a box what is
in the box.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from visnet.platform.boxes import WHOLE as WHOLE_PHOTO
from visnet.platform.detector import Item
from visnet.platform.imaging import Box, Preprocessing, cut
from visnet.platform.localisation import CHOSEN, DETECTED, NARROWED, TRUE_BOX, WHOLE, Asked
from visnet.platform.settings import DetectionSettings
from visnet.train.detection import asking
from visnet.train.detection.asking import SHOWN, WEIGHTS, Answered, Query, ask, look
from visnet.train.detection.average_precision import Truth
from visnet.train.evaluation.protocol import Bench

PRODUCTS, SIDE = 12, 20
CATEGORIES = ["bag", "hat", "shoe"]
KS = (1, 2, 10)
CORNER: Box = (0.0, 0.0, 0.4, 0.4)
FAR: Box = (0.6, 0.6, 1.0, 1.0)
EXACT = DetectionSettings(margin=0.0)


def rows(categories: Sequence[str]) -> pa.Table:
    numbers = range(len(categories))
    return pa.table(
        {
            "image_id": [f"i{number}" for number in numbers],
            "product_id": [f"p{number}" for number in numbers],
            "category": list(categories),
            "content_hash": [f"h{number}" for number in numbers],
        }
    )


def bench() -> Bench:
    """Four products of each category, p0 to p3 bags."""
    return Bench(np.eye(PRODUCTS, dtype=np.float32), rows([CATEGORIES[number // 4] for number in range(PRODUCTS)]))


class Shares:
    """The encoder: the share of a part's pixels that shows each product, as a unit vector."""

    preprocessing = Preprocessing(resize=8, crop=8)

    def __init__(self) -> None:
        self.boxes: list[Box | None] = []

    def pixels_of(self, image: Image.Image, *, box: Box | None = None) -> np.ndarray:
        self.boxes.append(box)
        part = image if box is None else cut(image, box)
        return np.bincount(np.asarray(part).ravel(), minlength=PRODUCTS)

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        shares = pixels.astype(np.float32)
        return shares / np.linalg.norm(shares, axis=1, keepdims=True)


class Script:
    """The detector: finds in each photo what it is told, in turn."""

    def __init__(self, found: Iterable[list[Item]]) -> None:
        self.found = iter(found)

    def detect(self, images: Sequence[Image.Image]) -> list[list[Item]]:
        return [next(self.found) for _ in images]

    def sure(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if item.confidence >= 0.5]


def photo(wanted: int, around: int, box: Box = CORNER) -> Image.Image:
    """A product in a box, with another one's colour all around."""
    pixel_HW = np.full((SIDE, SIDE), around, np.uint8)
    left, top, right, bottom = (round(edge * SIDE) for edge in box)
    pixel_HW[top:bottom, left:right] = wanted
    return Image.fromarray(pixel_HW)


def query(wanted: int, around: int, box: Box | None = CORNER, truth: Truth | None = None) -> Query:
    return Query(photo(wanted, around, box or CORNER), f"p{wanted}", box, truth)


def item(box: Box, confidence: float = 0.9, **categories: float) -> Item:
    return Item(box=box, confidence=confidence, categories=tuple(categories.items()))


def looked(queries: Sequence[Query], found: Iterable[list[Item]], settings: DetectionSettings = EXACT) -> Answered:
    encoder: Any = Shares()
    detector: Any = Script(found)
    return look(queries, encoder, detector, settings)


def asked(answered: Answered, *, weight: float = 0.0) -> Asked:
    return ask(answered, bench(), about="made-up photos", ks=KS, weight=weight, seed=0)


def recall(result: Asked, k: int) -> dict[str, float]:
    return {way: reached.recall_at_k[str(k)] for way, reached in result.ways.items()}


PAIRS = [(wanted, around) for wanted in range(6) for around in (7, 11)]


def test_a_found_item_finds_its_product_and_the_whole_photo_what_fills_it() -> None:
    answered = looked([query(*pair) for pair in PAIRS], [[item(CORNER)] for _ in PAIRS])
    result = asked(answered)
    assert recall(result, 1) == {WHOLE: 0, DETECTED: 1, NARROWED: 1, CHOSEN: 1, TRUE_BOX: 1}
    assert set(recall(result, 2).values()) == {1}
    assert (result.queries, result.about, result.located) == (12, "made-up photos", {"items found": 12})
    difference = result.ways[DETECTED].against_whole["1"]
    assert (difference.difference, difference.low, difference.high) == (1, 1, 1)
    assert result.ways[WHOLE].against_whole == {}
    assert result.ways[TRUE_BOX].against_whole["2"].difference == 0


def test_where_nothing_is_found_the_whole_photo_is_asked_with() -> None:
    nothing = [[], [item(CORNER, 0.4)], []]
    answered = looked([query(1, 7), query(2, 7), query(3, 3)], nothing)
    assert recall(asked(answered), 1) == pytest.approx(
        {WHOLE: 1 / 3, DETECTED: 1 / 3, NARROWED: 1 / 3, CHOSEN: 1 / 3, TRUE_BOX: 1}, abs=1e-4
    )
    assert answered.located == {"nothing found": 2, "only unsure items": 1}
    assert answered.categories == [[], [], []]


def test_the_most_prominent_is_detected_and_the_overlapping_one_is_chosen() -> None:
    several = [item(FAR), item(CORNER), item((0.0, 0.0, 0.3, 0.4))]
    result = asked(looked([query(1, 7)], [several]))
    assert recall(result, 1) == {WHOLE: 0, DETECTED: 0, NARROWED: 0, CHOSEN: 1, TRUE_BOX: 1}


@pytest.mark.parametrize(("box", "hit"), [((0.0, 0.0, 0.4, 0.21), 1), ((0.0, 0.0, 0.4, 0.19), 0)])
def test_an_item_that_overlaps_by_less_than_half_is_not_chosen(box: Box, hit: int) -> None:
    """The whole photo is asked with instead, and finds another product; the item itself would find the right one."""
    assert recall(asked(looked([query(1, 7)], [[item(FAR), item(box)]])), 1)[CHOSEN] == hit


def test_found_boxes_are_widened_as_by_the_service_and_the_true_one_is_not() -> None:
    encoder: Any = Shares()
    detector: Any = Script([[item((0.2, 0.2, 0.4, 0.6))]])
    look([query(1, 7, (0.2, 0.2, 0.4, 0.6))], encoder, detector, DetectionSettings(margin=0.5))
    assert sorted(box for box in encoder.boxes if box is not None) == [
        pytest.approx((0.1, 0.0, 0.5, 0.8)),
        (0.2, 0.2, 0.4, 0.6),
    ]
    assert encoder.boxes.count(None) == 1


def test_what_several_ways_ask_with_is_embedded_once() -> None:
    encoder: Any = Shares()
    detector: Any = Script([[item(CORNER)], []])
    answered = look([query(1, 7), query(2, 7, None)], encoder, detector, EXACT)
    assert encoder.boxes == [CORNER, None, None]
    assert {way: len(vectors) for way, vectors in answered.vectors.items()} == {
        WHOLE: 2,
        DETECTED: 2,
        CHOSEN: 1,
        TRUE_BOX: 1,
    }


def test_ways_that_need_the_true_box_are_left_out_unless_all_are_known() -> None:
    found = [[item(CORNER)], [item(CORNER)]]
    for boxes in ([None, None], [CORNER, None], [None, CORNER]):
        queries = [query(number, 7, box) for number, box in enumerate(boxes)]
        assert recall(asked(looked(queries, found)), 1) == {WHOLE: 0, DETECTED: 1, NARROWED: 1}


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [query(*pair) for pair in PAIRS]
    found = [[item(CORNER, bag=0.7, hat=0.3)] if number % 3 else [] for number in range(len(PAIRS))]
    whole = looked(queries, found)
    for size in (1, 5, 12):
        monkeypatch.setattr(asking, "AT_ONCE", size)
        parts = looked(iter(queries), found)  # type: ignore[arg-type]
        assert (parts.products, parts.categories, parts.located) == (whole.products, whole.categories, whole.located)
        for way, vectors in whole.vectors.items():
            np.testing.assert_array_equal(np.stack(parts.vectors[way]), np.stack(vectors))


def test_the_first_few_are_kept_for_the_report() -> None:
    queries = [query(number % 6, 7) for number in range(SHOWN + 3)]
    answered = looked(queries, [[item(CORNER), item(FAR, 0.1)] for _ in queries])
    assert [one.query for one in answered.shown] == queries[:SHOWN]
    assert all([found.confidence for found in one.items] == [0.9] for one in answered.shown)


def test_what_is_judged_is_all_that_was_found_where_the_truth_is_known() -> None:
    known = Truth(box_N4=np.array([CORNER]), categories=("bag",))
    found = [[item(CORNER)], [item(CORNER), item(FAR, 0.1)]]
    answered = looked([query(1, 7), query(2, 7, truth=known)], found)
    assert answered.truth == [known]
    assert answered.found == found[1:]


def test_no_queries_are_no_answers() -> None:
    assert looked([], []) == Answered()


def test_a_right_category_brings_the_product_forward_and_a_wrong_one_back() -> None:
    """The item's box holds 5 parts of the product and 7 of another: 0.58 and 0.81 of a unit vector."""
    box: Box = (0.0, 0.0, 0.6, 0.2)
    part: Box = (0.0, 0.0, 0.25, 0.2)  # 5 of the box's 12 columns
    queries = [query(1, 7, part)] * 2
    right, wrong = [[item(box, bag=1.0)]], [[item(box, hat=1.0)]]
    for found, weight, expected in ((right, 0.3, 1), (right, 0.2, 0), (wrong, 0.3, 0)):
        result = asked(looked(queries[:1], found), weight=weight)
        assert recall(result, 1)[NARROWED] == expected
        assert recall(result, 1)[DETECTED] == 0


def test_every_weight_is_told_with_what_it_gains_and_loses() -> None:
    """Product n fills 30 - n pixels, so it is the n-th, and one step of the scores is 1 / 85.7 or 0.0117.

    With shoes (p8 to p11) forward, p11 comes among the first 10 when it passes p7 and p6, 5 steps (0.058); p7 falls
    out of them when three of the four shoes have passed it, 3 steps (0.035).
    """
    line_W = np.repeat(np.arange(PRODUCTS, dtype=np.uint8), 30 - np.arange(PRODUCTS))
    image = Image.fromarray(np.tile(line_W, (9, 1)))
    for product, gained, lost in (("p11", [0, 0, 1, 1, 1], [0] * 5), ("p7", [0] * 5, [0, 1, 1, 1, 1])):
        answered = looked([Query(image, product, None)] * 3, [[item(WHOLE_PHOTO, shoe=1.0)]] * 3)
        weights = asked(answered, weight=0.1).weights
        assert list(weights) == [f"{one:g}" for one in WEIGHTS]
        assert [one.gained for one in weights.values()] == [3 * one for one in gained]
        assert [one.lost for one in weights.values()] == [3 * one for one in lost]
    assert list(asked(answered, weight=0.3).weights) == ["0.02", "0.05", "0.1", "0.2", "0.3", "0.5"]


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_narrowed_ranks_are_those_of_all_products_ranked(weight: float) -> None:
    random = np.random.default_rng(0)
    names = sorted(random.choice(CATEGORIES, 40).tolist())
    vector_ND = random.normal(size=(40, 6)).astype(np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    query_QD = vector_ND[::2] + 0.4 * random.normal(size=(20, 6)).astype(np.float32)
    query_QD /= np.linalg.norm(query_QD, axis=1, keepdims=True)
    product_Q = np.array([f"p{number}" for number in range(0, 40, 2)], dtype=object)
    shares = [list(zip(random.permutation([*CATEGORIES, "unknown"])[:2].tolist(), (0.7, 0.3), strict=True))] * 20
    shares[3:6] = [[], [("unknown", 0.9)], [("hat", 1.0)]]
    found_Q = asking._narrowed_ranks(query_QD, product_Q, shares, Bench(vector_ND, rows(names)), weight=weight, k=8)
    for place, likely in enumerate(shares):
        score_N = vector_ND @ query_QD[place] + weight * np.array([dict(likely).get(name, 0.0) for name in names])
        rank = 1 + int((score_N > score_N[2 * place]).sum())
        assert found_Q[place] == (rank if rank <= 8 else 0)


def test_the_whole_photo_is_no_cut() -> None:
    encoder: Any = Shares()
    detector: Any = Script([[item(WHOLE_PHOTO)]])
    look([query(1, 7)], encoder, detector, DetectionSettings(margin=0.1))
    assert encoder.boxes == [CORNER, None]


def test_a_photo_no_larger_than_the_encoder_sees_is_asked_with_as_a_whole() -> None:
    small = Query(photo(1, 7).resize((SIDE, 8)), "p1", CORNER)
    answered = looked([small], [[item(CORNER)]])
    assert answered.located == {"too small": 1}
    np.testing.assert_array_equal(answered.vectors[DETECTED][0], answered.vectors[WHOLE][0])
