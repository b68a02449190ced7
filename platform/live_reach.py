"""What one search of a live shard may find, and how its hits become products.

The k best of several blocks are among the k best of each, so every block is asked for as many. What lies deeper than
that in one block may be beaten by what another did not tell: hits are cut before they are collapsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visnet.platform.filters import Filter, categories, rest
from visnet.platform.live_delta import LiveDelta
from visnet.platform.merge import NO_ROW
from visnet.platform.rules import at_places, first_of_each, first_places
from visnet.platform.selection import Selections, nearest
from visnet.platform.shard import Hits, Shard

# Q queries, N rows, D embedding, K results, C candidates


class Found(NamedTuple):
    """Hits of every query before they are collapsed, all (Q, C), best first."""

    score_QC: np.ndarray
    row_QC: np.ndarray
    product_QC: np.ndarray
    content_QC: np.ndarray


class Reach:
    """What one search may find: slices of the base and slots of the delta, with those selected that pass."""

    def __init__(
        self,
        base: Shard,
        content_N: np.ndarray,
        selections: Selections,
        delta: LiveDelta,
        where: Filter,
        wanted: Sequence[str] | None,
    ) -> None:
        self._base, self._delta, self._content_N = base, delta, content_N
        named = _both(categories(where), wanted)
        self._base_selection = selections.of(rest(where))
        self._delta_selection = delta.select(rest(where), named)
        self._spans = [(0, len(base))] if named is None else [base.categories[n] for n in named if n in base.categories]
        self.rows = sum(self._base_selection.count_in(*span) for span in self._spans) + self._delta_selection.count

    def nearest(self, query_QD: np.ndarray, k: int) -> Found:
        """The `k` best hits of the slices and the delta together, or all they have."""
        blocks = [self._in_base(query_QD, start, stop, k) for start, stop in self._spans]
        if self._delta_selection.count:
            blocks.append(self._in_delta(query_QD, k))
        blocks = [block for block in blocks if block.row_QC.shape[1]]
        if not blocks:
            nothing = np.empty((len(query_QD), 0), np.int64)
            return Found(nothing.astype(np.float32), nothing, nothing, nothing)
        found = Found(*(np.concatenate(columns, axis=1) for columns in zip(*blocks, strict=True)))
        if len(blocks) == 1:
            return found
        order_QC = np.argsort(-found.score_QC, axis=1, kind="stable")[:, :k]
        return Found(*(np.take_along_axis(column_QC, order_QC, axis=1) for column_QC in found))

    def _in_base(self, query_QD: np.ndarray, start: int, stop: int, k: int) -> Found:
        score_QC, row_QC = nearest(self._base.vectors, query_QD, start, stop, self._base_selection, k)
        if not row_QC.size:
            return Found(score_QC, row_QC, row_QC, row_QC)
        return Found(score_QC, row_QC, self._base.product_N[row_QC].astype(np.int64), self._content_N[row_QC])

    def _in_delta(self, query_QD: np.ndarray, k: int) -> Found:
        delta = self._delta
        score_QC, slot_QC = nearest(delta.vectors, query_QD, 0, delta.used, self._delta_selection, k)
        row_QC = np.where(slot_QC == NO_ROW, NO_ROW, len(self._base) + slot_QC)
        product_QC = len(self._base) + delta.product_S[slot_QC]  # no product of the base has such a number
        return Found(score_QC, row_QC, product_QC, delta.content_S[slot_QC])


def _both(named: Sequence[str] | None, wanted: Sequence[str] | None) -> list[str] | None:
    """The categories that both name; None if neither names any."""
    if named is None or wanted is None:
        either = named if wanted is None else wanted
        return None if either is None else list(dict.fromkeys(either))
    return [name for name in dict.fromkeys(named) if name in wanted]


def collapsed(found: Found, k: int, collapse_duplicates: bool) -> Hits:
    """The `k` best hits of different products and, unless that is not wanted, of different images."""
    valid_QC = first_of_each(found.product_QC, found.row_QC != NO_ROW)
    if collapse_duplicates:
        valid_QC = first_of_each(found.content_QC, valid_QC)
    place_QK = first_places(valid_QC, k)
    place_QK = np.pad(place_QK, ((0, 0), (0, k - place_QK.shape[1])), constant_values=-1)
    return Hits(at_places(found.score_QC, place_QK, -np.inf), at_places(found.row_QC, place_QK, NO_ROW))
