"""Asking a gallery with photos: as a whole, with what a detector finds in them, and with the true box.

The search is the shard's own, the boxes and the narrowing are those of the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from visnet.platform.boxes import WHOLE as WHOLE_PHOTO
from visnet.platform.boxes import overlaps, widened
from visnet.platform.detector import Detector, Item, worth_parts
from visnet.platform.encoder import Encoder
from visnet.platform.imaging import Box
from visnet.platform.localisation import CHOSEN, DETECTED, NARROWED, TRUE_BOX, WHOLE, Asked, Reached, Weighed
from visnet.platform.localisation import DECIDING_K as K
from visnet.platform.metrics import cmc, paired_bootstrap, ranks
from visnet.platform.narrowing import likely, narrowed
from visnet.platform.settings import DetectionSettings
from visnet.train.detection.average_precision import Truth
from visnet.train.evaluation.protocol import Bench

# Q queries, D embedding, K results

AT_ONCE = 64
WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.5)
SHOWN = 24
CHOOSES = 0.5
"""A shopper is taken to choose the found item that overlaps with the product by at least this."""


class Query(NamedTuple):
    """A photo, and the product that is asked for."""

    image: Image.Image
    product: str
    box: Box | None
    """Where it is, if that is known."""
    truth: Truth | None = None
    """All that is in the photo, if that is known."""


class Looked(NamedTuple):
    """A photo, and what was found in it; the first few are kept for the report."""

    query: Query
    items: list[Item]
    """Those that are sure enough."""


@dataclass
class Answered:
    """Everything that was embedded and found for some queries."""

    products: list[str] = field(default_factory=list)
    vectors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """(D,) by way, of each query."""
    categories: list[list[tuple[str, float]]] = field(default_factory=list)
    """Likely ones of the most prominent item."""
    located: dict[str, int] = field(default_factory=dict)
    shown: list[Looked] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    found: list[list[Item]] = field(default_factory=list)
    """All items, sure or not, where the truth is known."""


def look(queries: Iterable[Query], encoder: Encoder, detector: Detector, settings: DetectionSettings) -> Answered:
    """Find and embed what is to be searched for, some photos at a time."""
    answered = Answered()
    for batch in _batches(queries):
        found = detector.detect([query.image for query in batch])
        parts: list[dict[str, Box]] = []
        for query, items in zip(batch, found, strict=True):
            large = worth_parts(query.image, encoder.preprocessing)
            sure = detector.sure(items) if large else []
            parts.append(_parts(query, sure, settings.margin))
            unsure = "only unsure items" if items else "nothing found"
            how = "items found" if sure else unsure if large else "too small"
            answered.located[how] = answered.located.get(how, 0) + 1
            answered.products.append(query.product)
            answered.categories.append(likely(sure[0].categories) if sure else [])
            if len(answered.shown) < SHOWN:
                answered.shown.append(Looked(query, sure))
            if query.truth is not None:
                answered.truth.append(query.truth)
                answered.found.append(items)
        distinct = [sorted(set(ways.values())) for ways in parts]
        pixels = [
            encoder.pixels_of(query.image, box=None if box == WHOLE_PHOTO else box)
            for query, boxes in zip(batch, distinct, strict=True)
            for box in boxes
        ]
        vectors = iter(encoder.encode_pixels(np.stack(pixels)))
        for ways, boxes in zip(parts, distinct, strict=True):
            vector_of = {box: next(vectors) for box in boxes}
            for way, box in ways.items():
                answered.vectors.setdefault(way, []).append(vector_of[box])
    return answered


def ask(answered: Answered, bench: Bench, *, about: str, ks: Sequence[int], weight: float, seed: int) -> Asked:
    """Search in every way, and compare.

    Args:
        weight: the service's `category_weight`.
    """
    product_Q = np.array(answered.products, dtype=object)
    vectors = {
        way: np.stack(vector_D)
        for way, vector_D in answered.vectors.items()
        if len(vector_D) == len(product_Q)  # else the true box of some is unknown
    }
    rank_by_way = {way: bench.ask(query_QD, product_Q, max(ks)).rank_Q for way, query_QD in vectors.items()}
    weighed = {
        one: _narrowed_ranks(vectors[DETECTED], product_Q, answered.categories, bench, weight=one, k=max(ks))
        for one in sorted({*WEIGHTS, weight})
    }
    rank_by_way = {DETECTED: rank_by_way[DETECTED], NARROWED: weighed[weight], **rank_by_way}
    order = [way for way in (WHOLE, DETECTED, NARROWED, CHOSEN, TRUE_BOX) if way in rank_by_way]
    return Asked(
        queries=len(product_Q),
        about=about,
        located=answered.located,
        ways={way: _reached(rank_by_way[way], rank_by_way[WHOLE], ks, seed) for way in order},
        weights={
            f"{one:g}": Weighed(
                recall_at_k=_recalls(rank_Q, ks),
                gained=int((_hit(rank_Q, K) & ~_hit(rank_by_way[DETECTED], K)).sum()),
                lost=int((~_hit(rank_Q, K) & _hit(rank_by_way[DETECTED], K)).sum()),
            )
            for one, rank_Q in weighed.items()
        },
    )


def _batches(queries: Iterable[Query]) -> Iterator[list[Query]]:
    batch: list[Query] = []
    for query in queries:
        batch.append(query)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _parts(query: Query, sure: list[Item], margin: float) -> dict[str, Box]:
    """The part of the photo that each way searches for."""
    boxes = [widened(item.box, margin) for item in sure]
    ways = {WHOLE: WHOLE_PHOTO, DETECTED: boxes[0] if boxes else WHOLE_PHOTO}
    if query.box is not None:
        found = np.array([item.box for item in sure], np.float32).reshape(-1, 4)
        share_N = overlaps(found, np.array([query.box], np.float32))[:, 0]
        chosen = len(share_N) and share_N.max() >= CHOOSES
        ways |= {CHOSEN: boxes[int(share_N.argmax())] if chosen else WHOLE_PHOTO, TRUE_BOX: query.box}
    return ways


class _Hit(NamedTuple):
    score: float
    product_id: str


def _narrowed_ranks(
    query_QD: np.ndarray,
    product_Q: np.ndarray,
    categories: Sequence[Sequence[tuple[str, float]]],
    bench: Bench,
    *,
    weight: float,
    k: int,
) -> np.ndarray:
    """The ranks of the products when each query's likely categories are brought forward."""
    everywhere = _hits(bench, query_QD, product_Q, k, None)
    within: list[list[tuple[float, list[_Hit]]]] = [[] for _ in product_Q]
    for name in sorted({name for one in categories for name, _ in one}):
        asked = [place for place, one in enumerate(categories) if name in dict(one)]
        for place, hits in zip(asked, _hits(bench, query_QD[asked], product_Q[asked], k, [name]), strict=True):
            within[place].append((dict(categories[place])[name], hits))
    found_QK = np.full((len(product_Q), k), None, dtype=object)
    for place, (hits, others) in enumerate(zip(everywhere, within, strict=True)):
        best = narrowed(hits, others, weight=weight, k=k)
        found_QK[place, : len(best)] = [hit.product_id for hit in best]
    return ranks(found_QK, product_Q)


def _hits(
    bench: Bench, query_QD: np.ndarray, product_Q: np.ndarray, k: int, categories: list[str] | None
) -> list[list[_Hit]]:
    answers = bench.ask(query_QD, product_Q, k, categories=categories)
    product_QK = bench.products_of(answers.row_QK)
    return [
        [_Hit(float(score), product) for score, product in zip(scores, products, strict=True) if product is not None]
        for scores, products in zip(answers.score_QK, product_QK, strict=True)
    ]


def _reached(rank_Q: np.ndarray, whole_Q: np.ndarray, ks: Sequence[int], seed: int) -> Reached:
    against = {}
    if rank_Q is not whole_Q:
        against = {str(k): paired_bootstrap(_hit(rank_Q, k), _hit(whole_Q, k), seed=seed + k) for k in ks}
    return Reached(recall_at_k=_recalls(rank_Q, ks), against_whole=against)


def _recalls(rank_Q: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    curve = cmc(rank_Q, max(ks))
    return {str(k): round(float(curve[k - 1]), 4) for k in ks}


def _hit(rank_Q: np.ndarray, k: int) -> np.ndarray:
    hit_Q: np.ndarray = (rank_Q > 0) & (rank_Q <= k)
    return hit_Q
