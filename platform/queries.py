"""Query photos made from product pictures: synthetic wild views (`views.py`), as the bytes a shopper would send."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from visnet.platform.imaging import Preprocessing, encode_png
from visnet.platform.views import WildViewSettings, wild_views

BATCH = 64


def wild_queries(
    images: Sequence[bytes], *, seed: int, side: int, settings: WildViewSettings | None = None
) -> list[bytes]:
    """One synthetic photo of each product picture, as PNG.

    Args:
        images: encoded product pictures on a plain background; they also serve as each other's clutter.
        seed: the same seed and pictures give the same photos.
        side: of the square photos, in pixels.

    Raises:
        ImageError: a picture can't be decoded.
    """
    preprocessing = Preprocessing(resize=side, crop=side)
    generator = torch.Generator().manual_seed(seed)
    photos: list[bytes] = []
    for start in range(0, len(images), BATCH):
        pixels = np.stack([preprocessing.pixels(image) for image in images[start : start + BATCH]])
        views_BCHW = wild_views(torch.from_numpy(pixels).permute(0, 3, 1, 2), generator=generator, settings=settings)
        photos += [encode_png(view) for view in views_BCHW.permute(0, 2, 3, 1).numpy()]
    return photos
