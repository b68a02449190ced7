"""The page and the sheet of a detector's evaluation: every figure, the boxes, and nothing that could run."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visnet.platform.contact_sheet import GAP, HEADER
from visnet.platform.detector import Item
from visnet.platform.localisation import DETECTED, NARROWED, TRUE_BOX, WAYS, WHOLE, Asked, LocalisationManifest, Weighed
from visnet.platform.localisation import Reached as ReachedBy
from visnet.platform.metrics import Interval
from visnet.train.detection.asking import Looked, Query
from visnet.train.detection.average_precision import Truth
from visnet.train.detection.report import SHEET_COLUMNS, SHEET_ROWS, SIDE, report, sheet

HOSTILE = "<script>alert(1)</script>"
BOX = (0.25, 0.25, 0.75, 0.75)


def manifest(*, items: float = 0.6, **fields: Any) -> LocalisationManifest:
    against = {"1": Interval(difference=0.125, low=-0.25, high=0.375)}
    ways = {
        WHOLE: ReachedBy(recall_at_k={"1": 0.111, "10": 0.5}),
        DETECTED: ReachedBy(recall_at_k={"1": 0.222, "10": 0.333}, against_whole=against),
        NARROWED: ReachedBy(recall_at_k={"1": 0.444, "10": items}),
    }
    asked = Asked(
        queries=1234,
        about=f"photos {HOSTILE}",
        located={"nothing found": 34, "items found": 1200},
        ways=ways,
        weights={"0.05": Weighed(recall_at_k={"1": 0.777, "10": 0.888}, gained=55, lost=44)},
    )
    figures = {"pictures": 4321, "items": 8765, "ap50": 0.4567, "ap50_95": None, "found_ap50": 0.9}
    given: dict[str, Any] = {
        "localisation": "l",
        "detector": "fcos-1",
        "detector_digest": "d",
        "encoder": "visnet-1",
        "encoder_digest": "e",
        "catalog": "shop-1",
        "gallery": 1000,
        "precision": {f"scenes {HOSTILE}": figures},
        "asked": {"photos": asked},
        "settings": {},
        "command": f"visnet detector eval {HOSTILE}",
    }
    return LocalisationManifest(**{**given, **fields})


def looked(*, truth: bool = False, items: int = 1, size: tuple[int, int] = (60, 40)) -> Looked:
    known = Truth(box_N4=np.array([BOX], np.float32), categories=("bag",)) if truth else None
    found = [
        Item(box=BOX, confidence=0.9, categories=((HOSTILE, 1.0),) if number % 2 else ()) for number in range(items)
    ]
    return Looked(Query(Image.new("RGB", size, (9, 9, 9)), "p0", None, known), found)


SHOWN = {"photos": [looked(), looked(truth=True, items=0), looked(items=9)], "scenes": [looked(size=(1, 900))]}


def test_every_figure_is_on_the_page() -> None:
    page = report(manifest(), SHOWN)
    for figure in (
        "1,234",
        "1,200",
        "4,321",
        "8,765",
        "0.457",
        "0.900",
        "0.111",
        "0.444",
        "0.777",
        "0.888",
        "55",
        "44",
    ):
        assert figure in page, figure
    assert "+0.125 [-0.250, +0.375]" in page
    assert "<td>-</td>" in page  # AP50:95 is not known
    assert page.count("<img ") == page.count("data:image/jpeg;base64,") == 4
    assert all(way in page for way in WAYS)
    assert TRUE_BOX not in re.findall(r"<td>([^<]*)</td>", page)


@pytest.mark.parametrize(("items", "verdict"), [(0.6, "the items found"), (0.4, "the whole photo")])
def test_the_verdict_is_told(items: float, verdict: str) -> None:
    assert f"searches for <b>{verdict}</b> by default" in report(manifest(items=items), {})


def test_names_from_elsewhere_cannot_run() -> None:
    fields: dict[str, Any] = {"detector": HOSTILE, "encoder": HOSTILE, "catalog": HOSTILE, "commit": HOSTILE}
    page = report(manifest(**fields), {f"x{HOSTILE}": [looked(items=2)]})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7
    assert "http" not in re.sub(r"https?://www\.w3\.org\S*", "", page), "the page needs nothing but itself"


def test_without_known_boxes_it_says_so() -> None:
    assert "No boxes are known of these photos" in report(manifest(precision={}), {})


@pytest.mark.parametrize(("counts", "rows"), [([0], 0), ([1], 1), ([6, 1], 2), ([30, 30], 4), ([12], 2)])
def test_the_sheet_has_the_first_of_each_kind(counts: list[int], rows: int) -> None:
    shown = {f"kind {number}": [looked()] * count for number, count in enumerate(counts)}
    picture = Image.open(io.BytesIO(sheet(manifest(), shown)))
    assert picture.format == "PNG"
    assert picture.size == (GAP + SHEET_COLUMNS * (SIDE + GAP), HEADER + rows * (SIDE + GAP))
    assert max(counts) <= SHEET_COLUMNS * SHEET_ROWS or rows == len(counts) * SHEET_ROWS


def test_the_truth_is_drawn_white_and_what_was_found_in_colours() -> None:
    red, blue, white = (0xE6, 0x19, 0x4B), (0x1E, 0x88, 0xE5), (255, 255, 255)
    boxed = looked(items=0)._replace(query=looked().query._replace(box=BOX))
    shown = [looked(items=0), looked(truth=True, items=0), boxed, looked(items=1), looked(items=2)]
    pixel_HWC = np.asarray(Image.open(io.BytesIO(sheet(manifest(), {"photos": shown}))))
    colours = []
    for number in range(len(shown)):
        left = GAP + number * (SIDE + GAP)
        cell_N3 = pixel_HWC[HEADER : HEADER + SIDE * 2 // 3, left : left + SIDE].reshape(-1, 3)
        colours.append({colour for colour in (red, blue, white) if (cell_N3 == colour).all(axis=1).sum() > 200})
    assert colours[:3] == [set(), {white}, {white}]
    assert red in colours[3]
    assert blue not in colours[3]
    assert blue in colours[4]
