"""What the two retrieval benchmarks of DeepFashion share: the places of their files, the partition and the boxes.

Source: Liu, Luo, Qiu, Wang, Tang, DeepFashion, CVPR 2016. Boxes are in pixels of the pictures in `img`, not of the
larger ones in `img_highres`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from visnet.platform.imaging import Box
from visnet.platform.importers import boxes
from visnet.platform.importers.annotations import find, needed, rows
from visnet.platform.importers.pictures import BAD_BOX, NO_CATEGORY, Listing, Picture

NO_BOX = "no line in the file of boxes, kept without its box"
UNKNOWN_STATUS = "unknown evaluation status"


class Folder:
    """An unpacked benchmark: `Eval`, `Img` and, if it is there, `Anno`; their content may also lie in one folder."""

    def __init__(self, format: str, root: Path, bbox_name: str, listing: Listing) -> None:
        self.partition = needed(format, root, "Eval/list_eval_partition.txt", "list_eval_partition.txt")
        self.bbox = find(root, f"Anno/{bbox_name}", bbox_name)
        self.annotations = [self.partition, *([self.bbox] if self.bbox else [])]
        self._images = root / "Img" if (root / "Img" / "img").is_dir() else root
        self._listing = listing
        self._boxes = self._read_boxes()

    def rows(self, *columns: str) -> Iterator[list[str]]:
        """Those columns of the partition."""
        return rows(self.partition, columns, self._listing.skipped)

    def add(self, name: str, item: str, *, split: str, photo: bool, repeats: bool = False) -> None:
        """Add a picture, with its box if it is a photo; skipped with the reason if it can't be used."""
        category = category_of(name)
        if not category:
            self._listing.skip(name, NO_CATEGORY)
            return
        try:
            box = self._box(name) if photo else None
        except ValueError:
            self._listing.skip(name, BAD_BOX)
            return
        new = Picture(
            image_id=name,
            product_id=item,
            category=category,
            split=split,
            place=str(self._images / name),
            box=box,
            box_in_pixels=True,
        )
        self._listing.add(self._listing.photos if photo else self._listing.shop, new, repeats=repeats)

    def _read_boxes(self) -> dict[str, list[str]]:
        if self.bbox is None:
            return {}
        found = rows(self.bbox, ("image_name", "x_1", "y_1", "x_2", "y_2"), self._listing.skipped)
        return {name: sides for name, *sides in found}

    def _box(self, name: str) -> Box | None:
        if self.bbox is None:
            return None
        if name not in self._boxes:
            self._listing.skip(name, NO_BOX)
            return None
        return boxes.parsed(self._boxes[name])


def category_of(name: str) -> str:
    """`WOMEN/Dresses` of `img/WOMEN/Dresses/id_00000002/02_1_front.jpg`; empty if the path is too short for one."""
    return "/".join(name.removeprefix("img/").split("/")[:-2])
