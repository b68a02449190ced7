"""What a shard says of its rows as a whole: some of them, drawn at random, and how often each value occurs."""

from __future__ import annotations

import numpy as np

from visnet.platform import facets
from visnet.platform.live_shard import LiveShard
from visnet.serve.messages import Sample, Sampled, ShardFacets
from visnet.serve.row_json import RowJson


def draw(shard: LiveShard, rows: RowJson, sample: Sample, *, number: int, sequence: int) -> Sampled:
    """Products drawn at random, each by one of its images; on the shard's thread.

    Args:
        number: the shard's: with one seed, every shard draws by itself.
    """
    random = np.random.default_rng((sample.seed, number))
    row_N = shard.sample(sample.count, random, where=sample.where)
    _, first_N = np.unique(np.array(rows.products(row_N)), return_index=True)
    row_N = row_N[np.sort(first_N)]
    return Sampled(
        fields=rows.fields(row_N),
        vector_ND=shard.vectors_at(row_N).astype(np.float16) if sample.with_vectors else None,
        sequence=sequence,
    )


class FacetCount:
    """A live shard's facets; the built rows are counted once."""

    def __init__(self, shard: LiveShard) -> None:
        self._shard = shard
        self._built: facets.Facets | None = None

    def count_built(self) -> None:
        """On any thread, but one at a time: seconds for many millions of rows, the first time."""
        if self._built is None:
            self._built = facets.count(self._shard.built)

    def now(self, sequence: int) -> ShardFacets:
        """As it is at present; on the shard's thread, after `count_built`."""
        assert self._built is not None
        living = facets.without(self._built, facets.count(self._shard.dead()))
        return ShardFacets(
            facets=facets.added([living, facets.count(self._shard.fresh())]),
            images=len(self._shard),
            products=self._shard.products,
            sequence=sequence,
        )
