"""From bytes to pixels: the only decoder of the project, bounded before it decodes.

Training, evaluation, batch and serving all see an image through `decode` and `Preprocessing.pixels`, so that none of
them can drift from the others. A JPEG far larger than needed is decoded at a reduced scale (draft mode), which is
where most of the time of a catalogue pass would go.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from visnet.platform.errors import ImageError, TooLargeError

MAX_IMAGE_BYTES = 20 * 2**20
MAX_IMAGE_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow knows many more, some of which run other programs (EPS): bytes from strangers do not get there."""
BAND_ROWS = 512
"""Rows of a picture with transparency that are laid on white at once."""
DETAIL = 4
"""A picture that is cut to a part of itself is decoded so many times wider than a whole one has to be."""


Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the upright image's width and height, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes the input of a network."""

    resize: int
    """Length in pixels that the shorter side is scaled to."""
    crop: int
    """Side in pixels of the centre square that is kept; at most `resize`."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from each colour channel, RGB, on the scale 0..1."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divides each colour channel after the mean is subtracted."""

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"expected 1 <= crop <= resize, got crop={self.crop}, resize={self.resize}")

    def pixels(self, data: bytes, *, box: Box | None = None) -> np.ndarray:
        """Decode, scale and crop one image.

        Args:
            box: only this part of the image, such as the item in a street photo.

        Returns:
            uint8, (crop, crop, 3), RGB.

        Raises:
            ImageError: see `decode`.
            ValueError: the box is empty or reaches beyond the image.
        """
        if box is None:
            return self.square(self.decoded(data))
        return self.part(self.decoded_for_parts(data), box)

    def decoded(self, data: bytes) -> Image.Image:
        """Decode an image that is wanted as a whole; raises as `decode`."""
        return decode(data, at_least=self.resize)

    def decoded_for_parts(self, data: bytes) -> Image.Image:
        """Decode an image of which several parts may be wanted; raises as `decode`."""
        return decode(data, at_least=DETAIL * self.resize)

    def part(self, image: Image.Image, box: Box) -> np.ndarray:
        """As `square`, of the part of a decoded image in a box; raises ValueError as `cut`.

        The part is framed as shop pictures are, whole: a box that is not square is widened to one, as far as the image
        reaches, or the centre square would leave a third of a pair of trousers.
        """
        return self.square(cut(image, framed(box, image.size)))

    def square(self, image: Image.Image) -> np.ndarray:
        """Scale and crop a decoded image: uint8, (crop, crop, 3), RGB."""
        width, height = image.size
        scale = self.resize / min(width, height)
        size = (max(self.resize, round(width * scale)), max(self.resize, round(height * scale)))
        left, top = (size[0] - self.crop) // 2, (size[1] - self.crop) // 2
        x, y = width / size[0], height / size[1]
        # only the square is scaled: the whole of a strip of 1 x 1,000,000 would be scaled to gigabytes
        box = (left * x, top * y, min((left + self.crop) * x, width), min((top + self.crop) * y, height))
        square = image.resize((self.crop, self.crop), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return np.asarray(square)


def decode(data: bytes, *, at_least: int | None = None) -> Image.Image:
    """Decode an image to RGB, upright, with transparency laid on white.

    Args:
        data: an encoded image (JPEG, PNG, WebP, ...).
        at_least: the shorter side may be reduced while decoding, but not below this many pixels.

    Raises:
        TooLargeError: over `MAX_IMAGE_BYTES` or `MAX_IMAGE_PIXELS`; found before decoding.
        ImageError: empty, truncated, or not an image.
    """
    if not data:
        raise ImageError("the image is empty (0 bytes)")
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLargeError(f"the image has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are accepted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning (our own bound is below) and broken EXIF
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise TooLargeError(f"the image has {width}x{height} pixels; at most {MAX_IMAGE_PIXELS} are accepted")
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except UnidentifiedImageError:
        raise ImageError("the bytes are not an image of a known format (JPEG, PNG, WebP, GIF, BMP, TIFF)") from None
    except Image.DecompressionBombError as error:
        raise TooLargeError(str(error)) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image is broken: {error}") from None


def framed(box: Box, size: tuple[int, int]) -> Box:
    """The box, widened to a square of an image of that size, as far as the image reaches.

    Raises:
        ValueError: it is no box; see `cut`.
    """
    left, top, right, bottom = _checked(box)
    side = max((right - left) * size[0], (bottom - top) * size[1])
    left, right = _span(left, right, side / size[0])
    top, bottom = _span(top, bottom, side / size[1])
    return left, top, right, bottom


def _span(low: float, high: float, length: float) -> tuple[float, float]:
    """The interval lengthened about its centre, moved to be within 0..1, or all of it."""
    if length >= 1:
        return 0.0, 1.0
    start = min(max(0.0, (low + high - length) / 2), 1 - length)
    return min(start, low), max(high, min(1.0, start + length))


def _checked(box: Box) -> Box:
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"expected a box with 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {tuple(box)}")
    return box


def cut(image: Image.Image, box: Box) -> Image.Image:
    """The part of an image inside a box, at least one pixel wide and high.

    Raises:
        ValueError: the box is empty, reversed or reaches beyond 0..1.
    """
    left, top, right, bottom = _checked(box)
    x, y = min(int(left * image.width), image.width - 1), min(int(top * image.height), image.height - 1)
    return image.crop((x, y, max(x + 1, round(right * image.width)), max(y + 1, round(bottom * image.height))))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" or image.has_transparency_data:
        return _on_white(image)
    if image.mode.startswith("I;16"):  # Pillow would cut 16 bits of grey off at 255: all white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """A band at a time: all at once, a picture of the largest size takes a gigabyte in copies of itself."""
    laid = Image.new("RGB", image.size)
    for top in range(0, image.height, BAND_ROWS):
        bounds = (0, top, image.width, min(top + BAND_ROWS, image.height))
        band = image.crop(bounds).convert("RGBA")
        laid.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), bounds)
    return laid


def encode_png(pixels: np.ndarray) -> bytes:
    """A uint8 (H, W) or (H, W, 3) array as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def content_hash(data: bytes) -> str:
    """The key of an image's bytes: 32 hex digits of BLAKE2b. Equal bytes share a vector and count as duplicates."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
