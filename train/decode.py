"""From rows of ids and bytes to the pixels of a training step: what Ray Data runs in its tasks, without Ray.

Pictures are decoded as wide as the recipe's `resize`; the step cuts the network's square out (`augment.py`). A row
whose anchor, positive or negative can't be decoded is left out with a warning: one broken picture costs no run.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.catalog import Catalog
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import Box, Preprocessing
from visnet.platform.partition import product_hash
from visnet.platform.pictures import Picture, Source
from visnet.train.examples import HoldOut, ProductRows, photo_source, shop_source

logger = logging.getLogger(__name__)

KEPT_BYTES = 2**27
"""Decoded shop pictures that a task keeps, as positives of the photos to come."""

Place = tuple[int, int]
"""(part, row) of a picture."""


class Decoder:
    """What the decoders of all kinds share.

    Args:
        catalog: where the pictures are.
        side: of the decoded squares, in pixels.
        hold_out: what is left out.
    """

    def __init__(self, catalog: Catalog, *, side: int, hold_out: HoldOut) -> None:
        self._catalog = catalog
        self._numbers = {name: number for number, name in enumerate(catalog.manifest.categories)}
        self._preprocessing = Preprocessing(resize=side, crop=side)
        self._hold_out = hold_out

    def category(self, name: str) -> int:
        """Its number; -1 for one that the shop pictures do not have."""
        return self._numbers.get(name, -1)

    def pixels(self, image: bytes | None, uri: str | None, *, box: Box | None = None) -> np.ndarray | None:
        """One picture, uint8 (side, side, 3), or None, with a warning, if it can't be used."""
        try:
            return self._preprocessing.pixels(image_bytes(image, uri), box=box)
        except ImageError as error:
            logger.warning("a picture is not trained on: %s", error)
            return None

    def pictures(
        self, source: Source, places: Iterable[Place], *, boxes: Mapping[Place, Box] | None = None
    ) -> dict[Place, np.ndarray | None]:
        """Pictures by where they are, cut to their boxes if they have any; each row group is read once."""
        distinct = sorted(set(places))
        if not distinct:
            return {}
        boxes = boxes or {}
        rows = pa.table({"part": [part for part, _ in distinct], "row": [row for _, row in distinct]})
        found: list[Picture] = source.pictures(rows)
        return {
            place: self.pixels(picture.image, picture.uri, box=boxes.get(place))
            for place, picture in zip(distinct, found, strict=True)
        }

    def stacked(self, kept: list[dict[str, Any]], images: Iterable[str]) -> dict[str, np.ndarray]:
        """Rows of arrays and numbers as one array per column; those in `images` keep their shape when empty."""
        side = self._preprocessing.crop
        names = list(kept[0]) if kept else ["product", "category"]
        columns = {name: np.array([row[name] for row in kept], np.int64) for name in names if name not in images}
        for name in images:
            columns[name] = np.stack([r[name] for r in kept]) if kept else np.empty((0, side, side, 3), np.uint8)
        return columns


class DecodeViews(Decoder):
    """Rows of shop pictures -> `positive`, `product`, `category`.

    Args:
        share: of the products, chosen by their hashes, that are decoded at all.
    """

    COLUMNS = ("image_id", "product_id", "category", "image", "uri")

    def __init__(self, catalog: Catalog, *, side: int, hold_out: HoldOut, share: float = 1.0) -> None:
        super().__init__(catalog, side=side, hold_out=hold_out)
        self._share = share

    def __call__(self, rows: pa.Table) -> dict[str, np.ndarray]:
        kept = []
        for row in rows.select(list(self.COLUMNS)).to_pylist():
            chosen = product_hash(row["product_id"]) < self._share * 2**64
            if not chosen or self._hold_out.holds(row["image_id"], row["product_id"]):
                continue
            if (pixels := self.pixels(row["image"], row["uri"])) is not None:
                number = signed_hash(row["product_id"])
                kept.append({"positive": pixels, "product": number, "category": self.category(row["category"])})
        return self.stacked(kept, ["positive"])


class DecodePairs(Decoder):
    """Rows of photos, or of pictures of products with several -> `anchor`, `positive`, `product`, `category`.

    Args:
        products: where the shop pictures of every product are, behind a function that is called in the task.
    """

    PHOTO_COLUMNS = ("image_id", "product_id", "category", "image", "uri", "box")
    IMAGE_COLUMNS = ("image_id", "product_id", "category", "image", "uri")

    def __init__(self, catalog: Catalog, *, side: int, hold_out: HoldOut, products: Callable[[], ProductRows]) -> None:
        super().__init__(catalog, side=side, hold_out=hold_out)
        self._products = products
        self._kept: OrderedDict[Place, np.ndarray | None] = OrderedDict()

    def __call__(self, rows: pa.Table) -> dict[str, np.ndarray]:
        products = self._products()
        chosen: list[tuple[dict[str, Any], Place]] = []
        for row in rows.to_pylist():
            places = products.of(row["product_id"], besides=row["image_id"])
            if places and not self._hold_out.holds(row["image_id"], row["product_id"]):
                chosen.append((row, places[signed_hash(row["image_id"]) % len(places)]))
        positives = self._positives([place for _, place in chosen])
        kept = []
        for row, place in chosen:
            anchor = self.pixels(row["image"], row["uri"], box=tuple(row["box"]) if row.get("box") else None)
            if anchor is None or positives[place] is None:
                continue
            number, category = signed_hash(row["product_id"]), self.category(row["category"])
            kept.append({"anchor": anchor, "positive": positives[place], "product": number, "category": category})
        return self.stacked(kept, ["anchor", "positive"])

    def _positives(self, places: list[Place]) -> dict[Place, np.ndarray | None]:
        """Shop pictures by place: few products have many photos, so those of before are kept."""
        found = {place: self._kept[place] for place in places if place in self._kept}
        found |= self.pictures(shop_source(self._catalog), [place for place in places if place not in found])
        self._kept.update(found)
        while len(self._kept) * self._preprocessing.crop**2 * 3 > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found


class DecodeTriplets(Decoder):
    """Rows of a triplet table -> `anchor`, `positive`, `negative`, their `…product` and `…category`."""

    def __call__(self, rows: pa.Table) -> dict[str, np.ndarray]:
        chosen = [
            row
            for row in rows.to_pylist()
            if not self._hold_out.holds(row["anchor_image_id"], row["anchor_product_id"])
        ]
        shop, photos = shop_source(self._catalog), photo_source(self._catalog)
        wanted = [_place(row, side) for row in chosen for side in ("positive", "negative")]
        pictures = self.pictures(shop, [*wanted, *(_place(r, "anchor") for r in chosen if not r["anchor_is_photo"])])
        boxes = {_place(row, "anchor"): tuple(row["anchor_box"]) for row in chosen if row["anchor_box"]}
        places = [_place(row, "anchor") for row in chosen if row["anchor_is_photo"]]
        anchors = self.pictures(photos, places, boxes=boxes)
        kept = []
        for row in chosen:
            anchor = (anchors if row["anchor_is_photo"] else pictures)[_place(row, "anchor")]
            positive, negative = pictures[_place(row, "positive")], pictures[_place(row, "negative")]
            if anchor is None or positive is None or negative is None:
                continue
            numbers = {
                "product": signed_hash(row["anchor_product_id"]),
                "category": self.category(row["category"]),
                "negative_product": signed_hash(row["negative_product_id"]),
                "negative_category": self.category(row["negative_category"]),
            }
            kept.append({"anchor": anchor, "positive": positive, "negative": negative, **numbers})
        return self.stacked(kept, ["anchor", "positive", "negative"])


def signed_hash(product_id: str) -> int:
    """The product's hash as int64, which tensors know."""
    return int(np.uint64(product_hash(product_id)).view(np.int64))


def _place(row: dict[str, Any], side: str) -> Place:
    return row[f"{side}_part"], row[f"{side}_row"]
