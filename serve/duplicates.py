"""Products that a shopper would take for the same: with a picture to the byte the same, or nearly so."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from visnet.platform.content import short_keys
from visnet.serve import searching
from visnet.serve.messages import Found, Hit, Lookup
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

MIN_SCORE = 0.97
MOST = 200


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What was found, and which of it shares a picture with the product."""

    found: Found
    same: tuple[bool, ...]
    """Of each hit."""


async def duplicates(served: Served, product_id: str, k: int, min_score: float) -> Duplicates:
    """The `k` products most like a product, as far as they are as similar as that; those with its picture first.

    Raises:
        ProblemError: 404, there is no such product; 503, no shard answered.
    """
    known = await served.known(Lookup(product_id=product_id, vector=True, details=True))
    if known is None or known.vector_D is None:
        raise ProblemError(404, f"there is no product {product_id!r}")
    own = set(short_keys(pa.array([str(row["content_hash"]) for row in known.images or []], pa.string())).tolist())
    found = await searching.search(served, known.vector_D, k, None, without=[product_id], collapse=False)
    alike = [(hit, hit.content_key in own) for hit in found.hits if hit.score >= min_score or hit.content_key in own]
    alike.sort(key=lambda pair: not pair[1])
    hits: list[Hit] = [hit for hit, _ in alike]
    return Duplicates(
        found=Found(hits=hits, shards_ok=found.shards_ok, shards_total=found.shards_total, sequence=found.sequence),
        same=tuple(same for _, same in alike),
    )
