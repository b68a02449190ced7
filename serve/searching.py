"""Searches and recommendations of one release, from a request's plain values to hits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from visnet.platform.content import short_keys
from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_recommend import diversified, query_vector, rules_filter
from visnet.platform.narrowing import likely, narrowed
from visnet.platform.settings import RecommendSettings
from visnet.serve.messages import Found, FoundPart, Hit, Known, Lookup, Part, Query
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

# K results, C candidates, D embedding


def given_vector(served: Served, numbers: Sequence[float]) -> np.ndarray:
    """A client's vector, float32 (D,), at unit length.

    Raises:
        ProblemError: 422, it is not one of this release's encoder.
    """
    vector_D = np.array(numbers, np.float64)
    if len(vector_D) != served.dimension:
        raise ProblemError(422, f"vector: expected {served.dimension} numbers, got {len(vector_D)}")
    largest = float(np.abs(vector_D).max())
    if not np.isfinite(largest) or largest == 0:
        raise ProblemError(422, "vector: expected finite numbers that are not all 0")
    vector_D /= largest  # so that no square of it is beyond what a float holds
    return (vector_D / np.linalg.norm(vector_D)).astype(np.float32)


async def stored_vector(served: Served, product_id: str) -> np.ndarray:
    """A product's own vector, float32 (D,).

    Raises:
        ProblemError: 404, there is no such product.
    """
    vector_D = (await _known(served, Lookup(product_id=product_id, vector=True))).vector_D
    assert vector_D is not None
    return vector_D


async def search(
    served: Served,
    vector_D: np.ndarray,
    k: int,
    where: Filter | None,
    *,
    without: Collection[str] = (),
    collapse: bool = True,
) -> Found:
    """The `k` nearest products.

    Args:
        without: products that are left out.
        collapse: whether products with the same picture are found as one.

    Raises:
        ProblemError: 503, no shard answered.
    """
    found = await served.find(Query(vector_D=vector_D, k=k + len(without), where=where, collapse=collapse))
    if not found.shards_ok:
        raise ProblemError(503, "no shard answered; try again")
    return _cut(found, [hit for hit in found.hits if hit.product_id not in without][:k])


async def search_part(
    served: Served, part: Part, k: int, where: Filter | None, *, weight: float, without: Collection[str] = ()
) -> FoundPart:
    """The `k` nearest products to a part of a photo; those of its likely categories are brought forward.

    Args:
        weight: similarity that a category the detector is sure of is worth (`narrowing`).
        without: products that are left out.

    Raises:
        ProblemError: 503, no shard answered.
    """
    assert part.vector_D is not None
    categories = likely(part.categories) if weight and not _names_category(where) else []
    wheres = [where, *(_both(where, _of_category(name, served)) for name, _ in categories)]
    found, *within = await asyncio.gather(*[search(served, part.vector_D, k, one, without=without) for one in wheres])
    if not within:
        return FoundPart(part=part, found=found)
    shares = [share for _, share in categories]
    lists = [(share, one.hits) for share, one in zip(shares, within, strict=True)]
    hits = narrowed(found.hits, lists, weight=weight, k=k * len(wheres))
    whole = Found(
        hits=_distinct(hits)[:k],
        shards_ok=min(one.shards_ok for one in (found, *within)),
        shards_total=found.shards_total,
        sequence=min(one.sequence for one in (found, *within)),
    )
    return FoundPart(part=part, found=whole, narrowed=tuple(categories))


def _names_category(where: Filter | None) -> bool:
    """Whether the request has chosen categories itself."""
    return where is not None and any(condition.field == "category" for condition in where.must)


def _of_category(name: str, served: Served) -> Filter:
    return check(Filter(must=(Condition(field="category", any_of=(name,)),)), served.schema)


def _distinct(hits: list[Hit]) -> list[Hit]:
    """Without copies of a picture that searches apart could not know of each other."""
    seen: set[int] = set()
    kept = []
    for hit in hits:
        if hit.content_key is None or hit.content_key not in seen:
            kept.append(hit)
        if hit.content_key is not None:
            seen.add(hit.content_key)
    return kept


async def recommend(
    served: Served, positive: Sequence[str], negative: Sequence[str], k: int, where: Filter | None
) -> tuple[Found, bool]:
    """Products like the positive ones and unlike the negative ones, by the rules of the recommendation pass.

    Returns:
        What was found, and whether it was computed beforehand: for one product, without a filter, as long as there are
        `k` of them left that are to be had.

    Raises:
        ProblemError: 404, there is no such product; 422, the examples cancel each other; 503, no shard answered.
    """
    if where is None and not negative and len(positive) == 1:
        known = await _known(served, Lookup(product_id=positive[0], neighbours=True))
        found = await _precomputed(served, known.neighbours or [], k)
        if found is not None:
            return found, True
    return await _live(served, positive, negative, k, where), False


async def _precomputed(served: Served, neighbours: list[tuple[str, float]], k: int) -> Found | None:
    """The first `k` precomputed ones that are to be had now; None if there are not as many."""
    if len(neighbours) < k:
        return None
    hits: list[Hit] = []
    sequence = None
    for start in range(0, len(neighbours), k):  # the first k will mostly do
        asked = neighbours[start : start + k]
        shown, seen = await served.shown([product for product, _ in asked], in_stock=served.rules.get("in_stock"))
        sequence = seen if sequence is None else min(sequence, seen)
        hits += [
            Hit(score=score, product_id=product, fields=fields)
            for (product, score), fields in zip(asked, shown, strict=True)
            if fields is not None
        ]
        if len(hits) >= k:
            total = served.shards_total
            return Found(hits=hits[:k], shards_ok=total, shards_total=total, sequence=sequence)
    return None


async def _live(
    served: Served, positive: Sequence[str], negative: Sequence[str], k: int, where: Filter | None
) -> Found:
    """Searched now, by the pass's rules for the first positive product; none of the examples, and no copy of them."""
    examples = list(dict.fromkeys([*positive, *negative]))
    asked = [Lookup(product_id=name, vector=True, details=True) for name in examples]
    known = dict(zip(examples, await asyncio.gather(*[_known(served, lookup) for lookup in asked]), strict=True))
    rules = RecommendSettings(**served.rules)
    try:
        vector_D = query_vector(_vectors(known, positive), _vectors(known, negative))
    except ValueError as error:
        raise ProblemError(422, str(error)) from None
    where = _both(where, rules_filter(rules, (known[positive[0]].images or [{}])[0], served.schema))
    copies = _content_keys(known)
    candidates = k if not rules.diversity else max(k, rules.candidates or 5 * k)
    query = Query(vector_D=vector_D, k=candidates + len(examples), where=where, with_vectors=bool(rules.diversity))
    while True:
        found = await served.find(query)
        if not found.shards_ok:
            raise ProblemError(503, "no shard answered; try again")
        hits = [hit for hit in found.hits if hit.product_id not in examples and hit.content_key not in copies]
        if len(hits) >= candidates or len(found.hits) < query.k:
            break
        query = dataclasses.replace(query, k=2 * query.k)
    hits = hits[:candidates]
    return _cut(found, _diverse(hits, k, rules.diversity) if rules.diversity else hits)


def _content_keys(known: dict[str, Known]) -> set[int]:
    hashes = [str(row["content_hash"]) for one in known.values() for row in one.images or []]
    return set(short_keys(pa.array(hashes, pa.string())).tolist())


def _diverse(hits: list[Hit], k: int, diversity: float) -> list[Hit]:
    if not hits:
        return []
    score_C = np.array([hit.score for hit in hits], np.float32)
    vector_CD = np.stack([hit.vector_D for hit in hits if hit.vector_D is not None]).astype(np.float32)
    return [hits[place] for place in diversified(score_C, vector_CD, k, diversity)]


async def _known(served: Served, lookup: Lookup) -> Known:
    known = await served.known(lookup)
    if known is None:
        raise ProblemError(404, f"there is no product {lookup.product_id!r}")
    return known


def _vectors(known: dict[str, Known], products: Sequence[str]) -> np.ndarray:
    vectors = [known[product].vector_D for product in products]
    return np.stack([vector_D for vector_D in vectors if vector_D is not None]) if vectors else np.empty((0, 0))


def _both(one: Filter | None, other: Filter | None) -> Filter | None:
    """What satisfies both; the rules' own are all of them conditions that must hold."""
    if one is None or other is None:
        return one or other
    return Filter(must=one.must + other.must, should=one.should, must_not=one.must_not + other.must_not)


def _cut(found: Found, hits: list[Hit]) -> Found:
    return Found(hits=hits, shards_ok=found.shards_ok, shards_total=found.shards_total, sequence=found.sequence)
