"""Small pictures of products: what a page of results loads instead of the originals, which are up to a hundred times as
large."""

from __future__ import annotations

import io

from PIL import Image

from visnet.platform.imaging import decode

SIZES = (160, 320, 640)
"""Pixels of the longer side. Few, so that caches meet the same ones."""
QUALITY = 82
MEDIA_TYPE = "image/webp"


def thumbnail(data: bytes, size: int) -> bytes:
    """A picture as WebP, its longer side at most `size` pixels; a smaller one keeps its size.

    Raises:
        ImageError: see `imaging.decode`.
    """
    image = decode(data, at_least=size)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
