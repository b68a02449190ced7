"""Shop pictures without their plain background, the raw material of composed scenes (see `scenes`).

A shop picture shows its product before a plain background, so the mask comes by itself: the background is what is
connected to the border and close to the border's colour. That is cheap (4 to 5 ms for a picture of 224 pixels) and
fails where the product has the colour of the background and no edge to it; pictures whose border is not plain, such
as photos, are refused rather than cut badly.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter
from scipy import ndimage  # type: ignore[import-untyped]

# H height, W width, C channels (RGB or RGBA), K pixels of the border

WORKING_SIDE = 256
"""Longer side in pixels at which the mask is found; the colours are taken from the picture itself."""
PLAIN, NEAR = 5, 24
"""A channel of the background differs from the border's median by at most PLAIN (0..255). In the 1 to 3 pixels next
to the product, where JPEG rings and the edge mixes with the background, NEAR is near enough."""
LEAST_PLAIN = 0.5
"""Share of the border that has to have the background's colour; the product may touch the rest."""
LEAST_AREA, MOST_AREA = 0.004, 0.97
"""Share of the picture that a product covers: below is dirt, above there is no background."""
LEAST_PIECE = 0.03
"""A piece smaller than this share of the largest is dropped as a speck."""
SEAM = 0.015
"""Gaps in a product's outline up to about this share of the picture's side are closed."""


def cut_out(image: Image.Image, *, longest: int) -> np.ndarray | None:
    """The product of a shop picture without its plain background.

    Holes of the background's colour inside the product stay product (a white label), several pieces are all kept (a
    pair of shoes), specks are dropped, and a product may touch or cross the picture's border.

    Args:
        image: any mode, transparency already laid on a plain colour (`imaging.decode` does).
        longest: the result's longer side in pixels is at most this; nothing is enlarged.

    Returns:
        uint8 RGBA, (h, w, 4), tight around the product, with a soft edge that keeps no colour of the background.
        None if the background is not plain, or nothing or everything stands out from it.

    Raises:
        ValueError: `longest` is below 1.
    """
    if longest < 1:
        raise ValueError(f"expected longest >= 1, got {longest}")
    image = image.convert("RGB")
    small = image.copy()
    small.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    mask_HW = _product_mask(np.asarray(small))
    if mask_HW is None:
        return None
    rows, columns = ndimage.find_objects(mask_HW.view(np.uint8))[0]
    x, y = image.width / small.width, image.height / small.height
    inside = (columns.start, rows.start, columns.stop, rows.stop)
    box = (inside[0] * x, inside[1] * y, inside[2] * x, inside[3] * y)
    scale = min(1.0, longest / max(box[2] - box[0], box[3] - box[1]))
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    alpha = _soft(mask_HW).resize(size, Image.Resampling.BILINEAR, box=inside)
    return _without_halo(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0), alpha)


def _product_mask(pixel_HWC: np.ndarray) -> np.ndarray | None:
    """True on the product; None if the border is not plain or the product no part of the picture."""
    border_CK = np.concatenate([pixel_HWC[0], pixel_HWC[-1], pixel_HWC[:, 0], pixel_HWC[:, -1]]).T
    background_C = np.median(border_CK, axis=1).astype(np.int16)
    pixel_CHW = pixel_HWC.transpose(2, 0, 1).astype(np.int16, order="C")
    distance_HW = np.abs(pixel_CHW - background_C[:, None, None]).max(axis=0)
    if (_border(distance_HW) <= PLAIN).mean() < LEAST_PLAIN:
        return None
    mask_HW = _filled(~_flooded(distance_HW <= PLAIN))
    fringe_HW = mask_HW & (distance_HW <= NEAR)
    width = 1 + max(mask_HW.shape) // 96
    mask_HW &= ~ndimage.binary_dilation(~mask_HW, mask=fringe_HW, iterations=width)
    mask_HW = _without_specks(mask_HW)
    return mask_HW if LEAST_AREA <= mask_HW.mean() <= MOST_AREA else None


def _border(any_HW: np.ndarray) -> np.ndarray:
    return np.concatenate([any_HW[0], any_HW[-1], any_HW[:, 0], any_HW[:, -1]])


def _flooded(open_HW: np.ndarray) -> np.ndarray:
    """The part of `open_HW` that is connected to the picture's border."""
    label_HW, count = ndimage.label(open_HW)
    reached = np.zeros(count + 1, bool)
    reached[_border(label_HW)] = True
    reached[0] = False
    return reached[label_HW]


def _filled(mask_HW: np.ndarray) -> np.ndarray:
    """With the holes that open to the background through a narrow gap in the outline only."""
    wide = 2 * round(SEAM * max(mask_HW.shape)) + 1
    closed_HW = ndimage.minimum_filter(ndimage.maximum_filter(mask_HW, wide, mode="constant"), wide, mode="nearest")
    hole_HW = ~closed_HW & ~_flooded(~closed_HW)
    return mask_HW | (ndimage.maximum_filter(hole_HW, wide + 2) & (closed_HW | hole_HW)) if hole_HW.any() else mask_HW


def _without_specks(mask_HW: np.ndarray) -> np.ndarray:
    label_HW, _ = ndimage.label(mask_HW, structure=np.ones((3, 3), bool))
    area = np.bincount(label_HW.ravel())
    area[0] = 0
    return (area >= max(1, LEAST_PIECE * area.max()))[label_HW]


def _soft(mask_HW: np.ndarray) -> Image.Image:
    """Opacity that falls off towards the edge within the mask and is 0 outside."""
    hard = Image.fromarray(mask_HW.astype(np.uint8) * 255)
    return ImageChops.darker(hard, hard.filter(ImageFilter.GaussianBlur(0.7)))


def _without_halo(image: Image.Image, alpha: Image.Image) -> np.ndarray:
    """Edges mix in the background's colour: theirs is replaced by that of the product's pixels next to them."""
    core = alpha.point([0] * 245 + [255] * 11)
    image.putalpha(core)
    spread = image.convert("RGBa").filter(ImageFilter.BoxBlur(2)).convert("RGBA")
    far_from_core = spread.getchannel("A").point([255] + [0] * 255)
    spread.paste(image, mask=ImageChops.lighter(core, far_from_core))
    spread.putalpha(alpha)
    return np.array(spread)
