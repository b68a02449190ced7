"""Boxes as shares of a picture: left, top, right, bottom, each 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visnet.platform.imaging import Box

# N, M boxes

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def check_box(box: Sequence[float]) -> Box:
    """Four numbers as a box.

    Raises:
        ValueError: there are not four, or the box is empty, reversed, or reaches beyond 0..1.
    """
    if len(box) == 4:
        left, top, right, bottom = (float(edge) for edge in box)
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise ValueError(
        "expected a box of left, top, right, bottom as shares of the picture's width and height, "
        f"0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {list(box)}"
    )


def overlaps(box_N4: np.ndarray, box_M4: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair, float32 (N, M); 0 where both are empty."""
    low_NM2 = np.maximum(box_N4[:, None, :2], box_M4[None, :, :2])
    high_NM2 = np.minimum(box_N4[:, None, 2:], box_M4[None, :, 2:])
    both_NM = np.clip(high_NM2 - low_NM2, 0, None).prod(axis=2)
    either_NM = areas(box_N4)[:, None] + areas(box_M4)[None, :] - both_NM
    share_NM: np.ndarray = (both_NM / np.maximum(either_NM, 1e-12)).astype(np.float32)
    return share_NM


def areas(box_N4: np.ndarray) -> np.ndarray:
    """The share of the picture that each box covers, (N,)."""
    area_N: np.ndarray = np.clip(box_N4[:, 2:] - box_N4[:, :2], 0, None).prod(axis=1)
    return area_N


def widened(box: Box, margin: float) -> Box:
    """A box with `margin` of its width and height added at each side, as far as the picture reaches."""
    left, top, right, bottom = box
    x, y = margin * (right - left), margin * (bottom - top)
    return max(0.0, left - x), max(0.0, top - y), min(1.0, right + x), min(1.0, bottom + y)
