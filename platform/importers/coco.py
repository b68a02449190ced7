"""Labelled photos from a COCO-style JSON: `images`, `annotations` with `bbox` in pixels, `categories`.

Source: https://cocodataset.org/#format-data. Crowds (`iscrowd`) are no single items and are left out, as are boxes that
are empty within their picture; a box that reaches beyond is cut to it.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError

MISSING = "the picture is not in the folder"
NO_SIZE = "the picture has no width or height"
CROWD = "a crowd, not one item"
EMPTY = "an empty box, or one outside its picture"
UNKNOWN = "a box of an unknown picture or category"


def read_coco(annotations: Path, images: Path, skipped: list[Skipped]) -> Iterator[dict[str, Any]]:
    """The photos with their boxes, as `labelled.FIELDS` has them; what can't be used is put on the list.

    Args:
        annotations: the JSON file.
        images: the folder that its file names are relative to.

    Raises:
        CatalogError: the file is no COCO-style JSON, or the folder does not exist.
    """
    content = _content(annotations)
    if not images.is_dir():
        raise CatalogError(f"{images} is no folder: name the one that the pictures are in")
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    known = {entry["id"] for entry in content["images"]}
    boxes: dict[Any, list[dict[str, Any]]] = collections.defaultdict(list)
    for entry in content["annotations"]:
        if entry.get("image_id") not in known or entry.get("category_id") not in names:
            skipped.append(Skipped(f"annotation {entry.get('id')}", UNKNOWN))
        else:
            boxes[entry["image_id"]].append(entry)
    for entry in content["images"]:
        file = images / str(entry["file_name"])
        if min(float(entry["width"]), float(entry["height"])) <= 0:
            skipped.append(Skipped(str(entry["file_name"]), NO_SIZE))
            continue
        if not file.is_file():
            skipped.append(Skipped(str(entry["file_name"]), MISSING))
            continue
        found = list(_boxes(entry, boxes[entry["id"]], skipped))
        yield {
            "photo_id": str(entry["file_name"]),
            "image": file.read_bytes(),
            "uri": None,
            "boxes": [box for box, _ in found],
            "categories": [names[category] for _, category in found],
        }


def _content(annotations: Path) -> dict[str, Any]:
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        for name, fields in (
            ("images", ("id", "file_name", "width", "height")),
            ("annotations", ("bbox",)),
            ("categories", ("id", "name")),
        ):
            for entry in content[name]:
                for field in fields:
                    entry[field]
        for entry in content["images"]:
            float(entry["width"]), float(entry["height"])
        for entry in content["annotations"]:
            _, _, _, _ = map(float, entry["bbox"])
    except OSError as error:
        raise CatalogError(f"can't read {annotations}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogError(f"{annotations} is no COCO-style JSON ({type(error).__name__}: {error})") from None
    result: dict[str, Any] = content
    return result


def _boxes(
    image: dict[str, Any], annotations: list[dict[str, Any]], skipped: list[Skipped]
) -> Iterator[tuple[list[float], Any]]:
    """Each box as shares of the picture, with its category's id."""
    width, height = float(image["width"]), float(image["height"])
    for entry in annotations:
        if entry.get("iscrowd"):
            skipped.append(Skipped(f"annotation {entry.get('id')}", CROWD))
            continue
        left, top, wide, high = (float(number) for number in entry["bbox"])
        box = [max(left / width, 0.0), max(top / height, 0.0)]  # in this order what is not a number stays so
        box += [min((left + wide) / width, 1.0), min((top + high) / height, 1.0)]
        if box[0] < box[2] and box[1] < box[3]:
            yield box, entry["category_id"]
        else:
            skipped.append(Skipped(f"annotation {entry.get('id')}", EMPTY))
