"""The queries a report shows: some that were found at once, and those that were missed worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visnet.platform.merge import NO_ROW
from visnet.platform.metrics import NOT_FOUND
from visnet.train.evaluation.figures import Measured, Truth
from visnet.train.evaluation.query_sets import QuerySet

# Q queries, K results

EACH = 12
RESULTS = 6
DEEPEST = 1_000
"""How far down the product of a missed query is looked for."""
LOOKED_FOR = 1_000
"""Missed queries that are looked for so deep, a seeded choice."""


@dataclass(frozen=True)
class Example:
    """One query to show."""

    query: int
    rank: int | None
    """Of its product among the products found; None if it is deeper than was looked."""
    truth: int | None
    """A gallery picture of its product; None if there is none."""
    rows: list[int]
    """The first results."""
    scores: list[float]


def hits_of(measured: Measured, queries: QuerySet, *, seed: int) -> list[Example]:
    """Queries answered right at rank 1, of products as different as there are, by a seeded choice."""
    found = np.flatnonzero(measured.whole.rank_Q == 1)
    shuffled = np.random.default_rng(seed).permutation(found)
    return [example(measured, queries, query) for query in _spread(shuffled, queries)]


def worst_misses(measured: Measured, queries: QuerySet, truth: Truth, *, seed: int) -> tuple[list[Example], int]:
    """Queries whose product is in the gallery and stands lowest, worst first; and how deep was looked."""
    rank_Q = measured.whole.rank_Q.copy()
    answerable_Q = truth.relevant_Q > 0
    lost = np.flatnonzero(answerable_Q & (rank_Q == NOT_FOUND))
    lost = np.sort(np.random.default_rng(seed).permutation(lost)[:LOOKED_FOR])
    depth = measured.whole.row_QK.shape[1]
    if len(lost):
        depth = max(depth, min(DEEPEST, len(set(measured.bench.product_N))))
        own_row_Q = queries.row_Q[lost] if queries.leave_out and queries.row_Q is not None else None
        vectors = measured.query_QD[lost]
        rank_Q[lost] = measured.bench.ask(vectors, queries.products[lost], depth, own_row_Q=own_row_Q).rank_Q
    missed = np.flatnonzero(answerable_Q & (rank_Q != 1))
    place_Q = np.where(rank_Q == NOT_FOUND, depth + 1, rank_Q)
    worst = missed[np.argsort(-place_Q[missed], kind="stable")]
    shown = [example(measured, queries, query, rank=int(rank_Q[query])) for query in _spread(worst, queries)]
    return shown, depth


def example(measured: Measured, queries: QuerySet, query: int, *, rank: int = NOT_FOUND) -> Example:
    """One query with its first results; its rank is the answer's unless a deeper search knows better."""
    row_K = measured.whole.row_QK[query]
    count = min(RESULTS, int((row_K != NO_ROW).sum()))
    of_product = measured.bench.shard.rows_of(queries.products[query])
    if queries.leave_out and queries.row_Q is not None:
        of_product = of_product[of_product != queries.row_Q[query]]
    return Example(
        query=int(query),
        rank=rank or int(measured.whole.rank_Q[query]) or None,
        truth=int(of_product[0]) if len(of_product) else None,
        rows=row_K[:count].tolist(),
        scores=measured.whole.score_QK[query, :count].tolist(),
    )


def _spread(ordered: np.ndarray, queries: QuerySet) -> list[int]:
    """The first `EACH`, one for each product as long as there are products, in the order given."""
    _, first = np.unique(queries.products[ordered], return_index=True)
    firsts = np.sort(first)
    others = np.setdiff1d(np.arange(len(ordered)), firsts)
    chosen = np.sort(np.concatenate([firsts, others])[:EACH])
    return [int(query) for query in ordered[chosen]]
