"""The photos that a detector's evaluation asks with: a split's street photos, or scenes composed of the gallery."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from PIL import Image

from visnet.platform.boxes import areas
from visnet.platform.catalog import Catalog
from visnet.platform.cutouts import cut_out
from visnet.platform.detector import PRODUCT
from visnet.platform.errors import CatalogError, ImageError
from visnet.platform.imaging import Preprocessing, decode
from visnet.platform.scenes import AS_TAKEN, Scene, compose
from visnet.train.detection.asking import Query
from visnet.train.detection.average_precision import Truth
from visnet.train.evaluation.gallery import Gallery
from visnet.train.evaluation.plan import Plan
from visnet.train.evaluation.query_sets import PHOTO_COLUMNS
from visnet.train.examples import photo_source

SCENE_SIDES = (128, 640)
"""Least and most of the longer side of composed scenes, in pixels; between them four times what the encoder sees."""
CLUTTER = 100
"""Pictures that backgrounds are made of."""


def photo_queries(catalog: Catalog, plan: Plan, preprocessing: Preprocessing) -> Iterator[Query]:
    """The street photos of a split, at most so many by seed; those that can't be decoded are left out."""
    source = photo_source(catalog)
    rows = source.rows(PHOTO_COLUMNS, [("split", pa.scalar(plan.split))])
    chosen = rows.take(np.sort(np.random.default_rng(plan.seed).permutation(len(rows))[: plan.queries]))
    named = chosen.select(["product_id", "box"]).to_pylist()
    for number_B, pictures in source.stream(chosen):
        for number, picture in zip(number_B.tolist(), pictures, strict=True):
            try:
                image = preprocessing.decoded_for_parts(picture.data())
            except ImageError:
                continue
            box = named[number]["box"]
            yield Query(image, named[number]["product_id"], tuple(box) if box else None)


class ComposedQueries:
    """Scenes of a gallery's products, as a shopper might take them.

    Args:
        most: products at most, a seeded choice.
        resize: what the encoder scales a photo's shorter side to.

    Raises:
        CatalogError: no picture of the gallery has a plain background.
    """

    def __init__(self, gallery: Gallery, *, most: int, seed: int, resize: int) -> None:
        least, largest = SCENE_SIDES
        self._side = min(largest, max(least, 4 * resize))
        chosen = np.sort(np.random.default_rng(seed).permutation(len(gallery.rows))[:most])
        rows = gallery.rows.take(chosen)
        self._cutouts: list[np.ndarray] = []
        self._named: list[tuple[str, str]] = []  # product and category of each
        for row, picture in zip(rows.to_pylist(), gallery.source.pictures(rows), strict=True):
            if (pixels := cut_out(decode(picture.data()), longest=self._side)) is not None:
                self._cutouts.append(pixels)
                self._named.append((row["product_id"], row["category"]))
        if not self._cutouts:
            raise CatalogError(
                "no picture of the gallery has a plain background, so no scenes can be composed to ask with: name a "
                "split of street photos with --split"
            )

    def queries(self, count: int, items: tuple[int, int], *, seed: tuple[int, ...], one_class: bool) -> Iterator[Query]:
        """Scenes of so many items; what is asked for is the largest product in each.

        Args:
            items: the least and the most of a scene.
            one_class: whether the detector tells no categories apart.
        """
        clutter = [pixels[:, :, :3] for pixels in self._cutouts[:CLUTTER]]
        for number in range(count):
            random = np.random.default_rng((*seed, number))
            wanted = int(random.integers(items[0], items[1] + 1))
            scene = compose(self._cutouts, clutter, side=self._side, random=random, settings=AS_TAKEN, items=wanted)
            if len(scene.box_N4):
                yield self._query(scene, one_class)

    def _query(self, scene: Scene, one_class: bool) -> Query:
        largest = int(areas(scene.box_N4).argmax())
        left, top, right, bottom = (float(edge) for edge in scene.box_N4[largest])
        named = [self._named[number] for number in scene.cutout_N]
        categories = tuple(PRODUCT if one_class else category for _, category in named)
        return Query(
            image=Image.fromarray(scene.pixel_HWC),
            product=named[largest][0],
            box=(left, top, right, bottom),
            truth=Truth(box_N4=scene.box_N4, categories=categories),
        )
