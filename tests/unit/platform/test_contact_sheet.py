"""Contact sheets: a picture that opens, has its rows, and marks the right result."""

import io

import numpy as np
from PIL import Image

from visnet.platform.contact_sheet import CELL, GREEN, Row, contact_sheet
from visnet.platform.imaging import encode_png


def picture(shade: int) -> bytes:
    return encode_png(np.full((28, 20), shade, np.uint8))


def row(*, right: int | None, results: int = 3) -> Row:
    found = [(picture(40 * rank), f"caption {rank}", rank == right) for rank in range(results)]
    return Row(query=picture(10), expected=picture(20), results=found, rank=None if right is None else right + 1)


def colours(sheet: bytes) -> set[tuple[int, int, int]]:
    image = Image.open(io.BytesIO(sheet)).convert("RGB")
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


def test_the_right_result_is_framed_and_a_miss_is_not() -> None:
    assert GREEN in colours(contact_sheet([row(right=1)], title="t"))
    missed = colours(contact_sheet([row(right=None)], title="t"))
    assert GREEN not in missed
    assert any(red > green + 80 for red, green, _ in missed)  # the note that says so; its text is blended at the edges


def test_rows_and_results_make_it_larger() -> None:
    small = Image.open(io.BytesIO(contact_sheet([row(right=0)], title="t")))
    large = Image.open(io.BytesIO(contact_sheet([row(right=0, results=5)] * 4, title="t")))
    assert large.height > small.height + 2 * CELL
    assert large.width > small.width + CELL


def test_a_picture_that_cannot_be_decoded_leaves_its_cell_empty() -> None:
    broken = Row(query=b"broken", expected=b"", results=[(b"x", "caption", False)], rank=None)
    assert Image.open(io.BytesIO(contact_sheet([broken], title="t"))).height > CELL
