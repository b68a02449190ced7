"""The columns of a live shard's new rows: a log that grows by blocks, so that a filter looks at each row once.

Rows are named by their position in the log. What died stays until half of the log is dead; then the living ones are
put together, which costs each row as much again as writing it, and gives them new positions.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.filters import Filter, mask

# N rows of the log

KEPT_FILTERS = 32
"""Filters whose masks are kept, a byte a row."""
LEAST_DEAD = 1_024
"""Dead rows below which the log is left alone."""
MOST_CHUNKS = 64
"""Blocks of the log before they are made one: every one of them costs a filter a few microseconds."""


class LiveRows:
    """Rows that never change, by position."""

    def __init__(self, schema: pa.Schema) -> None:
        self._table = schema.empty_table()
        self._masks: collections.OrderedDict[Filter, np.ndarray] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def append(self, rows: pa.Table) -> np.ndarray:
        """Add rows; returns their positions, int64."""
        position_N = np.arange(len(self), len(self) + len(rows))
        self._table = pa.concat_tables([self._table, rows])
        if self._table.column(0).num_chunks > MOST_CHUNKS:
            self._table = self._table.combine_chunks()
        return position_N

    def wants_compaction(self, living: int) -> bool:
        """True if so much is dead that the living should be put together."""
        dead = len(self) - living
        return dead > LEAST_DEAD and dead > living

    def compact(self, position_N: np.ndarray) -> None:
        """Keep only these rows; the first is at position 0 then, and so on."""
        self._table = self._table.take(pa.array(position_N)).combine_chunks()
        self._masks.clear()

    def take(self, position_N: np.ndarray) -> pa.Table:
        """Some rows."""
        return self._table.take(pa.array(position_N, pa.int64()))

    def at(self, position_N: np.ndarray) -> list[dict[str, Any]]:
        """Rows as Python values."""
        rows: list[dict[str, Any]] = self.take(position_N).to_pylist()
        return rows

    def mask(self, filter: Filter) -> np.ndarray:
        """Which rows pass, bool (N,); only those are looked at that came since the filter was last asked for."""
        seen_N = self._masks.pop(filter, np.empty(0, bool))
        if len(seen_N) < len(self):
            seen_N = np.concatenate([seen_N, mask(filter, self._table.slice(len(seen_N)))])
        self._masks[filter] = seen_N
        if len(self._masks) > KEPT_FILTERS:
            self._masks.popitem(last=False)
        return seen_N
