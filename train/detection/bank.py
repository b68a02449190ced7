"""What composed scenes are made of: products cut out of their shop pictures, and pictures to make backgrounds of.

Both are chosen by hashes, the same for the same seed, and few of each category go in, however common it is: what a
detector has to tell apart it should see alike often. They are kept as they are in the object store, so that composing
a scene reads no file.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from visnet.platform.catalog import Catalog
from visnet.platform.cutouts import cut_out
from visnet.platform.errors import CatalogError, ImageError
from visnet.platform.imaging import decode
from visnet.platform.partition import product_hash
from visnet.platform.pictures import Source
from visnet.platform.ray_tasks import run_tasks
from visnet.platform.settings import DetectorSettings
from visnet.train.examples import HoldOut, photo_source, shop_source

# N pictures, H height, W width, C channels

LONGEST = 0.75
"""Longer side of a cutout relative to the scene's: larger ones are enlarged a little."""
CLUTTER_SIDE = 160
"""Longer side in pixels of what backgrounds are made of."""
TASK_ROWS = 100
FEW = 0.5
"""Share of the pictures below which it is said that only so many could be cut out."""

PIXELS = pa.schema(
    [("label", pa.int64()), ("product_id", pa.string()), ("shape", pa.list_(pa.int32())), ("pixels", pa.large_binary())]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """Cutouts and clutter; cheap to send, as arrays that share the memory they are in."""

    cutouts: pa.Table
    """As `PIXELS` says: RGBA, the label is the place of the picture's category in the detector's classes."""
    clutter: pa.Table
    """As `PIXELS` says: RGB."""

    def images(self) -> list[np.ndarray]:
        return self._images

    def backgrounds(self) -> list[np.ndarray]:
        return self._backgrounds

    @functools.cached_property
    def _images(self) -> list[np.ndarray]:
        return _arrays(self.cutouts)

    @functools.cached_property
    def _backgrounds(self) -> list[np.ndarray]:
        return _arrays(self.clutter)

    def labels(self) -> np.ndarray:
        label_N: np.ndarray = self.cutouts["label"].to_numpy()
        return label_N


NOTHING = Bank(PIXELS.empty_table(), PIXELS.empty_table())


class Banks(NamedTuple):
    """What is learned from, what is validated on, and what became of the pictures."""

    training: Bank
    validation: Bank
    accounts: dict[str, int]


def make_banks(
    catalog: Catalog,
    where: Sequence[tuple[str, str]],
    classes: Sequence[str],
    settings: DetectorSettings,
    *,
    side: int,
    split: str | None,
) -> Banks:
    """Cut the products out, as tasks of the connected Ray cluster.

    Args:
        where: only shop pictures of which these attributes have these values.
        classes: categories, or just one class for all.
        side: of the scenes, in pixels.
        split: of the street photos that become backgrounds; None: shop pictures do.

    Raises:
        CatalogError: no picture has a plain background.
    """
    filters = [(column, catalog.typed(column, value)) for column, value in where]
    rows = shop_source(catalog).rows(["image_id", "product_id", "category"], filters)
    chosen = rows.take(choose(rows, settings.cutouts, settings.seed))
    job = functools.partial(_cut, shop_source(catalog), tuple(classes), round(LONGEST * side))
    tables = list(run_tasks(job, [chosen.slice(at, TASK_ROWS) for at in range(0, len(chosen), TASK_ROWS)]))
    cutouts = pa.concat_tables([table for table, _ in tables])
    cutouts = cutouts.take(np.argsort([product_hash(name) for name in cutouts["product_id"].to_pylist()]))
    broken = sum(count for _, count in tables)
    accounts = {"pictures": len(chosen), "cut_out": len(cutouts), "broken": broken}
    _judge(catalog, accounts)
    held_out = HoldOut(share=settings.validation_share, by="product", seed=settings.seed)
    held_N = np.array([held_out.holds("", name) for name in cutouts["product_id"].to_pylist()], bool)
    if not held_N.any() or held_N.all():
        logger.warning("too few products to hold any out: validated on scenes of those that are trained on")
    clutter = _clutter(catalog, rows, settings, split)
    return Banks(
        training=Bank(cutouts if held_N.all() else cutouts.filter(pa.array(~held_N)), clutter),
        validation=Bank(cutouts.filter(pa.array(held_N)) if held_N.any() else cutouts, clutter),
        accounts=accounts,
    )


def choose(rows: pa.Table, most: int, seed: int) -> np.ndarray:
    """Which rows go in: by their hashes, an equal number of each category, and more of the others where one has few."""
    hash_N = np.array([product_hash(f"{seed}/{name}") for name in rows["image_id"].to_pylist()], np.uint64)
    order_N = np.argsort(hash_N, kind="stable")
    seen: dict[str, int] = {}
    turn_N = np.empty(len(rows), np.int64)
    categories = rows["category"].to_pylist()
    for place in order_N:
        turn_N[place] = seen.get(categories[place], 0)
        seen[categories[place]] = int(turn_N[place]) + 1
    chosen: np.ndarray = np.sort(np.lexsort((hash_N, turn_N))[:most])
    return chosen


def _judge(catalog: Catalog, accounts: dict[str, int]) -> None:
    pictures, usable = accounts["pictures"], accounts["cut_out"]
    if not usable:
        raise CatalogError(
            f"none of {pictures:,} shop pictures of {catalog.reference} has a plain background, so nothing can be cut "
            "out to compose scenes of: give photos with boxes (visnet detector import, then --labelled) and learn from "
            "them alone (--set labelled_share=1)"
        )
    if usable < FEW * pictures:
        logger.warning("only %d of %d shop pictures have a plain background and could be cut out", usable, pictures)


def _cut(source: Source, classes: tuple[str, ...], longest: int, rows: pa.Table) -> tuple[pa.Table, int]:
    """The cutouts of some rows, and how many pictures were broken."""
    kept: list[dict[str, Any]] = []
    broken = 0
    for row, picture in zip(rows.to_pylist(), source.pictures(rows), strict=True):
        try:
            image = decode(picture.data(), at_least=2 * longest)
        except ImageError as error:
            broken += 1
            logger.warning("a picture is not cut out: %s", error)
            continue
        if (pixels := cut_out(image, longest=longest)) is not None:
            label = classes.index(row["category"]) if len(classes) > 1 else 0
            kept.append(_row(label, row["product_id"], pixels))
    return pa.Table.from_pylist(kept, PIXELS), broken


def _clutter(catalog: Catalog, rows: pa.Table, settings: DetectorSettings, split: str | None) -> pa.Table:
    source = shop_source(catalog)
    if split is not None:
        source = photo_source(catalog)
        rows = source.rows(["image_id", "category"], [("split", pa.scalar(split))])
    chosen = rows.take(choose(rows, settings.backgrounds, settings.seed + 1))
    jobs = [chosen.slice(at, TASK_ROWS) for at in range(0, len(chosen), TASK_ROWS)]
    tables = list(run_tasks(functools.partial(_small, source), jobs))
    return pa.concat_tables([PIXELS.empty_table(), *tables])


def _small(source: Source, rows: pa.Table) -> pa.Table:
    kept = []
    for picture in source.pictures(rows):
        try:
            image = decode(picture.data(), at_least=CLUTTER_SIDE)
        except ImageError:
            continue
        image.thumbnail((CLUTTER_SIDE, CLUTTER_SIDE), Image.Resampling.BILINEAR)
        kept.append(_row(-1, "", np.asarray(image)))
    return pa.Table.from_pylist(kept, PIXELS)


def _row(label: int, product_id: str, pixel_HWC: np.ndarray) -> dict[str, Any]:
    return {
        "label": label,
        "product_id": product_id,
        "shape": list(pixel_HWC.shape),
        "pixels": np.ascontiguousarray(pixel_HWC).tobytes(),
    }


def _arrays(table: pa.Table) -> list[np.ndarray]:
    return [
        np.frombuffer(pixels.as_buffer(), np.uint8).reshape(shape.as_py())
        for pixels, shape in zip(table["pixels"], table["shape"], strict=True)
    ]
