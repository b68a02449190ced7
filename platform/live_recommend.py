"""Recommendations of what has none precomputed: the rules of the pass as a filter of a live search.

A product that was written since the pass, or several products together, are searched for when somebody asks. What the
pass would leave out is left out here: its rules become conditions, so that `k` neighbours are found if `k` exist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_shard import LiveShard
from visnet.platform.merge import NO_ROW
from visnet.platform.rules import check_columns, diversify, first_of_each, price_bounds
from visnet.platform.settings_batch import RecommendSettings
from visnet.platform.shard import Hits

# P positives, N negatives, D embedding, K results, I images of the product that asks

LEAST_NORM = 1e-6
WIDEN = 4
"""Times as many hits are looked at if too many were copies of the product that asks."""


def query_vector(positive_PD: np.ndarray, negative_ND: np.ndarray | None = None) -> np.ndarray:
    """What is like the positives and unlike the negatives: p + (p - n), of their means p and n, normalised.

    Args:
        positive_PD: unit vectors, at least one.
        negative_ND: unit vectors; without any the answer is p, normalised.

    Returns:
        float32 (D,), a unit vector.

    Raises:
        ValueError: there is no positive, or nothing is left of them.

    Source: Qdrant's recommendation strategy "average_vector"; Rocchio, "Relevance feedback in information retrieval"
    (1971), with weights 2 and 1.
    """
    if not len(positive_PD):
        raise ValueError("expected at least one positive vector, got none")
    vector_D = np.asarray(positive_PD, np.float64).mean(axis=0)
    if negative_ND is not None and len(negative_ND):
        vector_D = 2 * vector_D - np.asarray(negative_ND, np.float64).mean(axis=0)
    norm = float(np.linalg.norm(vector_D))
    if not norm > LEAST_NORM:
        raise ValueError("positives and negatives cancel each other: nothing is left to search for; leave some out")
    unit_D: np.ndarray = (vector_D / norm).astype(np.float32)
    return unit_D


def rules_filter(rules: RecommendSettings, product_row: Mapping[str, Any], schema: pa.Schema) -> Filter:
    """The neighbours that the pass would allow a product, but for copies of it: see `neighbours`.

    Args:
        product_row: of the product's first image.
        schema: of the rows that are searched.

    Raises:
        SettingsError: a rule needs a column that isn't there or does not fit.
    """
    price = rules.price_column if rules.price_band is not None else None
    check_columns(schema, in_stock=rules.in_stock, price=price)
    must = []
    if rules.same_category:
        must.append(Condition(field="category", any_of=(product_row["category"],)))
    if rules.in_stock is not None:
        must.append(_in_stock(rules.in_stock, schema))
    if price is not None and rules.price_band is not None:
        must += _in_band(price, product_row.get(price), rules.price_band, schema)
    itself = Condition(field="product_id", any_of=(product_row["product_id"],))
    return check(Filter(must=tuple(must), must_not=(itself,)), schema)


def neighbours(shard: LiveShard, query_D: np.ndarray, k: int, *, where: Filter, content_I: np.ndarray) -> Hits:
    """The `k` best products of a shard that share no image with the product that asks; of equal images the first.

    Args:
        query_D: float32, a unit vector.
        where: as `rules_filter` gives it.
        content_I: content keys of the asking product's images.

    Returns:
        Of one query: scores and rows (1, K), with as many as there are up to `k`.
    """
    fetch = k
    while True:
        hits = shard.search(query_D[None], fetch, where=where, collapse_duplicates=False)
        score_K, row_K = (array[0][hits.row_QK[0] != NO_ROW] for array in (hits.score_QK, hits.row_QK))
        valid_K = ~_copies(shard, row_K, content_I)
        kept_K = np.flatnonzero(first_of_each(shard.content_keys_at(row_K)[None], valid_K[None])[0])[:k]
        if len(kept_K) == k or len(row_K) < fetch:
            return Hits(score_K[None, kept_K], row_K[None, kept_K])
        fetch *= WIDEN


def diversified(score_K: np.ndarray, vector_KD: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Places of the `k` candidates that the pass would choose, int64, in its order; see `rules.diversify`.

    Args:
        score_K: of the candidates, best first.
        vector_KD: their unit vectors, as stored.
    """
    vector_KD = vector_KD.astype(np.float32)
    place_K = diversify(score_K[None], (vector_KD @ vector_KD.T)[None], k, diversity)[0]
    chosen: np.ndarray = place_K[place_K >= 0]
    return chosen


def _in_stock(name: str, schema: pa.Schema) -> Condition:
    if pa.types.is_boolean(schema.field(name).type):
        return Condition(field=name, any_of=(True,))
    return Condition(field=name, gt=0)


def _in_band(name: str, price: Any, band: float, schema: pa.Schema) -> list[Condition]:
    """Both ends count; a product without a price takes any, and none."""
    if price is None or math.isnan(price):
        return []
    low, high = (float(end[0]) for end in price_bounds(np.array([float(price)]), band))
    kind = schema.field(name).type
    if pa.types.is_floating(kind):  # the nearest values the column can hold, inside the band
        low, high = _inside(low, math.inf, kind), _inside(high, -math.inf, kind)
    return [Condition(field=name, gte=low, lte=high)]


def _inside(end: float, inwards: float, kind: pa.DataType) -> float:
    held = np.array(end).astype(f"f{kind.bit_width // 8}")
    outside = float(held) < end if inwards > 0 else float(held) > end  # a bare `held` would round the end too
    return float(np.nextafter(held, held.dtype.type(inwards)) if outside else held)


def _copies(shard: LiveShard, row_K: np.ndarray, content_I: np.ndarray) -> np.ndarray:
    """Which hits' products share an image's bytes, whether it was hit or not, with the product that asks."""
    products = [row["product_id"] for row in shard.rows_at(row_K)]
    keys = [shard.content_keys_at(shard.rows_of(product)) for product in products]
    return np.array([bool(np.isin(key_M, content_I).any()) for key_M in keys], bool)
