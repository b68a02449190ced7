"""Boxes drawn into a picture, for people to judge by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from visnet.platform.imaging import Box

COLORS = ("#e6194b", "#1e88e5", "#43a047", "#fb8c00", "#8e24aa", "#00acc1", "#d81b60", "#6d4c41")
TRUTH = "#ffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A box and what is written beside it."""

    box: Box
    text: str = ""
    color: str = TRUTH


def draw_boxes(image: Image.Image, boxes: Sequence[Drawn], *, side: int = 320) -> Image.Image:
    """A copy of a picture, its longer side scaled to `side`, with boxes and their texts."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for one in boxes:
        left, top, right, bottom = (edge * length for edge, length in zip(one.box, 2 * size, strict=True))
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        draw.rectangle(corners, outline="#000000", width=4)
        draw.rectangle(corners, outline=one.color, width=2)
        if one.text:
            at = (min(left + 2, size[0] - font.getlength(one.text) - 2), max(0.0, top - 14 if top > 14 else top + 2))
            draw.rectangle(draw.textbbox(at, one.text, font=font), fill=one.color)
            draw.text(at, one.text, fill="#ffffff" if one.color != TRUTH else "#000000", font=font)
    return picture
