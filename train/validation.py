"""Validation while training: recall on what was held out, by the same search as everywhere.

The driver chooses a few queries and the pictures to search (places only: a few kilobytes); each worker decodes its
share of them once, and at every validation embeds that share. All workers come to the same figures. What is chosen
follows from the examples: held-out photos among shop pictures, a picture of a product among others', synthetic views
of products that are not learned from, or the held-out triplets' anchors among their positives and negatives.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder
from visnet.platform.errors import ImageError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import Box
from visnet.platform.partition import product_hash
from visnet.platform.pictures import Picture, Source
from visnet.platform.triplets import triplet_paths
from visnet.platform.views import wild_views
from visnet.train.evaluation.protocol import recall_of
from visnet.train.examples import Examples, HoldOut, photo_source, shop_source
from visnet.train.gather import gather_uneven, world

# Q queries, N pictures searched, D embedding

logger = logging.getLogger(__name__)

VIEWS_AT_ONCE = 64
KS = (1, 5, 10, 20)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A picture by its place, and what it shows."""

    part: int
    row: int
    product_id: str
    category: str
    photo: bool = False
    """Whether it is among the street photos."""
    box: Box | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationPlan:
    """What is asked of what."""

    queries: tuple[Item, ...]
    gallery: tuple[Item, ...]
    synthetic: bool
    """Whether a wild view of each query picture is asked, not the picture."""

    @staticmethod
    def of(content: dict[str, Any]) -> ValidationPlan:
        """From `dataclasses.asdict`, as it comes through a job's configuration."""
        queries, gallery = (tuple(Item(**item) for item in content[name]) for name in ("queries", "gallery"))
        return ValidationPlan(queries=queries, gallery=gallery, synthetic=content["synthetic"])


def plan_validation(catalog: Catalog, examples: Examples, hold_out: HoldOut, *, most: int) -> ValidationPlan | None:
    """Choose by hashes what to validate on; None where nothing is held out.

    Args:
        most: queries, and pictures searched besides the right ones, at most.
    """
    if not hold_out.share:
        return None
    if examples.kind == "triplets":
        queries, gallery = _from_triplets(catalog, examples, hold_out, most)
    elif examples.kind == "photos":
        held = (row for row in _photos(catalog, examples) if hold_out.holds(row["image_id"], row["product_id"]))
        queries = [_item(row, photo=True) for row in _smallest(held, most, hold_out.seed)]
        gallery = _gallery(catalog, examples, {query.product_id for query in queries}, most, hold_out.seed)
    else:
        held = (row for row in _shop(catalog, examples) if hold_out.holds(row["image_id"], row["product_id"]))
        chosen = _smallest(held, 2 * most, hold_out.seed)
        queries, gallery = _asked_and_searched([_item(row) for row in chosen], examples.kind, most)
    right = {item.product_id for item in gallery}
    queries = [query for query in queries if query.product_id in right]
    if not queries:
        logger.warning("nothing to validate on is held out: raise train.validation_share; no early stop")
        return None
    return ValidationPlan(queries=tuple(queries), gallery=tuple(gallery), synthetic=examples.kind == "views")


class Validation:
    """A worker's share of a plan, decoded.

    Args:
        seed: of synthetic views.
        k: a depth to report besides the usual ones.
    """

    def __init__(self, catalog: Catalog, plan: ValidationPlan, encoder: Encoder, *, seed: int, k: int = 1) -> None:
        self._ks = sorted({*KS, k})
        self._encoder = encoder
        rank, workers = world()
        queries, asked = _decode(catalog, plan.queries[rank::workers], encoder)
        gallery, searched = _decode(catalog, plan.gallery[rank::workers], encoder)
        self._queries, self._gallery = (_views(queries, seed) if plan.synthetic else queries), gallery
        self._asked = _gathered(plan.queries, asked)
        self._searched = _gathered(plan.gallery, searched)

    def __call__(self) -> dict[str, float]:
        """`recall_at_<k>` of the encoder as it is. Every worker must call it at the same step."""
        self._encoder.network.eval()
        query_QD, gallery_ND = (self._embedded(pixels) for pixels in (self._queries, self._gallery))
        order_N = np.argsort([item.category for item in self._searched], kind="stable")
        items = [self._searched[place] for place in order_N]
        rows = pa.table(
            {
                "image_id": [f"{item.part}/{item.row}" for item in items],
                "product_id": [item.product_id for item in items],
                "category": [item.category for item in items],
                "content_hash": pa.nulls(len(items), pa.string()),
            }
        )
        wanted = [item.product_id for item in self._asked]
        recalls = recall_of(query_QD, wanted, gallery_ND[order_N], rows, self._ks)
        return {f"recall_at_{k}": recall for k, recall in recalls.items()}

    def _embedded(self, pixel_BHWC: np.ndarray) -> np.ndarray:
        vectors = torch.from_numpy(self._encoder.encode_pixels(pixel_BHWC)).to(self._encoder.device)
        embedded: np.ndarray = gather_uneven(vectors).cpu().numpy()
        return embedded


def _decode(catalog: Catalog, items: Sequence[Item], encoder: Encoder) -> tuple[np.ndarray, list[bool]]:
    """The usable pictures' pixels, and which of the items are usable."""
    pixels, usable = [], []
    for item, picture in zip(items, _pictures(catalog, items), strict=True):
        try:
            pixels.append(encoder.pixels(image_bytes(picture.image, picture.uri), box=item.box))
            usable.append(True)
        except ImageError as error:
            logger.warning("a picture is not validated on: %s", error)
            usable.append(False)
    side = encoder.preprocessing.crop
    return np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8), usable


def _pictures(catalog: Catalog, items: Sequence[Item]) -> list[Picture]:
    found: list[Picture | None] = [None] * len(items)
    for photo, source in ((False, shop_source(catalog)), (True, photo_source(catalog))):
        places = [place for place, item in enumerate(items) if item.photo == photo]
        rows = pa.table({"part": [items[p].part for p in places], "row": [items[p].row for p in places]})
        for place, picture in zip(places, source.pictures(rows) if places else [], strict=True):
            found[place] = picture
    return [picture for picture in found if picture is not None]


def _gathered(items: Sequence[Item], usable: list[bool]) -> list[Item]:
    """The usable items of all workers, in the order in which their vectors are gathered."""
    _, workers = world()
    in_turn = [item for rank in range(workers) for item in items[rank::workers]]
    everyone = gather_uneven(torch.tensor(usable, dtype=torch.int64)).tolist()
    return [item for item, good in zip(in_turn, everyone, strict=True) if good]


def _views(pixel_BHWC: np.ndarray, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed + 1 + world()[0])
    views = [np.empty_like(pixel_BHWC[:0])]
    for start in range(0, len(pixel_BHWC), VIEWS_AT_ONCE):
        pixel_BCHW = torch.from_numpy(pixel_BHWC[start : start + VIEWS_AT_ONCE]).permute(0, 3, 1, 2)
        views.append(wild_views(pixel_BCHW, generator=generator).permute(0, 2, 3, 1).numpy())
    return np.concatenate(views)


def _shop(catalog: Catalog, examples: Examples) -> Iterable[dict[str, Any]]:
    where = [(column, catalog.typed(column, value)) for column, value in examples.filters]
    return _rows(shop_source(catalog), ["image_id", "product_id", "category"], where)


def _photos(catalog: Catalog, examples: Examples) -> Iterable[dict[str, Any]]:
    where = [("split", pa.scalar(examples.split))]
    return _rows(photo_source(catalog), ["image_id", "product_id", "category", "box"], where)


def _rows(source: Source, columns: list[str], where: list[tuple[str, pa.Scalar]]) -> Iterable[dict[str, Any]]:
    """The rows with their places, a file's at a time."""
    for part, path in enumerate(source.paths):
        for row in Source(source.store, [path]).rows(columns, where).to_pylist():
            yield {**row, "part": part}


def _smallest(rows: Iterable[dict[str, Any]], most: int, seed: int) -> list[dict[str, Any]]:
    """At most so many rows, the same for the same seed whatever their order."""
    return heapq.nsmallest(most, rows, key=lambda row: (product_hash(f"{seed}:{row['image_id']}"), row["image_id"]))


def _item(row: dict[str, Any], *, photo: bool = False) -> Item:
    box = tuple(row["box"]) if row.get("box") else None
    place = {name: row[name] for name in ("part", "row", "product_id", "category")}
    return Item(**place, photo=photo, box=box)


def _gallery(catalog: Catalog, examples: Examples, right: set[str], most: int, seed: int) -> list[Item]:
    """All pictures of the right products, and others."""
    mine: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for row in _shop(catalog, examples):
        (mine if row["product_id"] in right else others).append(row)
    return [_item(row) for row in [*mine, *_smallest(others, most, seed)]]


def _asked_and_searched(items: list[Item], kind: str, most: int) -> tuple[list[Item], list[Item]]:
    if kind == "views":
        return items[:most], items
    first: dict[str, Item] = {}
    rest = [item for item in items if first.setdefault(item.product_id, item) is not item]
    return list(first.values())[:most], rest


def _from_triplets(catalog: Catalog, examples: Examples, hold_out: HoldOut, most: int) -> tuple[list[Item], list[Item]]:
    queries: list[Item] = []
    gallery: dict[tuple[int, int], Item] = {}
    for path in triplet_paths(catalog.store, str(examples.triplets)):
        for row in pq.read_table(path, filesystem=catalog.store.filesystem).to_pylist():
            if len(queries) == most or not hold_out.holds(row["anchor_image_id"], row["anchor_product_id"]):
                continue
            box = tuple(row["anchor_box"]) if row["anchor_box"] else None
            wanted = {"product_id": row["positive_product_id"], "category": row["category"]}
            place = {"part": row["anchor_part"], "row": row["anchor_row"]}
            queries.append(Item(**place, **wanted, photo=row["anchor_is_photo"], box=box))
            for side, category in (("positive", row["category"]), ("negative", row["negative_category"])):
                item = Item(
                    part=row[f"{side}_part"],
                    row=row[f"{side}_row"],
                    product_id=row[f"{side}_product_id"],
                    category=category,
                )
                gallery[item.part, item.row] = item
    return queries, list(gallery.values())
