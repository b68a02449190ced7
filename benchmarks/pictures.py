"""Pictures that the benchmarks are about, made on the spot. Measures nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from PIL import Image

from visnet.platform.encoder import Encoder
from visnet.platform.imaging import encode_png

TINY_SIDE = 64
"""Networks that see no more than this get tiny pictures."""


def sees_tiny(encoder: Encoder) -> bool:
    """Whether an encoder gets tiny pictures or photos."""
    return encoder.preprocessing.crop <= TINY_SIDE


def pictures_for(encoder: Encoder, count: int) -> list[bytes]:
    """As many pictures of an encoder's kind, each with bytes of its own."""
    return tiny_pngs(count) if sees_tiny(encoder) else many_photos(count)


def catalogue_rows(images: Sequence[bytes]) -> pa.Table:
    """A catalogue's rows: every picture a product of its own."""
    names = [f"product-{number:06d}" for number in range(len(images))]
    category = [f"category-{number % 10}" for number in range(len(images))]
    return pa.table({"image_id": names, "product_id": names, "category": category, "image": pa.array(images)})


def tiny_pngs(count: int, *, side: int = 28, seed: int = 0) -> list[bytes]:
    """Grey pictures of soft blobs, as PNG."""
    dice = np.random.default_rng(seed)
    coarse = dice.integers(0, 256, (count, 5, 5), dtype=np.uint8)
    blobs = [Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC) for grid in coarse]
    return [encode_png(np.asarray(blob)) for blob in blobs]


def many_photos(count: int) -> list[bytes]:
    """As many photos with bytes of their own: few that differ, each with a number behind its end."""
    kinds = photo_jpegs(16)
    return [kinds[number % len(kinds)] + number.to_bytes(4, "big") for number in range(count)]


def photo_jpegs(count: int, *, size: tuple[int, int] = (1600, 1200), seed: int = 0) -> list[bytes]:
    """Pictures with a photo's mix of large forms, texture and noise, as JPEG of about a third of a megabyte."""
    dice = np.random.default_rng(seed)
    photos = []
    for _ in range(count):
        mixed = np.zeros((size[1], size[0], 3), np.float32)
        for cells, weight in ((6, 0.6), (60, 0.25), (400, 0.15)):
            grid = Image.fromarray(dice.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            mixed += weight * np.asarray(grid.resize(size, Image.Resampling.BICUBIC), np.float32)
        buffer = io.BytesIO()
        Image.fromarray(mixed.astype(np.uint8)).save(buffer, format="JPEG", quality=85)
        photos.append(buffer.getvalue())
    return photos
