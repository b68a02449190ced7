"""Small pictures for a report: JPEG bytes, and the same as a data URI for a page that needs no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw

from visnet.platform.errors import ImageError
from visnet.platform.imaging import Box, cut, decode

SIDE = 160
QUALITY = 80
FRAME = (235, 64, 52)


def thumbnail(data: bytes, *, box: Box | None = None, frame: Box | None = None, side: int = SIDE) -> bytes:
    """A picture, or the part of it in a box, no side longer than `side` pixels, as JPEG; a tiny one is enlarged.

    Args:
        box: show only this part.
        frame: draw this box on it.

    Raises:
        ImageError: the bytes can't be used as an image.
    """
    image = decode(data, at_least=None if box else 2 * side)
    if box is not None:
        image = cut(image, box)
    image.thumbnail((side, side))
    if (enlarged := side // max(image.size)) > 1:  # its pixels stay visible, instead of a blur made by the browser
        image = image.resize((enlarged * image.width, enlarged * image.height), Image.Resampling.NEAREST)
    if frame is not None:
        left, right = (round(share * (image.width - 1)) for share in (frame[0], frame[2]))
        top, bottom = (round(share * (image.height - 1)) for share in (frame[1], frame[3]))
        ImageDraw.Draw(image).rectangle((left, top, right, bottom), outline=FRAME, width=3)
    return _jpeg(image)


def data_uri(jpeg: bytes) -> str:
    """The picture as a URI that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def blank(side: int = SIDE) -> bytes:
    """What stands for a picture that can't be shown."""
    return _jpeg(Image.new("RGB", (side, side), (200, 200, 200)))


def thumbnail_or_blank(data: bytes, *, box: Box | None = None, frame: Box | None = None) -> bytes:
    """As `thumbnail`; grey where the picture can't be decoded any more."""
    try:
        return thumbnail(data, box=box, frame=frame)
    except ImageError:
        return blank()


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
