"""Search among some rows of a block of vectors, exactly, at a cost that falls with their number.

Few rows are gathered and searched by themselves. Of many, the whole block is searched a little deeper and what was not
selected is dropped; a query whose surroundings are mostly dropped is asked again, deeper, and then of the gathered
rows. So what it costs has a bound, two passes and a gathering, whatever filter and query have to do with each other.
"""

from __future__ import annotations

import collections
import math

import numpy as np
import pyarrow as pa

from visnet.platform.filters import Filter, mask
from visnet.platform.knn import Vectors
from visnet.platform.merge import NO_ROW
from visnet.platform.rules import at_places, first_places

# Q queries, N rows, K results

GATHER_COST = 18
"""Gathering a row takes as long as comparing it with so many queries, and reading it in its turn as long as with one.
On one core, gathering costs as much as a deeper pass from 12 % of 200,000 x 64 on for one query, 22 % for 4, 60 % for
16 and 95 % for 64; of 60,000 x 256 from 27 % on for one query and all of it for 16."""
DEEPER = 8
"""A second pass goes so many times as deep, before rows are gathered for the queries that still fall short."""
KEPT_BYTES = 2**28
"""Masks of filters that are kept for the next query."""


class Selection:
    """Rows of a block that may be found.

    Args:
        mask_N: bool; the selection's own from then on.
    """

    def __init__(self, mask_N: np.ndarray) -> None:
        self.mask_N = mask_N
        self.count = int(np.count_nonzero(mask_N))
        self._row_N: np.ndarray | None = None

    @property
    def size_bytes(self) -> int:
        return self.mask_N.nbytes + (self._row_N.nbytes if self._row_N is not None else 0)

    def remove(self, row_N: np.ndarray) -> None:
        """Rows that may not be found any more; each at most once."""
        gone = int(np.count_nonzero(self.mask_N[row_N]))
        if gone:
            self.mask_N[row_N] = False
            self.count -= gone
            self._row_N = None

    def count_in(self, start: int, stop: int) -> int:
        """How many rows of a slice are selected."""
        if (start, stop) == (0, len(self.mask_N)):
            return self.count
        return int(np.count_nonzero(self.mask_N[start:stop]))

    def rows_in(self, start: int, stop: int) -> np.ndarray:
        """The selected rows of a slice, ascending; those of the whole block are kept if they are few."""
        if (start, stop) != (0, len(self.mask_N)):
            return np.flatnonzero(self.mask_N[start:stop]) + start
        if self._row_N is not None:
            return self._row_N
        row_N = np.flatnonzero(self.mask_N)
        if 2 * len(row_N) <= len(self.mask_N):
            self._row_N = row_N
        return row_N


class Selections:
    """What filters select of rows that never change but die; as many of the last ones as there is room for."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self.alive = Selection(np.ones(len(rows), bool))
        self._of: collections.OrderedDict[Filter, Selection] = collections.OrderedDict()

    def of(self, filter: Filter) -> Selection:
        """The living rows that pass."""
        if filter.is_empty:
            return self.alive
        if filter not in self._of:
            self._of[filter] = Selection(mask(filter, self._rows) & self.alive.mask_N)
        self._of.move_to_end(filter)
        while len(self._of) > 1 and sum(kept.size_bytes for kept in self._of.values()) > KEPT_BYTES:
            self._of.popitem(last=False)
        return self._of[filter]

    def remove(self, row_N: np.ndarray) -> None:
        """Rows that died; each once."""
        for selection in (self.alive, *self._of.values()):
            selection.remove(row_N)


def nearest(
    vectors: Vectors, query_QD: np.ndarray, start: int, stop: int, selection: Selection, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` selected rows of a slice with the largest inner product, or all if they are fewer.

    Returns:
        As `Vectors.search`.
    """
    count = selection.count_in(start, stop)
    k = min(k, count)
    if not k:
        return np.empty((len(query_QD), 0), np.float32), np.empty((len(query_QD), 0), np.int64)
    if count == stop - start:
        return vectors.search(query_QD, start, stop, k)
    if count * (len(query_QD) + GATHER_COST) <= (stop - start) * (len(query_QD) + 1):
        return vectors.search_rows(query_QD, selection.rows_in(start, stop), k)
    score_QK, row_QK = np.full((len(query_QD), k), -np.inf, np.float32), np.full((len(query_QD), k), NO_ROW)
    short = np.flatnonzero(np.isfinite(query_QD).all(axis=1))
    depth = _depth(k, count / (stop - start))
    for deep in (depth, DEEPER * depth):
        if len(short) and deep < stop - start:
            score_QK[short], row_QK[short] = _kept(*vectors.search(query_QD[short], start, stop, deep), selection, k)
            short = short[(row_QK[short] == NO_ROW).any(axis=1)]
    if len(short):
        score_QK[short], row_QK[short] = vectors.search_rows(query_QD[short], selection.rows_in(start, stop), k)
    return score_QK, row_QK


def _depth(k: int, share: float) -> int:
    """How many rows hold `k` selected ones with some certainty, if those are spread evenly."""
    return math.ceil((k + 2 * math.sqrt(k * (1 - share))) / share)


def _kept(score_QC: np.ndarray, row_QC: np.ndarray, selection: Selection, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `k` selected hits of every query; `NO_ROW` after the last."""
    place_QK = first_places((row_QC != NO_ROW) & selection.mask_N[row_QC], k)
    place_QK = np.pad(place_QK, ((0, 0), (0, k - place_QK.shape[1])), constant_values=-1)
    return at_places(score_QC, place_QK, -np.inf), at_places(row_QC, place_QK, NO_ROW)
