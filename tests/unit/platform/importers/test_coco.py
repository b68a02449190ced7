"""Photos with boxes from a COCO-style JSON: what is taken, what is left out and why, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError
from visnet.platform.importers.coco import CROWD, EMPTY, MISSING, NO_SIZE, UNKNOWN, read_coco
from visnet.platform.labelled import write_labelled
from visnet.platform.store import Store

Put = Callable[[str, str | bytes], Path]
Read = tuple[list[dict[str, Any]], list[Skipped]]


def annotation(number: int, bbox: list[float], **fields: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 7, "category_id": 3, "bbox": bbox, "iscrowd": 0, **fields}


def shelf(*annotations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One photo of 200 x 100 pixels, with some annotations."""
    return {
        "images": [{"id": 7, "file_name": "a/shelf.jpg", "width": 200, "height": 100}],
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "bag"}, {"id": 9, "name": "shoe"}],
        **fields,
    }


@pytest.fixture
def read(put: Put, root: Path) -> Callable[[Any], Read]:
    """Writes a JSON and its one picture, and reads them."""

    def run(content: Any) -> Read:
        put("photos/a/shelf.jpg", b"the picture")
        path = put("instances.json", content if isinstance(content, str) else json.dumps(content))
        skipped: list[Skipped] = []
        return list(read_coco(path, root / "photos", skipped)), skipped

    return run


def test_a_photo_comes_with_its_boxes_as_shares(read: Callable[[Any], Read]) -> None:
    rows, skipped = read(shelf(annotation(1, [50, 25, 100, 50]), annotation(2, [0, 0, 200, 100], category_id=9)))
    assert rows == [
        {
            "photo_id": "a/shelf.jpg",
            "image": b"the picture",
            "uri": None,
            "boxes": [[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]],
            "categories": ["bag", "shoe"],
        }
    ]
    assert skipped == []


def test_what_is_read_can_be_written(read: Callable[[Any], Read], store: Store) -> None:
    rows, skipped = read(shelf(annotation(1, [50, 25, 100, 50]), annotation(2, [0, 0, 0, 0])))
    manifest = write_labelled(store, "shelf", "x", rows, skipped)
    assert (manifest.photos, manifest.boxes, manifest.skipped) == (1, 1, {EMPTY: 1})


def test_a_photo_without_boxes_shows_that_there_is_nothing(read: Callable[[Any], Read]) -> None:
    (row,), skipped = read(shelf())
    assert (row["boxes"], row["categories"], skipped) == ([], [], [])


def test_a_box_that_reaches_beyond_is_cut_to_its_picture(read: Callable[[Any], Read]) -> None:
    (row,), skipped = read(shelf(annotation(1, [-50, -10, 100, 60]), annotation(2, [150, 50, 500, 500])))
    assert row["boxes"] == [[0.0, 0.0, 0.25, 0.5], [0.75, 0.5, 1.0, 1.0]]
    assert skipped == []


@pytest.mark.parametrize(
    "bbox",
    [
        *([10, 10, 0, 20], [10, 10, 20, 0], [10, 10, -5, 20]),
        *([200, 0, 50, 50], [0, 100, 50, 50], [-50, 0, 50, 50]),
        *([float("nan"), 0, 50, 50], [0, 0, float("nan"), 50], [0, 0, 50, float("nan")], [float("nan")] * 4),
    ],
)
def test_boxes_that_are_empty_or_outside_are_left_out(read: Callable[[Any], Read], bbox: list[float]) -> None:
    (row,), skipped = read(shelf(annotation(1, bbox), annotation(2, [50, 25, 100, 50])))
    assert row["boxes"] == [[0.25, 0.25, 0.75, 0.75]]
    assert skipped == [Skipped("annotation 1", EMPTY)]


def test_crowds_are_left_out(read: Callable[[Any], Read]) -> None:
    (row,), skipped = read(shelf(annotation(1, [0, 0, 50, 50], iscrowd=1), annotation(2, [50, 25, 100, 50])))
    assert len(row["boxes"]) == 1
    assert skipped == [Skipped("annotation 1", CROWD)]


@pytest.mark.parametrize("stray", [{"category_id": 4}, {"image_id": 8}, {"category_id": None}])
def test_boxes_of_the_unknown_are_left_out(read: Callable[[Any], Read], stray: dict[str, Any]) -> None:
    (row,), skipped = read(shelf(annotation(1, [0, 0, 50, 50], **stray)))
    assert row["boxes"] == []
    assert skipped == [Skipped("annotation 1", UNKNOWN)]


def test_boxes_that_name_no_picture_are_left_out(read: Callable[[Any], Read]) -> None:
    (row,), skipped = read(shelf({"bbox": [0, 0, 50, 50]}))
    assert row["boxes"] == []
    assert skipped == [Skipped("annotation None", UNKNOWN)]


def test_pictures_that_are_missing_or_have_no_size_are_left_out(read: Callable[[Any], Read]) -> None:
    images = [
        {"id": 1, "file_name": "gone.jpg", "width": 10, "height": 10},
        {"id": 2, "file_name": "flat.jpg", "width": 10, "height": 0},
        {"id": 7, "file_name": "a/shelf.jpg", "width": 200, "height": 100},
    ]
    rows, skipped = read(
        shelf(annotation(1, [50, 25, 100, 50]), annotation(2, [0, 0, 5, 5], image_id=1), images=images)
    )
    assert [(row["photo_id"], len(row["boxes"])) for row in rows] == [("a/shelf.jpg", 1)]
    assert skipped == [Skipped("gone.jpg", MISSING), Skipped("flat.jpg", NO_SIZE)]


def without(content: dict[str, Any], part: str, key: str) -> dict[str, Any]:
    return {**content, part: [{name: value for name, value in entry.items() if name != key} for entry in content[part]]}


GOOD = shelf(annotation(1, [50, 25, 100, 50]))


@pytest.mark.parametrize(
    "content",
    [
        *("", "no JSON", "[]", "3", "null", "{}"),
        *({**GOOD, "images": None}, {**GOOD, "annotations": {"a": 1}}, {**GOOD, "categories": 5}),
        *({key: value for key, value in GOOD.items() if key != part} for part in GOOD),
        *(without(GOOD, "images", key) for key in ("id", "file_name", "width", "height")),
        *(without(GOOD, "categories", key) for key in ("id", "name")),
        without(GOOD, "annotations", "bbox"),
        *(shelf(annotation(1, bbox)) for bbox in ([], [1, 2, 3], ["a", 0, 1, 1], None)),  # type: ignore[arg-type]
        shelf(images=[{"id": 7, "file_name": "a/shelf.jpg", "width": None, "height": 100}]),
    ],
)
def test_another_file_is_refused(read: Callable[[Any], Read], content: Any) -> None:
    with pytest.raises(CatalogError, match=r"instances\.json is no COCO-style JSON"):
        read(content)


def test_a_file_that_is_no_text_is_refused(put: Put, root: Path) -> None:
    put("photos/x", b"")
    with pytest.raises(CatalogError, match="no COCO-style JSON"):
        list(read_coco(put("instances.json", b"\xff\xfe\x80"), root / "photos", []))


def test_a_file_or_a_folder_that_is_not_there_is_refused(put: Put, root: Path) -> None:
    path = put("instances.json", json.dumps(GOOD))
    with pytest.raises(CatalogError, match="photos is no folder: name the one"):
        list(read_coco(path, root / "photos", []))
    with pytest.raises(CatalogError, match=r"can't read .*nowhere\.json"):
        list(read_coco(root / "nowhere.json", root, []))
