"""A unit of the recommendation pass: a run of a shard's products, from their vectors to a file of their neighbours.

A unit is always the same products, batches and numbers, whoever computes it and whenever: a pass that was killed does
again only what has no file yet. All shards search a batch at once and the next one while this one is merged. What is
in memory is two batches of queries and answers, and what the unit's file will hold.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from visnet.batch.recommend_messages import Found, Queries
from visnet.platform.merge import NO_ROW
from visnet.platform.recommendations import SCHEMA, write_part
from visnet.platform.rules import at_places, diversify, first_of_each, first_places
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

# Q queries, K neighbours, C candidates, D embedding, M neighbours of all products

WIDEN = 4
"""Times as many rows are looked at for queries that fell short."""
FEW_SHORT = 0.02
"""Share of the queries that may fall short: asking them again costs less than looking at more rows for all."""
PROBES, PROBED = 4, 128
"""So many runs of so many products of a unit are searched beforehand, to see who falls short."""
DIVERSIFIED_AT_ONCE = 128


class Shards(Protocol):
    """Where the shards are: here, or in processes of their own."""

    count: int

    def call(self, shard: int, method: str, *arguments: Any) -> Any:
        """Start a call of a `RecommendShard`'s method; what comes back may be an argument of a further call."""

    def get(self, calls: Sequence[Any]) -> list[Any]:
        """What the calls came to."""


@dataclass(frozen=True)
class Unit:
    """Products `first` to `last` (not included) of a shard: a part of its recommendations."""

    shard: int
    part: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Merged:
    """The best neighbours in all shards, best first, or in the order that the rules chose them."""

    score_QK: np.ndarray
    """float32; -inf where there is nothing more."""
    shard_QK: np.ndarray
    """Whose they are; `NO_ROW` where there is nothing more."""
    row_QK: np.ndarray
    """int32: rows there."""

    def at(self, place_QK: np.ndarray) -> Merged:
        return Merged(
            at_places(self.score_QK, place_QK, -np.inf),
            at_places(self.shard_QK, place_QK, NO_ROW),
            at_places(self.row_QK, place_QK, NO_ROW),
        )


def wanted_candidates(settings: RecommendSettings) -> int:
    """How many of the most similar ones are looked for."""
    if not settings.diversity:
        return settings.k
    return settings.candidates or 5 * settings.k


def even_runs(count: int, size: int) -> list[tuple[int, int]]:
    """0 to `count` in runs of `size`; the last has between half and one and a half of it, where there are several.

    A small batch is searched at a third of the rate of a large one.
    """
    edges = [*range(0, count, size)]
    if len(edges) > 1 and 2 * (count - edges[-1]) < size:
        edges.pop()
    return list(itertools.pairwise([*edges, count]))


def write_unit(
    unit: Unit, shards: Shards, settings: RecommendSettings, fetch: int, store: Store, recommendations: str
) -> int:
    """Compute a unit and write its part; returns the neighbours found.

    Args:
        fetch: rows that each shard looks at for a query, to begin with.
    """
    batch = compute_unit(unit, shards, settings, fetch)
    write_part(store, recommendations, unit.shard, unit.part, batch)
    return len(batch["neighbour_ids"].flatten())


def compute_unit(unit: Unit, shards: Shards, settings: RecommendSettings, fetch: int) -> pa.RecordBatch:
    """The neighbours of a unit's products (columns of `SCHEMA`), sorted by product."""
    products, merged = [], []
    for queries, found in _batches(unit, shards, settings, fetch):
        products.append(queries.product_Q)
        merged.append(_diverse(found, shards, settings) if settings.diversity else found)
    return _table(unit, shards, np.concatenate(products), merged)


def _batches(unit: Unit, shards: Shards, settings: RecommendSettings, fetch: int) -> Iterator[tuple[Queries, Merged]]:
    """The unit's queries and their best neighbours, a batch at a time; the next one is searched meanwhile."""
    wanted = wanted_candidates(settings)
    ahead: collections.deque[tuple[Any, list[Any]]] = collections.deque()
    for start, stop in even_runs(unit.last - unit.first, settings.batch_size):
        asked = shards.call(unit.shard, "queries", unit.first, unit.last, start, stop - start)
        ahead.append((asked, _search(shards, asked, fetch, wanted)))
        if len(ahead) == 2:
            yield _answered(shards, *ahead.popleft(), fetch, wanted)
    while ahead:
        yield _answered(shards, *ahead.popleft(), fetch, wanted)


def _answered(shards: Shards, asked: Any, answers: list[Any], fetch: int, wanted: int) -> tuple[Queries, Merged]:
    found, short_Q = merge_found(shards.get(answers), wanted)
    return shards.get([asked])[0], _complete(found, short_Q, shards, asked, fetch, wanted)


def probe_fetch(unit: Unit, shards: Shards, settings: RecommendSettings, fetch: int) -> int:
    """How many rows to look at so that few of a unit's queries fall short; the same for everyone who asks.

    Args:
        fetch: to begin with.
    """
    wanted = wanted_candidates(settings)
    starts = np.linspace(0, max(0, unit.last - unit.first - PROBED), PROBES).astype(int).tolist()
    probes = [shards.call(unit.shard, "queries", unit.first, unit.last, start, PROBED) for start in starts]
    while True:
        answers = [_search(shards, asked, fetch, wanted) for asked in probes]
        short_Q = np.concatenate([merge_found(shards.get(answer), wanted)[1] for answer in answers])
        if short_Q.mean() <= FEW_SHORT:
            return fetch
        fetch = 3 * fetch // 2


def _search(shards: Shards, asked: Any, fetch: int, keep: int, places: np.ndarray | None = None) -> list[Any]:
    return [shards.call(shard, "nearest", asked, fetch, keep, places) for shard in range(shards.count)]


def _complete(found: Merged, short_Q: np.ndarray, shards: Shards, asked: Any, fetch: int, wanted: int) -> Merged:
    """Look at more rows for the queries that fell short, until all have what they want or have seen everything."""
    keep = wanted
    place_M = np.flatnonzero(short_Q)
    while len(place_M):
        fetch, keep = WIDEN * fetch, WIDEN * keep
        better, short_M = merge_found(shards.get(_search(shards, asked, fetch, keep, place_M)), wanted)
        found = _replaced(found, place_M, better)
        place_M = place_M[short_M]
    return found


def merge_found(answers: Sequence[Found], wanted: int) -> tuple[Merged, np.ndarray]:
    """Merge the shards' answers: best first, the same bytes once.

    Returns:
        The `wanted` best, and which queries, bool (Q,), have fewer though the shards may hold more.
    """
    score_QM, row_QM, content_QM = (
        np.concatenate([getattr(answer, name) for answer in answers], axis=1)
        for name in ("score_QK", "row_QK", "content_QK")
    )
    shard_M = np.repeat(np.arange(len(answers), dtype=np.int32), [answer.row_QK.shape[1] for answer in answers])
    order_QM = np.argsort(-score_QM, axis=1, kind="stable")
    row_QM, content_QM = (np.take_along_axis(array, order_QM, axis=1) for array in (row_QM, content_QM))
    found_QM = first_of_each(content_QM, row_QM != NO_ROW)
    place_QK = first_places(found_QM, wanted)
    merged = Merged(np.take_along_axis(score_QM, order_QM, axis=1), shard_M[order_QM], row_QM).at(place_QK)
    floor_Q = np.max([answer.floor_Q for answer in answers], axis=0)
    certain_Q = ((merged.row_QK != NO_ROW) & (merged.score_QK >= floor_Q[:, None])).sum(axis=1)
    return merged, (certain_Q < wanted) & (floor_Q > -np.inf)


def _replaced(found: Merged, place_M: np.ndarray, better: Merged) -> Merged:
    """The neighbours of some queries exchanged."""
    row_Q = np.arange(len(found.row_QK))
    row_Q[place_M] = len(row_Q) + np.arange(len(place_M))
    return _below_each_other([found, better], row_Q)


def _diverse(found: Merged, shards: Shards, settings: RecommendSettings) -> Merged:
    """Choose `k` of the candidates; their vectors come from the shards, each once."""
    answers, number_QC = _gathered(found, shards, "vectors")
    vector_MD = np.concatenate(answers)
    places = []
    for first in range(0, len(number_QC) if len(vector_MD) else 0, DIVERSIFIED_AT_ONCE):
        chunk = slice(first, first + DIVERSIFIED_AT_ONCE)
        vector_QCD = vector_MD[number_QC[chunk]].astype(np.float32)
        similarity_QCC = vector_QCD @ vector_QCD.transpose(0, 2, 1)
        places.append(diversify(found.score_QK[chunk], similarity_QCC, settings.k, settings.diversity))
    return found.at(np.concatenate(places)) if places else found


def _gathered(found: Merged, shards: Shards, method: str) -> tuple[list[Any], np.ndarray]:
    """What the shards say of every neighbour, each asked once.

    Returns:
        Every shard's answer, and for each neighbour its number in all of them, one after the other.
    """
    number_QK = np.zeros(found.row_QK.shape, np.int64)
    calls, before = [], 0
    for shard in range(shards.count):
        mine_QK = found.shard_QK == shard
        row_M, place_M = np.unique(found.row_QK[mine_QK], return_inverse=True)
        number_QK[mine_QK] = before + place_M
        before += len(row_M)
        calls.append(shards.call(shard, method, row_M))
    return shards.get(calls), number_QK


def _table(unit: Unit, shards: Shards, product_Q: np.ndarray, merged: list[Merged]) -> pa.RecordBatch:
    """The columns of the unit's part; only here numbers become ids."""
    whole = _below_each_other(merged, np.argsort(product_Q))
    ids, number_QK = _gathered(whole, shards, "neighbour_ids")
    found_QK = whole.row_QK != NO_ROW
    offsets = pa.array(np.concatenate([[0], np.cumsum(found_QK.sum(axis=1))]), pa.int32())
    neighbour_ids = pa.concat_arrays(ids).take(pa.array(number_QK[found_QK]))
    columns = [
        shards.get([shards.call(unit.shard, "product_ids", unit.first, unit.last)])[0],
        pa.ListArray.from_arrays(offsets, neighbour_ids),
        pa.ListArray.from_arrays(offsets, pa.array(whole.score_QK[found_QK])),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _below_each_other(merged: list[Merged], order_Q: np.ndarray) -> Merged:
    """Several batches as one, as wide as the widest, in another order."""
    width = max(one.row_QK.shape[1] for one in merged)
    batches = [one.at(np.broadcast_to(_up_to(width, one), (len(one.row_QK), width))) for one in merged]
    names = ("score_QK", "shard_QK", "row_QK")
    return Merged(*(np.concatenate([getattr(one, name) for one in batches])[order_Q] for name in names))


def _up_to(width: int, merged: Merged) -> np.ndarray:
    place_K = np.arange(width)
    return np.where(place_K < merged.row_QK.shape[1], place_K, -1)
