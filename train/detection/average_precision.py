"""Average precision of found items, by pycocotools: the reference implementation of COCO's metrics.

What is judged is what serving would show: one box and one category for each item. Boxes come as shares of their
pictures; the sizes that COCO tells apart (small, medium, large) are not used.

Source: Lin et al., "Microsoft COCO" (arXiv:1405.0312); https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visnet.platform.boxes import overlaps
from visnet.platform.detector import PRODUCT, Item

# N boxes

UNIT = 1000
"""pycocotools thinks in pixels: a picture is so many wide and high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is in one picture."""

    box_N4: np.ndarray
    categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How well items are found, each share 0..1."""

    pictures: int
    items: int
    """That are in them."""
    ap50: float | None
    """Mean over the categories, at an overlap of 0.5; None without any item."""
    ap50_95: float | None
    """Mean over overlaps of 0.5 to 0.95."""
    found_ap50: float | None
    """As `ap50`, whatever category an item is taken for."""
    by_category: dict[str, float] = field(default_factory=dict)
    """`ap50` of each."""


def average_precision(truth: Sequence[Truth], found: Sequence[Sequence[Item]]) -> Precision:
    """Judge what was found in some pictures.

    Args:
        truth: of each picture.
        found: in each picture, sure or not; a detector without categories has everything of the truth's only category.
    """
    names = sorted({name for one in truth for name in one.categories})
    ap50_95, by_category = _evaluated(truth, found, names)
    unnamed = [[dataclasses.replace(item, categories=()) for item in items] for items in found]
    alike = [Truth(box_N4=one.box_N4, categories=(PRODUCT,) * len(one.box_N4)) for one in truth]
    _, whole = _evaluated(alike, unnamed, [PRODUCT])
    return Precision(
        pictures=len(truth),
        items=sum(len(one.categories) for one in truth),
        ap50=_mean(by_category),
        ap50_95=ap50_95,
        found_ap50=_mean(whole),
        by_category=by_category,
    )


def best_threshold(truth: Sequence[Truth], found: Sequence[Sequence[Item]], *, overlap: float = 0.5) -> float:
    """The confidence from which on items are to be believed: where precision and recall are best together (F1).

    An item is right if it overlaps with one of the truth that no surer item has taken, whatever its category.
    """
    right, confidence = _matches(truth, found, overlap)
    total = sum(len(one.box_N4) for one in truth)
    if not len(right) or not total:
        return 0.5
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + total)
    f1[:-1][np.diff(confidence[order]) == 0] = 0  # a threshold lets in all that are equally sure
    return float(confidence[order][int(f1.argmax())])


def _matches(truth: Sequence[Truth], found: Sequence[Sequence[Item]], overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Of every item found: whether it is right, and its confidence."""
    right: list[bool] = []
    confidence: list[float] = []
    for one, items in zip(truth, found, strict=True):
        taken: set[int] = set()
        for item in sorted(items, key=lambda item: -item.confidence):
            shares = overlaps(np.array([item.box], np.float32), one.box_N4)[0]
            free = [place for place in np.argsort(-shares).tolist() if place not in taken and shares[place] >= overlap]
            taken.update(free[:1])
            right.append(bool(free))
            confidence.append(item.confidence)
    return np.array(right, bool), np.array(confidence, np.float64)


def _evaluated(
    truth: Sequence[Truth], found: Sequence[Sequence[Item]], names: Sequence[str]
) -> tuple[float | None, dict[str, float]]:
    """AP50:95, and AP50 by category; items of a category that is nowhere in the truth count for none."""
    from pycocotools import coco, cocoeval

    number = {name: place for place, name in enumerate(names, start=1)}
    annotations = [
        _annotation(picture, box, number[name])
        for picture, one in enumerate(truth, start=1)
        for box, name in zip(one.box_N4, one.categories, strict=True)
    ]
    detections = [
        {**_annotation(picture, np.array(item.box), number[name]), "score": item.confidence}
        for picture, items in enumerate(found, start=1)
        for item in items
        if (name := _category(item, names)) in number
    ]
    if not annotations:
        return None, {}
    if not detections:
        return 0.0, dict.fromkeys(names, 0.0)
    with _quiet(coco, cocoeval):
        known = coco.COCO()
        known.dataset = _dataset(len(truth), annotations, names)
        known.createIndex()
        evaluation = cocoeval.COCOeval(known, known.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TRK = evaluation.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, categories; all sizes, 100 items
    by_category = {name: _share(precision_TRK[0, :, place]) for place, name in enumerate(names)}
    return _share(precision_TRK), {name: value for name, value in by_category.items() if value is not None}


def _dataset(pictures: int, annotations: list[dict[str, Any]], names: Sequence[str]) -> Any:
    """As a COCO-style JSON has it."""
    return {
        "info": {},
        "images": [{"id": picture} for picture in range(1, pictures + 1)],
        "annotations": [{**one, "id": place} for place, one in enumerate(annotations, start=1)],
        "categories": [{"id": place, "name": name} for place, name in enumerate(names, start=1)],
    }


@contextlib.contextmanager
def _quiet(*modules: Any) -> Iterator[None]:
    """pycocotools prints its progress, and Ray Train sends what a worker prints to its log wherever stdout goes."""
    for module in modules:
        module.print = lambda *words, **options: None
    try:
        yield
    finally:
        for module in modules:
            del module.print


def _annotation(picture: int, box_4: np.ndarray, category: int) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) * UNIT for edge in box_4)
    size = [right - left, bottom - top]
    return {
        "image_id": picture,
        "category_id": category,
        "bbox": [left, top, *size],
        "area": size[0] * size[1],
        "iscrowd": 0,
    }


def _category(item: Item, names: Sequence[str]) -> str:
    if item.categories:
        return item.categories[0][0]
    return names[0] if len(names) == 1 else ""


def _share(precision: np.ndarray) -> float | None:
    """The mean of what is known: pycocotools has -1 where there is no item."""
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None


def _mean(by_category: dict[str, float]) -> float | None:
    return float(np.mean(list(by_category.values()))) if by_category else None
