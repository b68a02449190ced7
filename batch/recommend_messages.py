"""What goes to and fro in the recommendation pass: products that ask, and what a shard finds for them. Arrays only."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from visnet.platform.merge import NO_ROW

# Q queries, K neighbours, D embedding, N rows, I images of a product, M some of the queries


@dataclass(frozen=True, eq=False)
class ShardRows:
    """What a shard is made of."""

    vector_ND: np.ndarray
    """Unit vectors of any float type; mapped ones stay so."""
    rows: pa.Table
    product_N: np.ndarray
    """Rank of each row's product by its id, from 0."""
    content_N: np.ndarray
    """int64: equal for images with the same bytes, in all shards."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Products that ask for neighbours, in the order of the rules."""

    shard: int
    """Their owner."""
    product_Q: np.ndarray
    """int64: their numbers there."""
    vector_QD: np.ndarray
    """float32 unit vectors: the normalised mean over their images."""
    content_QI: np.ndarray
    """int64 keys of their images; short rows repeat their first."""
    price_Q: np.ndarray
    """float64, NaN where there is none; all NaN if prices don't matter."""
    group_Q: np.ndarray
    """Those alike in category and near each other in price have the same number, and stand together."""
    categories: list[str | None]
    """Of each group; None: any."""

    def of(self, place_M: np.ndarray) -> Queries:
        """Some of them, by their places, ascending."""
        return dataclasses.replace(
            self,
            product_Q=self.product_Q[place_M],
            vector_QD=self.vector_QD[place_M],
            content_QI=self.content_QI[place_M],
            price_Q=self.price_Q[place_M],
            group_Q=self.group_Q[place_M],
        )

    def groups(self) -> Iterator[tuple[int, int, str | None]]:
        """First, last (not included) and category of every group."""
        edges = [0, *(np.flatnonzero(np.diff(self.group_Q)) + 1).tolist(), len(self.group_Q)]
        for first, last in itertools.pairwise(edges):
            if first < last:
                yield first, last, self.categories[self.group_Q[first]]


@dataclass(frozen=True, eq=False)
class Found:
    """A shard's best neighbours for some queries, best first; each product and each image's bytes once."""

    score_QK: np.ndarray
    """float32; -inf where there is nothing more."""
    row_QK: np.ndarray
    """int32: the row among those searched; `NO_ROW` where there is nothing more."""
    content_QK: np.ndarray
    """int64."""
    floor_Q: np.ndarray
    """float32: every neighbour with a higher score is among them; -inf: there are no others."""


def stacked(found: list[Found]) -> Found:
    """The answers to groups of queries, one below the other, as wide as the widest."""
    width = max((one.row_QK.shape[1] for one in found), default=0)

    def wide(arrays: list[np.ndarray], missing: float) -> np.ndarray:
        return np.concatenate(
            [np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=missing) for array in arrays]
        )

    return Found(
        wide([one.score_QK for one in found], -np.inf),
        wide([one.row_QK for one in found], NO_ROW),
        wide([one.content_QK for one in found], 0),
        np.concatenate([one.floor_Q for one in found]),
    )
