"""Validation while a detector trains: the same pictures each time, and the same figures however many look."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from visnet.platform.detector import Item
from visnet.train.detection import validation
from visnet.train.detection.average_precision import Truth, average_precision
from visnet.train.detection.bank import PIXELS, Bank
from visnet.train.detection.validation import (
    DetectorValidation,
    Pictures,
    _packed,
    _unpacked,
    labelled_pictures,
    scene_pictures,
)

CLASSES = ["bag", "shoe"]
BOX = (0.25, 0.25, 0.75, 0.75)


def truth(*categories: str) -> Truth:
    return Truth(box_N4=np.array([BOX] * len(categories), np.float32).reshape(-1, 4), categories=categories)


def item(category: str | None, confidence: float = 0.75) -> Item:
    return Item(box=BOX, confidence=confidence, categories=((category, 1.0),) if category else ())


class Found:
    """Finds in a picture what its red channel says: 0 nothing, else an item of the class before."""

    def __init__(self, classes: Sequence[str] = CLASSES) -> None:
        self.classes = list(classes)
        self.network = nn.Linear(1, 1).train()

    def detect(self, images: Sequence[Image.Image]) -> list[list[Item]]:
        assert not self.network.training
        numbers = [int(np.asarray(image)[0, 0, 0]) for image in images]
        return [[item(self.classes[number - 1])] if number else [] for number in numbers]


def pictures(*pairs: tuple[int, Truth]) -> Pictures:
    return Pictures([Image.new("RGB", (4, 4), (red, 0, 0)) for red, _ in pairs], [one for _, one in pairs])


SCENES = pictures((1, truth("bag")), (2, truth("shoe")), (0, truth()), (1, truth("shoe")))
PHOTOS = pictures((2, truth("shoe")), (0, truth("bag")))


def validated(scenes: Pictures, photos: Pictures | None, detector: Any = None) -> dict[str, float]:
    given: Any = detector or Found()
    return DetectorValidation(given, scenes, photos)()


def test_figures_are_those_of_the_reference() -> None:
    figures = validated(SCENES, None)
    expected = average_precision(SCENES.truth, [[item("bag")], [item("shoe")], [], [item("bag")]])
    assert figures == {"ap50": expected.ap50, "scenes_ap50": expected.ap50, "scenes_found_ap50": expected.found_ap50}
    assert 0 < figures["ap50"] < figures["scenes_found_ap50"] == pytest.approx(1)


def test_photos_decide_if_there_are_any() -> None:
    figures = validated(SCENES, PHOTOS)
    assert figures["ap50"] == figures["photos_ap50"] != figures["scenes_ap50"]
    assert validated(SCENES, pictures((0, truth())))["ap50"] == figures["scenes_ap50"]
    assert set(validated(pictures((1, truth())), None)) == {"ap50"}


def test_boxes_of_a_detector_without_categories_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Found(["product"])
    monkeypatch.setattr(detector, "detect", lambda images: [[item(None)] for _ in images])
    assert validated(pictures((1, truth("product"))), None, detector)["ap50"] == pytest.approx(1)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_workers_look_at_a_share_each_and_come_to_the_same_figures(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    parts: list[Tensor] = []

    def gathered(row_BD: Tensor) -> Tensor:
        parts.append(row_BD)
        return torch.cat(parts)

    monkeypatch.setattr(validation, "gather_uneven", gathered)
    for rank in range(workers):
        monkeypatch.setattr(validation, "world", lambda rank=rank: (rank, workers))
        figures = validated(SCENES, None)
    assert len(parts) == workers
    monkeypatch.undo()
    assert figures == validated(SCENES, None)  # the last worker has had what all sent


def test_shares_are_all_of_them_once() -> None:
    seen = [SCENES.share(rank, 3) for rank in range(3)]
    assert [len(one.images) for one in seen] == [2, 1, 1]
    assert sorted(id(image) for one in seen for image in one.images) == sorted(map(id, SCENES.images))
    assert all(len(one.images) == len(one.truth) for one in seen)


def test_items_as_numbers_and_back() -> None:
    found = [[], [item("shoe", 0.123456789), item("bag")], [], [item("bag", 1.0)]]
    rows = _packed(found, CLASSES)
    assert (rows.shape, rows.dtype) == ((3, 7), np.float64)
    assert _unpacked(rows, 4, CLASSES) == found
    assert _packed([[], []], CLASSES).shape == (0, 7)


def bank() -> Bank:
    pixel_HWC = np.full((20, 20, 4), 255, np.uint8)
    rows = [
        {"label": label, "product_id": "p", "shape": [20, 20, 4], "pixels": pixel_HWC.tobytes()} for label in (1, 0)
    ]
    return Bank(pa.Table.from_pylist(rows, PIXELS), PIXELS.empty_table())


def test_scenes_come_with_their_truth_and_are_the_same_for_the_same_seed() -> None:
    def made(seed: int) -> Pictures:
        return scene_pictures(bank(), CLASSES, scenes=12, side=48, seed=seed, most_items=3)

    first, again, other = made(1), made(1), made(2)
    assert len(first.images) == len(first.truth) == 12
    assert {name for one in first.truth for name in one.categories} == set(CLASSES)
    assert all(len(one.categories) == len(one.box_N4) for one in first.truth)
    assert [one.tobytes() for one in first.images] == [one.tobytes() for one in again.images]
    assert [one.tobytes() for one in first.images] != [one.tobytes() for one in other.images]


def test_labelled_pictures_are_at_most_so_many_and_not_larger_than_needed(picture: Callable[..., bytes]) -> None:
    def row(number: int, image: bytes) -> dict[str, Any]:
        categories = ["bag", "hat", "shoe"]
        boxes = [list(BOX)] * 3
        return {"photo_id": f"{number}", "image": image, "uri": None, "boxes": boxes, "categories": categories}

    sizes = [(40, 40), (400, 200), (30, 900)]
    images = [picture(number, width=width, height=height) for number, (width, height) in enumerate(sizes)]
    rows = [row(0, images[0]), row(1, b"broken"), row(2, images[1]), row(3, images[2]), row(4, images[0])]
    made = labelled_pictures(iter(rows), CLASSES, most=4, side=64)
    assert [image.size for image in made.images] == [(40, 40), (256, 128), (9, 256)]
    assert [one.categories for one in made.truth] == [("bag", "shoe")] * 3
    assert made.boxes()[0].tolist() == [list(BOX)] * 2
