"""A shard that changes while it serves: what was built, what died of it, and a delta of what came since.

    rows 0 .. N-1        the built shard's; they keep their numbers; what dies is marked and its vector forgotten
    rows N ..            the delta's slots; a slot is used again once its row is dead

Search is as exact as `Shard.search`, over what lives, with the filter inside it. One thread owns a live shard: search
and apply never run at once, and nothing here is locked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.content import short_keys
from visnet.platform.errors import NotFoundError
from visnet.platform.filters import Filter, categories, rest
from visnet.platform.knn import make_owned
from visnet.platform.live_changes import Change as Change
from visnet.platform.live_changes import Remove as Remove
from visnet.platform.live_changes import Replace as Replace
from visnet.platform.live_changes import gather, live_schema
from visnet.platform.live_delta import LiveDelta
from visnet.platform.live_reach import Reach, collapsed
from visnet.platform.merge import NO_ROW
from visnet.platform.selection import Selections
from visnet.platform.shard import Hits, Shard, unit_means

# Q queries, N rows, D embedding, K results, C candidates

WIDEN = 4
"""Times as many rows are looked at for queries whose hits collapsed into too few."""


class LiveShard:
    """A built shard and what changed since.

    Args:
        base: the live shard's from then on: it overwrites vectors of it that are in memory.
        device: where `base` has its vectors, and the delta will have its own: "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: the base's content hashes are none.
    """

    def __init__(self, base: Shard, *, device: str = "cpu") -> None:
        self._base = base
        self._selections = Selections(base.rows)
        self._content_N = comparable_contents(base)
        self._products = int(base.product_N.max(initial=-1)) + 1
        self._gone = 0  # products of the base that are dead or replaced
        self.schema = live_schema(base.rows.schema)
        self._delta = LiveDelta(make_owned(base.dimension, device=device, beside=base.vectors), self.schema)
        self.dimension = base.dimension

    def __len__(self) -> int:
        """Living images."""
        return self._selections.alive.count + len(self._delta)

    @property
    def products(self) -> int:
        """Living products."""
        return self._products - self._gone + self._delta.products

    @property
    def delta_rows(self) -> int:
        """Living images that are not in the built shard."""
        return len(self._delta)

    @property
    def dead_rows(self) -> int:
        """Images of the built shard that are dead."""
        return len(self._base) - self._selections.alive.count

    def apply(self, changes: Sequence[Change]) -> np.ndarray:
        """Replace and remove products, all or, if it raises, none; the last change of a product counts.

        Applied again, the same changes end in the same products; the numbers of their rows may differ.

        Returns:
            The rows whose content changed or died, int64, ascending.

        Raises:
            ValueError: a row or a vector that does not fit the shard.
        """
        last = {change.product_id: change for change in changes}
        incoming = gather(last.values(), self.schema, self.dimension)
        gone = [self._remove_from_base(last), len(self._base) + self._delta.remove(last)]
        return np.unique(np.concatenate([*gone, len(self._base) + self._delta.put(incoming)]))

    def search(
        self,
        query_QD: np.ndarray,
        k: int,
        *,
        where: Filter | None = None,
        categories: Sequence[str] | None = None,
        collapse_duplicates: bool = True,
    ) -> Hits:
        """The `k` nearest living products of each query, as `Shard.search` promises it.

        Args:
            query_QD: float32 unit vectors.
            k: at least 1.
            where: only rows that pass; as `filters.check` returns it for `schema`.
            categories: only these, besides what the filter says.

        Raises:
            ValueError: the queries' dimension is not the shard's, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.dimension:
            raise ValueError(f"expected queries of shape (Q, {self.dimension}), got {query_QD.shape}")
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        reach = Reach(self._base, self._content_N, self._selections, self._delta, where or Filter(), categories)
        fetch = -(-k * len(self) // max(1, self.products))  # of as many images as a product has, on average
        hits = collapsed(reach.nearest(query_QD, fetch), k, collapse_duplicates)
        finite_Q = np.isfinite(query_QD).all(axis=1)
        while fetch < reach.rows and len(short := np.flatnonzero((hits.row_QK[:, -1] == NO_ROW) & finite_Q)):
            fetch *= WIDEN
            better = collapsed(reach.nearest(query_QD[short], fetch), k, collapse_duplicates)
            hits.score_QK[short], hits.row_QK[short] = better.score_QK, better.row_QK
        return hits

    @property
    def built(self) -> pa.Table:
        """The built shard's rows, the dead ones too; they never change, and may be read on any thread."""
        return self._base.rows

    def dead(self) -> pa.Table:
        """The rows of `built` that are dead."""
        return self._base.rows.filter(pa.array(~self._selections.alive.mask_N))

    def fresh(self) -> pa.Table:
        """The living rows that came since it was built."""
        return self._delta.living()

    def sample(self, count: int, random: np.random.Generator, *, where: Filter | None = None) -> np.ndarray:
        """Up to `count` living rows that pass, drawn at random, int64; every one is as likely as another."""
        filter = where or Filter()
        wanted = categories(filter)
        base_N = np.flatnonzero(self._selections.of(filter).mask_N)
        delta_N = np.flatnonzero(self._delta.select(rest(filter), wanted).mask_N)
        place_N = random.choice(len(base_N) + len(delta_N), min(count, len(base_N) + len(delta_N)), replace=False)
        in_base_N = place_N < len(base_N)
        row_N = np.empty(len(place_N), np.int64)
        row_N[in_base_N] = base_N[place_N[in_base_N]]
        row_N[~in_base_N] = len(self._base) + delta_N[place_N[~in_base_N] - len(base_N)]
        return row_N

    def rows_of(self, product_id: str) -> np.ndarray:
        """The rows of a product; empty if the shard does not hold it."""
        slot_N = self._delta.slots_of(product_id)
        return len(self._base) + slot_N if len(slot_N) else self._base_rows_of(product_id)

    def rows_at(self, row_N: np.ndarray) -> list[dict[str, Any]]:
        """Living rows as Python values, with all columns of `schema`."""
        in_base_N = row_N < len(self._base)
        base = iter(self._base.rows.take(pa.array(row_N[in_base_N], pa.int64())).to_pylist() if in_base_N.any() else ())
        delta = iter(self._delta.rows_at(row_N[~in_base_N] - len(self._base)) if not in_base_N.all() else ())
        return [next(base if in_base else delta) for in_base in in_base_N.tolist()]

    def vectors_at(self, row_N: np.ndarray) -> np.ndarray:
        """The vectors of living rows, float32 (N, D)."""
        vector_ND = np.empty((len(row_N), self.dimension), np.float32)
        in_base_N = row_N < len(self._base)
        vector_ND[in_base_N] = self._base.vectors.take(row_N[in_base_N])
        vector_ND[~in_base_N] = self._delta.vectors.take(row_N[~in_base_N] - len(self._base))
        return vector_ND

    def content_keys_at(self, row_N: np.ndarray) -> np.ndarray:
        """int64 (N,): rows with the same image bytes have the same key, in all shards."""
        key_N = np.empty(len(row_N), np.int64)
        in_base_N = row_N < len(self._base)
        key_N[in_base_N] = self._content_N[row_N[in_base_N]]
        key_N[~in_base_N] = self._delta.content_S[row_N[~in_base_N] - len(self._base)]
        return key_N

    def vector(self, product_id: str) -> np.ndarray:
        """A product's query vector, float32 (D,): the normalised mean over its images.

        Raises:
            NotFoundError: the shard does not hold it.
        """
        row_N = self.rows_of(product_id)
        if not len(row_N):
            raise NotFoundError(f"no product {product_id!r}")
        vector_D: np.ndarray = self.product_vectors([row_N])[0]
        return vector_D

    def product_vectors(self, rows_of_products: Sequence[np.ndarray]) -> np.ndarray:
        """The query vectors of several products by their rows, at least one each: float32 (products, D)."""
        if not len(rows_of_products):
            return np.empty((0, self.dimension), np.float32)
        count_P = np.array([len(rows) for rows in rows_of_products])
        return unit_means(self.vectors_at(np.concatenate(rows_of_products)), count_P)

    def vector_of_content(self, content_hash: str) -> np.ndarray | None:
        """The vector of a living row whose image has these bytes, float32 (D,); None if there is none."""
        key = int(short_keys(pa.array([content_hash]))[0])
        order_N, alive_N = self._order_by_content, self._selections.alive.mask_N
        first, last = (int(np.searchsorted(self._content_N, key, side, sorter=order_N)) for side in ("left", "right"))
        base_N = order_N[first:last]
        row_N = np.concatenate([base_N[alive_N[base_N]], len(self._base) + self._delta.with_content(key)])
        for row, known in zip(row_N.tolist(), self.rows_at(row_N), strict=True):
            if known["content_hash"] == content_hash:  # a key is half of it
                vector_D: np.ndarray = self.vectors_at(np.array([row]))[0]
                return vector_D
        return None

    @functools.cached_property
    def _order_by_content(self) -> np.ndarray:
        return np.argsort(self._content_N, kind="stable")

    def _base_rows_of(self, product_id: str) -> np.ndarray:
        row_N = self._base.rows_of(product_id)
        return row_N[self._selections.alive.mask_N[row_N]]

    def _remove_from_base(self, products: Sequence[str] | dict[str, Change]) -> np.ndarray:
        found = [self._base_rows_of(product) for product in products if not len(self._delta.slots_of(product))]
        row_N = np.concatenate([*found, np.empty(0, np.int64)])
        self._gone += sum(len(rows) > 0 for rows in found)
        self._selections.remove(row_N)
        self._base.vectors.forget(row_N)
        return row_N


def comparable_contents(shard: Shard) -> np.ndarray:
    """Content keys that mean the same in every shard: the mapped ones, or worked out where a shard has none.

    A shard without mapped keys numbers its contents from 0, which as a key only a hash of sixteen zeros would have.
    """
    if not len(shard) or shard.content_N[0] == short_keys(shard.rows["content_hash"][:1])[0]:
        return shard.content_N
    return short_keys(shard.rows["content_hash"])
