"""Validation while a detector trains: average precision on scenes of held-out products, and on held-out photos.

Each worker looks at its share; all come to the same figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from visnet.platform.detector import Detector, Item
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import decode
from visnet.train.detection.average_precision import Precision, Truth, average_precision
from visnet.train.detection.bank import Bank
from visnet.train.detection.decode import labelled_boxes, validation_scene
from visnet.train.gather import gather_uneven, world

DECODED_SIDE = 2
"""Photos are kept so many times as wide as the network sees them, not as they came."""


@dataclass(frozen=True)
class Pictures:
    """Pictures, and what is in each."""

    images: list[Image.Image]
    truth: list[Truth]

    def boxes(self) -> list[np.ndarray]:
        return [one.box_N4 for one in self.truth]

    def share(self, rank: int, workers: int) -> Pictures:
        """Those that a worker looks at."""
        return Pictures(self.images[rank::workers], self.truth[rank::workers])


def scene_pictures(
    bank: Bank, classes: Sequence[str], *, scenes: int, side: int, seed: int, most_items: int
) -> Pictures:
    """Composed scenes, the same for the same bank and seed."""
    label_N = bank.labels()
    made = [validation_scene(bank, n, side=side, seed=seed, most_items=most_items) for n in range(scenes)]
    names = [tuple(classes[label] for label in label_N[scene.cutout_N]) for scene in made]
    return Pictures(
        [Image.fromarray(scene.pixel_HWC) for scene in made],
        [Truth(box_N4=scene.box_N4, categories=name) for scene, name in zip(made, names, strict=True)],
    )


def labelled_pictures(rows: Iterable[dict[str, Any]], classes: Sequence[str], *, most: int, side: int) -> Pictures:
    """At most so many labelled photos; those that can't be decoded are left out."""
    images, truth = [], []
    for row in itertools.islice(rows, most):
        try:
            image = decode(image_bytes(row["image"], row["uri"]), at_least=DECODED_SIDE * side)
        except ImageError:
            continue
        box_N4, label_N = labelled_boxes(row, classes)
        image.thumbnail((2 * DECODED_SIDE * side, 2 * DECODED_SIDE * side))
        images.append(image)
        truth.append(Truth(box_N4=box_N4, categories=tuple(classes[label] for label in label_N)))
    return Pictures(images, truth)


class DetectorValidation:
    """Looks at the same pictures again and again.

    Args:
        scenes: composed; the same on all workers.
        photos: held-out labelled ones, if there are any.
    """

    def __init__(self, detector: Detector, scenes: Pictures, photos: Pictures | None) -> None:
        self._detector = detector
        given = {"scenes": scenes, "photos": photos}
        self._sets = {name: one for name, one in given.items() if one is not None and any(map(len, one.boxes()))}

    def __call__(self) -> dict[str, float]:
        """`ap50` is that of the photos, if there are any. Every worker must call it at the same step."""
        self._detector.network.eval()
        figures: dict[str, float] = {}
        for name, pictures in self._sets.items():
            precision = self._judged(pictures)
            figures |= {f"{name}_ap50": precision.ap50 or 0.0, f"{name}_found_ap50": precision.found_ap50 or 0.0}
        return {"ap50": figures.get("photos_ap50", figures.get("scenes_ap50", 0.0)), **figures}

    def _judged(self, pictures: Pictures) -> Precision:
        rank, workers = world()
        mine = pictures.share(rank, workers).images
        found = _packed(self._detector.detect(mine), self._detector.classes)
        found[:, 0] = found[:, 0] * workers + rank  # the picture's place among all
        everyone = gather_uneven(torch.from_numpy(found)).numpy()
        return average_precision(pictures.truth, _unpacked(everyone, len(pictures.images), self._detector.classes))


def _packed(found: Sequence[Sequence[Item]], classes: Sequence[str]) -> np.ndarray:
    """Items as numbers, float64 (N, 7): picture, box, confidence, label."""
    rows = [
        [picture, *item.box, item.confidence, classes.index(item.categories[0][0]) if item.categories else 0]
        for picture, items in enumerate(found)
        for item in items
    ]
    return np.array(rows, np.float64).reshape(-1, 7)


def _unpacked(rows: np.ndarray, pictures: int, classes: Sequence[str]) -> list[list[Item]]:
    found: list[list[Item]] = [[] for _ in range(pictures)]
    for picture, left, top, right, bottom, confidence, label in rows.tolist():
        item = Item(box=(left, top, right, bottom), confidence=confidence, categories=((classes[int(label)], 1.0),))
        found[int(picture)].append(item)
    return found
