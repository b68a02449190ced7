"""Products drawn at random from all shards: examples to begin with, and what maps and measurements are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visnet.platform.filters import Filter
from visnet.serve.gathering import gather, gathered
from visnet.serve.messages import Found, Sample, Sampled
from visnet.serve.served import Served

# N products, D embedding

MOST = 200
"""Products of a request."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Products that were drawn."""

    fields: list[bytes]
    """As in `ShardAnswer.fields`."""
    vector_ND: np.ndarray | None
    """float16, if they were asked for."""
    about: Found
    """Without hits."""


async def sample(
    served: Served, count: int, seed: int, where: Filter | None = None, *, with_vectors: bool = False
) -> Drawn:
    """Up to `count` products, each as likely as another: products are spread over the shards by a hash of their id.

    Raises:
        ProblemError: 503, no shard answered.
    """
    asked = Sample(count=count, seed=seed, where=where, with_vectors=with_vectors)
    answers: list[Sampled] = await gather(served, "sample", asked)
    fields = [each for answer in answers for each in answer.fields]
    order_N = np.random.default_rng(seed).permutation(len(fields))[:count]
    vectors = [answer.vector_ND for answer in answers if answer.vector_ND is not None]
    return Drawn(
        fields=[fields[place] for place in order_N],
        vector_ND=np.concatenate(vectors)[order_N] if with_vectors else None,
        about=gathered(served, answers),
    )
