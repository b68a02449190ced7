"""The grid of captioned pictures: where they stand, how they are framed, and that a broken one costs nothing."""

import io

import numpy as np
from PIL import Image

from visnet.platform.contact_sheet import CELL, GREEN, GREY, RED, Cell, grid_sheet
from visnet.platform.imaging import encode_png

BLUE = encode_png(np.full((CELL, CELL, 3), (10, 20, 230), np.uint8))


def colours(sheet: bytes) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(sheet)).convert("RGB")
    return {colour for _, colour in image.getcolors(2**24) or []}  # type: ignore[misc]


def size(sheet: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(sheet)).size


def test_frames_say_right_wrong_or_neither() -> None:
    for right, frame in ((True, GREEN), (False, RED), (None, GREY)):
        sheet = grid_sheet([[Cell(picture=BLUE, caption="x", right=right)]], title="t", notes=[], headings=["heading"])
        assert frame in colours(sheet)
        assert (10, 20, 230) in colours(sheet)
        assert not {GREEN, RED, GREY} - {frame} & colours(sheet)


def test_the_sheet_is_as_large_as_its_rows_columns_and_text() -> None:
    row = [Cell(picture=BLUE, caption="x"), None, Cell(picture=b"broken", caption="y")]
    one = grid_sheet([row], title="t", notes=["n"], headings=["a", "b", "c"])
    two = grid_sheet([row, row], title="t", notes=["n"], headings=["a", "b", "c"])
    wide = grid_sheet([row], title="a title that is much longer " * 4, notes=["n"], headings=["a", "b", "c"])
    assert size(one)[0] >= 3 * CELL
    assert size(two)[1] - size(one)[1] > CELL
    assert size(wide)[0] > size(one)[0]
