"""Where given boxes come from: labelled photos, or the street photos of a catalogue that have a box.

A part is held out by the photos' ids, the same whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.labelled import FIELDS, labelled_path
from visnet.platform.pictures import Source
from visnet.train.examples import HoldOut

if TYPE_CHECKING:
    import ray.data

PHOTO_COLUMNS = ["image_id", "image", "uri", "category", "split", "box"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Photos with boxes, by where they are."""

    catalog: Catalog
    labelled: str | None
    """The name of labelled photos."""
    split: str | None
    """Else, the split of the catalogue's photos."""
    hold_out: HoldOut

    def paths(self) -> list[str]:
        if self.labelled is not None:
            return [labelled_path(self.catalog.store, self.labelled)]
        return self.catalog.photo_paths()

    def describe(self) -> str:
        return self.labelled or f"photos of the split {self.split} of {self.catalog.reference}"

    def has_boxes(self) -> bool:
        """Whether any of the street photos has a box."""
        source = Source(self.catalog.store, self.catalog.photo_paths())
        boxes = source.rows(["split", "box"], [("split", pa.scalar(self.split))])["box"]
        return any(box for box in boxes.to_pylist())

    def training(self) -> ray.data.Dataset:
        """Those that are not held out, in the columns of `labelled.FIELDS`."""
        import ray

        columns = FIELDS.names if self.labelled is not None else PHOTO_COLUMNS
        rows = ray.data.read_parquet(self.paths(), filesystem=self.catalog.store.filesystem, columns=columns)
        return rows.map_batches(self._usable_training, batch_format="pyarrow", batch_size=None)

    def held_out(self) -> Iterator[dict[str, Any]]:
        """Those that are held out, as `labelled.FIELDS` has them."""
        yield from self._rows(held=True)

    def all(self) -> Iterator[dict[str, Any]]:
        """All of them, as `labelled.FIELDS` has them."""
        yield from self._rows(held=None)

    def _rows(self, *, held: bool | None) -> Iterator[dict[str, Any]]:
        for path in self.paths():
            with pq.ParquetFile(path, filesystem=self.catalog.store.filesystem) as file:
                for group in range(file.num_row_groups):
                    yield from self._usable(file.read_row_group(group), held=held).to_pylist()

    def _usable_training(self, rows: pa.Table) -> pa.Table:
        return self._usable(rows, held=False)

    def _usable(self, rows: pa.Table, *, held: bool | None) -> pa.Table:
        """The rows in the columns of `FIELDS`; those that are held out, the others, or both."""
        if self.labelled is None:
            rows = _of_photos(rows, str(self.split))
        rows = rows.select(FIELDS.names).cast(FIELDS)
        if held is None:
            return rows
        held_N = np.array([self.hold_out.holds(name, "") for name in rows["photo_id"].to_pylist()], bool)
        return rows.filter(pa.array(held_N == held))


def _of_photos(rows: pa.Table, split: str) -> pa.Table:
    """Street photos, each with the one box that is known of it."""
    boxed = [
        {
            "photo_id": row["image_id"],
            "image": row["image"],
            "uri": row["uri"],
            "boxes": [row["box"]],
            "categories": [row["category"]],
        }
        for row in rows.select(PHOTO_COLUMNS).to_pylist()
        if row["split"] == split and row["box"]
    ]
    return pa.Table.from_pylist(boxed, FIELDS)
