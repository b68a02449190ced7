"""The detector: from a decoded photo to the items in it, each with a box, a confidence and its likely categories.

As with the encoder, preprocessing, network and what is made of its output are one class, used alike by evaluation and
serving. A photo is scaled into a square, never stretched, so a box keeps its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visnet.platform.boxes import areas, overlaps
from visnet.platform.detector_manifest import DetectorManifest, detector_directory, detector_manifest
from visnet.platform.detectors import DetectorRecipe, make_detector_recipe
from visnet.platform.detectors.network import Boxes, DetectionNetwork
from visnet.platform.errors import DigestMismatchError
from visnet.platform.imaging import Box, Preprocessing
from visnet.platform.manifest import write_manifest
from visnet.platform.networks import describe_recipe
from visnet.platform.store import Store
from visnet.platform.weights import network_digest, read_weights, write_weights

# B batch, N boxes found, C channels, H height, W width

PRODUCT = "product"
"""The class of a detector that tells no categories apart."""
SAME_ITEM = 0.5
"""Boxes that overlap by more than this (intersection over union) show one item."""
LEAST_SIDE = 8
"""Photos that are narrower than this many pixels, or are so in the network's square, have nothing to be found."""
GREY = 114


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something found in a photo."""

    box: Box
    confidence: float
    """0..1."""
    categories: tuple[tuple[str, float], ...]
    """Likely categories with their shares, best first, adding up to 1; empty if the detector tells none apart."""

    @property
    def prominence(self) -> float:
        """What a photo is of is large in it: confidence times the root of its share of the picture."""
        left, top, right, bottom = self.box
        return self.confidence * float(np.sqrt((right - left) * (bottom - top)))


class Detector:
    """Decoded photos -> items.

    Args:
        recipe: what the network is.
        classes: what it tells apart, in the order of its labels.
        network: its network; fresh weights if left out.
        min_confidence: what is less sure is not worth a search.
        device: where it runs.
    """

    def __init__(
        self,
        recipe: DetectorRecipe,
        classes: Sequence[str],
        network: DetectionNetwork | None = None,
        *,
        min_confidence: float = 0.3,
        device: str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.classes = list(classes)
        self.min_confidence = min_confidence
        self.device = torch.device(device)
        self.network = (network or recipe.build(len(self.classes))).to(self.device).eval()

    def normalise(self, pixel_BCHW: Tensor) -> Tensor:
        """uint8 pixels -> the network's float input, on the detector's device."""
        return pixel_BCHW.to(self.device).float() / 255

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image], *, batch_size: int = 32) -> list[list[Item]]:
        """The items of each photo, sure or not (see `sure`), the most prominent first.

        Args:
            batch_size: photos per forward pass.
        """
        side = self.recipe.image_size
        found: list[list[Item]] = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            pixel_BCHW = torch.from_numpy(np.stack([squared(image, side) for image in batch])).permute(0, 3, 1, 2)
            boxes = self.network(self.normalise(pixel_BCHW))
            found += [self._items(image.size, one) for image, one in zip(batch, boxes, strict=True)]
        return found

    def sure(self, items: Sequence[Item]) -> list[Item]:
        """Those that are worth a search."""
        return [item for item in items if item.confidence >= self.min_confidence]

    def shares(self, size: tuple[int, int], box_N4: Tensor) -> np.ndarray:
        """Boxes in the network's square as shares of a photo of that size, float32 (N, 4), within 0..1."""
        width, height = scaled_size(size, self.recipe.image_size)
        edge_4 = np.array([width, height, width, height], np.float32)
        share_N4: np.ndarray = np.clip(box_N4.float().cpu().numpy() / edge_4, 0, 1)
        return share_N4

    def digest(self) -> str:
        """SHA-256, hex, of the recipe, the classes and every weight by name."""
        return network_digest(self.network, {"recipe": describe_recipe(self.recipe), "classes": self.classes})  # type: ignore[arg-type]

    def _items(self, size: tuple[int, int], boxes: Boxes) -> list[Item]:
        if min(*size, *scaled_size(size, self.recipe.image_size)) < LEAST_SIDE or boxes.score_N is None:
            return []
        items = grouped(
            self.shares(size, boxes.box_N4),
            boxes.score_N.float().cpu().numpy(),
            [self.classes[label] for label in boxes.label_N.tolist()],
        )
        return sorted(items, key=lambda item: -item.prominence)


def worth_parts(image: Image.Image, preprocessing: Preprocessing) -> bool:
    """Whether parts of a photo can show an encoder more than the whole of it does: it has more pixels than that."""
    return min(image.size) > preprocessing.resize


def squared(image: Image.Image, side: int) -> np.ndarray:
    """A photo scaled to the network's square, from its upper left corner, grey beside it: uint8, (side, side, 3)."""
    square = np.full((side, side, 3), GREY, np.uint8)
    width, height = scaled_size(image.size, side)
    square[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return square


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height of a photo whose longer side is scaled to `side` pixels; at least 1 each."""
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def grouped(box_N4: np.ndarray, score_N: np.ndarray, names: Sequence[str]) -> list[Item]:
    """One item for each place where there are boxes, however many classes were seen there.

    The surest box of a place is the item's; those that lie on it say which other categories it may be. An item's
    shares are those boxes' scores, the highest of each class, divided by their sum. A box without extent is none.

    Args:
        box_N4: shares of the picture.
        names: each box's class.
    """
    order = [place for place in np.argsort(-score_N, kind="stable").tolist() if areas(box_N4)[place] > 0]
    same_NN = overlaps(box_N4, box_N4) > SAME_ITEM
    items: list[Item] = []
    taken: set[int] = set()
    for place in order:
        if place in taken:
            continue
        group = [other for other in order if same_NN[place, other] and other not in taken]
        taken.update(group)
        best: dict[str, float] = {}
        for other in group:
            best.setdefault(names[other], float(score_N[other]))
        total = sum(best.values())
        categories = () if set(best) == {PRODUCT} else tuple((name, score / total) for name, score in best.items())
        left, top, right, bottom = (float(edge) for edge in box_N4[place])
        items.append(Item(box=(left, top, right, bottom), confidence=float(score_N[place]), categories=categories))
    return items


def save_detector(
    store: Store, detector: Detector, *, catalog: str, files: Mapping[str, bytes] | None = None, **further: Any
) -> DetectorManifest:
    """Write a detector as an artifact: its weights first, the manifest last.

    Args:
        files: to be kept beside it, by name.
        further: other fields of the manifest.
    """
    digest = detector.digest()
    name = f"{detector.recipe.name}-{digest[:12]}"
    write_weights(store, detector_directory(name), detector.network)
    for file, content in (files or {}).items():
        store.write(f"{detector_directory(name)}/{file}", content)
    manifest = DetectorManifest(
        detector=name,
        digest=digest,
        recipe=describe_recipe(detector.recipe),  # type: ignore[arg-type]
        classes=detector.classes,
        catalog=catalog,
        min_confidence=detector.min_confidence,
        **further,
    )
    write_manifest(store, detector_directory(name), manifest)
    return manifest


def load_detector(store: Store, name: str, *, device: str = "cpu") -> Detector:
    """Read a detector and check that its weights are those the manifest was written for.

    Raises:
        NotFoundError: no such detector.
        DigestMismatchError: the weights, the recipe or the classes were changed since.
    """
    manifest = detector_manifest(store, name)
    recipe = make_detector_recipe(**manifest.recipe)
    detector = Detector(recipe, manifest.classes, min_confidence=manifest.min_confidence, device=device)
    read_weights(store, detector_directory(name), detector.network)
    if (digest := detector.digest()) != manifest.digest:
        raise DigestMismatchError(
            f"detector {name} is not what its manifest says (digest {digest[:12]}, expected {manifest.digest[:12]}): "
            "its files were changed; restore it or train anew"
        )
    return detector
