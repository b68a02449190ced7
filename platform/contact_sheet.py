"""Contact sheets: a picture of queries and what they found, a row each, for a person to judge by eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from visnet.platform.errors import ImageError
from visnet.platform.imaging import decode

CELL = 112
GAP = 8
HEADER = 44
CAPTION = 18
GREEN, RED, GREY, INK, PAPER = (24, 140, 70), (170, 40, 40), (205, 205, 205), (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One query and its results."""

    query: bytes
    """The photo that was sent."""
    expected: bytes
    """The picture of the product that is in it."""
    results: Sequence[tuple[bytes, str, bool]]
    """(picture, caption, whether it is the expected product), best first."""
    rank: int | None
    """Where the expected product stands in the whole answer, from 1; None if it is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture of a grid."""

    picture: bytes
    caption: str
    right: bool | None = None
    """Framed in green, or in red; None: in grey."""


def grid_sheet(
    rows: Sequence[Sequence[Cell | None]], *, title: str, notes: Sequence[str], headings: Sequence[str]
) -> bytes:
    """A PNG of captioned pictures in columns with headings, below a title and lines of notes; None leaves a gap."""
    top = HEADER + len(notes) * CAPTION
    title_font, font = ImageFont.load_default(18), ImageFont.load_default(12)
    longest = max([title_font.getlength(title), *(font.getlength(note) for note in notes)])
    width = GAP + max(len(headings) * (CELL + GAP), int(longest) + GAP)
    sheet = Image.new("RGB", (width, top + CAPTION + len(rows) * (CELL + CAPTION + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 12), title, fill=INK, font=title_font)
    for number, note in enumerate(notes):
        draw.text((GAP, HEADER - 4 + number * CAPTION), note, fill=INK, font=font)
    for column, heading in enumerate(headings):
        draw.text((GAP + column * (CELL + GAP), top), heading, fill=INK, font=font)
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            if cell is not None:
                left, upper = GAP + column * (CELL + GAP), top + CAPTION + number * (CELL + CAPTION + GAP)
                _paste(sheet, cell.picture, left, upper)
                frame = GREY if cell.right is None else GREEN if cell.right else RED
                draw.rectangle((left - 2, upper - 2, left + CELL + 1, upper + CELL + 1), outline=frame, width=2)
                draw.text((left, upper + CELL + 3), cell.caption, fill=INK)
    return _png(sheet)


def contact_sheet(rows: Sequence[Row], *, title: str) -> bytes:
    """A PNG with a row per query: the photo, the product in it, then the results, the right one framed in green."""
    columns = 2 + max((len(row.results) for row in rows), default=0)
    width = GAP + columns * (CELL + GAP) + GAP
    height = HEADER + CAPTION + len(rows) * (CELL + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 12), title, fill=INK, font=ImageFont.load_default(18))
    for column, heading in enumerate(["photo (query)", "product in it", "results, best first"]):
        draw.text((_left(column), HEADER), heading, fill=INK, font=ImageFont.load_default(12))
    for number, row in enumerate(rows):
        top = HEADER + CAPTION + number * (CELL + CAPTION + GAP)
        _paste(sheet, row.query, _left(0), top)
        _paste(sheet, row.expected, _left(1), top)
        note = f"rank {row.rank}" if row.rank else "not found"
        draw.text((_left(1), top + CELL + 3), note, fill=GREEN if row.rank else RED)
        for column, (picture, caption, right) in enumerate(row.results, start=2):
            _paste(sheet, picture, _left(column), top)
            frame = GREEN if right else GREY
            box = (_left(column) - 2, top - 2, _left(column) + CELL + 1, top + CELL + 1)
            draw.rectangle(box, outline=frame, width=4 if right else 1)
            draw.text((_left(column), top + CELL + 3), caption, fill=GREEN if right else INK)
    return _png(sheet)


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _left(column: int) -> int:
    return GAP + column * (CELL + GAP) + (GAP if column >= 2 else 0)


def _paste(sheet: Image.Image, data: bytes, left: int, top: int) -> None:
    try:
        image = decode(data, at_least=CELL)
    except ImageError:
        return
    enlarged = image.width < CELL
    image.thumbnail((CELL, CELL))
    if enlarged:
        image = image.resize((CELL, CELL * image.height // image.width), Image.Resampling.NEAREST)
    sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
