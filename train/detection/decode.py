"""From numbers and rows to the pixels and boxes of a step: what Ray Data runs in its tasks, without Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visnet.platform.detector import scaled_size, squared
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import decode
from visnet.platform.scenes import Scene, SceneSettings, compose
from visnet.train.detection.bank import Bank

# B pictures, N boxes, H height, W width, C channels

MOST_BOXES = 32
"""Of a picture; the largest are kept."""
NO_BOX = -1
"""The label where there is no further box."""

logger = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]
"""`image` uint8 (B, side, side, 3), `box` float32 (B, MOST_BOXES, 4) in pixels, `label` int64 (B, MOST_BOXES)."""


class ComposeScenes:
    """Numbers -> scenes, each seeded by its number: the same number is the same scene, whoever composes it.

    Args:
        bank: what they are made of, behind a function that is called in the task.
        side: of the squares, in pixels.
    """

    def __init__(self, bank: Callable[[], Bank], *, side: int, seed: int, most_items: int) -> None:
        self._bank, self._side, self._seed = bank, side, seed
        self._settings = SceneSettings(most_items=most_items)

    def __call__(self, numbers: Columns) -> Columns:
        bank = self._bank()
        cutouts, clutter, label_N = bank.images(), bank.backgrounds(), bank.labels()
        rows = []
        for number in numbers["id"].tolist():
            random = np.random.default_rng((self._seed, number))
            scene = compose(cutouts, clutter, side=self._side, random=random, settings=self._settings)
            rows.append(_row(Image.fromarray(scene.pixel_HWC), scene.box_N4, label_N[scene.cutout_N], self._side))
        return stacked(rows, self._side)


def validation_scene(bank: Bank, number: int, *, side: int, seed: int, most_items: int) -> Scene:
    """One of the scenes that are validated on; training composes none of them."""
    random = np.random.default_rng((seed, number, 2))  # a training's (seed, number) is as (seed, number, 0)
    settings = SceneSettings(most_items=most_items)
    return compose(bank.images(), bank.backgrounds(), side=side, random=random, settings=settings)


class DecodeLabelled:
    """Rows of labelled photos -> squares with boxes; a photo that can't be decoded is left out with a warning.

    Args:
        classes: boxes of other categories are left out; with one class, all boxes are its.
    """

    COLUMNS = ("photo_id", "image", "uri", "boxes", "categories")

    def __init__(self, classes: Sequence[str], *, side: int) -> None:
        self._classes, self._side = list(classes), side

    def __call__(self, rows: pa.Table) -> Columns:
        kept = []
        for row in rows.select(list(self.COLUMNS)).to_pylist():
            try:
                image = decode(image_bytes(row["image"], row["uri"]), at_least=self._side)
            except ImageError as error:
                logger.warning("a photo is not trained on: %s", error)
                continue
            box_N4, label_N = labelled_boxes(row, self._classes)
            kept.append(_row(image, box_N4, label_N, self._side))
        return stacked(kept, self._side)


def labelled_boxes(row: dict[str, Any], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of a labelled photo as shares, float32 (N, 4), and their labels, int64 (N,)."""
    named = zip(row["boxes"], row["categories"], strict=True)
    known = [(box, 0 if len(classes) == 1 else classes.index(name)) for box, name in named if _is_known(name, classes)]
    box_N4 = np.array([box for box, _ in known], np.float32).reshape(-1, 4)
    return box_N4, np.array([label for _, label in known], np.int64)


def _is_known(name: str, classes: Sequence[str]) -> bool:
    return len(classes) == 1 or name in classes


def _row(image: Image.Image, box_N4: np.ndarray, label_N: np.ndarray, side: int) -> dict[str, np.ndarray]:
    width, height = scaled_size(image.size, side)
    pixel_N4 = box_N4 * np.array([width, height, width, height], np.float32)
    size_N2 = pixel_N4[:, 2:] - pixel_N4[:, :2]
    order = np.argsort(-size_N2.prod(axis=1), kind="stable")[:MOST_BOXES]
    order = order[(size_N2[order] >= 1).all(axis=1)]
    box_M4 = np.zeros((MOST_BOXES, 4), np.float32)
    label_M = np.full(MOST_BOXES, NO_BOX, np.int64)
    box_M4[: len(order)], label_M[: len(order)] = pixel_N4[order], label_N[order]
    return {"image": squared(image, side), "box": box_M4, "label": label_M}


def stacked(rows: Sequence[dict[str, np.ndarray]], side: int) -> Columns:
    """Rows as columns, which keep their shape when there are none."""
    if rows:
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {
        "image": np.empty((0, side, side, 3), np.uint8),
        "box": np.empty((0, MOST_BOXES, 4), np.float32),
        "label": np.empty((0, MOST_BOXES), np.int64),
    }
