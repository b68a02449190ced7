"""Cut-out pictures lying on a scene, and what can be seen of each under those that lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

# H height, W width, N items that are visible

OPAQUE = 128
"""From this opacity on a pixel of a cutout belongs to the item and hides what is below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An item or an occluder, and where its top left corner lies in the scene, in pixels."""

    image: Image.Image
    left: int
    top: int
    opaque_HW: np.ndarray
    cutout: int = -1
    """Which of the cutouts; -1: an occluder."""


def tight_layer(image: Image.Image, left: int, top: int, cutout: int = -1) -> Layer | None:
    """A picture cut down to what is opaque of it; None if nothing is."""
    opaque_HW = np.asarray(image.getchannel("A")) >= OPAQUE
    found = ndimage.find_objects(opaque_HW.view(np.uint8))
    if not found:
        return None
    rows, columns = found[0]
    tight = image.crop((columns.start, rows.start, columns.stop, rows.stop))
    return Layer(tight, left + columns.start, top + rows.start, opaque_HW[rows, columns], cutout)


def seen(
    layers: Sequence[Layer], over: Sequence[Layer], size: tuple[int, int], least: float
) -> tuple[list[Layer], np.ndarray, np.ndarray]:
    """The items of which enough can be seen, their number (from 1) at each of their pixels, their visible share.

    The least visible item is taken out first: without it, enough may be seen of another.

    Args:
        layers: the items in the order in which they are laid down.
        over: what hides them and is none.
        size: width and height of the scene in pixels.
        least: the share of its area that has to be seen of an item, 0..1.
    """
    layers = list(layers)
    while True:
        owner_HW = np.zeros((size[1], size[0]), np.int16)
        for number, layer in enumerate([*layers, *over], start=1):
            top, left = max(layer.top, 0), max(layer.left, 0)
            part_HW = layer.opaque_HW[top - layer.top : size[1] - layer.top, left - layer.left : size[0] - layer.left]
            owned_HW = owner_HW[top : top + part_HW.shape[0], left : left + part_HW.shape[1]]
            owned_HW[part_HW] = number if number <= len(layers) else 0
        seen_N = np.bincount(owner_HW.ravel(), minlength=len(layers) + 1)[1:]
        visible_N = (seen_N / np.array([layer.opaque_HW.sum() for layer in layers])).astype(np.float32)
        if not layers or visible_N.min() >= max(least, 1e-6):
            return layers, owner_HW, visible_N
        del layers[int(visible_N.argmin())]


def overlap(corner: np.ndarray, extent: np.ndarray, other: Layer) -> float:
    """Share of the smaller of two rectangles that lies in the other."""
    low, own = np.array([other.left, other.top]), np.array(other.image.size)
    common = np.minimum(corner + extent, low + own) - np.maximum(corner, low)
    return float(np.prod(np.maximum(common, 0)) / min(np.prod(extent), np.prod(own)))
