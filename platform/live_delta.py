"""The new rows of a live shard: vectors in slots of a block that doubles when full, and what else is known of them.

A row that dies frees its slot, and the next one that comes takes it. So the block is as large as the delta ever was,
and a slot's number names different rows over time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.filters import Filter
from visnet.platform.knn import OwnedVectors
from visnet.platform.live_changes import Incoming
from visnet.platform.live_rows import LiveRows
from visnet.platform.selection import Selection

# S slots, N rows, D embedding

FIRST_SLOTS = 1_024


class LiveDelta:
    """Rows in slots.

    Args:
        vectors: room for their vectors, empty.
        schema: of the rows.
    """

    def __init__(self, vectors: OwnedVectors, schema: pa.Schema) -> None:
        self.vectors = vectors
        self._rows = LiveRows(schema)
        self._categories: dict[str, int] = {}
        self._alive_S = np.zeros(0, bool)
        self.product_S = np.zeros(0, np.int64)
        """The product's first slot, which no other living product has."""
        self.content_S = np.zeros(0, np.int64)
        self._category_S = np.zeros(0, np.int32)
        self._position_S = np.zeros(0, np.int64)
        self.used = 0
        """Slots that were ever taken; those from here on have never been."""
        self._free: list[int] = []
        self._slots_of: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.used - len(self._free)

    @property
    def products(self) -> int:
        return len(self._slots_of)

    def slots_of(self, product_id: str) -> np.ndarray:
        """A product's slots, in the order of its images; empty if it has none."""
        return self._slots_of.get(product_id, np.empty(0, np.int64))

    def remove(self, product_ids: Iterable[str]) -> np.ndarray:
        """Free the slots of these products; returns them."""
        gone = [self._slots_of.pop(product) for product in product_ids if product in self._slots_of]
        slot_N = np.concatenate([*gone, np.empty(0, np.int64)])
        self._alive_S[slot_N] = False
        self.vectors.forget(slot_N)
        for slot in slot_N.tolist():
            heapq.heappush(self._free, slot)
        return slot_N

    def put(self, incoming: Incoming) -> np.ndarray:
        """Give products slots; none of them has any. Returns the slots, in the order of the rows."""
        slot_N = self._take_slots(len(incoming.rows))
        self.vectors.overwrite(slot_N, incoming.vector_ND)
        self._alive_S[slot_N] = True
        self.content_S[slot_N] = incoming.content_N
        names = incoming.rows["category"].to_pylist()
        self._category_S[slot_N] = [self._categories.setdefault(name, len(self._categories)) for name in names]
        self._position_S[slot_N] = self._rows.append(incoming.rows)
        first = 0
        for product, count in incoming.products:
            mine = slot_N[first : first + count]
            self._slots_of[product] = mine
            self.product_S[mine] = mine[0]
            first += count
        self._compact()
        return slot_N

    def select(self, filter: Filter, categories: Sequence[str] | None) -> Selection:
        """The living rows, as slots below `used`, that pass and are of one of the categories."""
        mask_S = self._alive_S[: self.used].copy()
        if categories is not None:
            numbers = [self._categories[name] for name in categories if name in self._categories]
            mask_S &= np.isin(self._category_S[: self.used], numbers)
        if not filter.is_empty and mask_S.any():
            slot_N = np.flatnonzero(mask_S)
            mask_S[slot_N] = self._rows.mask(filter)[self._position_S[slot_N]]
        return Selection(mask_S)

    def with_content(self, content: int) -> np.ndarray:
        """The slots of living rows with this content key."""
        return np.flatnonzero((self.content_S[: self.used] == content) & self._alive_S[: self.used])

    def living(self) -> pa.Table:
        """All living rows."""
        return self._rows.take(self._position_S[: self.used][self._alive_S[: self.used]])

    def rows_at(self, slot_N: np.ndarray) -> list[dict[str, Any]]:
        """Living rows as Python values."""
        return self._rows.at(self._position_S[slot_N])

    def _take_slots(self, count: int) -> np.ndarray:
        """Free ones first, the lowest of them."""
        again = [heapq.heappop(self._free) for _ in range(min(count, len(self._free)))]
        fresh = count - len(again)
        self._make_room(self.used + fresh)
        slot_N = np.array([*again, *range(self.used, self.used + fresh)], np.int64)
        self.used += fresh
        return slot_N

    def _make_room(self, slots: int) -> None:
        if slots <= len(self._alive_S):
            return
        capacity = max(FIRST_SLOTS, slots, 2 * len(self._alive_S))
        self.vectors.grow(capacity)
        for name in ("_alive_S", "product_S", "content_S", "_category_S", "_position_S"):
            old_S = getattr(self, name)
            grown_S = np.zeros(capacity, old_S.dtype)
            grown_S[: len(old_S)] = old_S
            setattr(self, name, grown_S)

    def _compact(self) -> None:
        if self._rows.wants_compaction(len(self)):
            slot_N = np.flatnonzero(self._alive_S)
            self._rows.compact(self._position_S[slot_N])
            self._position_S[slot_N] = np.arange(len(slot_N))
