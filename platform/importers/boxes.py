"""Boxes of data sets as visnet keeps them: shares of the upright image instead of pixels."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from visnet.platform.catalog_rows import is_box
from visnet.platform.errors import ImageError
from visnet.platform.imaging import FORMATS, Box

TURNED = (5, 6, 7, 8)
"""The values of EXIF's orientation with which width and height change places; Pillow does so for TIFF by itself."""


def parsed(values: Iterable[object]) -> Box:
    """Left, top, right and bottom from the texts or numbers of an annotation.

    Raises:
        ValueError: they are not four finite numbers.
    """
    left, top, right, bottom = numbers = [float(str(value)) for value in values]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected four finite numbers, got {numbers}")
    return left, top, right, bottom


def is_empty(box: Box) -> bool:
    """True if the box is empty or reversed."""
    left, top, right, bottom = box
    return left >= right or top >= bottom


def as_kept(box: Box) -> Box | None:
    """A box of shares as single-precision numbers, as a catalogue keeps it; None if that is no valid box."""
    left, top, right, bottom = (float(np.float32(share)) for share in box)
    return (left, top, right, bottom) if is_box([left, top, right, bottom]) else None


def as_shares(box: Box, size: tuple[int, int]) -> Box | None:
    """A box of pixels, cut to the image, as shares of its width and height; None if nothing of it is left."""
    width, height = size
    left, top, right, bottom = box
    clipped = (max(left / width, 0.0), max(top / height, 0.0), min(right / width, 1.0), min(bottom / height, 1.0))
    return as_kept(clipped)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of an encoded image as it is shown, from its header alone.

    Raises:
        ImageError: it is no image of a known format, or too broken to tell.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning (nothing is decoded here) and broken EXIF
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if not (width and height):
                raise ImageError(f"the image has {width}x{height} pixels")
            turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in TURNED
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image's size can't be told: {error}") from None
    return (height, width) if turned else (width, height)
