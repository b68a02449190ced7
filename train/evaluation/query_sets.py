"""The queries of an evaluation, one function per kind: photos, gallery pictures, or synthetic views of these.

Each function chooses by the plan's seed, embeds with every encoder, and counts what it could not use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder
from visnet.platform.errors import CatalogError
from visnet.platform.imaging import Box
from visnet.platform.pictures import Picture, Source
from visnet.platform.queries import wild_queries
from visnet.train.evaluation.gallery import Gallery, column
from visnet.train.evaluation.plan import Plan
from visnet.train.pictures import embed

# Q queries, N gallery pictures, D embedding

PHOTO_COLUMNS = ["image_id", "product_id", "category", "split", "box"]


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """The queries that are asked, and the count of those that could not be."""

    vectors: Mapping[str, np.ndarray]
    """(Q, D) by encoder."""
    products: np.ndarray
    """The product that each query shows, object (Q,)."""
    categories: np.ndarray
    names: list[str]
    """What to call each query in a report."""
    boxes: list[Box | None]
    """The part of its picture that each query is."""
    row_Q: np.ndarray | None = None
    """The gallery picture that each query is or was made of; None for photos."""
    leave_out: bool = False
    """Whether that picture is left out of the query's own search."""
    pictures: Callable[[Sequence[int]], list[Picture]]
    """The pictures of some queries, read again."""
    found: int
    chosen: int
    without_box: int = 0
    examples: Sequence[str] = ()
    """The first few that could not be used, with the reason."""

    def __len__(self) -> int:
        return len(self.products)


def make_queries(catalog: Catalog, plan: Plan, gallery: Gallery, encoders: Mapping[str, Encoder]) -> QuerySet:
    """The queries of a plan.

    Args:
        encoders: the first is the one evaluated; synthetic photos are made in its size.

    Raises:
        CatalogError: there is not one usable query.
    """
    match plan.kind:
        case "photos":
            queries = _photos(catalog, plan, encoders)
        case "images":
            queries = _images(plan, gallery)
        case "synthetic":
            queries = _synthetic(plan, gallery, encoders)
    if not len(queries):
        raise CatalogError(
            f"catalogue {catalog.reference} has no usable queries of the kind {plan.kind!r} "
            f"({queries.found:,} found, {queries.chosen:,} chosen)"
        )
    return queries


def _photos(catalog: Catalog, plan: Plan, encoders: Mapping[str, Encoder]) -> QuerySet:
    source = Source(catalog.store, catalog.photo_paths())
    found = source.rows(PHOTO_COLUMNS, [("split", pa.scalar(plan.split))])
    chosen = found.take(_choose(len(found), plan))
    boxes = [tuple(box) if box and not plan.whole_photo else None for box in chosen["box"].to_pylist()]
    ids = chosen["image_id"].to_pylist()
    embedded = embed(encoders, source.stream(chosen), ids=ids, boxes=boxes, what="embed the photos")
    asked = chosen.take(embedded.usable)
    return QuerySet(
        vectors=embedded.vectors,
        products=column(asked, "product_id"),
        categories=column(asked, "category"),
        names=asked["image_id"].to_pylist(),
        boxes=[boxes[number] for number in embedded.usable],
        pictures=lambda numbers: source.pictures(asked.take(np.array(numbers, np.int64))),
        found=len(found),
        chosen=len(chosen),
        without_box=sum(box is None for box in asked["box"].to_pylist()),
        examples=embedded.examples,
    )


def _images(plan: Plan, gallery: Gallery) -> QuerySet:
    _, place_N, count_P = np.unique(column(gallery.selected, "product_id"), return_inverse=True, return_counts=True)
    found = np.flatnonzero(count_P[place_N] > 1)
    chosen = found[_choose(len(found), plan)]
    asked = np.flatnonzero(np.isin(gallery.usable, chosen))  # as rows of the usable ones
    vectors = {name: vector_ND[asked] for name, vector_ND in gallery.vectors.items()}
    queries = _of_gallery(gallery, asked, vectors, found=len(found), chosen=len(chosen))
    return dataclasses.replace(queries, leave_out=True)


def _synthetic(plan: Plan, gallery: Gallery, encoders: Mapping[str, Encoder]) -> QuerySet:
    side = next(iter(encoders.values())).preprocessing.crop
    rows = _choose(len(gallery.rows), plan)
    plain = [picture.data() for picture in gallery.source.pictures(gallery.rows.take(rows))]
    photos = [Picture(photo, None) for photo in wild_queries(plain, seed=plan.seed, side=side)]
    stream = iter([(np.arange(len(photos)), photos)])
    embedded = embed(encoders, stream, ids=[""] * len(photos), what="embed the synthetic photos")
    queries = _of_gallery(gallery, rows, embedded.vectors, found=len(gallery.rows), chosen=len(rows))
    return dataclasses.replace(queries, pictures=lambda numbers: [photos[number] for number in numbers])


def _of_gallery(
    gallery: Gallery, rows: np.ndarray, vectors: Mapping[str, np.ndarray], *, found: int, chosen: int
) -> QuerySet:
    """Queries that show the products of some gallery pictures."""
    return QuerySet(
        vectors=vectors,
        products=gallery.products[rows],
        categories=gallery.categories[rows],
        names=gallery.rows["image_id"].take(rows).to_pylist(),
        boxes=[None] * len(rows),
        row_Q=rows,
        pictures=lambda numbers: gallery.source.pictures(gallery.rows.take(rows[np.array(numbers, np.int64)])),
        found=found,
        chosen=chosen,
    )


def _choose(count: int, plan: Plan) -> np.ndarray:
    """The plan's number of `count` things, by its seed, in order."""
    chosen: np.ndarray = np.sort(np.random.default_rng(plan.seed).permutation(count)[: plan.queries])
    return chosen
